"""The simulator itself: it repeats a run to the step, writes it down, shortens it, and sees what it is there to see."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from whisperkit.errors import UsageError
from whisperkit.runtime import Runtime
from whisperkit.service import MessageService, ServiceConfig
from whisperkit.stores import MemoryPartitions, Stores
from whisperkit.testing.decisions import FAULTS, Decision, Plan, generate, shrink
from whisperkit.testing.sim_stores import opened
from whisperkit.testing.simulator import simulate

BUSY = generate(11, messages=12, faults=12, over_s=30.0)
QUIET = Plan(1, True, 1, False, (Decision(2.0, "send", ("alice.1", "bob")),))


def test_a_run_repeats_itself_to_the_step() -> None:
    assert simulate(BUSY) == simulate(BUSY)


@pytest.mark.parametrize("seed", [5, 6])
def test_a_run_repeats_itself_in_another_process(seed: int, tmp_path: Path) -> None:
    plan = generate(seed, messages=12, faults=12, over_s=30.0)
    kept = tmp_path / "kept.run"
    kept.write_text(plan.dump())
    here = simulate(plan).trace

    for hash_seed in ("1", "2"):  # sets of texts are in another order there
        said = subprocess.run(
            [sys.executable, "-m", "whisperkit.testing", "replay", str(kept)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout.endswith(f"trace {here}\n")


def test_seeds_differ() -> None:
    assert simulate(QUIET).trace != simulate(QUIET._replace(seed=2)).trace


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_comes_back_from_its_text(seed: int) -> None:
    plan = generate(seed, faults=20)

    assert Plan.parse(f"# a remark\n\n{plan.dump()}") == plan


@pytest.mark.parametrize("line", ["send alice.1 bob", "1.0", "1.0 sing alice.1"])
def test_what_is_no_decision_is_refused(line: str) -> None:
    with pytest.raises(UsageError, match="not a decision"):
        Plan.parse(line)


def test_generated_plans_let_everything_go_wrong() -> None:
    verbs = {decision.verb for seed in range(60) for decision in generate(seed, faults=20).decisions}

    assert verbs > FAULTS


def test_a_gateway_that_never_comes_back_may_be_forgotten_by_the_directory() -> None:
    plans = [[decision.verb for decision in generate(seed, faults=20).decisions] for seed in range(60)]

    assert any("empty" in verbs[verbs.index("replace") :] for verbs in plans if "replace" in verbs)


def test_shrinking_leaves_what_it_takes_to_fail() -> None:
    needed = {BUSY.decisions[3], BUSY.decisions[-2]}

    short = shrink(BUSY, lambda plan: needed <= set(plan.decisions))

    assert set(short.decisions) == needed


def test_shrinking_stops_after_its_attempts() -> None:
    tried: list[Plan] = []

    def fails(plan: Plan) -> bool:
        tried.append(plan)
        return False

    assert shrink(BUSY, fails, attempts=5) == BUSY
    assert len(tried) == 5


def test_everything_that_people_and_faults_do_is_carried_out() -> None:
    lines = """
        seed 3
        gateways 2
        1.0 send alice.1 team
        2.0 add alice.1 team dave
        2.5 link alice.1 2
        3.0 remove alice.1 hall frank
        4.0 read bob.1 team
        4.5 open erin.1 hall
        5.0 crash g1 2.0
        5.0 crash g1 2.0
        5.5 replace g1 2.0
        6.0 pause g2 3.0
        6.0 die bob.1 1.0
        6.5 die carol.1 0
        7.0 cut alice.1 1.0
        7.0 cut zoe.1 1.0
        7.0 wire dave.1 up doubled
        7.0 wire dave.1 down late
        7.0 wire zoe.1 down late
        7.5 empty
        7.5 replace g1 2.0
        7.5 deaf 5.0
        7.5 slow 2.0
        8.0 door g2 commit crash_after
        8.0 door g2 marks crash_before
        8.0 door g2 jobs unknown_after
        8.0 door g2 directory conflict
        8.0 door bob.1 commit conflict
        8.0 door dave.1 commit crash_before
        8.0 door zoe.1 commit conflict
        9.0 send bob.1 alice
        9.0 send carol.1 alice
        9.5 send dave.1 hall
        30.0 send alice.2 team
        31.0 unlink alice.1 2
        31.0 unlink alice.1 3
    """

    outcome = simulate(Plan.parse(lines))

    assert outcome.violation is None
    assert outcome.acknowledged >= 4


# ---- what it is there to see ----------------------------------------------------------------------------------------


class Faulty(MessageService):
    """A service with a fault of the program."""

    async def start(self) -> None:
        """Serve, and fail."""
        await super().start()
        raise KeyError("no such thing")


def _faulty(stores: Stores, name: str, runtime: Runtime, config: ServiceConfig) -> MessageService:
    return Faulty(stores, gateway=name, runtime=runtime, config=config)


def test_what_a_flow_raises_is_a_broken_promise() -> None:
    violation = simulate(QUIET, make_service=_faulty).violation

    assert violation is not None
    assert violation.kind == "raised"
    assert "in start of g1" in violation.detail


class Forgetful(MemoryPartitions):
    """A store that loses what it says it has."""

    async def commit(self, changes: object) -> None:
        """Take the change, and keep nothing."""


def test_a_store_that_forgets_is_found_out() -> None:
    assert simulate(QUIET, store=Forgetful()).violation is not None


@asynccontextmanager
async def open_store() -> AsyncGenerator[MemoryPartitions]:
    """A maker as adapters have it."""
    yield MemoryPartitions()


def test_a_store_on_an_event_loop_takes_part_and_changes_nothing() -> None:
    with opened(open_store) as store:
        assert simulate(QUIET, store=store).trace == simulate(QUIET).trace
