"""Row "ticks in a terminal": at the right edge, by shape and weight; `i` lists who has it and who has read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.tui.glyphs import ASCII
from tests.examples.tui.stage import on_stage
from whisperkit.testing.sim_phone import ChatNet

pytestmark = pytest.mark.anyio


async def test_each_state_has_a_mark_of_its_own_shape_at_the_right_edge(net: ChatNet, tmp_path: Path) -> None:
    bob = net.phone("bob")
    async with on_stage(net, "alice", tmp_path) as alice:
        chat = bob.direct(alice.sim)
        await alice.go_to("bob")
        await alice.write("one")
        width = len(alice.line_with("one"))
        net.until(lambda: bob.texts(chat) == ["one"])
        bob.do(lambda client: client.mark_read(chat, 99))
        await alice.wait(10.0)
        bob.fly()
        await alice.wait(10.0)
        await alice.write("two")
        alice.sim.fly()
        net.wait(2.0)
        await alice.write("three")
        await alice.wait(5.0)

        marks = [alice.line_with(text).split()[-1] for text in ("one", "two", "three")]
        assert marks == ["✔✔", "✓", "◷"]
        assert {len(alice.line_with(text)) for text in ("one", "two", "three")} == {width}


async def test_a_read_mark_has_another_weight_and_not_only_another_colour(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        styles = {
            name: alice.app.view.get_component_rich_style(f"message--{name}", partial=True) for name in ("read", "dim")
        }

        assert styles["read"].bold
        assert not styles["dim"].bold


async def test_a_terminal_with_ascii_only_has_marks_of_ascii(net: ChatNet, tmp_path: Path) -> None:
    bob = net.phone("bob")
    async with on_stage(net, "alice", tmp_path, glyphs=ASCII) as alice:
        chat = bob.direct(alice.sim)
        await alice.go_to("bob")
        await alice.write("one")
        net.until(lambda: bob.texts(chat) == ["one"])
        bob.do(lambda client: client.mark_read(chat, 99))
        await alice.wait(10.0)

        assert alice.line_with("one").endswith(" VV")
        assert all(line.isascii() for line in alice.messages)


async def test_i_lists_who_has_a_message_and_who_has_read_it(net: ChatNet, tmp_path: Path) -> None:
    bob, carol = net.phone("bob"), net.phone("carol")
    async with on_stage(net, "alice", tmp_path) as alice:
        for name in ("bob", "carol"):
            await alice.go_to(name)
        await alice.write("/group bob carol")
        await alice.wait(10.0)
        carol.fly()
        net.wait(2.0)
        await alice.write("who has it?")
        group = next(line.conv for line in alice.app.desk.chats if line.title.startswith("#"))
        net.until(lambda: bob.texts(group) == ["who has it?"])
        bob.do(lambda client: client.mark_read(group, 99))
        await alice.wait(20.0)
        assert alice.line_with("who has it?").endswith("✓ 1/2")

        alice.app.view.focus()
        await alice.press("up", "i")

        assert "read by: bob" in alice.screen
        assert "not yet at: carol" in alice.screen
        assert [line.strip(" │║┃") for line in alice.lines if "written" in line] == ["written 00:00"]

        await alice.press("escape")
        alice.clock.now_ms += 2 * 86_400_000
        await alice.press("i")
        assert any("written Thu 00:0" in line for line in alice.lines)
