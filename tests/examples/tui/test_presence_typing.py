"""Row "presence, typing": online, last seen; typing ends after five seconds, with the message and the connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.tui.stage import Stage, on_stage
from whisperkit.sync import frames
from whisperkit.testing.sim_phone import ChatNet, SimPhone

pytestmark = pytest.mark.anyio


def title(alice: Stage) -> str:
    return alice.lines[1]


async def types(alice: Stage, bob: SimPhone) -> None:
    bob.client.set_typing(bob.direct(alice.sim))
    await alice.wait(1.0)


async def meet(net: ChatNet, alice: Stage) -> SimPhone:
    bob = net.phone("bob")
    await alice.go_to("bob")
    await alice.write("hello")
    await alice.wait(5.0)
    return bob


async def test_somebody_is_online_and_then_was_last_seen(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        bob = await meet(net, alice)
        assert "bob  ● online" in title(alice)

        bob.fly()
        await alice.wait(120.0)
        assert "last seen today 00:0" in title(alice)

        alice.clock.now_ms += 2 * 86_400_000
        await alice.wait(1.0)
        assert "last seen 1 January" in title(alice)


async def test_typing_ends_after_five_seconds(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        bob = await meet(net, alice)
        await types(alice, bob)
        assert "typing …" in title(alice)

        await alice.wait(5.0)

        assert "typing" not in title(alice)


async def test_typing_ends_with_the_message(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        bob = await meet(net, alice)
        await types(alice, bob)
        bob.send(bob.direct(alice.sim), "here it is")
        await alice.wait(2.0)

        assert "here it is" in alice.screen
        assert "typing" not in title(alice)


async def test_typing_does_not_stay_when_the_connection_goes(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        bob = await meet(net, alice)
        await types(alice, bob)
        alice.sim.fly()
        await alice.wait(1.0)

        assert "typing" not in title(alice)


async def test_the_others_hear_of_typing_now_and_then_and_not_of_commands(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        await meet(net, alice)
        alice.sim.said.clear()
        await alice.press(*"/who")
        net.wait(1.0)
        assert not any(isinstance(frame, frames.Typing) for frame in alice.sim.said)

        alice.app.composer.put("")
        await alice.press(*"hello there")
        net.wait(1.0)

        assert sum(isinstance(frame, frames.Typing) for frame in alice.sim.said) == 1
        assert "typing" not in alice.screen
