"""Row "scrolling": an own message goes to the bottom, that of others moves nothing, and at the bottom it follows."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.examples.tui.stage import Stage, on_stage
from whisperkit.testing.sim_phone import ChatNet, SimPhone

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def long_talk(net: ChatNet, folder: Path, count: int = 40) -> AsyncGenerator[tuple[Stage, SimPhone]]:
    bob = net.phone("bob")
    async with on_stage(net, "alice", folder) as alice:
        await alice.go_to("bob")
        await alice.write("hello")
        for n in range(count):
            bob.send(bob.direct(alice.sim), f"line {n}")
        await alice.wait(30.0)
        yield alice, bob


async def test_at_the_bottom_the_view_follows_and_stays_there_in_a_window_of_another_size(
    net: ChatNet, tmp_path: Path
) -> None:
    async with long_talk(net, tmp_path) as (alice, _):
        assert "line 39" in alice.messages[-1]

        await alice.resize(60, 15)
        assert "line 39" in alice.messages[-1]


async def test_what_others_write_moves_nothing_and_is_counted(net: ChatNet, tmp_path: Path) -> None:
    async with long_talk(net, tmp_path) as (alice, bob):
        await alice.press("pageup")
        before = alice.messages
        for n in range(3):
            bob.send(bob.direct(alice.sim), f"new {n}")
        await alice.wait(5.0)

        assert alice.messages[: len(before) - 1] == before[:-1]  # the last line made room for what is told
        assert "↓ 3 new  (End)" in alice.screen

        await alice.press("end")
        assert "new 2" in alice.messages[-1]
        assert "new  (End)" not in alice.screen


async def test_an_own_message_goes_to_the_bottom(net: ChatNet, tmp_path: Path) -> None:
    async with long_talk(net, tmp_path) as (alice, _):
        await alice.press("pageup", "pageup")
        await alice.write("back here")

        assert "back here" in alice.messages[-1]


async def test_what_was_before_is_loaded_at_the_top_and_the_view_stays(net: ChatNet, tmp_path: Path) -> None:
    bob, phone = net.phone("bob"), net.phone("alice")
    chat = bob.direct(phone)
    for n in range(200):
        bob.send(chat, f"line {n}")
    net.until(lambda: len(phone.texts(chat)) == 200)
    phone.do(lambda client: client.mark_read(chat, 999))
    async with on_stage(net, "alice", tmp_path, sim=phone) as alice:
        await alice.go_to("bob")
        alice.app.view.focus()
        await alice.press("home")
        top = next(line for line in alice.messages if "line " in line)
        assert "line 0" not in alice.screen

        for _ in range(5):
            await alice.press("home")

        assert top not in alice.messages
        assert any(line.endswith("line 0") for line in alice.messages)
