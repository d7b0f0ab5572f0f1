"""Waits for the word to stop: SIGTERM from whoever runs the server, SIGINT from a keyboard."""

from __future__ import annotations

import asyncio
import signal

__all__ = ["STOP_SIGNALS", "wait_for_stop"]

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def wait_for_stop() -> signal.Signals:
    """Wait for the first of `STOP_SIGNALS`.

    A second one ends the process the usual way, however long draining takes.
    """
    loop = asyncio.get_running_loop()
    came: asyncio.Future[signal.Signals] = loop.create_future()

    def note(number: signal.Signals) -> None:
        if not came.done():
            came.set_result(number)

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, note, number)
    try:
        return await came
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
