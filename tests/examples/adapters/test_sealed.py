"""The sealed store: the kit over memory and SQLite, what it refuses, and every way of altering it that it notices."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgpack
import pytest

from examples.adapters.sealed import NotSealedError, SealedPartitions, change_lock, open_sealed
from examples.adapters.sealed_lock import Cost, DataKey, KeyLock, Passphrase, WrongPassphraseError
from examples.adapters.sealer import Label, Nonce, Sealer
from examples.adapters.sqlite import open_sqlite
from whisperkit.errors import ConflictError, CorruptStateError, OutcomeUnknownError, StoreVersionError, UsageError
from whisperkit.partitions import EVERYTHING, Change, Head, Partition, Row, Span
from whisperkit.stores import MemoryPartitions, PartitionStore
from whisperkit.testing import PartitionStoreConformance, Stepwise

pytestmark = pytest.mark.anyio

LOCK = KeyLock(b"k" * 32)
DATA_KEY = DataKey(b"d" * 32)
DEVICE, OTHER = Partition("device/alice.1"), Partition("device/bob.1")
HEADER = Partition("sealed")
EVERY_LABEL = Span(b"r", b"s")


class TestSealedMemory(PartitionStoreConformance):
    @staticmethod
    @asynccontextmanager
    async def make_store() -> AsyncGenerator[PartitionStore]:
        yield await open_sealed(MemoryPartitions(), LOCK)


class TestSealedStepwiseMemory(PartitionStoreConformance):
    @staticmethod
    @asynccontextmanager
    async def make_store() -> AsyncGenerator[PartitionStore]:
        yield await open_sealed(Stepwise(MemoryPartitions()), LOCK)


class TestSealedSqlite(PartitionStoreConformance):
    survives_restart = True
    path: Path

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "phone.db"

    def make_store(self) -> AbstractAsyncContextManager[PartitionStore]:
        return sealed_file(self.path)


class TestTwoSealedStoresOverOne(PartitionStoreConformance):
    """Each call goes to the other one of two, as if two processes had the same database."""

    @staticmethod
    @asynccontextmanager
    async def make_store() -> AsyncGenerator[PartitionStore]:
        inner = Disk()
        yield _Alternating(await open_sealed(inner, LOCK), await open_sealed(inner, LOCK))


class _Alternating:
    spans_partitions = True

    def __init__(self, *stores: PartitionStore) -> None:
        self._turns = cycle(stores)

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        return await next(self._turns).heads(partitions)

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        return await next(self._turns).rows(partition, spans, limit=limit)

    async def commit(self, changes: Sequence[Change]) -> None:
        await next(self._turns).commit(changes)


class Disk(MemoryPartitions):
    """An inner store that can be looked through.

    Attributes:
        names: The partitions that were written.
        before_rows: Runs before rows are read; what it returns is read instead, if it is not `None`.
        after_commit: Runs after a commit is done and before that is said.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: set[Partition] = set()
        self.asked: list[int] = []
        self.before_rows: Callable[[], Awaitable[Sequence[Row] | None]] = nothing
        self.after_commit: Callable[[], Awaitable[object]] = nothing

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        self.asked.append(limit)
        instead = await self.before_rows()
        return await super().rows(partition, spans, limit=limit) if instead is None else instead

    async def commit(self, changes: Sequence[Change]) -> None:
        await super().commit(changes)
        self.names |= {change.partition for change in changes}
        await self.after_commit()


async def nothing() -> None:
    return None


class Picture(NamedTuple):
    """A copy of a file.

    Attributes:
        heads: Sealed heads, but for the header.
        rows: Sealed values.
    """

    heads: dict[Partition, Head]
    rows: dict[tuple[Partition, bytes], bytes]

    @property
    def names(self) -> set[str]:
        return {*self.heads, *(key.hex() for _, key in self.rows)}


async def picture(disk: Disk) -> Picture:
    names = disk.names - {HEADER}
    rows = {(name, key): value for name in names for key, value in await disk.rows(name, [EVERY_LABEL], limit=1_000)}
    return Picture(dict(await disk.heads(names)), rows)


async def restored(picture: Picture) -> Disk:
    disk = Disk()
    for name, head in picture.heads.items():
        for version in range(head.version - 1):
            await disk.commit([Change(name, version, b"")])
        rows = tuple(Row(key, value) for (where, key), value in picture.rows.items() if where == name)
        await disk.commit([Change(name, head.version - 1, head.state, rows)])
    return disk


@asynccontextmanager
async def sealed_file(path: Path, lock: Passphrase | KeyLock = LOCK) -> AsyncGenerator[SealedPartitions]:
    async with open_sqlite(path) as inner:
        yield await open_sealed(inner, lock)


async def everything(store: PartitionStore, partition: Partition = DEVICE) -> tuple[Head | None, dict[bytes, bytes]]:
    head = (await store.heads([partition])).get(partition)
    return head, dict(await store.rows(partition, [EVERYTHING], limit=1_000))


async def put(store: PartitionStore, expected: int, rows: Mapping[bytes, bytes], partition: Partition = DEVICE) -> None:
    put = tuple(Row(*row) for row in rows.items())
    await store.commit([Change(partition, expected, b"state %d" % expected, put)])


# ---- what shows -----------------------------------------------------------------------------------------------------


async def test_nothing_that_was_written_can_be_found_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "phone.db"
    async with sealed_file(path) as store:
        await put(store, 0, {b"h/conversation": b"boarding at ten", b"k/session/bob.1/": b"secret"})

        log = path.with_name(path.name + "-wal").read_bytes()
    for words in (b"boarding", b"conversation", b"h/", b"session", b"secret", b"state 0", b"alice", b"device"):
        assert words not in path.read_bytes() + log


async def test_names_and_values_of_two_stores_with_one_passphrase_have_nothing_in_common() -> None:
    inner = [Disk(), Disk()]
    for each in inner:
        await put(await open_sealed(each, Passphrase("p", Cost.MIN)), 0, {b"a": b"1"})

    first, second = [await picture(each) for each in inner]

    assert first.names.isdisjoint(second.names)


async def test_the_same_value_is_sealed_differently_each_time() -> None:
    inner = Disk()
    store = await open_sealed(inner, LOCK)
    await put(store, 0, {b"a": b"same", b"b": b"same"})
    before = await picture(inner)
    await put(store, 1, {b"a": b"same"})
    after = await picture(inner)

    assert len({*before.rows.values(), *after.rows.values()}) == 3


# ---- what opens it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", [Passphrase("correct horse", Cost.MIN), LOCK])
async def test_what_was_written_is_read_with_the_same_lock(lock: Passphrase | KeyLock, tmp_path: Path) -> None:
    path = tmp_path / "phone.db"
    async with sealed_file(path, lock) as store:
        await put(store, 0, {b"a": b"1"})

    async with sealed_file(path, lock) as store:
        assert await everything(store) == (Head(1, b"state 0"), {b"a": b"1"})


@pytest.mark.parametrize(
    ("made_with", "opened_with", "reason"),
    [
        (Passphrase("right", Cost.MIN), Passphrase("wrong", Cost.MIN), "another passphrase"),
        (Passphrase("right", Cost.MIN), LOCK, "opens with a passphrase, and a key was given"),
        (LOCK, KeyLock(b"x" * 32), "another key"),
        (LOCK, Passphrase("wrong", Cost.MIN), "opens with a key, and a passphrase was given"),
    ],
)
async def test_another_lock_is_refused_and_changes_nothing(
    made_with: Passphrase | KeyLock, opened_with: Passphrase | KeyLock, reason: str
) -> None:
    inner = Disk()
    await put(await open_sealed(inner, made_with), 0, {b"a": b"1"})
    before = await picture(inner)

    with pytest.raises(WrongPassphraseError, match=reason) as caught:
        await open_sealed(inner, opened_with)

    assert caught.value.code == "sealed.wrong-passphrase"
    assert await picture(inner) == before


async def test_a_passphrase_is_the_same_however_its_accents_are_composed() -> None:
    inner = Disk()
    await put(await open_sealed(inner, Passphrase("gr\u00fc\u00dfe", Cost.MIN)), 0, {b"a": b"1"})

    store = await open_sealed(inner, Passphrase("gru\u0308\u00dfe", Cost.SENSITIVE))  # the header's cost counts

    assert (await everything(store))[1] == {b"a": b"1"}


async def test_the_passphrase_is_changed_without_writing_a_row_anew() -> None:
    inner = Disk()
    old, new = Passphrase("old", Cost.MIN), Passphrase("new", Cost.MIN)
    open_meanwhile = await open_sealed(inner, old)
    await put(open_meanwhile, 0, {b"a": b"1"})
    before = await picture(inner)

    await change_lock(inner, old, new)

    assert await picture(inner) == before
    assert (await everything(await open_sealed(inner, new)))[1] == {b"a": b"1"}
    with pytest.raises(WrongPassphraseError):
        await open_sealed(inner, old)
    await put(open_meanwhile, 1, {b"b": b"2"})
    assert (await everything(await open_sealed(inner, new)))[1] == {b"a": b"1", b"b": b"2"}


async def test_who_does_not_know_the_passphrase_cannot_change_it() -> None:
    inner = Disk()
    right, wrong = Passphrase("right", Cost.MIN), Passphrase("wrong", Cost.MIN)
    await open_sealed(inner, right)

    with pytest.raises(WrongPassphraseError):
        await change_lock(inner, wrong, wrong)

    await open_sealed(inner, right)


async def test_a_lock_is_changed_where_there_is_one() -> None:
    with pytest.raises(UsageError, match="no sealed store"):
        await change_lock(MemoryPartitions(), LOCK, LOCK)


async def test_a_store_in_clear_is_refused_and_not_touched() -> None:
    inner = Disk()
    await put(inner, 0, {b"h/1": b"in clear"})

    with pytest.raises(NotSealedError) as caught:
        await open_sealed(inner, LOCK, clear=[DEVICE, OTHER])

    assert caught.value.partition == DEVICE
    assert inner.names == {DEVICE}
    assert (await everything(inner))[1] == {b"h/1": b"in clear"}


def test_locks_say_what_they_need_and_hide_what_they_hold() -> None:
    with pytest.raises(UsageError, match="32 bytes, got 3"):
        KeyLock(b"key")
    with pytest.raises(UsageError, match="at least one character"):
        Passphrase("")
    assert "horse" not in repr(Passphrase("horse"))
    assert "kkk" not in repr(LOCK)


# ---- headers --------------------------------------------------------------------------------------------------------


def packed(*fields: object) -> bytes:
    return msgpack.packb(fields)


async def with_header(inner: Disk, header: bytes) -> None:
    version = (await inner.heads([HEADER])).get(HEADER, Head(0, b"")).version
    await inner.commit([Change(HEADER, version, header)])


async def test_a_header_of_a_newer_program_is_refused_as_such() -> None:
    inner = Disk()
    await with_header(inner, packed(b"whisperkit sealed", 2, "anything"))

    with pytest.raises(StoreVersionError) as caught:
        await open_sealed(inner, LOCK)

    assert (caught.value.found, caught.value.supported) == (2, 1)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xc1",
        b"\x01",
        b"\x93",
        b"SQLite format 3\0",
        b"\x91\x01",
        b"\x92\xc4\x11whisperkit other_\x01",
        b"\x92\xc4\x11whisperkit sealed\x01",
        b"\x92\xc4\x11whisperkit sealed\xa11",
    ],
)
async def test_what_is_no_header_is_refused(header: bytes) -> None:
    inner = Disk()
    await with_header(inner, header)

    with pytest.raises(CorruptStateError):
        await open_sealed(inner, LOCK)


@pytest.mark.parametrize(
    ("kind", "passes", "memory_bytes", "salt_bytes"),
    [
        (2, 1, 8_192, 16),
        (1, 0, 8_192, 16),
        (1, 1, 1, 16),
        (1, 1, 1 << 40, 16),
        (1, 1 << 30, 8_192, 16),
        (1, 1, 8_192, 3),
        (0, 1, 0, 0),
        (0, 0, 1, 0),
        (0, 0, 0, 1),
    ],
)
async def test_costs_beyond_reason_are_refused_before_they_are_paid(
    kind: int, passes: int, memory_bytes: int, salt_bytes: int
) -> None:
    inner = Disk()
    await with_header(inner, packed(b"whisperkit sealed", 1, kind, passes, memory_bytes, bytes(salt_bytes), bytes(72)))

    with pytest.raises(CorruptStateError, match="out of range"):
        await open_sealed(inner, Passphrase("p", Cost.MIN))


async def test_a_header_with_lower_costs_does_not_open() -> None:
    inner = Disk()
    lock = Passphrase("p", Cost.INTERACTIVE)
    await open_sealed(inner, lock)
    header = (await inner.heads([HEADER]))[HEADER].state
    fields = cast("list[Any]", msgpack.unpackb(header))  # Any: of several types
    fields[3:5] = Cost.MIN.value
    await with_header(inner, packed(*fields))

    with pytest.raises(WrongPassphraseError):
        await open_sealed(inner, lock)


# ---- whoever can write the file -------------------------------------------------------------------------------------


class ForgetsWritings(Sealer):
    """Does not note which rows there are."""

    def mark(self, label: Label, nonce: Nonce) -> int:
        return 0


class BindsNothing(ForgetsWritings):
    """Does not bind what it seals to its place either."""

    def _seal(self, plain: bytes, bound: bytes, nonce: Nonce) -> bytes:
        return super()._seal(plain, b"", nonce)

    def _open(self, data: bytes, bound: bytes, kind: str) -> bytes:
        return super()._open(data, b"", kind)


class ForgetsVersions(Sealer):
    """Does not bind a head to its version."""

    def seal_head(self, name: Partition, version: int, state: bytes, digest: int) -> Head:
        return super().seal_head(name, 0, state, digest)._replace(version=version)

    def open_head(self, name: Partition, head: Head) -> tuple[Head, int]:
        opened, digest = super().open_head(name, head._replace(version=0))
        return opened._replace(version=head.version), digest


class Past(NamedTuple):
    """Pictures of a file after each commit, and how the partition and its rows are called there."""

    pictures: list[Picture]
    name: Partition
    other: Partition
    a: bytes
    b: bytes
    c: bytes

    @property
    def now(self) -> Picture:
        return self.pictures[-1]

    def without(self, key: bytes) -> Picture:
        rows = {place: value for place, value in self.now.rows.items() if place != (self.name, key)}
        return self.now._replace(rows=rows)

    def with_row(self, key: bytes, value: bytes) -> Picture:
        return self.now._replace(rows=self.now.rows | {(self.name, key): value})

    def with_head(self, version: int, state: bytes) -> Picture:
        return self.now._replace(heads=self.now.heads | {self.name: Head(version, state)})


async def lived(make: type[Sealer]) -> Past:
    """Five commits: three rows and another partition; one written again; one deleted; a new state."""
    sealer = make(DATA_KEY, os.urandom)
    disk = Disk()
    store = SealedPartitions(disk, sealer)
    pictures: list[Picture] = []

    async def commit(change: Change) -> None:
        await store.commit([change])
        pictures.append(await picture(disk))

    await commit(Change(OTHER, 0, b"", (Row(b"a", b"other a"),)))
    await commit(Change(DEVICE, 0, b"1", (Row(b"a", b"old a"), Row(b"b", b"b"), Row(b"c", b"c"))))
    await commit(Change(DEVICE, 1, b"2", (Row(b"a", b"new a"),)))
    await commit(Change(DEVICE, 2, b"3", (), (b"b",)))
    await commit(Change(DEVICE, 3, b"4"))
    name = sealer.name(DEVICE)
    return Past(pictures, name, sealer.name(OTHER), *(sealer.label(name, key) for key in (b"a", b"b", b"c")))


Attack = Callable[[Past], Picture]


def a_row_is_removed(past: Past) -> Picture:
    return past.without(past.c)


def a_row_is_brought_back(past: Past) -> Picture:
    return past.with_row(past.b, past.pictures[2].rows[past.name, past.b])


def a_row_is_as_it_was_before(past: Past) -> Picture:
    return past.with_row(past.a, past.pictures[1].rows[past.name, past.a])


def a_row_is_in_the_place_of_another(past: Past) -> Picture:
    return past.with_row(past.a, past.now.rows[past.name, past.c])


def a_row_is_of_another_partition(past: Past) -> Picture:
    (value,) = (value for (name, _), value in past.now.rows.items() if name == past.other)
    return past.with_row(past.a, value)


def a_row_has_another_bit(past: Past) -> Picture:
    value = past.now.rows[past.name, past.a]
    return past.with_row(past.a, value[:-1] + bytes([value[-1] ^ 1]))


def a_row_is_cut_off(past: Past) -> Picture:
    return past.with_row(past.a, past.now.rows[past.name, past.a][:30])


def a_row_is_empty(past: Past) -> Picture:
    return past.with_row(past.a, b"")


def the_head_is_as_it_was_before(past: Past) -> Picture:
    return past.with_head(*past.pictures[2].heads[past.name])


def the_head_is_an_older_one_under_the_present_version(past: Past) -> Picture:
    return past.with_head(4, past.pictures[3].heads[past.name].state)


def the_head_is_of_another_partition(past: Past) -> Picture:
    return past.with_head(4, past.now.heads[past.other].state)


NOTICED_BY_WRITINGS: list[Attack] = [
    a_row_is_removed,
    a_row_is_brought_back,
    a_row_is_as_it_was_before,
    the_head_is_as_it_was_before,
]
NOTICED_BY_PLACES: list[Attack] = [
    a_row_is_in_the_place_of_another,
    a_row_is_of_another_partition,
    the_head_is_of_another_partition,
]
NOTICED_BY_SEALS: list[Attack] = [a_row_has_another_bit, a_row_is_cut_off, a_row_is_empty]
NOTICED_BY_VERSIONS: list[Attack] = [the_head_is_an_older_one_under_the_present_version]


async def is_noticed(attack: Attack, make: type[Sealer]) -> bool:
    disk = await restored(attack(await lived(make)))
    store = SealedPartitions(disk, make(DATA_KEY, os.urandom))
    try:
        await everything(store)
    except CorruptStateError:
        return True
    return False


@pytest.mark.parametrize("attack", [*NOTICED_BY_WRITINGS, *NOTICED_BY_PLACES, *NOTICED_BY_SEALS, *NOTICED_BY_VERSIONS])
async def test_whatever_was_altered_is_noticed(attack: Attack) -> None:
    assert await is_noticed(attack, Sealer)


@pytest.mark.parametrize("attack", NOTICED_BY_WRITINGS)
async def test_a_sealer_without_a_digest_is_found_out(attack: Attack) -> None:
    assert not await is_noticed(attack, ForgetsWritings)


@pytest.mark.parametrize("attack", NOTICED_BY_PLACES)
async def test_a_sealer_that_binds_nothing_is_found_out(attack: Attack) -> None:
    assert not await is_noticed(attack, BindsNothing)


@pytest.mark.parametrize("attack", NOTICED_BY_VERSIONS)
async def test_a_sealer_that_forgets_versions_is_found_out(attack: Attack) -> None:
    assert not await is_noticed(attack, ForgetsVersions)


async def test_an_altered_store_takes_no_commit() -> None:
    disk = await restored(a_row_is_removed(await lived(Sealer)))
    store = SealedPartitions(disk, Sealer(DATA_KEY, os.urandom))
    before = await picture(disk)

    with pytest.raises(CorruptStateError):
        await put(store, 4, {b"d": b"4"})

    assert await picture(disk) == before


async def test_a_partition_that_was_brought_back_as_a_whole_cannot_be_noticed() -> None:
    past = await lived(Sealer)
    heads = past.now.heads | {past.name: past.pictures[2].heads[past.name]}
    rows = {place: value for place, value in past.pictures[2].rows.items() if place[0] == past.name}

    store = SealedPartitions(await restored(Picture(heads, rows)), Sealer(DATA_KEY, os.urandom))

    assert await everything(store) == (Head(2, b"2"), {b"a": b"new a", b"b": b"b", b"c": b"c"})


# ---- while it is open -----------------------------------------------------------------------------------------------


async def test_a_row_that_changed_without_a_commit_is_noticed_while_the_store_is_open() -> None:
    disk = Disk()
    store = await open_sealed(disk, LOCK)
    await put(store, 0, {b"a": b"1"})

    async def is_gone() -> Sequence[Row]:
        return []

    disk.before_rows = is_gone
    with pytest.raises(CorruptStateError, match="not the last that was written"):
        await everything(store)


async def test_rows_that_another_writer_changes_meanwhile_are_read_again() -> None:
    disk = Disk()
    store, another = await open_sealed(disk, LOCK), await open_sealed(disk, LOCK)
    await put(store, 0, {b"a": b"1", b"b": b"1"})

    async def write_once() -> None:
        disk.before_rows = nothing
        await another.commit([Change(DEVICE, 1, b"", (Row(b"a", b"2"),), (b"b",))])

    disk.before_rows = write_once
    assert list(await store.rows(DEVICE, [EVERYTHING], limit=9)) == [Row(b"a", b"2")]


async def test_a_partition_that_another_writer_changes_while_it_is_read_is_read_again() -> None:
    disk = Disk()
    another = await open_sealed(disk, LOCK)
    await put(another, 0, {b"a": b"1"})
    store = await open_sealed(disk, LOCK)

    async def write_once() -> None:
        disk.before_rows = nothing
        await put(another, 1, {b"a": b"2"})

    disk.before_rows = write_once
    assert list(await store.rows(DEVICE, [EVERYTHING], limit=9)) == [Row(b"a", b"2")]


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_read_ends_though_others_write_all_the_time(is_known: bool) -> None:
    disk = Disk()
    store, another = await open_sealed(disk, LOCK), await open_sealed(disk, LOCK)
    await put(another, 0, {b"a": b"0"})
    if is_known:
        await everything(store)

    async def write() -> None:
        disk.before_rows = nothing
        version = (await another.heads([DEVICE]))[DEVICE].version
        await put(another, version, {b"a": b"%d" % version})
        disk.before_rows = write

    disk.before_rows = write
    with pytest.raises(OutcomeUnknownError):
        await store.rows(DEVICE, [EVERYTHING], limit=9)


async def test_a_commit_whose_answer_was_lost_is_taken_over_without_reading_everything_again() -> None:
    disk = Disk()
    store = await open_sealed(disk, LOCK)
    await put(store, 0, {b"a": b"1", b"b": b"2"})

    async def lose() -> None:
        raise OSError("the answer is lost")

    disk.after_commit = lose
    with pytest.raises(OSError, match="lost"):
        await store.commit([Change(DEVICE, 1, b"", (Row(b"c", b"3"),), (b"a",))])
    disk.after_commit = nothing
    disk.asked.clear()

    assert (await everything(store))[1] == {b"b": b"2", b"c": b"3"}
    assert disk.asked == [2]  # two rows, and not a page of them


async def test_a_conflict_tells_the_present_head() -> None:
    disk = Disk()
    store, another = (SealedPartitions(disk, Sealer(DATA_KEY, os.urandom)) for _ in range(2))
    await put(store, 0, {b"a": b"1"})

    class Late(Stepwise):
        async def commit(self, changes: Sequence[Change]) -> None:
            await put(another, 1, {b"a": b"2"})
            await super().commit(changes)

    late = SealedPartitions(Late(disk), Sealer(DATA_KEY, os.urandom))
    with pytest.raises(ConflictError) as caught:
        await put(late, 1, {b"a": b"3"})

    assert caught.value.partition == DEVICE
    assert caught.value.heads == {DEVICE: Head(2, b"state 1")}
