"""A store whose calls fail as those of a real database do, each when somebody says so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum, auto
from typing import Literal, NamedTuple

from whisperkit.errors import ConflictError, OutcomeUnknownError
from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.stores import PartitionStore

__all__ = ["Crashed", "Fault", "FaultyPartitions", "StoreCall"]


class Fault(Enum):
    """What happens to one call."""

    NONE = auto()
    """It works."""

    CONFLICT = auto()
    """A commit meets another writer, though nobody wrote: nothing is done. A read works."""

    UNKNOWN_BEFORE = auto()
    """The request is lost: nothing is done, and the caller cannot know."""

    UNKNOWN_AFTER = auto()
    """The answer is lost: all is done, and the caller cannot know."""

    CRASH_BEFORE = auto()
    """The caller's process dies before the request leaves."""

    CRASH_AFTER = auto()
    """The caller's process dies before the answer comes."""


class StoreCall(NamedTuple):
    """One call, as who decides about faults sees it.

    Attributes:
        operation: Which method.
        partitions: Which partitions.
    """

    operation: Literal["heads", "rows", "commit"]
    partitions: tuple[Partition, ...]


class Crashed(BaseException):
    """The process that called is dead: no `except Exception` may go on, and a simulator catches it."""


class FaultyPartitions:
    """Lets calls fail.

    Args:
        store: What it stands before.
        decide: Chooses the fate of each call, once for each.
    """

    def __init__(self, store: PartitionStore, decide: Callable[[StoreCall], Fault]) -> None:
        self._store = store
        self._decide = decide

    @property
    def spans_partitions(self) -> bool:
        """As the store behind."""
        return self._store.spans_partitions

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        """Read heads; see `PartitionStore.heads`."""
        fault = self._before(StoreCall("heads", tuple(partitions)))
        found = await self._store.heads(partitions)
        self._after(fault, "heads")
        return found

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        """Read rows; see `PartitionStore.rows`."""
        fault = self._before(StoreCall("rows", (partition,)))
        found = await self._store.rows(partition, spans, limit=limit)
        self._after(fault, "rows")
        return found

    async def commit(self, changes: Sequence[Change]) -> None:
        """Apply changes; see `PartitionStore.commit`."""
        fault = self._before(StoreCall("commit", tuple(change.partition for change in changes)))
        if fault is Fault.CONFLICT:
            raise ConflictError(changes[0].partition)
        await self._store.commit(changes)
        self._after(fault, "commit")

    def _before(self, call: StoreCall) -> Fault:
        fault = self._decide(call)
        if fault is Fault.CRASH_BEFORE:
            raise Crashed(call.operation)
        if fault is Fault.UNKNOWN_BEFORE:
            raise OutcomeUnknownError(call.operation)
        return fault

    def _after(self, fault: Fault, operation: str) -> None:
        if fault is Fault.CRASH_AFTER:
            raise Crashed(operation)
        if fault is Fault.UNKNOWN_AFTER:
            raise OutcomeUnknownError(operation)
