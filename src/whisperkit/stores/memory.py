"""The doors in memory: the reference that every adapter is measured against, and enough for tests and demos.

Nothing here waits or imports an event loop, so each call is one step of whoever drives it, a real loop or
the simulator. What is given back is immutable or a copy.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from whisperkit.errors import ConflictError, UsageError
from whisperkit.ids import BlobId, ConversationId, ConversationSeq, DeviceId, GatewayId, Owner
from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.stores.doors import (
    Absent,
    Binding,
    Bound,
    Claim,
    Job,
    Kept,
    Lookup,
    Mark,
    Newer,
    Token,
    Unbound,
    Unknown,
)
from whisperkit.transport import Hint, HintResult

__all__ = [
    "CLAIM_S",
    "FORGET_S",
    "YOUNG_S",
    "LocalBus",
    "MemoryBlobs",
    "MemoryDirectory",
    "MemoryJobs",
    "MemoryMarks",
    "MemoryPartitions",
]

# A job that was taken and not done comes again after this long: longer than finishing 5,000 members takes.
CLAIM_S: Final = 60.0
# Presence and leases are renewed every 10 to 30 s: after 40 s everybody alive has been heard of.
YOUNG_S: Final = 40.0
# A gateway that stood still finds its bindings again; what nobody renewed for an hour is of no use to anybody.
FORGET_S: Final = 3_600.0


class _Rows:
    """The rows of one partition: a dict for the values, a sorted list for the order."""

    __slots__ = ("keys", "values")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.values: dict[bytes, bytes] = {}

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.values:
            insort(self.keys, key)
        self.values[key] = value

    def delete(self, key: bytes) -> None:
        if self.values.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]

    def drop(self, span: Span) -> None:
        start, stop = self._bounds(span)
        for key in self.keys[start:stop]:
            del self.values[key]
        del self.keys[start:stop]

    def read(self, span: Span, limit: int) -> list[Row]:
        start, stop = self._bounds(span)
        if span.reverse:
            chosen = self.keys[max(start, stop - limit) : stop][::-1]
        else:
            chosen = self.keys[start : min(stop, start + limit)]
        return [Row(key, self.values[key]) for key in chosen]

    def _bounds(self, span: Span) -> tuple[int, int]:
        start = bisect_left(self.keys, span.start)
        return start, max(start, bisect_left(self.keys, span.stop))


class MemoryPartitions:
    """A `PartitionStore` in memory."""

    spans_partitions = True

    def __init__(self) -> None:
        self._heads: dict[Partition, Head] = {}
        self._rows: defaultdict[Partition, _Rows] = defaultdict(_Rows)

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        """Read heads; see `PartitionStore.heads`."""
        return {name: head for name in partitions if (head := self._heads.get(name)) is not None}

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        """Read rows; see `PartitionStore.rows`."""
        found: list[Row] = []
        rows = self._rows.get(partition)
        if rows is not None:
            for span in spans:
                found += rows.read(span, limit - len(found))
        return found

    async def commit(self, changes: Sequence[Change]) -> None:
        """Apply changes; see `PartitionStore.commit`."""
        behind = [c.partition for c in changes if self._version(c.partition) != c.expected]
        if behind:
            raise ConflictError(behind[0], heads=await self.heads(behind))
        for change in changes:
            self._apply(change)

    def _version(self, partition: Partition) -> int:
        head = self._heads.get(partition)
        return head.version if head is not None else 0

    def _apply(self, change: Change) -> None:
        self._heads[change.partition] = Head(change.expected + 1, change.state)
        rows = self._rows[change.partition]
        if change.drop is not None:
            rows.drop(change.drop)
        for key in change.delete:
            rows.delete(key)
        for key, value in change.put:
            rows.put(key, value)


class MemoryMarks:
    """A `MarkStore` in memory."""

    def __init__(self) -> None:
        self._marks: defaultdict[Partition, dict[str, int]] = defaultdict(dict)

    async def raise_marks(self, marks: Sequence[Mark]) -> None:
        """Raise marks; see `MarkStore.raise_marks`."""
        for partition, name, value in marks:
            there = self._marks[partition]
            there[name] = max(value, there.get(name, 0))

    async def marks(self, partitions: Collection[Partition]) -> Mapping[Partition, Mapping[str, int]]:
        """Read marks; see `MarkStore.marks`."""
        return {name: dict(self._marks[name]) for name in partitions if name in self._marks}


class MemoryJobs:
    """A `JobLog` in memory: one job for each conversation, up to the highest number put.

    Args:
        now: Seconds on a monotonic clock; a claim that is not done for `CLAIM_S` comes again.
    """

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._upto: dict[ConversationId, ConversationSeq] = {}
        self._claimed: dict[ConversationId, tuple[bytes, float]] = {}
        self._count = 0

    async def put(self, conversation: ConversationId, upto: ConversationSeq) -> None:
        """Add a job; see `JobLog.put`."""
        self._upto[conversation] = max(upto, self._upto.get(conversation, upto))

    async def take(self, limit: int) -> Claim:
        """Take jobs; see `JobLog.take`."""
        now = self._now()
        self._count += 1
        token = self._count.to_bytes(8, "big")
        free = [name for name in self._upto if self._claimed.get(name, (b"", now))[1] <= now][:limit]
        for name in free:
            self._claimed[name] = (token, now + CLAIM_S)
        return Claim(tuple(Job(name, self._upto[name]) for name in free), token)

    async def done(self, claim: Claim) -> None:
        """Forget jobs; see `JobLog.done`."""
        for conversation, upto in claim.jobs:
            if self._claimed.get(conversation, (b"",))[0] == claim.token:
                del self._claimed[conversation]
            if self._upto.get(conversation, upto + 1) <= upto:
                del self._upto[conversation]
                self._claimed.pop(conversation, None)


class MemoryDirectory:
    """A `Directory` in memory.

    Args:
        now: Seconds on a monotonic clock.
    """

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self.empty()

    def empty(self) -> None:
        """Lose everything and be young again, as after a restart of a directory that keeps nothing on disk."""
        self._young_until = self._now() + YOUNG_S
        self._bindings: dict[DeviceId, Binding] = {}
        self._alive_until: dict[Owner, float] = {}

    async def bind(self, batch: Sequence[Binding]) -> Sequence[Bound | Newer]:
        """Say that devices are connected; see `Directory.bind`."""
        return [self._bind(binding) for binding in batch]

    def _bind(self, binding: Binding) -> Bound | Newer:
        there = self._bindings.get(binding.device)
        if there is not None and there.connection_no > binding.connection_no:
            return Newer(there)
        self._bindings[binding.device] = binding
        return Bound(binding)

    async def keep(self, batch: Sequence[Binding]) -> Sequence[Kept | Absent | Newer]:
        """Renew bindings; see `Directory.keep`."""
        return [self._keep(binding) for binding in batch]

    def _keep(self, binding: Binding) -> Kept | Absent | Newer:
        there = self._bindings.get(binding.device)
        if there is not None and there.token == binding.token:
            return Kept(there)
        # A lower or equal number there is no displacement: after a loss of memory an older connection may have
        # bound first. `Newer` sends a client away for good, so it must never hit the only live connection.
        if there is None or there.connection_no <= binding.connection_no:
            return Absent(binding.device)
        return Newer(there)

    async def unbind(self, device: DeviceId, token: Token) -> None:
        """Take a binding away; see `Directory.unbind`."""
        there = self._bindings.get(device)
        if there is not None and there.token == token:
            del self._bindings[device]

    async def lookup(self, devices: Collection[DeviceId]) -> Mapping[DeviceId, Lookup]:
        """Find devices; see `Directory.lookup`."""
        now = self._now()
        return {device: self._lookup(device, now) for device in devices}

    def _lookup(self, device: DeviceId, now: float) -> Lookup:
        there = self._bindings.get(device)
        if there is not None and self._alive_until.get(there.owner, now) > now:
            return Bound(there)
        return Unknown(device) if now < self._young_until else Unbound(device)

    async def alive(self, owner: Owner, ttl_s: float) -> None:
        """Renew a lease; see `Directory.alive`."""
        now = self._now()
        if owner not in self._alive_until:
            for old in [old for old, until in self._alive_until.items() if until + FORGET_S <= now]:
                self._forget(old)
        self._alive_until[owner] = now + ttl_s

    async def gone(self, owners: Collection[Owner]) -> frozenset[Owner]:
        """Find owners without a lease; see `Directory.gone`."""
        now = self._now()
        if now < self._young_until:
            return frozenset()
        return frozenset(owner for owner in owners if self._alive_until.get(owner, now) <= now)

    def _forget(self, owner: Owner) -> None:
        del self._alive_until[owner]
        for device in [device for device, there in self._bindings.items() if there.owner == owner]:
            del self._bindings[device]


class MemoryBlobs:
    """`BlobBytes` in memory."""

    def __init__(self) -> None:
        self._blobs: dict[BlobId, bytearray] = {}

    async def put(self, blob: BlobId, offset: int, data: bytes) -> int:
        """Write bytes; see `BlobBytes.put`."""
        there = self._blobs.get(blob, bytearray())
        if not 0 <= offset <= len(there):
            raise UsageError(f"offset {offset} leaves a hole; {blob} has {len(there)} bytes")
        there[offset : offset + len(data)] = data
        self._blobs[blob] = there
        return len(there)

    async def read(self, blob: BlobId, offset: int, size: int) -> bytes:
        """Read bytes; see `BlobBytes.read`."""
        return bytes(self._blobs.get(blob, bytearray())[offset : offset + size])

    async def drop(self, blob: BlobId) -> None:
        """Forget bytes; see `BlobBytes.drop`."""
        self._blobs.pop(blob, None)


class LocalBus:
    """A `Bus` between gateways of one process: a call."""

    def __init__(self) -> None:
        self._gateways: dict[GatewayId, Callable[[Sequence[Hint]], Sequence[HintResult]]] = {}

    def join(self, gateway: GatewayId, take: Callable[[Sequence[Hint]], Sequence[HintResult]]) -> None:
        """Let a gateway hear hints.

        Args:
            gateway: Its name; a second one under the same name replaces the first.
            take: Takes hints and answers each, in order; must not wait.
        """
        self._gateways[gateway] = take

    def leave(self, gateway: GatewayId) -> None:
        """Take a gateway off; harmless when it never joined."""
        self._gateways.pop(gateway, None)

    async def hint(self, gateway: GatewayId, hints: Sequence[Hint]) -> Sequence[HintResult]:
        """Tell a gateway of news; see `Bus.hint`."""
        take = self._gateways.get(gateway)
        return [None] * len(hints) if take is None else take(hints)
