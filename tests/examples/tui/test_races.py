"""What a busy machine, or a person faster than it, must not spoil."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest
from textual.events import Key, Resize
from textual.geometry import Size
from textual.timer import Timer, TimerCallback

from examples.tui.composer import Composer
from tests.examples.tui.stage import CountedApp, on_stage
from whisperkit.client import Client
from whisperkit.ids import ConversationId
from whisperkit.testing.sim_phone import ChatNet

pytestmark = pytest.mark.anyio


class Late(CountedApp):
    """On a machine so busy that the time for which a timer is set has passed before it begins, and is skipped."""

    def set_timer(
        self, delay: float, callback: TimerCallback | None = None, *, name: str | None = None, pause: bool = False
    ) -> Timer:
        return super().set_timer(delay, callback, name=name, pause=True)


class Deaf(CountedApp):
    """Hears of no new size of its window, and can only ask."""

    window = Size(100, 30)

    def terminal_size(self) -> Size:
        return self.window


class SlowClient:
    """A client that opens a conversation when it is let."""

    def __init__(self, client: Client) -> None:
        self.may_open = asyncio.Event()
        self._client = client

    async def open_chat(self, conv: ConversationId) -> None:
        await self.may_open.wait()
        await self._client.open_chat(conv)

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)


class Watched(CountedApp):
    """A person presses keys at the first glimpse of a conversation."""

    keys = ""

    async def draw_now(self) -> None:
        await super().draw_now()
        keys, self.keys = self.keys, ""
        for key in keys:
            self.post_message(Key(key, key))


async def test_a_size_that_a_busy_machine_did_not_pass_on_is_noticed_a_moment_later(
    net: ChatNet, tmp_path: Path
) -> None:
    async with on_stage(net, "alice", tmp_path, size=(100, 30), kind=Late) as alice:
        for width, height in ((48, 20), (100, 30)):
            alice.app.post_message(Resize(Size(width, height), Size(width, height)))
            await alice.settle()
            assert alice.app.main_screen.outer_size != (width, height), "nobody was told"

            await alice.wait()

            assert alice.app.main_screen.outer_size == (width, height)
            assert alice.app.main_screen.has_class("-narrow") == (width == 48)


async def test_a_size_that_nobody_told_of_is_asked_for(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path, size=(100, 30), kind=Deaf) as alice:
        cast(Deaf, alice.app).window = Size(48, 20)
        await alice.wait()
        await alice.settle()
        await alice.wait()  # its first word is to the program, its second one to the screen

        assert alice.app.main_screen.outer_size == (48, 20)
        assert alice.app.main_screen.has_class("-narrow")


async def test_what_is_typed_as_soon_as_a_conversation_is_there_is_written_in_it(net: ChatNet, tmp_path: Path) -> None:
    net.phone("bob")
    async with on_stage(net, "alice", tmp_path, kind=Watched) as alice:
        assert isinstance(alice.app, Watched)
        await alice.go_to("bob")
        await alice.press("escape")
        assert alice.app.focused is alice.app.chat_list

        alice.app.keys = "hello"
        await alice.press("enter")

        assert alice.app.composer.text == "hello"


async def test_what_is_typed_while_a_conversation_is_opened_is_kept(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        for name in ("bob", "carol"):
            net.phone(name)
            await alice.go_to(name)
        to_bob = alice.app.desk.chats[1].conv
        client = SlowClient(alice.app.client)
        alice.app.client = cast("Client", client)

        opening = asyncio.create_task(alice.app.open_chat(to_bob))
        await alice.press(*"hello")
        client.may_open.set()
        await opening

        assert alice.app.composer.text == "hello"


async def test_a_change_that_is_heard_of_when_the_screen_is_gone_is_nothing(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        composer = alice.app.composer

    alice.app.on_text_area_changed(Composer.Changed(composer))
