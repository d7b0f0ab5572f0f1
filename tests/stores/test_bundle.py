"""`Stores`: what is kept where by default, and that each door can be replaced."""

from __future__ import annotations

import attrs
import pytest

from whisperkit.anyio_runtime import AnyioRuntime
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId
from whisperkit.partitions import Partition
from whisperkit.stores import (
    LocalBus,
    Mark,
    MemoryBlobs,
    MemoryDirectory,
    MemoryJobs,
    MemoryMarks,
    MemoryPartitions,
    PartitionJobs,
    PartitionMarks,
    Roster,
    Stores,
    Unknown,
)


class NoRooms:
    async def roster(self, conversation: ConversationId) -> Roster | None:
        return None


def doors_of(stores: Stores) -> tuple[object, ...]:
    return attrs.astuple(stores, recurse=False)


def kinds_of(stores: Stores) -> list[type]:
    return [type(door) for door in doors_of(stores)]


def test_memory_keeps_everything_in_memory() -> None:
    stores = Stores.memory()

    assert kinds_of(stores) == [
        MemoryPartitions,
        MemoryMarks,
        MemoryDirectory,
        MemoryJobs,
        MemoryBlobs,
        type(None),
        LocalBus,
    ]


def test_over_a_database_marks_and_jobs_are_kept_in_it() -> None:
    partitions = MemoryPartitions()

    stores = Stores.over(partitions)

    assert stores.partitions is partitions
    assert kinds_of(stores)[1:] == [PartitionMarks, MemoryDirectory, PartitionJobs, MemoryBlobs, type(None), LocalBus]


def test_every_door_can_be_replaced() -> None:
    runtime = AnyioRuntime()
    marks, jobs, directory = MemoryMarks(), MemoryJobs(now=runtime.now), MemoryDirectory(now=runtime.now)
    blobs, rosters, bus = MemoryBlobs(), NoRooms(), LocalBus()

    stores = Stores.over(
        MemoryPartitions(), marks=marks, jobs=jobs, directory=directory, blobs=blobs, rosters=rosters, bus=bus
    )

    assert doors_of(stores)[1:] == (marks, directory, jobs, blobs, rosters, bus)


def test_stores_are_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(Stores.memory(), "bus", LocalBus())  # noqa: B010  # the type checkers refuse the plain assignment


@pytest.mark.anyio
@pytest.mark.parametrize("own_runtime", [True, False])
async def test_both_ways_work(own_runtime: bool) -> None:
    runtime = AnyioRuntime() if own_runtime else None
    device, partition = DeviceId.named("alice", 1), Partition("conv/1")
    for stores in (Stores.memory(runtime=runtime), Stores.over(MemoryPartitions(), runtime=runtime)):
        await stores.marks.raise_marks([Mark(partition, "m", 1)])
        await stores.jobs.put(ConversationId("c"), ConversationSeq(1))

        assert await stores.marks.marks([partition]) == {partition: {"m": 1}}
        assert len((await stores.jobs.take(5)).jobs) == 1
        assert await stores.directory.lookup([device]) == {device: Unknown(device)}
