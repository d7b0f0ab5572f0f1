"""The conversation on the screen: the part of its history that is loaded, how far own messages came, what was unread.

What is loaded is its end, and more of what was before as somebody scrolls up. Numbered records are in the order of
the conversation. One that failed stays where it was written; one that waits is behind all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from whisperkit.client import Client
from whisperkit.client.history import Note, Record
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, MessageId
from whisperkit.receipts import MessageStatus, Tally

__all__ = ["Key", "Progress", "Room", "in_order"]

Key: TypeAlias = tuple[MessageId, DeviceId | None]

PAGE: Final = 60
# Ticks of older messages are looked at when the conversation is opened anew.
MAX_TICKS: Final = 100
# What is above the first unread message, so that it is not torn from what it answers.
BEFORE_UNREAD: Final = 10


class Progress(NamedTuple):
    """How far a message of this device has come."""

    status: MessageStatus
    tally: Tally


def in_order(records: Sequence[Record]) -> list[Record]:
    """Records as they are shown."""
    shown = sorted((one for one in records if one.seq), key=lambda one: one.seq)
    for failed in (one for one in records if one.failed and not one.seq):
        after = [place for place, one in enumerate(shown) if one.at_ms <= failed.at_ms]
        shown.insert(after[-1] + 1 if after else 0, failed)
    return shown + [one for one in records if not one.seq and not one.failed]


class Room:
    """An open conversation.

    Args:
        client: The device.
        conv: Which one.

    Attributes:
        first_unread: Where the divider is: it is set once, when the conversation is opened.
        unread: How many were unread then.
        has_earlier: Whether there is more than what is loaded.
        progress: How far own messages have come.
    """

    def __init__(self, client: Client, conv: ConversationId) -> None:
        self.conv = conv
        self.first_unread: ConversationSeq | None = None
        self.unread = 0
        self.has_earlier = False
        self.progress: dict[MessageId, Progress] = {}
        self._client = client
        self._records: dict[Key, Record] = {}

    @property
    def records(self) -> list[Record]:
        """What is loaded, in order."""
        return in_order(list(self._records.values()))

    async def open(self) -> None:
        """Load the end of the conversation, all that is unread in it."""
        unread = (await self._client.chat(self.conv)).progress.unread
        self.unread = len(unread)
        self.first_unread = unread[0] if unread else None
        await self._load(max(PAGE, self.unread + BEFORE_UNREAD))

    async def reload(self) -> None:
        """Load again as much as there is now."""
        await self._load(max(PAGE, len(self._records)))

    async def _load(self, limit: int) -> None:
        found = await self._client.history(self.conv, limit=limit)
        self._records = {(one.message_id, one.sender): one for one in found}
        self.has_earlier = len(found) == limit

    async def load_earlier(self) -> bool:
        """Load a page of what was before; false if that was all."""
        first = next((one for one in self.records if one.seq), None)
        if not self.has_earlier or first is None:
            return False
        found = await self._client.history(self.conv, before=first, limit=PAGE)
        self._records = {(one.message_id, one.sender): one for one in found} | self._records
        self.has_earlier = len(found) == PAGE
        return bool(found)

    async def load_until(self, message_id: MessageId) -> bool:
        """Load until a message is there; false if it is not in the history."""
        while all(key[0] != message_id for key in self._records):
            if not await self.load_earlier():
                return False
        return True

    def take(self, record: Record) -> None:
        """Take in a record that was written, or written anew."""
        first = next((one.seq for one in self.records if one.seq), None)
        is_known = (record.message_id, record.sender) in self._records
        if is_known or not record.seq or first is None or record.seq > first or not self.has_earlier:
            self._records[record.message_id, record.sender] = record

    def drop(self, record: Record) -> None:
        """Forget a record."""
        self._records.pop((record.message_id, record.sender), None)

    async def look_at_ticks(self) -> None:
        """Ask how far own messages have come, unless they have come all the way."""
        own = [one for one in self.records if one.sender == self._client.device and one.note is Note.MESSAGE]
        for record in own[-MAX_TICKS:]:
            known = self.progress.get(record.message_id)
            if record.seq and (known is None or known.status is not MessageStatus.READ):
                status = await self._client.status(self.conv, record.message_id)
                tally = await self._client.tally(self.conv, record.message_id)
                self.progress[record.message_id] = Progress(status, tally)

    @property
    def last_of_others(self) -> ConversationSeq:
        """The number of the last record that is not of this user; 0 if there is none."""
        own = self._client.device.user
        seqs = [one.seq for one in self._records.values() if one.sender is None or one.sender.user != own]
        return max(seqs, default=ConversationSeq(0))
