"""What flows need of the world: time, tasks, mailboxes and randomness, behind one small door.

Flows of `whisperkit.service` and `whisperkit.client` are `async def` that await only doors and these
calls; they import no event loop, and their correctness needs no `finally`. `whisperkit.anyio_runtime` drives
them in production, on asyncio and trio; `whisperkit.testing` drives the same code from one seed, on a
simulated clock, and may drop a node's coroutines where they stand, as SIGKILL does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Generic, Protocol, TypeVar

__all__ = ["Mailbox", "Runtime", "Task"]

T = TypeVar("T")


class Task(Protocol):
    """A running coroutine."""

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        ...


class Mailbox(Protocol, Generic[T]):
    """A queue with one reader. `put` never waits: whoever puts has a bound of his own."""

    def put(self, item: T) -> None:
        """Add an item; wakes the reader."""
        ...

    async def get(self, timeout_s: float | None = None) -> T | None:
        """Wait for the next item; `None` when `timeout_s` seconds passed without one."""
        ...

    def take(self, limit: int) -> list[T]:
        """Take what is there without waiting, oldest first, at most `limit` items."""
        ...

    def __len__(self) -> int: ...


class Runtime(Protocol):
    """The world as a flow sees it."""

    def now(self) -> float:
        """Seconds on a monotonic clock; never saved."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since 1970; what is saved or shown."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def spawn(self, run: Callable[[], Coroutine[object, object, None]], *, name: str) -> Task:
        """Start a coroutine. An exception that leaves it is the program's fault and ends the runtime."""
        ...

    def drop(self, task: Task) -> None:
        """End a coroutine where it stands, at its present await. Without effect on one that has ended."""
        ...

    def mailbox(self) -> Mailbox[T]:  # pyright: ignore[reportInvalidTypeVarUse]  # whoever asks says of what
        """Make an empty mailbox."""
        ...

    def random(self, size: int) -> bytes:
        """`size` random bytes fit for keys."""
        ...

    async def gather(self, calls: Sequence[Callable[[], Awaitable[None]]], *, limit: int) -> None:
        """Run calls side by side, at most `limit` at once, and wait for all.

        The first exception is raised after the others have ended.
        """
        ...
