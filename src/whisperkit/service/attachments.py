"""The life of attachments on the server: reserved, committed, kept, and gone when their time is over.

A store of partitions cannot list them, so each attachment is filed under the hour in which it may be over, before it is
reserved. The sweep looks at hours that have passed: what is over goes, by compare-and-set; what somebody kept
meanwhile is filed under its new hour (model m09).
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Final

from whisperkit import blobs
from whisperkit.blobs import Blob, Committed, Deleting, Gone, Incomplete, Kept, NotYours, Reserved
from whisperkit.ids import BlobId, UserId
from whisperkit.partitions import Partition, Row, Step, prefix
from whisperkit.service.catchup import CatchUp
from whisperkit.service.codecs import BLOB
from whisperkit.service.core import Core
from whisperkit.service.working_set import Codec, WorkingSet
from whisperkit.stores import Mark

__all__ = ["Attachments"]

log = logging.getLogger("whisperkit.service")

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
# An upload that is not complete by then is forgotten.
RESERVED_MS: Final = DAY_MS

# Hours that were swept, as a mark.
_SWEPT: Final = Partition("due/swept")
_HOUR: Final = "hour"
_FILED: Final = b"b/"
_LOOKED_AT_ONCE: Final = 256


class Attachments:
    """Runs the rules of `whisperkit.blobs`.

    Args:
        core: The gateway.
        catchup: Reads rows.
    """

    def __init__(self, core: Core, catchup: CatchUp) -> None:
        self._core = core
        self._catchup = catchup

    async def reserve(
        self, blob: BlobId, *, owner: UserId, size: int
    ) -> Reserved | Committed | Incomplete | NotYours | Gone:
        """Let a user upload; see `whisperkit.blobs.reserve`."""
        until_ms = self._core.runtime.wall_ms() + RESERVED_MS
        await self._file(blob, until_ms)
        answer: Reserved | Committed | Incomplete | NotYours | Gone = await self._run(
            blob, partial(blobs.reserve, owner=owner, size=size, until_ms=until_ms)
        )
        return answer

    async def commit(self, blob: BlobId, *, owner: UserId, stored: int) -> Committed | Incomplete | NotYours | Gone:
        """Say that an upload is complete; see `whisperkit.blobs.commit`. It lives a day longer than an entry."""
        until_ms = self._core.runtime.wall_ms() + (self._core.config.inbox_days + 1) * DAY_MS
        answer: Committed | Incomplete | NotYours | Gone = await self._run(
            blob, partial(blobs.commit, owner=owner, stored=stored, until_ms=until_ms)
        )
        return answer

    async def keep(self, blob: BlobId, *, until_ms: int) -> Kept | Incomplete | Gone:
        """Let it live until then, at least; see `whisperkit.blobs.keep`."""
        answer: Kept | Incomplete | Gone = await self._run(blob, partial(blobs.keep, until_ms=until_ms))
        return answer

    async def look(self, blob: BlobId) -> Blob:
        """How far it has come, as it is in the store now."""
        name = blobs.partition(blob)
        head = (await self._core.stores.partitions.heads([name])).get(name)
        return blobs.decode(head.state if head is not None else b"")

    # ---- sweeping ----

    async def sweep(self, *, max_hours: int = 48) -> int:
        """Look at the hours that have passed since the last sweep. Returns how many attachments went.

        Args:
            max_hours: So many at once; the rest with the next call.
        """
        now = self._core.runtime.wall_ms() // HOUR_MS
        marks = (await self._core.stores.marks.marks([_SWEPT])).get(_SWEPT, {})
        hour = max(marks.get(_HOUR, 0), 0)
        if not hour:
            # The first sweep there ever is: nothing can be over that was not filed yet.
            await self._core.stores.marks.raise_marks([Mark(_SWEPT, _HOUR, now - 1)])
            return 0
        gone = 0
        for passed in range(hour + 1, min(now, hour + 1 + max_hours)):
            gone += await self._sweep_hour(passed)
            await self._core.stores.marks.raise_marks([Mark(_SWEPT, _HOUR, passed)])
        return gone

    async def overdue(self, *, max_hours: int = 48) -> int:
        """How many attachments are over and still there: none, once a sweep has come by.

        Args:
            max_hours: So many hours are looked at, those that passed first.
        """
        now_ms = self._core.runtime.wall_ms()
        swept = (await self._core.stores.marks.marks([_SWEPT])).get(_SWEPT, {}).get(_HOUR, 0)
        count = 0
        for hour in range(swept + 1, min(now_ms // HOUR_MS, swept + 1 + max_hours)):
            count += await self._count_overdue(hour, now_ms)
        return count

    async def _count_overdue(self, hour: int, now_ms: int) -> int:
        names = [blobs.partition(_blob_of(row)) async for row in self._catchup.scan(_filed(hour), prefix(_FILED))]
        count = 0
        for first in range(0, len(names), _LOOKED_AT_ONCE):
            heads = await self._core.stores.partitions.heads(names[first : first + _LOOKED_AT_ONCE])
            count += sum(blobs.decode(head.state).until_ms < now_ms for head in heads.values())
        return count

    async def _sweep_hour(self, hour: int) -> int:
        gone = 0
        rows = [row async for row in self._catchup.scan(_filed(hour), prefix(_FILED))]
        for row in rows:
            blob = _blob_of(row)
            over = partial(blobs.sweep, now_ms=self._core.runtime.wall_ms())
            answer: Deleting | Kept | Gone = await self._run(blob, over)
            if isinstance(answer, Deleting):
                await self._core.stores.blobs.drop(blob)
                gone += 1
            elif isinstance(answer, Kept):
                await self._file(blob, answer.until_ms)
        if rows:
            await self._core.executor.run(_Unfile(hour, [row.key for row in rows]))
            log.info("attachments swept", extra={"count": gone, "kept": len(rows) - gone})
        return gone

    async def _file(self, blob: BlobId, until_ms: int) -> None:
        await self._core.executor.run(_File(blob, until_ms // HOUR_MS + 1))

    async def _run(self, blob: BlobId, rule: Any) -> Any:  # Any: each rule has its own answers
        return await self._core.executor.run(_OnBlob(blob, rule))


def _filed(hour: int) -> Partition:
    return Partition(f"due/{hour}")


def _blob_of(filed: Row) -> BlobId:
    return BlobId(filed.key.removeprefix(_FILED).decode())


class _OnBlob:
    """Runs a rule on one attachment."""

    def __init__(self, blob: BlobId, rule: Any) -> None:  # Any: a rule of `whisperkit.blobs` with its arguments
        self.lane = blobs.partition(blob)
        self._rule = rule

    def run(self, work: WorkingSet) -> Any:
        state = work.state(self.lane, BLOB)
        step = self._rule(state)
        return work.apply(self.lane, step) if step.changes(state) else step.answer


# What is filed under an hour has rows only.
def _decode_nothing(_data: bytes) -> None: ...


def _encode_nothing(_state: None) -> bytes:
    return b""


_ROWS_ONLY: Final[Codec[None]] = Codec(_decode_nothing, _encode_nothing)


class _File:
    """Files an attachment under an hour."""

    def __init__(self, blob: BlobId, hour: int) -> None:
        self.lane = _filed(hour)
        self._row = Row(_FILED + blob.encode(), b"")

    def run(self, work: WorkingSet) -> None:
        work.apply(self.lane, Step(None, work.state(self.lane, _ROWS_ONLY), put=(self._row,)))


class _Unfile:
    """Forgets what was filed under an hour that was swept."""

    def __init__(self, hour: int, keys: list[bytes]) -> None:
        self.lane = _filed(hour)
        self._keys = tuple(keys)

    def run(self, work: WorkingSet) -> None:
        work.apply(self.lane, Step(None, work.state(self.lane, _ROWS_ONLY), delete=self._keys))
