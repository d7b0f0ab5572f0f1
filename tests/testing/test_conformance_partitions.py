"""The kit passes stores that are right, whether they answer at once or let others come in between."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel

from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.stores import MemoryPartitions, PartitionStore
from whisperkit.testing import PartitionStoreConformance, Stepwise


@asynccontextmanager
async def open_memory() -> AsyncGenerator[PartitionStore]:
    yield MemoryPartitions()


@asynccontextmanager
async def open_stepwise() -> AsyncGenerator[PartitionStore]:
    yield Stepwise(MemoryPartitions())


class WaitsBeforeAndAfter(MemoryPartitions):
    """As a database behind a network: others come in between, and all is still right."""

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        await anyio.lowlevel.checkpoint()
        found = await super().heads(partitions)
        await anyio.lowlevel.checkpoint()
        return found

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        await anyio.lowlevel.checkpoint()
        found = await super().rows(partition, spans, limit=limit)
        await anyio.lowlevel.checkpoint()
        return found

    async def commit(self, changes: Sequence[Change]) -> None:
        await anyio.lowlevel.checkpoint()
        await super().commit(changes)
        await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def open_waiting() -> AsyncGenerator[PartitionStore]:
    yield WaitsBeforeAndAfter()


class TestPartitionsThatWait(PartitionStoreConformance):
    make_store = staticmethod(open_waiting)


class TestMemoryPartitions(PartitionStoreConformance):
    make_store = staticmethod(open_memory)


class TestStepwiseMemoryPartitions(PartitionStoreConformance):
    make_store = staticmethod(open_stepwise)
