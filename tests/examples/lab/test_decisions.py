"""What is pressed becomes a run: each act in the simulator's words, at its time."""

from __future__ import annotations

import pytest

from examples.lab.decisions import Recorder
from examples.lab.fates import Fate
from whisperkit.testing.decisions import Decision, Plan


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(clock: Clock) -> Recorder:
    return Recorder(8812, now=clock)


def plan(recorder: Recorder) -> tuple[Decision, ...]:
    return Plan.parse(recorder.dump()).decisions


def test_what_people_do_is_done_in_the_team(recorder: Recorder, clock: Clock) -> None:
    recorder.send("alice.1")
    clock.now += 2.5
    recorder.read("bob.1")
    recorder.members("alice.1", "remove", "bob")

    assert plan(recorder) == (
        Decision(1.0, "send", ("alice.1", "team")),
        Decision(3.5, "read", ("bob.1", "team")),
        Decision(3.5, "remove", ("alice.1", "team", "bob")),
    )


def test_a_frame_is_a_line_if_it_did_not_just_pass(recorder: Recorder) -> None:
    for fate in Fate:
        recorder.frame("bob.1", "down", fate)

    assert [decision.args for decision in plan(recorder)] == [
        ("bob.1", "down", "doubled"),
        ("bob.1", "down", "late"),
        ("bob.1", "down", "lost"),
    ]


def test_what_lasts_begins_when_it_began_and_has_its_length(recorder: Recorder, clock: Clock) -> None:
    recorder.kill()
    clock.now += 1.0
    recorder.slow_down()
    recorder.kill()
    clock.now += 2.0
    recorder.restart()
    recorder.restart()
    recorder.speed_up()

    assert plan(recorder) == (Decision(1.0, "crash", ("g1", "3.0")), Decision(2.0, "slow", ("2.0",)))


def test_what_is_written_in_the_air_is_sent_on_the_ground(recorder: Recorder, clock: Clock) -> None:
    recorder.fly("bob.1")
    clock.now += 1.0
    recorder.send("bob.1")
    recorder.send("alice.1")
    clock.now += 4.0
    recorder.land("bob.1")

    assert plan(recorder) == (
        Decision(1.0, "die", ("bob.1", "5.0")),
        Decision(2.0, "send", ("alice.1", "team")),
        Decision(6.0, "send", ("bob.1", "team")),
    )


def test_what_still_lasts_ends_with_the_run(recorder: Recorder, clock: Clock) -> None:
    recorder.fly("bob.1")
    recorder.send("bob.1")
    clock.now += 3.0

    assert plan(recorder) == (
        Decision(1.0, "die", ("bob.1", "3.0")),
        Decision(4.0, "send", ("bob.1", "team")),
    )


def test_what_the_simulator_has_no_word_for_is_a_remark(recorder: Recorder) -> None:
    recorder.remark("bob.1 was set up anew")

    assert "# 1.000 bob.1 was set up anew" in recorder.dump().splitlines()
    assert plan(recorder) == ()
    assert recorder.name == "lab-8812.run"


def test_a_run_without_end_keeps_its_end(clock: Clock) -> None:
    recorder = Recorder(1, now=clock, most=3)
    for _ in range(5):
        recorder.send("alice.1")
    recorder.read("bob.1")

    assert [decision.verb for decision in plan(recorder)] == ["read", "send", "send"]
