"""Lines that are typed or piped in, read by a thread that nothing has to wait for.

A thread that reads standard input cannot be interrupted: a program that joins it hangs at Ctrl-C until Enter. This one
is a daemon and holds no lock of Python's own `sys.stdin`, which would be waited for at exit, too. A thread, because
an event loop can watch a terminal and a pipe, but no file.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from threading import Semaphore, Thread
from typing import Final

__all__ = ["TypedLines"]

# Bounded: who pipes a long file in is read as fast as it is sent.
_AHEAD: Final = 100
_READ_BYTES: Final = 65_536


class TypedLines:
    """The lines of a file descriptor, to be iterated once in a running event loop.

    Args:
        descriptor: Such as 0, standard input.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = Semaphore(_AHEAD)
        Thread(target=self._read, name="typed lines", daemon=True).start()

    async def __aiter__(self) -> AsyncIterator[str]:
        while (line := await self._lines.get()) is not None:
            self._room.release()
            yield line.decode(errors="replace").strip()

    def _read(self) -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody listens
            rest = b""
            while data := self._more():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._hand_over(line)
            if rest:
                self._hand_over(rest)
            self._hand_over(None)

    def _more(self) -> bytes:
        try:
            return os.read(self._descriptor, _READ_BYTES)
        except OSError:  # a terminal that was closed
            return b""

    def _hand_over(self, line: bytes | None) -> None:
        self._room.acquire()
        self._loop.call_soon_threadsafe(self._lines.put_nowait, line)
