"""Saving acknowledgements: never before what they deliver is durable, and never more of them than there are devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tests.service.conftest import MakeLab
from tests.service.lab import ALICE, BOB, CHAT, LIMITS, Lab, Phone
from whisperkit.ids import DeviceId
from whisperkit.service import ServiceConfig
from whisperkit.service.acks import AckSaver
from whisperkit.service.gateway import Gateway
from whisperkit.service.link import DeviceLink
from whisperkit.service.marks import Key, MarkBoard
from whisperkit.service.ticks import Ticks
from whisperkit.sync import frames
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.cursor import Cursor
from whisperkit.testing.sim_runtime import run_now


class BusyBoard(MarkBoard):
    """A board on which something happens just as a flush ends, before whoever waited for it goes on."""

    during: Callable[[], None] | None = None

    async def flush(self) -> None:
        await super().flush()
        during, self.during = self.during, None
        if during is not None:
            during()


def publish_nothing(_written: Mapping[Key, int]) -> None: ...


def link_of(gateway: Gateway, device: DeviceId) -> DeviceLink:
    link = gateway.links.get(device)
    assert isinstance(link, DeviceLink)
    return link


def acked(lab: Lab, device: DeviceId) -> int:
    """The last entry whose acknowledgement is saved."""
    name = inboxes.partition(device)
    mark = inboxes.acked_mark(lab.inbox(device).epoch)
    return run_now(lab.marks.marks([name])).get(name, {}).get(mark, 0)


def upto(phone: Phone, seq: int) -> frames.Ack:
    """Acknowledge entries up to one."""
    entry = next(entry for entry in phone.entries() if entry.seq == seq)
    return frames.Ack(Cursor(1, entry.seq, entry.tag))


def three_entries(lab: Lab) -> Phone:
    """Bob, who got three entries and acknowledged none."""
    lab.chat()
    alice, bob = lab.phone(ALICE), lab.phone(BOB, acks=False)
    for _ in range(2):
        alice.send(CHAT, own={BOB: b"hello"})
    lab.settle()
    return bob


# ---- delivered first ------------------------------------------------------------------------------------------------


@pytest.mark.replaces
def test_what_is_acknowledged_while_marks_are_written_is_saved_the_next_time(lab: Lab) -> None:
    bob = three_entries(lab)
    gateway = lab.g1.gateway
    ticks = Ticks(gateway.core, gateway.links)
    ticks.board = board = BusyBoard(lab.marks, lab.g1.runtime, publish=publish_nothing, max_pending=10)
    saver = AckSaver(gateway.core, ticks, gateway.catchup, list, gateway.sweeper)
    link = link_of(gateway, BOB)
    bob.say(upto(bob, 2))

    board.during = lambda: bob.say(upto(bob, 3))
    lab.run(saver.save_now([link]), on=lab.g1.runtime)

    # *Delivered* of the third entry was raised after the flush, so its acknowledgement must not be there yet.
    assert acked(lab, BOB) == 2
    lab.run(saver.save_now([link]), on=lab.g1.runtime)
    assert acked(lab, BOB) == 3


def test_a_pull_acknowledges_what_the_device_has(lab: Lab) -> None:
    bob = three_entries(lab)

    bob.say(frames.Pull(upto(bob, 3).cursor))
    lab.settle(7.0)

    assert lab.mark(CHAT, "delivered", BOB) == 3
    assert acked(lab, BOB) == 3


# ---- while the store of marks is away -------------------------------------------------------------------------------


def test_a_device_waits_once_however_often_it_acknowledges(make_lab: MakeLab) -> None:
    lab = make_lab(config=ServiceConfig(fanout=LIMITS, ack_every=1))
    bob = three_entries(lab)
    lab.marks.failures = 1_000

    for seq in (1, 2, 3):
        bob.say(upto(bob, seq))
        lab.settle(1.0)

    assert lab.g1.gateway.acks.waiting <= 1
    lab.marks.failures = 0
    lab.settle(20.0)
    assert acked(lab, BOB) == 3


def test_the_last_words_of_a_link_that_ended_meanwhile_are_saved(lab: Lab) -> None:
    bob = three_entries(lab)
    lab.marks.failures = 30

    bob.say(upto(bob, 3))
    bob.link.detach()
    lab.settle(60.0)

    assert lab.mark(CHAT, "delivered", BOB) == 3
    assert acked(lab, BOB) == 3


def test_an_acknowledgement_that_finds_no_room_is_taken_when_it_comes_again(make_lab: MakeLab) -> None:
    lab = make_lab(config=ServiceConfig(fanout=LIMITS, max_pending_marks=1))
    bob = three_entries(lab)
    lab.settle(1.0)
    lab.marks.failures = 1_000
    board = lab.g1.gateway.ticks.board
    board.raise_mark(inboxes.partition(ALICE), "being written", 1)
    lab.settle()
    board.raise_mark(inboxes.partition(ALICE), "waits", 1)

    bob.say(upto(bob, 3))
    lab.settle()
    assert link_of(lab.g1.gateway, BOB).unsaved_acks == 0
    lab.marks.failures = 0
    lab.settle(2.0)
    bob.say(upto(bob, 3))
    lab.settle(7.0)

    assert bob.bye is None
    assert acked(lab, BOB) == 3


def test_who_reads_while_there_is_no_room_is_asked_to_come_later(make_lab: MakeLab) -> None:
    lab = make_lab(config=ServiceConfig(fanout=LIMITS, max_pending_marks=1))
    bob = three_entries(lab)
    lab.settle(1.0)
    lab.marks.failures = 1_000
    board = lab.g1.gateway.ticks.board
    board.raise_mark(inboxes.partition(ALICE), "being written", 1)
    lab.settle()
    board.raise_mark(inboxes.partition(ALICE), "waits", 1)

    bob.say(frames.Read(CHAT, bob.entries()[-1].conv_seq))
    lab.settle()

    assert bob.bye is frames.ByeCode.TRY_LATER
