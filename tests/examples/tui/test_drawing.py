"""How often the screen is drawn, and what the device is asked for by that: counted, because it is felt as slowness."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.tui.stage import CountedApp, Stage, on_stage
from whisperkit.client.events import Event
from whisperkit.testing.sim_phone import ChatNet, SimPhone

pytestmark = pytest.mark.anyio

COUNT = 150
# Of each hundred: one to show them, and one because they have been read then; and one because others heard of that.
MOST = 2 * (COUNT // 100 + 1) + 1


class DrawsEachTime(CountedApp):
    """Does not wait for what else has happened."""

    async def _hear(self, event: Event) -> None:
        await super()._hear(event)
        await self.draw_now()


async def burst(net: ChatNet, folder: Path, kind: type[CountedApp]) -> tuple[int, int]:
    """Let many messages come at once; returns how often that was drawn, and how often the device was asked."""
    bob = net.phone("bob")
    async with on_stage(net, "alice", folder, kind=kind) as alice:
        chat = bob.direct(alice.sim)
        await alice.go_to("bob")
        await alice.write("hello")
        for n in range(COUNT):
            bob.send(chat, f"{n}")
        net.wait(60.0)
        alice.app.drawn = 0
        alice.asked.clear()
        await alice.settle()

        assert f"{COUNT - 1}" in alice.messages[-1]
        return alice.app.drawn, alice.asked.total()


async def test_what_comes_at_once_is_drawn_a_few_times_and_the_device_is_asked_little(
    net: ChatNet, tmp_path: Path
) -> None:
    drawn, asked = await burst(net, tmp_path, CountedApp)

    assert 1 <= drawn <= MOST
    assert asked <= 4 * drawn


async def test_drawing_with_each_event_is_found_by_these_counts(net: ChatNet, tmp_path: Path) -> None:
    drawn, _ = await burst(net, tmp_path, DrawsEachTime)

    assert drawn > MOST


async def own_messages(net: ChatNet, alice: Stage) -> SimPhone:
    bob = net.phone("bob")
    await alice.go_to("bob")
    assert alice.app.room is not None
    for n in range(80):
        alice.sim.send(alice.app.room.conv, f"line {n}")
    await alice.wait(30.0)
    return bob


async def test_only_of_messages_in_view_it_is_asked_how_far_they_have_come(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        bob = await own_messages(net, alice)
        alice.asked.clear()
        bob.do(lambda client: client.mark_read(bob.direct(alice.sim), 99))
        await alice.wait(10.0)

        height = alice.app.view.size.height
        assert all(line.endswith("✔✔") for line in alice.messages if "line" in line)
        assert alice.asked["tally"] <= height + 1

        await alice.press("pageup", "pageup")
        assert all(line.endswith("✔✔") for line in alice.messages if "line" in line)
        assert alice.asked["tally"] <= 3 * height + 1


async def test_a_second_that_passes_asks_the_device_for_nothing(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        await own_messages(net, alice)
        alice.app.drawn = 0
        alice.asked.clear()

        await alice.wait(1.0)

        assert alice.app.drawn == 0
        assert alice.asked.total() == 0
