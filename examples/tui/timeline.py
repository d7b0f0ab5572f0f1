"""Records of a conversation in the order in which they are shown; each finds its place as it comes.

Numbered records are in the order of the conversation. One that failed stays where it was written; one that waits is
behind all others.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import TypeAlias

from whisperkit.client.history import Record
from whisperkit.ids import ConversationSeq, DeviceId, MessageId

__all__ = ["Key", "Timeline", "key_of"]

Key: TypeAlias = tuple[MessageId, DeviceId | None]


class Timeline:
    """Keeps records in order.

    Args:
        records: Those that are there at first, as a history has them.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._known: dict[Key, Record] = {}
        self._numbered: list[Record] = []
        # In the order in which they were written.
        self._failed: dict[Key, Record] = {}
        self._waiting: dict[Key, Record] = {}
        self._shown: list[Record] | None = None
        for record in records:
            self.take(record)

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: Key) -> bool:
        return key in self._known

    @property
    def records(self) -> list[Record]:
        """All of them, in order."""
        if self._shown is None:
            self._shown = [*self._numbered]
            for failed in self._failed.values():
                self._shown.insert(_behind_what_is_older(self._shown, failed), failed)
            self._shown += self._waiting.values()
        return self._shown

    @property
    def numbered(self) -> list[Record]:
        """Those that have a number."""
        return self._numbered

    @property
    def failed(self) -> list[Record]:
        """Those that will not be sent."""
        return [*self._failed.values()]

    @property
    def waiting(self) -> list[Record]:
        """Those that wait to be sent."""
        return [*self._waiting.values()]

    def take(self, record: Record) -> None:
        """Put a record, or what has become of it, in its place."""
        key = key_of(record)
        known = self._known.get(key)
        if known is not None and known.seq:
            self._numbered.pop(self._place(known))
        self._known[key] = record
        place = None if record.seq else self._failed if record.failed else self._waiting
        for unnumbered in (self._failed, self._waiting):
            if unnumbered is place:
                unnumbered[key] = record  # one that was there keeps its place
            else:
                unnumbered.pop(key, None)
        if record.seq:
            insort(self._numbered, record, key=_seq)
        self._shown = None

    def drop(self, record: Record) -> None:
        """Forget a record."""
        known = self._known.pop(key_of(record), None)
        if known is None:
            return
        if known.seq:
            self._numbered.pop(self._place(known))
        self._failed.pop(key_of(record), None)
        self._waiting.pop(key_of(record), None)
        self._shown = None

    def trim(self, most: int) -> None:
        """Forget all but the last of the numbered ones."""
        for record in self._numbered[:-most]:
            del self._known[key_of(record)]
        if len(self._numbered) > most:
            del self._numbered[:-most]
            self._shown = None

    def _place(self, record: Record) -> int:
        place = bisect_left(self._numbered, record.seq, key=_seq)
        while self._numbered[place] is not record:
            place += 1
        return place


def key_of(record: Record) -> Key:
    """What stays of a record when it is written anew."""
    return record.message_id, record.sender


def _seq(record: Record) -> ConversationSeq:
    return record.seq


def _behind_what_is_older(shown: list[Record], record: Record) -> int:
    for place in range(len(shown) - 1, -1, -1):
        if shown[place].at_ms <= record.at_ms:
            return place + 1
    return 0
