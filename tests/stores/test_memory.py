"""The doors in memory pass the kits; what the kits do not ask is here."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from whisperkit.errors import ConflictError
from whisperkit.ids import DeviceId, GatewayId, Owner
from whisperkit.partitions import Change, Head, Partition
from whisperkit.stores import (
    Absent,
    Binding,
    BlobBytes,
    Kept,
    LocalBus,
    MarkStore,
    MemoryBlobs,
    MemoryDirectory,
    MemoryJobs,
    MemoryMarks,
    MemoryPartitions,
    PartitionStore,
    Token,
    Unbound,
    Unknown,
)
from whisperkit.stores.memory import CLAIM_S, FORGET_S, YOUNG_S
from whisperkit.testing import (
    BlobBytesConformance,
    DirectoryConformance,
    DirectoryInTime,
    JobLogConformance,
    JobsInTime,
    MarkStoreConformance,
    PartitionStoreConformance,
)
from whisperkit.transport import Hint, HintResult, Took

DEVICE = DeviceId.named("alice", 1)
OWNER = Owner(GatewayId("g1"), 1)


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    async def wait(self, seconds: float) -> None:
        self.time += seconds


@asynccontextmanager
async def open_partitions() -> AsyncGenerator[PartitionStore]:
    yield MemoryPartitions()


@asynccontextmanager
async def open_marks() -> AsyncGenerator[MarkStore]:
    yield MemoryMarks()


@asynccontextmanager
async def open_jobs() -> AsyncGenerator[JobsInTime]:
    clock = Clock()
    yield JobsInTime(MemoryJobs(now=clock.now), clock.wait, CLAIM_S)


@asynccontextmanager
async def open_directory() -> AsyncGenerator[DirectoryInTime]:
    clock = Clock()
    yield DirectoryInTime(MemoryDirectory(now=clock.now), clock.wait, YOUNG_S)


@asynccontextmanager
async def open_blobs() -> AsyncGenerator[BlobBytes]:
    yield MemoryBlobs()


class TestMemoryPartitions(PartitionStoreConformance):
    make_store = staticmethod(open_partitions)


class TestMemoryMarks(MarkStoreConformance):
    make_store = staticmethod(open_marks)


class TestMemoryJobs(JobLogConformance):
    make_store = staticmethod(open_jobs)


class TestMemoryDirectory(DirectoryConformance):
    make_store = staticmethod(open_directory)


class TestMemoryBlobs(BlobBytesConformance):
    make_store = staticmethod(open_blobs)


class _Kept:
    """What a maker made is kept and given again, as a server that restarts on the same disk would."""

    survives_restart = True

    @pytest.fixture(autouse=True)
    def _keep(self) -> None:
        self.clock = Clock()
        self.marks = MemoryMarks()
        self.jobs = MemoryJobs(now=self.clock.now)
        self.blobs = MemoryBlobs()


class TestKeptMarks(_Kept, MarkStoreConformance):
    @asynccontextmanager
    async def make_store(self) -> AsyncGenerator[MarkStore]:
        yield self.marks


class TestKeptJobs(_Kept, JobLogConformance):
    @asynccontextmanager
    async def make_store(self) -> AsyncGenerator[JobsInTime]:
        yield JobsInTime(self.jobs, self.clock.wait, CLAIM_S)


class TestKeptBlobs(_Kept, BlobBytesConformance):
    @asynccontextmanager
    async def make_store(self) -> AsyncGenerator[BlobBytes]:
        yield self.blobs


def test_a_conflict_tells_the_present_heads() -> None:
    name = Partition("p")

    async def run() -> None:
        store = MemoryPartitions()
        await store.commit([Change(name, 0, b"state")])
        with pytest.raises(ConflictError) as caught:
            await store.commit([Change(name, 0, b"other")])
        assert caught.value.partition == name
        assert caught.value.heads == {name: Head(1, b"state")}

    anyio.run(run)


def test_a_directory_that_is_emptied_is_young_again() -> None:
    async def run() -> None:
        clock = Clock()
        directory = MemoryDirectory(now=clock.now)
        clock.time = YOUNG_S
        await directory.alive(OWNER, 1_000)
        await directory.bind([Binding(DEVICE, 1, OWNER, Token(b"t"))])

        directory.empty()

        assert await directory.lookup([DEVICE]) == {DEVICE: Unknown(DEVICE)}
        clock.time += YOUNG_S
        assert await directory.lookup([DEVICE]) == {DEVICE: Unbound(DEVICE)}

    anyio.run(run)


def test_an_owner_long_gone_is_forgotten_with_its_bindings() -> None:
    async def run() -> None:
        clock = Clock()
        directory = MemoryDirectory(now=clock.now)
        await directory.alive(OWNER, 10)
        binding = Binding(DEVICE, 9, OWNER, Token(b"t"))
        await directory.bind([binding])

        clock.time = 10 + FORGET_S - 1
        await directory.alive(Owner(GatewayId("g2"), 1), 10)
        remembered = await directory.keep([binding])
        clock.time += 1
        await directory.alive(Owner(GatewayId("g3"), 1), 10)

        assert remembered == [Kept(binding)]
        assert await directory.keep([binding]) == [Absent(DEVICE)]
        assert await directory.gone([OWNER]) == {OWNER}

    anyio.run(run)


def test_a_local_bus_reaches_gateways_that_joined() -> None:
    async def run() -> None:
        bus, gateway = LocalBus(), GatewayId("g1")
        hints = [Hint(DEVICE, 3, None), Hint(DEVICE, 4, b"entry")]
        heard: list[Hint] = []

        def take(some: object) -> list[HintResult]:
            assert isinstance(some, list)
            heard.extend(hints)
            return [Took(DEVICE), None]

        assert await bus.hint(gateway, hints) == [None, None]
        bus.join(gateway, take)
        assert await bus.hint(gateway, hints) == [Took(DEVICE), None]
        bus.leave(gateway)
        bus.leave(gateway)
        assert await bus.hint(gateway, hints) == [None, None]
        assert heard == hints

    anyio.run(run)
