"""Reading for links: windows, slow readers, PULL, RANGE, heads."""

from __future__ import annotations

import pytest

from tests.service.conftest import MakeLab
from tests.service.lab import ALICE, BOB, CAROL, CHAT, EVERYBODY, FRANK, TEAM, Lab, read_of, span_of, users
from whisperkit.ids import InboxSeq
from whisperkit.service import ServiceConfig
from whisperkit.strategy import Strategy
from whisperkit.sync import frames
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import ByeCode, EntryKind
from whisperkit.testing import Fault


def post(lab: Lab, count: int, *, size: int = 4) -> None:
    for _ in range(count):
        lab.run(lab.g1.service.send(ALICE, CHAT, bytes(size)))
    lab.settle()


@pytest.fixture
def narrow(make_lab: MakeLab) -> Lab:
    """Three entries may be on their way to a device."""
    lab = make_lab(config=ServiceConfig(max_unacked_entries=3))
    lab.chat()
    return lab


# ---- the window -----------------------------------------------------------------------------------------------------


def test_a_slow_reader_gets_what_fits_and_then_more_as_it_acknowledges(narrow: Lab) -> None:
    bob = narrow.phone(BOB, acks=False)
    post(narrow, 9)
    assert [entry.seq for entry in bob.entries()] == [1, 2, 3]

    for upto in (3, 6, 9, 10):
        bob.ack()
        narrow.settle()
        assert bob.entries()[-1].seq == min(upto + 3, 10)

    assert [entry.seq for entry in bob.entries()] == list(range(1, 11))
    assert bob.bye is None


def test_a_slow_reader_is_slow_and_not_cut_off(narrow: Lab) -> None:
    bob = narrow.phone(BOB, acks=False)

    post(narrow, 9)
    for _ in range(10):
        bob.say(frames.Beat())
        narrow.settle(20.0)

    assert bob.bye is None


def test_the_window_is_bounded_in_bytes(make_lab: MakeLab) -> None:
    lab = make_lab(config=ServiceConfig(max_unacked_bytes=3_000))
    lab.chat()
    bob = lab.phone(BOB, acks=False)

    post(lab, 5, size=1_000)
    assert [entry.seq for entry in bob.entries()] == [1, 2, 3, 4]  # the one that fills it still leaves
    bob.ack()
    lab.settle()

    assert [entry.seq for entry in bob.entries()] == [1, 2, 3, 4, 5, 6]


def test_after_reading_on_entries_are_pushed_again(narrow: Lab) -> None:
    bob = narrow.phone(BOB)
    post(narrow, 9)
    narrow.g1.door.forget()

    post(narrow, 1)

    assert [entry.seq for entry in bob.entries()] == list(range(1, 12))
    assert not [call for call in narrow.g1.door.calls if call.partitions == (inboxes.partition(BOB),)][2:]


def test_an_acknowledgement_of_another_log_ends_the_link(lab: Lab) -> None:
    lab.chat()
    bob = lab.phone(BOB, acks=False)
    post(lab, 2)
    assert bob.cursor is not None

    bob.say(frames.Ack(bob.cursor._replace(tag=bytes(8))))
    lab.settle()

    assert bob.bye is ByeCode.RESYNC
    assert lab.mark(CHAT, "delivered", BOB) == 0


def test_an_acknowledgement_of_what_was_never_sent_ends_the_link(lab: Lab) -> None:
    lab.chat()
    bob = lab.phone(BOB, acks=False)
    assert bob.cursor is not None

    bob.say(frames.Ack(bob.cursor._replace(seq=InboxSeq(50))))
    lab.settle()

    assert bob.bye is ByeCode.RESYNC


def test_an_old_acknowledgement_is_no_harm(lab: Lab) -> None:
    lab.chat()
    bob = lab.phone(BOB)
    post(lab, 2)

    bob.say(frames.Ack(lab.inbox(BOB).floor_cursor))
    post(lab, 1)

    assert [entry.seq for entry in bob.entries()] == [1, 2, 3, 4]


def test_a_read_that_fails_asks_the_device_to_come_again(narrow: Lab) -> None:
    bob = narrow.phone(BOB, acks=False)
    post(narrow, 5)
    narrow.g1.door.fail(read_of("rows", "inbox/"), Fault.UNKNOWN_BEFORE)

    bob.ack()
    narrow.settle()

    assert bob.bye is ByeCode.TRY_LATER


def test_entries_that_vanished_under_a_link_end_it(narrow: Lab) -> None:
    """As after a restore: what the head counts is not there."""
    bob = narrow.phone(BOB, acks=False)
    post(narrow, 9)
    name = inboxes.partition(BOB)
    narrow.memory._rows[name].delete(inboxes.entry_key(4))  # pyright: ignore[reportPrivateUsage]

    bob.ack()
    narrow.settle()

    assert bob.bye is ByeCode.RESYNC


# ---- PULL -----------------------------------------------------------------------------------------------------------


def test_a_device_asks_again_from_its_cursor(lab: Lab) -> None:
    lab.chat()
    bob = lab.phone(BOB, acks=False)
    start = lab.inbox(BOB).floor_cursor
    post(lab, 2)

    bob.say(frames.Pull(start))
    lab.settle()

    assert [entry.seq for entry in bob.entries()] == [1, 2, 3, 1, 2, 3]
    bob.ack()
    post(lab, 1)
    assert bob.entries()[-1].seq == 4


def test_asking_again_from_another_log_ends_the_link(lab: Lab) -> None:
    lab.chat()
    bob = lab.phone(BOB)
    post(lab, 2)

    bob.say(frames.Pull(Cursor(1, InboxSeq(2), bytes(8))))
    lab.settle()

    assert bob.bye is ByeCode.RESYNC


def test_asking_again_while_the_gateway_reads_begins_from_the_new_cursor(narrow: Lab) -> None:
    bob = narrow.phone(BOB, acks=False)
    start = narrow.inbox(BOB).floor_cursor
    post(narrow, 5)
    narrow.g1.door.hold(read_of("rows", "inbox/"))
    bob.ack()
    narrow.settle()
    assert len(narrow.g1.door.held) == 1

    bob.say(frames.Pull(start))
    narrow.settle()
    narrow.g1.door.let_go()
    narrow.settle()

    assert [entry.seq for entry in bob.entries()][3:] == [1, 2, 3]


# ---- heads ----------------------------------------------------------------------------------------------------------


def test_a_beat_is_answered_with_the_head(lab: Lab) -> None:
    lab.chat()
    bob = lab.phone(BOB)
    post(lab, 1)

    bob.say(frames.Beat())
    lab.settle()

    assert bob.last(frames.Head) == frames.Head(lab.inbox(BOB).head_cursor, {})


def test_a_beat_while_the_store_is_away_harms_nobody(lab: Lab) -> None:
    bob = lab.phone(BOB)
    lab.g1.door.fail(read_of("heads", "inbox/"), Fault.UNKNOWN_BEFORE)

    bob.say(frames.Beat())
    lab.settle()

    assert bob.all(frames.Head) == []
    assert bob.bye is None


# ---- what is pulled -------------------------------------------------------------------------------------------------


def test_what_was_pushed_is_not_served_by_range(lab: Lab) -> None:
    lab.chat()
    bob = lab.phone(BOB)
    post(lab, 3)

    bob.say(span_of(CHAT, 0, 9))
    lab.settle()

    rows = bob.last(frames.Rows)
    assert (rows.rows, rows.after, rows.upto, rows.head) == ((), 0, 4, 4)


def test_a_range_is_answered_as_far_as_its_limit_goes(lab: Lab) -> None:
    lab.group(*EVERYBODY)
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    first = lab.head(TEAM).seq
    for _ in range(5):
        alice.send(TEAM)
    lab.settle()

    bob.say(span_of(TEAM, first, first + 5, limit=2), span_of(TEAM, first + 2, first + 99, limit=100))
    lab.settle()

    one, two = bob.all(frames.Rows)
    assert ([row.conv_seq for row in one.rows], one.upto) == ([first + 1, first + 2], first + 2)
    assert ([row.conv_seq for row in two.rows], two.upto) == ([first + 3, first + 4, first + 5], first + 5)


def test_a_range_of_large_rows_is_answered_as_far_as_one_message_goes(lab: Lab) -> None:
    lab.group(*EVERYBODY)
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    first = lab.head(TEAM).seq
    for _ in range(40):
        alice.send(TEAM, bytes(frames.MAX_SHARED_BYTES))
        lab.settle()

    seen: list[int] = []
    upto = first
    while upto < first + 40:
        bob.say(span_of(TEAM, upto, first + 40, limit=200))
        lab.settle()
        assert bob.bye is None
        answer = bob.last(frames.Rows)
        assert answer.upto > upto
        seen += [row.conv_seq for row in answer.rows]
        upto = answer.upto

    assert seen == list(range(first + 1, first + 41))
    assert len(bob.all(frames.Rows)) < 20


def test_a_range_of_small_rows_is_one_answer(lab: Lab) -> None:
    lab.group(*EVERYBODY)
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    first = lab.head(TEAM).seq
    for _ in range(150):
        alice.send(TEAM)
        lab.settle(0.05)
    lab.settle(2.0)

    bob.say(span_of(TEAM, first, first + 150, limit=200))
    lab.settle()

    assert [row.conv_seq for row in bob.last(frames.Rows).rows] == list(range(first + 1, first + 151))


def test_who_left_reads_up_to_the_leaving(lab: Lab) -> None:
    lab.group(*EVERYBODY)
    alice, frank = lab.phone(ALICE), lab.phone(FRANK)
    alice.send(TEAM, b"before")
    lab.settle()
    lab.run(lab.g1.service.change_members(TEAM, removed=users(FRANK)))
    lab.settle(2.0)
    alice.send(TEAM, b"after")
    lab.settle(2.0)

    frank.say(span_of(TEAM, 0, 99))
    lab.settle()

    texts = [row.shared for row in frank.last(frames.Rows).rows if row.kind is EntryKind.MESSAGE]
    assert texts == [b"before"]


def test_who_follows_hears_of_heads_at_once_until_it_stops(lab: Lab) -> None:
    lab.group(*EVERYBODY)
    alice, bob, carol = lab.phone(ALICE), lab.phone(BOB), lab.phone(CAROL)
    bob.say(frames.Follow((TEAM, CHAT)))
    lab.settle()
    alice.send(TEAM)
    lab.settle()
    seq = alice.sent[0]

    assert [dict(head.conversations) for head in bob.all(frames.Head)] == [{TEAM: seq - 1}, {TEAM: seq}]
    assert carol.all(frames.Head) == []

    bob.say(frames.Follow(()))
    lab.settle()
    alice.send(TEAM)
    lab.settle()

    assert dict(bob.last(frames.Head).conversations) == {}
    assert lab.head(TEAM).strategy is Strategy.MEGA


def test_a_device_that_goes_follows_nothing(lab: Lab) -> None:
    lab.group(*EVERYBODY)
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    bob.say(frames.Follow((TEAM,)))
    bob.link.detach()
    lab.settle()
    other = lab.phone(BOB, number=2)
    other.say(frames.Follow((TEAM,)))
    lab.settle()
    other.link.detach()

    alice.send(TEAM)
    lab.settle()

    assert len(bob.all(frames.Head)) + len(other.all(frames.Head)) == 1


def test_a_copy_that_a_range_does_not_hold_is_a_placeholder(lab: Lab) -> None:
    lab.group(*EVERYBODY)
    alice, bob, carol = lab.phone(ALICE), lab.phone(BOB), lab.phone(CAROL)

    alice.send(TEAM, own={BOB: b"for Bob"})
    lab.settle()
    for phone in (bob, carol):
        phone.say(span_of(TEAM, alice.sent[0] - 1, alice.sent[0]))
    lab.settle()

    assert [(row.kind, row.own) for row in bob.last(frames.Rows).rows] == [(EntryKind.MESSAGE, b"for Bob")]
    assert [(row.kind, row.own) for row in carol.last(frames.Rows).rows] == [(EntryKind.PLACEHOLDER, None)]
