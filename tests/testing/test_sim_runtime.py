"""The simulated runtime: one seed owns every step, and a crash stops a node where it stands."""

from __future__ import annotations

from functools import partial

import pytest

from whisperkit.errors import OutcomeUnknownError, UsageError
from whisperkit.stores import MemoryPartitions
from whisperkit.testing.faulty import Crashed
from whisperkit.testing.sim_runtime import EPOCH_MS, LivelockError, SimRuntime, SimWorld, run_now


def test_time_passes_only_by_events() -> None:
    world = SimWorld(1)
    node = world.runtime("node")
    seen: list[tuple[float, int]] = []

    async def sleeper() -> None:
        await node.sleep(3_600.0)
        seen.append((node.now(), node.wall_ms()))

    node.spawn(sleeper, name="sleeper")
    world.run()

    assert seen == [(3_600.0, EPOCH_MS + 3_600_000)]


def test_a_run_stops_at_its_time_or_at_its_condition() -> None:
    world = SimWorld(1)
    node = world.runtime("node")
    ticks: list[float] = []

    async def ticker() -> None:
        while True:
            await node.sleep(1.0)
            ticks.append(node.now())

    node.spawn(ticker, name="ticker")

    assert not world.run(upto_s=2.5)
    assert world.now == 2.5
    assert world.run(until=lambda: len(ticks) == 4)
    assert ticks == [1.0, 2.0, 3.0, 4.0]
    world.close()


def _run(seed: int) -> tuple[str, str]:
    world = SimWorld(seed)
    node = world.runtime("node")
    order: list[str] = []

    async def worker(name: str) -> None:
        for _ in range(5):
            await node.call(lambda: order.append(name), label=name)

    for name in "abc":
        node.spawn(partial(worker, name), name=name)
    world.run()
    return "".join(order), world.trace


def test_one_seed_owns_order_and_time() -> None:
    assert _run(7) == _run(7)
    assert _run(7)[0] != _run(8)[0]
    assert _run(7)[1] != _run(8)[1]


def test_a_mailbox_hands_over_what_was_put_in_order() -> None:
    world = SimWorld(1)
    node = world.runtime("node")
    box = node.mailbox()
    found: list[int | None] = []

    async def reader() -> None:
        for _ in range(3):
            found.append(await box.get())  # noqa: PERF401  # one by one: that is what is tested

    node.spawn(reader, name="reader")
    for number in range(5):
        box.put(number)
    world.run()

    assert found == [0, 1, 2]
    assert len(box) == 2
    assert box.take(9) == [3, 4]


def test_a_mailbox_gives_up_after_its_time_and_not_before() -> None:
    world = SimWorld(1)
    node = world.runtime("node")
    box = node.mailbox()
    found: list[tuple[float, object]] = []

    async def reader() -> None:
        for timeout_s in (1.0, 5.0, 1.0):
            found.append((node.now(), await box.get(timeout_s=timeout_s)))  # noqa: PERF401  # as above

    async def writer() -> None:
        await node.sleep(2.0)
        box.put("late")

    node.spawn(reader, name="reader")
    node.spawn(writer, name="writer")
    world.run()

    assert found == [(0.0, None), (1.0, "late"), (2.0, None)]


def test_calls_side_by_side_are_bounded_and_the_first_failure_is_raised_after_all_ended() -> None:
    world = SimWorld(1)
    node = world.runtime("node")
    running, most, caught = [0], [0], list[str]()

    async def call(number: int) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await node.sleep(1.0 + number)
        running[0] -= 1
        if number in (1, 3):
            raise OutcomeUnknownError(str(number))

    async def main() -> None:
        try:
            await node.gather([partial(call, number) for number in range(5)], limit=2)
        except OutcomeUnknownError as error:
            caught.append(f"{error} at {node.now()}")

    node.spawn(main, name="main")
    world.run()

    assert most == [2]
    assert running == [0]
    assert len(caught) == 1
    assert caught[0].startswith("1")
    assert caught[0].endswith("at 9.0")


def _crash_midway(node: SimRuntime, log: list[str]) -> None:
    async def flow() -> None:
        try:
            log.append("begun")
            await node.sleep(10.0)
            log.append("went on")
        finally:
            log.append("finally")

    node.spawn(flow, name="flow")


def test_a_crash_runs_nothing_of_the_node_any_more() -> None:
    world = SimWorld(1)
    node = world.runtime("node")
    log: list[str] = []
    _crash_midway(node, log)
    world.at(5.0, node.crash, label="crash")

    world.run(upto_s=60.0)

    assert log == ["begun"]
    assert node.tasks == 0
    world.close()  # only now, when nobody looks
    assert log == ["begun", "finally"]


def test_what_a_node_asked_of_another_machine_happens_though_it_crashed() -> None:
    world = SimWorld(1)
    node = world.runtime("node")
    log: list[str] = []

    async def flow() -> None:
        await node.call(lambda: log.append("done elsewhere"), label="write")
        log.append("heard of it")

    node.spawn(flow, name="flow")
    world.at(0.0004, node.crash, label="crash")  # after the request left, before it arrives

    world.run()

    assert log == ["done elsewhere"]
    world.close()


def test_a_call_may_kill_its_node_or_fail() -> None:
    world = SimWorld(1)
    node = world.runtime("node")
    log: list[str] = []

    def fail() -> None:
        raise OutcomeUnknownError("write")

    def kill() -> None:
        raise Crashed("write")

    async def flow() -> None:
        try:
            await node.call(fail, label="write")
        except OutcomeUnknownError:
            log.append("unknown")
        await node.call(kill, label="write")
        log.append("went on")

    node.spawn(flow, name="flow")
    world.run()

    assert log == ["unknown"]
    assert not node.is_alive
    world.close()


def test_a_paused_node_goes_on_as_if_no_time_had_passed() -> None:
    world = SimWorld(1)
    node = world.runtime("node")
    log: list[float] = []

    async def flow() -> None:
        await node.sleep(1.0)
        log.append(node.now())

    node.spawn(flow, name="flow")
    world.at(0.5, node.pause, label="pause")
    world.at(90.0, node.resume, label="resume")
    world.run()

    assert log == [90.0]


def test_a_task_that_is_dropped_takes_no_step_more_and_neither_does_what_it_gathers() -> None:
    world = SimWorld(1)
    node = world.runtime("node")
    log: list[str] = []

    async def child() -> None:
        await node.sleep(1.0)
        log.append("child")

    async def parent() -> None:
        await node.gather([child, child], limit=2)
        log.append("parent")

    task = node.spawn(parent, name="parent")
    unborn = node.spawn(child, name="unborn")
    node.drop(unborn)
    world.at(0.5, lambda: node.drop(task), label="drop")
    world.run()

    assert log == []
    assert task.is_done
    world.close()


def test_a_task_of_another_runtime_cannot_be_dropped() -> None:
    node = SimWorld(1).runtime("node")

    class Other:
        is_done = False

    with pytest.raises(UsageError):
        node.drop(Other())


def test_what_a_coroutine_raises_ends_the_run_and_says_where() -> None:
    world = SimWorld(1)
    node = world.runtime("g1")

    async def flow() -> None:
        await node.sleep(1.0)
        raise KeyError("no such thing")

    node.spawn(flow, name="flow")

    with pytest.raises(KeyError) as caught:
        world.run()
    assert caught.value.__notes__ == ["in flow of g1, after 1.000 s"]


def test_a_world_that_goes_round_and_round_is_found_out() -> None:
    world = SimWorld(1)
    node = world.runtime("node")

    async def flow() -> None:
        while True:
            await node.sleep(0.0)

    node.spawn(flow, name="flow")

    with pytest.raises(LivelockError):
        world.run()
    world.close()


def test_lives_of_a_node_have_randomness_of_their_own() -> None:
    world = SimWorld(1)

    drawn = {world.runtime("node", life=life).random(16) for life in range(3)}

    assert len(drawn) == 3
    assert SimWorld(1).runtime("node").random(16) in drawn


def test_only_what_waits_for_nothing_can_be_run_at_once() -> None:
    node = SimWorld(1).runtime("node")

    assert run_now(MemoryPartitions().heads([])) == {}
    with pytest.raises(UsageError):
        run_now(node.sleep(1.0))


def test_a_slow_world_takes_longer_for_every_message() -> None:
    world = SimWorld(1)
    usual = [world.runtime("node").latency_s() for _ in range(50)]
    world.slow_until = 1.0
    slow = [world.runtime("node").latency_s() for _ in range(50)]

    assert sum(slow) > 10 * sum(usual)
