"""Full-text search on the device: an FTS5 table in memory, fed from the device's history.

Only this device can search, because only it can read. The table holds the words in clear, so it is never on the disk,
and is made anew from the history: about two seconds for ten thousand messages.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol, Self

from whisperkit.client.content import Attachment, Text
from whisperkit.client.history import Record
from whisperkit.ids import ConversationId, DeviceId, MessageId
from whisperkit.sync.chat import Chat

__all__ = ["Histories", "Hit", "SearchIndex"]

# Large sorts would go to a temporary file otherwise.
_SCHEMA: Final = """
PRAGMA temp_store = MEMORY;
CREATE TABLE known (conv TEXT, id TEXT, sender TEXT, PRIMARY KEY (conv, id, sender)) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (text, conv UNINDEXED, id UNINDEXED, sender UNINDEXED, at_ms UNINDEXED);
"""
_WORD: Final = re.compile(r"\w+")
_PAGE: Final = 200


class Histories(Protocol):
    """What an index is filled from: a `Client`."""

    async def chats(self) -> list[Chat]: ...
    async def history(self, conv: ConversationId, *, before: Record | None = None, limit: int = 50) -> list[Record]: ...


class Hit(NamedTuple):
    """A message that was found.

    Attributes:
        conv: Where.
        message_id: Which.
        sender: Whose.
        at_ms: When, milliseconds since 1970.
        snippet: Its text around the words, which stand between ``[`` and ``]``.
    """

    conv: ConversationId
    message_id: MessageId
    sender: DeviceId
    at_ms: int
    snippet: str


class SearchIndex:
    """The words of one device's history, in memory."""

    def __init__(self) -> None:
        self._db = sqlite3.connect(":memory:", isolation_level=None)
        self._db.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def add(self, record: Record) -> bool:
        """Take a record in; false if it is known or has no words."""
        return self._add_all([record]) == 1

    async def fill(self, histories: Histories) -> int:
        """Take in what is in the history and not here yet; returns how many.

        All of the history is looked at each time: a filling may have been interrupted, and a message that could not
        be read at first takes its old place when it comes again.
        """
        added = 0
        for chat in await histories.chats():
            before: Record | None = None
            limit = _PAGE
            while page := await histories.history(chat.conv, before=before, limit=limit):
                added += self._add_all(page)
                first = next((record for record in page if record.seq), None)
                if first is not None:
                    before, limit = first, _PAGE
                elif len(page) == limit:
                    limit *= 2  # they all wait for their numbers, before which nothing can be asked for
                else:
                    break
        return added

    def _add_all(self, records: Iterable[Record]) -> int:
        """In one transaction: a message that is known has its words here."""
        added = 0
        with self._db:
            self._db.execute("BEGIN")
            for record in records:
                text = _text_of(record)
                if not text or record.sender is None:
                    continue
                key = record.conv, str(record.message_id), record.sender
                if self._db.execute("INSERT OR IGNORE INTO known VALUES (?, ?, ?)", key).rowcount:
                    self._db.execute("INSERT INTO words VALUES (?, ?, ?, ?, ?)", (text, *key, record.at_ms))
                    added += 1
        return added

    def search(self, words: str, *, conv: ConversationId | None = None, limit: int = 20) -> list[Hit]:
        """Find messages with all these words, the newest first; the last word may be only begun."""
        terms = _WORD.findall(words)
        if not terms:
            return []
        query = " ".join(f'"{term}"' for term in terms) + "*"
        found = self._db.execute(
            "SELECT conv, id, sender, at_ms, snippet(words, 0, '[', ']', '…', 12) FROM words"
            " WHERE words MATCH ? AND (? IS NULL OR conv = ?) ORDER BY at_ms DESC LIMIT ?",
            (query, conv, conv, limit),
        )
        return [
            Hit(ConversationId(conv), MessageId.parse(message_id), DeviceId.parse(sender), at_ms, snippet)
            for conv, message_id, sender, at_ms, snippet in found
        ]


def _text_of(record: Record) -> str:
    match record.what:
        case Text(text):
            return text
        case Attachment(_, pointer, caption):
            return f"{caption} {pointer.name}".strip()
        case _:
            return ""
