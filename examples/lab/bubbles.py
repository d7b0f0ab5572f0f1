"""One phone's conversation as rows for the page: what each record says, how far it has come, and where it belongs.

The words and the order are those of the other clients (`examples.chat.lines`, the terminal client's `Timeline`): an own
message that waits is behind all others, one that failed stays where it was written.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeAlias

from examples.chat.lines import WAITING_FOR_IT, Who, clock, file_name, harmless, how_far, what_changed
from whisperkit.client import Client
from whisperkit.client.content import Attachment, Text
from whisperkit.client.history import Note, Record
from whisperkit.ids import ConversationId, MessageId
from whisperkit.receipts import MessageStatus, Tally

__all__ = ["Bubbles", "Json", "message_name"]

Json: TypeAlias = dict[str, Any]  # Any: whatever JSON holds

# Between the numbers of two rows there is room for what has none.
_ROOM: Final = 1_000_000
_BEHIND_ALL: Final = 1 << 50
_MARKS: Final = {
    MessageStatus.FAILED: "failed",
    MessageStatus.PENDING: "pending",
    MessageStatus.SENT: "sent",
    MessageStatus.DELIVERED: "delivered",
    MessageStatus.READ: "read",
}
# In a conversation of two a tick says all: nobody looks at the numbers.
_NO_TALLY: Final = Tally(0, 0, 1)


def message_name(message_id: MessageId) -> str:
    """What the page calls a message."""
    return message_id.hex()


class _Own(NamedTuple):
    """An own message that more can be heard of."""

    seq: int
    name: str


class Bubbles:
    """Makes rows.

    Args:
        client: The device.
        conv: The conversation.
        phone: The number of the phone.
        who: What users are called.
        other: What the other one is called.
        wall_ms: The clock.
    """

    def __init__(
        self, client: Client, conv: ConversationId, *, phone: int, who: Who, other: str, wall_ms: Callable[[], int]
    ) -> None:
        self.records: dict[str, Record] = {}
        self._client = client
        self._conv = conv
        self.phone = phone
        self._who = who
        self._other = other
        self._wall_ms = wall_ms
        self._last_seq = 0
        self._places = 0
        self._orders: dict[str, int] = {}
        # How far own messages have come, and since when.
        self._states: dict[str, tuple[MessageStatus, int]] = {}
        self._waiting: set[str] = set()
        # Own messages that not everybody has read, by number.
        self._unsettled: list[_Own] = []

    # ---- what is recorded ----

    def take(self, record: Record) -> None:
        """Take in a record, new or changed."""
        name = message_name(record.message_id)
        self.records[name] = record
        self._last_seq = max(self._last_seq, record.seq)
        if self._is_own(record):
            self._take_own(name, record)

    def _take_own(self, name: str, record: Record) -> None:
        before = self._states.get(name, (MessageStatus.PENDING, 0))[0]
        if record.failed:
            self._note(name, MessageStatus.FAILED)
            if before is not MessageStatus.FAILED:
                self._orders[name] = self._beside_last()
        elif not record.seq:
            self._note(name, MessageStatus.PENDING)
            self._orders.setdefault(name, self._behind_all())
        elif before in (MessageStatus.PENDING, MessageStatus.FAILED):
            self._note(name, MessageStatus.SENT)
            one = _Own(record.seq, name)
            self._unsettled.insert(bisect_left(self._unsettled, one), one)
        if record.seq:
            self._orders.pop(name, None)

    def drop(self, name: str) -> None:
        """Forget a row: it was thrown away."""
        self.records.pop(name, None)
        self._orders.pop(name, None)
        self._states.pop(name, None)
        self._waiting.discard(name)

    @property
    def waiting(self) -> int:
        """How many own messages wait to be sent."""
        return len(self._waiting)

    @property
    def is_unsettled(self) -> bool:
        """Whether more can be heard of any own message."""
        return bool(self._unsettled)

    def _is_own(self, record: Record) -> bool:
        return record.note is Note.MESSAGE and record.sender == self._client.device

    def _note(self, name: str, status: MessageStatus) -> None:
        if self._states.get(name, (None, 0))[0] is not status:
            self._states[name] = status, self._wall_ms()
        if status is MessageStatus.PENDING:
            self._waiting.add(name)
        else:
            self._waiting.discard(name)

    # ---- how far own messages have come ----

    async def settle(self) -> list[Json]:
        """Look how far own messages have come by now; the rows of those that came further.

        All members get a conversation in order, so of the messages that are delivered, or read, the last one is looked
        for: a look at each would take long after a long flight.
        """
        own = list(self._unsettled)
        changed: list[Json] = []
        done = 0
        for status in (MessageStatus.READ, MessageStatus.DELIVERED):
            upto = await self._first_below(own, status, done)
            for one in own[done:upto]:
                if self._states[one.name][0] is not status:
                    self._note(one.name, status)
                    changed += self._rows([one.name])
            if status is MessageStatus.READ:
                read = set(own[:upto])
                self._unsettled = [one for one in self._unsettled if one not in read]
            done = upto
        return changed

    async def _first_below(self, own: list[_Own], status: MessageStatus, first: int) -> int:
        """Which is the first that has not come so far: mostly one of the next, so steps begin small."""
        low, high, step = first, len(own), 1
        while low < high and self._states[own[low].name][0] >= status:
            low += 1
        while low < high:
            look_at = min(low + step, high) - 1
            if await self._has_come(own[look_at], status):
                low, step = look_at + 1, 2 * step
            else:
                high, step = look_at, (look_at - low + 1) // 2
        return low

    async def _has_come(self, one: _Own, status: MessageStatus) -> bool:
        return await self._client.status(self._conv, MessageId(bytes.fromhex(one.name))) >= status

    def settled(self, name: str) -> None:
        """Nobody is there who could get this message: it has come as far as it will."""
        self._unsettled = [one for one in self._unsettled if one.name != name]

    def _rows(self, names: Iterable[str]) -> list[Json]:
        rows = (self.row(self.records[name]) for name in names if name in self.records)
        return [row for row in rows if row is not None]

    # ---- rows ----

    def row(self, record: Record) -> Json | None:
        """The row of a record; `None` for what is not shown."""
        name = message_name(record.message_id)
        row: Json = {"kind": "message", "phone": self.phone, "id": name, "order": self._order(name, record)}
        row |= {"at_ms": record.at_ms, "mine": record.sender == self._client.device}
        if record.note is Note.ROSTER:
            words = what_changed(record.content, record.sender, self._who)
            return None if words is None else row | {"text": words, "mark": "notice", "words": ""}
        if record.note is Note.UNREADABLE:
            return row | {"text": "waiting for this message", "mark": "unreadable", "words": WAITING_FOR_IT[2:]}
        match record.what:
            case Text(text, _):
                row |= {"text": harmless(text)}
            case Attachment(_, pointer, caption):
                file = {"name": file_name(pointer.name), "type": pointer.media_type, "size": pointer.size}
                row |= {"text": harmless(caption), "file": file | {"moved": pointer.size, "total": pointer.size}}
                row["file"]["state"] = "done"
            case _:
                return None
        return row | self._mark(name, record)

    def notice(self, name: str, text: str) -> Json:
        """A row about something that nobody wrote."""
        self._orders.setdefault(name, self._beside_last())
        row: Json = {"kind": "message", "phone": self.phone, "id": name, "order": self._orders[name], "mine": False}
        return row | {"at_ms": self._wall_ms(), "text": text, "mark": "notice", "words": ""}

    def sending(self, name: str, at_ms: int, file: Json, words: str) -> Json:
        """The row of a file that is on its way, or was given up there, and is no message yet."""
        self._orders.setdefault(name, self._behind_all())
        row: Json = {"kind": "message", "phone": self.phone, "id": name, "order": self._orders[name], "mine": True}
        mark = "failed" if file["state"] == "failed" else "pending"
        return row | {"at_ms": at_ms, "text": "", "file": file, "mark": mark, "words": words}

    def _mark(self, name: str, record: Record) -> Json:
        at = self._clock(record.at_ms)
        if not self._is_own(record):
            return {"mark": "received", "words": f"received {at}"}
        status, since_ms = self._states.get(name, (MessageStatus.SENT, record.at_ms))
        if record.failed:
            return {"mark": "failed", "words": f"not sent: {record.failed}"}
        words = how_far(status, _NO_TALLY, self._other)
        if status in (MessageStatus.DELIVERED, MessageStatus.READ):
            at = self._clock(since_ms)
        return {"mark": _MARKS[status], "words": words if status is MessageStatus.PENDING else f"{words} {at}"}

    def _clock(self, at_ms: int) -> str:
        return clock(at_ms, now_ms=self._wall_ms())

    def _order(self, name: str, record: Record) -> int:
        return record.seq * _ROOM if record.seq else self._orders.setdefault(name, self._behind_all())

    def _beside_last(self) -> int:
        self._places += 1
        return self._last_seq * _ROOM + self._places

    def _behind_all(self) -> int:
        self._places += 1
        return _BEHIND_ALL + self._places
