"""What a conversation remembers of each device that sends to it, for ever: which number comes next, what was last.

A number belongs to one message id for good. A number that was passed, under another id, means that the
device went on from an old copy of itself; it opens a higher epoch and numbers what is pending from 1.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from whisperkit._named_tuples import make
from whisperkit.ids import ConversationSeq, DeviceId, MessageId
from whisperkit.packing import pack, reading, unpack

__all__ = [
    "MAX_RECENT",
    "SendFirst",
    "StaleOutbox",
    "Window",
    "checked_window",
    "decode_window",
    "encode_window",
    "window_key",
]

# Twice the 16 that a device may have unanswered: a repeat of any of them is told from a new message, whatever
# was answered in between.
MAX_RECENT: Final = 32

_RECORD = Struct(">16sQ")
_RECENT_BYTES = MAX_RECENT * _RECORD.size


class StaleOutbox(NamedTuple):
    """The number was passed, or its epoch was: open an epoch above this one, and number all that is pending anew."""

    epoch: int


class SendFirst(NamedTuple):
    """A number was skipped: this one comes next."""

    expected: int


class Window(NamedTuple):
    """One device's sends to one conversation.

    Attributes:
        epoch: Its outbox epoch; 0 before its first numbered send.
        last: The last number taken in that epoch.
        recent: Records of message id (16 bytes) and conversation seq (8 bytes; 0: voided), the newest last, at
            most `MAX_RECENT`. One string of bytes: it is searched, cut and stored at native speed.
    """

    epoch: int = 0
    last: int = 0
    recent: bytes = b""

    def seq_of(self, message_id: MessageId) -> ConversationSeq | None:
        """What the id was given: its seq, 0 if it was voided, `None` if it is not among the recent."""
        recent, size = self.recent, _RECORD.size
        at = recent.find(message_id)
        while at >= 0:
            if at % size == 0:
                return ConversationSeq(int.from_bytes(recent[at + 16 : at + size], "big"))
            at = recent.find(message_id, at + 1)
        return None

    def refusal(self, epoch: int, number: int) -> StaleOutbox | SendFirst | None:
        """Why a new message may not have this number; `None` if it may."""
        if epoch < self.epoch or (epoch == self.epoch and number <= self.last):
            return StaleOutbox(self.epoch)
        expected = self.last + 1 if epoch == self.epoch else 1
        return SendFirst(expected) if number > expected else None

    def remember(self, message_id: MessageId, seq: int, *, epoch: int, number: int | None) -> Window:
        """The window after a message got its seq; without a number only the id is remembered."""
        recent = (self.recent + message_id + seq.to_bytes(8, "big"))[-_RECENT_BYTES:]
        if number is None:
            return make(Window, (self.epoch, self.last, recent))
        return make(Window, (epoch, number, recent))

    @property
    def entries(self) -> tuple[tuple[MessageId, ConversationSeq], ...]:
        """The recent ids with their seqs, the newest last."""
        return tuple((MessageId(i), ConversationSeq(n)) for i, n in _RECORD.iter_unpack(self.recent))


def window_key(device: DeviceId) -> bytes:
    """The row that holds a window while it is not in the head."""
    return b"s/" + device.encode()


def encode_window(window: Window) -> bytes:
    """The value of the row."""
    return pack(*window)


def decode_window(data: bytes) -> Window:
    """Read the value of the row.

    Raises:
        CorruptStateError: It is none.
    """
    return checked_window(*unpack(data, kind="outbox window", shape=(int, int, bytes)))


def checked_window(epoch: int, last: int, recent: bytes) -> Window:
    """A window from stored fields.

    Raises:
        CorruptStateError: Not whole records, or too many.
    """
    with reading("outbox window"):
        if len(recent) % _RECORD.size or len(recent) > _RECENT_BYTES:
            raise ValueError(f"{len(recent)} bytes are not up to {MAX_RECENT} records")
    return Window(epoch, last, recent)
