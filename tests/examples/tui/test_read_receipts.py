"""Row "read receipt is sent": only when the line was on the screen and the window had the focus."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.events import AppBlur, AppFocus

from examples.tui.settings import Settings
from tests.examples.tui.stage import on_stage
from whisperkit.receipts import MessageStatus
from whisperkit.testing.sim_phone import ChatNet

pytestmark = pytest.mark.anyio


async def test_what_was_on_the_screen_is_read(net: ChatNet, tmp_path: Path) -> None:
    bob = net.phone("bob")
    async with on_stage(net, "alice", tmp_path) as alice:
        chat = bob.direct(alice.sim)
        await alice.go_to("bob")
        sent = bob.send(chat, "look")
        await alice.wait(10.0)

        net.until(lambda: bob.status(chat, sent) is MessageStatus.READ)


async def test_what_came_while_the_person_looked_elsewhere_is_read_when_they_are_back(
    net: ChatNet, tmp_path: Path
) -> None:
    bob = net.phone("bob")
    async with on_stage(net, "alice", tmp_path) as alice:
        chat = bob.direct(alice.sim)
        await alice.go_to("bob")
        alice.app.post_message(AppBlur())
        await alice.settle()
        sent = bob.send(chat, "look")
        await alice.wait(30.0)
        assert bob.status(chat, sent) is MessageStatus.DELIVERED

        alice.app.post_message(AppFocus())
        await alice.wait(10.0)

        net.until(lambda: bob.status(chat, sent) is MessageStatus.READ)


async def test_what_is_below_the_view_is_not_read(net: ChatNet, tmp_path: Path) -> None:
    bob = net.phone("bob")
    async with on_stage(net, "alice", tmp_path) as alice:
        chat = bob.direct(alice.sim)
        await alice.go_to("bob")
        for n in range(40):
            bob.send(chat, f"line {n}")
        await alice.wait(30.0)
        await alice.press("pageup")
        sent = bob.send(chat, "below")
        await alice.wait(30.0)
        assert bob.status(chat, sent) is MessageStatus.DELIVERED

        await alice.press("end")
        await alice.wait(10.0)

        net.until(lambda: bob.status(chat, sent) is MessageStatus.READ)


async def test_with_receipts_on_reply_only_an_answer_says_that_it_was_read(net: ChatNet, tmp_path: Path) -> None:
    bob = net.phone("bob")
    async with on_stage(net, "alice", tmp_path, settings=Settings(receipts="reply")) as alice:
        chat = bob.direct(alice.sim)
        await alice.go_to("bob")
        sent = bob.send(chat, "look")
        await alice.wait(30.0)
        assert bob.status(chat, sent) is MessageStatus.DELIVERED

        await alice.write("I see")

        net.until(lambda: bob.status(chat, sent) is MessageStatus.READ)


async def test_what_is_behind_a_dialog_or_the_list_was_not_read(net: ChatNet, tmp_path: Path) -> None:
    bob = net.phone("bob")
    async with on_stage(net, "alice", tmp_path, size=(60, 20)) as alice:
        chat = bob.direct(alice.sim)
        await alice.go_to("bob")
        await alice.press("f1")
        sent = bob.send(chat, "one")
        await alice.wait(20.0)
        assert bob.status(chat, sent) is MessageStatus.DELIVERED
        await alice.press("escape", "escape")
        assert "Chats" in alice.screen
        sent = bob.send(chat, "two")
        await alice.wait(20.0)
        assert bob.status(chat, sent) is MessageStatus.DELIVERED

        await alice.press("enter")
        await alice.wait(20.0)
        assert bob.status(chat, sent) is MessageStatus.READ
