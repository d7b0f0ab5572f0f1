"""The short way of a plain frame gives what the parser of `websockets` gives, whatever comes in whatever pieces."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode

from examples.net import websocket
from examples.net.plain_frames import Found, frame_head, next_frame
from examples.net.turns import Gathered, Turns
from examples.net.websocket import Channel, EdgeLimits, WebSocketConnection

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
LIMITS = EdgeLimits(max_message_bytes=700)


class Transport(asyncio.Transport):
    """Remembers what is written, and an end as such."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes | str] = []
        self.is_gone = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def write_eof(self) -> None:
        self.written.append("end")

    def abort(self) -> None:
        self.written.append("abort")

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.is_gone


class Talker:
    """Answers some messages, and closes or breaks at others."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.came: list[bytes | str] = []
        channel.send(b"welcome")

    def receive(self, data: bytes | str) -> None:
        self.came.append(data)
        if len(data) % 5 == 1:
            self.channel.send(data)
        if data[:4] in (b"shut", "shut"):
            self.channel.close(4000, "told so")
            self.channel.send("too late")
        if data[:4] in (b"fail", "fail"):
            raise ValueError("told so")

    def paused(self) -> None: ...

    def drained(self) -> None: ...

    def closed(self) -> None:
        self.came.append("closed")


class OnlyTheParser(WebSocketConnection):
    """The long way for all that comes and goes, byte by byte and at once: slow, and what the other is compared with.

    In larger pieces the application would hear of a message only when the parser has gone on, to a close behind it.
    """

    def data_received(self, data: bytes) -> None:
        for at in range(len(data)):
            self._parse(data[at : at + 1])

    def flush(self) -> None:
        super().flush()
        self._is_quiet = False


def _ignore(_connection: WebSocketConnection) -> None: ...


class Played:
    """A connection without a socket."""

    def __init__(self, make: Callable[..., WebSocketConnection], gather: type[Turns] = Turns) -> None:
        self.talkers: list[Talker] = []
        self.transport = Transport()
        self._due: list[Callable[[], None]] = []
        turns = gather(cast("asyncio.AbstractEventLoop", self))  # of which it is `call_soon` that it uses
        self.connection = make(
            on_open=self._open, on_end=_ignore, turns=turns, limits=LIMITS, opened_at=0.0, now=lambda: 0.0
        )
        self.connection.connection_made(self.transport)

    def _open(self, channel: Channel, _path: str) -> Talker:
        self.talkers.append(Talker(channel))
        return self.talkers[-1]

    def call_soon(self, call: Callable[[], None]) -> None:
        self._due.append(call)

    def turn(self) -> None:
        while self._due:
            self._due.pop(0)()

    def play(self, pieces: list[bytes], turns: list[bool], end: str = "") -> None:
        for piece, is_turn in zip(pieces, turns, strict=True):
            self.connection.data_received(piece)
            if is_turn:
                self.turn()
        if end == "eof":
            self.connection.eof_received()
            self.transport.written[:] = [each for each in self.transport.written if each != "end"]  # it ends by itself
        if end:
            self.transport.is_gone = True
            self.connection.connection_lost(None)
        self.turn()

    def outcome(self) -> tuple[object, ...]:
        """What the application got, and each byte that left after the handshake, which tells the time."""
        written = b"".join(
            piece if isinstance(piece, bytes) else b"<" + piece.encode() + b">" for piece in self.written
        )
        behind_head = written.partition(b"\r\n\r\n")[2]
        return [talker.came for talker in self.talkers], behind_head, self.connection.is_open

    @property
    def written(self) -> list[bytes | str]:
        return self.transport.written


def message(rng: random.Random) -> bytes:
    size = rng.choice((0, 1, 5, 6, 125, 126, 127, 300, 700, 701))
    return rng.choice((b"", b"", b"", b"shut", b"fail", b"\xff"))[:size] + b"a" * max(0, size - rng.randrange(6))


def some_frame(rng: random.Random) -> bytes:
    """One frame, now and then one that is not allowed."""
    kind = rng.choice(("binary",) * 6 + ("text",) * 4 + ("fragments", "ping", "pong", "close", "wrong"))
    match kind:
        case "binary":
            return Frame(Opcode.BINARY, message(rng)).serialize(mask=True)
        case "text":
            return Frame(Opcode.TEXT, message(rng)).serialize(mask=True)
        case "ping":
            return Frame(Opcode.PING, b"p").serialize(mask=True)
        case "pong":
            return Frame(Opcode.PONG, b"").serialize(mask=True)
        case "close":
            return Frame(Opcode.CLOSE, Close(1000, "bye").serialize()).serialize(mask=True)
        case "fragments":
            parts = [Frame(Opcode.CONT, message(rng)[:300], fin=rng.random() < 0.5) for _ in range(rng.randrange(3))]
            first = Frame(rng.choice((Opcode.TEXT, Opcode.BINARY)), message(rng)[:300], fin=False)
            return b"".join(part.serialize(mask=True) for part in (first, *parts))
        case _:
            return rng.choice(
                (
                    Frame(Opcode.BINARY, b"unmasked").serialize(mask=False),
                    bytes((0x82, 0x80 | 126, 0, 3)) + bytes(4) + b"abc",  # three bytes, told in two
                    bytes((0x82, 0x80 | 127)) + (3).to_bytes(8, "big") + bytes(4) + b"abc",
                    bytes((0xC2, 0x83)) + bytes(4) + b"abc",  # a reserved bit
                    bytes((0x83, 0x83)) + bytes(4) + b"abc",  # no such opcode
                    Frame(Opcode.CONT, b"of nothing").serialize(mask=True),
                    rng.randbytes(20),
                )
            )


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    pieces: list[bytes] = []
    while data:
        size = rng.choice((1, 2, 3, 7, 14, 100, 500, len(data)))
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def conversation(rng: random.Random) -> tuple[list[bytes], list[bool], str]:
    """Pieces, behind which of them is a turn, and how it ends, at once."""
    stream = b"".join(some_frame(rng) for _ in range(rng.randrange(12)))
    pieces = [HANDSHAKE, *cut(rng, stream)] if rng.random() < 0.5 else cut(rng, HANDSHAKE + stream)
    return pieces, [rng.random() < 0.5 for _ in pieces], rng.choice(("", "eof", "lost"))


@settings(max_examples=300)
@given(rng=st.randoms(use_true_random=False))
def test_both_ways_give_the_same_to_the_last_byte(rng: random.Random) -> None:
    story = conversation(rng)
    short, long = Played(WebSocketConnection), Played(OnlyTheParser)

    short.play(*story)
    long.play(*story)

    assert short.outcome() == long.outcome()


def unmasked_too(data: bytes, at: int, *, max_bytes: int) -> Found:
    """Takes what a server must not take (RFC 6455, section 5.1)."""
    found = next_frame(data, at, max_bytes=max_bytes)
    is_all = found.size and not data[at + 1] & 0x80 and data[at] == 0x82 and len(data) - at >= found.size
    return Found(found.size, data[at + found.size - (data[at + 1] & 0x7F) : at + found.size]) if is_all else found


def without_limit(data: bytes, at: int, *, max_bytes: int) -> Found:
    """Never says that a message is too long."""
    return next_frame(data, at, max_bytes=max_bytes * 2)


def wrong_kind(data: bytes, at: int, *, max_bytes: int) -> Found:
    """Takes text for bytes."""
    return next_frame(data, at, max_bytes=max_bytes)._replace(is_text=False)


@pytest.mark.parametrize("broken", [unmasked_too, without_limit, wrong_kind])
def test_a_short_way_that_takes_something_else_is_caught(
    broken: Callable[..., Found], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "next_frame", broken)

    assert any(differs(seed, Turns) for seed in range(300))


def differs(seed: int, gather: type[Turns]) -> bool:
    story = conversation(random.Random(seed))
    short, long = Played(WebSocketConnection, gather), Played(OnlyTheParser)
    short.play(*story)
    long.play(*story)
    return short.outcome() != long.outcome()


class Late(Turns):
    """Lets a connection end before what came for it is read."""

    def read_soon(self, connection: Gathered, data: bytes) -> None:
        super().read_soon(connection, data)
        self._loop.call_soon(super().read_now)

    def read_now(self) -> None: ...


class Backwards(Turns):
    """Reads what came last first."""

    def read_now(self) -> None:
        self._came.reverse()
        super().read_now()


@pytest.mark.parametrize("broken", [Late, Backwards])
def test_what_is_read_too_late_or_in_another_order_is_caught(broken: type[Turns]) -> None:
    assert any(differs(seed, broken) for seed in range(300))


class Counting(WebSocketConnection):
    """Remembers what its parser is given."""

    parsed: list[bytes]

    def _parse(self, data: bytes) -> None:
        self.parsed.append(data)
        super()._parse(data)


def test_plain_frames_do_not_go_through_the_parser() -> None:
    """Or all of this would be for nothing."""
    Counting.parsed = []
    played = Played(Counting)

    sent = [b"x" * size for size in (0, 1, 125, 126, 700)]
    played.play([HANDSHAKE, *(Frame(Opcode.BINARY, data).serialize(mask=True) for data in sent)], [True] * 6)

    assert played.talkers[0].came == sent
    assert Counting.parsed == [HANDSHAKE]


def test_what_comes_with_the_handshake_is_read_when_that_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    """The parser would have met the close before there was a connection, and the receiver failed on it."""
    frames = [Frame(Opcode.BINARY, b"shut"), Frame(Opcode.CLOSE, Close(1000, "").serialize())]
    played = Played(WebSocketConnection)

    played.play([HANDSHAKE + b"".join(frame.serialize(mask=True) for frame in frames)], [True])

    assert played.talkers[0].came == [b"shut"]
    assert not caplog.records


@pytest.mark.parametrize("is_text", [False, True])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20])
def test_what_stands_before_a_message_is_what_the_parser_would_write(size: int, *, is_text: bool) -> None:
    opcode = Opcode.TEXT if is_text else Opcode.BINARY

    assert frame_head(size, is_text=is_text) + bytes(size) == Frame(opcode, bytes(size)).serialize(mask=False)
