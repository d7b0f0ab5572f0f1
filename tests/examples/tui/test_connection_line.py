"""Row "connection line": named states, and "live" only when the mirror has reached the head."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples.tui.stage import on_stage
from whisperkit.client.events import ConnectionState, Event
from whisperkit.receipts import MessageStatus
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


async def test_catching_up_says_how_far_and_is_not_called_live(net: ChatNet, tmp_path: Path) -> None:
    bob, phone = net.phone("bob"), net.phone("alice")
    chat = bob.direct(phone)
    bob.send(chat, "first")
    net.wait(5.0)
    phone.fly()
    net.wait(2.0)
    sent = [bob.send(chat, f"{n}") for n in range(300)]  # more than a window holds
    net.until(lambda: bob.status(chat, sent[-1]) is MessageStatus.SENT)
    async with on_stage(net, "alice", tmp_path, sim=phone) as alice:
        phone.land()
        seen: list[str] = []
        alice.app.drawn = 0
        while not phone.is_live:
            net.wait(0.1)
            await alice.settle()
            seen.append(alice.app.desk.connection())
            assert seen[-1] in alice.lines[0]
        await alice.wait()

        assert any(re.fullmatch(r"◐ catching up \d+ of 30\d", line) for line in seen), set(seen)
        assert not any("live" in line for line in seen[:-1])
        assert "● live" in alice.lines[0]


async def test_live_is_not_said_before_all_has_come(net: ChatNet, tmp_path: Path) -> None:
    bob, phone = net.phone("bob"), net.phone("alice")
    chat = bob.direct(phone)
    async with on_stage(net, "alice", tmp_path, sim=phone) as alice:
        phone.fly()
        await alice.wait(5.0)
        for n in range(20):
            bob.send(chat, f"{n}")
        net.wait(10.0)
        told = alice.app.desk.on_event
        at_live: list[int] = []

        async def look(event: Event) -> None:
            assert told is not None
            await told(event)
            if alice.app.desk.connection().startswith("● live"):
                at_live.append(len(phone.texts(chat)))

        alice.app.desk.on_event = look
        phone.land()
        await alice.wait(60.0)

        assert at_live
        assert min(at_live) == 20


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
