"""Marks, jobs, directories and attachments that are broken, each in one way: the kits must catch them all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import anyio
import anyio.lowlevel

from whisperkit.ids import BlobId, ConversationId, ConversationSeq, DeviceId, Owner
from whisperkit.partitions import Partition
from whisperkit.stores import (
    Absent,
    Binding,
    Bound,
    Claim,
    Job,
    Kept,
    Lookup,
    Mark,
    MemoryBlobs,
    MemoryDirectory,
    MemoryJobs,
    MemoryMarks,
    Newer,
    Token,
    Unbound,
)

__all__ = ["BROKEN_BLOBS", "BROKEN_DIRECTORIES", "BROKEN_JOBS", "BROKEN_MARKS"]


class WritesTheLast(MemoryMarks):
    """Sets a mark to what came last."""

    async def raise_marks(self, marks: Sequence[Mark]) -> None:
        for partition, name, value in marks:
            self._marks[partition][name] = value


class ReadsThenWrites(MemoryMarks):
    """Reads, waits and writes: of two who raise at once one is forgotten."""

    async def raise_marks(self, marks: Sequence[Mark]) -> None:
        before = await self.marks([mark.partition for mark in marks])
        await anyio.lowlevel.checkpoint()
        for partition, name, value in marks:
            self._marks[partition][name] = max(value, before.get(partition, {}).get(name, 0))


class ReadsOnePage(MemoryMarks):
    """Reads the first thousand marks of a partition."""

    async def marks(self, partitions: Collection[Partition]) -> Mapping[Partition, Mapping[str, int]]:
        found = await super().marks(partitions)
        return {name: dict(list(marks.items())[:1_000]) for name, marks in found.items()}


class KeepsTheLastNumber(MemoryJobs):
    """Lets a lower number replace a higher one."""

    async def put(self, conversation: ConversationId, upto: ConversationSeq) -> None:
        self._upto[conversation] = upto


class ForgetsWhenTaken(MemoryJobs):
    """Deletes a job when it is handed out."""

    async def take(self, limit: int) -> Claim:
        claim = await super().take(limit)
        await self.done(claim)
        return claim


class ForgetsAllOfAConversation(MemoryJobs):
    """Takes whatever is there for a conversation as done."""

    async def done(self, claim: Claim) -> None:
        for job in claim.jobs:
            self._upto.pop(job.conversation, None)
            self._claimed.pop(job.conversation, None)


class NeverDone(MemoryJobs):
    """Ignores that a job was done."""

    async def done(self, claim: Claim) -> None:
        return


class TakesAll(MemoryJobs):
    """Ignores the limit."""

    async def take(self, limit: int) -> Claim:
        return await super().take(1_000)


class TakesTheNewestFirst(MemoryJobs):
    """Keeps every number that was put, and hands out the newest first."""

    def __init__(self, *, now: Callable[[], float]) -> None:
        super().__init__(now=now)
        self._stack: list[Job] = []

    async def put(self, conversation: ConversationId, upto: ConversationSeq) -> None:
        self._stack.append(Job(conversation, upto))

    async def take(self, limit: int) -> Claim:
        taken = [self._stack.pop() for _ in range(min(limit, len(self._stack)))]
        return Claim(tuple(taken), b"")


class LastArrivalWins(MemoryDirectory):
    """Binds whoever comes last (models, "newest = last to arrive")."""

    def _bind(self, binding: Binding) -> Bound | Newer:
        self._bindings[binding.device] = binding
        return Bound(binding)


class AbsentIsSuperseded(MemoryDirectory):
    """Tells a connection that it was displaced when another, older one is there."""

    def _keep(self, binding: Binding) -> Kept | Absent | Newer:
        there = self._bindings.get(binding.device)
        if there is not None and there.token != binding.token:
            return Newer(there)
        return super()._keep(binding)


class AnybodyUnbinds(MemoryDirectory):
    """Deletes without comparing."""

    async def unbind(self, device: DeviceId, token: Token) -> None:
        self._bindings.pop(device, None)


class BindsForEver(MemoryDirectory):
    """Ignores leases."""

    def _lookup(self, device: DeviceId, now: float) -> Lookup:
        there = self._bindings.get(device)
        return Bound(there) if there is not None else super()._lookup(device, now)


class GuessesWhenYoung(MemoryDirectory):
    """Takes who is not there for not connected, right after a restart."""

    def _lookup(self, device: DeviceId, now: float) -> Lookup:
        found = super()._lookup(device, now)
        return found if isinstance(found, Bound) else Unbound(device)


class BuriesWhenYoung(MemoryDirectory):
    """Takes who is not there for gone, right after a restart."""

    async def gone(self, owners: Collection[Owner]) -> frozenset[Owner]:
        return frozenset(owner for owner in owners if self._alive_until.get(owner, 0.0) <= self._now())


class OnlyTheKnownAreGone(MemoryDirectory):
    """Takes whom it never heard of for alive: what it forgot would be adopted by nobody."""

    async def gone(self, owners: Collection[Owner]) -> frozenset[Owner]:
        return (await super().gone(owners)) & self._alive_until.keys()


class NobodyIsGone(MemoryDirectory):
    """Lets no lease run out."""

    async def gone(self, owners: Collection[Owner]) -> frozenset[Owner]:
        return (await super().gone(owners)) - self._alive_until.keys()


class Appends(MemoryBlobs):
    """Appends whatever the offset: a repeated write doubles."""

    async def put(self, blob: BlobId, offset: int, data: bytes) -> int:
        return await super().put(blob, len(self._blobs.get(blob, b"")), data)


class CutsOff(MemoryBlobs):
    """Ends the attachment where a write ends."""

    async def put(self, blob: BlobId, offset: int, data: bytes) -> int:
        size = await super().put(blob, offset, data)
        del self._blobs[blob][offset + len(data) : size]
        return len(self._blobs[blob])


class FillsHoles(MemoryBlobs):
    """Fills what was not written with zeros."""

    async def put(self, blob: BlobId, offset: int, data: bytes) -> int:
        there = self._blobs.setdefault(blob, bytearray())
        there += bytes(max(0, offset - len(there)))
        return await super().put(blob, offset, data)


class NeverDrops(MemoryBlobs):
    """Ignores a drop."""

    async def drop(self, blob: BlobId) -> None:
        return


BROKEN_MARKS: Final[tuple[type[MemoryMarks], ...]] = (WritesTheLast, ReadsThenWrites, ReadsOnePage)
BROKEN_JOBS: Final[tuple[type[MemoryJobs], ...]] = (
    KeepsTheLastNumber,
    ForgetsWhenTaken,
    ForgetsAllOfAConversation,
    NeverDone,
    TakesAll,
    TakesTheNewestFirst,
)
BROKEN_DIRECTORIES: Final[tuple[type[MemoryDirectory], ...]] = (
    LastArrivalWins,
    AbsentIsSuperseded,
    AnybodyUnbinds,
    BindsForEver,
    GuessesWhenYoung,
    BuriesWhenYoung,
    OnlyTheKnownAreGone,
    NobodyIsGone,
)
BROKEN_BLOBS: Final[tuple[type[MemoryBlobs], ...]] = (Appends, CutsOff, FillsHoles, NeverDrops)
