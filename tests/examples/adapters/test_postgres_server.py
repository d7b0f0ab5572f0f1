"""A PostgreSQL of one's own: one server for one folder."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

from examples.adapters.postgres_server import find_programs, run_postgres
from tests.missing import do_without
from whisperkit.errors import StoreError


def test_a_second_server_in_the_same_folder_is_refused_in_a_line_and_the_first_goes_on() -> None:
    if find_programs() is None:
        do_without("PostgreSQL is not installed; on Debian and Ubuntu: apt-get install postgresql")
    # Not in a folder of pytest's, which nobody else may enter: of tests that run as root, PostgreSQL does not.
    with tempfile.TemporaryDirectory(prefix="whisperkit-postgres-") as folder:
        with run_postgres(Path(folder), durable=False):
            pid = (Path(folder) / "data" / "postmaster.pid").read_text().splitlines()[0]
            with pytest.raises(StoreError) as refused, run_postgres(Path(folder), durable=False):
                pass
            assert (Path(folder) / "data" / "postmaster.pid").exists()
        with run_postgres(Path(folder), durable=False):  # once it has ended, it may
            pass

    assert re.fullmatch(r"a server runs in .*/data already; if nobody needs it: kill -INT \d+", str(refused.value))
    assert str(refused.value).endswith(f" {pid}")
