"""Writing to somebody who is not there: the message fails and says why, and can be sent again once they are."""

from __future__ import annotations

from whisperkit.client.events import Recorded
from whisperkit.ids import ConversationId, DeviceId, UserId
from whisperkit.sync import conversation as conversations
from whisperkit.testing.sim_phone import ChatNet, SimPhone
from whisperkit.testing.sim_runtime import run_now

NOBODY = UserId.named("nobody")


def direct(phone: SimPhone, user: UserId = NOBODY) -> ConversationId:
    return phone.do(lambda client: client.direct(user))


def failures(phone: SimPhone, chat: ConversationId) -> list[str]:
    """Why messages of a conversation will never be sent, oldest first."""
    return [record.failed for record in phone.records(chat) if record.failed]


def test_a_message_to_somebody_who_is_not_there_fails_and_says_so(net: ChatNet) -> None:
    alice = net.phone("alice")
    chat = direct(alice)

    alice.send(chat, "hello?")
    net.until(lambda: failures(alice, chat) == ["no such user"])

    told = [event.record.failed for event in alice.events if isinstance(event, Recorded)]
    assert "no such user" in told
    assert run_now(net.server.partitions.heads([conversations.partition(chat)])) == {}


def test_it_fails_in_a_conversation_that_is_there_already(net: ChatNet) -> None:
    alice = net.phone("alice")
    chat = alice.do(lambda _client: net.server.service.create_conversation([alice.device.user, NOBODY]))
    net.wait(2.0)

    alice.send(chat, "hello?")

    net.until(lambda: failures(alice, chat) == ["no such user"])


def test_what_is_behind_it_goes_on(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    nowhere, chat = direct(alice), alice.direct(bob)

    alice.send(nowhere, "one")
    alice.send(nowhere, "two")
    alice.send(chat, "hello")

    net.until(lambda: bob.texts(chat) == ["hello"] and failures(alice, nowhere) == ["no such user"] * 2)


def test_it_can_be_sent_again_as_soon_as_they_are_there(net: ChatNet) -> None:
    alice = net.phone("alice")
    chat = direct(alice)
    message = alice.send(chat, "hello?")
    net.until(lambda: failures(alice, chat) == ["no such user"])

    nobody = net.phone("nobody")
    alice.do(lambda client: client.retry(chat, message))

    net.until(lambda: nobody.texts(chat) == ["hello?"])


def test_what_is_written_offline_waits_until_it_can_be_asked(net: ChatNet) -> None:
    alice = net.phone("alice")
    chat = direct(alice)
    alice.fly()
    alice.send(chat, "hello?")
    net.wait(60.0)
    assert failures(alice, chat) == []

    nobody = net.phone("nobody")
    alice.land()

    net.until(lambda: nobody.texts(chat) == ["hello?"])


def test_a_group_with_somebody_who_is_not_there_works_for_the_others(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    group = alice.do(lambda client: client.create_group([bob.device.user, NOBODY]))

    alice.send(group, "hello")
    net.until(lambda: bob.texts(group) == ["hello"])
    bob.send(group, "hi")

    net.until(lambda: "hi" in alice.texts(group))
    assert failures(alice, group) == failures(bob, group) == []


def test_a_note_to_oneself_is_no_message_to_nobody(net: ChatNet) -> None:
    alice = net.phone("alice")
    laptop = net.linked(alice, name="alice")
    group = alice.do(lambda client: client.create_group([]))

    alice.send(group, "do not forget")

    net.until(lambda: laptop.texts(group) == ["do not forget"])
    assert DeviceId(alice.device.user, 2) == laptop.device
