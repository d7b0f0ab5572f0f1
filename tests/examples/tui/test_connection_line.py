"""Row "connection line": named states, and "live" only when the mirror has reached the head."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.tui.stage import on_stage
from whisperkit.client.events import ConnectionState
from whisperkit.testing.sim_phone import ChatNet

pytestmark = pytest.mark.anyio


async def test_live_names_the_devices_of_the_user(net: ChatNet, tmp_path: Path) -> None:
    phone = net.phone("alice")
    async with on_stage(net, "alice", tmp_path, sim=phone) as alice:
        assert alice.lines[0].rstrip().endswith("● live")
        net.linked(phone, name="alice")
        await alice.wait(700.0)  # how long a list of devices is believed
        phone.fly()
        await alice.wait(5.0)
        phone.land()
        await alice.wait(60.0)

        assert alice.lines[0].rstrip().endswith("● live · 2 devices")


async def test_offline_says_since_when_what_waits_and_when_it_is_tried_again(net: ChatNet, tmp_path: Path) -> None:
    net.phone("bob")
    async with on_stage(net, "alice", tmp_path) as alice:
        await alice.go_to("bob")
        alice.sim.fly()
        await alice.wait(30.0)
        await alice.write("one")
        await alice.write("two")

        line = alice.lines[0]
        assert "○ offline since 00:00, 2 waiting, next try " in line
        assert line.rstrip().endswith(" s")


async def test_a_connection_that_was_taken_over_says_so_and_comes_back_when_asked(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        twin = net.add(alice.sim.device)
        twin.restore(alice.sim.back_up())
        net.until(lambda: alice.sim.client.state is ConnectionState.REPLACED)
        await alice.wait(60.0)

        assert "■ replaced by another connection" in alice.lines[0]
        await alice.write("/connect")
        await alice.wait(5.0)
        assert "● live" in alice.lines[0]
