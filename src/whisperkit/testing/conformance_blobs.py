"""What the bytes of attachments promise, as checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from whisperkit.errors import WhisperError
from whisperkit.ids import BlobId
from whisperkit.stores import (
    BlobBytes,
)
from whisperkit.testing.conformance import Check, Conformance, Lab, LawBrokenError, NotApplicable, expect, in_lab

__all__ = ["BLOB_CHECKS", "BlobBytesConformance"]


def _blob(lab: Lab[BlobBytes], number: int) -> BlobId:
    return BlobId(f"{lab.name('').removeprefix('kit-').rstrip('-')}{number:020x}")


@in_lab
async def bytes_are_read_where_they_were_written(lab: Lab[BlobBytes]) -> None:
    blob, other = _blob(lab, 1), _blob(lab, 2)
    async with lab.make() as store:
        sizes = [await store.put(blob, 0, b"hello "), await store.put(blob, 6, b"world")]

        expect(sizes, [6, 11], "put returns the size")
        parts = [
            await store.read(blob, *where) for where in ((0, 100), (6, 5), (4, 3), (9, 5), (11, 5), (50, 5), (0, 0))
        ]
        expect(parts, [b"hello world", b"world", b"o w", b"ld", b"", b"", b""], "read is exact, and shorter at the end")
        expect(await store.read(other, 0, 10), b"", "nothing is read of what is not there")


@in_lab
async def a_write_may_be_repeated(lab: Lab[BlobBytes]) -> None:
    blob = _blob(lab, 1)
    chunk = bytes(range(256)) * 1_024
    async with lab.make() as store:
        await store.put(blob, 0, chunk)
        await store.put(blob, len(chunk), chunk)
        again = await store.put(blob, 0, chunk)

        expect(again, 2 * len(chunk), "a repeated write cuts nothing off")
        expect(await store.read(blob, len(chunk) - 2, 4), chunk[-2:] + chunk[:2], "a repeated write changes nothing")


@in_lab
async def a_hole_is_refused(lab: Lab[BlobBytes]) -> None:
    blob = _blob(lab, 1)
    async with lab.make() as store:
        await store.put(blob, 0, b"abc")
        try:
            await store.put(blob, 5, b"x")
        except WhisperError:
            expect(await store.read(blob, 0, 10), b"abc", "a refused write changes nothing")
        else:
            raise LawBrokenError("an offset beyond the end leaves a hole, and was accepted")


@in_lab
async def a_dropped_attachment_is_gone(lab: Lab[BlobBytes]) -> None:
    blob, other = _blob(lab, 1), _blob(lab, 2)
    async with lab.make() as store:
        await store.put(blob, 0, b"abc")
        await store.put(other, 0, b"def")

        await store.drop(blob)
        await store.drop(blob)

        expect([await store.read(name, 0, 9) for name in (blob, other)], [b"", b"def"], "drop forgets one and no other")
        expect(await store.put(blob, 0, b"x"), 1, "what was dropped begins anew")


@in_lab
async def bytes_are_there_after_a_restart(lab: Lab[BlobBytes]) -> None:
    blob = _blob(lab, 1)
    if not lab.survives_restart:
        raise NotApplicable("survives_restart is false")
    async with lab.make() as store:
        await store.put(blob, 0, b"abc")

    async with lab.make() as store:
        expect(await store.put(blob, 3, b"d"), 4, "an upload goes on after a restart")
        expect(await store.read(blob, 0, 9), b"abcd", "bytes survive a restart")


BLOB_CHECKS: Final[tuple[Check[BlobBytes], ...]] = (
    bytes_are_read_where_they_were_written,
    a_write_may_be_repeated,
    a_hole_is_refused,
    a_dropped_attachment_is_gone,
    bytes_are_there_after_a_restart,
)


class BlobBytesConformance(Conformance[BlobBytes]):
    """Checks `BlobBytes`."""

    checks: Sequence[Check[BlobBytes]] = BLOB_CHECKS
