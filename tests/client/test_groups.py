"""Groups of every size: who gets the key how, and what happens when the list of devices was stale."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from whisperkit import ConversationId, DeviceId, MessageId
from whisperkit.fanout import Limits
from whisperkit.ids import ConversationSeq, InboxSeq
from whisperkit.receipts import MessageStatus
from whisperkit.service import ServiceConfig
from whisperkit.strategy import Strategy
from whisperkit.sync import frames
from whisperkit.sync.cursor import next_tag
from whisperkit.sync.frames import EntryKind
from whisperkit.testing.sim_phone import ChatNet, SimPhone

# Strategies as in a real server, with fewer members.
SMALL_LIMITS = Limits(direct_below=4, queued_upto=5, direct_again_at=2, queued_again_at=4)


@pytest.fixture
def small_net() -> Iterator[ChatNet]:
    net = ChatNet(config=ServiceConfig(fanout=SMALL_LIMITS))
    yield net
    net.close()


def strategy(phone: SimPhone, group: ConversationId) -> Strategy | None:
    membership = phone.do(lambda client: client.chat(group)).membership
    return membership.strategy if membership is not None else None


def test_a_group_whose_copies_are_queued_reads_everything(small_net: ChatNet) -> None:
    net = small_net
    phones = [net.phone(f"{n}") for n in range(5)]
    group = phones[0].group(*phones[1:])
    net.until(lambda: all(phone.records(group) for phone in phones))

    for phone in phones:
        phone.send(group, f"from {phone.device.user[:4]}")
    net.until(lambda: all(len(phone.texts(group)) == 5 for phone in phones))

    assert len({tuple(phone.texts(group)) for phone in phones}) == 1
    assert not any("?" in phone.texts(group) for phone in phones)


@pytest.mark.parametrize("seed", range(16))
def test_a_message_behind_the_making_of_its_group_never_fails(seed: int) -> None:
    net = ChatNet(seed=seed)
    alice, bob = net.phone("alice"), net.phone("bob")

    group = alice.group(bob, bob)
    sent = alice.send(group, "hello")
    net.wait(5.0)

    assert alice.status(group, sent) is MessageStatus.DELIVERED
    net.close()


def test_a_mode_that_comes_in_one_read_with_the_change_that_caused_it_is_heeded(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    said: list[frames.Send] = []

    def is_saying(frame: frames.Frame) -> None:
        if isinstance(frame, frames.Send) and not said:
            said.append(frame)
            alice.wire_fates.arm("up", "lost")

    alice.is_saying = is_saying
    group = alice.group(bob, carol)
    net.until(lambda: bool(said))
    cursor, mode = alice.client.cursor, MessageId(bytes(16))
    assert cursor is not None
    seq, tag = InboxSeq(cursor.seq + 1), next_tag(cursor.tag, mode)
    first, second, none = ConversationSeq(1), ConversationSeq(2), ConversationSeq(0)
    entry = frames.Entry(seq, tag, mode, EntryKind.MODE, group, second, none, None, 1, None, bytes([Strategy.MEGA]))

    assert alice.link is not None
    alice.link.forge(frames.Sent(group, said[0].outbox_epoch, said[0].outbox_seq, said[0].message_id, first, 1), entry)

    # Soon: a server that did not send it ends the connection over its acknowledgement.
    net.until(lambda: strategy(alice, group) is Strategy.MEGA, within_s=0.5)


def test_a_group_that_is_pulled_is_read_once_it_is_opened(small_net: ChatNet) -> None:
    net = small_net
    phones = [net.phone(f"{n}") for n in range(7)]
    alice, bob, carol = phones[:3]
    group = alice.group(*phones[1:])
    net.until(lambda: all(phone.records(group) for phone in phones))
    net.until(lambda: all(strategy(phone, group) is Strategy.MEGA for phone in phones))

    alice.send(group, "to thousands")
    sent = alice.send(group, "and more")
    net.until(lambda: alice.status(group, sent) is MessageStatus.SENT)
    net.until(lambda: bob.badge(group) == 2)
    bob.do(lambda client: client.open_chat(group))
    net.until(lambda: bob.texts(group) == ["to thousands", "and more"])
    alice.send(group, "live")
    net.until(lambda: bob.texts(group) == ["to thousands", "and more", "live"])
    bob.send(group, "from bob")
    carol.do(lambda client: client.open_chat(group))
    net.until(lambda: carol.texts(group) == ["to thousands", "and more", "live", "from bob"])
    carol.client.close_chat(group)

    assert all(frame.own is None for frame in alice.said if isinstance(frame, frames.Send) and frame.shared)
    assert alice.do(lambda client: client.tally(group, sent)).delivered == 0


def test_whoever_was_removed_from_a_pulled_group_gets_no_key_again(small_net: ChatNet) -> None:
    net = small_net
    phones = [net.phone(f"{n}") for n in range(7)]
    alice, bob = phones[:2]
    group = alice.group(*phones[1:])
    net.until(lambda: all(strategy(phone, group) is Strategy.MEGA for phone in phones))
    alice.send(group, "for all")
    bob.do(lambda client: client.open_chat(group))
    net.until(lambda: bob.texts(group) == ["for all"])

    alice.do(lambda client: client.change_members(group, removed=[bob.device.user]))
    net.until(lambda: bob.members(group) == frozenset() and not bob.do(lambda client: client.chat(group)).membership)
    sent = alice.send(group, "without bob")
    net.until(lambda: alice.status(group, sent) is MessageStatus.SENT)
    record = next(record for record in alice.records(group) if record.message_id == sent)
    post = [frame for frame in alice.said if isinstance(frame, frames.Send)][-1]
    assert post.shared is not None
    bob.hand_over(frames.EntryKind.MESSAGE, sent, group, record.seq, alice.device, own=None, shared=post.shared)
    net.wait(60.0)

    assert "without bob" not in bob.texts(group)


def test_more_devices_than_a_post_has_room_for_are_given_the_key_ahead(
    net: ChatNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sealing", "sending"):
        monkeypatch.setattr(f"whisperkit.client.{module}.MAX_OWN_COPIES", 3)
    phones = [net.phone(f"{n}") for n in range(9)]
    group = phones[0].group(*phones[1:])
    net.until(lambda: all(phone.records(group) for phone in phones))

    phones[0].send(group, "for eight others")
    net.until(lambda: all(phone.texts(group) == ["for eight others"] for phone in phones))

    given = [len(frame.own) for frame in phones[0].said if isinstance(frame, frames.Aside)]
    post = next(frame for frame in phones[0].said if isinstance(frame, frames.Send) and frame.shared)
    assert given == [3, 3]
    assert len(post.own or {}) == 2
    assert not any(isinstance(frame, frames.Aside) for phone in phones[1:] for frame in phone.said)


def test_a_post_that_was_refused_gives_the_key_all_the_same(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    dave = net.phone("dave")
    group = alice.group(bob, carol)
    net.until(lambda: bool(bob.records(group)) and bool(carol.records(group)))
    bob.fly()
    net.wait(1.0)
    bob.send(group, "sealed for three")  # not sealed before he lands
    bob.land()
    net.until(lambda: bob.is_live)
    net.until(lambda: "sealed for three" in carol.texts(group))
    carol.wire_fates.arm("down", "late")

    carol.send(group, "crosses the change")
    alice.do(lambda client: client.change_members(group, added=[dave.device.user]))
    net.until(lambda: dave.device.user in carol.members(group))
    carol.send(group, "after it")
    net.until(lambda: dave.texts(group)[-1:] == ["after it"])
    net.until(lambda: bob.texts(group)[-1:] == ["after it"])

    assert "?" not in bob.texts(group)


def test_a_device_without_keys_is_shown_that_there_is_something_and_gets_it_later(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "first")
    net.until(lambda: bob.texts(chat) == ["first"])
    tablet = net.phone("bob", 2, is_linked=True)
    net.wait(1.0)
    key, registration_id = tablet.do(lambda client: client.identity())
    tablet.fly()
    bob.do(lambda client: client.link_device(2, identity_key=key, registration_id=registration_id))
    net.wait(15.0)

    sent = alice.send(chat, "before it has keys")
    net.until(lambda: bob.texts(chat)[-1:] == ["before it has keys"])
    tablet.land()
    net.until(lambda: "before it has keys" in tablet.texts(chat))
    net.wait(70.0)
    alice.send(chat, "now it has")
    net.until(lambda: tablet.texts(chat)[-1:] == ["now it has"])

    assert alice.status(chat, sent) is MessageStatus.DELIVERED


def test_a_conversation_with_oneself_works(net: ChatNet) -> None:
    alice = net.phone("alice")
    notes = alice.group()
    sent = alice.send(notes, "milk, eggs")
    net.until(lambda: alice.status(notes, sent) is MessageStatus.SENT)
    tablet = net.linked(alice, name="alice")

    tablet.send(notes, "bread")

    net.until(lambda: alice.texts(notes) == ["milk, eggs", "bread"])


def test_a_user_who_does_not_exist_keeps_nobody_waiting(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    ghost = DeviceId.named("nobody", 1).user
    group = alice.do(lambda client: client.create_group([ghost, bob.device.user]))

    alice.send(group, "boo")
    chat = alice.direct(bob)
    alice.send(chat, "hello")

    net.until(lambda: bob.texts(group) == ["boo"] and bob.texts(chat) == ["hello"])
