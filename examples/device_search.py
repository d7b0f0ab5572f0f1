"""Full-text search on the device: an FTS5 table beside the device's store, fed from its history.

Only this device can search, because only it can read. The table is no truth of its own: it is filled up from the
history when it is opened, and can be thrown away at any time.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import NamedTuple, Self

from whisperkit.client import Client
from whisperkit.client.content import Attachment, Text
from whisperkit.client.history import Record
from whisperkit.ids import ConversationId, MessageId

__all__ = ["Hit", "SearchIndex"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS known (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (text, conv UNINDEXED, id UNINDEXED, at_ms UNINDEXED);
"""
_WORD = re.compile(r"\w+")


class Hit(NamedTuple):
    """A message that was found.

    Attributes:
        conv: Where.
        message_id: Which.
        at_ms: When, milliseconds since 1970.
        snippet: Its text around the words, which stand between ``[`` and ``]``.
    """

    conv: ConversationId
    message_id: MessageId
    at_ms: int
    snippet: str


class SearchIndex:
    """The words of one device's history.

    Args:
        path: The file of the index; ``:memory:`` for one that is made anew each time.
    """

    def __init__(self, path: Path | str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def add(self, record: Record) -> bool:
        """Take a record in; false if it is known or has no words."""
        text = _text_of(record)
        if not text or self._is_known(record):
            return False
        with self._db:
            self._db.execute("INSERT INTO known VALUES (?)", (str(record.message_id),))
            row = (text, record.conv, str(record.message_id), record.at_ms)
            self._db.execute("INSERT INTO words VALUES (?, ?, ?, ?)", row)
        return True

    async def fill(self, client: Client) -> int:
        """Take in what is in the history and not here yet; returns how many."""
        added = 0
        for chat in await client.chats():
            before: Record | None = None
            while page := await client.history(chat.conv, before=before, limit=200):
                new = sum(self.add(record) for record in page)
                added += new
                before = next((record for record in page if record.seq), None)
                if before is None or (not new and self._is_known(page[0])):
                    break
        return added

    def search(self, words: str, *, conv: ConversationId | None = None, limit: int = 20) -> list[Hit]:
        """Find messages with all these words, the newest first; the last word may be only begun."""
        terms = _WORD.findall(words)
        if not terms:
            return []
        query = " ".join(f'"{term}"' for term in terms) + "*"
        found = self._db.execute(
            "SELECT conv, id, at_ms, snippet(words, 0, '[', ']', '…', 12) FROM words"
            " WHERE words MATCH ? AND (? IS NULL OR conv = ?) ORDER BY at_ms DESC LIMIT ?",
            (query, conv, conv, limit),
        )
        return [Hit(ConversationId(c), MessageId.parse(i), at_ms, snippet) for c, i, at_ms, snippet in found]

    def _is_known(self, record: Record) -> bool:
        found = self._db.execute("SELECT 1 FROM known WHERE id = ?", (str(record.message_id),)).fetchone()
        return found is not None


def _text_of(record: Record) -> str:
    match record.what:
        case Text(text):
            return text
        case Attachment(_, pointer, caption):
            return f"{caption} {pointer.name}".strip()
        case _:
            return ""
