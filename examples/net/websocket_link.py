"""The client's side of the WebSocket: a `Link` over the asyncio client of `websockets`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, WebSocketException

from whisperkit.errors import TransportError
from whisperkit.sync.codec import MAX_JSON_CHARS
from whisperkit.transport import Connect, Link

__all__ = ["WebSocketLink", "connect", "is_loopback"]

# `websockets` logs whole frames at level DEBUG. Content is never logged here, whatever the root logger is set to.
_wire_log = logging.getLogger("examples.net.websocket_link")
_wire_log.setLevel(logging.WARNING)

_MAX_MESSAGE_BYTES: Final = MAX_JSON_CHARS + 1024
# How long a close waits for the gateway's: it is a courtesy, and whoever ends a program does not want to wait for it.
_GOODBYE_S: Final = 1.0


def is_loopback(url: str) -> bool:
    """Whether a URL is of this machine: no proxy is asked then, whatever the environment says of proxies."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class WebSocketLink:
    """One connection to a gateway; see `Link`.

    Args:
        socket: An open connection.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, data: bytes) -> None:
        """See `Link.send`."""
        try:
            await self._socket.send(data)
        except ConnectionClosed as error:
            raise _gone(error) from error

    async def receive(self) -> bytes:
        """See `Link.receive`. Text comes as its UTF-8."""
        try:
            data = await self._socket.recv()
        except ConnectionClosed as error:
            raise _gone(error) from error
        return data.encode() if isinstance(data, str) else data

    async def close(self) -> None:
        """See `Link.close`."""
        await self._socket.close()


def _gone(error: ConnectionClosed) -> TransportError:
    received = error.rcvd
    if received is None:
        return TransportError("the gateway is gone without a word")
    return TransportError(f"the gateway closed the link: {received.code} {received.reason}".rstrip())


def connect(url: str, *, headers: Mapping[str, str] | None = None, timeout_s: float = 10.0) -> Connect:
    """Make the door to one gateway.

    Args:
        url: Such as ``ws://127.0.0.1:8080/ws``.
        headers: Sent along with the request, such as those of a login.
        timeout_s: How long a connection and its handshake may take.

    Returns:
        What opens a link at each call, or raises `TransportError`.
    """
    proxy: Literal[True] | None = None if is_loopback(url) else True

    async def dial() -> Link:
        try:
            socket = await open_websocket(
                url,
                additional_headers=headers,
                compression=None,  # ciphertext does not shrink
                max_size=_MAX_MESSAGE_BYTES,
                open_timeout=timeout_s,
                close_timeout=_GOODBYE_S,
                proxy=proxy,
                logger=_wire_log,
            )
        except (OSError, TimeoutError, WebSocketException) as error:
            raise TransportError(f"{url} cannot be reached: {type(error).__name__}") from error
        return WebSocketLink(socket)

    return dial
