"""The kits of the smaller doors catch each implementation that is broken in one way."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from whisperkit.stores import BlobBytes, MarkStore, MemoryBlobs, MemoryDirectory, MemoryJobs, MemoryMarks
from whisperkit.stores.memory import CLAIM_S, YOUNG_S
from whisperkit.testing import (
    BLOB_CHECKS,
    DIRECTORY_CHECKS,
    JOB_CHECKS,
    MARK_CHECKS,
    DirectoryInTime,
    JobsInTime,
    LawBrokenError,
    run_conformance,
)
from whisperkit.testing.broken_doors import BROKEN_BLOBS, BROKEN_DIRECTORIES, BROKEN_JOBS, BROKEN_MARKS


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    async def wait(self, seconds: float) -> None:
        self.time += seconds


def name_of(broken: Callable[..., object]) -> str:
    return broken.__name__


@pytest.mark.parametrize("broken", BROKEN_MARKS, ids=name_of)
def test_broken_marks_are_caught(broken: type[MemoryMarks]) -> None:
    @asynccontextmanager
    async def make() -> AsyncGenerator[MarkStore]:
        yield broken()

    with pytest.raises(LawBrokenError):
        run_conformance(make, MARK_CHECKS)


@pytest.mark.parametrize("broken", BROKEN_JOBS, ids=name_of)
def test_broken_jobs_are_caught(broken: type[MemoryJobs]) -> None:
    @asynccontextmanager
    async def make() -> AsyncGenerator[JobsInTime]:
        clock = Clock()
        yield JobsInTime(broken(now=clock.now), clock.wait, CLAIM_S)

    with pytest.raises(LawBrokenError):
        run_conformance(make, JOB_CHECKS)


@pytest.mark.parametrize("broken", BROKEN_DIRECTORIES, ids=name_of)
def test_a_broken_directory_is_caught(broken: type[MemoryDirectory]) -> None:
    @asynccontextmanager
    async def make() -> AsyncGenerator[DirectoryInTime]:
        clock = Clock()
        yield DirectoryInTime(broken(now=clock.now), clock.wait, YOUNG_S)

    with pytest.raises(LawBrokenError):
        run_conformance(make, DIRECTORY_CHECKS)


@pytest.mark.parametrize("broken", BROKEN_BLOBS, ids=name_of)
def test_broken_attachments_are_caught(broken: type[MemoryBlobs]) -> None:
    @asynccontextmanager
    async def make() -> AsyncGenerator[BlobBytes]:
        yield broken()

    with pytest.raises(LawBrokenError):
        run_conformance(make, BLOB_CHECKS)
