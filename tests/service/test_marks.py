"""The board of marks: written in groups, told when they are durable, and never waited for without end."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.service.lab import Lab
from whisperkit.errors import StoreError
from whisperkit.partitions import Partition
from whisperkit.service.marks import FLUSH_S, MANY_MARKS, MAX_GATHER_S, Key, MarkBoard
from whisperkit.testing.sim_runtime import SimRuntime

CHAT, OTHER = Partition("conv/chat"), Partition("conv/other")


class Told:
    """Who wants to know of marks."""

    def __init__(self) -> None:
        self.groups: list[dict[Key, int]] = []

    def __call__(self, written: Mapping[Key, int]) -> None:
        self.groups.append(dict(written))


def board_of(lab: Lab, told: Told | None = None, *, max_pending: int = 100) -> tuple[MarkBoard, SimRuntime]:
    runtime = lab.g1.runtime
    return MarkBoard(lab.marks, runtime, publish=told or Told(), max_pending=max_pending), runtime


def test_marks_are_told_only_when_they_are_written(lab: Lab) -> None:
    told = Told()
    board, runtime = board_of(lab, told)
    lab.marks.failures = 1

    board.raise_mark(CHAT, "read/bob", 3)
    lab.settle(0.5)
    assert told.groups == []
    lab.run(board.flush(), on=runtime)

    assert told.groups == [{(CHAT, "read/bob"): 3}]


def test_what_gathers_is_written_together(lab: Lab) -> None:
    told = Told()
    board, runtime = board_of(lab, told)

    for value in (1, 3, 2):
        board.raise_mark(CHAT, "read/bob", value)
        board.raise_mark(OTHER, "read/bob", value)
    lab.run(board.flush(), on=runtime)

    assert told.groups == [{(CHAT, "read/bob"): 3, (OTHER, "read/bob"): 3}]


def test_where_there_are_many_they_gather_for_longer(lab: Lab) -> None:
    told = Told()
    board, _ = board_of(lab, told, max_pending=1_000)
    rounds = 40
    for value in range(1, rounds + 1):
        for n in range(MANY_MARKS):
            board.raise_mark(CHAT, f"read/{n}", value)
        lab.settle(0.1)
    lab.settle(MAX_GATHER_S)

    assert len(told.groups) <= 0.1 * rounds / MAX_GATHER_S + 2
    assert set(told.groups[-1].values()) == {rounds}


def test_a_flush_does_not_wait_until_many_have_gathered(lab: Lab) -> None:
    told = Told()
    board, runtime = board_of(lab, told, max_pending=1_000)
    for n in range(MANY_MARKS):
        board.raise_mark(CHAT, f"read/{n}", 1)
    lab.settle(0.2)
    board.raise_mark(CHAT, "read/0", 2)
    assert told.groups[-1][CHAT, "read/0"] == 1

    lab.run(board.flush(), on=runtime, within_s=0.1)

    assert told.groups[-1] == {(CHAT, "read/0"): 2}


def test_a_flush_waits_for_what_was_raised_before_it_and_for_nothing_else(lab: Lab) -> None:
    board, runtime = board_of(lab)
    count = 0

    async def another_comes() -> None:
        nonlocal count
        count += 1
        board.raise_mark(CHAT, "read/bob", count)
        await runtime.sleep(0.01)

    lab.marks.hold = another_comes
    board.raise_mark(OTHER, "read/bob", 1)
    lab.run(board.flush(), on=runtime, within_s=5.0)

    assert count <= 3


def test_a_flush_that_takes_too_long_says_so(lab: Lab) -> None:
    board, runtime = board_of(lab)
    lab.marks.failures = 1_000

    board.raise_mark(CHAT, "read/bob", 1)
    with pytest.raises(StoreError, match="not written"):
        lab.run(board.flush(), on=runtime, within_s=2 * FLUSH_S)


def test_a_flush_of_nothing_does_not_wait(lab: Lab) -> None:
    board, runtime = board_of(lab)

    lab.run(board.flush(), on=runtime)

    assert lab.marks.failures == 0


def test_a_flush_during_a_write_waits_for_it(lab: Lab) -> None:
    told = Told()
    board, runtime = board_of(lab, told)

    async def slowly() -> None:
        await runtime.sleep(1.0)

    lab.marks.hold = slowly
    board.raise_mark(CHAT, "read/bob", 1)
    lab.settle(0.5)
    lab.run(board.flush(), on=runtime)

    assert told.groups == [{(CHAT, "read/bob"): 1}]


def test_a_full_board_says_so(lab: Lab) -> None:
    board, _ = board_of(lab, max_pending=2)
    lab.marks.failures = 1_000
    board.raise_mark(CHAT, "being written", 1)
    lab.settle()

    board.raise_mark(CHAT, "read/bob", 1)
    board.check_room()
    board.raise_mark(CHAT, "read/carol", 1)

    assert board.is_full
    with pytest.raises(StoreError, match="2 marks"):
        board.check_room()


def test_reading_shows_what_is_on_its_way(lab: Lab) -> None:
    board, runtime = board_of(lab)
    board.raise_mark(CHAT, "read/bob", 1)
    lab.run(board.flush(), on=runtime)
    lab.marks.failures = 1_000
    board.raise_mark(CHAT, "read/bob", 2)
    lab.settle()
    board.raise_mark(CHAT, "read/carol", 3)

    found = lab.run(board.read([CHAT, OTHER]), on=runtime)

    assert found == {CHAT: {"read/bob": 2, "read/carol": 3}, OTHER: {}}
