"""What connections have to do in one turn of a loop, gathered and done one after another.

Between the messages of two peers runs the kernel, and what Python needs for the second is no longer in the processor's
caches. So the sockets are read first, all that have something, and then the messages; and what goes out is one write
for each peer, behind all that happened in the turn.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

__all__ = ["MAX_GATHERED_BYTES", "Gathered", "Turns"]

log = logging.getLogger("examples.net.turns")

# What sockets hold is bounded by the kernel, each for itself; what all of them put into memory, before any of it is
# looked at, is bounded here.
MAX_GATHERED_BYTES: Final = 1 << 20


class Gathered(Protocol):
    """A connection, as seen from here."""

    def read(self, data: bytes) -> None:
        """Take what came."""
        ...

    def flush(self) -> None:
        """Write what is there."""
        ...

    def abort(self) -> None:
        """Cut it."""
        ...


class Turns:
    """Reads and writes for all connections of a loop, once per turn.

    Args:
        loop: Its `call_soon` is what is used.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._came: list[tuple[Gathered, bytes]] = []
        self._came_bytes = 0
        self._dirty: list[Gathered] = []

    def read_soon(self, connection: Gathered, data: bytes) -> None:
        """Call the connection's `read` when all sockets have been looked at, or enough has come."""
        if not self._came:
            self._loop.call_soon(self.read_now)
        self._came.append((connection, data))
        self._came_bytes += len(data)
        if self._came_bytes > MAX_GATHERED_BYTES:
            self.read_now()

    def read_now(self) -> None:
        """Read all that came; who ends a connection does this first, because what came before comes before the end."""
        came, self._came, self._came_bytes = self._came, [], 0
        cut: list[Gathered] = []
        for connection, data in came:
            if cut and connection in cut:
                continue
            try:
                connection.read(data)
            except Exception:
                log.exception("reading failed")
                connection.abort()
                cut.append(connection)

    def flush_soon(self, connection: Gathered) -> None:
        """Call the connection's `flush` at the next turn."""
        if not self._dirty:
            self._loop.call_soon(self._flush)
        self._dirty.append(connection)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush()
