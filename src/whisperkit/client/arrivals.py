"""Messages that wait to be handled: for bots, which want each once, in order, and to answer in the same commit.

Each message of others that could be read has a row ``a/`` with the next number, until somebody has handled it. A block
over a message that ends well deletes its row and writes the answers as drafts, in one commit: whatever crashes, a
message is answered or comes again, never both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgpack

from whisperkit.client import history
from whisperkit.client.content import Attachment, Content, Text, check_content
from whisperkit.client.history import Record
from whisperkit.client.records import DeviceRecords, Turn
from whisperkit.client.standing import Listener
from whisperkit.ids import ConversationId, DeviceId, MessageId
from whisperkit.partitions import Span

__all__ = ["Arrivals", "IncomingMessage", "next_arrival", "put_arrival", "take_arrival"]

_NUMBER: Final = b"n/arrival"

Answer = tuple[ConversationId, MessageId, bytes]
"""A message to be written: where, which, and what it says, encoded."""


def _key(number: int) -> bytes:
    return b"a/" + number.to_bytes(8, "big")


async def put_arrival(turn: Turn, record: Record) -> None:
    """Let a message wait behind all others."""
    number = int.from_bytes(await turn.get(_NUMBER) or b"", "big") + 1
    fields = (record.conv, record.message_id, record.sender)
    turn.put([(_NUMBER, number.to_bytes(8, "big")), (_key(number), msgpack.packb(fields))])


async def next_arrival(turn: Turn, after: int) -> tuple[int, Record] | None:
    """The first message that waits behind a number, with its own."""
    for key, value in await turn.first(Span(_key(after + 1), b"a0"), limit=1):
        conv, message_id, sender = msgpack.unpackb(value)
        found = await history.find(turn, ConversationId(conv), MessageId(message_id), DeviceId.parse(sender))
        assert found is not None  # both rows are written in one commit, and neither is deleted before it is handled
        return int.from_bytes(key[2:], "big"), found[1]
    return None


def take_arrival(turn: Turn, number: int) -> None:
    """A message has been handled."""
    turn.delete([_key(number)])


class IncomingMessage:
    """A message to be handled, as ``async with message:``; it is handled when the block ends without an exception.

    Attributes:
        record: As it is in the history.
    """

    def __init__(
        self,
        record: Record,
        *,
        mint: Callable[[], MessageId],
        finish: Callable[[list[Answer]], Awaitable[None]],
    ) -> None:
        self.record = record
        self._mint = mint
        self._finish = finish
        self._answers: list[Answer] = []

    @property
    def conv(self) -> ConversationId:
        """Where it came."""
        return self.record.conv

    @property
    def sender(self) -> DeviceId | None:
        """Who wrote it."""
        return self.record.sender

    @property
    def what(self) -> Content | None:
        """What it says."""
        return self.record.what

    @property
    def text(self) -> str:
        """Its text, or the caption of its attachment."""
        match self.what:
            case Text(text):
                return text
            case Attachment(_, _, caption):
                return caption
            case _:
                return ""

    async def reply(self, text: str) -> MessageId:
        """Answer: durable in the commit in which the message counts as handled.

        Raises:
            UsageError: The text is empty or too long.
        """
        message_id = self._mint()
        self._answers.append((self.conv, message_id, check_content(Text(text, self.record.message_id))))
        return message_id

    async def __aenter__(self) -> IncomingMessage:
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            await self._finish(self._answers)

    def __repr__(self) -> str:
        return f"IncomingMessage({self.record!r})"


class Arrivals:
    """The messages that wait, as an iterator that never ends.

    Args:
        records: The device's partition.
        news: Tells when there may be more.
        mint: Makes message ids of answers.
        finish: Commits that a message has been handled, with its answers.
    """

    def __init__(
        self,
        records: DeviceRecords,
        news: Listener,
        *,
        mint: Callable[[], MessageId],
        finish: Callable[[int, list[Answer]], Awaitable[None]],
    ) -> None:
        self._records = records
        self._news = news
        self._mint = mint
        self._finish = finish
        self._after = 0

    def __aiter__(self) -> Arrivals:
        return self

    async def __anext__(self) -> IncomingMessage:
        while (found := await self._records.read(partial(next_arrival, after=self._after))) is None:
            await self._news.get()
            self._news.skip()
        self._after, record = found
        return IncomingMessage(record, mint=self._mint, finish=partial(self._finish, self._after))
