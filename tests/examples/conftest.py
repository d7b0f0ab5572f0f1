"""A PostgreSQL for the tests that want one: started when the first of them comes, stopped with the run."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Generator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from examples.adapters.postgres_server import find_programs, run_postgres
from tests.missing import do_without


@pytest.fixture(scope="session")
def postgres() -> Generator[str]:
    """The URL of a server; without the package its tests are skipped, and fail on CI."""
    if find_programs() is None:
        do_without("PostgreSQL is not installed; on Debian and Ubuntu: apt-get install postgresql")
    # Not in a folder of pytest's, which nobody else may enter: of tests that run as root, PostgreSQL does not.
    with (
        tempfile.TemporaryDirectory(prefix="whisperkit-postgres-") as folder,
        run_postgres(Path(folder), durable=False) as url,
    ):
        yield url


@pytest.fixture
def database(postgres: str) -> str:
    """The URL of a new database."""
    name = f"test_{uuid4().hex}"

    async def create() -> None:
        db = await asyncpg.connect(postgres)
        await db.execute(f"CREATE DATABASE {name}")
        await db.close()

    asyncio.run(create())
    return postgres.removesuffix("postgres") + name
