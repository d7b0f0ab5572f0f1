"""What is on its way to one device: entries sent and not acknowledged, with a bound on both.

A slow reader is slow, nothing else: beyond the bound the gateway remembers only how far the inbox goes, and
reads on from the store when acknowledgements come (model m10: a queue that closes when full never ends).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq
from whisperkit.strategy import Strategy
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import EntryKind

__all__ = ["Delivery", "DeliveryWindow"]


class Delivery(NamedTuple):
    """One entry for one device.

    Attributes:
        seq: Its number in the inbox.
        tag: The chain up to it.
        frame: The ENTRY, encoded; complete.
        conv: Which conversation it is of.
        conv_seq: Its number there; 0 for an aside.
        sender: Who sent it; `None` for the service.
        kind: What it is.
        at_ms: When it was posted, milliseconds since 1970.
        strategy: How it came into the inbox; `None` where only the conversation could tell.
    """

    seq: InboxSeq
    tag: bytes
    frame: bytes
    conv: ConversationId
    conv_seq: ConversationSeq
    sender: DeviceId | None
    kind: EntryKind
    at_ms: int
    strategy: Strategy | None

    def __repr__(self) -> str:
        return f"Delivery(seq={self.seq}, frame=<{len(self.frame)} bytes>, conv={self.conv}, kind={self.kind.name})"


class DeliveryWindow:
    """Entries in flight to one device, in order, without a hole.

    Args:
        sent: The device's own cursor: what it has.
        max_entries: Entries in flight at most.
        max_bytes: Bytes in flight, unless a single entry is larger.
    """

    __slots__ = ("_flying", "_flying_bytes", "_max_bytes", "_max_entries", "acked", "sent_seq")

    def __init__(self, sent: Cursor, *, max_entries: int, max_bytes: int) -> None:
        self.acked = sent
        self.sent_seq: InboxSeq = sent.seq
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._flying: deque[Delivery] = deque()
        self._flying_bytes = 0

    @property
    def sent(self) -> Cursor:
        """The cursor that the device has once all that left arrives."""
        if not self._flying:
            return self.acked
        last = self._flying[-1]
        return Cursor(self.acked.epoch, last.seq, last.tag)

    @property
    def room(self) -> int:
        """How many more entries may leave now."""
        if self._flying_bytes >= self._max_bytes:
            return 0
        return self._max_entries - len(self._flying)

    def take(self, delivery: Delivery) -> bool:
        """Let an entry leave if it is the next one and there is room."""
        if delivery.seq != self.sent_seq + 1 or self.room <= 0:
            return False
        self._flying.append(delivery)
        self._flying_bytes += len(delivery.frame)
        self.sent_seq = delivery.seq
        return True

    def acknowledge(self, cursor: Cursor) -> Sequence[Delivery] | None:
        """Note that the device has everything up to a cursor.

        Returns:
            The entries that this acknowledges, in order; empty for an old cursor; `None` if the cursor
            names what was never sent here, or another entry than the one that was.
        """
        if cursor.epoch != self.acked.epoch or cursor.seq > self.sent_seq:
            return None
        if cursor.seq <= self.acked.seq:
            return ()
        count = cursor.seq - self._flying[0].seq + 1
        if self._flying[count - 1].tag != cursor.tag:
            return None
        done = [self._flying.popleft() for _ in range(count)]
        self._flying_bytes -= sum(len(delivery.frame) for delivery in done)
        self.acked = cursor
        return done
