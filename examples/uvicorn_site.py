"""How the servers of the framework examples begin and end: one argument, and the exit codes of all programs here."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from examples.adapters.sqlite import open_sqlite
from examples.exits import EXIT_OK, EXIT_UNAVAILABLE
from whisperkit.errors import StoreError

__all__ = ["port_of", "run_site"]


def port_of(arguments: Sequence[str], *, program: str, about: str, default: int) -> int:
    """The port that the command line names; where it names none, the default.

    Args:
        arguments: Of the command line; what is wrong with them is told, and ends the program with code 2.
        program: The module that is run.
        about: What it is.
        default: The port.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=about)
    shown = "where it listens on 127.0.0.1; 0 is any free one (default: %(default)s)"
    parser.add_argument("port", nargs="?", type=_port, default=default, metavar="PORT", help=shown)
    port: int = parser.parse_args(arguments).port
    return port


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 65_536):
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, got {text}")
    return int(text)


def run_site(app: str, *, port: int, workers: int = 1, file: Path | None = None) -> int:
    """Serve until told to stop; returns the exit code. What keeps it from serving has been said then.

    Args:
        app: Where the application is, ``module:name``.
        port: Where it listens.
        workers: How many processes serve.
        file: The store that it will open and that only one process can have open: looked at here, before it is a page
            of traceback there.
    """
    if file is not None:
        try:
            asyncio.run(_open(file))
        except StoreError as error:
            print(error, *error.__notes__[:1], sep="\n    note: ", file=sys.stderr)
            return EXIT_UNAVAILABLE
    try:
        uvicorn.run(app, port=port, workers=workers, lifespan="on", access_log=False)
    except SystemExit:  # the address is taken, or the application did not start
        return EXIT_UNAVAILABLE
    return EXIT_OK


async def _open(file: Path) -> None:
    async with open_sqlite(file):
        pass
