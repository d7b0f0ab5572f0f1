"""`FaultyPartitions` and `Stepwise`: what they let through, and what they do instead."""

from __future__ import annotations

import pytest

from whisperkit.errors import ConflictError, OutcomeUnknownError, UsageError
from whisperkit.partitions import EVERYTHING, Change, Head, Partition, Row
from whisperkit.stores import MemoryPartitions
from whisperkit.testing import Crashed, Fault, FaultyPartitions, Stepwise, StoreCall

pytestmark = pytest.mark.anyio

ONE, OTHER = Partition("p/1"), Partition("p/2")
CHANGE = Change(ONE, 0, b"state", (Row(b"a", b"1"),))


async def is_written(store: MemoryPartitions) -> bool:
    return ONE in await store.heads([ONE])


@pytest.mark.parametrize(
    ("fault", "error", "written"),
    [
        (Fault.CONFLICT, ConflictError, False),
        (Fault.UNKNOWN_BEFORE, OutcomeUnknownError, False),
        (Fault.UNKNOWN_AFTER, OutcomeUnknownError, True),
        (Fault.CRASH_BEFORE, Crashed, False),
        (Fault.CRASH_AFTER, Crashed, True),
    ],
)
async def test_a_commit_fails_as_it_was_decided(fault: Fault, error: type[BaseException], written: bool) -> None:
    store = MemoryPartitions()

    with pytest.raises(error):
        await FaultyPartitions(store, lambda _: fault).commit([CHANGE])

    assert await is_written(store) == written


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.UNKNOWN_BEFORE, OutcomeUnknownError),
        (Fault.UNKNOWN_AFTER, OutcomeUnknownError),
        (Fault.CRASH_BEFORE, Crashed),
        (Fault.CRASH_AFTER, Crashed),
    ],
)
async def test_a_read_fails_as_it_was_decided(fault: Fault, error: type[BaseException]) -> None:
    store = FaultyPartitions(MemoryPartitions(), lambda _: fault)

    with pytest.raises(error):
        await store.heads([ONE])
    with pytest.raises(error):
        await store.rows(ONE, [EVERYTHING], limit=1)


@pytest.mark.parametrize("fault", [Fault.NONE, Fault.CONFLICT])
async def test_a_read_meets_no_conflict(fault: Fault) -> None:
    store = FaultyPartitions(MemoryPartitions(), lambda _: fault)

    assert await store.heads([ONE]) == {}
    assert list(await store.rows(ONE, [EVERYTHING], limit=1)) == []


async def test_who_decides_sees_each_call_once() -> None:
    calls: list[StoreCall] = []

    def decide(call: StoreCall) -> Fault:
        calls.append(call)
        return Fault.NONE

    store = FaultyPartitions(MemoryPartitions(), decide)
    await store.commit([CHANGE, Change(OTHER, 0, b"")])
    heads = await store.heads([ONE])
    rows = await store.rows(ONE, [EVERYTHING], limit=1)

    assert calls == [StoreCall("commit", (ONE, OTHER)), StoreCall("heads", (ONE,)), StoreCall("rows", (ONE,))]
    assert (heads, list(rows)) == ({ONE: Head(1, b"state")}, [Row(b"a", b"1")])


async def test_it_spans_partitions_as_the_store_behind_it() -> None:
    assert FaultyPartitions(MemoryPartitions(), lambda _: Fault.NONE).spans_partitions
    assert not FaultyPartitions(Stepwise(MemoryPartitions()), lambda _: Fault.NONE).spans_partitions


async def test_a_crash_is_not_caught_as_an_error() -> None:
    assert not issubclass(Crashed, Exception)


async def test_a_stepwise_store_takes_one_change() -> None:
    behind = MemoryPartitions()
    store = Stepwise(behind)

    await store.commit([CHANGE])
    with pytest.raises(UsageError, match="takes one change in a commit, got 2"):
        await store.commit([Change(ONE, 1, b""), Change(OTHER, 0, b"")])

    assert not store.spans_partitions
    assert await behind.heads([ONE, OTHER]) == await store.heads([ONE, OTHER]) == {ONE: Head(1, b"state")}
