"""Row "unread divider": set when the conversation is opened, stays until one leaves; it opens there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.tui.stage import Stage, on_stage
from whisperkit.testing.sim_phone import ChatNet, SimPhone

pytestmark = pytest.mark.anyio


async def comes_back(net: ChatNet, alice: Stage, bob: SimPhone, *, missed: int) -> None:
    """Read some, and then miss messages."""
    chat = bob.direct(alice.sim)
    await alice.go_to("bob")
    await alice.write("hello")
    for n in range(20):
        bob.send(chat, f"read {n}")
    await alice.wait(20.0)
    net.phone("carol")
    await alice.go_to("carol")
    for n in range(missed):
        bob.send(chat, f"missed {n}")
    await alice.wait(60.0)


async def test_the_divider_says_how_many_and_stays_where_it_was(net: ChatNet, tmp_path: Path) -> None:
    bob = net.phone("bob")
    async with on_stage(net, "alice", tmp_path) as alice:
        await comes_back(net, alice, bob, missed=2)
        await alice.go_to("bob")
        place = next(n for n, line in enumerate(alice.messages) if "2 unread" in line)
        assert "missed 0" in alice.messages[place + 1]

        bob.send(bob.direct(alice.sim), "one more")
        await alice.wait(5.0)

        assert sum("unread" in line for line in alice.messages) == 1
        place = next(n for n, line in enumerate(alice.messages) if "2 unread" in line)
        assert "missed 0" in alice.messages[place + 1]


async def test_a_conversation_opens_at_the_divider_with_a_little_above_it_and_u_leads_back_there(
    net: ChatNet, tmp_path: Path
) -> None:
    bob = net.phone("bob")
    async with on_stage(net, "alice", tmp_path) as alice:
        await comes_back(net, alice, bob, missed=100)
        await alice.go_to("bob")

        opened = alice.messages
        assert "100 unread" in opened[3]
        assert "read 19" in opened[2]
        assert "missed 0" in opened[4]

        await alice.press("end")
        assert "missed 99" in alice.messages[-1]
        alice.app.view.focus()
        await alice.press("u")
        assert alice.messages[:5] == opened[:5]


async def test_the_divider_is_gone_when_one_comes_back(net: ChatNet, tmp_path: Path) -> None:
    bob = net.phone("bob")
    async with on_stage(net, "alice", tmp_path) as alice:
        await comes_back(net, alice, bob, missed=2)
        await alice.go_to("bob")
        await alice.go_to("carol")
        await alice.go_to("bob")

        assert not any("unread" in line for line in alice.messages)
