"""`Receipts` by example: one conversation, marks in, changed ticks out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit import DeviceId
from whisperkit.errors import UsageError
from whisperkit.receipts import MarkKind, Membership, MessageStatus, Receipts, StatusChanged, Tally, mark_name

ALICE, PHONE, LAPTOP, CAROL = (
    DeviceId.named("alice", 1),
    DeviceId.named("bob", 1),
    DeviceId.named("bob", 2),
    DeviceId.named("carol", 1),
)
SENT, DELIVERED, READ = MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.READ


def changed(upto: int, status: MessageStatus) -> StatusChanged:
    (found,) = Receipts(members=[ALICE.user]).posted(seq=upto, sender=ALICE)  # the way to a typed number
    return StatusChanged(upto=found.upto, status=status)


def chat() -> Receipts:
    """Alice and Bob; Alice posted 1, 2 and 3."""
    receipts = Receipts(members=[ALICE.user, PHONE.user])
    for seq in (1, 2, 3):
        receipts.posted(seq=seq, sender=ALICE)
    return receipts


def group() -> Receipts:
    """Alice, Bob and Carol; Alice posted 1, Bob 2, Alice 3."""
    receipts = Receipts(members=[ALICE.user, PHONE.user, CAROL.user])
    for seq, sender in enumerate((ALICE, PHONE, ALICE), start=1):
        receipts.posted(seq=seq, sender=sender)
    return receipts


def test_a_posted_message_is_sent() -> None:
    receipts = Receipts(members=[ALICE.user, PHONE.user])

    assert receipts.status(1) is MessageStatus.PENDING
    assert receipts.posted(seq=1, sender=ALICE) == [changed(1, SENT)]
    assert receipts.status(1) is SENT


def test_a_message_told_twice_changes_nothing() -> None:
    receipts = chat()

    assert receipts.posted(seq=2, sender=ALICE) == []
    assert receipts.unread(PHONE.user) == 3


def test_a_number_belongs_to_one_sender_for_good() -> None:
    receipts = chat()

    with pytest.raises(UsageError, match="number 2 was posted by"):
        receipts.posted(seq=2, sender=PHONE)
    assert receipts.status(2) is SENT


def test_numbers_start_at_one() -> None:
    with pytest.raises(UsageError, match="got 0"):
        chat().posted(seq=0, sender=ALICE)


def test_delivered_turns_all_up_to_it() -> None:
    receipts = chat()

    assert receipts.delivered(device=PHONE, upto=2) == [changed(2, DELIVERED)]
    assert [receipts.status(seq) for seq in (1, 2, 3)] == [DELIVERED, DELIVERED, SENT]


def test_read_raises_delivered_and_is_told_as_one_change() -> None:
    receipts = chat()

    assert receipts.read(device=PHONE, upto=3) == [changed(3, READ)]
    assert receipts.delivered_by(3) == {PHONE.user}


def test_read_and_delivered_are_told_apart_where_they_differ() -> None:
    receipts = group()
    receipts.delivered(device=PHONE, upto=3)
    receipts.read(device=PHONE, upto=1)

    assert receipts.read(device=CAROL, upto=3) == [changed(3, DELIVERED), changed(1, READ)]


def test_a_late_and_lower_receipt_moves_nothing_back() -> None:
    receipts = chat()
    receipts.read(device=PHONE, upto=3)

    assert receipts.read(device=LAPTOP, upto=1) == []
    assert receipts.delivered(device=LAPTOP, upto=2) == []
    assert receipts.status(3) is READ


def test_two_devices_of_a_user_make_one_mark() -> None:
    receipts = chat()
    receipts.delivered(device=PHONE, upto=3)

    assert receipts.read(device=LAPTOP, upto=2) == [changed(2, READ)]
    assert receipts.read_by(2) == {PHONE.user}


def test_read_is_cut_to_what_the_device_acknowledged() -> None:
    receipts = chat()

    assert receipts.read(device=PHONE, upto=3, acked=1) == [changed(1, READ)]
    assert receipts.status(2) is SENT


def test_a_receipt_that_overtakes_its_message_counts_once_the_message_is_told() -> None:
    receipts = chat()

    assert receipts.read(device=PHONE, upto=5) == [changed(3, READ)]
    assert receipts.status(5) is MessageStatus.PENDING
    assert receipts.posted(seq=4, sender=ALICE) == [changed(4, READ)]


def test_a_receipt_above_the_head_tells_nothing_new() -> None:
    receipts = chat()
    receipts.read(device=PHONE, upto=5)

    assert receipts.read(device=PHONE, upto=6) == []


def test_a_doubled_receipt_of_one_does_not_stand_for_another() -> None:
    receipts = group()

    receipts.delivered(device=PHONE, upto=1)
    receipts.delivered(device=PHONE, upto=1)

    assert receipts.status(1) is SENT
    assert receipts.tally(1) == Tally(delivered=1, read=0, audience=2)


def test_the_change_names_the_newest_message_that_rose() -> None:
    receipts = group()
    receipts.delivered(device=PHONE, upto=3)

    # Carol was the last for Alice's messages; Bob's waits for Alice.
    assert receipts.delivered(device=CAROL, upto=2) == [changed(1, DELIVERED)]
    assert receipts.delivered(device=ALICE, upto=3) == [changed(2, DELIVERED)]
    assert receipts.delivered(device=CAROL, upto=3) == [changed(3, DELIVERED)]


def test_own_receipts_for_own_messages_change_nothing() -> None:
    assert chat().read(device=ALICE, upto=3) == []


def test_a_post_raises_no_mark_of_its_sender() -> None:
    receipts = Receipts(members=[ALICE.user, PHONE.user])
    receipts.posted(seq=1, sender=ALICE)

    receipts.posted(seq=2, sender=PHONE)

    assert receipts.status(1) is SENT
    assert receipts.unread(PHONE.user) == 1


def test_who_joins_later_does_not_hold_a_tick_back() -> None:
    receipts = chat()
    receipts.joined(user=CAROL.user, seq=4)
    receipts.posted(seq=5, sender=ALICE)

    receipts.read(device=PHONE, upto=5)

    assert receipts.status(3) is READ
    assert receipts.status(5) is SENT
    assert receipts.unread(CAROL.user) == 1


def test_who_leaves_still_counts_for_what_they_got() -> None:
    receipts = group()
    receipts.left(user=CAROL.user, seq=4)
    receipts.posted(seq=5, sender=ALICE)

    assert receipts.read(device=PHONE, upto=5) == [changed(5, READ)]
    assert receipts.status(3) is SENT
    # Up to 4, the row that removed her: she gets that, too.
    assert receipts.delivered(device=CAROL, upto=9) == [changed(4, DELIVERED)]
    assert receipts.unread(CAROL.user) == 3


def test_who_left_and_came_back_owes_nothing_for_the_time_between() -> None:
    receipts = group()
    receipts.left(user=CAROL.user, seq=4)
    receipts.posted(seq=5, sender=ALICE)
    receipts.joined(user=CAROL.user, seq=6)
    receipts.posted(seq=7, sender=ALICE)

    receipts.read(device=PHONE, upto=7)

    assert [receipts.status(seq) for seq in (3, 5, 7)] == [SENT, READ, SENT]
    assert receipts.read(device=CAROL, upto=7) == [changed(7, READ)]


def test_nothing_rises_when_the_mover_was_no_member_then() -> None:
    receipts = chat()
    receipts.joined(user=CAROL.user, seq=4)

    assert receipts.delivered(device=CAROL, upto=3) == []


def test_member_changes_may_be_repeated() -> None:
    receipts = group()
    receipts.left(user=CAROL.user, seq=4)
    receipts.posted(seq=5, sender=ALICE)

    receipts.left(user=CAROL.user, seq=4)
    receipts.joined(user=PHONE.user, seq=2)
    receipts.joined(user=CAROL.user, seq=3)
    receipts.left(user=DeviceId.named("dave", 1).user, seq=3)

    assert receipts.tally(5).audience == 1
    assert receipts.tally(3).audience == 2


@pytest.mark.parametrize("change", ["joined", "left"])
def test_a_member_change_behind_what_was_told_is_refused(change: str) -> None:
    receipts = group()
    receipts.read(device=PHONE, upto=3)
    dave = DeviceId.named("dave", 1).user

    with pytest.raises(UsageError, match="members changed at 2, but 3 was told before"):
        receipts.joined(user=dave, seq=2) if change == "joined" else receipts.left(user=CAROL.user, seq=2)
    assert receipts.tally(3) == Tally(delivered=1, read=1, audience=2)


def test_known_stays_are_given_at_once() -> None:
    receipts = Receipts(members=[ALICE.user, PHONE.user, Membership(CAROL.user, 2, 3)])
    for seq in (1, 2, 3, 4):
        receipts.posted(seq=seq, sender=ALICE)

    assert [receipts.tally(seq).audience for seq in (1, 2, 3, 4)] == [1, 2, 2, 1]


def test_a_stranger_leaves_no_trace() -> None:
    receipts = chat()

    assert receipts.read(device=CAROL, upto=3) == []
    assert not receipts.marks


def test_saved_marks_restore_every_tick() -> None:
    before = group()
    before.read(device=CAROL, upto=3)
    before.delivered(device=PHONE, upto=1)

    after = Receipts(members=[ALICE.user, PHONE.user, CAROL.user], marks=dict(before.marks))
    for seq, sender in enumerate((ALICE, PHONE, ALICE), start=1):
        after.posted(seq=seq, sender=sender)

    assert [after.tally(seq) for seq in (1, 2, 3)] == [before.tally(seq) for seq in (1, 2, 3)]
    assert after.status(1) is before.status(1) is DELIVERED


def test_a_badge_counts_messages_of_others_above_the_read_mark() -> None:
    receipts = group()

    assert receipts.unread(PHONE.user) == 2
    assert receipts.unread(ALICE.user) == 1
    receipts.read(device=LAPTOP, upto=1)
    assert receipts.unread(PHONE.user) == 1


def test_a_badge_skips_numbers_that_are_no_messages() -> None:
    receipts = Receipts(members=[ALICE.user, PHONE.user])
    receipts.posted(seq=7, sender=ALICE)  # 1 to 6 were roster changes, or before this device's time

    assert receipts.unread(PHONE.user) == 1


def test_a_receipt_that_overtakes_its_message_does_not_spoil_the_badge() -> None:
    receipts = Receipts(members=[ALICE.user, PHONE.user])

    receipts.read(device=PHONE, upto=1)
    receipts.posted(seq=1, sender=ALICE)

    assert receipts.unread(PHONE.user) == 0


def test_skipped_numbers_count_as_the_next_senders() -> None:
    receipts = Receipts(members=[ALICE.user, PHONE.user])
    receipts.posted(seq=3, sender=ALICE)

    receipts.read(device=PHONE, upto=2)

    assert [receipts.status(seq) for seq in (1, 2, 3)] == [READ, READ, SENT]


def test_nothing_is_known_above_the_head() -> None:
    receipts = chat()

    assert receipts.delivered_by(4) == receipts.read_by(4) == frozenset()
    assert receipts.tally(4) == Tally(delivered=0, read=0, audience=0)
    assert receipts.head == 3


def test_a_message_in_a_conversation_with_oneself_stays_sent() -> None:
    receipts = Receipts(members=[ALICE.user])
    receipts.posted(seq=1, sender=ALICE)

    assert receipts.read(device=ALICE, upto=1) == []
    assert receipts.status(1) is SENT


# ---- the effect against a search over all numbers --------------------------------------------------------------------

DEVICES = (ALICE, PHONE, CAROL)
stays = st.lists(
    st.builds(
        Membership,
        st.sampled_from([device.user for device in DEVICES]),
        st.integers(0, 9),
        st.none() | st.integers(0, 9),
    ),
    max_size=5,
)
told = st.dictionaries(st.integers(1, 9), st.sampled_from(DEVICES), max_size=9)
raises = st.lists(
    st.tuples(st.sampled_from(DEVICES), st.sampled_from(MarkKind), st.integers(0, 11)), min_size=1, max_size=6
)


@given(stays, told, raises)
def test_the_change_told_is_the_newest_that_rose_and_nothing_falls(
    members: list[Membership], posts: dict[int, DeviceId], receipts_in: list[tuple[DeviceId, MarkKind, int]]
) -> None:
    receipts = Receipts(members=members)
    for number, sender in posts.items():
        receipts.posted(seq=number, sender=sender)

    for device, kind, upto in receipts_in:
        before = [receipts.status(number) for number in range(receipts.head + 1)]
        effects = receipts.marked(user=device.user, kind=kind, upto=upto)
        after = [receipts.status(number) for number in range(receipts.head + 1)]
        rose = [number for number in range(1, len(after)) if after[number] > before[number]]
        read = max((number for number in rose if after[number] is READ), default=0)
        delivered = max((n for n in rose if before[n] is SENT and after[n] in (DELIVERED, READ)), default=0)

        assert all(late >= early for early, late in zip(before, after, strict=True))
        assert {effect.status: effect.upto for effect in effects} == {
            status: upto for status, upto in ((DELIVERED, delivered if delivered > read else 0), (READ, read)) if upto
        }


def test_marks_are_named_as_in_a_mark_store() -> None:
    receipts = chat()
    receipts.read(device=PHONE, upto=2)

    assert receipts.marks == {
        mark_name(MarkKind.DELIVERED, PHONE.user): 2,
        mark_name(MarkKind.READ, PHONE.user): 2,
    }
