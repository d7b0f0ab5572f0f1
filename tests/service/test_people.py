"""Users, devices, prekeys and members, frame by frame."""

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
    LIMITS,
    TEAM,
    Lab,
    Phone,
    commit_to,
    identity_key,
    request,
    users,
)
from whisperkit.accounts import MAX_DEVICES_PER_USER
from whisperkit.errors import UsageError
from whisperkit.ids import DeviceId
from whisperkit.service import Hook, ServiceConfig
from whisperkit.strategy import Strategy
from whisperkit.sync import frames
from whisperkit.sync.frames import ByeCode, EntryKind, FailureReason, RefusalReason, RosterChange
from whisperkit.testing import Fault

LAPTOP = DeviceId(BOB.user, 2)


def link(number: int, *, device: DeviceId = LAPTOP) -> frames.Link:
    return frames.Link(request(number), device.number, identity_key(device), 7)


# ---- making accounts ------------------------------------------------------------------------------------------------


def test_an_application_registers_as_often_as_it_likes(lab: Lab) -> None:
    before = lab.run(lab.g1.gateway.people.account(ALICE.user, is_fresh=True))

    lab.run(lab.g1.service.register(ALICE, identity_keys={ALICE: identity_key(ALICE)}))

    assert lab.run(lab.g1.gateway.people.account(ALICE.user, is_fresh=True)) == before


def test_an_application_does_not_exchange_the_key_of_a_device(lab: Lab) -> None:
    with pytest.raises(UsageError, match="NumberTaken"):
        lab.run(lab.g1.service.register(ALICE, identity_keys={ALICE: identity_key(BOB)}))


def test_a_registration_that_a_crash_cut_short_is_completed_by_the_first_hello(lab: Lab) -> None:
    newcomer = DeviceId.named("newcomer", 1)
    other = lab.start("g2")
    other.door.hold(commit_to("inbox/"))
    lab.begin(other.service.register(newcomer), on=other.runtime)
    lab.settle()
    lab.crash(other)
    assert not lab.inbox(newcomer).is_open

    phone = lab.phone(newcomer)

    assert phone.last(frames.Welcome).answer is frames.Answer.SNAPSHOT
    assert lab.inbox(newcomer).is_open


# ---- lists of devices -----------------------------------------------------------------------------------------------


def test_lists_name_the_devices_of_users_who_exist(lab: Lab) -> None:
    alice = lab.phone(ALICE)
    lab.run(lab.g1.service.register(LAPTOP, identity_keys={LAPTOP: identity_key(LAPTOP)}))
    nobody = DeviceId.named("nobody", 1)

    alice.say(frames.Devices(request(1), (*users(BOB, CAROL), nobody.user)))
    lab.settle()

    (answer,) = alice.all(frames.DeviceLists)
    assert answer.request == request(1)
    assert {found.user: [device.number for device in found.devices] for found in answer.lists} == {
        BOB.user: [1, 2],
        CAROL.user: [1],
    }
    assert answer.lists[0].devices[1].identity_key == identity_key(LAPTOP)


def test_a_device_without_a_key_is_not_listed_because_nobody_can_encrypt_for_it(lab: Lab) -> None:
    alice, bot = lab.phone(ALICE), DeviceId.named("bot", 1)
    lab.run(lab.g1.service.register(bot))

    alice.say(frames.Devices(request(1), users(bot, BOB)))
    lab.settle()

    (answer,) = alice.all(frames.DeviceLists)
    assert [(found.user, len(found.devices)) for found in answer.lists] == [(bot.user, 0), (BOB.user, 1)]


# ---- linking --------------------------------------------------------------------------------------------------------


def test_a_drained_device_links_another_which_takes_a_snapshot_and_what_comes_then(lab: Lab) -> None:
    lab.chat()
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    alice.send(CHAT, own={BOB: b"before"})
    lab.settle()

    bob.say(link(1))
    lab.settle()
    laptop = lab.phone(LAPTOP)
    alice.send(CHAT, own={BOB: b"after", LAPTOP: b"after"})
    lab.settle()

    assert bob.last(frames.Linked).request == request(1)
    assert laptop.last(frames.Welcome).answer is frames.Answer.SNAPSHOT
    (item,) = laptop.last(frames.Snapshot).items
    assert (item.conv, item.seq, set(item.members)) == (CHAT, 2, {ALICE.user, BOB.user})
    assert laptop.texts() == [b"after"]  # what came before is the phone's to hand over


def test_a_device_that_is_behind_links_nobody_until_it_has_caught_up(lab: Lab) -> None:
    lab.chat()
    alice, bob = lab.phone(ALICE), lab.phone(BOB, acks=False)
    alice.send(CHAT, own={BOB: b"unread"})
    lab.settle()

    bob.say(link(1))
    lab.settle()
    bob.ack()
    bob.say(link(2))
    lab.settle()

    (failed,) = bob.all(frames.Failed)
    assert (failed.request, failed.reason) == (request(1), FailureReason.NOT_DRAINED)
    assert [linked.request for linked in bob.all(frames.Linked)] == [request(2)]
    assert lab.inbox(LAPTOP).is_open


def test_a_late_message_is_delivered_to_who_was_linked_by_a_drained_device(lab: Lab) -> None:
    """What the phone acknowledged before it linked is marked; what is above is in both inboxes (model m06c)."""
    lab.chat()
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    bob.say(link(1))
    lab.settle()

    alice.send(CHAT, own={BOB: b"hello", LAPTOP: b"hello"})
    lab.settle()

    assert lab.mark(CHAT, "delivered", BOB) == 2
    assert lab.received(LAPTOP, CHAT) == [2]


def test_a_link_whose_answer_was_lost_is_repeated_without_harm(lab: Lab) -> None:
    lab.chat()
    bob = lab.phone(BOB)

    bob.say(link(1))
    lab.settle()
    bob.say(link(1))
    lab.settle()

    first, again = bob.all(frames.Linked)
    assert first == again


def test_a_number_that_is_taken_is_refused_and_a_free_one_is_named(lab: Lab) -> None:
    bob = lab.phone(BOB)

    bob.say(frames.Link(request(1), 1, identity_key(LAPTOP), 7))
    lab.settle()

    failed = bob.last(frames.Failed)
    assert (failed.reason, failed.detail) == (FailureReason.TAKEN, "2 is free")


def test_a_user_has_so_many_devices_and_no_more(lab: Lab) -> None:
    bob = lab.phone(BOB)
    for number in range(2, MAX_DEVICES_PER_USER + 2):
        bob.say(link(number, device=DeviceId(BOB.user, number)))
    lab.settle(1.0)

    assert len(bob.all(frames.Linked)) == MAX_DEVICES_PER_USER - 1
    assert bob.last(frames.Failed).reason is FailureReason.LIMIT


def test_a_sender_learns_of_a_device_that_it_does_not_know(lab: Lab) -> None:
    lab.chat()
    alice, bob = lab.phone(ALICE), lab.phone(BOB)
    bob.say(link(1))
    lab.settle()

    alice.send(CHAT, own={BOB: b"hello"})
    lab.settle()

    assert alice.last(frames.Refused).missing == (LAPTOP,)


# ---- unlinking ------------------------------------------------------------------------------------------------------


def two_devices(lab: Lab) -> tuple[Phone, Phone]:
    """Bob's phone, and a laptop that it linked."""
    phone = lab.phone(BOB)
    phone.say(link(1))
    lab.settle()
    return phone, lab.phone(LAPTOP)


def test_a_device_that_is_unlinked_is_sent_away_and_gets_nothing_more(lab: Lab) -> None:
    lab.chat()
    alice = lab.phone(ALICE)
    phone, laptop = two_devices(lab)

    phone.say(frames.Unlink(request(2), 2))
    lab.settle()
    alice.send(CHAT, own={BOB: b"hello"})
    lab.settle()
    again = lab.phone(LAPTOP, number=2)

    assert phone.last(frames.Linked).request == request(2)
    assert laptop.bye is ByeCode.UNAUTHORISED
    assert again.bye is ByeCode.UNAUTHORISED
    assert not lab.inbox(LAPTOP).is_open
    assert phone.texts(CHAT) == [b"hello"]
    assert lab.received(LAPTOP, CHAT) == []


def test_a_device_unlinks_itself(lab: Lab) -> None:
    _, laptop = two_devices(lab)

    laptop.say(frames.Unlink(request(2), 2))
    lab.settle()

    assert laptop.last(frames.Linked).request == request(2)
    assert laptop.bye is ByeCode.UNAUTHORISED


def test_the_last_device_stays(lab: Lab) -> None:
    bob = lab.phone(BOB)

    bob.say(frames.Unlink(request(1), 1))
    lab.settle()

    assert bob.last(frames.Failed).reason is FailureReason.NOT_ALLOWED
    assert bob.bye is None


def test_a_number_that_is_linked_again_begins_with_nothing_of_the_old_device(lab: Lab) -> None:
    lab.chat()
    alice = lab.phone(ALICE)
    phone, _ = two_devices(lab)
    alice.send(CHAT, own={BOB: b"old", LAPTOP: b"old"})
    lab.settle()
    old = lab.inbox(LAPTOP).head_cursor

    phone.say(frames.Unlink(request(2), 2))
    lab.settle()
    alice.send(CHAT, own={BOB: b"between"})
    lab.settle()
    phone.say(frames.Link(request(3), 2, identity_key(LAPTOP), 8))
    lab.settle()
    laptop = lab.phone(LAPTOP, cursor=old, number=2)

    # What came in between is in no inbox of it, so going on from the old cursor would be a hole.
    assert laptop.last(frames.Welcome).answer is frames.Answer.FORKED
    assert [item.seq for item in laptop.last(frames.Snapshot).items] == [3]
    assert laptop.texts() == []


def test_a_number_that_is_linked_again_may_link_another_at_once(lab: Lab) -> None:
    lab.chat()
    alice = lab.phone(ALICE)
    phone, laptop = two_devices(lab)
    alice.send(CHAT, own={BOB: b"old", LAPTOP: b"old"})
    lab.settle(lab.config.ack_after_s + 1)
    laptop.acks = False
    alice.send(CHAT, own={BOB: b"never read", LAPTOP: b"never read"})
    lab.settle()
    phone.say(frames.Unlink(request(2), 2))
    lab.settle()
    phone.say(frames.Link(request(3), 2, identity_key(LAPTOP), 8))
    lab.settle()
    again = lab.phone(LAPTOP, number=2)

    again.say(link(4, device=DeviceId(BOB.user, 3)))
    lab.settle()

    assert again.all(frames.Failed) == []
    assert again.last(frames.Linked).request == request(4)


def test_a_device_that_was_unlinked_while_it_is_connected_publishes_and_links_nothing(lab: Lab) -> None:
    _, laptop = two_devices(lab)
    lab.run(lab.g1.gateway.people.unlink(LAPTOP, by=BOB))  # by another gateway, which does not know of this link

    laptop.say(publish(1))
    lab.settle()

    assert laptop.bye is ByeCode.UNAUTHORISED


def test_a_device_that_was_unlinked_while_it_is_connected_links_nobody(lab: Lab) -> None:
    _, laptop = two_devices(lab)
    lab.run(lab.g1.gateway.people.unlink(LAPTOP, by=BOB))

    laptop.say(link(5, device=DeviceId(BOB.user, 3)))
    lab.settle()

    assert laptop.bye is ByeCode.UNAUTHORISED
    assert len(lab.run(lab.g1.gateway.people.account(BOB.user, is_fresh=True)).devices) == 1


# ---- prekeys --------------------------------------------------------------------------------------------------------

SIGNATURE = bytes(64)


def ec_key(number: int) -> bytes:
    return b"\x05" + number.to_bytes(32, "big")


def kyber_key(number: int) -> frames.KyberKey:
    return frames.KyberKey(number, b"\x08" + number.to_bytes(1_568, "big"), SIGNATURE)


def publish(number: int, *, one_time: range = range(1, 3)) -> frames.Publish:
    """Two one-time keys of each kind, a signed one, a last resort."""
    return frames.Publish(
        request(number),
        frames.SignedKey(1, ec_key(1), SIGNATURE),
        kyber_key(100),
        tuple(frames.OneTimeKey(n, ec_key(n)) for n in one_time),
        tuple(kyber_key(n) for n in one_time),
    )


class Counted(Hook):
    def __init__(self) -> None:
        self.taken: list[str] = []

    def prekey_taken(self, kind: str) -> None:
        self.taken.append(kind)


def test_each_one_time_key_is_given_out_once_and_then_the_last_resort(make_lab: MakeLab) -> None:
    hook = Counted()
    lab = make_lab(hook=hook)
    bob, takers = lab.phone(BOB), [lab.phone(device) for device in (ALICE, CAROL, DAVE)]
    bob.say(publish(1))
    lab.settle()

    for number, phone in enumerate(takers):
        phone.say(frames.Take(request(10 + number), BOB))
        lab.settle()

    assert bob.last(frames.Published) == frames.Published(request(1), 2, 2)
    bundles = [phone.last(frames.Bundle).keys for phone in takers]
    taken = [(bundle.one_time and bundle.one_time.number, bundle.is_last_resort) for bundle in bundles if bundle]
    assert taken == [(1, False), (2, False), (None, True)]
    assert all(bundle is not None and bundle.identity_key == identity_key(BOB) for bundle in bundles)
    assert hook.taken == ["one_time", "one_time", "last_resort"]


def test_the_same_request_gets_the_same_bundle(lab: Lab) -> None:
    bob, alice = lab.phone(BOB), lab.phone(ALICE)
    bob.say(publish(1))
    lab.settle()

    alice.say(frames.Take(request(2), BOB), frames.Take(request(2), BOB))
    lab.settle()

    first, again = alice.all(frames.Bundle)
    assert first == again


def test_who_has_published_nothing_or_is_not_there_has_no_bundle(lab: Lab) -> None:
    alice = lab.phone(ALICE)

    alice.say(frames.Take(request(1), BOB), frames.Take(request(2), DeviceId.named("nobody", 1)))
    lab.settle()

    assert [bundle.keys for bundle in alice.all(frames.Bundle)] == [None, None]
    assert alice.bye is None


def test_who_takes_too_many_bundles_of_one_device_has_to_wait(make_lab: MakeLab) -> None:
    hook = Counted()
    lab = make_lab(hook=hook)
    bob, alice = lab.phone(BOB), lab.phone(ALICE)
    bob.say(publish(1, one_time=range(1, 60)))
    lab.settle()

    for number in range(60):
        alice.say(frames.Take(request(100 + number), BOB))
    lab.settle(2.0)

    assert alice.last(frames.Failed).reason is FailureReason.TRY_LATER
    assert hook.taken[-1] == "limited"
    assert alice.bye is None


def test_an_upload_that_cannot_be_ends_the_link_and_changes_nothing(lab: Lab) -> None:
    bob, alice = lab.phone(BOB), lab.phone(ALICE)

    bob.say(publish(1)._replace(signed=frames.SignedKey(1, bytes(32), SIGNATURE)))
    lab.settle()
    alice.say(frames.Take(request(2), BOB))
    lab.settle()

    assert bob.bye is ByeCode.PROTOCOL
    assert alice.last(frames.Bundle).keys is None


def test_a_new_life_of_a_device_number_has_none_of_the_old_keys(lab: Lab) -> None:
    alice = lab.phone(ALICE)
    phone, laptop = two_devices(lab)
    laptop.say(publish(1))
    lab.settle()

    phone.say(frames.Unlink(request(2), 2))
    lab.settle()
    phone.say(frames.Link(request(3), 2, identity_key(LAPTOP), 8))
    lab.settle()
    alice.say(frames.Take(request(4), LAPTOP))
    lab.settle()

    assert alice.last(frames.Bundle).keys is None


# ---- members --------------------------------------------------------------------------------------------------------


def test_two_have_one_conversation_for_ever_and_more_a_new_one(lab: Lab) -> None:
    create = lab.g1.service.create_conversation

    direct = lab.run(create(users(ALICE, BOB)))
    again = lab.run(create(users(BOB, ALICE)))
    one, other = (lab.run(create(users(ALICE, BOB, CAROL))) for _ in range(2))

    assert direct == again == CHAT
    assert lab.head(CHAT).seq == 1
    assert one != other
    with pytest.raises(UsageError, match="members"):
        lab.run(create([]))


def test_a_change_of_members_that_changes_nothing_posts_nothing(lab: Lab) -> None:
    lab.group(ALICE, BOB)

    lab.run(lab.g1.service.change_members(TEAM, added=users(ALICE), removed=users(CAROL)))

    assert lab.head(TEAM).seq == 1


def test_more_members_than_one_change_may_name_come_in_several(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(config=ServiceConfig())
    monkeypatch.setattr("whisperkit.service.service.MAX_CHANGE_USERS", 2)

    lab.group(*EVERYBODY[:5])
    lab.run(lab.g1.service.change_members(TEAM, added=users(EVERYBODY[5]), removed=users(ALICE, BOB)))

    head = lab.head(TEAM)
    assert (head.seq, head.members) == (5, 4)


def test_a_group_that_grows_beyond_what_is_pushed_is_pulled_from_there_on(lab: Lab) -> None:
    lab.group(*EVERYBODY[: LIMITS.queued_upto])
    phones = [lab.phone(device) for device in EVERYBODY]
    phones[0].send(TEAM, b"pushed")
    lab.settle(1.0)

    lab.run(lab.g1.service.change_members(TEAM, added=users(EVERYBODY[-1])))
    lab.settle(2.0)
    phones[0].send(TEAM, b"pulled")
    lab.settle(1.0)

    assert lab.head(TEAM).strategy is Strategy.MEGA
    assert phones[1].texts(TEAM) == [b"pushed"]
    modes = [[entry for entry in phone.entries(TEAM) if entry.kind is EntryKind.MODE] for phone in phones]
    assert [len(found) for found in modes] == [1] * len(EVERYBODY)
    assert modes[1][0].shared == bytes([Strategy.MEGA])


def test_who_is_added_while_the_change_is_lost_is_added_once(lab: Lab) -> None:
    lab.group(ALICE, BOB)
    lab.g1.door.fail(commit_to(f"conv/{TEAM}"), Fault.UNKNOWN_AFTER)

    lab.run(lab.g1.service.change_members(TEAM, added=users(CAROL)))
    lab.settle()

    assert lab.head(TEAM).seq == 2
    assert lab.received(CAROL, TEAM) == [2]


def test_a_group_that_grew_is_pulled_although_the_reply_to_the_change_was_lost(lab: Lab) -> None:
    lab.group(*EVERYBODY[:-1])
    alice = lab.phone(ALICE)
    lab.g1.door.fail(commit_to(f"conv/{TEAM}"), Fault.UNKNOWN_AFTER)

    alice.send(TEAM, kind=EntryKind.ROSTER, change=RosterChange(added=users(EVERYBODY[-1])))
    lab.settle(2.0)

    assert lab.head(TEAM).members == len(EVERYBODY)
    assert lab.head(TEAM).strategy is Strategy.MEGA


def test_who_left_is_refused_and_who_came_back_is_heard(lab: Lab) -> None:
    lab.group(ALICE, BOB, CAROL)
    carol = lab.phone(CAROL)
    change = lab.g1.service.change_members

    lab.run(change(TEAM, removed=users(CAROL)))
    carol.send(TEAM, b"gone")
    lab.settle()
    lab.run(change(TEAM, added=users(CAROL)))
    carol.send(TEAM, b"back", seq=1)
    lab.settle()

    assert carol.refusals == [RefusalReason.NOT_MEMBER]
    assert lab.phone(BOB).texts(TEAM) == [b"back"]
