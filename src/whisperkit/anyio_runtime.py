"""The runtime of production: flows on a real event loop, asyncio or trio."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

import anyio
import anyio.abc

from whisperkit.errors import UsageError
from whisperkit.runtime import Mailbox, Task

__all__ = ["AnyioMailbox", "AnyioRuntime", "AnyioTask"]

T = TypeVar("T")


class AnyioTask:
    """A coroutine that `AnyioRuntime.spawn` started."""

    def __init__(self, name: str) -> None:
        self.name = name
        # Made where the coroutine runs: `spawn` may be called from a callback of the loop, which is in no task, and
        # there anyio cannot tell which loop it is on.
        self._scope: anyio.CancelScope | None = None
        self._is_dropped = False
        self._is_done = False

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return self._is_done

    async def run(self, run: Callable[[], Coroutine[object, object, None]]) -> None:
        """Run to the end, or until dropped; one that was dropped before its first step never takes it."""
        try:
            if not self._is_dropped:
                with anyio.CancelScope() as self._scope:
                    await run()
        finally:
            self._is_done = True

    def drop(self) -> None:
        """Cancel."""
        self._is_dropped = True
        if self._scope is not None:
            self._scope.cancel()


class AnyioMailbox(Generic[T]):
    """A queue with one reader, all on the thread of the event loop.

    An item that is there is handed over without a turn of the loop; only a reader that has to wait
    costs an event.
    """

    __slots__ = ("_items", "_waiting")

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._waiting: anyio.Event | None = None

    def put(self, item: T) -> None:
        """Add an item; wakes the reader."""
        self._items.append(item)
        if self._waiting is not None:
            self._waiting.set()
            self._waiting = None

    async def get(self, timeout_s: float | None = None) -> T | None:
        """Wait for the next item; `None` when `timeout_s` seconds passed without one."""
        if not self._items:
            await self._wait(timeout_s)
        return self._items.popleft() if self._items else None

    async def _wait(self, timeout_s: float | None) -> None:
        self._waiting = waiting = anyio.Event()
        if timeout_s is None:
            await waiting.wait()
        else:
            with anyio.move_on_after(timeout_s):
                await waiting.wait()

    def take(self, limit: int) -> list[T]:
        """Take what is there without waiting, oldest first, at most `limit` items."""
        items = self._items
        return [items.popleft() for _ in range(min(limit, len(items)))]

    def __len__(self) -> int:
        return len(self._items)


class AnyioRuntime:
    """A `Runtime` on anyio; an async context manager, whose end drops all that still runs.

    An exception that leaves a spawned coroutine cancels the others and comes out of the ``async with``
    in an exception group; one of the block itself, and no other, comes out as it is.
    """

    def __init__(self) -> None:
        self._group: anyio.abc.TaskGroup | None = None
        self._starting: AnyioMailbox[tuple[AnyioTask, Callable[[], Coroutine[object, object, None]]]] = AnyioMailbox()

    async def __aenter__(self) -> AnyioRuntime:
        self._group = await anyio.create_task_group().__aenter__()
        self._starting = AnyioMailbox()
        self._group.start_soon(self._start, self._group, name="starter")
        return self

    async def _start(self, group: anyio.abc.TaskGroup) -> None:
        """Start what `spawn` was asked for.

        `spawn` may be called from a callback of the loop, which is in no task, as plain functions of a server's
        protocol are; there anyio cannot start one.
        """
        while True:
            started = await self._starting.get()
            if started is not None:
                group.start_soon(started[0].run, started[1], name=started[0].name)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        group = self._running()
        self._group = None
        group.cancel_scope.cancel()
        try:
            return await group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as raised:
            if raised.exceptions == (error,):
                return False  # the block's own exception, of which a caller need not know that tasks were around it
            raise

    now = staticmethod(time.monotonic)  # asked some times for each message

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)

    def spawn(self, run: Callable[[], Coroutine[object, object, None]], *, name: str) -> Task:
        """Start a coroutine.

        Raises:
            UsageError: The runtime is not open.
        """
        task = AnyioTask(name)
        self._running()
        self._starting.put((task, run))
        return task

    def drop(self, task: Task) -> None:
        """End a coroutine at its present await; without effect on one that has ended.

        Raises:
            UsageError: It is the task of another kind of runtime.
        """
        if not isinstance(task, AnyioTask):
            raise UsageError(f"{task!r} is not a task of this runtime")
        task.drop()

    def mailbox(self) -> Mailbox[Any]:  # of what, says who asks
        """Make an empty mailbox."""
        return AnyioMailbox[Any]()

    def random(self, size: int) -> bytes:
        """`size` random bytes fit for keys."""
        return os.urandom(size)

    async def gather(self, calls: Sequence[Callable[[], Awaitable[None]]], *, limit: int) -> None:
        """Run calls side by side, at most `limit` at once, and wait for all; then raise the first exception."""
        remaining = iter(calls)
        failures: list[Exception] = []

        async def work() -> None:
            for call in remaining:
                try:
                    await call()
                except Exception as error:
                    failures.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(min(limit, len(calls))):
                group.start_soon(work)
        if failures:
            raise failures[0]

    def _running(self) -> anyio.abc.TaskGroup:
        if self._group is None:
            raise UsageError("the runtime is not open; use it in an async with", code="usage.not-running")
        return self._group
