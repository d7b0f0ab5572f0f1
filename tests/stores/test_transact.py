"""`transact`: what a rule sees, what is committed, when it runs again, and when it gives up."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pytest

from whisperkit.anyio_runtime import AnyioRuntime
from whisperkit.errors import (
    ConflictError,
    CorruptStateError,
    OutcomeUnknownError,
    PeerError,
    UsageError,
)
from whisperkit.partitions import (
    EVERYTHING,
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
    prefix,
)
from whisperkit.stores import (
    Load,
    Loaded,
    MemoryPartitions,
    Outcome,
    Rule,
    check_changes,
    commit_changes,
    load,
    transact,
)
from whisperkit.stores.transact import MAX_ATTEMPTS, MAX_ATTEMPTS_AT_ONCE
from whisperkit.testing import Fault, FaultyPartitions, Stepwise, StoreCall

pytestmark = pytest.mark.anyio

ONE, OTHER = Partition("p/1"), Partition("p/2")


class WaitingRuntime(AnyioRuntime):
    """Writes down how long it was waited, and draws the largest numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.slept_s: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)

    def random(self, size: int) -> bytes:
        return b"\xff" * size


class Meddled(MemoryPartitions):
    """Between a read of rows and what follows, somebody else commits."""

    def __init__(self, *meddling: Change) -> None:
        super().__init__()
        self.meddling = list(meddling)
        self.calls: list[str] = []

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        self.calls.append("heads")
        return await super().heads(partitions)

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        self.calls.append("rows")
        if self.meddling:
            await super().commit([self.meddling.pop(0)])
        return await super().rows(partition, spans, limit=limit)

    async def commit(self, changes: Sequence[Change]) -> None:
        self.calls.append("commit")
        await super().commit(changes)


def append(loaded: Mapping[Partition, Loaded]) -> Outcome[int]:
    """Count rows in the state and put one more."""
    there = loaded[ONE]
    number = int(there.state or b"0") + 1
    return Outcome(number, (Change(ONE, there.version, b"%d" % number, (Row(b"e/%d" % number, b""),)),))


def append_once(loaded: Mapping[Partition, Loaded]) -> Outcome[bytes]:
    if b"id" in loaded[ONE].rows:
        return Outcome(b"repeat")
    return Outcome(b"posted", (Change(ONE, loaded[ONE].version, b"", (Row(b"id", b""),)),))


async def test_a_rule_sees_head_and_rows_and_its_changes_are_committed() -> None:
    store = MemoryPartitions()
    await store.commit([Change(ONE, 0, b"1", (Row(b"e/1", b"x"), Row(b"f/1", b"y")))])
    seen: list[Mapping[Partition, Loaded]] = []

    def rule(loaded: Mapping[Partition, Loaded]) -> Outcome[str]:
        seen.append(loaded)
        return Outcome("done", (Change(OTHER, 0, b"new"), Change(ONE, 1, b"2")))

    answer = await transact(store, [Load(ONE, (prefix(b"e/"),)), Load(OTHER, (EVERYTHING,))], rule)

    assert answer == "done"
    assert seen == [{ONE: Loaded(1, b"1", {b"e/1": b"x"}), OTHER: Loaded(0, b"", {})}]
    assert await store.heads([ONE, OTHER]) == {ONE: Head(2, b"2"), OTHER: Head(1, b"new")}


async def test_a_limit_cuts_what_is_loaded() -> None:
    store = MemoryPartitions()
    await store.commit([Change(ONE, 0, b"", (Row(b"a", b""), Row(b"b", b"")))])

    loaded = await load(store, [Load(ONE, (EVERYTHING._replace(reverse=True),), limit=1)])

    assert loaded[ONE].rows == {b"b": b""}


async def test_rows_of_a_partition_that_was_never_written_are_not_asked_for() -> None:
    store = Meddled()

    await transact(store, [Load(ONE, (EVERYTHING,))], append)

    assert store.calls == ["heads", "commit"]


async def test_a_step_becomes_a_change_at_the_loaded_version() -> None:
    step = Step("answer", {"decoded": 1}, (Row(b"a", b""),), (b"b",), prefix(b"c"))

    change = Loaded(4, b"before", {}).change(ONE, step, b"after")

    assert change == Change(ONE, 4, b"after", (Row(b"a", b""),), (b"b",), prefix(b"c"))


async def test_a_guard_makes_a_commit_depend_on_what_it_does_not_change() -> None:
    store = MemoryPartitions()
    await store.commit([Change(ONE, 0, b"state")])
    loaded = await load(store, [Load(ONE), Load(OTHER)])
    changes = (loaded[ONE].guard(ONE), Change(OTHER, 0, b"decided by the other"))

    await store.commit([Change(ONE, 1, b"moved")])
    with pytest.raises(ConflictError):
        await commit_changes(store, changes)

    assert await store.heads([ONE, OTHER]) == {ONE: Head(2, b"moved")}


async def test_a_conflict_runs_the_rule_again_on_fresh_state() -> None:
    store = Meddled(Change(ONE, 1, b"7"), Change(ONE, 2, b"8"))
    await store.commit([Change(ONE, 0, b"1")])

    number = await transact(store, [Load(ONE, (EVERYTHING,))], append)

    assert number == 9
    assert (await store.heads([ONE]))[ONE] == Head(4, b"9")


@pytest.mark.parametrize("fault", [Fault.UNKNOWN_BEFORE, Fault.UNKNOWN_AFTER, Fault.CONFLICT])
async def test_a_lost_reply_leads_to_the_same_end(fault: Fault) -> None:
    store = MemoryPartitions()
    faults = [fault]

    def decide(call: StoreCall) -> Fault:
        return faults.pop() if call.operation == "commit" and faults else Fault.NONE

    answer = await transact(FaultyPartitions(store, decide), [Load(ONE, (EVERYTHING,))], append_once)

    assert answer == (b"repeat" if fault is Fault.UNKNOWN_AFTER else b"posted")
    assert (await store.heads([ONE]))[ONE].version == 1


@pytest.mark.parametrize("operation", ["heads", "rows", "commit"])
async def test_whatever_a_backend_raises_is_an_unknown_outcome_with_its_cause(operation: str) -> None:
    class Failing(MemoryPartitions):
        async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
            if operation == "heads":
                raise OSError("no route")
            return await super().heads(partitions)

        async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
            if operation == "rows":
                raise OSError("no route")
            return await super().rows(partition, spans, limit=limit)

        async def commit(self, changes: Sequence[Change]) -> None:
            if operation == "commit" and changes[0].expected:
                raise OSError("no route")
            await super().commit(changes)

    store = Failing()
    await store.commit([Change(ONE, 0, b"1")])

    with pytest.raises(OutcomeUnknownError, match=operation) as caught:
        await transact(store, [Load(ONE, (EVERYTHING,))], append)

    assert isinstance(caught.value.__cause__, OSError)


async def test_without_a_runtime_attempts_follow_at_once_and_end() -> None:
    calls: list[StoreCall] = []

    def decide(call: StoreCall) -> Fault:
        calls.append(call)
        return Fault.CONFLICT

    with pytest.raises(ConflictError):
        await transact(FaultyPartitions(MemoryPartitions(), decide), [Load(ONE)], append)

    assert [call.operation for call in calls].count("commit") == MAX_ATTEMPTS_AT_ONCE


async def test_with_a_runtime_the_waits_double_up_to_a_second_and_end() -> None:
    runtime = WaitingRuntime()

    with pytest.raises(OutcomeUnknownError):
        await transact(
            FaultyPartitions(MemoryPartitions(), lambda _: Fault.UNKNOWN_BEFORE), [Load(ONE)], append, runtime=runtime
        )

    assert len(runtime.slept_s) == MAX_ATTEMPTS - 1
    assert [round(seconds, 3) for seconds in runtime.slept_s[:4]] == [0.005, 0.01, 0.02, 0.04]
    assert max(runtime.slept_s) <= 1.0


@pytest.mark.parametrize("error", [PeerError("bad"), UsageError("wrong"), ValueError("ours")])
async def test_what_a_rule_raises_commits_nothing_and_is_not_tried_again(error: Exception) -> None:
    store = Meddled()
    await store.commit([Change(ONE, 0, b"1")])
    runs = 0

    def rule(_: Mapping[Partition, Loaded]) -> Outcome[None]:
        nonlocal runs
        runs += 1
        raise error

    with pytest.raises(type(error)):
        await transact(store, [Load(ONE, (EVERYTHING,))], rule)

    assert runs == 1
    assert store.calls == ["commit", "heads", "rows", "heads"]


def read_both(loaded: Mapping[Partition, Loaded]) -> Outcome[tuple[bytes, list[bytes]]]:
    return Outcome((loaded[ONE].state, list(loaded[ONE].rows)))


def read_strictly(loaded: Mapping[Partition, Loaded]) -> Outcome[tuple[bytes, list[bytes]]]:
    if b"e/" + loaded[ONE].state not in loaded[ONE].rows or len(loaded[ONE].rows) != int(loaded[ONE].state):
        raise CorruptStateError(kind="log", reason="rows do not end at the head")
    return read_both(loaded)


@pytest.mark.parametrize("rule", [read_both, read_strictly])
async def test_an_answer_without_a_commit_is_of_one_version(rule: Rule[tuple[bytes, list[bytes]]]) -> None:
    store = Meddled(Change(ONE, 1, b"2", (Row(b"e/2", b""),)))
    await store.commit([Change(ONE, 0, b"1", (Row(b"e/1", b""),))])

    answer = await transact(store, [Load(ONE, (EVERYTHING,))], rule)

    assert answer == (b"2", [b"e/1", b"e/2"])
    assert store.calls == ["commit", "heads", "rows", "heads", "heads", "rows", "heads"]


async def test_rows_of_a_partition_that_no_change_covers_are_of_one_version_too() -> None:
    store = Meddled(Change(ONE, 1, b"2", (Row(b"e/2", b""),)))
    await store.commit([Change(ONE, 0, b"1", (Row(b"e/1", b""),))])

    def copy(loaded: Mapping[Partition, Loaded]) -> Outcome[None]:
        rows = b" ".join(loaded[ONE].rows)
        return Outcome(None, (Change(OTHER, loaded[OTHER].version, loaded[ONE].state + b": " + rows),))

    await transact(store, [Load(ONE, (EVERYTHING,)), Load(OTHER)], copy)

    assert (await store.heads([OTHER]))[OTHER] == Head(1, b"2: e/1 e/2")


async def test_a_rule_that_reads_only_heads_costs_one_call() -> None:
    store = Meddled()

    await transact(store, [Load(ONE)], lambda loaded: Outcome(loaded[ONE].version))

    assert store.calls == ["heads"]


LARGEST = Change(
    Partition("p" * MAX_PARTITION_CHARS),
    0,
    b"s" * MAX_STATE_BYTES,
    (Row(b"k" * MAX_KEY_BYTES, b"v" * MAX_VALUE_BYTES),),
)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (LARGEST._replace(partition=Partition("p" * 129)), "got 129"),
        (LARGEST._replace(partition=Partition("")), "got 0"),
        (LARGEST._replace(partition=Partition("é")), "ASCII"),
        (LARGEST._replace(state=b"s" * 3_585), "3585 bytes; the limit is 3584"),
        (LARGEST._replace(put=(Row(b"", b""),)), "has 0 bytes"),
        (LARGEST._replace(put=(Row(b"k" * 65, b""),)), "has 65 bytes"),
        (LARGEST._replace(put=(Row(b"k", b"v" * (MAX_VALUE_BYTES + 1)),)), "1048577 bytes"),
        (LARGEST._replace(put=(Row(b"k", b"1"), Row(b"k", b"2"))), "twice"),
        (LARGEST._replace(put=(Row(b"k", b"1"),), delete=(b"k",)), "put and deleted"),
    ],
)
async def test_a_change_beyond_a_limit_is_refused_before_it_reaches_the_store(change: Change, text: str) -> None:
    store = Meddled()

    with pytest.raises(UsageError, match=text):
        await transact(store, [Load(ONE)], lambda _: Outcome(None, (change,)))

    assert store.calls == ["heads"]


async def test_changes_at_the_limits_are_taken() -> None:
    await commit_changes(MemoryPartitions(), [LARGEST])


async def test_changes_reach_the_store_sorted_and_one_for_each_partition() -> None:
    class Sorted(MemoryPartitions):
        async def commit(self, changes: Sequence[Change]) -> None:
            assert [change.partition for change in changes] == [ONE, OTHER]

    await commit_changes(Sorted(), [Change(OTHER, 0, b""), Change(ONE, 0, b"")])

    with pytest.raises(UsageError, match="one for each"):
        await commit_changes(MemoryPartitions(), [Change(ONE, 0, b""), Change(ONE, 1, b"")])
    with pytest.raises(UsageError, match="in order"):
        check_changes([Change(OTHER, 0, b""), Change(ONE, 0, b"")], spans_partitions=True)


async def test_several_changes_are_refused_where_the_store_takes_one() -> None:
    store = MemoryPartitions()

    with pytest.raises(UsageError, match="takes one change"):
        await commit_changes(Stepwise(store), [Change(ONE, 0, b""), Change(OTHER, 0, b"")])

    assert await store.heads([ONE, OTHER]) == {}
