"""Marks and jobs over partitions pass the kits, also stepwise, in several processes and over lost replies."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import TypeVar

import pytest

from whisperkit.anyio_runtime import AnyioRuntime
from whisperkit.errors import CorruptStateError, OutcomeUnknownError
from whisperkit.ids import ConversationId, ConversationSeq
from whisperkit.partitions import EVERYTHING, Change, Partition, Row
from whisperkit.stores import (
    Job,
    Mark,
    MarkStore,
    MemoryPartitions,
    PartitionJobs,
    PartitionMarks,
    PartitionStore,
    commit_changes,
    load,
)
from whisperkit.stores.memory import CLAIM_S
from whisperkit.testing import (
    Fault,
    FaultyPartitions,
    JobLogConformance,
    JobsInTime,
    MarkStoreConformance,
    Stepwise,
    StoreCall,
)

T = TypeVar("T")
CHAT = ConversationId("chat")


class Clock(AnyioRuntime):
    """A runtime whose time passes only by sleeping, and whose random bytes are the same in every run."""

    def __init__(self) -> None:
        super().__init__()
        self.ms = 1_000_000
        self._random = Random(1)

    def now(self) -> float:
        return self.ms / 1_000

    def wall_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        self.ms += int(seconds * 1_000)

    def random(self, size: int) -> bytes:
        return self._random.randbytes(size)


def faulty(seed: int) -> PartitionStore:
    random = Random(seed)
    faults = [Fault.NONE] * 20 + [Fault.CONFLICT, Fault.UNKNOWN_BEFORE, Fault.UNKNOWN_AFTER]

    def decide(_: StoreCall) -> Fault:
        return random.choice(faults)

    return FaultyPartitions(MemoryPartitions(), decide)


@asynccontextmanager
async def open_marks() -> AsyncGenerator[MarkStore]:
    yield PartitionMarks(MemoryPartitions())


@asynccontextmanager
async def open_stepwise_marks() -> AsyncGenerator[MarkStore]:
    yield PartitionMarks(Stepwise(MemoryPartitions()))


@asynccontextmanager
async def open_jobs() -> AsyncGenerator[JobsInTime]:
    clock = Clock()
    yield JobsInTime(PartitionJobs(MemoryPartitions(), runtime=clock), clock.sleep, CLAIM_S)


@asynccontextmanager
async def open_stepwise_jobs() -> AsyncGenerator[JobsInTime]:
    clock = Clock()
    yield JobsInTime(PartitionJobs(Stepwise(MemoryPartitions()), runtime=clock), clock.sleep, CLAIM_S)


class TestPartitionMarks(MarkStoreConformance):
    make_store = staticmethod(open_marks)


class TestStepwisePartitionMarks(MarkStoreConformance):
    make_store = staticmethod(open_stepwise_marks)


class TestPartitionJobs(JobLogConformance):
    make_store = staticmethod(open_jobs)


class TestStepwisePartitionJobs(JobLogConformance):
    make_store = staticmethod(open_stepwise_jobs)


@pytest.mark.anyio
async def test_a_mark_that_is_there_costs_no_commit() -> None:
    store = MemoryPartitions()
    marks = PartitionMarks(store)
    mark = Mark(Partition("conv/1"), "read/x", 5)

    for value in (5, 5, 3):
        await marks.raise_marks([mark._replace(value=value)])

    assert (await store.heads([Partition("marks/conv/1")]))[Partition("marks/conv/1")].version == 1


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(5))
async def test_marks_survive_lost_replies(seed: int) -> None:
    marks = PartitionMarks(faulty(seed), runtime=Clock())
    last = {"m": 19}
    partitions = [Partition(f"conv/{number}") for number in range(3)]

    for value in range(20):
        await marks.raise_marks([Mark(partition, "m", value) for partition in partitions])

    found = await patiently(lambda: marks.marks(partitions))
    assert found == dict.fromkeys(partitions, last)


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(5))
async def test_jobs_survive_lost_replies(seed: int) -> None:
    clock = Clock()
    jobs = PartitionJobs(faulty(seed), runtime=clock)
    names = [ConversationId(f"c{number}") for number in range(6)]
    for name in names:
        await jobs.put(name, ConversationSeq(4))

    found: set[Job] = set()
    for _ in range(6):
        claim = await patiently(lambda: jobs.take(2))
        found |= set(claim.jobs)
        await jobs.done(claim)

    assert found == {Job(name, ConversationSeq(4)) for name in names}


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a read until it is answered."""
    while True:
        with suppress(OutcomeUnknownError):
            return await call()


@pytest.mark.anyio
async def test_two_processes_do_not_take_the_same_job() -> None:
    clock, store = Clock(), MemoryPartitions()
    one, other = (PartitionJobs(store, runtime=clock) for _ in range(2))
    for number in range(10):
        await one.put(ConversationId(f"c{number}"), ConversationSeq(1))

    first, second, third = await one.take(6), await other.take(6), await one.take(6)

    assert (len(first.jobs), len(second.jobs), len(third.jobs)) == (6, 4, 0)
    assert not set(first.jobs) & set(second.jobs)


@pytest.mark.anyio
async def test_a_higher_number_waits_for_the_claim_and_no_longer() -> None:
    clock = Clock()
    jobs = PartitionJobs(MemoryPartitions(), runtime=clock)
    await jobs.put(CHAT, ConversationSeq(3))
    claim = await jobs.take(1)
    await jobs.put(CHAT, ConversationSeq(5))

    meanwhile = await jobs.take(1)
    await jobs.done(claim)
    afterwards = await jobs.take(1)

    assert meanwhile.jobs == ()
    assert afterwards.jobs == (Job(CHAT, ConversationSeq(5)),)


@pytest.mark.anyio
async def test_a_zombie_does_not_give_up_the_claim_of_another() -> None:
    clock = Clock()
    jobs = PartitionJobs(MemoryPartitions(), runtime=clock)
    await jobs.put(CHAT, ConversationSeq(3))
    late = await jobs.take(1)
    await jobs.put(CHAT, ConversationSeq(5))
    await clock.sleep(CLAIM_S)
    await jobs.take(1)

    await jobs.done(late)

    assert (await jobs.take(1)).jobs == ()


@pytest.mark.anyio
async def test_released_jobs_are_there_at_once_and_others_stay_as_they_are() -> None:
    clock = Clock()
    jobs = PartitionJobs(MemoryPartitions(), runtime=clock)
    for number in range(20):
        await jobs.put(ConversationId(f"c{number}"), ConversationSeq(1))
    dead = await jobs.take(15)
    await jobs.put(dead.jobs[0].conversation, ConversationSeq(2))

    await jobs.release()
    await jobs.release()
    again = await jobs.take(20)

    assert len(again.jobs) == 20
    assert {job.upto for job in again.jobs if job.conversation == dead.jobs[0].conversation} == {2}


@pytest.mark.anyio
async def test_it_is_told_how_many_jobs_there_are_and_how_old_the_oldest_is() -> None:
    clock = Clock()
    jobs = PartitionJobs(MemoryPartitions(), runtime=clock)
    before = await jobs.pending()
    for number in range(20):
        await jobs.put(ConversationId(f"c{number}"), ConversationSeq(1))
        await clock.sleep(1.0)
    while_all_wait = await jobs.pending()

    await jobs.put(ConversationId("c0"), ConversationSeq(2))  # no younger for it
    claim = await jobs.take(20)
    while_all_are_worked_on = await jobs.pending()
    await clock.sleep(3.0)
    await jobs.put(ConversationId("c0"), ConversationSeq(3))
    await jobs.done(claim)

    assert before == (0, 0.0)
    assert while_all_wait == while_all_are_worked_on == (20, 20.0)
    # What was put during the claim cannot have waited for longer than the claim.
    assert await jobs.pending() == (1, 3.0)


@pytest.mark.anyio
async def test_a_job_whose_worker_died_has_waited_since_it_was_put() -> None:
    clock = Clock()
    jobs = PartitionJobs(MemoryPartitions(), runtime=clock)
    await jobs.put(CHAT, ConversationSeq(1))
    await jobs.take(1)

    await clock.sleep(CLAIM_S + 1)
    before = await jobs.pending()
    await jobs.release()

    assert before == await jobs.pending() == (1, CLAIM_S + 1)


@pytest.mark.anyio
async def test_no_more_jobs_are_counted_than_asked_for() -> None:
    jobs = PartitionJobs(MemoryPartitions(), runtime=Clock())
    for number in range(50):
        await jobs.put(ConversationId(f"c{number}"), ConversationSeq(1))

    assert (await jobs.pending(limit=20)).jobs == 20


@pytest.mark.anyio
async def test_jobs_of_many_pages_are_counted() -> None:
    store = MemoryPartitions()
    shard = PartitionJobs.load_for(CHAT).partition
    row = bytes(7) + b"\1" + bytes(24)
    await store.commit([Change(shard, 0, b"", tuple(Row(b"c%04d" % number, row) for number in range(1_001)))])

    assert (await PartitionJobs(store).pending()).jobs == 1_001


@pytest.mark.anyio
async def test_a_job_may_ride_in_the_commit_of_a_post() -> None:
    store = MemoryPartitions()
    wanted = PartitionJobs.load_for(CHAT)
    loaded = (await load(store, [wanted]))[wanted.partition]
    change = PartitionJobs.change_for(loaded, CHAT, ConversationSeq(2), at_ms=1)
    assert change is not None

    await commit_changes(store, [change, Change(Partition("conv/chat"), 0, b"post 2")])

    loaded = (await load(store, [wanted]))[wanted.partition]
    assert PartitionJobs.change_for(loaded, CHAT, ConversationSeq(2), at_ms=1) is None
    assert (await PartitionJobs(store).take(1)).jobs == (Job(CHAT, ConversationSeq(2)),)


@pytest.mark.anyio
async def test_a_row_that_is_no_job_is_corrupt_state() -> None:
    store = MemoryPartitions()
    shard = PartitionJobs.load_for(CHAT).partition
    await store.commit([Change(shard, 0, b"", (Row(CHAT.encode(), b"short"),))])

    with pytest.raises(CorruptStateError, match="32 bytes expected, got 5"):
        await PartitionJobs(store).take(1)

    assert len(await store.rows(shard, [EVERYTHING], limit=9)) == 1
