"""What a `PartitionStore` promises, as checks: the kit that every adapter has to pass.

The checks of this module are examples, one promise each, so that a broken adapter reads in the failing name what it
lacks. Then come tasks that commit at once and a store whose replies are lost, from `conformance_races`, and last
`conformance_programs`, which compares any sequence of calls with a dictionary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

import anyio
import anyio.lowlevel

from whisperkit.errors import ConflictError
from whisperkit.partitions import (
    EVERYTHING,
    MAX_KEY_BYTES,
    MAX_PARTITION_CHARS,
    MAX_STATE_BYTES,
    MAX_VALUE_BYTES,
    Change,
    Head,
    Partition,
    Row,
    Span,
    prefix,
    seq_key,
    seq_of,
    seq_span,
)
from whisperkit.stores import Load, Loaded, Outcome, PartitionStore, Rule, transact
from whisperkit.testing.conformance import Check, Conformance, NotApplicable, expect, in_lab
from whisperkit.testing.conformance_programs import any_sequence_of_calls_ends_as_in_a_dictionary
from whisperkit.testing.conformance_races import (
    a_read_sees_every_commit_that_returned,
    head_and_rows_of_one_version_belong_together,
    no_update_is_lost_among_many_tasks,
    what_was_acknowledged_is_there_once_though_replies_are_lost,
)
from whisperkit.testing.partition_lab import ALL, PartitionLab, contents, numbered, refused

__all__ = ["PARTITION_CHECKS", "PartitionStoreConformance"]

_NO_ROWS: Final[Mapping[bytes, bytes]] = {}


# ---- one commit -----------------------------------------------------------------------------------------------------


@in_lab
async def what_was_committed_is_read(lab: PartitionLab) -> None:
    one, other = lab.partition("one"), lab.partition("other")
    async with lab.make() as store:
        await store.commit([Change(one, 0, b"state", numbered(1, 2))])

        heads = await store.heads([one, other])

        expect(dict(heads), {one: Head(1, b"state")}, "a partition that was never written is absent, others are there")
        expect(
            list(await store.rows(one, [EVERYTHING], limit=ALL)), list(numbered(1, 2)), "rows that were put are read"
        )
        expect(list(await store.rows(other, [EVERYTHING], limit=ALL)), [], "a partition has its own rows only")


@in_lab
async def each_commit_raises_the_version_by_one(lab: PartitionLab) -> None:
    partition = lab.partition("p")
    async with lab.make() as store:
        for version in range(5):
            await store.commit([Change(partition, version, b"%d" % version)])

            head = (await store.heads([partition])).get(partition)
            expect(head, Head(version + 1, b"%d" % version), "law 2, versions rise by one")


@in_lab
async def a_version_outlives_state_and_rows(lab: PartitionLab) -> None:
    partition = lab.partition("p")
    async with lab.make() as store:
        await store.commit([Change(partition, 0, b"state", numbered(1))])
        await store.commit([Change(partition, 1, b"", (), (seq_key(b"e/", 1),))])

        expect(
            await contents(store, partition), (Head(2, b""), _NO_ROWS), "law 4, an empty partition keeps its version"
        )
        await refused(store, [Change(partition, 0, b"")], "law 4, an empty partition is not a new one")


@in_lab
async def a_commit_at_another_version_is_refused_and_leaves_no_trace(lab: PartitionLab) -> None:
    partition = lab.partition("p")
    async with lab.make() as store:
        for wrong in (1, 7):
            await refused(store, [Change(partition, wrong, b"x", numbered(9))], "law 2, never written is version 0")
        expect(await contents(store, partition), (None, _NO_ROWS), "law 1, a refused commit does nothing")
        await store.commit([Change(partition, 0, b"0", numbered(1))])
        await store.commit([Change(partition, 1, b"1")])
        before = await contents(store, partition)

        for wrong in (0, 1, 3):
            change = Change(partition, wrong, b"x", numbered(9), (seq_key(b"e/", 1),), Span(b"d/", b"d0"))
            await refused(store, [change], f"law 2, version {wrong} expected at version 2")

        expect(await contents(store, partition), before, "law 1, a refused commit does nothing")


@in_lab
async def a_put_replaces_and_a_delete_deletes(lab: PartitionLab) -> None:
    partition = lab.partition("p")
    async with lab.make() as store:
        await store.commit([Change(partition, 0, b"", (Row(b"a", b"1"), Row(b"b", b"1"), Row(b"c", b"1")))])
        await store.commit([Change(partition, 1, b"", (Row(b"a", b"2"), Row(b"d", b"")), (b"b", b"missing"))])

        _, rows = await contents(store, partition)
        expect(rows, {b"a": b"2", b"c": b"1", b"d": b""}, "rows are replaced and deleted by key")
        await store.commit([Change(partition, 2, b"", (Row(b"b", b"3"),), (b"a",))])
        _, rows = await contents(store, partition)
        expect(rows, {b"b": b"3", b"c": b"1", b"d": b""}, "a deleted key can be put again")


@in_lab
async def a_drop_spares_other_rows_and_those_that_come_later(lab: PartitionLab) -> None:
    partition, other = lab.partition("p"), lab.partition("q")
    kept = {b"d": b"", b"d0": b"", b"e/1": b""}
    async with lab.make() as store:
        rows = tuple(Row(b"d/%03d" % number, b"old") for number in range(700))
        await store.commit([Change(partition, 0, b"", (*rows, *(Row(*item) for item in kept.items())))])
        await store.commit([Change(other, 0, b"", rows[:3])])
        await store.commit([Change(partition, 1, b"", (), (), prefix(b"d/"))])
        await store.commit([Change(partition, 2, b"", (Row(b"d/005", b"new"), Row(b"d/new", b"new")))])
        for version in range(3, 13):
            await store.commit([Change(partition, version, b"")])

        _, found = await contents(store, partition)
        later = {key: value for key, value in found.items() if value == b"new"}
        expect(later, {b"d/005": b"new", b"d/new": b"new"}, "a drop does not touch what is put after it")
        expect({key: found.get(key) for key in kept}, kept, "a drop does not touch what is outside its span")
        expect((await contents(store, other))[1], dict(rows[:3]), "a drop does not touch other partitions")


@in_lab
async def the_largest_values_are_kept_whole(lab: PartitionLab) -> None:
    partition = Partition(lab.partition("p").ljust(MAX_PARTITION_CHARS, "x"))
    state = bytes(range(256)) * (MAX_STATE_BYTES // 256)
    key = (b"k" + bytes(range(256)))[:MAX_KEY_BYTES]
    value = bytes(range(256)) * (MAX_VALUE_BYTES // 256)
    async with lab.make() as store:
        await store.commit([Change(partition, 0, state, (Row(key, value), Row(b"\0", b"\0")))])

        expect(await contents(store, partition), (Head(1, state), {b"\0": b"\0", key: value}), "bytes are kept")


@in_lab
async def many_partitions_and_many_spans_are_read_at_once(lab: PartitionLab) -> None:
    partitions = [lab.partition(f"p{number}") for number in range(300)]
    async with lab.make() as store:
        for partition in partitions[::10]:
            await store.commit([Change(partition, 0, partition.encode())])
        await store.commit([Change(partitions[1], 0, b"", numbered(*range(1, 1001)))])
        spans = [seq_span(b"e/", number, number + 1) for number in range(0, 1000, 2)]

        heads = await store.heads(partitions)
        rows = await store.rows(partitions[1], spans, limit=ALL)

        written = {partition: Head(1, partition.encode()) for partition in partitions[::10]}
        expect(dict(heads), written | {partitions[1]: Head(1, b"")}, "heads are read, however many")
        expect(list(rows), list(numbered(*range(1, 1001, 2))), "spans are read, however many")


# ---- spans ----------------------------------------------------------------------------------------------------------


@in_lab
async def rows_come_in_the_order_of_spans_and_keys(lab: PartitionLab) -> None:
    partition = lab.partition("p")
    # Numbers whose bytes cross 0x7f, 0xff and 0x100: whoever compares signed bytes or text is found out.
    numbers = [300, 1, 128, 255, 127, 256, 2, 65_536]
    ordered = sorted(numbers)
    async with lab.make() as store:
        await store.commit([Change(partition, 0, b"", (*numbered(*numbers), Row(b"a", b""), Row(b"f", b"")))])

        async def read(*spans: Span, limit: int = ALL) -> list[int]:
            return [seq_of(key) for key, _ in await store.rows(partition, spans, limit=limit)]

        high, low = seq_span(b"e/", 127, 300), seq_span(b"e/", 0, 2)
        expect(await read(prefix(b"e/")), ordered, "rows come in key order, bytewise")
        expect(await read(prefix(b"e/")._replace(reverse=True)), ordered[::-1], "reverse reads from the end")
        expect(await read(high, low), [128, 255, 256, 300, 1, 2], "span after span, as they were given")
        expect(
            await read(low, high._replace(reverse=True)), [1, 2, 300, 256, 255, 128], "each span has its own direction"
        )
        expect(await read(low, high, limit=3), [1, 2, 128], "the limit is for all spans together")
        expect(
            await read(high._replace(reverse=True), low, limit=2), [300, 256], "a limit keeps the first that are read"
        )
        expect(await read(low, high, limit=2), [1, 2], "a limit that a span uses up leaves none")


@in_lab
async def a_span_has_its_start_and_not_its_stop(lab: PartitionLab) -> None:
    partition = lab.partition("p")
    async with lab.make() as store:
        await store.commit([Change(partition, 0, b"", tuple(Row(key, key) for key in (b"a", b"b", b"b\0", b"c")))])

        async def read(*spans: Span) -> list[bytes]:
            return [row.key for row in await store.rows(partition, spans, limit=ALL)]

        expect(await read(Span(b"a", b"c")), [b"a", b"b", b"b\0"], "the start is in a span, the stop is not")
        expect(await read(Span(b"a", b"c", True)), [b"b\0", b"b", b"a"], "the same from the end")
        expect(await read(Span(b"b", b"b\0")), [b"b"], "one key")
        expect(await read(Span(b"b", b"b"), Span(b"d", b"e")), [], "a span may be empty")
        expect(await read(), [], "no spans, no rows")


# ---- several partitions ---------------------------------------------------------------------------------------------


def _needs_spanning(store: PartitionStore) -> None:
    if not store.spans_partitions:
        raise NotApplicable("spans_partitions is false")


@in_lab
async def several_changes_apply_together(lab: PartitionLab) -> None:
    partitions = sorted(lab.partition(f"p{number:03}") for number in range(200))
    async with lab.make() as store:
        _needs_spanning(store)
        await store.commit([Change(name, 0, name.encode(), numbered(1)) for name in partitions])

        heads = await store.heads(partitions)

        expect(dict(heads), {name: Head(1, name.encode()) for name in partitions}, "law 1, all changes of a commit")
        expect((await contents(store, partitions[-1]))[1], dict(numbered(1)), "law 1, all rows of a commit")


@in_lab
async def one_change_at_another_version_refuses_them_all(lab: PartitionLab) -> None:
    partitions = sorted(lab.partition(f"p{number}") for number in range(3))
    async with lab.make() as store:
        _needs_spanning(store)
        await store.commit([Change(name, 0, b"before", numbered(1)) for name in partitions])
        before = [await contents(store, name) for name in partitions]

        for behind in partitions:
            changes = [Change(name, 0 if name == behind else 1, b"x", numbered(2)) for name in partitions]
            await refused(store, changes, "law 2, every change is checked")

            found = [await contents(store, name) for name in partitions]
            expect(found, before, "law 1, a commit is all or nothing over its changes")


@in_lab
async def money_moved_between_partitions_is_never_made_or_lost(lab: PartitionLab) -> None:
    """Tasks move amounts between four partitions; the sum stays, in every committed state."""
    partitions = sorted(lab.partition(f"account{number}") for number in range(4))

    async def move(store: PartitionStore, random: Random) -> None:
        for _ in range(8):
            payer, payee = random.sample(partitions, 2)

            def rule(
                loaded: Mapping[Partition, Loaded], payer: Partition = payer, payee: Partition = payee
            ) -> Outcome[None]:
                return Outcome(None, (_amount(payer, loaded[payer], -1), _amount(payee, loaded[payee], 1)))

            await _until_done(store, [payer, payee], rule)

    async with lab.make() as store:
        _needs_spanning(store)
        await store.commit([Change(name, 0, b"1000") for name in partitions])
        async with anyio.create_task_group() as group:
            for seed in range(8):
                group.start_soon(move, store, Random(seed))

        heads = await store.heads(partitions)
        expect(sum(int(head.state) for head in heads.values()), 4000, "law 1, changes apply together under concurrency")
        expect(sum(head.version for head in heads.values()), 4 + 2 * 64, "law 2, no commit is lost")


def _amount(partition: Partition, loaded: Loaded, change: int) -> Change:
    return Change(partition, loaded.version, b"%d" % (int(loaded.state) + change))


async def _until_done(store: PartitionStore, partitions: Sequence[Partition], rule: Rule[None]) -> None:
    """As `transact`, but patient: the contenders of a check have no runtime to wait with."""
    while True:
        try:
            return await transact(store, [Load(name) for name in partitions], rule)
        except ConflictError:
            await anyio.lowlevel.checkpoint()


# ---- restart --------------------------------------------------------------------------------------------------------


@in_lab
async def everything_is_there_after_a_restart(lab: PartitionLab) -> None:
    partition, emptied = lab.partition("p"), lab.partition("q")
    if not lab.survives_restart:
        raise NotApplicable("survives_restart is false")
    async with lab.make() as store:
        await store.commit([Change(partition, 0, b"old", numbered(1, 2, 3))])
        await store.commit([Change(partition, 1, b"state", numbered(4), (seq_key(b"e/", 2),))])
        await store.commit([Change(emptied, 0, b"", numbered(1))])
        await store.commit([Change(emptied, 1, b"", (), (seq_key(b"e/", 1),))])

    async with lab.make() as store:
        expect(await contents(store, partition), (Head(2, b"state"), dict(numbered(1, 3, 4))), "it survives a restart")
        expect(await contents(store, emptied), (Head(2, b""), _NO_ROWS), "law 4, versions survive a restart")
        await refused(store, [Change(partition, 1, b"x")], "law 2, after a restart")
        await store.commit([Change(partition, 2, b"more")])


PARTITION_CHECKS: Final[tuple[Check[PartitionStore], ...]] = (
    what_was_committed_is_read,
    each_commit_raises_the_version_by_one,
    a_version_outlives_state_and_rows,
    a_commit_at_another_version_is_refused_and_leaves_no_trace,
    a_put_replaces_and_a_delete_deletes,
    a_drop_spares_other_rows_and_those_that_come_later,
    the_largest_values_are_kept_whole,
    many_partitions_and_many_spans_are_read_at_once,
    rows_come_in_the_order_of_spans_and_keys,
    a_span_has_its_start_and_not_its_stop,
    several_changes_apply_together,
    one_change_at_another_version_refuses_them_all,
    money_moved_between_partitions_is_never_made_or_lost,
    no_update_is_lost_among_many_tasks,
    a_read_sees_every_commit_that_returned,
    head_and_rows_of_one_version_belong_together,
    what_was_acknowledged_is_there_once_though_replies_are_lost,
    everything_is_there_after_a_restart,
    any_sequence_of_calls_ends_as_in_a_dictionary,
)


class PartitionStoreConformance(Conformance[PartitionStore]):
    """Checks a `PartitionStore`: subclass it as ``Test...`` and say what makes one."""

    checks: Sequence[Check[PartitionStore]] = PARTITION_CHECKS
