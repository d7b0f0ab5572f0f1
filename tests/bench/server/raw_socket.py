"""A WebSocket client that costs next to nothing, so that the load generator's core is not what is measured.

It is for one peer on loopback whose messages are never fragmented and never compressed. A connection has one mask for
all its messages, which RFC 6455, 5.3, does not allow: there is no proxy here whose cache another one could protect. It
is not zero, so that no server can save itself the work.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final, cast
from urllib.parse import urlsplit, urlunsplit

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

__all__ = ["RawSocket", "connect"]

_REQUEST: Final = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_END_OF_HEAD: Final = b"\r\n\r\n"
_BINARY: Final = 0x82
_TEXT: Final = 0x81
_CLOSE: Final = 0x88
_PING: Final = 0x89
_MASKED: Final = 0x80
_MASK_BYTES: Final = 4

Came = Callable[[bytes], None]


class RawSocket(asyncio.Protocol):
    """One connection.

    Args:
        came: Called with each message.
        opened: Set when the handshake is done.
    """

    __slots__ = ("_buffer", "_gone", "_is_open", "_mask", "_opened", "_transport", "came")

    _transport: asyncio.Transport

    def __init__(self, came: Came, opened: asyncio.Future[None]) -> None:
        self.came = came
        self._opened = opened
        self._gone: asyncio.Future[None] | None = None
        self._is_open = False
        self._buffer = b""
        self._mask = os.urandom(_MASK_BYTES)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # what a TCP client is given

    def request(self, host: str, path: str) -> None:
        """Begin the handshake."""
        self._transport.write(_REQUEST.format(host=host, path=path).encode())

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        if not self._is_open:
            head, end, data = data.partition(_END_OF_HEAD)
            if not end:
                self._buffer = head
                return
            if b" 101 " not in head.partition(b"\r\n")[0]:
                self._opened.set_exception(ConnectionError(head.decode(errors="replace")))
                return
            self._is_open = True
            self._opened.set_result(None)
        at, size = 0, len(data)
        while size - at >= 2:
            opcode, length, body = data[at], data[at + 1], at + 2
            if length == 126:
                length, body = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                length, body = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if body + length > size:
                break
            at = body + length
            if opcode in (_BINARY, _TEXT):
                self.came(data[body:at])
            elif opcode == _PING:
                self._write(0x8A, data[body:at])
            elif opcode == _CLOSE:
                self._transport.close()
        self._buffer = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._opened.done():
            self._opened.set_exception(exc or ConnectionError("closed in the handshake"))
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def send(self, message: bytes) -> None:
        """Send a binary message."""
        self._write(_BINARY, message)

    def send_text(self, message: bytes) -> None:
        """Send a message of text, in UTF-8."""
        self._write(_TEXT, message)

    def _write(self, opcode: int, message: bytes) -> None:
        size = len(message)
        if size < 126:
            head = bytes((opcode, _MASKED | size))
        elif size < 1 << 16:
            head = bytes((opcode, _MASKED | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((opcode, _MASKED | 127)) + size.to_bytes(8, "big")
        self._transport.write(head + self._mask + apply_mask(message, self._mask))

    async def close(self) -> None:
        """Cut, and wait until it is cut."""
        if self._transport.is_closing():
            return
        self._gone = asyncio.get_running_loop().create_future()
        self._transport.abort()
        await self._gone


async def connect(url: str, came: Came) -> RawSocket:
    """Open a WebSocket; `came` is called with each message.

    Raises:
        ConnectionError: It was refused.
    """
    loop = asyncio.get_running_loop()
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    opened: asyncio.Future[None] = loop.create_future()
    _, socket = await loop.create_connection(lambda: RawSocket(came, opened), host, port)
    socket.request(parts.netloc, urlunsplit(("", "", parts.path or "/", parts.query, "")))
    await opened
    return socket
