"""A real database under the simulator: its calls take no simulated time, and happen one after the other.

The database keeps its event loop, on a thread of its own; the simulated world stands still while it works. So its
answers decide what happens, and its speed does not: a run over it replays like any other, if it answers alike.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from anyio.from_thread import BlockingPortal, start_blocking_portal

from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.stores import PartitionStore
from whisperkit.testing.conformance import Maker

__all__ = ["opened"]


class _Elsewhere:
    """A store whose calls run on another thread, and are waited for."""

    def __init__(self, store: PartitionStore, portal: BlockingPortal) -> None:
        self._store = store
        self._portal = portal

    @property
    def spans_partitions(self) -> bool:
        """As the store behind."""
        return self._store.spans_partitions

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        """Read heads; see `PartitionStore.heads`."""
        return self._portal.call(self._store.heads, partitions)

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        """Read rows; see `PartitionStore.rows`."""
        return self._portal.call(partial(self._store.rows, partition, spans, limit=limit))

    async def commit(self, changes: Sequence[Change]) -> None:
        """Apply changes; see `PartitionStore.commit`."""
        self._portal.call(self._store.commit, changes)


@contextmanager
def opened(make: Maker[PartitionStore], *, backend: str = "asyncio") -> Generator[PartitionStore]:
    """Open a store for one run.

    Args:
        make: The maker that the conformance kit takes; it has to open an empty store each time.
        backend: The event loop of the store.
    """
    with start_blocking_portal(backend) as portal, portal.wrap_async_context_manager(make()) as store:
        yield _Elsewhere(store, portal)
