"""Servers on free ports of loopback, and raw connections to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest

from examples.net.http import Route
from examples.net.websocket_server import Channel, EdgeLimits, WebSocketServer

# What a hanging test may take: nothing here waits for a clock.
PATIENCE_S = 10.0

# A coroutine of a test; `Any` as in `asyncio.run`.
Test: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Recorder:
    """A receiver that remembers, and wakes whoever waits for more."""

    def __init__(self, channel: Channel, path: str) -> None:
        self.channel = channel
        self.path = path
        self.messages: list[bytes | str] = []
        self.happened: list[str] = []
        self._news = asyncio.Event()

    def receive(self, data: bytes | str) -> None:
        self.messages.append(data)
        self._news.set()

    def paused(self) -> None:
        self._note("paused")

    def drained(self) -> None:
        self._note("drained")

    def closed(self) -> None:
        self._note("closed")

    def _note(self, what: str) -> None:
        self.happened.append(what)
        self._news.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._news.clear()
            await self._news.wait()


class Edge:
    """A server that records what its connections receive."""

    def __init__(self, routes: Sequence[Route] = (), limits: EdgeLimits | None = None) -> None:
        self.server = WebSocketServer(self._open, routes=routes, limits=limits)
        self.receivers: list[Recorder] = []
        self.host = ""
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://{self.host}:{self.port}/ws"

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.host, self.port)

    async def ask(self, request: bytes) -> bytes:
        """Send bytes on a connection of their own and read to its end."""
        reader, writer = await self.dial()
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer

    def later(self, seconds: float) -> None:
        """Let the server believe that time has passed."""
        self.server.check_times(asyncio.get_running_loop().time() + seconds)

    def _open(self, channel: Channel, path: str) -> Recorder:
        receiver = Recorder(channel, path)
        self.receivers.append(receiver)
        return receiver


OpenEdge: TypeAlias = Callable[..., "Any"]


@asynccontextmanager
async def _serving(routes: Sequence[Route] = (), limits: EdgeLimits | None = None) -> AsyncGenerator[Edge]:
    edge = Edge(routes, limits)
    edge.host, edge.port = await edge.server.listen("127.0.0.1", 0)
    try:
        yield edge
    finally:
        await edge.server.drain(within_s=1)


@pytest.fixture
def serving() -> Any:
    return _serving
