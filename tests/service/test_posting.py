"""Posting, frame by frame: what a device sends, what others get, and what it is told."""

from __future__ import annotations

import pytest

from tests.service.conftest import MakeLab
from tests.service.lab import (
    ALICE,
    BOB,
    CAROL,
    CHAT,
    DAVE,
    EVERYBODY,
    FRANK,
    TEAM,
    Lab,
    Phone,
    identity_key,
    read,
    span_of,
    users,
)
from whisperkit.fanout import Limits
from whisperkit.ids import ConversationId, DeviceId
from whisperkit.service import ServiceConfig
from whisperkit.strategy import Strategy
from whisperkit.sync import conversation as conversations
from whisperkit.sync import frames
from whisperkit.sync.codec import decode_change
from whisperkit.sync.frames import EntryKind, MarkKind, RefusalReason, RosterChange
from whisperkit.sync.rows import post_span
from whisperkit.testing import Fault

UNKNOWN = Fault.UNKNOWN_BEFORE


def phones(lab: Lab, *devices: DeviceId) -> list[Phone]:
    return [lab.phone(device) for device in devices]


# ---- two ------------------------------------------------------------------------------------------------------------


def test_a_message_of_two_arrives_and_is_sent(lab: Lab) -> None:
    lab.chat()
    alice, bob = phones(lab, ALICE, BOB)

    alice.send(CHAT, own={BOB: b"hello"})
    lab.settle()

    assert alice.sent == [2]
    assert bob.texts(CHAT) == [b"hello"]
    assert lab.received(ALICE, CHAT) == [1]
    assert lab.fanned_out(CHAT) == 2


def test_a_message_has_the_same_time_for_its_sender_and_for_its_receiver(lab: Lab) -> None:
    lab.chat()
    alice, bob = phones(lab, ALICE, BOB)

    lab.g1.door.hold(lambda call: call.operation == "commit")
    alice.send(CHAT, own={BOB: b"hello"})
    lab.settle()
    lab.world.days += 1  # the store takes its time
    lab.g1.door.let_go()
    lab.settle()

    assert alice.last(frames.Sent).at_ms == bob.last(frames.Entry).at_ms


def test_the_text_of_a_message_of_copies_is_in_the_inboxes_only(lab: Lab) -> None:
    lab.chat()
    (alice,) = phones(lab, ALICE)

    for _ in range(2):
        alice.send(CHAT, own={BOB: b"hello"})
        lab.settle()

    kept = lab.rows(conversations.partition(CHAT), post_span(1, 9))
    # Where a commit holds one partition the row goes with the next post, which knows the mark.
    assert len(kept) == (0 if lab.spans else 1)


def test_a_message_comes_to_who_connects_later(lab: Lab) -> None:
    lab.chat()
    (alice,) = phones(lab, ALICE)
    for text in (b"one", b"two"):
        alice.send(CHAT, own={BOB: text})
    lab.settle()

    (bob,) = phones(lab, BOB)

    assert bob.texts(CHAT) == [b"one", b"two"]


def test_a_repeat_gets_the_same_answer_and_arrives_once(lab: Lab) -> None:
    lab.chat()
    alice, bob = phones(lab, ALICE, BOB)
    first = alice.send(CHAT, own={BOB: b"hello"})
    alice.say(first)
    lab.settle()
    alice.say(first)
    lab.settle()

    assert alice.sent == [2, 2, 2]
    assert bob.texts(CHAT) == [b"hello"]


def test_the_own_other_device_gets_a_copy_and_the_sending_one_none(lab: Lab) -> None:
    lab.chat()
    laptop = DeviceId(ALICE.user, 2)
    lab.run(lab.g1.service.register(laptop))
    alice, other = phones(lab, ALICE, laptop)

    alice.send(CHAT, own={BOB: b"hello", laptop: b"I said hello"})
    lab.settle()

    assert other.texts(CHAT) == [b"I said hello"]
    assert alice.texts(CHAT) == []


# ---- what is refused ------------------------------------------------------------------------------------------------


def test_copies_for_the_wrong_devices_are_refused_with_the_difference(lab: Lab) -> None:
    lab.chat()
    laptop = DeviceId(BOB.user, 2)
    lab.run(lab.g1.service.register(laptop, identity_keys={laptop: identity_key(laptop)}))
    (alice,) = phones(lab, ALICE)

    alice.send(CHAT, own={BOB: b"hello", CAROL: b"hello"})
    lab.settle()

    refused = alice.last(frames.Refused)
    assert refused.reason is RefusalReason.STALE_DEVICES
    assert (refused.missing, refused.extra) == ((laptop,), (CAROL,))
    alice.send(CHAT, own={BOB: b"hello", laptop: b"hello"}, seq=1)
    lab.settle()
    assert alice.sent == [2]  # the number was free


def test_a_device_without_a_key_need_not_be_named_and_may_be(lab: Lab) -> None:
    bot = DeviceId.named("bot", 1)
    lab.run(lab.g1.service.register(bot))
    lab.group(ALICE, BOB, bot)
    (alice,) = phones(lab, ALICE)

    alice.send(TEAM, own={BOB: b"hello"})
    alice.send(TEAM, own={BOB: b"hello", bot: b"hello, bot"})
    alice.send(TEAM, devices=[BOB])
    lab.settle()

    assert alice.all(frames.Refused) == []
    assert alice.sent == [2, 3, 4]


def test_a_text_for_all_may_name_who_can_read_it(lab: Lab) -> None:
    lab.group(ALICE, BOB, CAROL)
    (alice,) = phones(lab, ALICE)

    alice.send(TEAM, devices=[BOB])
    lab.settle()
    alice.send(TEAM, devices=[BOB, CAROL], seq=1)
    lab.settle()

    assert alice.last(frames.Refused).missing == (CAROL,)
    assert alice.sent == [2]


def test_numbers_are_taken_in_order(lab: Lab) -> None:
    lab.chat()
    (alice,) = phones(lab, ALICE)
    alice.send(CHAT, own={BOB: b"two"}, seq=2)
    lab.settle()
    alice.send(CHAT, own={BOB: b"one"}, seq=1, epoch=3)
    lab.settle()
    alice.send(CHAT, own={BOB: b"old"}, seq=2, epoch=2)
    lab.settle()

    answers = [(frame.reason, frame.number) for frame in alice.all(frames.Refused)]
    assert answers == [(RefusalReason.SEND_FIRST, 1), (RefusalReason.STALE_OUTBOX, 3)]


def test_who_is_no_member_posts_nothing(lab: Lab) -> None:
    lab.group(ALICE, BOB)
    (carol,) = phones(lab, CAROL)

    carol.send(TEAM)
    carol.send(ConversationId("nowhere"))
    lab.settle()

    assert carol.refusals == [RefusalReason.NOT_MEMBER] * 2
    assert lab.head(TEAM).seq == 1


def test_a_message_given_up_takes_its_number_and_is_never_posted(lab: Lab) -> None:
    lab.group(ALICE, BOB)
    (carol,) = phones(lab, CAROL)
    send = carol.send(TEAM)
    carol.say(send._replace(kind=EntryKind.VOID, shared=None))
    lab.settle()
    carol.say(send)
    lab.settle()

    assert carol.refusals == [RefusalReason.NOT_MEMBER]
    assert carol.sent == [0, 0]


def test_a_message_for_other_members_is_refused(lab: Lab) -> None:
    lab.group(ALICE, BOB, CAROL)
    (alice,) = phones(lab, ALICE)
    lab.run(lab.g1.service.change_members(TEAM, removed=users(CAROL)))

    alice.send(TEAM, if_roster=1)
    lab.settle()
    alice.send(TEAM, if_roster=2, seq=1)
    lab.settle()

    refused = alice.last(frames.Refused)
    assert (refused.reason, refused.number) == (RefusalReason.ROSTER_MOVED, 2)
    assert alice.sent == [3]


def test_too_many_unanswered_messages_are_refused_for_now(make_lab: MakeLab) -> None:
    lab = make_lab(config=ServiceConfig(max_unanswered_sends=2))
    lab.chat()
    (alice,) = phones(lab, ALICE)

    for _ in range(3):
        alice.send(CHAT, own={BOB: b"hello"})
    lab.settle()

    assert alice.refusals == [RefusalReason.TRY_LATER]
    assert alice.sent == [2, 3]
    assert alice.bye is None


def test_while_the_store_is_away_a_device_is_asked_to_try_later(lab: Lab) -> None:
    lab.chat()
    (alice,) = phones(lab, ALICE)
    lab.g1.door.fail(lambda call: call.operation == "commit", *[UNKNOWN] * 30)

    send = alice.send(CHAT, own={BOB: b"hello"})
    lab.settle(90.0)
    lab.g1.door.fail_nothing()
    alice.say(send)
    lab.settle(5.0)

    assert alice.refusals == [RefusalReason.TRY_LATER]
    assert alice.sent == [2]
    assert lab.received(BOB, CHAT) == [1, 2]


# ---- groups ---------------------------------------------------------------------------------------------------------


def test_a_small_group_gets_one_text_in_order(lab: Lab) -> None:
    lab.group(ALICE, BOB, CAROL)
    alice, bob, carol = phones(lab, ALICE, BOB, CAROL)

    alice.send(TEAM, b"one")
    bob.send(TEAM, b"two")
    lab.settle()
    carol.send(TEAM, b"three")
    lab.settle()

    assert carol.texts(TEAM) == [b"one", b"two"]
    assert bob.texts(TEAM) == [b"one", b"three"]
    assert alice.texts(TEAM) == [b"two", b"three"]
    assert lab.head(TEAM).strategy is Strategy.SMALL


def test_a_small_group_of_thirty_gets_everything(make_lab: MakeLab) -> None:
    lab = make_lab(config=ServiceConfig())
    members = [DeviceId.named(f"member {number}", 1) for number in range(30)]
    lab.run(lab.g1.service.register(*members))
    lab.group(*members)
    first = lab.phone(members[0])

    for number in range(3):
        first.send(TEAM, b"%d" % number)
    lab.settle(1.0)

    assert first.sent == [2, 3, 4]
    assert [lab.received(device, TEAM) for device in members[1:]] == [[1, 2, 3, 4]] * 29


def test_a_key_rides_along_for_who_lacks_it(lab: Lab) -> None:
    lab.group(ALICE, BOB, CAROL)
    alice, bob, carol = phones(lab, ALICE, BOB, CAROL)

    send = alice.send(TEAM, b"text", seq=2)
    lab.settle()
    alice.say(send._replace(outbox_seq=1, own={BOB: b"key"}))
    lab.settle()

    assert [(entry.own, entry.shared) for entry in bob.entries(TEAM)[-1:]] == [(b"key", b"text")]
    assert [(entry.own, entry.shared) for entry in carol.entries(TEAM)[-1:]] == [(None, b"text")]


def test_copies_larger_than_a_batch_are_not_fused_and_arrive(make_lab: MakeLab) -> None:
    lab = make_lab(config=ServiceConfig(fanout=Limits(batch_bytes=100)))
    lab.chat()
    alice, bob = phones(lab, ALICE, BOB)

    alice.send(CHAT, own={BOB: bytes(200)})
    lab.settle()

    assert alice.sent == [2]
    assert bob.texts(CHAT) == [bytes(200)]


def test_a_mid_group_is_finished_by_a_worker(lab: Lab) -> None:
    lab.group(*EVERYBODY[:5])
    connected = phones(lab, *EVERYBODY[:5])

    connected[0].send(TEAM, b"one")
    connected[1].send(TEAM, b"two")
    lab.settle(2.0)

    assert lab.head(TEAM).strategy is Strategy.MID
    assert connected[0].sent == [2]
    assert connected[4].texts(TEAM) == [b"one", b"two"]
    assert lab.received(DAVE, TEAM) == [1, 2, 3]


def test_a_mega_group_hears_of_the_head_and_pulls(lab: Lab) -> None:
    lab.group(*EVERYBODY)
    alice, frank = phones(lab, ALICE, FRANK)
    mode = frank.entries(TEAM)[-1]
    assert (mode.kind, mode.shared) == (EntryKind.MODE, bytes([Strategy.MEGA]))

    frank.say(frames.Follow((TEAM,)))
    lab.settle()
    alice.send(TEAM, b"to the hall")
    lab.settle()
    frank.say(span_of(TEAM, mode.conv_seq, frank.last(frames.Head).conversations[TEAM]))
    lab.settle()

    assert alice.sent == [mode.conv_seq + 1]
    assert frank.texts(TEAM) == []
    assert [row.shared for row in frank.last(frames.Rows).rows] == [b"to the hall"]


def test_after_a_mega_group_shrank_an_entry_names_what_is_to_be_pulled_first(lab: Lab) -> None:
    lab.group(*EVERYBODY)
    alice, bob = phones(lab, ALICE, BOB)
    alice.send(TEAM, b"pulled")
    lab.settle()
    pulled = alice.sent[0]

    lab.run(lab.g1.service.change_members(TEAM, removed=users(*EVERYBODY[4:])))
    lab.settle(2.0)
    alice.send(TEAM, b"pushed")
    lab.settle(2.0)

    assert lab.head(TEAM).strategy is Strategy.MID
    assert bob.texts(TEAM) == [b"pushed"]
    assert bob.entries(TEAM)[-1].pull_upto >= pulled


def test_a_group_that_grows_and_shrinks_keeps_its_order(lab: Lab) -> None:
    lab.group(ALICE, BOB, CAROL)
    alice, bob = phones(lab, ALICE, BOB)
    change = lab.g1.service.change_members
    for step in (
        change(TEAM, added=users(DAVE)),
        change(TEAM, removed=users(DAVE)),
    ):
        alice.send(TEAM)
        lab.run(step)
        alice.send(TEAM)
        lab.settle(2.0)

    numbers = [entry.conv_seq for entry in bob.entries(TEAM)]
    assert numbers == list(range(1, lab.head(TEAM).seq + 1))
    assert lab.head(TEAM).strategy is Strategy.SMALL


# ---- members --------------------------------------------------------------------------------------------------------


def test_who_is_removed_learns_that_and_nothing_more(lab: Lab) -> None:
    lab.group(ALICE, BOB, CAROL)
    alice, carol = phones(lab, ALICE, CAROL)

    alice.send(TEAM, kind=EntryKind.ROSTER, change=RosterChange(removed=users(CAROL)))
    alice.send(TEAM, b"without Carol")
    lab.settle()
    carol.send(TEAM)
    lab.settle()

    assert [entry.conv_seq for entry in carol.entries(TEAM)] == [1, 2]
    last = carol.entries(TEAM)[-1]
    assert last.shared is not None
    assert decode_change(last.shared) == RosterChange(removed=users(CAROL))
    assert carol.refusals == [RefusalReason.NOT_MEMBER]
    assert lab.received(BOB, TEAM) == [1, 2, 3]


def test_who_is_added_gets_the_state_and_nothing_older(lab: Lab) -> None:
    lab.group(ALICE, BOB)
    alice, carol = phones(lab, ALICE, CAROL)
    alice.send(TEAM, b"before Carol")
    alice.send(TEAM, kind=EntryKind.ROSTER, change=RosterChange(added=users(CAROL)))
    alice.send(TEAM, b"with Carol")
    lab.settle()

    assert [(entry.kind, entry.conv_seq) for entry in carol.entries(TEAM)] == [
        (EntryKind.ROSTER, 3),
        (EntryKind.MESSAGE, 4),
    ]
    assert carol.entries(TEAM)[0].own is not None


def test_a_device_makes_a_group_that_it_is_in(lab: Lab) -> None:
    alice, bob = phones(lab, ALICE, BOB)

    alice.send(TEAM, kind=EntryKind.ROSTER, change=RosterChange(added=users(ALICE, BOB)))
    bob.send(ConversationId("others"), kind=EntryKind.ROSTER, change=RosterChange(added=users(ALICE)))
    lab.settle()

    assert alice.sent == [1]
    assert [entry.conv_seq for entry in bob.entries(TEAM)] == [1]
    assert bob.refusals == [RefusalReason.NOT_MEMBER]


def test_a_repeat_is_known_after_its_window_fell_out_of_the_head(lab: Lab) -> None:
    members = [DeviceId.named(f"member {number}", 1) for number in range(3)]
    writers = [DeviceId(device.user, number) for device in members for number in (1, 2)]
    lab.run(lab.g1.service.register(*writers))
    lab.group(*members)
    connected = phones(lab, *writers)
    first, *others = ([phone.send(TEAM) for _ in range(32)] for phone in connected)
    lab.settle()
    assert len(others) == 5
    before = lab.head(TEAM).seq

    connected[0].say(*first)
    lab.settle()

    assert lab.head(TEAM).has_evicted
    assert lab.head(TEAM).seq == before
    assert connected[0].sent[-32:] == connected[0].sent[:32]


# ---- nobody acts as another -----------------------------------------------------------------------------------------


def test_a_message_is_from_the_device_of_its_link(lab: Lab) -> None:
    lab.chat()
    alice, bob = phones(lab, ALICE, BOB)

    alice.send(CHAT, own={BOB: b"hello"})
    lab.settle()

    assert [entry.sender for entry in bob.entries(CHAT) if entry.kind is EntryKind.MESSAGE] == [ALICE]


def test_who_is_no_member_reads_marks_ranges_and_types_nowhere(lab: Lab) -> None:
    lab.chat()
    alice, bob, eve = phones(lab, ALICE, BOB, CAROL)
    alice.send(CHAT, b"hello")
    lab.settle()

    eve.say(span_of(CHAT, 0, 9), frames.Marks((CHAT,)), read(CHAT, 2), frames.Follow((CHAT,)))
    eve.say(frames.Typing(CHAT, CAROL.user))
    lab.settle(2.0)

    assert eve.last(frames.Rows).rows == ()
    assert eve.all(frames.Mark) == []
    assert CHAT not in eve.last(frames.Head).conversations
    assert lab.mark(CHAT, "read", CAROL) == 0
    assert [mark.kind for mark in bob.all(frames.Mark)] == []
    assert [mark.user for mark in alice.all(frames.Mark) if mark.kind is MarkKind.READ] == []
    assert bob.all(frames.Typing) == []


def test_typing_for_another_ends_the_link(lab: Lab) -> None:
    lab.chat()
    alice, bob = phones(lab, ALICE, BOB)

    alice.say(frames.Typing(CHAT, BOB.user))
    lab.settle()

    assert alice.bye is frames.ByeCode.UNAUTHORISED
    assert bob.bye is None


@pytest.mark.parametrize("kind", [EntryKind.ASIDE, EntryKind.MODE, EntryKind.PLACEHOLDER])
def test_a_kind_that_no_device_posts_ends_the_link(lab: Lab, kind: EntryKind) -> None:
    lab.chat()
    alice, bob = phones(lab, ALICE, BOB)

    alice.send(CHAT, kind=kind)
    lab.settle()

    assert alice.bye is frames.ByeCode.PROTOCOL
    assert bob.bye is None
