"""The device's one partition, read and changed in turns: load rows, decide, commit them all together.

A turn reads at one version of the head and commits at that version; if another process of the device was faster,
the turn is run again from the beginning. What it computed before, a ciphertext for instance, has not
left the device, so it is thrown away and made afresh.

A commit whose outcome is unknown is looked up: every commit writes a random mark; if the mark is there, it happened.
If it is not, or cannot be looked for, the turn is run again as after a conflict. Should the lost commit still arrive,
one of the two is refused; and before each attempt the marks of those before are looked for, so that the answer is
always that of the attempt that counts. Until one is known to have happened nothing leaves, so a message key is never
used for two texts that anybody sees; at worst a key is skipped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from whisperkit.errors import ConflictError, OutcomeUnknownError, StoreError, WhisperError
from whisperkit.ids import DeviceId
from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.ratchet import Save
from whisperkit.runtime import Mailbox, Runtime
from whisperkit.stores import PartitionStore, commit_changes

__all__ = ["DeviceRecords", "Turn", "exactly"]

R = TypeVar("R")
T = TypeVar("T")

MAX_ATTEMPTS: Final = 8
READS_BESIDE: Final = 3
_MARK: Final = b"x"
_PAGE: Final = 1_000
_FIRST_WAIT_S: Final = 0.01


def exactly(key: bytes) -> Span:
    """The span of one row."""
    return Span(key, key + b"\x00")


class Turn:
    """Rows under change: what was loaded, with what the commit will put and delete worked in."""

    def __init__(self, store: PartitionStore, partition: Partition, head: Head | None) -> None:
        self.state = head.state if head is not None else b""
        self._before = self.state
        self.version = head.version if head is not None else 0
        self._store = store
        self._partition = partition
        self._loaded: dict[bytes, bytes] = {}
        self._put: dict[bytes, bytes] = {}
        self._deleted: set[bytes] = set()

    async def load(self, spans: Collection[Span]) -> dict[bytes, bytes]:
        """Rows of spans, all of them; returns everything that is loaded and not deleted."""
        for span in spans:
            rest = span
            while self.version:
                page = await self._rows(rest, _PAGE)
                self._loaded.update(page)
                if len(page) < _PAGE:
                    break
                rest = Span(page[-1].key + b"\x00", span.stop)
        return self.rows

    async def some(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """Single rows that are there, all read in one call."""
        if self.version and keys:
            spans = [exactly(key) for key in keys]
            answer = self._store.rows(self._partition, spans, limit=len(spans))
            self._loaded.update(await _asking(f"rows of {self._partition}", answer))
        rows = self.rows
        return {key: rows[key] for key in keys if key in rows}

    async def last(self, span: Span, *, limit: int) -> list[Row]:
        """The last rows of a span, newest first; nothing under change is among them."""
        if not self.version:
            return []
        return list(await self._rows(span._replace(reverse=True), limit))

    async def first(self, span: Span, *, limit: int) -> list[Row]:
        """The first rows of a span; nothing under change is among them."""
        return list(await self._rows(span, limit)) if self.version else []

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
        change = Change(self._partition, self.version, self.state, put, tuple(self._deleted))
        try:
            await commit_changes(self._store, [change])
        except OutcomeUnknownError:
            if not await self._happened(mark):
                raise

    async def _happened(self, mark: bytes) -> bool:
        rows = await self._rows(exactly(_MARK), 1)
        return bool(rows) and rows[0].value == mark

    async def _rows(self, span: Span, limit: int) -> Sequence[Row]:
        return await _asking(f"rows of {self._partition}", self._store.rows(self._partition, [span], limit=limit))


class DeviceRecords:
    """A device's partition. Turns run one after another.

    Args:
        store: Where it is.
        device: Whose.
        runtime: Lets turns wait for each other, and waits between attempts.
    """

    def __init__(self, store: PartitionStore, device: DeviceId, runtime: Runtime) -> None:
        self.device = device
        self.partition = Partition(f"device/{device}")
        self._store = store
        self._runtime = runtime
        self._is_busy = False
        self._waiting: deque[Mailbox[bool]] = deque()

    async def run(self, work: Callable[[Turn], Awaitable[T]]) -> T:
        """Run a turn and commit what it changed.

        Args:
            work: Loads, decides, puts; run again on a conflict. It may run again after the commit that counts, so
                what follows from it belongs into its answer. What it raises is handed on, and nothing is written.

        Raises:
            StoreError: The store did not take it.
        """
        made: dict[bytes, T] = {}
        await self._acquire()
        try:
            return await self._persist(lambda: self._attempt(work, made))
        finally:
            self._release()

    async def read(self, work: Callable[[Turn], Awaitable[T]]) -> T:
        """Run a turn that changes nothing; what it reads is all of one version."""
        for _ in range(READS_BESIDE):
            answer, is_whole = await self._persist(lambda: self._look(work))
            if is_whole:
                return answer
        # The device is busy writing: wait for a turn of its own.
        await self._acquire()
        try:
            return (await self._persist(lambda: self._look(work)))[0]
        finally:
            self._release()

    async def _attempt(self, work: Callable[[Turn], Awaitable[T]], made: dict[bytes, T]) -> T:
        turn = await self._begin()
        if made:
            mark = await turn.get(_MARK)
            if mark in made:
                return made[mark]
        answer = await work(turn)
        if turn.has_changes:
            mark = self._runtime.random(8)
            made[mark] = answer
            await turn.commit(mark)
        return answer

    async def _look(self, work: Callable[[Turn], Awaitable[T]]) -> tuple[T, bool]:
        turn = await self._begin()
        answer = await work(turn)
        return answer, (await self._begin()).version == turn.version

    async def _persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        last: StoreError | None = None
        for number in range(MAX_ATTEMPTS):
            try:
                return await attempt()
            except (ConflictError, OutcomeUnknownError) as error:
                last = error
            await self._runtime.sleep(_FIRST_WAIT_S * (1 << number) * self._runtime.random(1)[0] / 256)
        assert last is not None  # the loop ran
        raise last

    async def _begin(self) -> Turn:
        heads: Mapping[Partition, Head] = await _asking("heads", self._store.heads([self.partition]))
        return Turn(self._store, self.partition, heads.get(self.partition))

    async def _acquire(self) -> None:
        if not self._is_busy:
            self._is_busy = True
            return
        box: Mailbox[bool] = self._runtime.mailbox()
        self._waiting.append(box)
        try:
            await box.get()
        except BaseException:
            # Cancelled while it waited: it leaves the queue, or hands on the turn that it was given just now.
            if box in self._waiting:
                self._waiting.remove(box)
            else:
                self._release()
            raise

    def _release(self) -> None:
        if self._waiting:
            self._waiting.popleft().put(True)
        else:
            self._is_busy = False


async def _asking(operation: str, call: Awaitable[R]) -> R:
    """Turn whatever a backend raises into an unknown outcome, so that adapters need no try/except."""
    try:
        return await call
    except WhisperError:
        raise
    except Exception as error:
        raise OutcomeUnknownError(operation) from error
