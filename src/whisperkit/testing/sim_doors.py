"""The doors of a simulated node: each call travels to another machine and back, and may fail on either way.

What is behind them is shared by all nodes and outlives their crashes. What fails is decided by `Fates`: somebody arms a
fate, and the next call of that door meets it. An armed fate is the whole decision, so it can be kept, and dropped,
one by one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import TypeVar

from whisperkit.errors import OutcomeUnknownError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, GatewayId, Owner
from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.stores import (
    Absent,
    Binding,
    Bound,
    Claim,
    Directory,
    JobLog,
    Kept,
    LocalBus,
    Lookup,
    Mark,
    MarkStore,
    Newer,
    PartitionStore,
    Token,
)
from whisperkit.testing.faulty import Crashed, Fault, FaultyPartitions, StoreCall
from whisperkit.testing.sim_runtime import SimRuntime, run_now
from whisperkit.transport import Hint, HintResult

__all__ = [
    "DOORS",
    "Fates",
    "ObservedMarks",
    "ObservedPartitions",
    "SimBus",
    "SimDirectory",
    "SimJobs",
    "SimMarks",
    "SimPartitions",
]

T = TypeVar("T")

DOORS = ("commit", "read", "marks", "jobs", "directory")


class Fates:
    """What is to happen to the next calls of one node, by door."""

    def __init__(self) -> None:
        self._armed: dict[str, deque[Fault]] = {}

    def arm(self, door: str, fault: Fault) -> None:
        """Let the next call of a door meet a fault; further ones queue."""
        self._armed.setdefault(door, deque()).append(fault)

    def next(self, door: str) -> Fault:
        """The fate of the call that is made now."""
        armed = self._armed.get(door)
        return armed.popleft() if armed else Fault.NONE

    def disarm(self) -> None:
        """Let all calls work from now on."""
        self._armed.clear()

    def of_store(self, call: StoreCall) -> Fault:
        """What `FaultyPartitions` asks."""
        return self.next("commit" if call.operation == "commit" else "read")


class _Door:
    """What all doors have in common."""

    def __init__(self, runtime: SimRuntime, fates: Fates) -> None:
        self._runtime = runtime
        self._fates = fates

    async def _ask(self, door: str, operate: Callable[[], Coroutine[object, object, T]]) -> T:
        """Run an operation elsewhere, with the fate that is armed for it."""

        def fated() -> T:
            fault = self._fates.next(door)
            if fault is Fault.CRASH_BEFORE:
                raise Crashed(door)
            if fault in (Fault.UNKNOWN_BEFORE, Fault.CONFLICT):
                raise OutcomeUnknownError(door)
            found = run_now(operate())
            if fault is Fault.CRASH_AFTER:
                raise Crashed(door)
            if fault is Fault.UNKNOWN_AFTER:
                raise OutcomeUnknownError(door)
            return found

        return await self._runtime.call(fated, label=door)


class ObservedPartitions:
    """A store in memory that tells somebody of each commit that was made."""

    def __init__(self, store: PartitionStore, observe: Callable[[Sequence[Change]], None]) -> None:
        self._store = store
        self._observe = observe

    @property
    def spans_partitions(self) -> bool:
        """As the store behind."""
        return self._store.spans_partitions

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        """Read heads; see `PartitionStore.heads`."""
        return await self._store.heads(partitions)

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        """Read rows; see `PartitionStore.rows`."""
        return await self._store.rows(partition, spans, limit=limit)

    async def commit(self, changes: Sequence[Change]) -> None:
        """Apply changes; see `PartitionStore.commit`."""
        await self._store.commit(changes)
        self._observe(changes)


class ObservedMarks:
    """Marks in memory; tells somebody of each raise."""

    def __init__(self, store: MarkStore, observe: Callable[[Sequence[Mark]], None]) -> None:
        self._store = store
        self._observe = observe

    async def raise_marks(self, marks: Sequence[Mark]) -> None:
        """Raise marks; see `MarkStore.raise_marks`."""
        await self._store.raise_marks(marks)
        self._observe(marks)

    async def marks(self, partitions: Collection[Partition]) -> Mapping[Partition, Mapping[str, int]]:
        """Read marks; see `MarkStore.marks`."""
        return await self._store.marks(partitions)


class SimPartitions(_Door):
    """A `PartitionStore` on another machine."""

    def __init__(self, runtime: SimRuntime, fates: Fates, store: PartitionStore) -> None:
        super().__init__(runtime, fates)
        self._store = FaultyPartitions(store, fates.of_store)

    @property
    def spans_partitions(self) -> bool:
        """As the store behind."""
        return self._store.spans_partitions

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        """Read heads; see `PartitionStore.heads`."""
        names = tuple(partitions)
        return await self._runtime.call(lambda: run_now(self._store.heads(names)), label="heads")

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        """Read rows; see `PartitionStore.rows`."""
        return await self._runtime.call(lambda: run_now(self._store.rows(partition, spans, limit=limit)), label="rows")

    async def commit(self, changes: Sequence[Change]) -> None:
        """Apply changes; see `PartitionStore.commit`."""
        await self._runtime.call(lambda: run_now(self._store.commit(changes)), label="commit")


class SimMarks(_Door):
    """A `MarkStore` on another machine."""

    def __init__(self, runtime: SimRuntime, fates: Fates, store: MarkStore) -> None:
        super().__init__(runtime, fates)
        self._store = store

    async def raise_marks(self, marks: Sequence[Mark]) -> None:
        """Raise marks; see `MarkStore.raise_marks`."""
        await self._ask("marks", lambda: self._store.raise_marks(marks))

    async def marks(self, partitions: Collection[Partition]) -> Mapping[Partition, Mapping[str, int]]:
        """Read marks; see `MarkStore.marks`."""
        names = tuple(partitions)
        return await self._ask("read", lambda: self._marks(names))

    async def _marks(self, names: Collection[Partition]) -> Mapping[Partition, Mapping[str, int]]:
        return await self._store.marks(names)


class SimJobs(_Door):
    """A `JobLog` on another machine."""

    def __init__(self, runtime: SimRuntime, fates: Fates, jobs: JobLog) -> None:
        super().__init__(runtime, fates)
        self._jobs = jobs

    async def put(self, conversation: ConversationId, upto: ConversationSeq) -> None:
        """Add a job; see `JobLog.put`."""
        await self._ask("jobs", lambda: self._jobs.put(conversation, upto))

    async def take(self, limit: int) -> Claim:
        """Take jobs; see `JobLog.take`."""
        return await self._ask("jobs", lambda: self._jobs.take(limit))

    async def done(self, claim: Claim) -> None:
        """Forget jobs; see `JobLog.done`."""
        await self._ask("jobs", lambda: self._jobs.done(claim))


class SimDirectory(_Door):
    """A `Directory` on another machine."""

    def __init__(self, runtime: SimRuntime, fates: Fates, directory: Directory) -> None:
        super().__init__(runtime, fates)
        self._directory = directory

    async def bind(self, batch: Sequence[Binding]) -> Sequence[Bound | Newer]:
        """Say that devices are connected; see `Directory.bind`."""
        return await self._ask("directory", lambda: self._directory.bind(batch))

    async def keep(self, batch: Sequence[Binding]) -> Sequence[Kept | Absent | Newer]:
        """Renew bindings; see `Directory.keep`."""
        return await self._ask("directory", lambda: self._directory.keep(batch))

    async def unbind(self, device: DeviceId, token: Token) -> None:
        """Take a binding away; see `Directory.unbind`."""
        await self._ask("directory", lambda: self._directory.unbind(device, token))

    async def lookup(self, devices: Collection[DeviceId]) -> Mapping[DeviceId, Lookup]:
        """Find devices; see `Directory.lookup`."""
        names = tuple(sorted(devices))
        return await self._ask("directory", lambda: self._directory.lookup(names))

    async def alive(self, owner: Owner, ttl_s: float) -> None:
        """Renew a lease; see `Directory.alive`."""
        await self._ask("directory", lambda: self._directory.alive(owner, ttl_s))

    async def gone(self, owners: Collection[Owner]) -> frozenset[Owner]:
        """Find owners without a lease; see `Directory.gone`."""
        return await self._ask("directory", lambda: self._directory.gone(owners))


class SimBus(LocalBus):
    """The bus as one node sees it: a message to the other node, which may be lost, and its answer.

    Args:
        runtime: The node's.
        takers: Who hears hints, shared by all nodes.
        is_lost: Whether hints are lost now.
    """

    def __init__(
        self,
        runtime: SimRuntime,
        takers: dict[GatewayId, tuple[SimRuntime, Callable[[Sequence[Hint]], Sequence[HintResult]]]],
        is_lost: Callable[[], bool],
    ) -> None:
        super().__init__()
        self._runtime = runtime
        self._takers = takers
        self._is_lost = is_lost

    def join(self, gateway: GatewayId, take: Callable[[Sequence[Hint]], Sequence[HintResult]]) -> None:
        """Let this node hear hints; see `LocalBus.join`."""
        self._takers[gateway] = self._runtime, take

    async def hint(self, gateway: GatewayId, hints: Sequence[Hint]) -> Sequence[HintResult]:
        """Tell a gateway of news; see `Bus.hint`. One that is dead or paused says nothing."""
        return await self._runtime.call(lambda: self._tell(gateway, hints), label="hint")

    def _tell(self, gateway: GatewayId, hints: Sequence[Hint]) -> Sequence[HintResult]:
        nothing: list[HintResult] = [None] * len(hints)
        node, take = self._takers.get(gateway, (None, None))
        if node is None or take is None or not node.is_alive or node.is_paused or self._is_lost():
            return nothing
        return take(hints)
