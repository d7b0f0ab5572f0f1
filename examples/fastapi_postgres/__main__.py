"""`python -m examples.fastapi_postgres [PORT]`: the back end in two workers, on a PostgreSQL of its own.

With `DATABASE_URL` set, it is on that database; without, on one in `chat-data/postgres`, which is there the next time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import uvicorn

from examples.adapters.postgres_server import run_postgres
from whisperkit.errors import StoreError

__all__ = ["main"]

_PORT: Final = 8090
_WORKERS: Final = 2


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; returns the exit code."""
    try:
        with ExitStack() as stack:
            if "DATABASE_URL" not in os.environ:
                os.environ["DATABASE_URL"] = stack.enter_context(run_postgres(Path("chat-data/postgres").resolve()))
            port = int(arguments[0]) if arguments else _PORT
            uvicorn.run("examples.fastapi_postgres.app:app", port=port, workers=_WORKERS, access_log=False)
    except StoreError as error:
        print(error, file=sys.stderr)
        return 69
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
