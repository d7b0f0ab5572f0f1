from __future__ import annotations

from typing import NamedTuple

import pytest

from whisperkit.blobs import (
    NEW_BLOB,
    Blob,
    Committed,
    Deleting,
    Gone,
    Incomplete,
    Kept,
    NotYours,
    Reserved,
    Stage,
    commit,
    decode,
    encode,
    keep,
    partition,
    reserve,
    sweep,
)
from whisperkit.errors import CorruptStateError
from whisperkit.ids import BlobId, UserId
from whisperkit.packing import pack
from whisperkit.partitions import MAX_STATE_BYTES, Step

ALICE, BOB = UserId.named("alice"), UserId.named("bob")


@pytest.fixture
def reserved() -> Blob:
    return reserve(NEW_BLOB, owner=ALICE, size=100, until_ms=10).state


@pytest.fixture
def committed(reserved: Blob) -> Blob:
    return commit(reserved, owner=ALICE, stored=100, until_ms=50).state


@pytest.fixture
def deleting(committed: Blob) -> Blob:
    return sweep(committed, now_ms=51).state


def test_a_place_is_reserved_once_for_one_owner_and_size(reserved: Blob) -> None:
    assert reserved == Blob(Stage.RESERVED, ALICE, 100, 10)
    assert reserve(reserved, owner=ALICE, size=100, until_ms=99) == Step(Reserved(100, 10), reserved)
    assert reserve(reserved, owner=BOB, size=100, until_ms=99) == Step(NotYours(), reserved)
    assert reserve(reserved, owner=ALICE, size=101, until_ms=99) == Step(NotYours(), reserved)


def test_what_is_there_need_not_be_uploaded_again(committed: Blob) -> None:
    assert reserve(committed, owner=ALICE, size=100, until_ms=99) == Step(Committed(100, 50), committed)
    assert type(reserve(committed, owner=BOB, size=100, until_ms=99).answer) is NotYours


def test_it_is_committed_by_its_owner_and_only_whole(reserved: Blob) -> None:
    assert commit(reserved, owner=ALICE, stored=99, until_ms=50) == Step(Incomplete(100), reserved)
    assert commit(reserved, owner=BOB, stored=100, until_ms=50) == Step(NotYours(), reserved)
    assert commit(NEW_BLOB, owner=ALICE, stored=0, until_ms=50) == Step(Gone(), NEW_BLOB)


def test_a_commit_that_is_repeated_changes_nothing(committed: Blob) -> None:
    assert committed == Blob(Stage.COMMITTED, ALICE, 100, 50)
    assert commit(committed, owner=ALICE, stored=100, until_ms=99) == Step(Committed(100, 50), committed)


def test_keeping_only_prolongs(committed: Blob) -> None:
    step = keep(committed, until_ms=80)

    assert step == Step(Kept(80), committed._replace(until_ms=80))
    assert keep(step.state, until_ms=60) == Step(Kept(80), step.state)


def test_what_is_not_there_is_not_kept(reserved: Blob, deleting: Blob) -> None:
    assert keep(NEW_BLOB, until_ms=80) == Step(Gone(), NEW_BLOB)
    assert keep(reserved, until_ms=80) == Step(Incomplete(100), reserved)
    assert keep(deleting, until_ms=80) == Step(Gone(), deleting)


def test_sweeping_waits_for_the_end(reserved: Blob, committed: Blob) -> None:
    assert sweep(committed, now_ms=50) == Step(Kept(50), committed)
    assert type(sweep(committed, now_ms=51).answer) is Deleting
    assert type(sweep(reserved, now_ms=11).answer) is Deleting
    assert sweep(NEW_BLOB, now_ms=99) == Step(Gone(), NEW_BLOB)


def test_what_was_deleted_stays_deleted(deleting: Blob) -> None:
    assert deleting.stage is Stage.DELETING
    assert sweep(deleting, now_ms=0) == Step(Deleting(), deleting)
    assert reserve(deleting, owner=ALICE, size=100, until_ms=999) == Step(Gone(), deleting)
    assert commit(deleting, owner=ALICE, stored=100, until_ms=999) == Step(Gone(), deleting)


# ---- model 9, with the rules themselves: days, an entry lives for two -----------------------------------------------

LIFE = 2


class World(NamedTuple):
    day: int = 0
    blob: Blob = commit(
        reserve(NEW_BLOB, owner=ALICE, size=1, until_ms=LIFE).state, owner=ALICE, stored=1, until_ms=LIFE
    ).state
    kept_on: int | None = None
    entry_until: int | None = None
    found: Blob | None = None  # what a sweeper looked at


class Variant(NamedTuple):
    keeps: str = "before every attempt"
    sweeps_by_compare_and_set: bool = True


def steps(world: World, variant: Variant) -> list[World]:
    after: list[World] = []
    if world.day < 5:
        after.append(world._replace(day=world.day + 1))
    if world.entry_until is None:
        after += sender_steps(world, variant)
    if world.found is None:
        after.append(world._replace(found=world.blob))
    else:
        seen = world.blob if variant.sweeps_by_compare_and_set else world.found
        answer = sweep(seen, now_ms=world.day)
        swept = answer.state if type(answer.answer) is Deleting else world.blob
        after.append(world._replace(found=None, blob=swept))
    return after


def sender_steps(world: World, variant: Variant) -> list[World]:
    posted = world._replace(entry_until=world.day + LIFE)
    if variant.keeps == "never":
        return [posted]
    kept = keep(world.blob, until_ms=world.day + LIFE + 1)
    if world.kept_on is None or (variant.keeps == "before every attempt" and world.kept_on != world.day):
        return [world._replace(blob=kept.state, kept_on=world.day)] if type(kept.answer) is Kept else []
    return [posted]


def is_broken(world: World) -> bool:
    is_readable = world.entry_until is not None and world.day <= world.entry_until
    return is_readable and world.blob.stage is not Stage.COMMITTED


def holds(variant: Variant) -> bool:
    seen, todo = {World()}, [World()]
    while todo:
        world = todo.pop()
        if is_broken(world):
            return False
        new = set(steps(world, variant)) - seen
        seen |= new
        todo += new
    return True


@pytest.mark.parametrize(
    ("variant", "is_right"),
    [
        (Variant(), True),
        (Variant(keeps="never"), False),  # "life counts from the commit"
        (Variant(keeps="once"), False),  # "linked once, sent days later"
        (Variant(sweeps_by_compare_and_set=False), False),  # "sweep without compare-and-set"
    ],
)
def test_m09_what_a_readable_entry_names_is_there(variant: Variant, is_right: bool) -> None:
    """Model 9 blobs, every interleaving of days, sender and sweeper."""
    assert holds(variant) is is_right


# ---- bytes ----------------------------------------------------------------------------------------------------------


def test_the_head_survives_its_bytes(committed: Blob) -> None:
    largest = committed._replace(size=2**63 - 1, until_ms=2**63 - 1)

    for blob in (NEW_BLOB, committed, largest):
        assert decode(encode(blob)) == blob
        assert len(encode(blob)) <= MAX_STATE_BYTES
    assert decode(b"") is NEW_BLOB


@pytest.mark.parametrize("data", [b"\x00", pack(9, "", 0, 0), pack(1, "nobody", 0, 0), pack(1, None, 0, 0)])
def test_other_bytes_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptStateError):
        decode(data)


def test_an_attachment_has_one_partition() -> None:
    assert partition(BlobId("a" * 32)) == f"blob/{'a' * 32}"
