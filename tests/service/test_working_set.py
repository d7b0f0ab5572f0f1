"""What is remembered between commits: heads, and rows that were asked for by their keys, as good as their heads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pytest

from whisperkit.partitions import Change, Head, Partition, Row, Span, Step
from whisperkit.service.executor import MAX_LOADS, TurnExecutor, make_executor
from whisperkit.service.failed import Failed
from whisperkit.service.working_set import MAX_KEPT_BYTES, MAX_KEPT_ROWS, Codec, Cold, HeadCache, Load, WorkingSet
from whisperkit.stores import MemoryPartitions
from whisperkit.testing.sim_runtime import SimRuntime, SimWorld

NAME, OTHER = Partition("x/1"), Partition("x/2")
STATE = Codec(decode=bytes, encode=bytes)
KEY = b"c/chat"


class Counted(MemoryPartitions):
    """Counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        self.calls.append("heads")
        return await super().heads(partitions)

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> list[Row]:
        self.calls.append("rows")
        return list(await super().rows(partition, spans, limit=limit))


class Add:
    """Adds to the number in a row, and keeps in the head how often that was done."""

    def __init__(self, key: bytes = KEY, *, name: Partition = NAME, size: int = 1) -> None:
        self.lane = name
        self._key = key
        self._size = size

    def run(self, work: WorkingSet) -> int:
        if cold := work.missing_keys(self.lane, STATE, [self._key]):
            raise Cold(Load(self.lane, STATE, keys=cold))
        before = work.row(self.lane, STATE, self._key)
        number = 1 if before is None else before[0] + 1
        state = work.state(self.lane, STATE) + b"."
        return work.apply(self.lane, Step(number, state, put=(Row(self._key, bytes([number]) * self._size),)))


class Drop:
    """Drops all rows."""

    lane = NAME

    def run(self, work: WorkingSet) -> None:
        state = work.state(self.lane, STATE)
        work.apply(self.lane, Step(None, state + b"-", drop=Span(b"", b"\xff")))


class Scene:
    def __init__(self) -> None:
        self.world = SimWorld(seed=1)
        self.store = Counted()
        self.runtime: SimRuntime = self.world.runtime("g1", life=1)
        self.caches = [HeadCache(max_heads=10) for _ in range(2)]
        self.gateways = [make_executor(self.store, self.runtime, cache=cache) for cache in self.caches]

    def run(self, operation: Add | Drop, *, on: int = 0) -> int:
        answers: list[int] = []

        async def go() -> None:
            answers.append(await self.gateways[on].run(operation))

        self.runtime.spawn(go, name="test")
        assert self.world.run(until=lambda: bool(answers), upto_s=self.world.now + 60.0)
        return answers[0]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_row_is_read_once(scene: Scene) -> None:
    assert [scene.run(Add()) for _ in range(3)] == [1, 2, 3]

    assert scene.store.calls == ["heads"], "of a partition that was never written nothing has to be read"


def test_a_row_that_was_there_before_is_read_once(scene: Scene) -> None:
    scene.run(Add())
    scene.store.calls.clear()

    assert [scene.run(Add(), on=1) for _ in range(3)] == [2, 3, 4]

    assert scene.store.calls == ["heads", "rows"]


def test_a_row_that_another_gateway_wrote_is_read_again(scene: Scene) -> None:
    scene.run(Add())
    scene.run(Add(), on=1)

    assert scene.run(Add()) == 3
    assert scene.run(Add(), on=1) == 4


def test_a_row_that_was_dropped_is_not_remembered(scene: Scene) -> None:
    scene.run(Add())
    scene.run(Add())
    scene.run(Drop())

    assert scene.run(Add()) == 1


def test_a_large_row_is_not_remembered(scene: Scene) -> None:
    scene.run(Add(size=MAX_KEPT_BYTES + 1))
    scene.store.calls.clear()

    assert scene.run(Add(size=MAX_KEPT_BYTES + 1)) == 2
    assert "rows" in scene.store.calls


def test_only_the_last_rows_are_remembered(scene: Scene) -> None:
    keys = [b"c/%d" % n for n in range(MAX_KEPT_ROWS + 5)]
    for key in keys:
        scene.run(Add(key))

    cached = scene.caches[0].get(NAME)

    assert cached is not None
    assert len(cached.rows) == MAX_KEPT_ROWS
    assert set(cached.rows) <= set(keys)
    assert [scene.run(Add(key)) for key in keys] == [2] * len(keys)


def test_what_operations_of_one_turn_lack_is_read_together(scene: Scene) -> None:
    names = [Partition(f"x/{n}") for n in range(5)]
    seeding = [Change(name, 0, b"", (Row(KEY, b"\x07"),)) for name in names]
    answers: list[object] = []

    async def go() -> None:
        await scene.store.commit(seeding)
        scene.store.calls.clear()
        executor = scene.gateways[0]
        for name in names:
            executor.submit(Add(name=name), answers.append)

    scene.runtime.spawn(go, name="test")
    assert scene.world.run(until=lambda: len(answers) == len(names), upto_s=10.0)

    assert answers == [8] * len(names)
    assert scene.store.calls.count("heads") == 1


def test_a_cold_operation_is_not_overtaken_in_its_lane(scene: Scene) -> None:
    """The second does not run before the first, though it lacks nothing that the first would not bring."""
    answers: list[tuple[str, object]] = []
    executor = scene.gateways[0]
    assert isinstance(executor, TurnExecutor)

    class Warm:
        lane = NAME

        def run(self, work: WorkingSet) -> int:
            return len(work.state(self.lane, STATE)) if work.has(self.lane, STATE) else -1

    executor.submit(Add(), lambda answer: answers.append(("first", answer)))
    executor.submit(Warm(), lambda answer: answers.append(("second", answer)))
    executor.submit(Add(name=OTHER), lambda answer: answers.append(("other", answer)))
    assert scene.world.run(until=lambda: len(answers) == 3, upto_s=10.0)

    assert answers == [("first", 1), ("second", 1), ("other", 1)]


def test_each_operation_of_a_long_lane_may_lack_something_of_its_own(scene: Scene) -> None:
    count = MAX_LOADS + 10
    answers: list[object] = []
    seeding = [Change(NAME, 0, b"", tuple(Row(b"c/%d" % n, b"\x07") for n in range(count)))]

    async def go() -> None:
        await scene.store.commit(seeding)
        for n in range(count):
            scene.gateways[0].submit(Add(b"c/%d" % n), answers.append)

    scene.runtime.spawn(go, name="test")
    assert scene.world.run(until=lambda: len(answers) == count, upto_s=60.0)

    assert answers == [8] * count


def test_an_operation_that_always_lacks_something_fails_alone(scene: Scene) -> None:
    answers: list[object] = []

    class Insatiable:
        lane = NAME

        def run(self, work: WorkingSet) -> int:
            raise Cold(Load(self.lane, STATE, keys=work.missing_keys(self.lane, STATE, [b"another"])))

    scene.gateways[0].submit(Insatiable(), answers.append)
    scene.gateways[0].submit(Add(), answers.append)
    assert scene.world.run(until=lambda: len(answers) == 2, upto_s=60.0)

    assert isinstance(answers[0], Failed)
    assert "still cold" in str(answers[0].error)
    assert answers[1] == 1
