"""What a `PartitionStore` promises, as checks: the kit that every adapter has to pass.

The first checks are examples, one promise each, so that a broken adapter reads in the failing name what it
lacks. Then come tasks that commit at once, a store whose replies are lost, and last a machine that
compares any sequence of calls with a dictionary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final, NamedTuple, TypeAlias

import anyio
import anyio.lowlevel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
from whisperkit.testing.conformance import Check, Conformance, Lab, LawBrokenError, NotApplicable, expect, in_lab
from whisperkit.testing.faulty import Fault, FaultyPartitions, StoreCall

__all__ = ["PARTITION_CHECKS", "PartitionStoreConformance"]

PartitionLab: TypeAlias = Lab[PartitionStore]

_ALL: Final = 10_000
_NO_ROWS: Final[Mapping[bytes, bytes]] = {}


async def _contents(store: PartitionStore, partition: Partition) -> tuple[Head | None, dict[bytes, bytes]]:
    heads = await store.heads([partition])
    return heads.get(partition), dict(await store.rows(partition, [EVERYTHING], limit=_ALL))


async def _refused(store: PartitionStore, changes: Sequence[Change], law: str) -> None:
    try:
        await store.commit(changes)
    except ConflictError:
        return
    except Exception as error:
        raise LawBrokenError(f"{law}: expected ConflictError, got {error!r}") from error
    raise LawBrokenError(f"{law}: expected ConflictError, the commit returned")


def _numbered(*numbers: int) -> tuple[Row, ...]:
    return tuple(Row(seq_key(b"e/", number), b"%d" % number) for number in numbers)


# ---- one commit -----------------------------------------------------------------------------------------------------


@in_lab
async def what_was_committed_is_read(lab: PartitionLab) -> None:
    one, other = lab.partition("one"), lab.partition("other")
    async with lab.make() as store:
        await store.commit([Change(one, 0, b"state", _numbered(1, 2))])

        heads = await store.heads([one, other])

        expect(dict(heads), {one: Head(1, b"state")}, "a partition that was never written is absent, others are there")
        expect(
            list(await store.rows(one, [EVERYTHING], limit=_ALL)), list(_numbered(1, 2)), "rows that were put are read"
        )
        expect(list(await store.rows(other, [EVERYTHING], limit=_ALL)), [], "a partition has its own rows only")


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
        await store.commit([Change(partition, 0, b"state", _numbered(1))])
        await store.commit([Change(partition, 1, b"", (), (seq_key(b"e/", 1),))])

        expect(
            await _contents(store, partition), (Head(2, b""), _NO_ROWS), "law 4, an empty partition keeps its version"
        )
        await _refused(store, [Change(partition, 0, b"")], "law 4, an empty partition is not a new one")


@in_lab
async def a_commit_at_another_version_is_refused_and_leaves_no_trace(lab: PartitionLab) -> None:
    partition = lab.partition("p")
    async with lab.make() as store:
        for wrong in (1, 7):
            await _refused(store, [Change(partition, wrong, b"x", _numbered(9))], "law 2, never written is version 0")
        expect(await _contents(store, partition), (None, _NO_ROWS), "law 1, a refused commit does nothing")
        await store.commit([Change(partition, 0, b"0", _numbered(1))])
        await store.commit([Change(partition, 1, b"1")])
        before = await _contents(store, partition)

        for wrong in (0, 1, 3):
            change = Change(partition, wrong, b"x", _numbered(9), (seq_key(b"e/", 1),), Span(b"d/", b"d0"))
            await _refused(store, [change], f"law 2, version {wrong} expected at version 2")

        expect(await _contents(store, partition), before, "law 1, a refused commit does nothing")


@in_lab
async def a_put_replaces_and_a_delete_deletes(lab: PartitionLab) -> None:
    partition = lab.partition("p")
    async with lab.make() as store:
        await store.commit([Change(partition, 0, b"", (Row(b"a", b"1"), Row(b"b", b"1"), Row(b"c", b"1")))])
        await store.commit([Change(partition, 1, b"", (Row(b"a", b"2"), Row(b"d", b"")), (b"b", b"missing"))])

        _, rows = await _contents(store, partition)
        expect(rows, {b"a": b"2", b"c": b"1", b"d": b""}, "rows are replaced and deleted by key")
        await store.commit([Change(partition, 2, b"", (Row(b"b", b"3"),), (b"a",))])
        _, rows = await _contents(store, partition)
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

        _, found = await _contents(store, partition)
        later = {key: value for key, value in found.items() if value == b"new"}
        expect(later, {b"d/005": b"new", b"d/new": b"new"}, "a drop does not touch what is put after it")
        expect({key: found.get(key) for key in kept}, kept, "a drop does not touch what is outside its span")
        expect((await _contents(store, other))[1], dict(rows[:3]), "a drop does not touch other partitions")


@in_lab
async def the_largest_values_are_kept_whole(lab: PartitionLab) -> None:
    partition = Partition(lab.partition("p").ljust(MAX_PARTITION_CHARS, "x"))
    state = bytes(range(256)) * (MAX_STATE_BYTES // 256)
    key = (b"k" + bytes(range(256)))[:MAX_KEY_BYTES]
    value = bytes(range(256)) * (MAX_VALUE_BYTES // 256)
    async with lab.make() as store:
        await store.commit([Change(partition, 0, state, (Row(key, value), Row(b"\0", b"\0")))])

        expect(await _contents(store, partition), (Head(1, state), {b"\0": b"\0", key: value}), "bytes are kept")


@in_lab
async def many_partitions_and_many_spans_are_read_at_once(lab: PartitionLab) -> None:
    partitions = [lab.partition(f"p{number}") for number in range(300)]
    async with lab.make() as store:
        for partition in partitions[::10]:
            await store.commit([Change(partition, 0, partition.encode())])
        await store.commit([Change(partitions[1], 0, b"", _numbered(*range(1, 1001)))])
        spans = [seq_span(b"e/", number, number + 1) for number in range(0, 1000, 2)]

        heads = await store.heads(partitions)
        rows = await store.rows(partitions[1], spans, limit=_ALL)

        written = {partition: Head(1, partition.encode()) for partition in partitions[::10]}
        expect(dict(heads), written | {partitions[1]: Head(1, b"")}, "heads are read, however many")
        expect(list(rows), list(_numbered(*range(1, 1001, 2))), "spans are read, however many")


# ---- spans ----------------------------------------------------------------------------------------------------------


@in_lab
async def rows_come_in_the_order_of_spans_and_keys(lab: PartitionLab) -> None:
    partition = lab.partition("p")
    # Numbers whose bytes cross 0x7f, 0xff and 0x100: whoever compares signed bytes or text is found out.
    numbers = [300, 1, 128, 255, 127, 256, 2, 65_536]
    ordered = sorted(numbers)
    async with lab.make() as store:
        await store.commit([Change(partition, 0, b"", (*_numbered(*numbers), Row(b"a", b""), Row(b"f", b"")))])

        async def read(*spans: Span, limit: int = _ALL) -> list[int]:
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
            return [row.key for row in await store.rows(partition, spans, limit=_ALL)]

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
        await store.commit([Change(name, 0, name.encode(), _numbered(1)) for name in partitions])

        heads = await store.heads(partitions)

        expect(dict(heads), {name: Head(1, name.encode()) for name in partitions}, "law 1, all changes of a commit")
        expect((await _contents(store, partitions[-1]))[1], dict(_numbered(1)), "law 1, all rows of a commit")


@in_lab
async def one_change_at_another_version_refuses_them_all(lab: PartitionLab) -> None:
    partitions = sorted(lab.partition(f"p{number}") for number in range(3))
    async with lab.make() as store:
        _needs_spanning(store)
        await store.commit([Change(name, 0, b"before", _numbered(1)) for name in partitions])
        before = [await _contents(store, name) for name in partitions]

        for behind in partitions:
            changes = [Change(name, 0 if name == behind else 1, b"x", _numbered(2)) for name in partitions]
            await _refused(store, changes, "law 2, every change is checked")

            found = [await _contents(store, name) for name in partitions]
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


# ---- many at once ---------------------------------------------------------------------------------------------------


@in_lab
async def no_update_is_lost_among_many_tasks(lab: PartitionLab) -> None:
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
            head, rows = await _contents(store, name)
            version = head.version if head else 0
            versions += version
            expect(head, Head(version, b"%d" % version), "law 2, each commit sees the one before it")
            expect(rows, dict(_numbered(*range(1, version + 1))), "law 1, each commit leaves its row")
        expect(versions, 12 * 6, "law 2, of two commits at one version one is refused")


async def _increment(store: PartitionStore, name: Partition) -> int:
    """Raise the number in the head and put its row, whatever others do."""
    while True:
        head = (await store.heads([name])).get(name, Head(0, b"0"))
        number = int(head.state) + 1
        try:
            await store.commit([Change(name, head.version, b"%d" % number, _numbered(number))])
        except ConflictError:
            await anyio.lowlevel.checkpoint()
        else:
            return number


@in_lab
async def a_read_sees_every_commit_that_returned(lab: PartitionLab) -> None:
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
            rows = await store.rows(partition, [EVERYTHING], limit=_ALL)
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

        rows = await store.rows(partition, [prefix(b"e/")], limit=_ALL)
        expect([seq_of(row.key) for row in rows], list(range(1, 21)), "numbers are dense")
        expect(sorted(row.value for row in rows), names, "each is there once")


# ---- restart --------------------------------------------------------------------------------------------------------


@in_lab
async def everything_is_there_after_a_restart(lab: PartitionLab) -> None:
    partition, emptied = lab.partition("p"), lab.partition("q")
    if not lab.survives_restart:
        raise NotApplicable("survives_restart is false")
    async with lab.make() as store:
        await store.commit([Change(partition, 0, b"old", _numbered(1, 2, 3))])
        await store.commit([Change(partition, 1, b"state", _numbered(4), (seq_key(b"e/", 2),))])
        await store.commit([Change(emptied, 0, b"", _numbered(1))])
        await store.commit([Change(emptied, 1, b"", (), (seq_key(b"e/", 1),))])

    async with lab.make() as store:
        expect(
            await _contents(store, partition), (Head(2, b"state"), dict(_numbered(1, 3, 4))), "it survives a restart"
        )
        expect(await _contents(store, emptied), (Head(2, b""), _NO_ROWS), "law 4, versions survive a restart")
        await _refused(store, [Change(partition, 1, b"x")], "law 2, after a restart")
        await store.commit([Change(partition, 2, b"more")])


# ---- any sequence of calls ------------------------------------------------------------------------------------------


class _Commit(NamedTuple):
    """A commit in a program: versions are relative, so that most apply and some do not."""

    changes: dict[int, tuple[int, bytes, dict[bytes, bytes | None]]]


class _Look(NamedTuple):
    """A read in a program."""

    number: int
    spans: list[Span]
    limit: int


def _span(one: bytes, other: bytes, reverse: bool) -> Span:
    return Span(min(one, other), max(one, other), reverse)


_PARTITIONS: Final = 3
_KEYS: Final = st.sampled_from([b"a", b"b", b"b\0", b"b\xff", b"c/\0", b"c/\x7f", b"c/\x80", b"d"])
_SPANS: Final = st.builds(_span, _KEYS, _KEYS, st.booleans())
_CHANGES: Final = st.tuples(
    st.sampled_from([0] * 8 + [-1, 1]),
    st.binary(max_size=3),
    st.dictionaries(_KEYS, st.none() | st.binary(max_size=3), max_size=4),
)
_PROGRAMS: Final = st.lists(
    st.builds(_Commit, st.dictionaries(st.integers(0, _PARTITIONS - 1), _CHANGES, min_size=1, max_size=_PARTITIONS))
    | st.builds(_Look, st.integers(0, _PARTITIONS - 1), st.lists(_SPANS, max_size=3), st.integers(1, 6)),
    max_size=25,
)


def any_sequence_of_calls_ends_as_in_a_dictionary(lab: PartitionLab) -> None:
    """Compare with a model of a dozen lines."""

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(program=_PROGRAMS)
    def check(program: list[_Commit | _Look]) -> None:
        fresh = Lab(lab.make, backend=lab.backend, survives_restart=lab.survives_restart)
        fresh.run(lambda: _run_program(fresh, program))

    check()


async def _run_program(lab: PartitionLab, program: Sequence[_Commit | _Look]) -> None:
    names = [lab.partition(f"p{number}") for number in range(_PARTITIONS)]
    model = [_Model() for _ in names]
    async with lab.make() as store:
        for step in program:
            match step:
                case _Commit(changes=changes):
                    await _compare_commit(store, names, model, changes)
                case _Look(number=number, spans=spans, limit=limit):
                    found = await store.rows(names[number], spans, limit=limit)
                    expect(list(found), model[number].read(spans)[:limit], "rows")
            heads = {name: entry.head for name, entry in zip(names, model, strict=True) if entry.head.version}
            expect(dict(await store.heads(names)), heads, "heads")
        for name, entry in zip(names, model, strict=True):
            expect((await _contents(store, name))[1], entry.rows, "rows at the end")


class _Model:
    def __init__(self) -> None:
        self.head = Head(0, b"")
        self.rows: dict[bytes, bytes] = {}

    def read(self, spans: Sequence[Span]) -> list[Row]:
        ordered = sorted(Row(*item) for item in self.rows.items())
        return [
            row
            for start, stop, reverse in spans
            for row in (reversed(ordered) if reverse else ordered)
            if start <= row.key < stop
        ]

    def apply(self, change: Change) -> None:
        self.head = Head(self.head.version + 1, change.state)
        self.rows = {key: value for key, value in self.rows.items() if key not in change.delete} | dict(change.put)


async def _compare_commit(
    store: PartitionStore,
    names: Sequence[Partition],
    model: Sequence[_Model],
    wanted: Mapping[int, tuple[int, bytes, Mapping[bytes, bytes | None]]],
) -> None:
    changes = {number: _change(names[number], model[number], *wanted[number]) for number in sorted(wanted)}
    groups = [changes] if store.spans_partitions else [{number: change} for number, change in changes.items()]
    for group in groups:
        if all(change.expected == model[number].head.version for number, change in group.items()):
            await store.commit(list(group.values()))
            for number, change in group.items():
                model[number].apply(change)
        else:
            await _refused(store, list(group.values()), "law 2")


def _change(name: Partition, entry: _Model, offset: int, state: bytes, rows: Mapping[bytes, bytes | None]) -> Change:
    put = tuple(Row(key, value) for key, value in rows.items() if value is not None)
    delete = tuple(key for key, value in rows.items() if value is None)
    return Change(name, max(0, entry.head.version + offset), state, put, delete)


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
