"""From what the service says happened to the metrics of the reference server; and stores that count their calls."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from time import perf_counter
from typing import Final, TypeVar

from examples.adapters.files import FileBlobs
from examples.metrics import DIRECTIONS, FRAME_TYPES, REASONS, Metrics
from examples.tallies import Count
from whisperkit.errors import (
    ConflictError,
    MalformedFrameError,
    MalformedIdError,
    OutOfTurnError,
    OversizedFrameError,
    UnauthorisedError,
)
from whisperkit.ids import BlobId
from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.service import Hook
from whisperkit.stores import Mark, MarkStore, PartitionStore
from whisperkit.strategy import Strategy
from whisperkit.sync.frames import ByeCode

__all__ = ["CountedBlobs", "CountedMarks", "CountedPartitions", "CountingHook"]

T = TypeVar("T")

_STRATEGIES: Final = {Strategy.SMALL: "direct", Strategy.MID: "queued", Strategy.MEGA: "notify"}
_FAULTS: Final = {
    MalformedFrameError.code: "malformed",
    MalformedIdError.code: "malformed",
    OversizedFrameError.code: "oversized",
    OutOfTurnError.code: "out_of_turn",
    UnauthorisedError.code: "unauthorised",
}


class CountingHook(Hook):
    """Counts."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # Looked up once: these are called for every frame and every message.
        self._frames = {(way, name): metrics.frames.labels(way, name) for way in DIRECTIONS for name in FRAME_TYPES}
        self._accepted = {
            strategy: (metrics.messages_accepted.labels(name), metrics.accept_duration.labels(name))
            for strategy, name in _STRATEGIES.items()
        }
        self._delivered = {strategy: metrics.delivery_duration.labels(name) for strategy, name in _STRATEGIES.items()}

    def linked(self, count: int) -> None:
        """So many devices have their link here."""
        self._metrics.links.set(count)

    def link_closed(self, code: ByeCode | None) -> None:
        """A link ended with this code."""
        self._metrics.links_closed.labels("gone" if code is None else code.name.lower()).inc()

    def frames(self, direction: str, name: str, count: int) -> None:
        """So many frames of a type came or left."""
        self._frames[direction, name].value += count

    def refused(self, reason: str) -> None:
        """A frame was refused."""
        label = _FAULTS.get(reason, reason)
        self._metrics.frames_refused.labels(label if label in REASONS else "other").inc()

    def backlog(self, size: int) -> None:
        """A peer lets so many bytes wait."""
        self._metrics.link_queue_bytes.observe(size)

    def presence(self, change: str) -> None:
        """A user came or went."""
        self._metrics.presence_published.labels(change).inc()

    def present(self, devices: int) -> None:
        """So many devices are there."""
        self._metrics.presence_devices.set(devices)

    def accepted(self, strategy: Strategy, seconds: float) -> None:
        """A post got its SENT."""
        accepted, duration = self._accepted[strategy]
        accepted.inc()
        duration.observe(seconds)

    def delivered(self, strategy: Strategy, seconds: float) -> None:
        """A device that was there has acknowledged an entry."""
        self._delivered[strategy].observe(seconds)

    def synced(self, answer: str) -> None:
        """A device was told where it stands."""
        self._metrics.sync_answers.labels(answer).inc()

    def appended(self, count: int) -> None:
        """So many entries were appended."""
        self._metrics.inbox_appends.inc(count)

    def repeated(self, where: str, count: int) -> None:
        """So many repeats were recognised."""
        self._metrics.duplicates.labels(where).inc(count)

    def marked(self, kind: str, result: str) -> None:
        """A receipt."""
        self._metrics.receipts.labels(kind, result).inc()

    def prekey_taken(self, kind: str) -> None:
        """A bundle was given out."""
        self._metrics.prekeys_taken.labels(kind).inc()

    def committed(self, outcome: str, seconds: float, rows: int) -> None:
        """A commit ended; how long it took, and how, `CountedPartitions` tells of every one there is."""
        if outcome == "ok":
            self._metrics.commit_group_rows.observe(rows)

    def owed(self, posts: int, oldest_s: float) -> None:
        """So many posts are not finished."""
        self._metrics.owed_posts.set(posts)
        self._metrics.owed_post_oldest.set(oldest_s)

    def fenced(self) -> None:
        """This gateway was taken for dead."""
        self._metrics.jobs_fenced.inc()

    def hinted(self, result: str, count: int) -> None:
        """Hints to other gateways."""
        self._metrics.hints.labels(result).inc(count)


# ---- stores ---------------------------------------------------------------------------------------------------------


class _Calls:
    """Counts the calls of one operation of a store.

    Args:
        metrics: Where.
        store: Its label.
        operation: Its label.
        fails: How a call has ended that raised.
    """

    def __init__(self, metrics: Metrics, store: str, operation: str, *, fails: str) -> None:
        self._duration = metrics.store_duration.labels(store, operation)
        self._ok = metrics.store_operations.labels(store, operation, "ok")
        self._failed = metrics.store_operations.labels(store, operation, fails)
        self._conflict = (
            metrics.store_operations.labels(store, operation, "conflict") if operation == "commit" else self._failed
        )

    async def count(self, call: Awaitable[T]) -> T:
        """Await a call."""
        began = perf_counter()
        try:
            answer = await call
        except Exception as error:
            self._ended(began, self._conflict if isinstance(error, ConflictError) else self._failed)
            raise
        self._ended(began, self._ok)
        return answer

    def _ended(self, began: float, outcome: Count) -> None:
        self._duration.observe(perf_counter() - began)
        outcome.inc()


class CountedPartitions:
    """A `PartitionStore` that counts its calls, under the label ``sqlite``."""

    def __init__(self, store: PartitionStore, metrics: Metrics) -> None:
        self._store = store
        self._heads = _Calls(metrics, "sqlite", "heads", fails="error")
        self._rows = _Calls(metrics, "sqlite", "rows", fails="error")
        self._commit = _Calls(metrics, "sqlite", "commit", fails="unknown")

    @property
    def spans_partitions(self) -> bool:
        """As the store behind."""
        return self._store.spans_partitions

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        """See `PartitionStore.heads`."""
        return await self._heads.count(self._store.heads(partitions))

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        """See `PartitionStore.rows`."""
        return await self._rows.count(self._store.rows(partition, spans, limit=limit))

    async def commit(self, changes: Sequence[Change]) -> None:
        """See `PartitionStore.commit`."""
        await self._commit.count(self._store.commit(changes))


class CountedMarks:
    """A `MarkStore` that counts its calls, under the label ``sqlite``."""

    def __init__(self, store: MarkStore, metrics: Metrics) -> None:
        self._store = store
        self._raise = _Calls(metrics, "sqlite", "raise_marks", fails="unknown")
        self._marks = _Calls(metrics, "sqlite", "marks", fails="error")

    async def raise_marks(self, marks: Sequence[Mark]) -> None:
        """See `MarkStore.raise_marks`."""
        await self._raise.count(self._store.raise_marks(marks))

    async def marks(self, partitions: Collection[Partition]) -> Mapping[Partition, Mapping[str, int]]:
        """See `MarkStore.marks`."""
        return await self._marks.count(self._store.marks(partitions))


class CountedBlobs:
    """`FileBlobs` that count their calls, under the label ``files``."""

    def __init__(self, store: FileBlobs, metrics: Metrics) -> None:
        self._store = store
        self._put = _Calls(metrics, "files", "put", fails="unknown")
        self._read = _Calls(metrics, "files", "read", fails="error")
        self._drop = _Calls(metrics, "files", "drop", fails="unknown")
        self._settle = _Calls(metrics, "files", "settle", fails="unknown")

    async def put(self, blob: BlobId, offset: int, data: bytes) -> int:
        """See `BlobBytes.put`."""
        return await self._put.count(self._store.put(blob, offset, data))

    async def read(self, blob: BlobId, offset: int, size: int) -> bytes:
        """See `BlobBytes.read`."""
        return await self._read.count(self._store.read(blob, offset, size))

    async def drop(self, blob: BlobId) -> None:
        """See `BlobBytes.drop`."""
        await self._drop.count(self._store.drop(blob))

    async def settle(self, blob: BlobId) -> None:
        """See `FileBlobs.settle`."""
        await self._settle.count(self._store.settle(blob))
