"""One port for both: WebSocket at one path, plain HTTP for the rest.

The first bytes of a connection decide which it is, before anything is parsed: `GET /ws` goes to `WebSocketConnection`,
everything else to `HttpConnection`. One timer looks after the times of all connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeAlias, cast

from examples.net.http import HttpConnection, Route, Routes
from examples.net.turns import Turns
from examples.net.websocket import (
    Channel,
    EdgeLimits,
    MayOpen,
    OnOpen,
    Receiver,
    WebSocketConnection,
    let_in,
)

__all__ = ["Channel", "Drained", "EdgeLimits", "OnOpen", "Receiver", "WebSocketServer"]

log = logging.getLogger("examples.net.server")

_BACKLOG: Final = 1024


class Drained(NamedTuple):
    """How a server ended.

    Attributes:
        connections: How many WebSockets were open when it began to drain.
        cut: How many connections of any kind did not end by themselves in time.
    """

    connections: int
    cut: int


class WebSocketServer:
    """Serves WebSockets and HTTP on one port.

    Args:
        on_open: Called with each new WebSocket.
        routes: Who answers plain HTTP.
        limits: See there.
        path: Where WebSockets are opened.
        may_open: Whether one is, by the headers of the request.
    """

    def __init__(
        self,
        on_open: OnOpen,
        *,
        routes: Sequence[Route] = (),
        limits: EdgeLimits | None = None,
        path: str = "/ws",
        may_open: MayOpen = let_in,
    ) -> None:
        self.on_open = on_open
        self.may_open = may_open
        self.begins_with = f"GET {path}".encode()
        self.routes = Routes(routes)
        self.limits = limits or EdgeLimits()
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._all_gone: asyncio.Future[None] | None = None

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Begin to accept; returns host and port, which matters for port 0, any free one.

        Raises:
            OSError: The address is taken, or not of this machine.
        """
        loop = self._loop = asyncio.get_running_loop()
        self._turns = Turns(loop)
        self._server = await loop.create_server(lambda: _Doorman(self), host, port, backlog=_BACKLOG)
        self._timer = loop.call_later(self.limits.check_every_s, self._tick)
        name = self._server.sockets[0].getsockname()
        return name[0], name[1]

    @property
    def connections(self) -> int:
        """How many WebSockets are open."""
        return sum(isinstance(c, WebSocketConnection) and c.is_open for c in self._connections)

    def check_times(self, now: float) -> None:
        """Ping and cut what is due; a timer calls this.

        Args:
            now: On the loop's clock.
        """
        for connection in list(self._connections):
            connection.check_time(now)

    async def drain(self, closing: Callable[[], Awaitable[None]] | None = None, *, within_s: float = 10.0) -> Drained:
        """Stop accepting, let everybody say goodbye, and end, in bounded time.

        Args:
            closing: Says goodbye on all links and saves what is to be saved; may close channels. What it sends is
                written out before the connections are closed.
            within_s: How long all of it may take.
        """
        assert self._server is not None, "listen first"
        deadline = self._loop.time() + within_s
        self._server.close()
        before = self.connections
        if closing is not None:
            await self._in_time(closing(), deadline)
        for connection in list(self._connections):
            if isinstance(connection, WebSocketConnection):
                connection.close(1001, "the server goes away")
            else:
                connection.stop()
        if self._connections:
            self._all_gone = self._loop.create_future()
            await self._in_time(self._all_gone, deadline)
        cut = self.cut_all()
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.sleep(0)  # the ends of what was cut
        return Drained(before, cut)

    def cut_all(self) -> int:
        """Cut all connections, as a crash does; returns how many there were."""
        connections = list(self._connections)
        for connection in connections:
            connection.abort()
        return len(connections)

    async def _in_time(self, what: Awaitable[None], deadline: float) -> None:
        try:
            await asyncio.wait_for(what, max(0.0, deadline - self._loop.time()))
        except TimeoutError:
            log.warning("drain took too long")

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self.limits.check_every_s, self._tick)
        self.check_times(self._loop.time())

    # ---- connections come and go ----

    def admit(self, connection: _Connection) -> bool:
        """Count a new connection in; false if there are too many."""
        if len(self._connections) >= self.limits.max_connections:
            return False
        self._connections.add(connection)
        return True

    def replace(self, connection: _Connection, inside: _Connection) -> None:
        """Count one connection in for another."""
        self._connections.add(inside)
        self._connections.discard(connection)

    def end(self, connection: _Connection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        if not self._connections and self._all_gone is not None and not self._all_gone.done():
            self._all_gone.set_result(None)

    def websocket(self, opened_at: float) -> WebSocketConnection:
        """Make a connection that speaks WebSocket."""
        return WebSocketConnection(
            on_open=self.on_open,
            may_open=self.may_open,
            on_end=self.end,
            turns=self._turns,
            limits=self.limits,
            opened_at=opened_at,
            now=self._loop.time,
        )

    def http(self, opened_at: float) -> HttpConnection:
        """Make a connection that speaks HTTP."""
        return HttpConnection(
            routes=self.routes, on_end=self.end, limits=self.limits, opened_at=opened_at, loop=self._loop
        )

    def time(self) -> float:
        """The loop's clock."""
        return self._loop.time()


class _Doorman(asyncio.Protocol):
    """Looks at the first bytes of a connection and hands it to whom it asks for."""

    __slots__ = ("_begun", "_opened_at", "_server", "_transport")

    _transport: asyncio.Transport

    def __init__(self, server: WebSocketServer) -> None:
        self._server = server
        self._opened_at = server.time()
        self._begun = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # what a TCP server makes
        if not self._server.admit(self):
            log.warning("too many connections")
            transport.abort() if isinstance(transport, asyncio.Transport) else transport.close()

    def data_received(self, data: bytes) -> None:
        self._begun += data
        server, expected = self._server, self._server.begins_with
        if len(self._begun) <= len(expected) and expected.startswith(self._begun):
            return
        end = len(expected)
        is_websocket = self._begun.startswith(expected) and self._begun[end : end + 1] in b" ?"
        inside = server.websocket(self._opened_at) if is_websocket else server.http(self._opened_at)
        server.replace(self, inside)
        self._transport.set_protocol(inside)
        inside.connection_made(self._transport)
        inside.data_received(self._begun)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.end(self)

    # What the server does with it while it is undecided.

    def check_time(self, now: float) -> None:
        if now - self._opened_at > self._server.limits.handshake_s:
            self._transport.abort()

    def stop(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()


_Connection: TypeAlias = WebSocketConnection | HttpConnection | _Doorman
