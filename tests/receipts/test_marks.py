"""What marks mean: clamps, moves, ticks and who sees them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit import ConversationId, ConversationSeq, UserId
from whisperkit.receipts import (
    MarkKind,
    MarkMoved,
    Marks,
    Membership,
    MessageStatus,
    Received,
    Tally,
    audience_of,
    clamp_read,
    delivered_by,
    delivered_upto,
    mark_name,
    moves,
    observers_of,
    reached,
    read_by,
    status_of,
    tally_of,
)
from whisperkit.strategy import Strategy

ALICE, BOB, CAROL = (UserId.named(name) for name in ("alice", "bob", "carol"))
EVERYBODY = (ALICE, BOB, CAROL)
CHAT, ROOM = ConversationId("chat"), ConversationId("room")


def marks_of(*, delivered: dict[UserId, int] | None = None, read: dict[UserId, int] | None = None) -> dict[str, int]:
    found = {mark_name(MarkKind.DELIVERED, user): upto for user, upto in (delivered or {}).items()}
    return found | {mark_name(MarkKind.READ, user): upto for user, upto in (read or {}).items()}


def test_the_name_of_a_mark_fits_a_mark_store() -> None:
    name = mark_name(MarkKind.DELIVERED, ALICE)

    assert name == f"delivered/{ALICE}"
    assert len(name) <= 64


def test_read_implies_delivered_even_if_only_read_was_saved() -> None:
    marks = marks_of(delivered={BOB: 2}, read={BOB: 5})

    assert reached(marks, BOB, MarkKind.DELIVERED) == 5


def test_a_read_receipt_raises_delivered_first() -> None:
    raised = moves(marks_of(delivered={BOB: 3}), user=BOB, kind=MarkKind.READ, upto=7)

    assert raised == (MarkMoved(BOB, MarkKind.DELIVERED, seq(3), seq(7)), MarkMoved(BOB, MarkKind.READ, seq(0), seq(7)))


def test_a_delivered_receipt_raises_no_read_mark() -> None:
    raised = moves({}, user=BOB, kind=MarkKind.DELIVERED, upto=7)

    assert raised == (MarkMoved(BOB, MarkKind.DELIVERED, seq(0), seq(7)),)


@pytest.mark.parametrize("upto", [-1, 0, 6, 7])
def test_a_late_or_doubled_receipt_moves_nothing(upto: int) -> None:
    assert moves(marks_of(delivered={BOB: 7}, read={BOB: 7}), user=BOB, kind=MarkKind.READ, upto=upto) == ()


@pytest.mark.parametrize(
    ("upto", "acked", "head", "expected"),
    [
        (5, 9, 9, 5),
        (9, 5, 9, 5),  # R2: shown across a hole, or a lie
        (9, None, 7, 7),  # pulled: nothing is acknowledged, the head limits
        (2**60, None, 7, 7),
        (9, 12, 7, 7),
        (-3, 5, 7, 0),
    ],
)
def test_a_claim_to_have_read_is_cut_to_what_can_be_true(
    upto: int, acked: int | None, head: int, expected: int
) -> None:
    assert clamp_read(upto, acked=acked, head=head) == expected


def test_an_acknowledgement_delivers_the_newest_row_of_others_in_each_conversation() -> None:
    rows = [Received(CHAT, seq(4), ALICE), Received(ROOM, seq(9), CAROL), Received(CHAT, seq(3), ALICE)]

    assert delivered_upto(rows, user=BOB) == {CHAT: 4, ROOM: 9}


def test_own_posts_say_nothing_about_what_came_in() -> None:
    rows = [Received(CHAT, seq(4), ALICE), Received(CHAT, seq(5), BOB), Received(ROOM, seq(1), BOB)]

    assert delivered_upto(rows, user=BOB) == {CHAT: 4}


@pytest.mark.parametrize(
    ("number", "expected"),
    [(4, {ALICE}), (5, {ALICE, BOB}), (8, {ALICE, BOB}), (9, {ALICE}), (11, {ALICE, BOB})],
)
def test_the_audience_of_a_number_is_who_was_a_member_then(number: int, expected: set[UserId]) -> None:
    stays = [Membership(ALICE), Membership(BOB, 5, 8), Membership(BOB, 10)]

    assert audience_of(number, stays) == expected


def test_who_has_a_message_and_who_has_read_it() -> None:
    marks = marks_of(delivered={BOB: 3, CAROL: 2}, read={BOB: 3, ALICE: 3})

    assert delivered_by(3, sender=ALICE, audience=EVERYBODY, marks=marks) == {BOB}
    assert delivered_by(2, sender=ALICE, audience=EVERYBODY, marks=marks) == {BOB, CAROL}
    assert read_by(2, sender=ALICE, audience=EVERYBODY, marks=marks) == {BOB}
    assert tally_of(2, sender=ALICE, audience=EVERYBODY, marks=marks) == Tally(delivered=2, read=1, audience=2)


@pytest.mark.parametrize(
    ("delivered", "read", "expected"),
    [
        ({}, {}, MessageStatus.SENT),
        ({BOB: 3}, {BOB: 3}, MessageStatus.SENT),
        ({BOB: 3, CAROL: 3}, {}, MessageStatus.DELIVERED),
        ({BOB: 3, CAROL: 3}, {BOB: 3}, MessageStatus.DELIVERED),
        ({}, {BOB: 3, CAROL: 4}, MessageStatus.READ),
        ({BOB: 3, CAROL: 2}, {}, MessageStatus.SENT),
        ({BOB: 3, ALICE: 9}, {}, MessageStatus.SENT),  # the sender's own marks count for nobody
    ],
)
def test_a_tick_is_the_minimum_over_the_audience(
    delivered: dict[UserId, int], read: dict[UserId, int], expected: MessageStatus
) -> None:
    marks = marks_of(delivered=delivered, read=read)

    assert status_of(3, sender=ALICE, audience=EVERYBODY, marks=marks) is expected


def test_a_note_to_oneself_stays_sent() -> None:
    assert status_of(1, sender=ALICE, audience=[ALICE], marks=marks_of(read={ALICE: 1})) is MessageStatus.SENT


@pytest.mark.parametrize(
    ("members", "strategy", "expected"),
    [
        ([ALICE, BOB], Strategy.SMALL, {ALICE, BOB}),
        ([ALICE, BOB, CAROL], Strategy.SMALL, {ALICE, BOB}),
        ([ALICE, BOB, CAROL], Strategy.MID, {ALICE, BOB}),
        ([ALICE, BOB, CAROL], Strategy.MEGA, {BOB}),
    ],
)
def test_a_mark_is_told_to_senders_and_to_the_movers_own_devices(
    members: list[UserId], strategy: Strategy, expected: set[UserId]
) -> None:
    assert observers_of(mover=BOB, senders=[ALICE], members=members, strategy=strategy) == expected


# ---- laws, and readings of them that a good developer could have built ----------------------------------------------

StatusRule = Callable[[int, UserId, Collection[UserId], Marks], MessageStatus]
ReceiptEvent = tuple[UserId, MarkKind, int]


def good(number: int, sender: UserId, audience: Collection[UserId], marks: Marks) -> MessageStatus:
    return status_of(number, sender=sender, audience=audience, marks=marks)


def any_reader(number: int, sender: UserId, audience: Collection[UserId], marks: Marks) -> MessageStatus:
    # One reader of many turns it blue.
    return max(status_of(number, sender=sender, audience=[user], marks=marks) for user in audience)


def sender_counts(number: int, sender: UserId, audience: Collection[UserId], marks: Marks) -> MessageStatus:
    return status_of(number, sender=UserId.named("nobody"), audience=audience, marks=marks)


def follows_the_tick(rule: StatusRule, delivered: dict[UserId, int], read: dict[UserId, int], number: int) -> bool:
    """The minimum, said in another way: over the ranks of each member of the audience."""
    marks = marks_of(delivered=delivered, read=read)
    ranks = [
        3 if read[user] >= number else 2 if max(delivered[user], read[user]) >= number else 1 for user in (BOB, CAROL)
    ]
    return rule(number, ALICE, EVERYBODY, marks) == min(ranks)


registers = st.fixed_dictionaries({user: st.integers(0, 4) for user in EVERYBODY})


@given(registers, registers, st.integers(1, 4))
def test_the_tick_follows_the_minimum(delivered: dict[UserId, int], read: dict[UserId, int], number: int) -> None:
    assert follows_the_tick(good, delivered, read, number)


@pytest.mark.parametrize("broken", [any_reader, sender_counts])
def test_a_tick_that_is_not_the_minimum_is_caught(broken: StatusRule) -> None:
    delivered, read = {ALICE: 0, BOB: 2, CAROL: 1}, {ALICE: 0, BOB: 0, CAROL: 0}

    assert not all(follows_the_tick(broken, delivered, read, number) for number in range(1, 4))


def fold(events: list[ReceiptEvent], *, by_max: bool = True) -> dict[str, int]:
    marks: dict[str, int] = {}
    for user, kind, upto in events:
        if by_max:
            marks |= {mark_name(move.kind, user): move.upto for move in moves(marks, user=user, kind=kind, upto=upto)}
        else:
            marks[mark_name(kind, user)] = upto
    return marks


events = st.tuples(st.sampled_from(EVERYBODY), st.sampled_from(MarkKind), st.integers(0, 5))


@given(st.lists(events, max_size=8), st.randoms(use_true_random=False))
def test_marks_end_the_same_whatever_order_and_repetition_receipts_come_in(
    history: list[ReceiptEvent], random: Random
) -> None:
    shuffled = [*history, *history[:3]]
    random.shuffle(shuffled)

    assert fold(shuffled) == fold(history)


def test_a_mark_that_keeps_the_last_value_is_caught() -> None:
    history = [(BOB, MarkKind.READ, 20), (BOB, MarkKind.READ, 12)]  # R1: the laptop's delayed 12 lands after 20

    assert fold(history) == fold(history[::-1])
    assert fold(history, by_max=False) != fold(history[::-1], by_max=False)


def seq(number: int) -> ConversationSeq:
    return ConversationSeq(number)
