"""One device that speaks frames over a real WebSocket, and keeps exactly what a device has to keep.

It proves itself by its identity key, unless the application vouches for it, numbers what it sends and repeats it until
it is answered, checks the chain of tags of what comes, and comes back when the connection breaks. It encrypts nothing
and stores nothing: what it sends is the caller's bytes, and its memory is the disk. Whatever the server does that it
must not do is written into `faults`, so one run tells all that went wrong.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple, TypeAlias

from examples.net.websocket_link import connect
from whisperkit.errors import TransportError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, MessageId, UserId
from whisperkit.ratchet import KeyPair, sign
from whisperkit.ratchet.curve import generate
from whisperkit.sync import frames
from whisperkit.sync.connection import ClientConnection, challenge_message, register_message
from whisperkit.sync.cursor import Cursor, next_tag
from whisperkit.sync.frames import Answer, EntryKind, Frame, MarkKind, RefusalReason
from whisperkit.sync.outbox import MAX_IN_FLIGHT
from whisperkit.sync.window import MAX_RECENT
from whisperkit.transport import Connect, Link

__all__ = ["FrameDevice", "Sending"]

RETRY_S: Final = 0.05
REGISTRATION_ID: Final = 1

MarkKey: TypeAlias = tuple[ConversationId, UserId, MarkKind]


class Sending(NamedTuple):
    """A message that was given a number and waits for its answer.

    Attributes:
        frame: What is sent, and sent again, unchanged.
        done: Set when the answer came.
    """

    frame: frames.Send
    done: asyncio.Event


class FrameDevice:
    """A device.

    Args:
        name: Of its user, from which its id is derived.
        url: Where the server is now; asked at every attempt.
        vouched: The device, and how its links are opened, at an application that has checked who it is: it neither
            registers nor proves itself then.
    """

    def __init__(self, name: str, url: Callable[[], str], *, vouched: tuple[DeviceId, Connect] | None = None) -> None:
        self.id = DeviceId.named(name, 1) if vouched is None else vouched[0]
        self._connect = None if vouched is None else vouched[1]
        self.keys: KeyPair = generate(random_bytes=os.urandom)
        self.cursor: Cursor | None = None
        self.head: Cursor | None = None
        self.entries: list[frames.Entry] = []
        self.sent: dict[MessageId, frames.Sent] = {}
        self.marks: dict[MarkKey, int] = {}
        self.ranges: list[frames.Rows] = []
        self.refusals: list[frames.Refused] = []
        self.faults: list[str] = []
        self.is_live = False
        self._url = url
        self._name = name
        self._is_registered = vouched is not None
        self._connection_no = 0
        self._connection = ClientConnection()
        self._link: Link | None = None
        self._pending: dict[ConversationId, dict[int, Sending]] = {}
        self._last: dict[ConversationId, int] = {}
        self._marks_before: dict[MarkKey, int] = {}
        self._marks_now: dict[MarkKey, int] = {}
        self._fence: MessageId | None = None

    # ---- what the caller asks for ----

    @property
    def unanswered(self) -> int:
        """How many sends wait for their answer."""
        return sum(len(pending) for pending in self._pending.values())

    def has_room(self, conv: ConversationId) -> bool:
        """Whether one more send may be under way in a conversation; see `whisperkit.sync.outbox.next_to_send`."""
        pending = self._pending.get(conv)
        return not pending or (len(pending) < MAX_IN_FLIGHT and self._last[conv] + 1 - min(pending) < MAX_RECENT)

    async def send(
        self,
        conv: ConversationId,
        shared: bytes | None = None,
        *,
        own: Mapping[DeviceId, bytes] | None = None,
        change: frames.RosterChange | None = None,
    ) -> Sending:
        """Number a message and send it; it is repeated until it is answered, over however many connections."""
        number = self._last.get(conv, 0) + 1
        self._last[conv] = number
        kind = EntryKind.MESSAGE if change is None else EntryKind.ROSTER
        frame = frames.Send(conv, 1, number, _mint(), kind, None, (), change, shared, own)
        sending = Sending(frame, asyncio.Event())
        self._pending.setdefault(conv, {})[number] = sending
        await self.say(frame)
        return sending

    async def say(self, *what: Frame) -> None:
        """Send frames, if there is a connection; otherwise they are lost, as on any socket."""
        if self._link is None or not self.is_live:
            return
        with suppress(TransportError):
            await self._write(self._link, what)

    async def run(self) -> None:
        """Be connected, again and again, until the task is cancelled."""
        while True:
            with suppress(TransportError):
                await self._connected()
            self.is_live = False
            await asyncio.sleep(RETRY_S)

    # ---- a connection ----

    async def _connected(self) -> None:
        link = await (self._connect or connect(self._url(), timeout_s=5.0))()
        try:
            self._connection = ClientConnection()
            await self._greet(link)
            self._link, self.is_live = link, True
            await self._begin(link)
            while True:
                await self._take(link, await link.receive())
        finally:
            self._link, self.is_live = None, False
            await link.close()

    async def _greet(self, link: Link) -> None:
        challenge = await self._one(link)
        if not isinstance(challenge, frames.Challenge):
            raise TransportError(f"no challenge but {type(challenge).__name__}")
        if not self._is_registered:
            await self._write(link, [self._register(challenge.nonce)])
            answer = await self._one(link)
            if not isinstance(answer, frames.Registered):
                raise TransportError(f"not registered but {type(answer).__name__}")
            self._is_registered = True
        self._connection_no = max(self._connection_no + 1, time.time_ns() // 1_000_000)
        await self._write(link, [self._hello(challenge.nonce)])

    def _register(self, nonce: bytes) -> frames.Register:
        public = self.keys.public
        message = register_message(
            nonce, self.id, identity_key=public, registration_id=REGISTRATION_ID, name=self._name
        )
        proof = sign(self.keys.private, message, random_bytes=os.urandom)
        return frames.Register(self.id, public, REGISTRATION_ID, self._name, proof)

    def _hello(self, nonce: bytes) -> frames.Hello:
        proof: bytes | None = None
        if self._connect is None:
            message = challenge_message(nonce, self.id, self._connection_no)
            proof = sign(self.keys.private, message, random_bytes=os.urandom)
        return frames.Hello(frames.PROTOCOL_VERSION, self.id, self._connection_no, self.cursor, proof)

    async def _begin(self, link: Link) -> None:
        """Send again what was not answered, and ask for all marks: none may be below what was shown before."""
        again = [sending.frame for pending in self._pending.values() for _, sending in sorted(pending.items())]
        convs = tuple({*self._last, *(entry.conv for entry in self.entries)})
        self._fence = _mint()
        self._marks_before, self._marks_now = dict(self.marks), {}
        # Requests are answered in order, so when the lists of devices come, the marks are there.
        await self._write(link, [*again, frames.Marks(convs), frames.Devices(self._fence, (self.id.user,))])

    async def _one(self, link: Link) -> Frame:
        (frame,) = self._connection.receive(await link.receive())
        return frame

    async def _write(self, link: Link, what: Iterable[Frame]) -> None:
        for message in self._connection.encode(what):
            await link.send(message if isinstance(message, bytes) else message.encode())

    # ---- what comes ----

    async def _take(self, link: Link, data: bytes) -> None:
        before = self.cursor
        read: dict[ConversationId, ConversationSeq] = {}
        for frame in self._connection.receive(data):
            match frame:
                case frames.Entry():
                    self._apply(frame)
                    read[frame.conv] = frame.conv_seq
                case frames.Welcome(answer, _, floor):
                    self._welcomed(answer, floor)
                case frames.Sent():
                    self._answered(frame)
                case frames.Refused():
                    await self._refused(link, frame)
                case frames.Mark(conv, user, kind, upto):
                    self._marked((conv, user, kind), upto)
                case frames.DeviceLists(request, _) if request == self._fence:
                    self._compare_marks()
                case frames.Rows():
                    self.ranges.append(frame)
                case frames.Head(cursor, _):
                    self.head = cursor
                case _:
                    pass
        if self.cursor is not None and self.cursor != before:
            reads = [frames.Read(conv, upto) for conv, upto in read.items()]
            await self._write(link, [frames.Ack(self.cursor), *reads])

    def _welcomed(self, answer: Answer, floor: Cursor) -> None:
        if self.cursor is None:
            self.cursor = floor
        elif answer is not Answer.DELTA:
            self.faults.append(f"{self._name}: WELCOME {answer.name} to a cursor that was given by this server")

    def _apply(self, entry: frames.Entry) -> None:
        assert self.cursor is not None  # WELCOME comes first
        tag = next_tag(self.cursor.tag, entry.message_id)
        if (entry.seq, entry.tag) != (self.cursor.seq + 1, tag):
            self.faults.append(f"{self._name}: entry {entry.seq} is no link of the chain at {self.cursor.seq}")
            return
        self.cursor = Cursor(self.cursor.epoch, entry.seq, tag)
        self.entries.append(entry)

    def _answered(self, sent: frames.Sent) -> None:
        known = self.sent.setdefault(sent.message_id, sent)
        if known.conv_seq != sent.conv_seq:
            self.faults.append(f"{self._name}: one message got the numbers {known.conv_seq} and {sent.conv_seq}")
        sending = self._pending.get(sent.conv, {}).pop(sent.outbox_seq, None)
        if sending is not None:
            sending.done.set()

    async def _refused(self, link: Link, refused: frames.Refused) -> None:
        self.refusals.append(refused)
        match refused.reason:
            case RefusalReason.TRY_LATER | RefusalReason.SEND_FIRST:
                await asyncio.sleep(RETRY_S)
                pending = self._pending.get(refused.conv, {})
                await self._write(link, [sending.frame for _, sending in sorted(pending.items())])
            case reason:
                self.faults.append(f"{self._name}: number {refused.outbox_seq} was refused: {reason.name}")

    # ---- ticks ----

    def _marked(self, key: MarkKey, upto: int) -> None:
        self.marks[key] = max(self.marks.get(key, 0), upto)
        self._marks_now[key] = max(self._marks_now.get(key, 0), upto)

    def _compare_marks(self) -> None:
        # Members of a hall, where they pull, are told their own marks only: what was shown before it became one stays.
        halls = {entry.conv for entry in self.entries if entry.kind is EntryKind.MODE}
        for key, shown in self._marks_before.items():
            if key[0] in halls and key[1] != self.id.user:
                continue
            now = self._marks_now.get(key, 0)
            if now < shown:
                self.faults.append(f"{self._name}: {key[2].name} of {key[0]} moved back from {shown} to {now}")


def _mint() -> MessageId:
    return MessageId.mint(wall_ms=time.time_ns() // 1_000_000, random_bytes=os.urandom)
