"""Reading what is on the device: conversations, histories, how far a message has come."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from whisperkit.client import history
from whisperkit.client.audience import audience_of
from whisperkit.client.history import Record
from whisperkit.client.records import Turn
from whisperkit.client.standing import Standing, load_chat
from whisperkit.client.ticks import load_marks
from whisperkit.errors import UsageError
from whisperkit.ids import ConversationId, ConversationSeq, MessageId, UserId
from whisperkit.receipts import (
    MarkKind,
    Marks,
    MessageStatus,
    Tally,
    delivered_by,
    reached,
    read_by,
    status_of,
    tally_of,
)
from whisperkit.sync import mirror
from whisperkit.sync.chat import Chat, chat_of

__all__ = ["Reached", "Reader"]


class Reached(NamedTuple):
    """Whom a message of this device has reached.

    Attributes:
        audience: Who gets it; its sender is not one of them.
        delivered: Who of these has it on a device.
        read: Who of these has read it.
    """

    audience: frozenset[UserId]
    delivered: frozenset[UserId]
    read: frozenset[UserId]


class Reader:
    """Reads.

    Args:
        standing: What it shares with the rest of the client.
    """

    def __init__(self, standing: Standing) -> None:
        self._at = standing

    async def chat(self, conv: ConversationId) -> Chat:
        """A conversation as this device knows it: members, badge, how far it came."""
        return await self._at.records.read(partial(load_chat, conv=conv))

    async def chats(self) -> list[Chat]:
        """All conversations that this device knows."""

        async def look(turn: Turn) -> list[Chat]:
            rows = await turn.load([mirror.PROGRESSES, mirror.MEMBERSHIPS])
            names = {ConversationId(key[2:].decode()) for key in rows if key[:2] in (b"c/", b"r/")}
            return [chat_of(name, rows) for name in sorted(names)]

        return await self._at.records.read(look)

    async def untold(self, chats: Sequence[Chat]) -> list[tuple[ConversationId, ConversationSeq]]:
        """How far was read where the server has not said yet that it knows."""

        async def look(turn: Turn) -> list[tuple[ConversationId, ConversationSeq]]:
            user, found = self._at.device.user, list[tuple[ConversationId, ConversationSeq]]()
            for chat in chats:
                marks = await load_marks(turn, chat.conv)
                if chat.membership is not None and reached(marks, user, MarkKind.READ) < chat.progress.read_upto:
                    found.append((chat.conv, chat.progress.read_upto))
            return found

        return await self._at.records.read(look)

    async def history(self, conv: ConversationId, *, before: Record | None = None, limit: int = 50) -> list[Record]:
        """The last records of a conversation, oldest first.

        Args:
            conv: Which one.
            before: Only what comes before this record, which has a number.
            limit: How many.
        """
        below = None if before is None else history.place_of(before)

        async def look(turn: Turn) -> list[Record]:
            rows = await turn.last(history.page_span(conv, below=below), limit=limit)
            return [history.read(row) for row in reversed(rows)]

        return await self._at.records.read(look)

    async def status(self, conv: ConversationId, message_id: MessageId) -> MessageStatus:
        """How far a message of this device has come.

        Raises:
            UsageError: There is no such message.
        """
        record, audience, marks = await self._about(conv, message_id)
        if record.failed:
            return MessageStatus.FAILED
        if not record.seq:
            return MessageStatus.PENDING
        return status_of(record.seq, sender=self._at.device.user, audience=audience, marks=marks)

    async def tally(self, conv: ConversationId, message_id: MessageId) -> Tally:
        """How many of a message's audience have and have read it."""
        record, audience, marks = await self._about(conv, message_id)
        return tally_of(record.seq, sender=self._at.device.user, audience=audience, marks=marks)

    async def reached_by(self, conv: ConversationId, message_id: MessageId) -> Reached:
        """Who of a message's audience has it, and who has read it.

        Raises:
            UsageError: There is no such message.
        """
        record, audience, marks = await self._about(conv, message_id)
        own = self._at.device.user
        if not record.seq:
            return Reached(audience - {own}, frozenset(), frozenset())
        delivered = delivered_by(record.seq, sender=own, audience=audience, marks=marks)
        read = read_by(record.seq, sender=own, audience=audience, marks=marks)
        return Reached(audience - {own}, delivered, read)

    async def _about(self, conv: ConversationId, message_id: MessageId) -> tuple[Record, frozenset[UserId], Marks]:
        async def look(turn: Turn) -> tuple[Record, frozenset[UserId], Marks] | None:
            found = await history.find(turn, conv, message_id, self._at.device)
            if found is None:
                return None
            audience = await audience_of(turn, await load_chat(turn, conv), found[1].seq)
            return found[1], audience, await load_marks(turn, conv)

        found = await self._at.records.read(look)
        if found is None:
            raise UsageError(f"there is no message {message_id} in {conv}", code="usage.no-such-message")
        return found
