"""A server's edge on a free port of loopback, for tests of it and of what is put behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

from examples.net.http import Route
from examples.net.websocket import MayOpen, let_in
from examples.net.websocket_server import Channel, EdgeLimits, WebSocketServer

__all__ = ["Edge", "Recorder", "serving", "transport_of"]


class Recorder:
    """A receiver that remembers.

    Attributes:
        channel: The way out.
        path: Of the request.
        messages: What came.
        happened: ``paused``, ``drained``, ``closed``, as they came.
    """

    def __init__(self, channel: Channel, path: str) -> None:
        self.channel = channel
        self.path = path
        self.messages: list[bytes | str] = []
        self.happened: list[str] = []
        self._news = asyncio.Event()

    def receive(self, data: bytes | str) -> None:
        """See `Receiver.receive`."""
        self.messages.append(data)
        self._news.set()

    def paused(self) -> None:
        """See `Receiver.paused`."""
        self._note("paused")

    def drained(self) -> None:
        """See `Receiver.drained`."""
        self._note("drained")

    def closed(self) -> None:
        """See `Receiver.closed`."""
        self._note("closed")

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds of what came."""
        while not holds():
            self._news.clear()
            await self._news.wait()

    def _note(self, what: str) -> None:
        self.happened.append(what)
        self._news.set()


class Edge:
    """A server whose connections are recorded.

    Attributes:
        server: The server.
        receivers: One for each connection, in order.
        host: Where it listens.
        port: There.
    """

    def __init__(
        self,
        routes: Sequence[Route] = (),
        limits: EdgeLimits | None = None,
        path: str = "/ws",
        may_open: MayOpen = let_in,
    ) -> None:
        self.server = WebSocketServer(self._open, routes=routes, limits=limits, path=path, may_open=may_open)
        self._path = path
        self.receivers: list[Recorder] = []
        self._first: asyncio.Future[Recorder] = asyncio.get_running_loop().create_future()
        self._dialled: list[asyncio.StreamWriter] = []
        self.host = ""
        self.port = 0

    @property
    def url(self) -> str:
        """Where HTTP is spoken."""
        return f"http://{self.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        """Where WebSocket is spoken."""
        return f"ws://{self.host}:{self.port}{self._path}"

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect without any protocol; what is not closed is cut when the server ends."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        self._dialled.append(writer)
        return reader, writer

    def hang_up(self) -> None:
        """Cut what was dialled."""
        for writer in self._dialled:
            writer.transport.abort()

    async def first(self) -> Recorder:
        """The receiver of the first connection, once it is there."""
        return await self._first

    async def ask(self, request: bytes) -> bytes:
        """Send bytes on a connection of their own, and read it to its end."""
        reader, writer = await self.dial()
        writer.write(request)
        return await reader.read()

    def later(self, seconds: float) -> None:
        """Let the server believe that so much time has passed."""
        self.server.check_times(asyncio.get_running_loop().time() + seconds)

    def _open(self, channel: Channel, path: str) -> Recorder:
        receiver = Recorder(channel, path)
        self.receivers.append(receiver)
        if not self._first.done():
            self._first.set_result(receiver)
        return receiver


def transport_of(writer: asyncio.StreamWriter) -> asyncio.Transport:
    """The transport with both of its directions, of which a stream's types know one."""
    return cast("asyncio.Transport", writer.transport)


@asynccontextmanager
async def serving(
    routes: Sequence[Route] = (),
    limits: EdgeLimits | None = None,
    path: str = "/ws",
    may_open: MayOpen = let_in,
) -> AsyncGenerator[Edge]:
    """Serve while the block runs."""
    edge = Edge(routes, limits, path, may_open)
    edge.host, edge.port = await edge.server.listen("127.0.0.1", 0)
    try:
        yield edge
    finally:
        edge.hang_up()
        await edge.server.drain(within_s=1)
