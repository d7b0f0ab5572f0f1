"""`python -m examples lab`: two phones and the server between them, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from examples.demo.processes import ServerStoppedError
from examples.exits import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNAVAILABLE
from examples.lab.lab import LabError, open_lab
from examples.lab.site import Site
from examples.logs import set_up_logging
from examples.net.signals import stop_signals
from examples.waiting import waiting

__all__ = ["run_lab"]

_MAX_SEED: Final = 10_000


def run_lab(*, port: int, seed: int | None = None) -> int:
    """Run until somebody ends it; returns the exit code.

    Args:
        port: Where the page is, on loopback; 0 for any free one.
        seed: Decides what becomes of frames; drawn if there is none.
    """
    folder = Path(tempfile.mkdtemp(prefix="whisperkit-lab-"))
    code = _run_in(folder, port, secrets.randbelow(_MAX_SEED) if seed is None else seed)
    if code != EXIT_FAILED:
        shutil.rmtree(folder, ignore_errors=True)
    return code


def _run_in(folder: Path, port: int, seed: int) -> int:
    try:
        # Ids and numbers only, as all logs here; on the terminal is one line, which is to be read.
        with (folder / "lab.log").open("a", encoding="utf-8") as log:
            set_up_logging("warning", stream=log)
            return asyncio.run(_run(folder, port, seed))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except _NoPortError as error:
        print(f"cannot serve the lab: 127.0.0.1:{port}: {error}", file=sys.stderr)
        print("    note: --port takes another one, and 0 any that is free", file=sys.stderr)
        return EXIT_UNAVAILABLE
    except (LabError, ServerStoppedError, TimeoutError) as error:
        print(f"the lab did not come up: {error}", file=sys.stderr)
        print(f"    note: the logs are in {folder}", file=sys.stderr)
        return EXIT_FAILED


class _NoPortError(Exception):
    """The port is taken, or not for everybody."""


async def _run(folder: Path, port: int, seed: int) -> int:
    await _try(port)
    with stop_signals() as stop:
        async with AsyncExitStack() as stack:
            with waiting("starting the server and two phones"):
                lab = await stack.enter_async_context(open_lab(folder, seed=seed))
            site = Site(lab)
            try:
                port = await site.listen(port)
            except OSError as error:  # it was taken since
                raise _NoPortError(os.strerror(error.errno or 0)) from error
            stack.push_async_callback(site.close)
            print(f"open http://127.0.0.1:{port} (two phones and the server between them)", flush=True)
            stopped_by = await stop
    return EXIT_INTERRUPTED if stopped_by is signal.SIGINT else EXIT_OK


async def _try(port: int) -> None:
    """Look whether a port can be had, before anything else is started."""
    try:
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", port)
    except OSError as error:
        raise _NoPortError(os.strerror(error.errno or 0)) from error
    server.close()
    await server.wait_closed()
