"""What a client can say about its messages and its inbox, and what a person may throw away."""

from __future__ import annotations

import pytest

from whisperkit import ConversationId, MessageId
from whisperkit.client import Client
from whisperkit.client.reading import Reached
from whisperkit.errors import UsageError
from whisperkit.receipts import MessageStatus
from whisperkit.testing.sim_phone import ChatNet, SimPhone


def reached(phone: SimPhone, conv: ConversationId, message_id: MessageId) -> Reached:
    return phone.do(lambda client: client.reached_by(conv, message_id))


def failed(net: ChatNet) -> tuple[SimPhone, ConversationId, MessageId]:
    """Somebody who wrote to a group and was removed before."""
    alice, bob = net.phone("alice"), net.phone("bob")
    group = alice.group(bob)
    net.until(lambda: bool(bob.records(group)))
    alice.do(lambda client: client.change_members(group, removed=[bob.device.user]))
    net.until(lambda: bob.do(lambda client: client.chat(group)).membership is None)
    message_id = bob.send(group, "refused")
    net.until(lambda: bob.status(group, message_id) is MessageStatus.FAILED)
    return bob, group, message_id


def test_whom_a_message_has_reached_is_told_by_name(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    group = alice.group(bob, carol)
    net.until(lambda: bool(bob.records(group)) and bool(carol.records(group)))
    carol.fly()
    net.wait(2.0)
    message_id = alice.send(group, "who has it?")
    others = frozenset({bob.device.user, carol.device.user})
    assert reached(alice, group, message_id)[1:] == (frozenset(), frozenset())

    net.until(lambda: bob.texts(group) == ["who has it?"])
    bob.do(lambda client: client.mark_read(group, 99))
    net.until(lambda: bool(reached(alice, group, message_id).read))

    only_bob = frozenset({bob.device.user})
    assert reached(alice, group, message_id) == Reached(others, only_bob, only_bob)


def test_a_failed_message_can_be_thrown_away(net: ChatNet) -> None:
    bob, group, message_id = failed(net)

    bob.do(lambda client: client.discard(group, message_id))

    assert bob.texts(group) == []
    with pytest.raises(UsageError):
        bob.status(group, message_id)
    bob.restart()
    assert bob.texts(group) == []


def test_only_a_failed_message_of_this_device_can_be_thrown_away(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    sent = alice.send(chat, "fine")
    net.until(lambda: bob.texts(chat) == ["fine"])

    async def discard(client: Client) -> None:
        await client.discard(chat, sent)

    for phone in (alice, bob):
        with pytest.raises(UsageError, match="has not failed"):
            phone.do(discard)
    alice.fly()
    waiting = alice.send(chat, "later")
    with pytest.raises(UsageError, match="has not failed"):
        alice.do(lambda client: client.discard(chat, waiting))
    assert alice.texts(chat) == ["fine", "later"]


def test_a_client_knows_how_far_it_has_to_catch_up(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    bob.fly()
    net.wait(2.0)
    for n in range(5):
        alice.send(chat, f"{n}")
    net.wait(5.0)
    assert bob.client.cursor is not None
    before = bob.client.cursor.seq
    bob.land()
    net.until(lambda: bob.client.head is not None and bob.client.head.seq >= before + 5)

    net.until(lambda: bob.is_live)

    assert bob.client.cursor == bob.client.head
