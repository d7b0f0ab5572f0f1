"""What a `PartitionStore` promises to many who commit at once, and to one whose replies are lost."""

from __future__ import annotations

from random import Random

import anyio
import anyio.lowlevel

from whisperkit.errors import ConflictError
from whisperkit.partitions import (
    EVERYTHING,
    Change,
    Head,
    Partition,
    Row,
    Span,
    prefix,
    seq_key,
    seq_of,
)
from whisperkit.stores import Load, Loaded, Outcome, PartitionStore, transact
from whisperkit.testing.conformance import LawBrokenError, expect, in_lab
from whisperkit.testing.faulty import Fault, FaultyPartitions, StoreCall
from whisperkit.testing.partition_lab import ALL, PartitionLab, contents, numbered

__all__ = [
    "a_read_sees_every_commit_that_returned",
    "head_and_rows_of_one_version_belong_together",
    "no_update_is_lost_among_many_tasks",
    "what_was_acknowledged_is_there_once_though_replies_are_lost",
]


@in_lab
async def no_update_is_lost_among_many_tasks(lab: PartitionLab) -> None:
    """Twelve tasks count in two heads."""
    partitions = [lab.partition("hot"), lab.partition("warm")]

    async def count(store: PartitionStore, number: int) -> None:
        for turn in range(6):
            name = partitions[(number + turn) % 7 == 0]
            await _increment(store, name)

    async with lab.make() as store:
        async with anyio.create_task_group() as group:
            for number in range(12):
                group.start_soon(count, store, number)

        versions = 0
        for name in partitions:
            head, rows = await contents(store, name)
            version = head.version if head else 0
            versions += version
            expect(head, Head(version, b"%d" % version), "law 2, each commit sees the one before it")
            expect(rows, dict(numbered(*range(1, version + 1))), "law 1, each commit leaves its row")
        expect(versions, 12 * 6, "law 2, of two commits at one version one is refused")


async def _increment(store: PartitionStore, name: Partition) -> int:
    """Raise the number in the head and put its row, whatever others do."""
    while True:
        head = (await store.heads([name])).get(name, Head(0, b"0"))
        number = int(head.state) + 1
        try:
            await store.commit([Change(name, head.version, b"%d" % number, numbered(number))])
        except ConflictError:
            await anyio.lowlevel.checkpoint()
        else:
            return number


@in_lab
async def a_read_sees_every_commit_that_returned(lab: PartitionLab) -> None:
    """One task commits while three read."""
    partition = lab.partition("p")
    returned = 0
    written = anyio.Event()

    async def write(store: PartitionStore) -> None:
        nonlocal returned
        for _ in range(20):
            returned = await _increment(store, partition)
            await anyio.lowlevel.checkpoint()
        written.set()

    async def read(store: PartitionStore) -> None:
        while not written.is_set():
            least = returned
            head = (await store.heads([partition])).get(partition, Head(0, b"0"))
            if int(head.state) < least:
                raise LawBrokenError(f"law 3: a head shows {int(head.state)}, {least} had returned before")
            least = returned
            rows = await store.rows(partition, [EVERYTHING._replace(reverse=True)], limit=1)
            newest = seq_of(rows[0].key) if rows else 0
            if newest < least:
                raise LawBrokenError(f"law 3: rows end at {newest}, {least} had returned before")
            await anyio.lowlevel.checkpoint()

    async with lab.make() as store, anyio.create_task_group() as group:
        group.start_soon(write, store)
        for _ in range(3):
            group.start_soon(read, store)


@in_lab
async def head_and_rows_of_one_version_belong_together(lab: PartitionLab) -> None:
    """A reader that finds the head unchanged after its rows has read those of that version."""
    partition = lab.partition("p")
    written = anyio.Event()

    async def write(store: PartitionStore) -> None:
        for version in range(25):
            await store.commit([Change(partition, version, b"%d" % version, (Row(b"a", b"%d" % version),))])
            await anyio.lowlevel.checkpoint()
        written.set()

    async def read(store: PartitionStore) -> None:
        while not written.is_set():
            before = await store.heads([partition])
            rows = await store.rows(partition, [EVERYTHING], limit=ALL)
            after = await store.heads([partition])
            if before == after and before:
                expect(list(rows), [Row(b"a", before[partition].state)], "law 1, head and rows change together")
            await anyio.lowlevel.checkpoint()

    async with lab.make() as store, anyio.create_task_group() as group:
        group.start_soon(write, store)
        for _ in range(3):
            group.start_soon(read, store)


@in_lab
async def what_was_acknowledged_is_there_once_though_replies_are_lost(lab: PartitionLab) -> None:
    """A log that many append to through `transact`, over replies and requests that are lost."""
    partition = lab.partition("log")
    random = Random(7)

    def decide(_: StoreCall) -> Fault:
        return random.choice((Fault.NONE, Fault.NONE, Fault.CONFLICT, Fault.UNKNOWN_BEFORE, Fault.UNKNOWN_AFTER))

    def append(loaded: Loaded, name: bytes) -> Outcome[None]:
        if Row(b"id/" + name, b"").key in loaded.rows:
            return Outcome(None)
        number = int(loaded.state or b"0") + 1
        rows = (Row(b"id/" + name, b""), Row(seq_key(b"e/", number), name))
        return Outcome(None, (Change(partition, loaded.version, b"%d" % number, rows),))

    async def write(store: PartitionStore, name: bytes) -> None:
        wanted = Load(partition, (Span(b"id/" + name, b"id/" + name + b"\0"),))
        while True:
            try:
                return await transact(store, [wanted], lambda loaded: append(loaded[partition], name))
            except Exception:  # a client repeats until it is answered
                await anyio.lowlevel.checkpoint()

    names = [b"%02d" % number for number in range(20)]
    async with lab.make() as store:
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(write, FaultyPartitions(store, decide), name)

        rows = await store.rows(partition, [prefix(b"e/")], limit=ALL)
        expect([seq_of(row.key) for row in rows], list(range(1, 21)), "numbers are dense")
        expect(sorted(row.value for row in rows), names, "each is there once")
