"""The conversation on the screen: the part of its history that is loaded, how far own messages came, what was unread.

What is loaded is its end, and more of what was before as somebody scrolls up.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from typing import Final

from examples.tui.timeline import Timeline, key_of
from whisperkit.client import Client
from whisperkit.client.history import Note, Record
from whisperkit.ids import ConversationId, ConversationSeq, MessageId
from whisperkit.receipts import Tally

__all__ = ["Room"]

PAGE: Final = 60
# What is above the first unread message, so that it is not torn from what it answers.
BEFORE_UNREAD: Final = 10


class Room:
    """An open conversation.

    Args:
        client: The device.
        conv: Which one.

    Attributes:
        first_unread: Where the divider is: it is set once, when the conversation is opened.
        unread: How many were unread then.
        read_upto: How far this device has said that it was read.
        has_earlier: Whether there is more than what is loaded.
        tallies: How far own messages have come, of those that were looked at.
    """

    def __init__(self, client: Client, conv: ConversationId) -> None:
        self.conv = conv
        self.first_unread: ConversationSeq | None = None
        self.unread = 0
        self.read_upto = ConversationSeq(0)
        self.has_earlier = False
        self.tallies: dict[MessageId, Tally] = {}
        self._client = client
        self._timeline = Timeline()
        # What is recorded while the history is read, of which what is read may know nothing.
        self._meanwhile: list[Record] | None = None
        # Own messages of which nothing else can be heard before a mark of somebody rises.
        self._looked_at: set[MessageId] = set()

    @property
    def records(self) -> list[Record]:
        """What is loaded, in order."""
        return self._timeline.records

    async def open(self) -> None:
        """Load the end of the conversation, all that is unread in it."""
        progress = (await self._client.chat(self.conv)).progress
        self.unread = len(progress.unread)
        self.first_unread = progress.unread[0] if progress.unread else None
        self.read_upto = progress.read_upto
        await self._load(max(PAGE, self.unread + BEFORE_UNREAD))

    async def reload(self) -> None:
        """Load again as much as there is now."""
        self.ticks_moved()
        await self._load(max(PAGE, len(self._timeline)))

    async def _load(self, limit: int) -> None:
        self._meanwhile = meanwhile = list[Record]()
        found = await self._client.history(self.conv, limit=limit)
        self._timeline = Timeline([*found, *meanwhile])
        self._meanwhile = None
        self.has_earlier = len(found) == limit

    async def load_earlier(self) -> bool:
        """Load a page of what was before; false if that was all."""
        first = self._first
        if not self.has_earlier or first is None:
            return False
        found = await self._client.history(self.conv, before=first, limit=PAGE)
        for record in found:
            if key_of(record) not in self._timeline:
                self._timeline.take(record)
        self.has_earlier = len(found) == PAGE
        return bool(found)

    async def load_until(self, message_id: MessageId) -> bool:
        """Load until a message is there; false if it is not in the history."""
        while all(record.message_id != message_id for record in self.records):
            if not await self.load_earlier():
                return False
        return True

    @property
    def _first(self) -> Record | None:
        return self._timeline.numbered[0] if self._timeline.numbered else None

    def take(self, record: Record) -> None:
        """Take in a record that was written, or written anew."""
        if self._meanwhile is not None:
            self._meanwhile.append(record)
        first = self._first
        is_known = key_of(record) in self._timeline
        if is_known or not record.seq or first is None or record.seq > first.seq or not self.has_earlier:
            self._timeline.take(record)

    def drop(self, record: Record) -> None:
        """Forget a record."""
        self._timeline.drop(record)

    # ---- how far own messages have come ----

    def ticks_moved(self) -> None:
        """Somebody has received or read more: what was looked at is to be looked at again."""
        self._looked_at.clear()

    async def look_at_ticks(self, records: Iterable[Record]) -> bool:
        """Ask how far these have come, unless that is known; whether anything is new."""
        is_new = False
        for record in records:
            if not self._is_of_interest(record):
                continue
            self._looked_at.add(record.message_id)
            tally = await self._client.tally(self.conv, record.message_id)
            is_new = is_new or tally != self.tallies.get(record.message_id)
            self.tallies[record.message_id] = tally
        return is_new

    def _is_of_interest(self, record: Record) -> bool:
        if record.sender != self._client.device or record.note is not Note.MESSAGE or not record.seq or record.failed:
            return False
        tally = self.tallies.get(record.message_id)
        is_read = tally is not None and 0 < tally.audience == tally.read
        return not is_read and record.message_id not in self._looked_at

    # ---- what others wrote ----

    def of_others_upto(self, seq: ConversationSeq) -> ConversationSeq:
        """The number of the last record up to a number that is not of this user; 0 if there is none."""
        upto = (one.seq for one in reversed(self._timeline.numbered) if one.seq <= seq and not self._is_own(one))
        return next(upto, ConversationSeq(0))

    def count_above(self, seq: ConversationSeq) -> int:
        """How many records above a number are not of this user."""
        above = takewhile(lambda one: one.seq > seq, reversed(self._timeline.numbered))
        return sum(not self._is_own(one) for one in above)

    @property
    def last_of_others(self) -> ConversationSeq:
        """The number of the last record that is not of this user; 0 if there is none."""
        numbered = self._timeline.numbered
        return self.of_others_upto(numbered[-1].seq) if numbered else ConversationSeq(0)

    def _is_own(self, record: Record) -> bool:
        return record.sender is not None and record.sender.user == self._client.device.user
