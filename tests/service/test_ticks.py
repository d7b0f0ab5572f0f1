"""Receipts, frame by frame: what raises them, how far, in which order, and who is told."""

from __future__ import annotations

import pytest

from tests.service.conftest import MakeLab
from tests.service.lab import ALICE, BOB, CAROL, CHAT, DAVE, EVERYBODY, LIMITS, TEAM, Lab, Phone, read, users
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId
from whisperkit.service import ticks
from whisperkit.strategy import Strategy
from whisperkit.sync import frames
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.cursor import Cursor

LAPTOP = DeviceId(ALICE.user, 2)


def told(phone: Phone, conv: ConversationId = CHAT) -> list[tuple[str, str, int]]:
    """The marks that came, by name of device."""
    names = {device.user: device for device in EVERYBODY}
    found = [mark for mark in phone.all(frames.Mark) if mark.conv == conv]
    return [(NAMES[names[mark.user]], mark.kind.name.lower(), mark.upto) for mark in found]


NAMES = dict(zip(EVERYBODY, ("alice", "bob", "carol", "dave", "eve", "frank"), strict=True))


# ---- delivered ------------------------------------------------------------------------------------------------------


def test_an_acknowledgement_is_the_second_tick(lab: Lab) -> None:
    lab.chat()
    alice, bob = lab.phone(ALICE), lab.phone(BOB, acks=False)
    alice.send(CHAT, own={BOB: b"hello"})
    lab.settle(2.0)
    assert told(alice) == []

    bob.ack()
    lab.settle(2.0)

    assert told(alice) == [("bob", "delivered", 2)]
    assert told(bob) == []


def test_delivered_is_durable_before_the_acknowledgement_is_saved(lab: Lab) -> None:
    lab.chat()
    alice, _ = lab.phone(ALICE), lab.phone(BOB)
    alice.send(CHAT, own={BOB: b"hello"})
    lab.settle(lab.config.ack_after_s + 1)

    acked = inboxes.acked_mark(1)
    written = [(mark.name, mark.value) for marks in lab.marks.writes for mark in marks]
    inbox = [mark for marks in lab.marks.writes for mark in marks if mark.partition == inboxes.partition(BOB)]

    assert [mark.value for mark in inbox][-1] == 2
    assert written.index((f"delivered/{BOB.user}", 2)) < written.index((acked, 2))
    assert not any({mark.name for mark in marks} >= {f"delivered/{BOB.user}", acked} for marks in lab.marks.writes)


def test_a_gateway_that_dies_between_the_two_loses_no_tick(lab: Lab) -> None:
    """Delivered is raised first; what a cursor acknowledges that no mark has is raised at the next HELLO."""
    lab.chat()
    alice, bob = lab.phone(ALICE), lab.phone(BOB, acks=False)
    alice.send(CHAT, own={BOB: b"hello"})
    lab.settle()
    lab.away.add("marks")
    bob.ack()
    lab.settle()
    lab.crash(lab.g1)
    lab.away.clear()
    assert lab.mark(CHAT, "delivered", BOB) == 0

    lab.phone(BOB, at=lab.start("g1"), cursor=bob.cursor, number=2)
    lab.settle(1.0)

    assert lab.mark(CHAT, "delivered", BOB) == 2


def test_what_came_from_the_own_user_is_not_delivered_to_it(lab: Lab) -> None:
    lab.chat()
    lab.run(lab.g1.service.register(LAPTOP))
    alice, laptop = lab.phone(ALICE), lab.phone(LAPTOP)

    alice.send(CHAT, own={BOB: b"hello", LAPTOP: b"I said"})
    lab.settle(1.0)

    assert laptop.texts(CHAT) == [b"I said"]
    assert lab.mark(CHAT, "delivered", ALICE) == 1  # the service's own row about members


def test_a_placeholder_is_not_a_delivery(lab: Lab) -> None:
    lab.group(ALICE, BOB, CAROL)
    node = lab.g1.gateway
    alice, carol = lab.phone(ALICE), lab.phone(CAROL)
    for user in users(ALICE, BOB, CAROL):  # a list of devices that is older than Carol's new device
        lab.run(node.people.account(user))
    tablet = DeviceId(CAROL.user, 2)
    other = lab.start("g2")
    lab.run(other.service.register(tablet))
    pad = lab.phone(tablet)
    before = lab.mark(TEAM, "delivered", CAROL)
    carol.acks = False

    alice.send(TEAM, own={BOB: b"for two", CAROL: b"for two"})
    lab.settle(2.0)

    if pad.entries(TEAM):  # a commit of one partition looks at the list again when it finishes
        assert [entry.kind for entry in pad.entries(TEAM)][-1:] == [frames.EntryKind.PLACEHOLDER]
    assert lab.mark(TEAM, "delivered", CAROL) == before


@pytest.mark.parametrize("is_away", [False, True])
def test_the_acknowledgement_of_a_placeholder_is_no_delivery(lab: Lab, is_away: bool) -> None:
    bot = DeviceId.named("bot", 1)
    lab.run(lab.g1.service.register(bot))
    lab.group(ALICE, BOB, bot)
    alice = lab.phone(ALICE)
    phones = [] if is_away else [lab.phone(bot)]

    alice.send(TEAM, own={BOB: b"for bob"})
    lab.settle()
    phones.append(lab.phone(bot))
    lab.settle(1.0)

    assert [entry.kind for entry in phones[0].entries(TEAM)][-1] is frames.EntryKind.PLACEHOLDER
    assert lab.mark(TEAM, "delivered", bot) == 1  # the service's own row about members


# ---- read -----------------------------------------------------------------------------------------------------------


def test_reading_is_told_to_the_sender_and_to_the_own_devices(lab: Lab) -> None:
    lab.chat()
    lab.run(lab.g1.service.register(DeviceId(BOB.user, 2)))
    alice, bob, other = lab.phone(ALICE), lab.phone(BOB), lab.phone(DeviceId(BOB.user, 2))
    alice.send(CHAT, own={BOB: b"hello", other.device: b"hello"})
    lab.settle(3.0)

    bob.say(read(CHAT, 2))
    lab.settle(3.0)

    assert ("bob", "read", 2) in told(alice)
    assert told(other) == told(bob) == [("bob", "read", 2)]


def test_nobody_has_read_what_no_device_of_theirs_has(lab: Lab) -> None:
    lab.chat()
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    alice.send(CHAT, own={BOB: b"hello"})
    lab.settle()
    bob.acks = False
    alice.send(CHAT, own={BOB: b"not seen"})
    lab.settle()

    bob.say(read(CHAT, 99))
    lab.settle(2.0)

    assert lab.mark(CHAT, "read", BOB) == 2
    assert ("bob", "read", 2) in told(alice)


def test_what_is_pulled_is_read_up_to_the_head(lab: Lab) -> None:
    lab.group(*EVERYBODY)
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    alice.send(TEAM, b"to the hall")
    lab.settle()
    seq = alice.sent[0]

    bob.say(read(TEAM, 99))
    lab.settle(2.0)

    assert lab.mark(TEAM, "read", BOB) == seq


def test_what_is_pushed_again_behind_what_was_pulled_is_read_when_it_is_there(lab: Lab) -> None:
    lab.group(*EVERYBODY)
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    alice.send(TEAM, b"pulled")
    lab.settle()
    bob.acks = False
    lab.run(lab.g1.service.change_members(TEAM, removed=users(*EVERYBODY[LIMITS.queued_again_at :])))
    lab.settle(2.0)
    pulled = lab.head(TEAM).pulled_seq
    alice.send(TEAM, b"pushed")
    lab.settle(2.0)
    assert lab.head(TEAM).strategy is Strategy.MID
    assert alice.sent[-1] > pulled

    bob.say(read(TEAM, 99))
    lab.settle(2.0)

    assert lab.mark(TEAM, "read", BOB) == pulled


def test_a_mark_never_moves_back(lab: Lab) -> None:
    lab.chat()
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    for _ in range(3):
        alice.send(CHAT, own={BOB: b"hello"})
    lab.settle(2.0)
    bob.say(read(CHAT, 4))
    lab.settle(2.0)
    floor = lab.inbox(BOB).floor_cursor

    bob.say(read(CHAT, 2), frames.Ack(floor))
    lab.settle(lab.config.ack_after_s + 2)

    assert (lab.mark(CHAT, "read", BOB), lab.mark(CHAT, "delivered", BOB)) == (4, 4)
    reads = [upto for who, kind, upto in told(alice) if (who, kind) == ("bob", "read")]
    assert reads == sorted(reads)


def test_the_slower_of_two_devices_tells_nobody_anything_older(lab: Lab) -> None:
    lab.chat()
    other = DeviceId(BOB.user, 2)
    lab.run(lab.g1.service.register(other))
    alice, _, laptop = lab.phone(ALICE), lab.phone(BOB), lab.phone(other, acks=False)
    for _ in range(2):
        alice.send(CHAT, own={BOB: b"hello", other: b"hello"})
    lab.settle(3.0)
    alice.got.clear()
    first = laptop.entries(CHAT)[0]

    laptop.say(frames.Ack(Cursor(1, first.seq, first.tag)))
    lab.settle(3.0)
    laptop.ack()
    lab.settle(3.0)

    assert told(alice) == []


def test_reading_where_there_is_nothing_harms_nobody(lab: Lab) -> None:
    bob = lab.phone(BOB)

    bob.say(read(CHAT, 5))
    lab.run(lab.g1.service.mark_read(BOB, CHAT, 5))
    lab.settle()

    assert bob.bye is None
    assert lab.mark(CHAT, "read", BOB) == 0


# ---- who is told ----------------------------------------------------------------------------------------------------


def test_in_a_group_the_sender_sees_who_and_others_see_nothing_by_themselves(lab: Lab) -> None:
    lab.group(ALICE, BOB, CAROL)
    alice, bob, carol = (lab.phone(device) for device in (ALICE, BOB, CAROL))

    alice.send(TEAM, b"hello")
    lab.settle(3.0)
    bob.say(read(TEAM, 2))
    lab.settle(3.0)

    assert set(told(alice, TEAM)) == {("bob", "delivered", 2), ("carol", "delivered", 2), ("bob", "read", 2)}
    assert told(carol, TEAM) == []


def test_members_ask_for_the_marks_of_all_members_of_a_group(lab: Lab) -> None:
    lab.group(ALICE, BOB, CAROL)
    alice, bob, carol = (lab.phone(device) for device in (ALICE, BOB, CAROL))
    alice.send(TEAM, b"hello")
    lab.settle(3.0)
    bob.say(read(TEAM, 2))
    lab.settle(3.0)

    carol.say(frames.Marks((TEAM, CHAT)))
    lab.settle()

    assert set(told(carol, TEAM)) == {
        ("alice", "delivered", 1),
        ("bob", "delivered", 2),
        ("bob", "read", 2),
        ("carol", "delivered", 2),
    }


def test_in_a_hall_nobody_is_told_who_reads(lab: Lab) -> None:
    lab.group(*EVERYBODY)
    alice, bob, carol = (lab.phone(device) for device in (ALICE, BOB, CAROL))
    alice.send(TEAM, b"to the hall")
    lab.settle()
    for phone in (bob, carol):
        phone.say(read(TEAM, 99))
    lab.settle(3.0)

    alice.say(frames.Marks((TEAM,)))
    bob.say(frames.Marks((TEAM,)))
    lab.settle()

    assert {who for who, _, _ in told(alice, TEAM)} <= {"alice"}
    assert {who for who, _, _ in told(bob, TEAM)} == {"bob"}  # for its badges


def test_one_is_told_the_first_change_at_once_and_then_once_a_second(lab: Lab) -> None:
    lab.group(*EVERYBODY[:3])
    alice, _, _ = (lab.phone(device) for device in EVERYBODY[:3])
    for _ in range(20):
        alice.send(TEAM, b"hello")
        lab.settle(0.1)

    lab.settle(3.0)

    assert len(told(alice, TEAM)) <= 2 * 4  # two members, and at most four seconds
    assert set(told(alice, TEAM)) >= {("bob", "delivered", 21), ("carol", "delivered", 21)}


def test_who_wrote_long_ago_is_not_told_any_more_and_asks(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "MAX_WRITERS", 2)
    monkeypatch.setattr(ticks, "MAX_CONVERSATIONS", 1)
    lab.group(ALICE, BOB, CAROL)
    lab.group(ALICE, DAVE, conv=ConversationId("other"))
    alice, bob, carol = (lab.phone(device, acks=False) for device in (ALICE, BOB, CAROL))
    for phone in (alice, bob, carol):
        phone.send(TEAM, b"hello")
        lab.settle()

    for phone in (alice, bob, carol):
        phone.ack()
    lab.settle(3.0)

    assert told(alice, TEAM) == []
    assert told(bob, TEAM) != []
    alice.send(ConversationId("other"), b"elsewhere")  # and now the first is forgotten
    bob.got.clear()
    carol.say(read(TEAM, 4))
    lab.settle(3.0)
    assert told(bob, TEAM) == []
    bob.say(frames.Marks((TEAM,)))
    lab.settle()
    assert ("carol", "read", 3) in told(bob, TEAM)  # her own message is not delivered to her


def test_an_answer_about_marks_has_a_bound(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "MAX_MARKS", 2)
    lab = make_lab()
    lab.group(ALICE, BOB, CAROL)
    lab.phone(BOB)
    lab.phone(CAROL)
    alice = lab.phone(ALICE)
    lab.settle(2.0)

    alice.say(frames.Marks((TEAM,)))
    lab.settle()

    assert len(alice.all(frames.Mark)) == 2


def test_a_message_of_a_bot_is_told_as_delivered_and_read(lab: Lab) -> None:
    lab.chat()
    sent = lab.run(lab.g1.service.send(ALICE, CHAT, b"hello"))
    status = lab.g1.service.status

    assert lab.run(status(CHAT, sent.seq)).name == "SENT"
    lab.phone(BOB)
    lab.settle(1.0)
    assert lab.run(status(CHAT, sent.seq)).name == "DELIVERED"
    lab.run(lab.g1.service.mark_read(BOB, CHAT, sent.seq))

    assert lab.run(status(CHAT, sent.seq)).name == "READ"
    with pytest.raises(Exception, match="no message 9"):
        lab.run(status(CHAT, ConversationSeq(9)))
