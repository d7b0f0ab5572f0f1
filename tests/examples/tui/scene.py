"""One scene for pictures: a talk with all that can be in it, the same each time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from examples.tui.glyphs import GLYPHS, Glyphs
from examples.tui.settings import Settings
from tests.examples.tui.stage import Stage, on_stage
from whisperkit.testing.sim_phone import ChatNet

__all__ = ["at_the_airport"]


@asynccontextmanager
async def at_the_airport(
    net: ChatNet,
    folder: Path,
    *,
    size: tuple[int, int],
    theme: str = "dark",
    has_no_color: bool = False,
    glyphs: Glyphs = GLYPHS,
) -> AsyncGenerator[Stage]:
    """Alice talks to Bob, was put out of a group, and has lost the network."""
    bob, carol, phone = net.phone("bob"), net.phone("carol"), net.phone("alice")
    club = bob.group(carol, phone)
    net.until(lambda: bool(phone.records(club)))
    settings = Settings(theme=theme)
    async with on_stage(
        net, "alice", folder, sim=phone, size=size, settings=settings, has_no_color=has_no_color, glyphs=glyphs
    ) as alice:
        for name in ("carol", "bob"):
            await alice.go_to(name)
        chat = bob.direct(phone)
        await alice.app.open_chat(club)
        phone.fly()
        net.wait(2.0)
        bob.do(lambda client: client.change_members(club, removed=[phone.device.user]))
        await alice.write("see you at the wall")
        phone.land()
        net.until(lambda: phone.is_live)
        await alice.wait(60.0)
        await alice.go_to("bob")
        bob.send(chat, "are you there?")
        await alice.wait(10.0)
        await alice.write("boarding now, the queue is long and slow, I will write again as soon as I sit")
        net.until(lambda: any("boarding" in text for text in bob.texts(chat)))
        bob.do(lambda client: client.mark_read(chat, 99))
        await alice.wait(10.0)
        await alice.press("ctrl+s", "v", "escape")
        await alice.go_to("carol")
        bob.send(chat, "landed!")
        bob.send(chat, "where are you?")
        carol.send(carol.direct(phone), "call me")
        await alice.wait(20.0)
        await alice.app.action_back()
        await alice.go_to("bob")
        bob.client.set_typing(chat)
        await alice.wait(1.0)
        phone.fly()
        await alice.wait(10.0)
        await alice.write("at the gate")
        alice.app.composer.put("and now")
        alice.app.clear_notifications()
        await alice.settle()
        yield alice
