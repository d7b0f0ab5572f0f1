"""The doors to storage: what a database must promise, and nothing of how.

`PartitionStore` is the one that an application puts on its own database: three methods. The others have
defaults over it (`whisperkit.stores.defaults`) or an in-memory reference (`whisperkit.stores.memory`),
because they hold what may be lost (`Directory`), may be repeated (`JobLog`), only rises (`MarkStore`) or is
large (`BlobBytes`).

Whatever a backend raises from a call, the library treats as `OutcomeUnknownError`: an adapter needs
no try/except of its own, but may say more precisely what it knows (`ConflictError`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple, NewType, Protocol, TypeAlias

from whisperkit.ids import BlobId, ConversationId, ConversationSeq, DeviceId, Owner, UserId
from whisperkit.partitions import Change, Head, Partition, Row, Span

__all__ = [
    "MAX_MARK_NAME_CHARS",
    "Absent",
    "Binding",
    "BlobBytes",
    "Bound",
    "Claim",
    "Directory",
    "Job",
    "JobLog",
    "Kept",
    "Lookup",
    "Mark",
    "MarkStore",
    "Newer",
    "PartitionStore",
    "Roster",
    "RosterSource",
    "Token",
    "Unbound",
    "Unknown",
]

MAX_MARK_NAME_CHARS: Final = 64


class PartitionStore(Protocol):
    """Partitions of a versioned head and ordered rows; every durable thing of the library is in one.

    Laws, each checked by `whisperkit.testing.PartitionStoreConformance`:

    1. A commit is all or nothing: heads, rows put and rows deleted, of all its changes.
    2. A commit applies only if every change is at its `expected` version, and raises those versions by one.
    3. A read sees every commit that returned before the read began.
    4. Versions never go back within a generation of the store; a partition that holds nothing keeps its own.
    5. Any call may raise; a commit that raised anything but `ConflictError` did all of it or nothing.
    6. A `drop` touches rows that were there at its commit, now or later; rows put by later commits stay.

    Attributes:
        spans_partitions: Whether one commit may carry changes to several partitions. If false, the
            library hands over one change at a time.
    """

    @property
    def spans_partitions(self) -> bool: ...

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        """Read heads. A partition that was never written is absent."""
        ...

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        """Read rows: span after span, each in key order (from the end if reversed), `limit` rows in all.

        A partition that was never written has none. Rows may be newer than a head that was read before them.
        """
        ...

    async def commit(self, changes: Sequence[Change]) -> None:
        """Apply changes, sorted by partition, at most one for each.

        Raises:
            ConflictError: A change is not at its `expected` version; nothing was done.
            OutcomeUnknownError: It may or may not have been done.
        """
        ...


class Mark(NamedTuple):
    """A register that only rises.

    Attributes:
        partition: What it belongs to.
        name: 1 to `MAX_MARK_NAME_CHARS` ASCII characters, such as ``read/<user>``.
        value: 0 to 2**63 - 1.
    """

    partition: Partition
    name: str
    value: int


class MarkStore(Protocol):
    """Registers that only rise: any order, any repetition, the same result."""

    async def raise_marks(self, marks: Sequence[Mark]) -> None:
        """Raise each mark to its value unless it is there already; durable when it returns."""
        ...

    async def marks(self, partitions: Collection[Partition]) -> Mapping[Partition, Mapping[str, int]]:
        """All marks of each partition; a mark never raised is absent, and so may a partition without any."""
        ...


# ---- jobs -----------------------------------------------------------------------------------------------------------


class Job(NamedTuple):
    """One piece of work: finish this conversation up to here."""

    conversation: ConversationId
    upto: ConversationSeq


class Claim(NamedTuple):
    """Jobs that somebody took.

    Attributes:
        jobs: At most as many as asked for; empty when there are none now.
        token: What `done` needs to know; opaque.
    """

    jobs: tuple[Job, ...]
    token: bytes


class JobLog(Protocol):
    """Work that outlives the process that found it: at least once, in order for each conversation."""

    async def put(self, conversation: ConversationId, upto: ConversationSeq) -> None:
        """Add a job; durable when it returns."""
        ...

    async def take(self, limit: int) -> Claim:
        """Take up to `limit` jobs. What is not `done` comes again, after a while or after a restart."""
        ...

    async def done(self, claim: Claim) -> None:
        """Say that the jobs of a claim need not come again. Advice: a zombie that says it is harmless."""
        ...


# ---- where devices are connected ------------------------------------------------------------------------------------

Token = NewType("Token", bytes)
"""Names one binding, so that only who made it takes it away."""


class Binding(NamedTuple):
    """Says that a device is connected at a gateway.

    Attributes:
        device: Which device.
        connection_no: Raised by the device at each attempt to connect; the higher one wins, however late it arrives.
        owner: The gateway and its incarnation; counts only while that owner is alive.
        token: Names this binding.
    """

    device: DeviceId
    connection_no: int
    owner: Owner
    token: Token


class Bound(NamedTuple):
    """The device is bound, as far as the directory knows."""

    binding: Binding


class Newer(NamedTuple):
    """The device has a newer connection than the one that was named."""

    binding: Binding


class Kept(NamedTuple):
    """The binding still stands."""

    binding: Binding


class Absent(NamedTuple):
    """There is no binding, as after the directory lost its memory: bind again."""

    device: DeviceId


class Unbound(NamedTuple):
    """The device is not connected."""

    device: DeviceId


class Unknown(NamedTuple):
    """The directory is too young to tell."""

    device: DeviceId


Lookup: TypeAlias = Bound | Unbound | Unknown


class Directory(Protocol):
    """Where devices are connected. Ephemeral: losing it costs time, never a message."""

    async def bind(self, batch: Sequence[Binding]) -> Sequence[Bound | Newer]:
        """Say that devices are connected. One wins iff the `connection_no` there is not higher. Answers in order."""
        ...

    async def keep(self, batch: Sequence[Binding]) -> Sequence[Kept | Absent | Newer]:
        """Renew. `Absent` means bind again; only `Newer` means that the connection was displaced."""
        ...

    async def unbind(self, device: DeviceId, token: Token) -> None:
        """Take the binding away if it still is the one of this token."""
        ...

    async def lookup(self, devices: Collection[DeviceId]) -> Mapping[DeviceId, Bound | Unbound | Unknown]:
        """Where the devices are; a binding of an owner that is not alive does not count."""
        ...

    async def alive(self, owner: Owner, ttl_s: float) -> None:
        """Say that a gateway lives, for `ttl_s` seconds from now."""
        ...

    async def gone(self, owners: Collection[Owner]) -> frozenset[Owner]:
        """Those of the owners whose lease is not there: it ran out, was forgotten, or never was.

        None of them while the directory is young: then whoever is alive may not have said so yet. It is young from
        when it lost its memory until every gateway has had the time to renew its lease.
        """
        ...


# ---- attachments ----------------------------------------------------------------------------------------------------


class BlobBytes(Protocol):
    """The bytes of attachments; what they mean and how long they live is `whisperkit.blobs`' business."""

    async def put(self, blob: BlobId, offset: int, data: bytes) -> int:
        """Write at an offset that is at most the present size; repeating a write is harmless. Returns the size."""
        ...

    async def read(self, blob: BlobId, offset: int, size: int) -> bytes:
        """Read at most `size` bytes; shorter at the end, empty beyond it or when there is nothing."""
        ...

    async def drop(self, blob: BlobId) -> None:
        """Forget the bytes; dropping what is not there is no error."""
        ...


# ---- rooms that an application already has --------------------------------------------------------------------------


class Roster(NamedTuple):
    """The members of a room, as the application knows them.

    Attributes:
        version: Raised by every change of the members.
        members: Who is in it.
    """

    version: int
    members: frozenset[UserId]


class RosterSource(Protocol):
    """Rooms that the application keeps; a difference found at a post becomes a roster post first."""

    async def roster(self, conversation: ConversationId) -> Roster | None:
        """The members now; `None` if the application does not know the room: then the library's own roster counts."""
        ...
