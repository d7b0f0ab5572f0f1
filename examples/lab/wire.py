"""The line between a phone and the server: a proxy on loopback that reads the frames and lets `Fates` decide.

Each direction is a lane: what leaves first arrives first, unless its fate is to be late. A frame that is lost, doubled
or late is so on a connection that stands, as no TCP does it: what the phones and the server make of that is what the
lab is there to show. Attachments go by a road of their own, over plain HTTP, which can be slow and can be cut.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from examples.lab.fates import Fate, Fates, name_of
from examples.net.websocket_link import connect
from examples.net.websocket_server import Channel, WebSocketServer
from whisperkit.errors import PeerError, TransportError
from whisperkit.sync.codec import decode
from whisperkit.sync.frames import Direction, Frame
from whisperkit.transport import Link

__all__ = ["Carried", "Observe", "Queue", "Wire"]

# How much later than all others a late frame comes.
LATE_S: Final = 0.6
_CHUNK_BYTES: Final = 32 * 1024
# A slow road takes so long for a chunk: about 300 KB a second.
_CHUNK_S: Final = 0.1
_UP, _DOWN = Direction.TO_SERVER, Direction.TO_CLIENT


class Carried(NamedTuple):
    """A message of the transport on its way.

    Attributes:
        number: Which one, over both phones.
        phone: Whose.
        way: ``up`` to the server, or ``down`` from it.
        name: Of the frames in it.
        size: In bytes.
        fate: What becomes of it; `None` while it waits for a person.
    """

    number: int
    phone: int
    way: str
    name: str
    size: int
    fate: Fate | None


Observe = Callable[[Carried], None]
"""Told of each message when it leaves, and again when one that waited goes on."""


class Queue:
    """What waits for a person, of both phones, in the order in which it left."""

    def __init__(self) -> None:
        self._number = 0
        self._waiting: deque[tuple[_Lane, Callable[[], None]]] = deque()

    def next_number(self) -> int:
        """The number of a message."""
        self._number += 1
        return self._number

    def wait(self, lane: _Lane, go: Callable[[], None]) -> None:
        """Let something wait, and what is behind it in its lane."""
        self._waiting.append((lane, go))

    def holds(self, lane: _Lane) -> bool:
        """Whether something of a lane waits."""
        return any(one is lane for one, _ in self._waiting)

    def step(self) -> bool:
        """Let the first one go; false if there is none."""
        if not self._waiting:
            return False
        self._waiting.popleft()[1]()
        return True

    def release(self) -> None:
        """Let all go."""
        while self.step():
            pass

    def forget(self, lane: _Lane) -> None:
        """A connection is gone, and what waited on it."""
        self._waiting = deque(one for one in self._waiting if one[0] is not lane)


class _Lane:
    """One direction of one connection."""

    def __init__(self, passage: _Passage, way: str, deliver: Callable[[bytes], None]) -> None:
        self._wire = passage.wire
        self._way = way
        self._deliver = deliver
        self._arrives_at = 0.0
        self._timers: set[asyncio.TimerHandle] = set()
        self._waiting: dict[int, Carried] = {}
        self._loop = asyncio.get_running_loop()

    def send(self, data: bytes) -> None:
        """Something leaves."""
        wire = self._wire
        carried = _read(data, self._way)
        message = Carried(wire.queue.next_number(), wire.phone, self._way, name_of(carried), len(data), None)
        if wire.fates.waits(carried) or wire.queue.holds(self):
            self._waiting[message.number] = message
            wire.observe(message)
            wire.queue.wait(self, lambda: self._go(message, carried, data))
        else:
            self._go(message, carried, data)

    def _go(self, message: Carried, carried: Sequence[Frame], data: bytes) -> None:
        self._waiting.pop(message.number, None)
        fate = self._wire.fates.decide(self._wire.phone, self._way, carried)
        self._wire.observe(message._replace(fate=fate))
        match fate:
            case Fate.LOST:
                pass
            case Fate.LATE:
                self._at(self._loop.time() + self._wire.fates.latency_s + LATE_S, lambda: self._deliver(data))
            case Fate.PASSED:
                self.behind(lambda: self._deliver(data))
            case Fate.DOUBLED:
                self.behind(lambda: self._deliver(data))
                self.behind(lambda: self._deliver(data))

    def behind(self, arrive: Callable[[], None]) -> None:
        """Let something arrive behind all that left before it."""
        self._arrives_at = max(self._loop.time() + self._wire.fates.latency_s, self._arrives_at)
        self._at(self._arrives_at, arrive)

    def _at(self, when: float, arrive: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            arrive()

        timer = self._loop.call_at(when, run)
        self._timers.add(timer)

    def cut(self) -> None:
        """What is on its way is lost."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._wire.queue.forget(self)
        for message in self._waiting.values():
            self._wire.observe(message._replace(fate=Fate.LOST))
        self._waiting.clear()


def _read(data: bytes, way: str) -> list[Frame]:
    try:
        return decode(data, direction=_UP if way == "up" else _DOWN)
    except PeerError:
        return []  # whatever it is, it is the other end that says so


class _Passage:
    """One connection of the phone, and its other half to the server."""

    def __init__(self, wire: Wire, channel: Channel) -> None:
        self.wire = wire
        self._channel = channel
        self._out: asyncio.Queue[bytes] = asyncio.Queue()
        self._up = _Lane(self, "up", self._out.put_nowait)
        self._down = _Lane(self, "down", channel.send)
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            link = await connect(self.wire.server())()
        except TransportError:
            self._channel.close(1013, "the server cannot be reached")
            return
        writer = asyncio.create_task(self._write(link))
        try:
            while True:
                self._down.send(await link.receive())
        except TransportError:
            self._down.behind(lambda: self._channel.close(1012, "the server is gone"))
        finally:
            writer.cancel()
            await link.close()

    async def _write(self, link: Link) -> None:
        with suppress(TransportError):  # the reader hears of it, too
            while True:
                await link.send(await self._out.get())

    # ---- the phone's end ----

    def receive(self, data: bytes | str) -> None:
        """See `Receiver.receive`."""
        self._up.send(data.encode() if isinstance(data, str) else data)

    def paused(self) -> None:
        """Windows bound what is on its way."""

    def drained(self) -> None:
        """See `paused`."""

    def closed(self) -> None:
        """The phone is gone."""
        self._up.cut()
        self._down.cut()
        self._task.cancel()
        self.wire.ended(self)


class Wire:
    """What a phone is connected to.

    Args:
        phone: Its number.
        fates: Of the frames.
        queue: What waits for a person.
        server: Where the server is now, ``ws://...``.
        observe: Told of all that leaves.

    Attributes:
        url: Where the phone connects.
        files_url: Where it brings attachments.
        file_moved: Told how many bytes of these went on towards the server.
    """

    def __init__(self, phone: int, fates: Fates, queue: Queue, *, server: Callable[[], str], observe: Observe) -> None:
        self.phone = phone
        self.fates = fates
        self.queue = queue
        self.server = server
        self.observe = observe
        self.url = ""
        self.files_url = ""
        self.file_moved: Callable[[int], None] = lambda _size: None
        self._is_down = False
        self._passages: set[_Passage] = set()
        self._network = WebSocketServer(self._open)
        self._road = _Road(self)

    @property
    def is_down(self) -> bool:
        """Whether nothing gets through."""
        return self._is_down

    async def open(self) -> None:
        """Listen on loopback, for the phone."""
        host, port = await self._network.listen("127.0.0.1", 0)
        self.url = f"ws://{host}:{port}/ws"
        self.files_url = await self._road.open()

    async def close(self) -> None:
        """End; also what was never opened."""
        if not self.url:
            return
        await self._road.close()
        self._network.cut_all()
        await self._network.drain(within_s=1.0)

    def take_down(self) -> None:
        """Let nothing through from here on, and cut what is there."""
        self._is_down = True
        self._network.cut_all()
        self._road.cut()

    def put_up(self) -> None:
        """Let everything through again."""
        self._is_down = False

    def ended(self, passage: _Passage) -> None:
        """A connection has ended."""
        self._passages.discard(passage)

    def _open(self, channel: Channel, _path: str) -> _Passage:
        passage = _Passage(self, channel)
        self._passages.add(passage)
        if self._is_down:
            channel.close(1013, "no network")
        return passage


class _Road:
    """Carries HTTP to the server, byte by byte."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._wire.is_down:
            writer.transport.abort()
            return
        where = urlsplit(self._wire.server())
        try:
            there_reader, there = await asyncio.open_connection(where.hostname, where.port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, there}
        self._writers |= ends
        try:
            await asyncio.gather(
                self._pump(reader, there, lambda size: self._wire.file_moved(size)),
                self._pump(there_reader, writer, lambda _size: None),
            )
        finally:
            self._writers -= ends
            for end in ends:
                end.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, moved: Callable[[int], None]
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                if self._wire.fates.slow:
                    await asyncio.sleep(_CHUNK_S * len(data) / _CHUNK_BYTES)
                writer.write(data)
                await writer.drain()
                moved(len(data))
            writer.write_eof()
