"""Clients with one thing wrong: each scenario holds with the real one, and notices the fault."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest

from whisperkit import ConversationId, UserId
from whisperkit.client import opening, reading, receiving, trust
from whisperkit.client.arrivals import take_arrival
from whisperkit.client.client import Client
from whisperkit.client.content import Bound, decode_content
from whisperkit.client.events import DeviceLinked, Recorded
from whisperkit.client.records import Turn
from whisperkit.client.sealing import Sealer
from whisperkit.client.sending import Sender
from whisperkit.client.unread import Unread
from whisperkit.receipts import MessageStatus
from whisperkit.sync import frames
from whisperkit.sync.chat import Chat
from whisperkit.sync.frames import EntryKind
from whisperkit.testing import Fault
from whisperkit.testing.sim_phone import ChatNet, SimPhone

SOON_S = 120.0


async def nothing(*_: Any, **__: Any) -> Any:  # Any: it stands for anything
    return None


def nothing_now(*_: object) -> None:
    return None


async def nothing_found(*_: Any, **__: Any) -> list[Any]:  # as above
    return []


async def todays_members(_turn: Turn, chat: Chat, _seq: int) -> frozenset[UserId]:
    return frozenset(chat.membership.members if chat.membership is not None else ())


def anywhere(data: bytes, _conv: object, _message_id: object) -> bytes:
    content = decode_content(data)
    assert isinstance(content, Bound)
    return content.content


async def handled_first(client: Client, number: int, answers: list[Any]) -> None:
    async def handle(turn: Turn) -> None:
        take_arrival(turn, number)

    await client._at.records.run(handle)  # pyright: ignore[reportPrivateUsage]
    await client._commit(answers)  # pyright: ignore[reportPrivateUsage]


# ---- scenarios ------------------------------------------------------------------------------------------------------


def lost_sessions(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "hello")
    net.until(lambda: bob.texts(chat) == ["hello"])
    bob.edit(lambda rows: {key: None for key in rows if key.startswith(b"k/session/")})
    alice.send(chat, "lost on you")
    net.until(lambda: bob.texts(chat)[-1:] == ["lost on you"], within_s=SOON_S)


def a_member_is_removed(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    group = alice.group(bob, carol, net.phone("dave"))
    alice.send(group, "for all")
    net.until(lambda: carol.texts(group) == ["for all"])
    alice.do(lambda client: client.change_members(group, removed=[carol.device.user]))
    net.until(lambda: carol.device.user not in bob.members(group) | alice.members(group))
    sent = alice.send(group, "not for carol")
    net.until(lambda: bob.texts(group) == ["for all", "not for carol"])
    shared = [frame.shared for frame in alice.said if isinstance(frame, frames.Send) and frame.message_id == sent][-1]
    if shared is not None:  # a bad server lets her have it all the same
        carol.hand_over(EntryKind.MESSAGE, sent, group, 9, alice.device, own=None, shared=shared)
    net.wait(30.0)
    assert "not for carol" not in carol.texts(group)


def a_member_joins(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    group = alice.group(bob)
    sent = alice.send(group, "hello")
    net.until(lambda: bob.texts(group) == ["hello"])
    net.until(lambda: alice.status(group, sent) is MessageStatus.DELIVERED)
    alice.do(lambda client: client.change_members(group, added=[carol.device.user]))
    net.until(lambda: carol.device.user in alice.members(group))
    assert alice.status(group, sent) is MessageStatus.DELIVERED


def shown_elsewhere(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat, group = alice.direct(bob), alice.group(bob, net.phone("carol"))
    net.until(lambda: bool(bob.records(group)))
    copies: list[bytes] = []

    def intercept(frame: frames.Frame) -> None:
        if isinstance(frame, frames.Send) and frame.own and frame.conv == chat:
            copies.append(frame.own[bob.device])
            alice.wire_fates.arm("up", "lost")

    alice.is_saying = intercept
    sent = alice.send(chat, "between us")
    net.until(lambda: bool(copies))
    bob.hand_over(EntryKind.MESSAGE, sent, group, 9, alice.device, own=copies[0], shared=None)
    assert "between us" not in bob.texts(group)


def a_send_is_lost(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "one")
    net.until(lambda: bob.texts(chat) == ["one"])
    alice.wire_fates.arm("up", "lost")
    alice.send(chat, "two")
    net.until(lambda: bob.texts(chat) == ["one", "two"], within_s=SOON_S)


def the_server_loses_its_tail(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "kept")
    net.until(lambda: bob.texts(chat) == ["kept"])
    bob.fly()
    net.server.back_up()
    sent = alice.send(chat, "lost")
    net.until(lambda: alice.status(chat, sent) is MessageStatus.SENT)
    net.server.restore()
    alice.restart()
    bob.restart()
    bob.land()
    net.until(lambda: bob.texts(chat) == ["kept", "lost"], within_s=SOON_S)


def read_on_a_flight(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    sent = alice.send(chat, "read me")
    net.until(lambda: alice.status(chat, sent) is MessageStatus.DELIVERED)
    bob.fly()
    net.wait(2.0)
    bob.do(lambda client: client.mark_read(chat, 99))
    bob.land()
    net.until(lambda: alice.status(chat, sent) is MessageStatus.READ, within_s=SOON_S)


def a_bot_dies(net: ChatNet) -> None:
    alice, bot = net.phone("alice"), net.phone("bot", is_bot=True)
    chat = alice.direct(bot)
    alice.send(chat, "ping")
    net.until(lambda: bot.texts(chat) == ["ping"])
    net.wait(5.0)  # what a new connection begins with is done: the commits that are counted below are of the answer

    def begin() -> None:
        async def serve() -> None:
            async for message in bot.client.messages():
                async with message:
                    await message.reply("pong")

        bot.runtime.spawn(serve, name="bot")

    bot.fates.arm("commit", Fault.NONE)
    bot.fates.arm("commit", Fault.CRASH_BEFORE)
    begin()
    net.wait(5.0)
    bot.fates.disarm()
    if not bot.runtime.is_alive:
        bot.restart()
        net.wait(1.0)
        begin()
    net.until(lambda: alice.texts(chat) == ["ping", "pong"], within_s=SOON_S)


def a_contact_gets_a_tablet(net: ChatNet) -> tuple[SimPhone, SimPhone, ConversationId]:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "hello")
    net.until(lambda: bob.texts(chat) == ["hello"])
    return alice, net.linked(bob, name="bob"), chat


def a_phone_dies_before_its_person_has_looked(net: ChatNet) -> None:
    alice, tablet, chat = a_contact_gets_a_tablet(net)
    alice.send(chat, "both")
    net.until(lambda: "both" in tablet.texts(chat))
    alice.events.clear()
    alice.restart()
    net.wait(5.0)
    assert any(isinstance(event, DeviceLinked) for event in alice.events)


def a_list_is_looked_at_twice(net: ChatNet) -> None:
    alice, tablet, chat = a_contact_gets_a_tablet(net)
    for text in ("one", "two"):
        net.wait(700.0)
        alice.send(chat, text)
        net.until(lambda text=text: text in tablet.texts(chat))  # type: ignore[misc]
        for notice in alice.client.notices:
            alice.do(lambda client, notice=notice: client.noticed(notice))  # type: ignore[misc]
    assert [isinstance(event, DeviceLinked) for event in alice.events].count(True) == 1


def a_new_device_writes_first(net: ChatNet) -> None:
    alice, tablet, chat = a_contact_gets_a_tablet(net)
    tablet.send(chat, "guess who")
    net.until(lambda: "guess who" in alice.texts(chat))
    net.wait(90.0)
    about = [event for event in alice.events if isinstance(event, DeviceLinked | Recorded)]
    assert isinstance(about[-2], DeviceLinked)


VARIANTS: list[tuple[Callable[[ChatNet], None], object, str, object]] = [
    (lost_sessions, Unread, "note", nothing),
    (a_member_is_removed, Sealer, "renew", nothing),
    (a_member_joins, reading, "audience_of", todays_members),
    (shown_elsewhere, opening, "unbind", anywhere),
    (a_send_is_lost, Sender, "repeat_unanswered", nothing_now),
    (the_server_loses_its_tail, receiving.Receiver, "_send_again", nothing),
    (read_on_a_flight, reading.Reader, "untold", nothing_found),
    (a_bot_dies, Client, "_handle", handled_first),
    (a_phone_dies_before_its_person_has_looked, trust, "put_notice", nothing),
    (a_list_is_looked_at_twice, trust, "_note", nothing_now),
    (a_new_device_writes_first, trust.Trust, "met", nothing_found),
]


@pytest.mark.parametrize("is_broken", [False, True], ids=["as it is", "broken"])
@pytest.mark.parametrize(
    ("scenario", "owner", "name", "wrong"), VARIANTS, ids=[f"{one[0].__name__}-{one[2]}" for one in VARIANTS]
)
def test_a_fault_is_noticed(
    net: ChatNet,
    monkeypatch: pytest.MonkeyPatch,
    scenario: Callable[[ChatNet], None],
    owner: object,
    name: str,
    wrong: object,
    is_broken: bool,
) -> None:
    if is_broken:
        monkeypatch.setattr(owner, name, wrong)

    with pytest.raises(AssertionError) if is_broken else nullcontext():
        scenario(net)
