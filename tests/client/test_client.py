"""People, their devices and a server: what a person sees while nothing fails."""

from __future__ import annotations

import pytest

from whisperkit.client.events import PresenceChanged, TypingHeard
from whisperkit.client.history import Note
from whisperkit.errors import ActionRequiredError, UsageError
from whisperkit.ids import DeviceId, UserId
from whisperkit.receipts import MessageStatus
from whisperkit.sync.codec import encode_change
from whisperkit.sync.frames import PresenceState, RosterChange
from whisperkit.testing.sim_phone import ChatNet


def test_a_message_arrives_is_read_and_answered(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)

    first = alice.send(chat, "hello")
    net.until(lambda: alice.status(chat, first) is MessageStatus.DELIVERED)
    bob.do(lambda client: client.mark_read(chat, 99))
    net.until(lambda: alice.status(chat, first) is MessageStatus.READ)
    bob.send(chat, "hi")
    net.until(lambda: alice.texts(chat) == ["hello", "hi"])

    assert bob.texts(chat) == ["hello", "hi"]


def test_the_server_holds_nothing_but_ciphertext(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    chat, group = alice.direct(bob), alice.group(bob, carol)

    alice.send(chat, "a plain secret")
    alice.send(group, "another plain secret")
    net.until(lambda: bob.texts(chat) == ["a plain secret"] and carol.texts(group) == ["another plain secret"])

    assert b"plain secret" not in net.server.everything()
    assert b"plain secret" in b"".join(bob.rows().values())


def test_what_is_written_on_a_flight_is_sent_after_landing(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = bob.direct(alice)
    bob.fly()
    net.wait(5.0)

    sent = [bob.send(chat, f"{n}") for n in range(20)]
    net.wait(60.0)
    before = {bob.status(chat, one) for one in sent}
    bob.land()
    net.until(lambda: len(alice.texts(chat)) == 20)

    assert before == {MessageStatus.PENDING}
    assert alice.texts(chat) == [f"{n}" for n in range(20)] == bob.texts(chat)


def test_what_was_sent_to_somebody_on_a_flight_comes_in_order_and_once(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    bob.fly()

    sent = [alice.send(chat, f"{n}") for n in range(10)]
    net.until(lambda: alice.status(chat, sent[-1]) is MessageStatus.SENT)
    bob.land()
    net.until(lambda: alice.status(chat, sent[-1]) is MessageStatus.DELIVERED)

    assert bob.texts(chat) == [f"{n}" for n in range(10)]


def test_two_people_may_begin_their_conversation_at_once(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    alice.fly()
    bob.fly()
    chat = alice.direct(bob)
    alice.send(chat, "from alice")
    bob.send(bob.direct(alice), "from bob")

    alice.land()
    bob.land()

    net.until(lambda: sorted(alice.texts(chat)) == sorted(bob.texts(chat)) == ["from alice", "from bob"])


# ---- groups ---------------------------------------------------------------------------------------------------------


def test_a_group_reads_what_each_of_its_members_writes(net: ChatNet) -> None:
    phones = [net.phone(name) for name in ("alice", "bob", "carol")]
    group = phones[0].group(*phones[1:])
    net.until(lambda: all(phone.records(group) for phone in phones))

    for phone in phones:
        phone.send(group, phone.device.user[:4])
    net.until(lambda: all(len(phone.texts(group)) == 3 for phone in phones))

    assert len({tuple(phone.texts(group)) for phone in phones}) == 1


def test_who_joins_reads_from_there_on(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    dave = net.phone("dave")
    group = alice.group(bob, carol)
    alice.send(group, "before")
    net.until(lambda: bob.texts(group) == carol.texts(group) == ["before"])

    alice.do(lambda client: client.change_members(group, added=[dave.device.user]))
    net.until(lambda: bool(dave.records(group)))
    bob.send(group, "from bob")
    alice.send(group, "from alice")
    net.until(lambda: sorted(dave.texts(group)) == ["from alice", "from bob"])

    assert "before" not in dave.texts(group)


def test_a_tick_does_not_move_back_when_a_member_is_added_again_or_a_stranger_removed(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    group = alice.group(bob)
    sent = alice.send(group, "before")
    net.until(lambda: alice.status(group, sent) is MessageStatus.DELIVERED)

    alice.do(lambda client: client.change_members(group, added=[bob.device.user], removed=[carol.device.user]))
    last = alice.send(group, "after")
    net.until(lambda: alice.status(group, last) is MessageStatus.DELIVERED)

    assert alice.status(group, sent) is MessageStatus.DELIVERED
    reached = alice.do(lambda client: client.reached_by(group, sent))
    assert reached.audience == reached.delivered == {bob.device.user}
    assert alice.records(group)[-2].content == encode_change(RosterChange())


def test_who_is_removed_reads_nothing_new(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    group = alice.group(bob, carol)
    net.until(lambda: bool(bob.records(group)))
    alice.send(group, "one")
    bob.send(group, "two")
    net.until(lambda: sorted(carol.texts(group)) == ["one", "two"])
    keys_before = {key for key in carol.rows() if key.startswith(b"k/key/")}

    alice.do(lambda client: client.change_members(group, removed=[carol.device.user]))
    net.until(lambda: carol.device.user not in bob.members(group))
    alice.send(group, "three")
    bob.send(group, "four")
    net.until(lambda: len(bob.texts(group)) == 4)
    net.wait(30.0)

    assert sorted(carol.texts(group)) == ["one", "two"]
    assert {key for key in carol.rows() if key.startswith(b"k/key/")} == keys_before


def test_what_a_removed_member_writes_fails_and_says_so(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    group = alice.group(bob, carol)
    net.until(lambda: bool(carol.records(group)))
    alice.do(lambda client: client.change_members(group, removed=[carol.device.user]))
    net.until(lambda: carol.do(lambda client: client.chat(group)).membership is None)

    late = carol.send(group, "am I still here?")
    net.until(lambda: carol.status(group, late) is MessageStatus.FAILED)

    assert [record.failed for record in carol.records(group) if record.message_id == late] == ["not member"]


def test_a_member_who_leaves_is_gone(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    group = alice.group(bob, carol)
    net.until(lambda: bool(carol.records(group)))

    carol.do(lambda client: client.leave(group))
    net.until(lambda: carol.device.user not in alice.members(group))
    alice.send(group, "without carol")
    net.until(lambda: bob.texts(group) == ["without carol"])

    assert carol.texts(group) == []


def test_a_tick_never_moves_back_when_a_member_joins(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    dave = net.phone("dave")
    group = alice.group(bob, carol)
    sent = alice.send(group, "read this")
    net.until(lambda: bob.texts(group) == carol.texts(group) == ["read this"])
    for reader in (bob, carol):
        reader.do(lambda client: client.mark_read(group, 99))
    net.until(lambda: alice.status(group, sent) is MessageStatus.READ)

    alice.do(lambda client: client.change_members(group, added=[dave.device.user]))
    net.until(lambda: dave.device.user in alice.members(group))

    assert alice.status(group, sent) is MessageStatus.READ
    assert alice.do(lambda client: client.tally(group, sent)) == (2, 2, 2)


def test_a_member_who_left_later_still_counts_for_a_tick(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    group = alice.group(bob, carol)
    net.until(lambda: bool(carol.records(group)))
    carol.fly()
    sent = alice.send(group, "carol does not get this yet")
    net.until(lambda: bob.texts(group) != [])

    bob.do(lambda client: client.change_members(group, removed=[carol.device.user]))
    net.until(lambda: carol.device.user not in alice.members(group))
    net.wait(90.0)

    assert alice.status(group, sent) is MessageStatus.SENT


# ---- devices --------------------------------------------------------------------------------------------------------


def test_a_linked_device_gets_what_comes_and_what_its_sibling_sends(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "before the link")
    net.until(lambda: bob.texts(chat) == ["before the link"])
    tablet = net.linked(alice, name="alice")

    alice.send(chat, "from the phone")
    bob.send(chat, "to both")
    tablet.send(chat, "from the tablet")
    everything = {"from the phone", "to both", "from the tablet"}
    net.until(lambda: all(everything <= set(one.texts(chat)) for one in (alice, bob, tablet)))

    assert "?" not in alice.texts(chat) + bob.texts(chat) + tablet.texts(chat)
    assert "before the link" not in tablet.texts(chat)


def test_a_linked_device_reads_groups(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    group = alice.group(bob, carol)
    net.until(lambda: bool(bob.records(group)))
    bob.send(group, "before")
    net.until(lambda: alice.texts(group) == ["before"])
    tablet = net.linked(alice, name="alice")

    bob.send(group, "after")
    tablet.send(group, "from the tablet")
    net.until(lambda: {"after", "from the tablet"} <= set(carol.texts(group)) & set(alice.texts(group)))
    net.until(lambda: set(tablet.texts(group)) == {"after", "from the tablet"})


def test_an_unlinked_device_reads_nothing_new(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    tablet = net.linked(alice, name="alice")
    chat, group = bob.direct(alice), bob.group(alice, carol)
    bob.send(chat, "one")
    bob.send(group, "two")
    net.until(lambda: tablet.texts(chat) == ["one"] and tablet.texts(group) == ["two"])

    alice.do(lambda client: client.unlink_device(2))
    net.wait(12.0)
    sender_keys = {key for key in tablet.rows() if key.startswith(b"k/key/")}
    bob.send(chat, "three")
    bob.send(group, "four")
    net.until(lambda: alice.texts(chat)[-1:] == ["three"] and alice.texts(group)[-1:] == ["four"])
    net.wait(30.0)

    assert tablet.texts(chat) == ["one"]
    assert tablet.texts(group) == ["two"]
    assert sender_keys == {key for key in tablet.rows() if key.startswith(b"k/key/")}


def test_a_device_cannot_unlink_itself_and_numbers_are_taken_once(net: ChatNet) -> None:
    alice = net.phone("alice")
    tablet = net.linked(alice, name="alice")
    key, registration_id = alice.do(lambda client: client.identity())

    with pytest.raises(UsageError):
        tablet.do(lambda client: client.unlink_device(2))
    with pytest.raises(ActionRequiredError, match="taken"):
        alice.do(lambda client: client.link_device(2, identity_key=key, registration_id=registration_id))


# ---- receipts, presence, typing -------------------------------------------------------------------------------------


def test_what_was_read_on_a_flight_is_told_after_landing(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    sent = alice.send(chat, "read it in the air")
    net.until(lambda: alice.status(chat, sent) is MessageStatus.DELIVERED)
    bob.fly()
    net.wait(5.0)

    bob.do(lambda client: client.mark_read(chat, 99))
    bob.restart()
    net.wait(5.0)
    bob.land()

    net.until(lambda: alice.status(chat, sent) is MessageStatus.READ)


def test_a_badge_falls_when_another_device_reads(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    tablet = net.linked(bob, name="bob")
    chat = alice.direct(bob)
    for n in range(3):
        alice.send(chat, f"{n}")
    net.until(lambda: bob.badge(chat) == tablet.badge(chat) == 3)

    tablet.do(lambda client: client.mark_read(chat, 99))

    net.until(lambda: bob.badge(chat) == tablet.badge(chat) == 0)


def test_a_watched_user_comes_and_goes(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    alice.client.watch([bob.device.user])
    net.until(lambda: alice.client.presence(bob.device.user).state is PresenceState.ONLINE)

    bob.fly()
    net.until(lambda: alice.client.presence(bob.device.user).state is PresenceState.OFFLINE)
    bob.land()
    net.until(lambda: alice.client.presence(bob.device.user).state is PresenceState.ONLINE)

    assert sum(isinstance(event, PresenceChanged) for event in alice.events) >= 3


def test_a_user_who_is_not_watched_is_unknown(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")

    assert alice.client.presence(bob.device.user).state is PresenceState.UNKNOWN


def test_typing_is_heard_and_not_kept(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "hello")
    net.until(lambda: bob.texts(chat) == ["hello"])
    net.wait(10.0)  # he has looked at the list of her devices
    rows = bob.rows()

    alice.client.set_typing(chat)
    net.until(lambda: TypingHeard(chat, alice.device.user) in bob.events)

    assert bob.rows() == rows


# ---- history --------------------------------------------------------------------------------------------------------


def test_a_history_is_read_page_by_page(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    for n in range(12):
        alice.send(chat, f"{n}")
    net.until(lambda: len(bob.texts(chat)) == 12)

    last = bob.do(lambda client: client.history(chat, limit=5))
    before = bob.do(lambda client: client.history(chat, before=last[0], limit=5))

    seen = [record.seq for record in (*before, *last)]
    assert seen == list(range(seen[0], seen[0] + 10))


def test_changes_of_members_are_in_the_history(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    group = alice.group(bob, carol)
    net.until(lambda: bool(alice.records(group)) and bool(bob.records(group)))

    assert [record.note for record in alice.records(group)] == [Note.ROSTER]
    assert [record.note for record in bob.records(group)] == [Note.ROSTER]


def test_a_text_that_is_empty_or_too_long_is_refused(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)

    for text in ("", "x" * 65_537):
        with pytest.raises(UsageError):
            alice.send(chat, text)

    assert alice.records(chat) == []


def test_only_a_failed_message_can_be_retried(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    group = alice.group(bob, carol)
    net.until(lambda: bool(carol.records(group)))
    good = carol.send(group, "fine")
    net.until(lambda: "fine" in bob.texts(group))
    alice.do(lambda client: client.change_members(group, removed=[carol.device.user]))
    net.until(lambda: carol.do(lambda client: client.chat(group)).membership is None)
    bad = carol.send(group, "refused")
    net.until(lambda: carol.status(group, bad) is MessageStatus.FAILED)
    alice.do(lambda client: client.change_members(group, added=[carol.device.user]))
    net.until(lambda: carol.do(lambda client: client.chat(group)).membership is not None)

    again = carol.do(lambda client: client.retry(group, bad))
    net.until(lambda: "refused" in bob.texts(group))

    assert again != bad
    with pytest.raises(UsageError, match="has not failed"):
        carol.do(lambda client: client.retry(group, good))


def test_the_devices_of_a_person_are_listed_and_those_of_nobody_are_none(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    tablet = net.linked(bob, name="bob")

    theirs = alice.do(lambda client: client.devices_of([bob.device.user]))
    nobodys = alice.do(lambda client: client.devices_of([UserId.named("nobody")]))

    assert theirs == [bob.device, tablet.device]
    assert nobodys == []


def test_a_device_is_verified_once_a_person_says_so(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    assert not alice.do(lambda client: client.is_verified(bob.device))
    alice.send(chat, "hello")
    net.until(lambda: bob.texts(chat) == ["hello"])
    assert not alice.do(lambda client: client.is_verified(bob.device))

    number = alice.do(lambda client: client.safety_number(bob.device))
    alice.do(lambda client: client.mark_verified(number))

    assert alice.do(lambda client: client.is_verified(bob.device))


def test_somebody_who_was_not_there_is_found_soon_after_they_came(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), UserId.named("bob")
    assert alice.do(lambda client: client.devices_of([bob])) == []

    net.phone("bob")
    net.wait(20.0)

    assert alice.do(lambda client: client.devices_of([bob])) == [DeviceId(bob, 1)]
