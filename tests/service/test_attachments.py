"""Attachments on the server: reserved, committed, kept, and gone when their time is over."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.service.lab import ALICE, BOB, Lab, commit_to
from whisperkit import blobs
from whisperkit.blobs import Committed, Gone, Incomplete, Kept, NotYours, Reserved, Stage
from whisperkit.ids import BlobId
from whisperkit.service import ServiceConfig
from whisperkit.service.attachments import DAY_MS, RESERVED_MS, Attachments
from whisperkit.testing.sim_runtime import run_now

PHOTO = BlobId("ca7" + 29 * "0")
LIFE_MS = (ServiceConfig().inbox_days + 1) * DAY_MS


class Shelf:
    """The attachments of a lab's gateway, on a wall clock that is moved by hand."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.on: Attachments = lab.g1.gateway.attachments

    @property
    def now_ms(self) -> int:
        return self.lab.g1.runtime.wall_ms()

    def upload(self, blob: BlobId = PHOTO, data: bytes = b"meow") -> None:
        """Reserve, store and commit."""
        self.lab.run(self.on.reserve(blob, owner=ALICE.user, size=len(data)))
        run_now(self.lab.blobs.put(blob, 0, data))
        self.lab.run(self.on.commit(blob, owner=ALICE.user, stored=len(data)))

    def keep(self, blob: BlobId = PHOTO, *, days: float) -> object:
        return self.lab.run(self.on.keep(blob, until_ms=self.now_ms + int(days * DAY_MS)))

    def pass_days(self, days: float) -> None:
        """Put the wall clock forward."""
        self.lab.world.days += days

    def sweep(self) -> int:
        """Sweep all that is due, as often as that takes."""
        gone = 0
        for _ in range(100):
            gone += self.lab.run(self.on.sweep())
        return gone

    def stage(self, blob: BlobId = PHOTO) -> Stage:
        return self.lab.run(self.on.look(blob)).stage

    def bytes_of(self, blob: BlobId = PHOTO, offset: int = 0, size: int = 100) -> bytes:
        return run_now(self.lab.blobs.read(blob, offset, size))


@pytest.fixture
def shelf(lab: Lab) -> Shelf:
    made = Shelf(lab)
    lab.run(made.on.sweep())  # the first one there ever is only says where sweeping begins
    return made


# ---- uploading ------------------------------------------------------------------------------------------------------


def test_an_upload_is_reserved_committed_and_lives_a_day_longer_than_an_entry(shelf: Shelf) -> None:
    reserved = shelf.lab.run(shelf.on.reserve(PHOTO, owner=ALICE.user, size=4))
    committed = shelf.lab.run(shelf.on.commit(PHOTO, owner=ALICE.user, stored=4))

    assert isinstance(reserved, Reserved)
    assert isinstance(committed, Committed)
    assert committed.size == 4
    assert 0 <= shelf.now_ms + LIFE_MS - committed.until_ms < 60_000


def test_a_repeat_of_what_was_answered_changes_nothing(shelf: Shelf) -> None:
    shelf.upload()
    before = shelf.lab.run(shelf.on.look(PHOTO))
    shelf.pass_days(1)

    shelf.lab.run(shelf.on.reserve(PHOTO, owner=ALICE.user, size=4))
    shelf.lab.run(shelf.on.commit(PHOTO, owner=ALICE.user, stored=4))

    assert shelf.lab.run(shelf.on.look(PHOTO)) == before


def test_what_is_incomplete_is_neither_committed_nor_kept(shelf: Shelf) -> None:
    shelf.lab.run(shelf.on.reserve(PHOTO, owner=ALICE.user, size=4))

    assert shelf.lab.run(shelf.on.commit(PHOTO, owner=ALICE.user, stored=3)) == Incomplete(4)
    assert shelf.keep(days=3) == Incomplete(4)


def test_a_name_belongs_to_who_reserved_it(shelf: Shelf) -> None:
    shelf.lab.run(shelf.on.reserve(PHOTO, owner=ALICE.user, size=4))

    assert shelf.lab.run(shelf.on.reserve(PHOTO, owner=BOB.user, size=4)) == NotYours()
    assert shelf.lab.run(shelf.on.reserve(PHOTO, owner=ALICE.user, size=5)) == NotYours()
    assert shelf.lab.run(shelf.on.commit(PHOTO, owner=BOB.user, stored=4)) == NotYours()


def test_what_was_never_uploaded_is_gone(shelf: Shelf) -> None:
    assert shelf.keep(days=3) == Gone()
    assert shelf.lab.run(shelf.on.commit(PHOTO, owner=ALICE.user, stored=4)) == Gone()
    assert shelf.stage() is Stage.ABSENT


def test_an_upload_goes_on_where_it_stopped_and_is_read_in_ranges(shelf: Shelf) -> None:
    shelf.lab.run(shelf.on.reserve(PHOTO, owner=ALICE.user, size=8))
    run_now(shelf.lab.blobs.put(PHOTO, 0, b"meow"))
    assert shelf.lab.run(shelf.on.commit(PHOTO, owner=ALICE.user, stored=4)) == Incomplete(8)

    stored = run_now(shelf.lab.blobs.put(PHOTO, 4, b"purr"))
    committed = shelf.lab.run(shelf.on.commit(PHOTO, owner=ALICE.user, stored=stored))

    assert isinstance(committed, Committed)
    assert shelf.bytes_of(offset=2, size=4) == b"owpu"
    assert shelf.bytes_of(offset=8) == b""


# ---- sweeping -------------------------------------------------------------------------------------------------------


def test_what_nobody_kept_goes_when_its_time_is_over_and_not_before(shelf: Shelf) -> None:
    shelf.upload()
    shelf.pass_days(LIFE_MS / DAY_MS - 0.1)
    assert shelf.sweep() == 0
    assert shelf.bytes_of() == b"meow"

    shelf.pass_days(0.3)

    assert shelf.sweep() == 1
    assert shelf.bytes_of() == b""
    assert shelf.stage() is Stage.DELETING


def test_what_is_gone_stays_gone(shelf: Shelf) -> None:
    shelf.upload()
    shelf.pass_days(LIFE_MS / DAY_MS + 1)
    shelf.sweep()

    assert shelf.keep(days=3) == Gone()
    assert shelf.lab.run(shelf.on.reserve(PHOTO, owner=ALICE.user, size=4)) == Gone()


def test_what_was_kept_lives_on(shelf: Shelf) -> None:
    shelf.upload()
    shelf.pass_days(20)

    assert isinstance(shelf.keep(days=31), Kept)
    shelf.pass_days(30)
    assert shelf.sweep() == 0
    assert shelf.bytes_of() == b"meow"
    shelf.pass_days(1.2)

    assert shelf.sweep() == 1


def test_keeping_it_for_less_changes_nothing(shelf: Shelf) -> None:
    shelf.upload()
    before = shelf.lab.run(shelf.on.look(PHOTO))

    assert shelf.keep(days=1) == Kept(before.until_ms)
    assert shelf.lab.run(shelf.on.look(PHOTO)) == before


def test_an_upload_that_is_never_completed_goes_after_a_day(shelf: Shelf) -> None:
    shelf.lab.run(shelf.on.reserve(PHOTO, owner=ALICE.user, size=4))
    run_now(shelf.lab.blobs.put(PHOTO, 0, b"me"))

    shelf.pass_days(RESERVED_MS / DAY_MS + 0.1)

    assert shelf.sweep() == 1
    assert shelf.bytes_of() == b""


def test_what_is_over_and_still_there_is_counted_until_a_sweep_comes_by(shelf: Shelf) -> None:
    kept = BlobId("cab" + 29 * "0")
    shelf.upload()
    shelf.upload(kept)
    shelf.lab.run(shelf.on.reserve(BlobId("f" * 32), owner=BOB.user, size=9))
    shelf.keep(kept, days=90)
    before = shelf.lab.run(shelf.on.overdue())

    shelf.pass_days(1.2)
    after_a_day = shelf.lab.run(shelf.on.overdue())
    shelf.pass_days(LIFE_MS / DAY_MS)
    while_nobody_swept = shelf.lab.run(shelf.on.overdue(max_hours=1_000))
    shelf.sweep()

    assert (before, after_a_day, while_nobody_swept) == (0, 1, 2)
    assert shelf.lab.run(shelf.on.overdue()) == 0


def test_a_gateway_sweeps_when_it_starts_and_not_only_after_an_hour(shelf: Shelf) -> None:
    shelf.upload()
    for _ in range(int(LIFE_MS / DAY_MS) + 1):
        shelf.pass_days(1.0)  # a day in which nobody lives for an hour
        shelf.lab.crash(shelf.lab.g1)
        shelf.lab.g1 = shelf.lab.start("g1")
        shelf.lab.settle(1.0)

    shelf.on = shelf.lab.g1.gateway.attachments
    assert shelf.stage() is Stage.DELETING
    assert shelf.bytes_of() == b""


def test_a_sweep_that_was_away_for_long_looks_at_some_hours_at_a_time(shelf: Shelf) -> None:
    shelf.upload()
    shelf.pass_days(LIFE_MS / DAY_MS + 1)

    swept = [shelf.lab.run(shelf.on.sweep(max_hours=24)) for _ in range(35)]

    assert sum(swept) == 1
    assert swept[0] == 0


def test_a_sweep_whose_bytes_could_not_be_dropped_drops_them_the_next_time(shelf: Shelf) -> None:
    shelf.upload()
    shelf.pass_days(LIFE_MS / DAY_MS + 1)
    shelf.lab.away.add("blobs")

    with pytest.raises(OSError, match="blobs is away"):
        shelf.sweep()
    assert shelf.bytes_of() == b"meow"
    shelf.lab.away.clear()

    assert shelf.sweep() == 1
    assert shelf.bytes_of() == b""


class LooksThenDeletes(Attachments):
    """What is over when it is looked at is deleted, whatever came between."""

    async def _run(self, blob: BlobId, rule: Any) -> Any:  # Any: as what it overrides
        if isinstance(rule, partial) and rule.func is blobs.sweep:
            now_ms: int = rule.keywords["now_ms"]
            rule = partial(_exchanged, after=blobs.sweep(await self.look(blob), now_ms=now_ms))
        return await super()._run(blob, rule)


def _exchanged(_state: blobs.Blob, *, after: Any) -> Any:  # Any: a step of whatever answer
    return after


def keep_during_sweep(shelf: Shelf, sweeper: type[Attachments]) -> Stage:
    """A sweeper stands still before its commit; then somebody keeps what it is about to delete."""
    lab = shelf.lab
    shelf.upload()
    other = lab.start("g2")
    shelf.pass_days(LIFE_MS / DAY_MS + 0.05)
    other.door.hold(commit_to(f"blob/{PHOTO}"))
    on = sweeper(other.gateway.core, other.gateway.catchup)

    async def sweep_all() -> None:
        for _ in range(40):
            await on.sweep()

    swept = lab.begin(sweep_all(), on=other.runtime)
    lab.settle(10.0)
    assert other.door.held
    assert isinstance(shelf.keep(days=31), Kept)

    other.door.let_go()
    lab.settle(10.0)

    assert swept == [None]
    return shelf.stage()


def test_m09_what_was_kept_while_it_was_swept_stays(shelf: Shelf) -> None:
    assert keep_during_sweep(shelf, Attachments) is Stage.COMMITTED
    assert shelf.bytes_of() == b"meow"
    assert shelf.sweep() == 0
    shelf.pass_days(32)
    assert shelf.sweep() == 1  # it was filed under its new hour


def test_m09_a_sweep_that_looks_and_then_deletes_is_caught(shelf: Shelf) -> None:
    assert keep_during_sweep(shelf, LooksThenDeletes) is Stage.DELETING
