"""The terminal client before a simulated world: real clients and a real server on one clock that only a test moves.

The application runs on asyncio, the phones in a `ChatNet`. What the application asks of its client is done at once, in
simulated time; what happens there is heard by the application as soon as it gets to run.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sized
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path
from typing import Any, Final, cast

import anyio.to_thread
from textual.drivers.headless_driver import HeadlessDriver
from textual.events import Key, Resize
from textual.geometry import Size
from textual.keys import _character_to_key  # pyright: ignore[reportPrivateUsage]
from textual.screen import Screen
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

__all__ = ["CountedApp", "Stage", "SteppedBlobs", "at_rest", "on_stage", "screen_text"]

# How often the threads of the pool, which no loop knows of, are looked at.
_THREADS_S: Final = 0.001


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
    """A client of the simulated world, as one of asyncio sees it; it counts what it is asked for."""

    def __init__(self, net: ChatNet, sim: SimPhone, blobs: BlobTransfer | None) -> None:
        self.asked: Counter[str] = Counter()
        self._net = net
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

            self.asked[name] += 1
            answer = self._sim.do(do)
            self._net.wait(0.0)  # what it led to is heard of
            return answer

        return call


class _Unpainted(Screen[object]):
    """A screen that is painted when a test looks at it, and not each time that something on it changes."""

    def _compositor_refresh(self) -> None:
        self._dirty_widgets.clear()
        self._compositor._dirty_regions.clear()  # pyright: ignore[reportPrivateUsage]


class CountedApp(ChatApp):
    """Counts how often it is drawn."""

    drawn = 0

    def get_default_screen(self) -> Screen[object]:
        return _Unpainted(id="_default")

    async def draw_now(self) -> None:
        self.drawn += 1
        await super().draw_now()


class Clock:
    """What the application takes for the time: it stands still unless a test lets time pass.

    That of the simulated world goes on a little with each call of a client, so with each drawing of the screen.
    """

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


class Stage:
    """The application of one person, in front of whom the world goes on.

    Args:
        net: The world.
        app: The application.
        sim: The person's phone.
        clock: What it takes for the time.
        asked: How often it has called what of its client.
    """

    def __init__(self, net: ChatNet, app: CountedApp, sim: SimPhone, clock: Clock, asked: Counter[str]) -> None:
        self.asked = asked
        self.net = net
        self.clock = clock
        self.app = app
        self.sim = sim

    async def settle(self) -> None:
        """Let all be heard and drawn: until nothing is left to run, and the screen has nothing to refresh."""
        await at_rest()
        while self.app.is_running and _is_stale(self.app):
            self.app.screen._on_timer_update()  # pyright: ignore[reportPrivateUsage]  # a sixtieth of a second passes
            await at_rest()

    async def wait(self, seconds: float = 2.0) -> None:
        """Let time pass."""
        self.net.wait(seconds)
        self.clock.now_ms += int(seconds * 1_000)
        await self.settle()
        await self.app.tick()
        await self.settle()

    async def press(self, *keys: str) -> None:
        """Press keys, and let a moment pass."""
        assert self.app._driver is not None  # pyright: ignore[reportPrivateUsage]
        for key in keys:
            name = _character_to_key(key) if len(key) == 1 and not key.isalnum() else key
            event = Key(name, key if len(key) == 1 else " " if key == "space" else None)
            event.set_sender(self.app)
            self.app._driver.send_message(event)  # pyright: ignore[reportPrivateUsage]
            await self.settle()

    async def resize(self, width: int, height: int) -> None:
        """Give the terminal another size."""
        size = Size(width, height)
        assert isinstance(self.app._driver, HeadlessDriver)  # pyright: ignore[reportPrivateUsage]
        self.app._driver._size = size  # pyright: ignore[reportPrivateUsage]
        self.app.post_message(Resize(size, size))
        await at_rest()
        self.app._check_resize()  # pyright: ignore[reportPrivateUsage]  # which it does a moment later
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
        background = self.app.screen.styles.background
        found: set[str] = set()
        for strip in _strips(self.app):
            for one in self.app._filters:  # pyright: ignore[reportPrivateUsage]
                strip = strip.apply_filter(one, background) if one.enabled else strip
            styles = [segment.style for segment in strip if segment.style is not None]
            found.update(color.name for style in styles for color in (style.color, style.bgcolor) if color is not None)
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


async def at_rest() -> None:
    """Let the loop run until nothing is left that could run by itself: no clock of the machine decides when."""
    loop = asyncio.get_running_loop()
    ready = cast("Sized", loop._ready)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # what runs next
    threads = anyio.to_thread.current_default_thread_limiter()
    while True:
        await asyncio.sleep(0)  # behind all that is there
        if threads.borrowed_tokens:
            await asyncio.sleep(_THREADS_S)
        elif not len(ready):
            return


def _is_stale(app: ChatApp) -> bool:
    screen = app.screen
    return bool(
        screen._layout_required  # pyright: ignore[reportPrivateUsage]
        or screen._scroll_required  # pyright: ignore[reportPrivateUsage]
        or screen._repaint_required  # pyright: ignore[reportPrivateUsage]
        or screen._recompose_required  # pyright: ignore[reportPrivateUsage]
        or screen._dirty_widgets  # pyright: ignore[reportPrivateUsage]
        or screen._callbacks  # pyright: ignore[reportPrivateUsage]
    )


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
    kind: type[CountedApp] = CountedApp,
) -> AsyncGenerator[Stage]:
    """Open the application for somebody."""
    sim = sim or net.phone(name)
    bridge = _Bridge(net, sim, blobs)
    clock = Clock(sim.runtime.wall_ms())
    client = cast("Client", bridge)
    names = Names(name, sim.store)
    run_now(names.load())
    with SearchIndex() as index:
        carrier = blobs or HttpBlobs("http://127.0.0.1:9", sim.device)
        phone = Phone(client, carrier, index, sim.store)
        app = kind(
            phone,
            names,
            folder=folder,
            spools=folder / "outgoing",
            wall_ms=clock,
            settings=settings,
            glyphs=glyphs,
            zone=UTC,
            ticks_itself=False,
            has_no_color=has_no_color,
        )
        app.animation_level = "none"
        stage = Stage(net, app, sim, clock, bridge.asked)
        async with app.run_test(size=size, notifications=True):
            await app.desk.hear(ConnectionChanged(sim.client.state))  # it was said before the application was there
            await stage.settle()
            yield stage
        await carrier.close()
