"""Attachments as files pass the kit; what the kit does not ask is here."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from examples.adapters.files import FileBlobs
from whisperkit.errors import UsageError
from whisperkit.ids import BlobId
from whisperkit.stores import BlobBytes
from whisperkit.testing import BlobBytesConformance

BLOB = BlobId("ab" * 16)


class TestFileBlobs(BlobBytesConformance):
    survives_restart = True
    path: Path

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "blobs"

    @asynccontextmanager
    async def make_store(self) -> AsyncGenerator[BlobBytes]:
        yield FileBlobs(self.path)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.anyio
async def test_asking_for_the_size_makes_no_file(tmp_path: Path) -> None:
    store = FileBlobs(tmp_path)

    assert await store.put(BLOB, 0, b"") == 0
    assert files_in(tmp_path) == []
    with pytest.raises(UsageError, match="has 0 bytes"):
        await store.put(BLOB, 1, b"")


@pytest.mark.anyio
async def test_a_file_is_for_its_owner_only(tmp_path: Path) -> None:
    await FileBlobs(tmp_path).put(BLOB, 0, b"x")

    assert (tmp_path / "ab" / BLOB).stat().st_mode & 0o077 == 0


@pytest.mark.anyio
async def test_writes_that_the_system_cuts_short_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite

    def a_little(file: int, data: memoryview, at: int) -> int:
        return whole(file, data[:3], at)

    monkeypatch.setattr(os, "pwrite", a_little)
    store = FileBlobs(tmp_path)

    assert await store.put(BLOB, 0, b"0123456789") == 10
    assert await store.read(BLOB, 0, 100) == b"0123456789"


@pytest.mark.anyio
async def test_settling_syncs_the_file_and_then_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def fsync(file: int) -> None:
        synced.append(Path(f"/proc/self/fd/{file}").readlink().name if Path("/proc/self/fd").exists() else "?")

    store = FileBlobs(tmp_path)
    await store.put(BLOB, 0, b"x")
    monkeypatch.setattr(os, "fsync", fsync)
    await store.settle(BLOB)

    assert synced in ([BLOB, "ab"], ["?", "?"])
