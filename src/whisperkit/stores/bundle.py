"""All doors of a service in one value."""

from __future__ import annotations

import time

import attrs

from whisperkit.runtime import Runtime
from whisperkit.stores.defaults import PartitionJobs, PartitionMarks
from whisperkit.stores.doors import BlobBytes, Directory, JobLog, MarkStore, PartitionStore, RosterSource
from whisperkit.stores.memory import (
    LocalBus,
    MemoryBlobs,
    MemoryDirectory,
    MemoryJobs,
    MemoryMarks,
    MemoryPartitions,
)
from whisperkit.transport import Bus

__all__ = ["Stores"]


@attrs.frozen(kw_only=True)
class Stores:
    """What a service keeps and through what it speaks to other gateways.

    Attributes:
        partitions: Everything durable.
        marks: Receipts, acks and last seen.
        directory: Where devices are connected.
        jobs: Work that outlives who found it.
        blobs: The bytes of attachments.
        rosters: Rooms that the application keeps; `None` if it keeps none.
        bus: Hints between gateways.
    """

    partitions: PartitionStore
    marks: MarkStore
    directory: Directory
    jobs: JobLog
    blobs: BlobBytes
    rosters: RosterSource | None
    bus: Bus

    @classmethod
    def memory(cls, *, runtime: Runtime | None = None) -> Stores:
        """Keep everything in memory, for tests and demonstrations.

        Args:
            runtime: Its clock; without one the system's.
        """
        now = runtime.now if runtime else time.monotonic
        return cls(
            partitions=MemoryPartitions(),
            marks=MemoryMarks(),
            directory=MemoryDirectory(now=now),
            jobs=MemoryJobs(now=now),
            blobs=MemoryBlobs(),
            rosters=None,
            bus=LocalBus(),
        )

    @classmethod
    def over(
        cls,
        partitions: PartitionStore,
        *,
        marks: MarkStore | None = None,
        jobs: JobLog | None = None,
        directory: Directory | None = None,
        blobs: BlobBytes | None = None,
        rosters: RosterSource | None = None,
        bus: Bus | None = None,
        runtime: Runtime | None = None,
    ) -> Stores:
        """Keep what is durable in your database, and the rest by default.

        Marks and jobs default to partitions of the same store. Directory, bus and the bytes of attachments default
        to the memory of this process: several processes stay correct, because a push is only a hint, but a device at
        another process learns of news one beat late, processes take each other for dead now and then, which costs time
        only, and attachments need a `blobs` of your own.

        Args:
            partitions: Your database.
            marks: A cheaper `MarkStore` than the default.
            jobs: A `JobLog` of your own.
            directory: A `Directory` that several gateways share.
            blobs: Where the bytes of attachments go.
            rosters: The rooms that you have already.
            bus: What carries hints between gateways.
            runtime: Clocks, and waits between attempts; without one the system's clocks and attempts at once.
        """
        return cls(
            partitions=partitions,
            marks=marks or PartitionMarks(partitions, runtime=runtime),
            jobs=jobs or PartitionJobs(partitions, runtime=runtime),
            directory=directory or MemoryDirectory(now=runtime.now if runtime else time.monotonic),
            blobs=blobs or MemoryBlobs(),
            rosters=rosters,
            bus=bus or LocalBus(),
        )
