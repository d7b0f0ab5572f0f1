"""One device of the load: it speaks frames as cheaply as it can, and still checks that nothing is lost or out of order.

It proves itself and numbers what it sends as every device does, and acknowledges each message of the server that
brought entries, once. It encrypts nothing, stores nothing, and never comes back: in a benchmark a connection that
breaks is a failure.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Final, cast

import msgpack

from tests.bench.server.raw_socket import RawSocket, connect
from whisperkit.ids import ConversationId, DeviceId, InboxSeq, MessageId, UserId
from whisperkit.ratchet import KeyPair, sign
from whisperkit.ratchet.curve import generate
from whisperkit.sync import codec, frames
from whisperkit.sync.connection import challenge_message, register_message
from whisperkit.sync.cursor import Cursor, next_tag
from whisperkit.sync.frames import Direction, EntryKind, Frame, RosterChange

__all__ = ["BenchDevice", "LoadError", "faults"]

_ENTRY: Final = 16
_MESSAGE: Final = EntryKind.MESSAGE.value
_SENT: Final = 33
# An ENTRY that came alone, in msgpack: an array of 12 with code 16.
_ENTRY_START: Final = b"\x9c\x10"

SentBack = Callable[["BenchDevice", int], None]
"""Called with the device and the number of each post that is durable."""

EntryCame = Callable[["BenchDevice", int], None]
"""Called with the device and how many entries came in one message, after their acknowledgement left."""


class LoadError(Exception):
    """The server did what it must not do, so no figure of this run means anything."""


# What the server did wrong in this run, as a load finds it before it goes on.
faults: Final[list[str]] = []


class BenchDevice:
    """A device.

    Args:
        name: Of its user.
        number: Which of their devices.

    Attributes:
        posted: How many posts left.
        sent: How many of them were answered.
        came: How many entries came.
        on_sent: See `SentBack`.
        on_entries: See `EntryCame`.
        acknowledges: Whether it says what came.
        body: What each message has to bring; `None` if anything will do.
    """

    def __init__(self, name: str, number: int = 1) -> None:
        self.id = DeviceId.named(name, number)
        self.posted = 0
        self.sent = 0
        self.came = 0
        self.on_sent: SentBack = _nothing
        self.on_entries: EntryCame = _nothing
        self.acknowledges = True
        self.body: bytes | None = None
        self.is_live = False
        self.others: list[Frame] = []
        self._keys: KeyPair = generate(random_bytes=os.urandom)
        self._name = name
        self._socket: RawSocket | None = None
        self._waiting: Callable[[Frame], None] = self.others.append
        self._nonce = b""
        self._connection_no = 0
        self.is_registered = False
        self.cursor: Cursor | None = None
        self._seq = 0
        self._tag = b""
        self._chained = b""
        self._templates: dict[ConversationId, tuple[bytes, bytes]] = {}
        self._numbers: dict[ConversationId, int] = {}

    # ---- coming and going ----

    async def open(self, url: str) -> None:
        """Connect; the challenge is on its way."""
        self._socket = await connect(url, self._receive)

    def register(self) -> None:
        """Become the first device of a new user; after CHALLENGE came."""
        public = self._keys.public
        message = register_message(self._nonce, self.id, identity_key=public, registration_id=1, name=self._name)
        proof = sign(self._keys.private, message, random_bytes=os.urandom)
        self._say(frames.Register(self.id, public, 1, self._name, proof))

    def hello(self) -> None:
        """Say who it is; after CHALLENGE came."""
        self._connection_no = max(self._connection_no + 1, time.time_ns() // 1_000_000)
        proof = sign(
            self._keys.private, challenge_message(self._nonce, self.id, self._connection_no), random_bytes=os.urandom
        )
        self._say(frames.Hello(frames.PROTOCOL_VERSION, self.id, self._connection_no, self.cursor, proof))

    async def close(self) -> None:
        """Cut the connection."""
        assert self._socket is not None
        self.is_live = False
        await self._socket.close()

    def forget_challenge(self) -> None:
        """Wait for another one: that of the next connection."""
        self._nonce = b""

    @property
    def is_challenged(self) -> bool:
        return bool(self._nonce)

    # ---- writing ----

    def create(self, conv: ConversationId, members: tuple[UserId, ...]) -> None:
        """Post the change of members that makes a conversation."""
        number = self._next(conv)
        change = RosterChange(members, ())
        self._say(frames.Send(conv, 1, number, _mint(), EntryKind.ROSTER, None, (), change, None, None))

    def prepare(self, conv: ConversationId, *, own: dict[DeviceId, bytes] | None, shared: bytes | None) -> None:
        """Pack what is the same in all messages to a conversation."""
        whole = codec.encode(
            frames.Send(conv, 1, 0x01020304, MessageId(bytes(16)), EntryKind.MESSAGE, None, (), None, shared, own)
        )
        number = msgpack.packb(0x01020304)
        before, found, after = whole.partition(number + b"\xc4\x10" + bytes(16))
        assert found
        self._templates[conv] = before + b"\xce", after

    def post(self, conv: ConversationId) -> None:
        """Send the next message to a conversation that was prepared."""
        before, after = self._templates[conv]
        number = self._next(conv).to_bytes(4, "big")
        assert self._socket is not None
        self._socket.send(before + number + b"\xc4\x10" + _mint() + after)

    def say(self, frame: Frame) -> None:
        """Send a frame."""
        self._say(frame)

    def _next(self, conv: ConversationId) -> int:
        number = self._numbers.get(conv, 0) + 1
        self._numbers[conv] = number
        self.posted += 1
        return number

    def _say(self, frame: Frame) -> None:
        assert self._socket is not None
        self._socket.send(codec.encode(frame))

    # ---- reading ----

    def _receive(self, data: bytes) -> None:
        try:
            self._take(data)
        except LoadError as error:
            faults.append(str(error))  # here it would only be logged by the loop

    def _take(self, data: bytes) -> None:
        if data[:2] == _ENTRY_START:
            self._entry(cast("list[Any]", msgpack.unpackb(data)))
            self._acknowledge(1)
            return
        raw = msgpack.unpackb(data)
        several = raw if type(raw[0]) is list else (raw,)
        entries = 0
        for each in several:
            if each[0] == _ENTRY:
                self._entry(each)
                entries += 1
            elif each[0] == _SENT:
                self.sent += 1
                self.on_sent(self, each[5])
            else:
                (frame,) = codec.decode(msgpack.packb(each), direction=Direction.TO_CLIENT)
                self._other(frame)
        if entries:
            self._acknowledge(entries)

    def _entry(self, entry: list[Any]) -> None:
        if entry[1] != self._seq + 1:
            raise LoadError(f"{self._name}: entry {entry[1]} came after {self._seq}")
        self._seq += 1
        self._tag = next_tag(self._tag, MessageId(entry[3]))
        if self._tag != entry[2]:
            raise LoadError(f"{self._name}: entry {entry[1]} is no link of the chain")
        if entry[4] == _MESSAGE and self.body is not None and self.body != (entry[10] or entry[11]):
            raise LoadError(f"{self._name}: entry {entry[1]} has another body")

    def _acknowledge(self, count: int) -> None:
        self.came += count
        assert self.cursor is not None  # WELCOME comes before any entry
        self.cursor = Cursor(self.cursor.epoch, InboxSeq(self._seq), self._tag)
        if self.acknowledges:
            self._say(frames.Ack(self.cursor))
        self.on_entries(self, count)

    def _other(self, frame: Frame) -> None:
        match frame:
            case frames.Challenge(_, nonce):
                self._nonce = nonce
            case frames.Registered():
                self.is_registered = True
            case frames.Welcome(_, _, floor):
                if self.cursor is None:
                    self.cursor = floor
                    self._seq, self._tag = floor.seq, floor.tag
                self.is_live = True
            case frames.Refused() | frames.Failed() | frames.Bye():
                raise LoadError(f"{self._name}: {frame}")
            case _:
                pass


def _nothing(_device: BenchDevice, _count: int) -> None: ...


_minted = [0]


def _mint() -> MessageId:
    """Cheap, and never the same twice: a time and a counter."""
    _minted[0] += 1
    return MessageId(time.time_ns().to_bytes(8, "big") + _minted[0].to_bytes(8, "big"))
