"""Attachments as files of a directory: one file each, written in place, durable once `settle` returns.

An upload grows its file from the front, and the file's size is how far it has come: that is all there is to remember
for a resume, after a crash too. File systems that write a file's data before the size that covers it (ext4 as it is set
up by default, XFS, Btrfs, APFS) leave a prefix of what was written, never a hole. Whether an attachment is complete is
not the file's to say: that is in its partition, which is committed after `settle` has synced the file.

File calls run in worker threads, one call for a piece of a body.
"""

from __future__ import annotations

import os
from pathlib import Path

from anyio import to_thread

from whisperkit.errors import UsageError
from whisperkit.ids import BlobId

__all__ = ["FileBlobs"]


class FileBlobs:
    """`BlobBytes` in a directory, which is made if it is not there.

    Args:
        folder: Where; files go into 256 folders, so that none gets too large.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        for first in range(256):
            (self._folder / f"{first:02x}").mkdir(parents=True, exist_ok=True)

    async def put(self, blob: BlobId, offset: int, data: bytes) -> int:
        """Write bytes; see `BlobBytes.put`. Without data nothing is made, and the answer is the size.

        Raises:
            UsageError: The offset leaves a hole.
        """
        return await to_thread.run_sync(self._put, blob, offset, data)

    async def read(self, blob: BlobId, offset: int, size: int) -> bytes:
        """Read bytes; see `BlobBytes.read`."""
        return await to_thread.run_sync(self._read, blob, offset, size)

    async def drop(self, blob: BlobId) -> None:
        """Forget bytes; see `BlobBytes.drop`."""
        await to_thread.run_sync(self._drop, blob)

    async def settle(self, blob: BlobId) -> None:
        """Make what was put durable: the bytes, and the name under which they are found."""
        await to_thread.run_sync(self._settle, blob)

    def _path(self, blob: BlobId) -> Path:
        return self._folder / blob[:2] / blob

    def _put(self, blob: BlobId, offset: int, data: bytes) -> int:
        path = self._path(blob)
        if not data and not path.exists():
            return _at_most(0, offset, blob)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _at_most(os.fstat(file).st_size, offset, blob)
            view = memoryview(data)
            while view:
                written = os.pwrite(file, view, offset)
                offset += written
                view = view[written:]
            return os.fstat(file).st_size
        finally:
            os.close(file)

    def _read(self, blob: BlobId, offset: int, size: int) -> bytes:
        try:
            file = os.open(self._path(blob), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(file, size, offset)
        finally:
            os.close(file)

    def _drop(self, blob: BlobId) -> None:
        self._path(blob).unlink(missing_ok=True)

    def _settle(self, blob: BlobId) -> None:
        path = self._path(blob)
        for place in (path, path.parent):
            file = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(file)
            finally:
                os.close(file)


def _at_most(size: int, offset: int, blob: BlobId) -> int:
    if not 0 <= offset <= size:
        raise UsageError(f"offset {offset} leaves a hole; {blob} has {size} bytes")
    return size
