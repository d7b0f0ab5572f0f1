"""Sessions as they were when their rows were last read or written, so that the next message need not read them again.

What is remembered is never believed. A session is taken from here only if every row that it is stored in is byte for
byte the one in the records at hand; after a turn that was not committed, beside another process, or over a backup the
rows are simply read. Of a session only the last state is kept: the keys before it shall be gone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, NamedTuple

from whisperkit.ratchet.redaction import redacted
from whisperkit.ratchet.session import Session

__all__ = ["MAX_REMEMBERED", "MAX_REMEMBERED_BYTES", "RememberedSessions"]

# How many sessions are kept: those of a lively evening.
MAX_REMEMBERED: Final = 64

# What the rows of one may come to. Who makes us skip more pays for it: such a session is read again each time. So a
# peer can make us hold a few MiB here, as values, with sessions enough to fill it.
MAX_REMEMBERED_BYTES: Final = 16_384


class _Kept(NamedTuple):
    """A session, and the rows that it is stored in."""

    session: Session
    rows: Mapping[bytes, bytes]

    def __repr__(self) -> str:
        return redacted(self)


class RememberedSessions:
    """The sessions that were used last, by the key of their row."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    def find(self, key: bytes, records: Mapping[bytes, bytes]) -> Session | None:
        """The session in a row, if the records have it as it was kept."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        for each, row in kept.rows.items():
            if records.get(each) != row:
                return None
        return kept.session

    def keep(self, key: bytes, session: Session, rows: Mapping[bytes, bytes]) -> None:
        """Remember a session.

        Args:
            key: Of its row.
            session: As it is now.
            rows: All that it is stored in: that row, and those of its skipped keys.
        """
        self.forget(key)
        if sum(map(len, rows.values())) > MAX_REMEMBERED_BYTES:
            return
        self._kept[key] = _Kept(session, rows)
        if len(self._kept) > MAX_REMEMBERED:
            self._kept.popitem(last=False)

    def forget(self, key: bytes) -> None:
        """Drop a session, because it is deleted or changes."""
        self._kept.pop(key, None)
