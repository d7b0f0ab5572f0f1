"""One commit takes effect once, whatever became of its answer and of the look for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import pytest

from whisperkit import DeviceId
from whisperkit.anyio_runtime import AnyioRuntime
from whisperkit.client.records import DeviceRecords, Turn
from whisperkit.errors import OutcomeUnknownError, StoreError
from whisperkit.partitions import EVERYTHING, Change, Head, Partition
from whisperkit.stores import MemoryPartitions
from whisperkit.testing import Fault, FaultyPartitions, StoreCall

pytestmark = pytest.mark.anyio

T = TypeVar("T")

ALICE = DeviceId.named("alice", 1)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Fated:
    """What happens to the next calls, by operation."""

    def __init__(self) -> None:
        self.fates: dict[str, deque[Fault]] = {"heads": deque(), "rows": deque(), "commit": deque()}

    def __call__(self, call: StoreCall) -> Fault:
        fates = self.fates[call.operation]
        return fates.popleft() if fates else Fault.NONE


class LatePartitions(MemoryPartitions):
    """Loses a commit on its way, and gets it after all when somebody has looked for it."""

    def __init__(self, *, arrives_before: str) -> None:
        super().__init__()
        self.is_slow = False
        self._arrives_before = arrives_before
        self._late: Sequence[Change] = ()

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        if self._arrives_before == "heads":
            await self._arrive()
        return await super().heads(partitions)

    async def commit(self, changes: Sequence[Change]) -> None:
        if self.is_slow:
            self.is_slow, self._late = False, changes
            raise OutcomeUnknownError("commit")
        await self._arrive()
        await super().commit(changes)

    async def _arrive(self) -> None:
        late, self._late = self._late, ()
        if late:
            await super().commit(late)


class WithoutMarks(DeviceRecords):
    """Runs every turn again, whatever became of the one before."""

    async def _attempt(self, work: Callable[[Turn], Awaitable[T]], made: dict[bytes, T]) -> T:
        return await super()._attempt(work, {})


async def count(records: DeviceRecords) -> tuple[int, int]:
    """Add one to a number, and return it beside how often that was tried."""
    tries = 0

    async def work(turn: Turn) -> tuple[int, int]:
        nonlocal tries
        tries += 1
        number = int.from_bytes(await turn.get(b"n") or b"", "big") + 1
        turn.put([(b"n", number.to_bytes(8, "big"))])
        return number, tries

    return await records.run(work)


async def number_of(store: MemoryPartitions) -> int:
    async def look(turn: Turn) -> int:
        return int.from_bytes(await turn.get(b"n") or b"", "big")

    return await DeviceRecords(store, ALICE, AnyioRuntime()).read(look)


@pytest.mark.parametrize("kind", [DeviceRecords, WithoutMarks])
async def test_a_commit_that_cannot_even_be_looked_for_takes_effect_once(kind: type[DeviceRecords]) -> None:
    fated, store = Fated(), MemoryPartitions()
    records = kind(FaultyPartitions(store, fated), ALICE, AnyioRuntime())
    await count(records)
    # The second answer is lost, and so is that of the look for it.
    fated.fates["commit"].append(Fault.UNKNOWN_AFTER)
    fated.fates["rows"].extend([Fault.NONE, Fault.UNKNOWN_BEFORE])

    answer = await count(records)

    assert ((answer, await number_of(store)) == ((2, 1), 2)) is (kind is DeviceRecords)


@pytest.mark.parametrize("arrives_before", ["heads", "commit"])
@pytest.mark.parametrize("kind", [DeviceRecords, WithoutMarks])
async def test_a_commit_that_arrives_after_it_was_looked_for_is_the_one_that_counts(
    kind: type[DeviceRecords], arrives_before: str
) -> None:
    store = LatePartitions(arrives_before=arrives_before)
    records = kind(store, ALICE, AnyioRuntime())
    await count(records)
    store.is_slow = True

    answer = await count(records)

    assert ((answer, await number_of(store)) == ((2, 1), 2)) is (kind is DeviceRecords)


async def test_a_store_that_never_says_what_happened_is_given_up() -> None:
    fated, store = Fated(), MemoryPartitions()
    records = DeviceRecords(FaultyPartitions(store, fated), ALICE, AnyioRuntime())
    fated.fates["commit"].extend([Fault.UNKNOWN_BEFORE] * 100)

    with pytest.raises(StoreError):
        await count(records)

    assert await number_of(store) == 0


async def test_a_turn_sees_what_it_will_write() -> None:
    async def work(turn: Turn) -> list[Any]:
        found: list[Any] = [await turn.last(EVERYTHING, limit=9), await turn.first(EVERYTHING, limit=9)]
        turn.put([(b"a", b"1"), (b"b", b"2")])
        turn.delete([b"a"])
        return [*found, await turn.get(b"a"), await turn.get(b"b"), turn.rows]

    records = DeviceRecords(MemoryPartitions(), ALICE, AnyioRuntime())

    assert await records.run(work) == [[], [], None, b"2", {b"b": b"2"}]
