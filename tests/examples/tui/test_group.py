"""Row "group": to how many a message came, in numbers where there are many; members who come and go are lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input

from examples.tui.item_actions import how_far_in_words
from tests.examples.tui.stage import Stage, on_stage
from tests.examples.tui.test_layout import RECORD
from whisperkit.client.reading import Reached
from whisperkit.ids import UserId
from whisperkit.testing.sim_phone import ChatNet, SimPhone

pytestmark = pytest.mark.anyio


async def club(net: ChatNet, alice: Stage) -> tuple[SimPhone, SimPhone]:
    bob, carol = net.phone("bob"), net.phone("carol")
    await alice.write("/group bob carol")
    await alice.wait(10.0)
    return bob, carol


async def test_a_message_says_at_how_many_it_is_until_it_is_at_all(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        _, carol = await club(net, alice)
        carol.fly()
        net.wait(2.0)
        await alice.write("on Saturday?")
        await alice.wait(20.0)
        assert alice.line_with("on Saturday?").endswith("✓ 1/2")

        carol.land()
        await alice.wait(90.0)
        assert alice.line_with("on Saturday?").endswith("✓✓")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (200, ["read by: ", "delivered to: ", "not yet at: ", "Who has it"]),
        (201, ["delivered to 100 of 201, read by 50"]),
        (0, ["sent; in a group of this size nobody is asked who has it"]),
    ],
)
def test_names_are_listed_of_up_to_200_members_numbers_above_and_nothing_of_a_mega_group(
    members: int, words: list[str]
) -> None:
    users = [UserId.named(f"user{n}") for n in range(members)]
    reached = Reached(frozenset(users), frozenset(users[:100]), frozenset(users[:50]))

    said = how_far_in_words(RECORD, reached, lambda user: user[:4])

    assert [line.startswith(start) for line, start in zip(said, words, strict=True)] == [True] * len(words)


async def test_the_title_says_how_many_are_here_and_who_types(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        bob, _ = await club(net, alice)
        assert "bob, carol  3 people" in alice.lines[1]

        bob.client.set_typing(alice.app.desk.chats[0].conv)
        await alice.wait(1.0)
        assert "bob typing …" in alice.lines[1]


async def test_members_who_come_and_go_are_lines(net: ChatNet, tmp_path: Path) -> None:
    net.phone("dave")
    async with on_stage(net, "alice", tmp_path) as alice:
        await club(net, alice)
        await alice.press("f2")
        assert "Who is here: 3" in alice.screen
        await alice.press("a")
        alice.app.screen.query_one("#added", Input).value = "dave"
        await alice.press("enter")
        await alice.wait(10.0)
        await alice.press("f2", "delete")
        assert "Del again removes bob" in alice.screen
        await alice.press("delete")
        await alice.wait(10.0)

        assert any(line.strip() == "you added dave" for line in alice.messages)
        assert any(line.strip() == "you removed bob" for line in alice.messages)


async def test_a_group_that_was_left_says_so(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        await club(net, alice)
        await alice.press("f2", "l", "l")
        await alice.wait(20.0)

        assert "left" in alice.lines[2]


async def test_somebody_in_a_group_can_be_written_to_alone(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        await club(net, alice)
        await alice.press("f2", "down", "enter")
        await alice.wait()

        assert alice.lines[1].count("carol") == 1
        assert "people" not in alice.lines[1]
