"""`python -m examples.fastapi_postgres [PORT]`: the back end in two workers, on a PostgreSQL of its own.

With `DATABASE_URL` set, it is on that database; without, on one in `chat-data/postgres`, which is there the next time.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import asyncpg

from examples.adapters.postgres_server import run_postgres
from examples.exits import EXIT_UNAVAILABLE
from examples.uvicorn_site import port_of, run_site
from examples.waiting import waiting
from whisperkit.errors import StoreError

__all__ = ["main"]

_PORT: Final = 8090
_WORKERS: Final = 2
_PATIENCE_S: Final = 10.0


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; returns the exit code."""
    about = "A FastAPI back end on the PostgreSQL at DATABASE_URL, or else on one of its own in chat-data/postgres."
    port = port_of(arguments, program="examples.fastapi_postgres", about=about, default=_PORT)
    try:
        with ExitStack() as stack:
            with waiting("opening the database"):
                if "DATABASE_URL" not in os.environ:
                    os.environ["DATABASE_URL"] = stack.enter_context(run_postgres(Path("chat-data/postgres").resolve()))
                asyncio.run(_reach(os.environ["DATABASE_URL"]))
            return run_site("examples.fastapi_postgres.app:app", port=port, workers=_WORKERS)
    except StoreError as error:
        print(error, file=sys.stderr)
        return EXIT_UNAVAILABLE


async def _reach(url: str) -> None:
    """Find out here, once, what each worker would run into again and again."""
    try:
        await (await asyncpg.connect(url, timeout=_PATIENCE_S)).close()
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # Of an address that does not answer in time, the error has no text.
        reason = f"{error}" or type(error).__name__
        raise StoreError(f"the database at DATABASE_URL cannot be reached: {reason}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
