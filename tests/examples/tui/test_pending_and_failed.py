"""Row "pending and failed": dimmed until it is on the server; what failed is loud, and can be sent again or deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.tui.feed import Role, Said
from tests.examples.tui.stage import Stage, on_stage
from whisperkit.testing.sim_phone import ChatNet, SimPhone

pytestmark = pytest.mark.anyio


async def removed(net: ChatNet, alice: Stage, bob: SimPhone) -> None:
    """Let somebody write to a group that they were put out of."""
    group = bob.group(alice.sim)
    net.until(lambda: bool(alice.sim.records(group)))
    await alice.wait()
    await alice.app.open_chat(group)
    await alice.settle()
    alice.sim.fly()
    net.wait(2.0)
    bob.do(lambda client: client.change_members(group, removed=[alice.sim.device.user]))
    await alice.write("see you")
    alice.sim.land()
    await alice.wait(60.0)


async def test_what_waits_is_dimmed_and_goes_out_by_itself_in_order(net: ChatNet, tmp_path: Path) -> None:
    bob = net.phone("bob")
    async with on_stage(net, "alice", tmp_path) as alice:
        await alice.go_to("bob")
        alice.sim.fly()
        await alice.wait()
        for n in range(3):
            await alice.write(f"waits {n}")

        assert [line.endswith(" ◷") for line in alice.messages if "waits" in line] == [True] * 3
        items = alice.app.feed.items(alice.app.room, is_group=False) if alice.app.room else []
        assert all(item.role is Role.DIM for item in items if isinstance(item, Said))

        alice.sim.land()
        await alice.wait(60.0)

        assert not any("◷" in line for line in alice.messages)
        assert bob.texts(bob.direct(alice.sim)) == ["waits 0", "waits 1", "waits 2"]


async def test_what_failed_is_told_in_the_message_in_the_list_and_below_it(net: ChatNet, tmp_path: Path) -> None:
    bob = net.phone("bob")
    async with on_stage(net, "alice", tmp_path) as alice:
        await removed(net, alice, bob)

        assert "✗ not sent: " in alice.line_with("see you")
        assert alice.line_with("r retry").strip() == "r retry · c copy · Del delete"
        assert "✗" in alice.lines[2]
        assert "not sent: see you" in alice.lines[3]
        assert "1 chat · 1 not sent" in alice.lines[-1]


async def test_what_failed_is_sent_again_in_the_place_of_what_failed(net: ChatNet, tmp_path: Path) -> None:
    bob = net.phone("bob")
    async with on_stage(net, "alice", tmp_path) as alice:
        await removed(net, alice, bob)
        group = alice.sim.do(lambda client: client.chats())[0].conv
        bob.do(lambda client: client.change_members(group, added=[alice.sim.device.user]))
        await alice.wait(20.0)

        await alice.press("tab")
        alice.app.view.focus()
        await alice.press("up", "r")
        await alice.wait(20.0)

        assert [line for line in alice.messages if "not sent" in line] == []
        assert alice.line_with("see you").endswith("✓✓")
        assert bob.texts(group) == ["see you"]


async def test_what_failed_is_thrown_away_and_what_was_sent_is_not(net: ChatNet, tmp_path: Path) -> None:
    bob = net.phone("bob")
    async with on_stage(net, "alice", tmp_path) as alice:
        await removed(net, alice, bob)
        alice.app.view.focus()
        await alice.press("up", "delete")
        await alice.wait()

        assert not any("see you" in line for line in alice.messages)
        assert "not sent" not in alice.screen

        await alice.go_to("bob")
        await alice.write("stays")
        alice.app.view.focus()
        await alice.press("up", "delete")
        assert "stays" in alice.screen


async def test_up_in_an_empty_line_brings_back_what_was_not_sent(net: ChatNet, tmp_path: Path) -> None:
    net.phone("bob")
    async with on_stage(net, "alice", tmp_path) as alice:
        await alice.go_to("bob")
        await alice.press(*"half", "escape")
        assert alice.app.composer.text == ""

        await alice.press("up")

        assert alice.app.composer.text == "half"
