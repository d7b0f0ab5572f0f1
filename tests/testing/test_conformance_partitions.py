"""The kit passes the reference, and catches each store that is broken in one way."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from whisperkit.stores import MemoryPartitions, PartitionStore
from whisperkit.testing import PartitionStoreConformance, Stepwise


@asynccontextmanager
async def open_memory() -> AsyncGenerator[PartitionStore]:
    yield MemoryPartitions()


@asynccontextmanager
async def open_stepwise() -> AsyncGenerator[PartitionStore]:
    yield Stepwise(MemoryPartitions())


class TestMemoryPartitions(PartitionStoreConformance):
    make_store = staticmethod(open_memory)


class TestStepwiseMemoryPartitions(PartitionStoreConformance):
    make_store = staticmethod(open_stepwise)
