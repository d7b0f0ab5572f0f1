"""Asides: from device to device, outside every conversation's order."""

from __future__ import annotations

import pytest

from tests.service.lab import ALICE, BOB, CAROL, CHAT, DAVE, TEAM, Lab, read_of, request, users
from whisperkit.ids import ConversationSeq, DeviceId
from whisperkit.service import asides
from whisperkit.sync import frames
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.frames import ByeCode, EntryKind
from whisperkit.testing import Fault

LAPTOP = DeviceId(ALICE.user, 2)


def aside(number: int, *devices: DeviceId, text: bytes = b"key") -> frames.Aside:
    return frames.Aside(request(number), dict.fromkeys(devices, text))


def got(lab: Lab, device: DeviceId) -> list[bytes | None]:
    """The asides in a device's inbox."""
    page = lab.run(lab.g1.service.entries(device, lab.inbox(device).floor_cursor))
    return [entry.body for entry in page if entry.kind is EntryKind.ASIDE]


def test_an_aside_reaches_the_devices_it_names_and_is_answered(lab: Lab) -> None:
    lab.group(ALICE, BOB, CAROL)
    alice, bob, carol = (lab.phone(device) for device in (ALICE, BOB, CAROL))

    alice.say(frames.Aside(request(1), {BOB: b"for Bob"}))
    lab.settle()

    assert alice.all(frames.AsideOk) == [frames.AsideOk(request(1))]
    (entry,) = [entry for entry in bob.entries() if entry.kind is EntryKind.ASIDE]
    assert (entry.conv, entry.conv_seq, entry.sender) == (frames.ASIDES, ConversationSeq(0), ALICE)
    assert (entry.message_id, entry.own, entry.shared) == (request(1), b"for Bob", None)
    assert got(lab, CAROL) == []
    assert carol.bye is None


def test_an_aside_waits_in_the_inbox_of_who_is_away(lab: Lab) -> None:
    lab.chat()
    alice = lab.phone(ALICE)
    alice.say(aside(1, BOB))
    lab.settle()

    bob = lab.phone(BOB)
    lab.settle()

    assert [entry.own for entry in bob.entries() if entry.kind is EntryKind.ASIDE] == [b"key"]
    assert lab.inbox(BOB).head_cursor == bob.cursor


def test_an_aside_takes_no_place_in_any_conversation_and_raises_no_tick(lab: Lab) -> None:
    lab.chat()
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    alice.say(aside(1, BOB))
    alice.send(CHAT, own={BOB: b"hello"})
    lab.settle()

    alice.say(aside(2, BOB))
    alice.send(CHAT, own={BOB: b"again"})
    lab.settle(1.0)

    assert alice.sent == [2, 3]
    assert bob.texts(CHAT) == [b"hello", b"again"]
    assert lab.mark(frames.ASIDES, "delivered", BOB) == 0
    assert lab.mark(CHAT, "delivered", BOB) == 3


def test_a_stranger_reaches_nobody_and_is_not_told(lab: Lab) -> None:
    lab.chat()
    stranger, bob = lab.phone(DAVE), lab.phone(BOB)

    stranger.say(aside(1, BOB, DeviceId.named("nobody", 1)))
    lab.settle()

    assert stranger.all(frames.AsideOk) == [frames.AsideOk(request(1))]
    assert stranger.bye is None
    assert got(lab, BOB) == []
    assert [entry.kind for entry in bob.entries()] == [EntryKind.ROSTER]


def test_the_other_devices_of_a_user_need_no_conversation(lab: Lab) -> None:
    lab.run(lab.g1.service.register(LAPTOP))
    alice = lab.phone(ALICE)

    alice.say(aside(1, LAPTOP))
    lab.settle()

    assert got(lab, LAPTOP) == [b"key"]


def test_who_left_a_moment_ago_still_answers_for_its_messages(lab: Lab) -> None:
    lab.group(ALICE, BOB, CAROL)
    carol = lab.phone(CAROL)
    lab.run(lab.g1.service.change_members(TEAM, removed=users(CAROL)))
    lab.settle()

    carol.say(aside(1, BOB))
    lab.settle()

    assert got(lab, BOB) == [b"key"]


def test_an_aside_to_a_device_that_is_gone_harms_nobody(lab: Lab) -> None:
    lab.chat()
    laptop = DeviceId(BOB.user, 2)
    lab.run(lab.g1.service.register(laptop))
    lab.run(lab.g1.gateway.people.unlink(laptop, by=BOB))
    alice = lab.phone(ALICE)

    alice.say(aside(1, laptop, BOB))
    lab.settle()

    assert alice.all(frames.AsideOk) == [frames.AsideOk(request(1))]
    assert got(lab, BOB) == [b"key"]
    assert not lab.inbox(laptop).is_open


def test_a_repeat_has_the_same_id_and_the_device_tells(lab: Lab) -> None:
    lab.chat()
    alice, bob = lab.phone(ALICE), lab.phone(BOB)

    alice.say(aside(1, BOB), aside(1, BOB))
    lab.settle()

    assert {entry.message_id for entry in bob.entries() if entry.kind is EntryKind.ASIDE} == {request(1)}
    assert len(alice.all(frames.AsideOk)) == 2


def test_an_aside_is_answered_only_when_it_is_durable(lab: Lab) -> None:
    lab.chat()
    alice = lab.phone(ALICE)
    lab.g1.door.fail(
        lambda call: call.operation == "commit" and inboxes.partition(BOB) in call.partitions,
        *[Fault.UNKNOWN_BEFORE] * 20,
    )

    alice.say(aside(1, BOB))
    lab.settle(60.0)
    lab.g1.door.fail_nothing()

    assert alice.all(frames.AsideOk) == []
    assert alice.bye is ByeCode.TRY_LATER


def test_whom_one_reached_lately_is_not_looked_up_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asides, "MAX_ACQUAINTED", 1)
    lab.group(ALICE, BOB, CAROL)
    alice = lab.phone(ALICE)
    alice.say(aside(1, BOB))
    lab.settle()
    looked_up = read_of("rows", "user/")

    lab.g1.door.forget()
    alice.say(aside(2, BOB))
    lab.settle()
    again = sum(map(looked_up, lab.g1.door.calls))
    alice.say(aside(3, CAROL), aside(4, BOB))
    lab.settle()

    assert again == 0
    assert sum(map(looked_up, lab.g1.door.calls)) == 4  # one pair is remembered, so Bob was forgotten
    assert len(got(lab, BOB)) == 3
