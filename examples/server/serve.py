"""`python -m examples serve`: run the reference server until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from examples.collector import calm_the_collector
from examples.config import Config, ConfigError, load_config
from examples.exits import EXIT_CONFIG, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNAVAILABLE
from examples.logs import set_up_logging
from examples.net.signals import stop_signals
from examples.server.app import open_server
from examples.waiting import waiting
from whisperkit.errors import StoreError

__all__ = ["serve"]

log = logging.getLogger("examples.server")

# What asyncio says of these names the address, but not as it was written.
_OF_ADDRESS: Final = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)


def serve(config_path: Path | None) -> int:
    """Serve; returns the exit code."""
    try:
        config = load_config(config_path, environ=os.environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    set_up_logging()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(config))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (StoreError, OSError) as error:
        if isinstance(error, OSError) and (isinstance(error, socket.gaierror) or error.errno in _OF_ADDRESS):
            reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
            print(f"cannot serve: {config.server.bind}: {reason}", file=sys.stderr)
            print("    note: python -m examples doctor names an address that is free", file=sys.stderr)
            return EXIT_UNAVAILABLE
        print(f"cannot serve: {error}", file=sys.stderr)
        for note in getattr(error, "__notes__", ()):
            print(f"    {'' if note.startswith('code: ') else 'note: '}{note}", file=sys.stderr)
        return EXIT_UNAVAILABLE


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop where it is installed: about a third less work for the same messages."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(config: Config) -> int:
    name = config.server.sqlite_path
    with stop_signals() as stop:
        async with AsyncExitStack() as stack:
            with waiting(f"opening {name}"):
                server = await stack.enter_async_context(open_server(config))
            calm_the_collector()
            print(
                f"listening on {server.url.removesuffix('/ws')} "
                f"({config.server.profile}, {name}, schema {server.schema})",
                flush=True,
            )
            stopped_by = await stop
            log.info("stopping", extra={"signal": stopped_by.name})
            with waiting("draining"):
                await stack.aclose()
    assert server.farewell is not None  # it is closed
    links, unsaved, cut = server.farewell
    print(f"draining {links} links ... done, {unsaved} unsaved{f', {cut} cut' if cut else ''}", flush=True)
    return EXIT_INTERRUPTED if stopped_by is signal.SIGINT else EXIT_OK
