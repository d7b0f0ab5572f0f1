"""The terminal client before a simulated world: real clients and a real server on one clock that only a test moves.

The application runs on asyncio, the phones in a `ChatNet`. What the application asks of its client is done at once, in
simulated time; what happens there is heard by the application as soon as it gets to run.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path
from typing import Any, cast

from textual.pilot import Pilot
from textual.strip import Strip

from examples.chat.names import Names
from examples.device import HttpBlobs, Phone
from examples.device_search import SearchIndex
from examples.tui.app import ChatApp
from examples.tui.feed import Item
from examples.tui.glyphs import GLYPHS, Glyphs
from examples.tui.settings import Settings
from whisperkit.anyio_runtime import AnyioRuntime
from whisperkit.client import Client
from whisperkit.client.blobs import BlobTransfer, ReadAt, Uploads
from whisperkit.client.events import ConnectionChanged
from whisperkit.client.standing import Listener
from whisperkit.errors import LinkClosedError
from whisperkit.ids import BlobId, DeviceId
from whisperkit.testing.sim_phone import ChatNet, SimPhone
from whisperkit.testing.sim_runtime import run_now

__all__ = ["Stage", "SteppedBlobs", "on_stage", "screen_text"]


class SteppedBlobs(HttpBlobs):
    """A carrier that moves only as far as a test lets it."""

    def __init__(self, device: DeviceId) -> None:
        super().__init__("http://127.0.0.1:9", device)
        self.kept: dict[BlobId, bytes] = {}
        self.is_away = False
        self._may_move = asyncio.Event()
        self._upto = 0.0

    def let_move(self, part: float) -> None:
        """Let so much of a file move."""
        self._upto = part
        self._may_move.set()

    async def put(self, blob: BlobId, size: int, read_at: ReadAt) -> None:
        while len(self.kept.get(blob, b"")) < size:
            if self.is_away:
                raise LinkClosedError(reason="LOST", retry_after_s=None)
            there = self.kept.get(blob, b"")
            wanted = int(self._upto * size)
            if wanted <= len(there):
                self._may_move.clear()
                await self._may_move.wait()
                continue
            self.kept[blob] = there + await read_at(len(there), wanted - len(there))
            self.moved(len(self.kept[blob]))

    async def get(self, blob: BlobId) -> AsyncIterator[bytes]:
        yield self.kept[blob]

    async def keep(self, blob: BlobId, *, until_ms: int) -> None:
        pass


class _Bridge:
    """A client of the simulated world, as one of asyncio sees it."""

    def __init__(self, sim: SimPhone, blobs: BlobTransfer | None) -> None:
        self._sim = sim
        self.uploads = Uploads(blobs, AnyioRuntime())
        self.listeners: list[Listener] = []

    def events(self) -> Listener:
        heard = Listener(AnyioRuntime().mailbox())
        self.listeners.append(heard)
        source = self._sim.client.events()

        async def listen() -> None:
            async for event in source:
                heard.put(event)

        self._sim.runtime.spawn(listen, name="bridge")
        return heard

    def __getattr__(self, name: str) -> Any:  # Any: whatever the client has by that name
        found = getattr(self._sim.client, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*arguments: object, **named: object) -> object:
            async def do(client: Client) -> object:
                method: Callable[..., Awaitable[object]] = getattr(client, name)
                return await method(*arguments, **named)

            return self._sim.do(do)

        return call


class Stage:
    """The application of one person, in front of whom the world goes on.

    Args:
        net: The world.
        app: The application.
        sim: The person's phone.
        is_heard: Whether the application has heard of all that happened.
    """

    def __init__(self, net: ChatNet, app: ChatApp, sim: SimPhone, is_heard: Callable[[], bool]) -> None:
        self.net = net
        self._is_heard = is_heard
        self.app = app
        self.sim = sim
        self.pilot: Pilot[int] = cast("Pilot[int]", None)  # there once it runs

    async def settle(self) -> None:
        """Let all be heard and drawn."""
        quiet = 0
        while quiet < 2:
            await self.pilot.pause()
            quiet = quiet + 1 if self._is_heard() and self.app.is_drawn else 0

    async def wait(self, seconds: float = 2.0) -> None:
        """Let time pass."""
        self.net.wait(seconds)
        await self.settle()
        await self.app.tick()
        await self.settle()

    async def press(self, *keys: str) -> None:
        """Press keys, and let a moment pass."""
        await self.pilot.press(*keys)
        await self.settle()

    async def write(self, text: str) -> None:
        """Write a line and send it; a moment passes."""
        self.app.composer.focus()
        self.app.composer.put(text)
        await self.press("enter")
        await self.wait()

    async def go_to(self, name: str) -> None:
        """Open the conversation with somebody."""
        await self.write(f"/to {name}")

    # ---- what is seen ----

    @property
    def lines(self) -> list[str]:
        """All lines on the screen."""
        return screen_text(self.app)

    @property
    def screen(self) -> str:
        """The whole screen."""
        return "\n".join(self.lines)

    def colors(self) -> set[str]:
        """The colours that are sent to the terminal, beside its own."""
        found = {
            color.name
            for strip in _strips(self.app)
            for segment in strip.apply_filter(self.app._filters[-1], self.app.screen.styles.background)  # pyright: ignore[reportPrivateUsage]
            if segment.style is not None
            for color in (segment.style.color, segment.style.bgcolor)
            if color is not None
        }
        return found - {"default"}

    @property
    def messages(self) -> list[str]:
        """The lines of the messages in view."""
        return [line.rstrip() for line in self.app.view.text()]

    @property
    def selected(self) -> Item | None:
        return self.app.view.selected

    def line_with(self, text: str) -> str:
        """The only line of the messages with some text."""
        (found,) = [line for line in self.messages if text in line]
        return found


def screen_text(app: ChatApp) -> list[str]:
    """What is on the screen, as text."""
    return ["".join(segment.text for segment in strip).ljust(app.size.width) for strip in _strips(app)]


def _strips(app: ChatApp) -> list[Strip]:
    return app.screen._compositor.render_strips()[: app.size.height]  # pyright: ignore[reportPrivateUsage]


@asynccontextmanager
async def on_stage(
    net: ChatNet,
    name: str,
    folder: Path,
    *,
    sim: SimPhone | None = None,
    size: tuple[int, int] = (100, 30),
    settings: Settings | None = None,
    glyphs: Glyphs = GLYPHS,
    blobs: SteppedBlobs | None = None,
    has_no_color: bool = False,
) -> AsyncGenerator[Stage]:
    """Open the application for somebody."""
    sim = sim or net.phone(name)
    bridge = _Bridge(sim, blobs)
    client = cast("Client", bridge)
    names = Names(name, sim.store)
    run_now(names.load())
    with SearchIndex() as index:
        carrier = blobs or HttpBlobs("http://127.0.0.1:9", sim.device)
        phone = Phone(client, carrier, index, sim.store)
        app = ChatApp(
            phone,
            names,
            folder=folder,
            spools=folder / "outgoing",
            wall_ms=sim.runtime.wall_ms,
            settings=settings,
            glyphs=glyphs,
            zone=UTC,
            ticks_itself=False,
            has_no_color=has_no_color,
        )
        app.animation_level = "none"
        stage = Stage(net, app, sim, lambda: not any(map(len, bridge.listeners[:1])))
        async with app.run_test(size=size, notifications=True) as stage.pilot:
            await app.desk.hear(ConnectionChanged(sim.client.state))  # it was said before the application was there
            await stage.settle()
            yield stage
        await carrier.close()
