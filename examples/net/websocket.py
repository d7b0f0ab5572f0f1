"""One WebSocket connection, as a protocol of asyncio over the sans-IO `ServerProtocol` of `websockets`.

No task and no queue per connection: what comes is handed to a `Receiver` as it is parsed, and all connections read and
write once per turn of the loop, by one callback each (`turns`). Time is told from outside, by one timer for all
(`WebSocketConnection.check_time`), so a quiet connection costs a few hundred bytes beside its socket's own. Plain
frames take a short way past the parser (`plain_frames`).

There is no compression: what is carried is encrypted, and compressing secrets together with what an attacker
chose tells their length.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol, cast

import attrs
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from examples.net.plain_frames import frame_head, next_frame
from examples.net.turns import Turns
from whisperkit.sync.codec import MAX_JSON_CHARS

__all__ = ["Channel", "EdgeLimits", "MayOpen", "OnOpen", "Receiver", "WebSocketConnection", "let_in"]

log = logging.getLogger("examples.net.websocket")

# `websockets` logs whole frames at level DEBUG. Content is never logged here, whatever the root logger is set to.
_wire_log = logging.getLogger("examples.net.websocket.frames")
_wire_log.setLevel(logging.WARNING)

# Frames are limited by the codec, which knows how to refuse them in the peer's own terms. This limit is the longer
# JSON form with a little room: what exceeds it is cut off before it is in memory.
_MAX_MESSAGE_BYTES: Final = MAX_JSON_CHARS + 1024

_END_OF_HEAD: Final = b"\r\n\r\n"  # of an HTTP request


@attrs.frozen(kw_only=True)
class EdgeLimits:
    """What a peer may make the edge hold, and for how long. A connection is looked at every `check_every_s`.

    Attributes:
        max_connections: So many at once; more are closed as they come.
        max_message_bytes: The longest message, all fragments together; a longer one ends in close code 1009.
        max_backlog_bytes: Bytes for a peer that its socket has not taken; with more the connection is cut. The
            service's windows stay far below: this stops a peer that sends pings and reads no pongs.
        handshake_s: From the first byte to the end of the request's head.
        ping_after_s: A connection that was quiet for so long is pinged. A device that beats never is.
        idle_s: A connection that was quiet for so long is cut: the peer is gone without a word.
        close_s: For how long an ending connection may take to end.
        body_window_s: In so many seconds ...
        min_body_bytes: ... so many bytes of an HTTP message have to move, if the peer is whom we wait for.
        check_every_s: How often the times above are checked.
    """

    max_connections: int = 100_000
    max_message_bytes: int = _MAX_MESSAGE_BYTES
    max_backlog_bytes: int = 8 << 20
    handshake_s: float = 10.0
    ping_after_s: float = 40.0
    idle_s: float = 75.0
    close_s: float = 5.0
    body_window_s: float = 10.0
    min_body_bytes: int = 1024
    check_every_s: float = 2.5


class Channel(Protocol):
    """The way out of a connection: plain functions that never wait."""

    @property
    def write_backlog(self) -> int:
        """Bytes that were sent and that the peer's socket has not taken."""
        ...

    def send(self, data: bytes | str) -> None:
        """Send a message, binary or text; those of one turn of the loop are one write. Lost once it is closing."""
        ...

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close after what was sent; harmless when it is closing.

        Args:
            code: Of RFC 6455, section 7.4, or 4000 to 4999.
            reason: At most 123 bytes.
        """
        ...


class Receiver(Protocol):
    """The way in: what the application does with a connection. Nothing here may wait."""

    def receive(self, data: bytes | str) -> None:
        """A whole message came. Never called after `Channel.close` or `closed`."""
        ...

    def paused(self) -> None:
        """The peer does not read as fast as it is sent to; what is sent now only adds to the backlog."""
        ...

    def drained(self) -> None:
        """The peer has read; go on."""
        ...

    def closed(self) -> None:
        """The connection has ended, whoever ended it. Called once, last."""
        ...


OnOpen = Callable[[Channel, str], Receiver]
"""Takes a new connection and the path of its request, query included."""

MayOpen = Callable[[Mapping[str, str]], bool]
"""Looks at the headers of a request: whether a WebSocket is opened for it. One that comes twice is a `LookupError`."""


def let_in(_headers: Mapping[str, str]) -> bool:
    """Whoever comes may open a WebSocket."""
    return True


class WebSocketConnection(asyncio.Protocol):
    """One connection: a `Channel` to the application, a protocol to the loop.

    Args:
        on_open: Called once the handshake is done.
        may_open: Whether there is one, by the headers of the request.
        on_end: Called when the connection is gone.
        turns: Reads and writes for all connections.
        limits: See there.
        opened_at: When its first byte came, on the loop's clock.
        now: The loop's clock.
    """

    __slots__ = (
        "_closing_since",
        "_has_head",
        "_heard_at",
        "_is_closing",
        "_is_dirty",
        "_is_quiet",
        "_limits",
        "_may_open",
        "_now",
        "_on_end",
        "_on_open",
        "_opened_at",
        "_out",
        "_owed_bytes",
        "_partial",
        "_partial_is_text",
        "_pinged_at",
        "_receiver",
        "_tail",
        "_transport",
        "_turns",
        "_unflushed_bytes",
        "_ws",
    )

    _transport: asyncio.Transport

    def __init__(
        self,
        *,
        on_open: OnOpen,
        may_open: MayOpen = let_in,
        on_end: Callable[[WebSocketConnection], None],
        turns: Turns,
        limits: EdgeLimits,
        opened_at: float,
        now: Callable[[], float],
    ) -> None:
        self._ws = ServerProtocol(max_size=limits.max_message_bytes, logger=_wire_log)
        self._on_open = on_open
        self._may_open = may_open
        self._on_end = on_end
        self._turns = turns
        self._limits = limits
        self._now = now
        self._heard_at = opened_at
        self._opened_at = opened_at
        self._pinged_at = opened_at
        self._closing_since: float | None = None
        self._is_closing = False
        self._is_dirty = False
        # What comes is cut into the head of the request and frames. The parser gets whole ones, maybe in pieces: of the
        # last it lacks `_owed_bytes`. `_tail` are the last bytes of a head without an end, or the first of a frame that
        # does not tell its size yet.
        self._has_head = False
        self._owed_bytes = 0
        self._tail = b""
        self._is_quiet = True  # `_ws` has written nothing that is not flushed
        self._out: list[bytes] = []
        self._unflushed_bytes = 0
        self._receiver: Receiver | None = None
        self._partial: bytearray | None = None
        self._partial_is_text = False

    # ---- the application's side ----

    @property
    def write_backlog(self) -> int:
        """Bytes that were sent and that the peer's socket has not taken."""
        return self._unflushed_bytes + self._transport.get_write_buffer_size()

    def send(self, data: bytes | str) -> None:
        """See `Channel.send`."""
        if self._ws.state is not State.OPEN:
            return
        is_text = isinstance(data, str)
        message = data.encode() if isinstance(data, str) else data
        size = len(message)
        if self._is_quiet:
            self._out.append(frame_head(size, is_text=is_text) + message)
        elif is_text:
            self._ws.send_text(message)
        else:
            self._ws.send_binary(message)
        self._unflushed_bytes += size
        if not self._is_dirty:
            self._flush_soon()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """See `Channel.close`."""
        if self._ws.state is State.OPEN:
            self._is_closing = True
            self._ws.send_close(code, reason)
            self._ws_wrote()

    # ---- the server's side ----

    @property
    def is_open(self) -> bool:
        """Whether the handshake is done and nobody has begun to close."""
        return self._ws.state is State.OPEN

    def abort(self) -> None:
        """Cut the connection; what was not taken is lost."""
        self._transport.abort()

    def check_time(self, now: float) -> None:
        """Ping, or cut what takes too long."""
        limits = self._limits
        if self._ws.state is State.OPEN:
            quiet_s = now - self._heard_at
            if quiet_s > limits.idle_s:
                self.abort()
            elif quiet_s > limits.ping_after_s and self._pinged_at <= self._heard_at:
                self._pinged_at = now
                self._ws.send_ping(b"")
                self._ws_wrote()
        elif self._ws.state is State.CONNECTING and not self._ws.close_expected():
            # Since the first byte, not since the last: a head that trickles in is as slow as one that does not come.
            if now - self._opened_at > limits.handshake_s:
                self.abort()
        elif self._closing_since is None:
            self._closing_since = now
        elif now - self._closing_since > limits.close_s:
            self.abort()

    # ---- the loop's side ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # what a TCP server makes

    def data_received(self, data: bytes) -> None:
        self._turns.read_soon(self, data)

    def read(self, data: bytes) -> None:
        """Take what the socket had; the loop has gone on to other sockets meanwhile."""
        self._heard_at = self._now()
        if not self._has_head:
            data = self._take_head(data)
            if not self._has_head:
                return
        if self._owed_bytes:
            owed, data = data[: self._owed_bytes], data[self._owed_bytes :]
            self._owed_bytes -= len(owed)
            self._parse(owed)
        if self._tail:
            data, self._tail = self._tail + data, b""
        at = 0
        while at < len(data):
            if self._is_closing or self._ws.state is not State.OPEN:
                self._parse(data[at:])
                return
            size, message, is_text = next_frame(data, at, max_bytes=self._limits.max_message_bytes)
            if not size:
                self._tail = data[at:]
                return
            if message is not None and self._partial is None:
                self._deliver(message, is_text=is_text)
            else:
                piece = data[at : at + size]
                self._owed_bytes = size - len(piece)
                self._parse(piece)
            at += size

    def eof_received(self) -> None:
        self._turns.read_now()
        self._ws.receive_eof()
        self.flush()  # now: when this returns the transport closes itself, after what was written

    def pause_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.paused()

    def resume_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        self._turns.read_now()
        self._ws.receive_eof()
        self._is_closing = True
        receiver, self._receiver = self._receiver, None
        self._on_end(self)
        if receiver is not None:
            receiver.closed()

    def flush(self) -> None:
        """Write what is there."""
        self._is_dirty = False
        self._unflushed_bytes = 0
        writes, self._out = self._out, []
        if not self._is_quiet:
            writes += self._ws.data_to_send()
            self._is_quiet = True
        if not writes or self._transport.is_closing():
            return
        is_last = not writes[-1]
        self._transport.write(writes[0] if len(writes) == 1 else b"".join(writes))
        if is_last:
            # Not close(): with bytes of the peer unread it resets the connection, and the reason would not arrive.
            self._transport.write_eof()
        elif self._transport.get_write_buffer_size() > self._limits.max_backlog_bytes:
            log.warning("backlog exceeded", extra={"backlog_bytes": self._transport.get_write_buffer_size()})
            self.abort()

    # ---- within ----

    def _take_head(self, data: bytes) -> bytes:
        """Let the parser read the head of the request, and answer it before it sees what is behind; returns that."""
        begun = len(self._tail)
        seen = self._tail + data
        end = seen.find(_END_OF_HEAD)
        self._has_head = end >= 0
        head = data[: end + len(_END_OF_HEAD) - begun] if self._has_head else data
        self._tail = b"" if self._has_head else seen[1 - len(_END_OF_HEAD) :]
        self._parse(head)
        return data[len(head) :]

    def _parse(self, data: bytes) -> None:
        """Let the parser read what is no plain frame. It may write: pongs, the answer to a close, why it fails."""
        self._ws_wrote()
        self._ws.receive_data(data)
        for event in self._ws.events_received():
            if isinstance(event, Frame):
                self._take(event)
            elif isinstance(event, Request):
                self._shake_hands(event)

    def _ws_wrote(self) -> None:
        """What is sent from here on has its place behind what `_ws` has written."""
        self._is_quiet = False
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._is_dirty:
            self._is_dirty = True
            self._turns.flush_soon(self)

    def _shake_hands(self, request: Request) -> None:
        try:
            is_welcome = self._may_open(request.headers)
        except LookupError:
            is_welcome = False
        response = self._ws.accept(request) if is_welcome else self._ws.reject(403, "not from here\n")
        self._ws.send_response(response)
        if response.status_code != 101:
            return
        try:
            self._receiver = self._on_open(self, request.path)
        except Exception:
            self._blame_receiver()

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CONT:
            assert self._partial is not None  # ServerProtocol lets no other order pass
            self._partial += frame.data
            if frame.fin:
                whole, self._partial = bytes(self._partial), None
                self._deliver(whole, is_text=self._partial_is_text)
        elif frame.opcode is Opcode.BINARY or frame.opcode is Opcode.TEXT:
            is_text = frame.opcode is Opcode.TEXT
            if frame.fin:
                self._deliver(bytes(frame.data), is_text=is_text)
            else:
                # One buffer and no list of fragments: empty ones, of which any number may come, cost nothing.
                self._partial, self._partial_is_text = bytearray(frame.data), is_text

    def _deliver(self, data: bytes, *, is_text: bool) -> None:
        if self._is_closing or self._receiver is None:
            return
        try:
            message = data.decode() if is_text else data
        except UnicodeDecodeError:
            self._fail(CloseCode.INVALID_DATA, "text is not UTF-8")
            return
        try:
            self._receiver.receive(message)
        except Exception:
            self._blame_receiver()

    def _blame_receiver(self) -> None:
        """A fault of the application ends this connection and no other."""
        log.exception("receiver failed")
        self._fail(CloseCode.INTERNAL_ERROR, "")

    def _fail(self, code: CloseCode, reason: str) -> None:
        self._is_closing = True
        if self._ws.state is State.OPEN:
            self._ws.fail(code, reason)
            self._ws_wrote()
