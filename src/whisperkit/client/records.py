"""The device's one partition, read and changed in turns: load rows, decide, commit them all together.

A turn reads at one version of the head and commits at that version; if another process of the device was faster,
the turn is run again from the beginning. What it computed before, a ciphertext for instance, has not
left the device, so it is thrown away and made afresh.

A commit whose outcome is unknown is looked up: every commit writes a random mark; if the mark is there, it happened.
Until that is known nothing leaves, so a message key is never used for two texts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Final, TypeVar

from whisperkit.errors import ConflictError, OutcomeUnknownError, StoreError
from whisperkit.ids import DeviceId
from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.ratchet import Save
from whisperkit.runtime import Mailbox, Runtime
from whisperkit.stores import PartitionStore, commit_changes

__all__ = ["DeviceRecords", "Turn", "exactly"]

T = TypeVar("T")

MAX_ATTEMPTS: Final = 8
_MARK: Final = b"x"
_PAGE: Final = 1_000


def exactly(key: bytes) -> Span:
    """The span of one row."""
    return Span(key, key + b"\x00")


class Turn:
    """Rows under change: what was loaded, with what the commit will put and delete worked in."""

    def __init__(self, store: PartitionStore, partition: Partition, head: Head | None) -> None:
        self.state = head.state if head is not None else b""
        self._before = self.state
        self._version = head.version if head is not None else 0
        self._store = store
        self._partition = partition
        self._loaded: dict[bytes, bytes] = {}
        self._put: dict[bytes, bytes] = {}
        self._deleted: set[bytes] = set()

    async def load(self, spans: Collection[Span]) -> dict[bytes, bytes]:
        """Rows of spans, all of them; returns everything that is loaded and not deleted."""
        for span in spans:
            rest = span
            while self._version:
                page = await self._store.rows(self._partition, [rest], limit=_PAGE)
                self._loaded.update(page)
                if len(page) < _PAGE:
                    break
                rest = Span(page[-1].key + b"\x00", span.stop)
        return self.rows

    async def last(self, span: Span, *, limit: int) -> list[Row]:
        """The last rows of a span, newest first; nothing under change is among them."""
        if not self._version:
            return []
        return list(await self._store.rows(self._partition, [span._replace(reverse=True)], limit=limit))

    async def get(self, key: bytes) -> bytes | None:
        """One row."""
        if key in self._put or key in self._deleted:
            return self._put.get(key)
        return (await self.load([exactly(key)])).get(key)

    @property
    def rows(self) -> dict[bytes, bytes]:
        """What is loaded, as it will be after the commit."""
        rows = {key: value for key, value in self._loaded.items() if key not in self._deleted}
        return {**rows, **self._put}

    def put(self, rows: Iterable[Row | tuple[bytes, bytes]]) -> None:
        """Write rows."""
        for key, value in rows:
            self._deleted.discard(key)
            self._put[key] = value

    def delete(self, keys: Iterable[bytes]) -> None:
        """Delete rows."""
        for key in keys:
            self._put.pop(key, None)
            self._deleted.add(key)

    def save(self, save: Save) -> None:
        """Take over what an operation of the ratchet wants written."""
        for key, value in save.items():
            if value is None:
                self.delete([key])
            else:
                self.put([(key, value)])

    @property
    def has_changes(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self._put or self._deleted) or self.state != self._before

    async def commit(self, mark: bytes) -> None:
        """Write everything, in one commit.

        Raises:
            ConflictError: Somebody else changed the partition.
            StoreError: It is not known whether it was written.
        """
        self.put([(_MARK, mark)])
        put = tuple(Row(key, value) for key, value in self._put.items())
        change = Change(self._partition, self._version, self.state, put, tuple(self._deleted))
        try:
            await commit_changes(self._store, [change])
        except OutcomeUnknownError:
            if not await self._happened(mark):
                raise

    async def _happened(self, mark: bytes) -> bool:
        rows = await self._store.rows(self._partition, [exactly(_MARK)], limit=1)
        return bool(rows) and rows[0].value == mark


class DeviceRecords:
    """A device's partition. Turns run one after another.

    Args:
        store: Where it is.
        device: Whose.
        random_bytes: For the marks of commits.
        runtime: To let turns wait for each other; without one they are told apart by conflicts alone.
    """

    def __init__(
        self,
        store: PartitionStore,
        device: DeviceId,
        *,
        random_bytes: Callable[[int], bytes],
        runtime: Runtime | None = None,
    ) -> None:
        self.device = device
        self.partition = Partition(f"device/{device}")
        self._store = store
        self._random_bytes = random_bytes
        self._runtime = runtime
        self._is_busy = False
        self._waiting: deque[Mailbox[bool]] = deque()

    async def run(self, work: Callable[[Turn], Awaitable[T]]) -> T:
        """Run a turn and commit what it changed.

        Args:
            work: Loads, decides, puts; run again on a conflict. What it raises is handed on, and nothing is written.

        Raises:
            StoreError: The store did not take it.
        """
        await self._acquire()
        try:
            return await self._run(work)
        finally:
            self._release()

    async def read(self, work: Callable[[Turn], Awaitable[T]]) -> T:
        """Run a turn that changes nothing."""
        return await work(await self._begin())

    async def _run(self, work: Callable[[Turn], Awaitable[T]]) -> T:
        last: StoreError | None = None
        for _ in range(MAX_ATTEMPTS):
            turn = await self._begin()
            answer = await work(turn)
            if not turn.has_changes:
                return answer
            try:
                await turn.commit(self._random_bytes(8))
            except (ConflictError, OutcomeUnknownError) as error:
                last = error
            else:
                return answer
        assert last is not None  # the loop ran
        raise last

    async def _begin(self) -> Turn:
        heads: Mapping[Partition, Head] = await self._store.heads([self.partition])
        return Turn(self._store, self.partition, heads.get(self.partition))

    async def _acquire(self) -> None:
        if self._runtime is None:
            return
        if self._is_busy:
            box: Mailbox[bool] = self._runtime.mailbox()
            self._waiting.append(box)
            await box.get()
        self._is_busy = True

    def _release(self) -> None:
        if self._waiting:
            self._waiting.popleft().put(True)
        else:
            self._is_busy = False
