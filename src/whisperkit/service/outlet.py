"""The way out of a link: plain functions of any framework, and a bound on what they may leave lying about.

`send` may return nothing (it took the bytes, and whoever gave it knows how full its buffer is) or an awaitable;
then a writer task of the link awaits one after the other, so a slow reader holds up nobody else.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, cast

from whisperkit.runtime import Mailbox, Runtime, Task
from whisperkit.sync.frames import ByeCode

__all__ = ["Close", "Outlet", "SendData"]

SendData: TypeAlias = Callable[[bytes], Awaitable[None] | None]
"""Hands a message to the network."""

Close: TypeAlias = Callable[[int, str], Awaitable[None] | None]
"""Ends the connection, with a WebSocket close code and a reason of at most 123 bytes."""

# RFC 6455, section 7.4: a normal end, a fault of the peer, and codes of our own for the rest.
CLOSE_CODES = {
    ByeCode.NORMAL: 1000,
    ByeCode.PROTOCOL: 1002,
    ByeCode.RESYNC: 4000,
    ByeCode.SUPERSEDED: 4001,
    ByeCode.TRY_LATER: 1013,
    ByeCode.UNAUTHORISED: 4003,
}

# How long a goodbye may take to leave, through a `send` that has to be awaited.
END_S: Final = 5.0


class Outlet:
    """Writes to one connection.

    Args:
        send: Takes a message.
        close: Ends the connection; `None` if the framework does that.
        backlog: Bytes taken by `send` that the peer's socket has not accepted; `None` if the framework cannot tell.
        runtime: For the writer.
    """

    def __init__(
        self, send: SendData, close: Close | None, backlog: Callable[[], int] | None, runtime: Runtime
    ) -> None:
        self._send = send
        self._close = close
        self._backlog = backlog
        self._runtime = runtime
        self._waiting: Mailbox[Awaitable[None]] | None = None
        self._writer: Task | None = None
        self._queued_bytes = 0
        self._sizes: deque[int] = deque()
        self._progress = 0
        self._stuck_since: float | None = None
        self._is_ending = False
        self._seen: tuple[int, int] = (0, 0)

    def write(self, data: bytes) -> None:
        """Send a message. An error means that the connection is gone; its owner will detach."""
        result = self._send(data)
        if result is not None and inspect.isawaitable(result):
            self._write_later(result, len(data))

    def end(self, code: ByeCode) -> None:
        """Close the connection after what was written."""
        self._is_ending = True
        if self._close is not None and self._waiting is not None:
            self._waiting.put(_call_close(self._close, code))
        elif self._close is not None:
            result = self._close(CLOSE_CODES[code], code.name)
            if result is not None and inspect.isawaitable(result):
                self._write_later(result, 0)
        if self._waiting is not None:
            self._waiting.put(_nothing())  # the last thing the writer awaits, with or without a `close`
            self._runtime.spawn(self._cut_late, name="writer's end")

    def drop(self) -> None:
        """Stop writing: the connection is gone. After `end` what was written still goes out, for a while."""
        if not self._is_ending:
            self._cut()

    async def _cut_late(self) -> None:
        await self._runtime.sleep(END_S)
        self._cut()

    def _cut(self) -> None:
        if self._writer is None or self._waiting is None:
            return
        self._runtime.drop(self._writer)
        self._writer = None
        for result in self._waiting.take(len(self._waiting)):
            if inspect.iscoroutine(result):
                result.close()  # it will not be awaited any more, and Python would warn of that

    def pending_bytes(self) -> int:
        """What was written and has not left, as far as is known."""
        return self._queued_bytes + (self._backlog() if self._backlog is not None else 0)

    def stuck_s(self, now: float) -> float:
        """For how long the peer has taken nothing although there is something; 0 if all is well."""
        pending = self.pending_bytes()
        seen = pending, self._progress
        if not pending or seen != self._seen:
            self._stuck_since = None
        if pending and self._stuck_since is None:
            self._stuck_since = now
        self._seen = seen
        return now - self._stuck_since if self._stuck_since is not None else 0.0

    def _write_later(self, result: Awaitable[None], size: int) -> None:
        if self._waiting is None:
            self._waiting = self._runtime.mailbox()
            self._writer = self._runtime.spawn(self._serve, name="writer")
        self._queued_bytes += size
        self._sizes.append(size)
        self._waiting.put(result)

    async def _serve(self) -> None:
        waiting = cast("Mailbox[Awaitable[None]]", self._waiting)  # set before the task was started
        while True:
            result = await waiting.get()
            if result is None:
                continue
            try:
                await result
            except Exception:
                # The framework's own error for a connection that is gone; its owner will detach.
                return
            self._progress += 1
            if self._sizes:
                self._queued_bytes -= self._sizes.popleft()
            if self._is_ending and not len(waiting):
                return


async def _nothing() -> None: ...


async def _call_close(close: Close, code: ByeCode) -> None:
    result = close(CLOSE_CODES[code], code.name)
    if result is not None and inspect.isawaitable(result):
        await result
