"""Bots: each message handled once, in order, and answered in the commit that handles it."""

from __future__ import annotations

from contextlib import suppress

import pytest

from whisperkit import ConversationId
from whisperkit.client import Client
from whisperkit.client.arrivals import IncomingMessage
from whisperkit.errors import UsageError
from whisperkit.testing import Fault
from whisperkit.testing.sim_phone import ChatNet, SimPhone


async def first(client: Client) -> IncomingMessage:
    async for message in client.messages():
        return message
    raise AssertionError("the messages ended")


async def serve(client: Client) -> None:
    """The bot of the documentation."""
    async for message in client.messages():
        async with message:
            if message.text.startswith("ping"):
                await message.reply(message.text.replace("i", "o"))


def run_bot(phone: SimPhone) -> None:
    async def run() -> None:
        await serve(phone.client)

    phone.runtime.spawn(run, name="bot")


def test_a_bot_answers_each_message_once_also_those_that_came_while_it_was_off(net: ChatNet) -> None:
    alice, bot = net.phone("alice"), net.phone("bot", is_bot=True)
    chat = alice.direct(bot)
    for n in range(3):
        alice.send(chat, f"ping {n}")
    net.until(lambda: len(bot.texts(chat)) == 3)

    run_bot(bot)
    net.until(lambda: len(alice.texts(chat)) == 6)
    alice.send(chat, "ping 3")
    net.until(lambda: len(alice.texts(chat)) == 8)
    bot.restart()
    net.until(lambda: bot.is_live)
    run_bot(bot)
    net.wait(30.0)

    assert [text for text in alice.texts(chat) if text.startswith("pong")] == [f"pong {n}" for n in range(4)]


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
@pytest.mark.parametrize("skip", range(7))
def test_a_bot_that_dies_at_any_commit_answers_each_message_once(net: ChatNet, fault: Fault, skip: int) -> None:
    alice, bot = net.phone("alice"), net.phone("bot", is_bot=True)
    chat = alice.direct(bot)
    run_bot(bot)
    for _ in range(skip):
        bot.fates.arm("commit", Fault.NONE)
    bot.fates.arm("commit", fault)

    for n in range(3):
        alice.send(chat, f"ping {n}")
        net.wait(0.2)
    net.wait(5.0)
    bot.fates.disarm()
    if not bot.runtime.is_alive:
        bot.restart()
        net.until(lambda: bot.is_live)
        run_bot(bot)
    net.until(lambda: len(alice.texts(chat)) == 6)
    net.wait(30.0)

    assert [text for text in alice.texts(chat) if text.startswith("pong")] == ["pong 0", "pong 1", "pong 2"]


def test_a_message_whose_block_failed_comes_again_and_its_answer_was_never_given(net: ChatNet) -> None:
    alice, bot = net.phone("alice"), net.phone("bot", is_bot=True)
    chat = alice.direct(bot)
    alice.send(chat, "ping")
    alice.send(chat, "another")

    async def fail(client: Client) -> ConversationId:
        message = await first(client)
        with suppress(ZeroDivisionError):
            async with message:
                await message.reply("never said")
                raise ZeroDivisionError
        return message.conv

    assert bot.do(fail) == chat
    again = bot.do(first)

    assert (again.text, again.sender) == ("ping", alice.device)
    assert "never said" not in bot.texts(chat)


def test_own_messages_and_changes_of_members_are_not_to_be_handled(net: ChatNet) -> None:
    alice, bot = net.phone("alice"), net.phone("bot", is_bot=True)
    tablet = net.linked(bot, name="bot")
    group = tablet.group(alice)
    net.until(lambda: bool(bot.records(group)) and bool(alice.records(group)))
    tablet.send(group, "from another device of the bot")
    net.until(lambda: alice.texts(group) != [])
    alice.send(group, "from alice")

    assert bot.do(first).text == "from alice"


def test_what_could_be_read_only_later_is_handled_then(net: ChatNet) -> None:
    alice, bot = net.phone("alice"), net.phone("bot", is_bot=True)
    chat = alice.direct(bot)
    alice.send(chat, "hello")
    net.until(lambda: bot.texts(chat) == ["hello"])
    bot.edit(lambda rows: {key: None for key in rows if key.startswith((b"k/session/", b"a/"))})

    alice.send(chat, "read late")

    assert bot.do(first).text == "read late"


def test_an_answer_is_checked_when_it_is_given(net: ChatNet) -> None:
    alice, bot = net.phone("alice"), net.phone("bot", is_bot=True)
    chat = alice.direct(bot)
    alice.send(chat, "hello")

    async def answer(client: Client) -> None:
        message = await first(client)
        assert "hello" not in repr(message)
        with pytest.raises(UsageError):
            await message.reply("")

    bot.do(answer)


def test_a_phone_that_only_shows_messages_keeps_no_list_of_them(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "for a person")
    net.until(lambda: bob.texts(chat) == ["for a person"])

    with pytest.raises(UsageError, match="keeps_unhandled"):
        bob.client.messages()

    assert not [key for key in bob.rows() if key.startswith(b"a/")]
