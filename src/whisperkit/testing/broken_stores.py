"""Stores that are broken, each in one way that an adapter has been or could be: the kit must catch them all.

A kit that passes everything proves nothing. Each class here is a mistake that is easy to make over a real
database; its first line says which.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import anyio
import anyio.lowlevel

from whisperkit.errors import ConflictError
from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.stores import MemoryPartitions

__all__ = ["BROKEN_STORES"]


class ForgetsToCheck(MemoryPartitions):
    """Applies a change whatever version it expects."""

    async def commit(self, changes: Sequence[Change]) -> None:
        heads = await self.heads([change.partition for change in changes])
        there = [heads[change.partition].version if change.partition in heads else 0 for change in changes]
        await super().commit([change._replace(expected=now) for change, now in zip(changes, there, strict=True)])


class ChecksTheFirstOnly(MemoryPartitions):
    """Checks the version of the first change only."""

    async def commit(self, changes: Sequence[Change]) -> None:
        heads = await self.heads([change.partition for change in changes])
        there = [heads[change.partition].version if change.partition in heads else 0 for change in changes[1:]]
        rest = [change._replace(expected=now) for change, now in zip(changes[1:], there, strict=True)]
        await super().commit([*changes[:1], *rest])


class AppliesOneByOne(MemoryPartitions):
    """Commits each change by itself: those before a conflict stay."""

    async def commit(self, changes: Sequence[Change]) -> None:
        for change in changes:
            await super().commit([change])


class WaitsBetweenChanges(MemoryPartitions):
    """Checks all changes, then applies them one after the other, and others come in between."""

    async def commit(self, changes: Sequence[Change]) -> None:
        heads = await self.heads([change.partition for change in changes])
        for change in changes:
            if (heads[change.partition].version if change.partition in heads else 0) != change.expected:
                raise ConflictError(change.partition)
        for change in changes:
            await anyio.lowlevel.checkpoint()
            now = (await self.heads([change.partition])).get(change.partition, Head(0, b""))
            await super().commit([change._replace(expected=now.version)])


class PutsBeforeItChecks(MemoryPartitions):
    """Writes the rows, then tries the head: a refused commit leaves rows."""

    async def commit(self, changes: Sequence[Change]) -> None:
        for change in changes:
            for row in change.put:
                self._rows[change.partition].put(*row)
        await super().commit(changes)


class WritesTheHeadFirst(MemoryPartitions):
    """Writes the head, waits, then writes the rows: a reader sees half of a commit."""

    async def commit(self, changes: Sequence[Change]) -> None:
        await super().commit([change._replace(put=(), delete=()) for change in changes])
        await anyio.lowlevel.checkpoint()
        for change in changes:
            for row in change.put:
                self._rows[change.partition].put(*row)
            for key in change.delete:
                self._rows[change.partition].delete(key)


class SwallowsTheConflict(MemoryPartitions):
    """Returns as if nothing was wrong when a commit is refused."""

    async def commit(self, changes: Sequence[Change]) -> None:
        try:
            await super().commit(changes)
        except ConflictError:
            return


class RaisesSomethingElse(MemoryPartitions):
    """Lets the database's own error out where a version does not fit."""

    async def commit(self, changes: Sequence[Change]) -> None:
        try:
            await super().commit(changes)
        except ConflictError as error:
            raise LookupError("no row was updated") from error


class StartsAgainWhenEmpty(MemoryPartitions):
    """Deletes the head of a partition that holds nothing."""

    async def commit(self, changes: Sequence[Change]) -> None:
        await super().commit(changes)
        for change in changes:
            if not change.state and not await self.rows(change.partition, [Span(b"", b"\xff")], limit=1):
                del self._heads[change.partition]


class CountsInTwos(MemoryPartitions):
    """Raises the version by two."""

    def _apply(self, change: Change) -> None:
        super()._apply(change)
        self._heads[change.partition] = Head(change.expected + 2, change.state)


class RemembersHeads(MemoryPartitions):
    """Keeps heads in a cache that a commit does not touch."""

    def __init__(self) -> None:
        super().__init__()
        self._cache: dict[Partition, Head] = {}

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        self._cache = dict(await super().heads(partitions)) | self._cache
        return {name: self._cache[name] for name in partitions if name in self._cache}


class ReadsAReplica(MemoryPartitions):
    """Reads rows from a copy that is one commit behind."""

    def __init__(self) -> None:
        super().__init__()
        self._replica = MemoryPartitions()
        self._late: list[Change] = []

    async def commit(self, changes: Sequence[Change]) -> None:
        await super().commit(changes)
        await self._replica.commit(self._late)
        self._late = list(changes)

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        return await self._replica.rows(partition, spans, limit=limit)


class InventsHeads(MemoryPartitions):
    """Gives an empty head for a partition that was never written."""

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        found = await super().heads(partitions)
        return {name: found.get(name, Head(0, b"")) for name in partitions}


class LimitsHeads(MemoryPartitions):
    """Answers for a hundred partitions and drops the rest, as a page of results would."""

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        return await super().heads(list(partitions)[:100])


class IgnoresReverse(MemoryPartitions):
    """Reads every span forwards."""

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        return await super().rows(partition, [span._replace(reverse=False) for span in spans], limit=limit)


class ReversesAfterLimiting(MemoryPartitions):
    """Cuts a reversed span at the wrong end."""

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        found: list[Row] = []
        for span in spans:
            page = await super().rows(partition, [span._replace(reverse=False)], limit=limit - len(found))
            found += reversed(page) if span.reverse else page
        return found


class LimitsEachSpan(MemoryPartitions):
    """Takes the limit for each span by itself."""

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        return [row for span in spans for row in await super(LimitsEachSpan, self).rows(partition, [span], limit=limit)]


class IgnoresTheLimit(MemoryPartitions):
    """Returns all there is."""

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        return await super().rows(partition, spans, limit=1_000_000)


class SortsAllRows(MemoryPartitions):
    """Reads spans in key order, whatever order they came in."""

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        return await super().rows(partition, sorted(spans), limit=limit)


class IncludesTheStop(MemoryPartitions):
    """Reads a span with its end, as BETWEEN does."""

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        return await super().rows(partition, [span._replace(stop=span.stop + b"\0") for span in spans], limit=limit)


class ExcludesTheStart(MemoryPartitions):
    """Reads a span without its beginning."""

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        return await super().rows(partition, [span._replace(start=span.start + b"\0") for span in spans], limit=limit)


class ComparesAsText(MemoryPartitions):
    """Orders keys as a collation does, with high bytes before low ones."""

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        found: list[Row] = []
        for span in spans:
            page = list(await super().rows(partition, [span._replace(reverse=False)], limit=1_000_000))
            page.sort(key=lambda row: [byte - 256 if byte > 127 else byte for byte in row.key], reverse=span.reverse)
            found += page
        return found[:limit]


class KeepsTheFirstValue(MemoryPartitions):
    """Inserts a row and does nothing if the key is there."""

    async def commit(self, changes: Sequence[Change]) -> None:
        await super().commit(
            [
                change._replace(
                    put=tuple(row for row in change.put if row.key not in self._rows[change.partition].values)
                )
                for change in changes
            ]
        )


class NeverDeletes(MemoryPartitions):
    """Ignores keys to delete."""

    async def commit(self, changes: Sequence[Change]) -> None:
        await super().commit([change._replace(delete=()) for change in changes])


class DeletesWhatItPuts(MemoryPartitions):
    """Remembers dropped spans and hides all rows in them for ever, new ones too."""

    def __init__(self) -> None:
        super().__init__()
        self._dropped: list[tuple[Partition, Span]] = []

    async def commit(self, changes: Sequence[Change]) -> None:
        await super().commit(changes)
        self._dropped += [(change.partition, change.drop) for change in changes if change.drop is not None]

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        found = await super().rows(partition, spans, limit=limit)
        hidden = [span for name, span in self._dropped if name == partition]
        return [row for row in found if not any(span.start <= row.key < span.stop for span in hidden)]


class DropsTooMuch(MemoryPartitions):
    """Drops by the first byte of the span."""

    async def commit(self, changes: Sequence[Change]) -> None:
        wide = [
            change._replace(drop=Span(change.drop.start[:1], change.drop.start[:1] + b"\xff"))
            if change.drop
            else change
            for change in changes
        ]
        await super().commit(wide)


class SharesRows(MemoryPartitions):
    """Keeps the rows of all partitions under their keys alone."""

    async def commit(self, changes: Sequence[Change]) -> None:
        await super().commit(changes)
        for change in changes:
            for row in change.put:
                for rows in self._rows.values():
                    rows.put(*row)

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        there = partition if partition in self._rows else next(iter(self._rows))
        return await super().rows(there, spans, limit=limit)


class CutsValues(MemoryPartitions):
    """Keeps 64 KiB of a value, as a BLOB column of MySQL does."""

    async def commit(self, changes: Sequence[Change]) -> None:
        cut = [change._replace(put=tuple(Row(key, value[:65_535]) for key, value in change.put)) for change in changes]
        await super().commit(cut)


class DropsEmptyValues(MemoryPartitions):
    """Takes an empty value for none."""

    async def commit(self, changes: Sequence[Change]) -> None:
        full = [change._replace(put=tuple(row for row in change.put if row.value)) for change in changes]
        await super().commit(full)


BROKEN_STORES: Final[tuple[type[MemoryPartitions], ...]] = (
    ForgetsToCheck,
    ChecksTheFirstOnly,
    AppliesOneByOne,
    WaitsBetweenChanges,
    PutsBeforeItChecks,
    WritesTheHeadFirst,
    SwallowsTheConflict,
    RaisesSomethingElse,
    StartsAgainWhenEmpty,
    CountsInTwos,
    RemembersHeads,
    ReadsAReplica,
    InventsHeads,
    LimitsHeads,
    IgnoresReverse,
    ReversesAfterLimiting,
    LimitsEachSpan,
    IgnoresTheLimit,
    SortsAllRows,
    IncludesTheStop,
    ExcludesTheStart,
    ComparesAsText,
    KeepsTheFirstValue,
    NeverDeletes,
    DeletesWhatItPuts,
    DropsTooMuch,
    SharesRows,
    CutsValues,
    DropsEmptyValues,
)
