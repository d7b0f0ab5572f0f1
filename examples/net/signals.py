"""Hears the word to stop: SIGTERM from whoever runs the server, SIGINT from a keyboard."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["STOP_SIGNALS", "stop_signals"]

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals() -> Generator[asyncio.Future[signal.Signals]]:
    """Note the first of `STOP_SIGNALS` that comes within the block; wait for it on what is given.

    Enter it before anything is said to be ready: who reads that may send the signal at once. A second one ends the
    process the usual way, however long draining takes.
    """
    loop = asyncio.get_running_loop()
    came: asyncio.Future[signal.Signals] = loop.create_future()

    def note(number: signal.Signals) -> None:
        forget()
        if not came.done():
            came.set_result(number)

    def forget() -> None:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, note, number)
    try:
        yield came
    finally:
        forget()
