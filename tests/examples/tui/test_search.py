"""Row "search": in the conversation and everywhere, hits with context, `n` and `N`, on this device only."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.tui.feed import Said
from tests.examples.tui.stage import Stage, on_stage
from whisperkit.client.content import Text
from whisperkit.testing.sim_phone import ChatNet

pytestmark = pytest.mark.anyio


def selected(alice: Stage) -> str:
    item = alice.selected
    assert isinstance(item, Said)
    assert isinstance(item.record.what, Text)
    return item.record.what.text


async def talk(net: ChatNet, alice: Stage, count: int = 10) -> None:
    bob, carol = net.phone("bob"), net.phone("carol")
    await alice.go_to("carol")
    carol.send(carol.direct(alice.sim), "the blue whale")
    await alice.wait(5.0)
    await alice.go_to("bob")
    for n in range(count):
        bob.send(bob.direct(alice.sim), f"a whale of a time {n}" if n in (3, 90) else f"nothing {n}")
    await alice.wait(60.0)


async def test_a_search_in_a_conversation_says_where_it_searches_and_goes_to_its_hits(
    net: ChatNet, tmp_path: Path
) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        await talk(net, alice, 100)  # more than is loaded at once
        await alice.press("ctrl+f", *"whale")
        assert "Find in bob: searched on this device only" in alice.screen
        assert "2 found" in alice.screen
        assert "a [whale] of a time 90" in alice.screen

        await alice.press("enter")
        assert selected(alice) == "a whale of a time 90"
        await alice.press("n")
        assert selected(alice) == "a whale of a time 3"
        assert any("a whale of a time 3" in line for line in alice.messages)
        await alice.press("N")
        assert selected(alice) == "a whale of a time 90"


async def test_a_search_everywhere_opens_the_conversation_of_the_hit(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        await talk(net, alice)
        await alice.press("ctrl+g", *"blue")
        assert "Find in all conversations: searched on this device only" in alice.screen
        await alice.press("enter")

        assert selected(alice) == "the blue whale"
        assert "carol" in alice.lines[1]


async def test_what_is_not_there_is_not_found(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        await talk(net, alice)
        await alice.press("ctrl+f", *"shark", "enter")
        assert "nothing found" in alice.screen

        await alice.press("escape")
        alice.app.view.focus()
        await alice.press("n")
        assert alice.selected is None
