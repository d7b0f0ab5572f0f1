"""The history of conversations on the device, as rows of its partition.

A conversation's rows are in the order of the conversation: under its number once it is known, and behind everything
while a message waits for its SENT. A second row finds a message by its id. What this module writes is committed
together with the ratchet records and the cursor; it never commits.
"""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b
from typing import Final, NamedTuple

import msgpack

from whisperkit.client.content import Content, decode_content
from whisperkit.client.keys import conv_bytes as _conv
from whisperkit.client.records import Turn
from whisperkit.errors import CorruptStateError, PeerError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, MessageId
from whisperkit.partitions import Row, Span, prefix

__all__ = [
    "Note",
    "Record",
    "above",
    "discard",
    "fail",
    "find",
    "forget_pending_place",
    "page_span",
    "place_of",
    "read",
    "write",
]

_HISTORY: Final = b"h/"
_BY_ID: Final = b"m/"
# Behind every number that a conversation will ever give.
_PENDING: Final = b"\xf0"


class Note(IntEnum):
    """What a record is."""

    MESSAGE = 1
    """A message that could be read; or a message of this device."""
    UNREADABLE = 2
    """A message that could not be decrypted, or named other devices; its sender was asked."""
    ROSTER = 3
    """Members came or went; `content` is the change, encoded."""


class Record(NamedTuple):
    """One row of a history.

    Attributes:
        conv: Where.
        message_id: Its identity.
        sender: Who sent it; `None` for the service.
        seq: Its number in the conversation; 0 while it waits.
        at_ms: When it was posted, or written here, milliseconds since 1970.
        note: What it is.
        content: What was inside, encoded; empty if it could not be read.
        failed: Why it will never be sent; empty otherwise.
    """

    conv: ConversationId
    message_id: MessageId
    sender: DeviceId | None
    seq: ConversationSeq
    at_ms: int
    note: Note
    content: bytes = b""
    failed: str = ""

    @property
    def what(self) -> Content | None:
        """What is in a message; `None` for anything else."""
        if self.note is not Note.MESSAGE or not self.content:
            return None
        try:
            return decode_content(self.content)
        except PeerError:
            return None

    def __repr__(self) -> str:
        return f"Record({self.conv}, {self.message_id}, seq={self.seq}, note={self.note.name})"


def place_of(record: Record, *, order: int = 0) -> bytes:
    """The key of a record: by number, or by the order of writing while it has none."""
    if record.seq:
        return _HISTORY + _conv(record.conv) + b"\x00" + record.seq.to_bytes(8, "big") + record.message_id[-8:]
    return _HISTORY + _conv(record.conv) + _PENDING + order.to_bytes(8, "big") + record.message_id[-8:]


def _index(conv: ConversationId, message_id: MessageId, sender: DeviceId | None) -> bytes:
    return _BY_ID + message_id + blake2b(f"{conv}\n{sender}".encode(), digest_size=16).digest()


def page_span(conv: ConversationId, *, below: bytes | None = None) -> Span:
    """The records of a conversation, those before a key only."""
    span = prefix(_HISTORY + _conv(conv))
    return span if below is None else Span(span.start, below)


def write(turn: Turn, record: Record, *, order: int = 0) -> None:
    """Write a record, and how to find it."""
    place = place_of(record, order=order)
    fields = (record.conv, record.message_id, record.sender, record.seq, record.at_ms, record.note)
    value = msgpack.packb((*fields, record.content, record.failed))
    turn.put([(place, value), (_index(record.conv, record.message_id, record.sender), place)])


async def find(
    turn: Turn, conv: ConversationId, message_id: MessageId, sender: DeviceId | None
) -> tuple[bytes, Record] | None:
    """A record by its message id and its sender, with its key.

    The sender is part of it, or a member could put a message of theirs in the place of another's.
    """
    place = await turn.get(_index(conv, message_id, sender))
    value = None if place is None else await turn.get(place)
    return None if place is None or value is None else (place, read(Row(place, value)))


def forget_pending_place(turn: Turn, place: bytes) -> None:
    """Delete a record's row at a place that is no longer its own; the new one is written by `write`."""
    turn.delete([place])


def above(conv: ConversationId, seq: int) -> Span:
    """The records of a conversation with larger numbers."""
    start = _HISTORY + _conv(conv) + b"\x00"
    return Span(start + (seq + 1).to_bytes(8, "big"), start + b"\xff")


async def fail(turn: Turn, conv: ConversationId, message_id: MessageId, sender: DeviceId, reason: str) -> Record | None:
    """Note that a message of this device will never be sent, and why; `None` if it is not here."""
    found = await find(turn, conv, message_id, sender)
    if found is None:
        return None
    place, record = found
    record = record._replace(failed=reason)
    write(turn, record, order=int.from_bytes(place[-16:-8], "big"))
    return record


async def discard(turn: Turn, conv: ConversationId, message_id: MessageId, sender: DeviceId) -> bool:
    """Delete a message of this device that has failed; false if it has not, or is not here."""
    found = await find(turn, conv, message_id, sender)
    if found is None or not found[1].failed:
        return False
    turn.delete([found[0], _index(conv, message_id, sender)])
    return True


def read(row: Row) -> Record:
    """Read a record.

    Raises:
        CorruptStateError: It is none.
    """
    try:
        conv, message_id, sender, seq, at_ms, note, content, failed = msgpack.unpackb(row.value)
        return Record(
            ConversationId(conv),
            MessageId(message_id),
            None if sender is None else DeviceId.parse(sender),
            ConversationSeq(seq),
            at_ms,
            Note(note),
            content,
            failed,
        )
    except (ValueError, TypeError, PeerError) as error:
        raise CorruptStateError(kind="history", reason=type(error).__name__) from error
