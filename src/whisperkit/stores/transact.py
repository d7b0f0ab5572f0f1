"""Load, decide, commit, and again if somebody else was faster: the flow around every rule.

What a rule sees of one partition is always one version of it. Heads are read before rows, so rows are at
least as new as the head; if they are newer, a commit at the head's version conflicts. A partition whose rows
were read and that no change covers has no commit to check it, so its head is read a second time: if it has not
moved since before the rows were read, they are of that very version. That is one call, and only there. An
exception that leaves a rule is treated in the same way, because it may come from a torn read.

Two partitions are consistent with each other only as far as the commit carries both: a rule whose decision
about one depends on another hands over `Loaded.guard` of the other as well.

Because a commit may have happened although it raised, a rule runs again on its own result; every rule is
idempotent and its second answer leads to the same end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, Generic, NamedTuple, TypeVar

from whisperkit.errors import ConflictError, OutcomeUnknownError, UsageError
from whisperkit.partitions import (
    MAX_KEY_BYTES,
    MAX_PARTITION_CHARS,
    MAX_STATE_BYTES,
    MAX_VALUE_BYTES,
    Change,
    Head,
    Partition,
    Row,
    Span,
    Step,
)
from whisperkit.runtime import Runtime
from whisperkit.stores.doors import PartitionStore

__all__ = [
    "DEFAULT_ROW_LIMIT",
    "MAX_ATTEMPTS",
    "MAX_ATTEMPTS_AT_ONCE",
    "Load",
    "Loaded",
    "Outcome",
    "Rule",
    "check_changes",
    "commit_changes",
    "load",
    "transact",
]

DEFAULT_ROW_LIMIT: Final = 1_000

# With backoff: the waits double from 5 ms to 1 s and add up to about 3 s on average. Longer than any burst
# of conflicts lasts; a store that is away for longer is the caller's to judge.
MAX_ATTEMPTS: Final = 12
# Without a runtime there is no waiting: enough for a handful of contenders that make progress in turn.
MAX_ATTEMPTS_AT_ONCE: Final = 8
_FIRST_WAIT_S: Final = 0.005
_LONGEST_WAIT_S: Final = 1.0

A = TypeVar("A")
R = TypeVar("R")


class Load(NamedTuple):
    """What a rule needs of one partition.

    Attributes:
        partition: Which one. Its head is always loaded.
        spans: The rows that are needed.
        limit: How many rows at most, over all spans.
    """

    partition: Partition
    spans: tuple[Span, ...] = ()
    limit: int = DEFAULT_ROW_LIMIT


class Loaded(NamedTuple):
    """One partition as a rule sees it.

    Attributes:
        version: The version of the head; 0 if the partition was never written.
        state: The encoded state; empty if the partition was never written.
        rows: The rows that were asked for, in the order in which they were read.
    """

    version: int
    state: bytes
    rows: Mapping[bytes, bytes]

    def __repr__(self) -> str:
        return f"Loaded(version={self.version}, state=<{len(self.state)} bytes>, rows=<{len(self.rows)}>)"

    def change(self, partition: Partition, step: Step[Any, Any], state: bytes) -> Change:  # any answer, any state
        """Make the change that commits a step.

        Args:
            partition: The partition that was loaded.
            step: What the rule decided.
            state: The step's state, encoded.
        """
        return Change(partition, self.version, state, step.put, step.delete, step.drop)

    def guard(self, partition: Partition) -> Change:
        """Make a change that changes nothing: the commit applies only if the partition is still as it was loaded."""
        return Change(partition, self.version, self.state)


class Outcome(NamedTuple, Generic[A]):
    """What a rule over several partitions decided.

    Attributes:
        answer: What to tell who asked.
        changes: What to commit, at most one for each partition, in any order; empty if nothing is to be done.
    """

    answer: A
    changes: tuple[Change, ...] = ()


Rule = Callable[[Mapping[Partition, Loaded]], Outcome[A]]
"""A pure function. What it raises is handed to the caller, and nothing is committed."""


async def transact(store: PartitionStore, loads: Sequence[Load], rule: Rule[A], *, runtime: Runtime | None = None) -> A:
    """Run a rule on what it needs, commit what it decides, and return its answer.

    Args:
        store: Where the partitions are.
        loads: What the rule needs, each partition once.
        rule: Runs once per attempt, on fresh state; idempotent.
        runtime: Waits between attempts (`MAX_ATTEMPTS`); without one they follow at once (`MAX_ATTEMPTS_AT_ONCE`).

    Raises:
        ConflictError: The last attempt met another writer.
        OutcomeUnknownError: The last attempt may or may not have happened.
        UsageError: A change is too large, or there are several and the store takes one at a time.
    """
    attempts = MAX_ATTEMPTS if runtime else MAX_ATTEMPTS_AT_ONCE
    for attempt in range(1, attempts + 1):
        try:
            return await _attempt(store, loads, rule)
        except (ConflictError, OutcomeUnknownError):
            if attempt == attempts:
                raise
        if runtime:
            await runtime.sleep(_wait_s(attempt, runtime))
    raise AssertionError("unreachable")  # pragma: no cover


async def load(store: PartitionStore, loads: Sequence[Load]) -> Mapping[Partition, Loaded]:
    """Read heads, then rows. A partition that was never written has none, so they are not asked for.

    Raises:
        OutcomeUnknownError: The store failed; the cause is attached.
    """
    heads = await _asking("heads", store.heads([wanted.partition for wanted in loads]))
    loaded: dict[Partition, Loaded] = {}
    for partition, spans, limit in loads:
        rows: Sequence[Row] = ()
        if spans and partition in heads:
            rows = await _asking(f"rows of {partition}", store.rows(partition, spans, limit=limit))
        head = heads.get(partition, _NEVER_WRITTEN)
        loaded[partition] = Loaded(head.version, head.state, dict(rows))
    return loaded


async def commit_changes(store: PartitionStore, changes: Iterable[Change]) -> None:
    """Check changes, sort them by partition, and commit them.

    Raises:
        ConflictError: A change is not at its expected version; nothing was done.
        OutcomeUnknownError: It may or may not have been done; the cause is attached.
        UsageError: A change is too large, or there are several and the store takes one at a time.
    """
    ordered = sorted(changes, key=_partition_of)
    check_changes(ordered, spans_partitions=store.spans_partitions)
    await _asking(f"commit on {', '.join(c.partition for c in ordered[:3])}", store.commit(ordered))


def check_changes(changes: Sequence[Change], *, spans_partitions: bool) -> None:
    """Refuse what no store has to take.

    Args:
        changes: Sorted by partition.
        spans_partitions: Whether one commit may carry several.

    Raises:
        UsageError: With the two numbers that disagree.
    """
    if len(changes) > 1 and not spans_partitions:
        raise UsageError(f"the store takes one change in a commit, got {len(changes)}", code="usage.spans-partitions")
    for one, other in pairwise(changes):
        if one.partition >= other.partition:
            raise UsageError(
                f"changes go in order, one for each partition; {other.partition} came after {one.partition}"
            )
    for change in changes:
        _check_change(change)


def _check_change(change: Change) -> None:
    name = change.partition
    if not (name.isascii() and 1 <= len(name) <= MAX_PARTITION_CHARS):
        raise UsageError(f"a partition name has 1 to {MAX_PARTITION_CHARS} ASCII characters, got {len(name)}")
    if len(change.state) > MAX_STATE_BYTES:
        raise UsageError(
            f"the state of {name} has {len(change.state)} bytes; the limit is {MAX_STATE_BYTES}", code="usage.too-large"
        )
    for key, value in change.put:
        if not 1 <= len(key) <= MAX_KEY_BYTES:
            raise UsageError(f"a row key in {name} has {len(key)} bytes; the limits are 1 and {MAX_KEY_BYTES}")
        if len(value) > MAX_VALUE_BYTES:
            raise UsageError(
                f"a row in {name} has {len(value)} bytes; the limit is {MAX_VALUE_BYTES}", code="usage.too-large"
            )
    put = {key for key, _ in change.put}
    if len(put) < len(change.put) or not put.isdisjoint(change.delete):
        raise UsageError(f"a key in {name} is put twice, or put and deleted")


_NEVER_WRITTEN: Final = Head(0, b"")


async def _attempt(store: PartitionStore, loads: Sequence[Load], rule: Rule[A]) -> A:
    loaded = await load(store, loads)
    rows_read = [name for name, spans, _ in loads if spans and loaded[name].version]
    try:
        answer, changes = rule(loaded)
    except Exception:
        await _check_unmoved(store, loaded, rows_read)
        raise
    carried = {change.partition for change in changes}
    await _check_unmoved(store, loaded, [name for name in rows_read if name not in carried])
    if changes:
        await commit_changes(store, changes)
    return answer


async def _check_unmoved(
    store: PartitionStore, loaded: Mapping[Partition, Loaded], partitions: Sequence[Partition]
) -> None:
    if not partitions:
        return
    heads = await _asking("heads", store.heads(partitions))
    for partition in partitions:
        if heads.get(partition, _NEVER_WRITTEN).version != loaded[partition].version:
            raise ConflictError(partition, heads=heads)


async def _asking(operation: str, call: Awaitable[R]) -> R:
    """Turn whatever a backend raises into what `transact` understands, so that adapters need no try/except."""
    try:
        return await call
    except (ConflictError, OutcomeUnknownError, UsageError):
        raise
    except Exception as error:
        raise OutcomeUnknownError(operation) from error


def _partition_of(change: Change) -> str:
    return change.partition


def _wait_s(attempt: int, runtime: Runtime) -> float:
    """A random part of a wait that doubles: contenders that collided once should not collide again."""
    longest_s = min(_FIRST_WAIT_S * (1 << attempt - 1), _LONGEST_WAIT_S)
    return longest_s * int.from_bytes(runtime.random(4), "big") / 2**32
