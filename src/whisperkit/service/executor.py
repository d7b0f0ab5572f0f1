"""Runs operations: in turns where the store spans partitions, in lanes where it does not.

A *turn* takes what queued while the last commit ran, runs the operations over one working set, commits once, then
answers each. Operations of one lane run in order; one that needs something from the store lets those of other lanes
go first, and what all of them need is read together. On a conflict or an unknown outcome the turn forgets the heads
it used, waits a little and runs the same operations again, which is right because every rule is idempotent.

Where a commit holds one partition only, operations of one lane run one after another, those of different lanes
side by side, each with a working set and a commit of its own.

An answer is given only after its commit returned. An error that an operation raises is its own answer; it
changes nothing and harms no other operation of the turn.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from whisperkit._named_tuples import make
from whisperkit.errors import ConflictError, OutcomeUnknownError, StoreError, UsageError, WhisperError
from whisperkit.partitions import Head, Partition
from whisperkit.runtime import Mailbox, Runtime
from whisperkit.service.failed import Failed
from whisperkit.service.working_set import Cold, HeadCache, Operation, WorkingSet
from whisperkit.stores import PartitionStore

__all__ = ["MAX_TURN_OPERATIONS", "MAX_TURN_ROWS", "Executor", "LaneExecutor", "TurnExecutor", "make_executor"]

log = logging.getLogger("whisperkit.service")

A = TypeVar("A")

# One group of 199 is 199 rows; a longer turn makes everybody wait behind a few groups (measured: 50 ms).
MAX_TURN_ROWS: Final = 1_000
MAX_TURN_OPERATIONS: Final = 1_000
# After so many conflicts or unknown outcomes the operations are answered with the error; about 20 seconds.
MAX_ATTEMPTS: Final = 12
MAX_PAUSE_S: Final = 5.0
# One reply may be lost, and one conflict is nothing; this many, and somebody should know why nothing goes on.
LOUD_ATTEMPT: Final = 3
# An operation that is still cold after so many loads asks for something else each time: a fault of ours.
MAX_LOADS: Final = 64
# Reads side by side.
MAX_READS: Final = 64

Done: TypeAlias = Callable[[Any], None]
Observe: TypeAlias = Callable[[str, float, int], None]


def _unobserved(_outcome: str, _seconds: float, _rows: int) -> None:
    """Nobody is told of a commit."""


class _Queued(NamedTuple):
    operation: Operation[Any]
    done: Done


_Answered: TypeAlias = tuple[Done, object]


class Executor(Generic[A]):
    """What both ways have in common.

    Args:
        store: Where to commit.
        runtime: Time and tasks.
        cache: Heads to start from; may be stale.
        observe: Told of each commit: ``(outcome, seconds, rows)`` with outcome ok, conflict or unknown.
    """

    def __init__(
        self,
        store: PartitionStore,
        runtime: Runtime,
        *,
        cache: HeadCache,
        observe: Observe = _unobserved,
    ) -> None:
        self.cache = cache
        self._store = store
        self._runtime = runtime
        self._observe = observe
        self._begin()

    def _begin(self) -> None:
        """Make what operations wait in."""
        raise NotImplementedError

    def submit(self, operation: Operation[A], done: Done) -> None:
        """Queue an operation; `done` is called with its answer, or with `Failed`, after the commit."""
        raise NotImplementedError

    async def run(self, operation: Operation[A]) -> A:
        """Run an operation and wait for its answer.

        Raises:
            WhisperError: What the operation raised, or that the store did not take it.
        """
        box: Mailbox[tuple[A | Failed]] = self._runtime.mailbox()
        self.submit(operation, lambda answer: box.put((answer,)))
        got = await box.get()
        assert got is not None  # no timeout was given
        if isinstance(got[0], Failed):
            raise got[0].error
        return got[0]

    async def _settle(self, queued: list[_Queued]) -> list[_Queued]:
        """Run, commit and answer operations; returns those that did not fit into this commit."""
        last: WhisperError = ConflictError(queued[0].operation.lane)
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                await self._pause(attempt)
            work = WorkingSet(self.cache, spans_partitions=self._store.spans_partitions)
            try:
                answered, rest = await self._decide(work, queued)
                is_committed = await self._commit(work)
            except WhisperError as error:
                last = error
                if attempt == LOUD_ATTEMPT:
                    count = {"attempts": attempt + 1, "operations": len(queued)}
                    log.warning("not committed yet", extra=count, exc_info=True)
                work.forget()
                continue
            if is_committed:
                for done, answer in answered:
                    done(answer)
                return rest
        for _, done in queued:
            done(Failed(last))
        return []

    async def _decide(self, work: WorkingSet, queued: list[_Queued]) -> tuple[list[_Answered], list[_Queued]]:
        """Run operations in passes: what one pass finds cold is loaded at once, and run again by the next."""
        answered: dict[int, object] = {}
        loads: Counter[int] = Counter()
        waiting, colds = self._run_warm(work, queued, list(range(len(queued))), answered)
        while colds:
            loads.update(colds.keys())
            for number in [number for number in colds if loads[number] > MAX_LOADS]:
                name = type(queued[number].operation).__name__
                answered[number] = Failed(UsageError(f"{name} was still cold after {MAX_LOADS} loads"))
                waiting.remove(number)
                del colds[number]
            await self._load(work, colds.values())
            waiting, colds = self._run_warm(work, queued, waiting, answered)
        return [(queued[n].done, answered[n]) for n in sorted(answered)], [queued[n] for n in waiting]

    def _run_warm(
        self, work: WorkingSet, queued: list[_Queued], waiting: list[int], answered: dict[int, object]
    ) -> tuple[list[int], dict[int, Cold]]:
        """Run what is warm, in order; what is behind a cold operation of the same lane waits for it."""
        left: list[int] = []
        colds: dict[int, Cold] = {}
        blocked: set[Partition] = set()
        for place, number in enumerate(waiting):
            if answered and work.rows_put >= MAX_TURN_ROWS:
                return left + waiting[place:], {}  # the commit is large enough, and the others are next
            operation = queued[number].operation
            if operation.lane in blocked:
                left.append(number)
                continue
            try:
                answered[number] = operation.run(work)
            except Cold as cold:
                colds[number] = cold.with_traceback(None)  # whose frames hold it: that would be a cycle
                blocked.add(operation.lane)
                left.append(number)
            except WhisperError as error:
                answered[number] = Failed(error)
        return left, colds

    async def _load(self, work: WorkingSet, colds: Collection[Cold]) -> None:
        loads = list(dict.fromkeys(load for cold in colds for load in cold.loads))
        fetches = [cold.fetch for cold in colds if cold.fetch is not None]
        try:
            await self._runtime.gather(fetches, limit=MAX_READS)
            await work.load_heads(self._store, loads)
            rows = [partial(work.load_rows, self._store, load) for load in loads if load.keys or load.spans]
            await self._runtime.gather(rows, limit=MAX_READS)
        except WhisperError:
            raise
        except Exception as error:
            raise StoreError(f"a read failed: {error!r}") from error

    async def _read_heads(self, partitions: list[Partition]) -> dict[Partition, Head]:
        try:
            return dict(await self._store.heads(partitions))
        except WhisperError:
            raise
        except Exception as error:
            raise StoreError(f"a read failed: {error!r}") from error

    async def _commit(self, work: WorkingSet) -> bool:
        """Verify what was only read, commit what changed. False: something moved, decide again."""
        changes = work.changes()
        doubtful = work.unverified()
        if doubtful:
            moved = work.agrees(await self._read_heads(doubtful))
            if moved:
                self.cache.drop(moved)
                return False
        if changes:
            rows = sum([len(change.put) for change in changes])
            began = self._runtime.now()
            try:
                await self._store.commit(changes)
            except ConflictError:
                self._observe("conflict", self._runtime.now() - began, rows)
                raise
            except Exception as error:
                self._observe("unknown", self._runtime.now() - began, rows)
                if isinstance(error, OutcomeUnknownError):
                    raise
                raise OutcomeUnknownError(f"commit of {len(changes)} partitions") from error
            self._observe("ok", self._runtime.now() - began, rows)
        work.remember()
        return True

    async def _pause(self, attempt: int) -> None:
        jitter = 0.5 + self._runtime.random(1)[0] / 512
        # The first repeat is at once: a stale cache is the usual reason.
        await self._runtime.sleep(0.0 if attempt == 1 else min(MAX_PAUSE_S, 0.01 * 2**attempt) * jitter)


class TurnExecutor(Executor[A]):
    """All operations of a gateway in one queue, committed turn by turn."""

    def _begin(self) -> None:
        self._queue: Mailbox[_Queued] = self._runtime.mailbox()
        self._runtime.spawn(self._serve, name="turns")

    def submit(self, operation: Operation[A], done: Done) -> None:
        """Queue an operation for the next turn."""
        self._queue.put(make(_Queued, (operation, done)))

    async def _serve(self) -> None:
        rest: list[_Queued] = []
        while True:
            if not rest:
                first = await self._queue.get()
                assert first is not None  # no timeout was given
                rest = [first]
            rest += self._queue.take(MAX_TURN_OPERATIONS - len(rest))
            rest = await self._settle(rest)


class LaneExecutor(Executor[A]):
    """One queue for each partition that has work."""

    def _begin(self) -> None:
        self._lanes: dict[Partition, deque[_Queued]] = {}

    def submit(self, operation: Operation[A], done: Done) -> None:
        """Queue an operation behind the others of its lane."""
        lane = self._lanes.get(operation.lane)
        if lane is not None:
            lane.append(_Queued(operation, done))
            return
        self._lanes[operation.lane] = deque([_Queued(operation, done)])
        self._runtime.spawn(lambda: self._serve(operation.lane), name=f"lane {operation.lane}")

    async def _serve(self, name: Partition) -> None:
        lane = self._lanes[name]
        while lane:
            # What queued behind each other in one partition is one commit.
            queued = [lane.popleft() for _ in range(min(len(lane), MAX_TURN_OPERATIONS))]
            lane.extendleft(reversed(await self._settle(queued)))
        del self._lanes[name]


def make_executor(
    store: PartitionStore,
    runtime: Runtime,
    *,
    cache: HeadCache,
    observe: Observe = _unobserved,
) -> Executor[Any]:
    """The executor that fits the store."""
    if store.spans_partitions:
        return TurnExecutor[Any](store, runtime, cache=cache, observe=observe)
    return LaneExecutor[Any](store, runtime, cache=cache, observe=observe)
