"""A store that takes one change in a commit, made of one that takes several."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from whisperkit.errors import UsageError
from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.stores import PartitionStore

__all__ = ["Stepwise"]


class Stepwise:
    """Takes `spans_partitions` away, so that a test can run both ways over one adapter.

    Args:
        store: What it stands before.
    """

    spans_partitions = False

    def __init__(self, store: PartitionStore) -> None:
        self._store = store

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        """Read heads; see `PartitionStore.heads`."""
        return await self._store.heads(partitions)

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        """Read rows; see `PartitionStore.rows`."""
        return await self._store.rows(partition, spans, limit=limit)

    async def commit(self, changes: Sequence[Change]) -> None:
        """Apply one change; see `PartitionStore.commit`.

        Raises:
            UsageError: There are several.
        """
        if len(changes) > 1:
            raise UsageError(
                f"the store takes one change in a commit, got {len(changes)}", code="usage.spans-partitions"
            )
        await self._store.commit(changes)
