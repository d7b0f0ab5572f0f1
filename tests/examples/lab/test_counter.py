"""The three numbers say what is so, and a counter that does not is found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from examples.lab.counter import Counter, Counts

ALICE, BOB = 0, 1

Story = tuple[Callable[[Counter], None], Counts]


def delivered(counter: Counter) -> None:
    counter.write("a")
    counter.acknowledge("a", 2, [BOB])
    counter.apply(BOB, "a", 2, is_new=True)


def on_its_way(counter: Counter) -> None:
    counter.write("a")
    counter.acknowledge("a", 2, [BOB])
    counter.reach(BOB, 1)


def not_acknowledged(counter: Counter) -> None:
    counter.write("a")


def passed_over(counter: Counter) -> None:
    on_its_way(counter)
    counter.write("b")
    counter.acknowledge("b", 3, [BOB])
    counter.apply(BOB, "b", 3, is_new=True)


def not_in_all_that_there_is(counter: Counter) -> None:
    on_its_way(counter)
    counter.reach(BOB, 2)


def forgotten_by_the_server(counter: Counter) -> None:
    on_its_way(counter)
    counter.server_has(1, of=counter.highest)


def newer_than_what_the_server_was_asked(counter: Counter) -> None:
    asked_of = counter.highest
    on_its_way(counter)
    counter.server_has(1, of=asked_of)


def not_for_bob(counter: Counter) -> None:
    counter.write("a")
    counter.acknowledge("a", 2, [])
    counter.reach(BOB, 5)


def shown_twice(counter: Counter) -> None:
    delivered(counter)
    counter.apply(BOB, "a", 2, is_new=True)


def shown_anew_in_its_place(counter: Counter) -> None:
    delivered(counter)
    counter.apply(BOB, "a", 2, is_new=False)


def written_by_nobody(counter: Counter) -> None:
    counter.apply(BOB, "a", 2, is_new=True)


def sealed(counter: Counter) -> None:
    on_its_way(counter)
    counter.seal(BOB, "a", 2)


def opened(counter: Counter) -> None:
    sealed(counter)
    counter.apply(BOB, "a", 2, is_new=False)


def exchanged(counter: Counter) -> None:
    shown_twice(counter)
    counter.exchange(BOB)
    counter.reach(BOB, 2)


STORIES: Final[list[Story]] = [
    (lambda counter: None, Counts(0, 0, 0)),
    (delivered, Counts(1, 0, 0)),
    (on_its_way, Counts(1, 0, 0)),
    (not_acknowledged, Counts(0, 0, 0)),
    (passed_over, Counts(2, 1, 0)),
    (not_in_all_that_there_is, Counts(1, 1, 0)),
    (forgotten_by_the_server, Counts(1, 1, 0)),
    (newer_than_what_the_server_was_asked, Counts(1, 0, 0)),
    (not_for_bob, Counts(1, 0, 0)),
    (shown_twice, Counts(1, 0, 1)),
    (shown_anew_in_its_place, Counts(1, 0, 0)),
    (written_by_nobody, Counts(0, 0, 1)),
    (sealed, Counts(1, 0, 0)),
    (opened, Counts(1, 0, 0)),
    (exchanged, Counts(1, 0, 1)),
]


def is_right(counter: Callable[[], Counter], story: Callable[[Counter], None], expected: Counts) -> bool:
    told = counter()
    story(told)
    return told.counts == expected


@pytest.mark.parametrize(("story", "expected"), STORIES)
def test_the_numbers_say_what_has_become_of_a_message(story: Callable[[Counter], None], expected: Counts) -> None:
    assert is_right(Counter, story, expected)


class CountsNothing(Counter):
    def acknowledge(self, message: str, seq: int, readers: object) -> None:
        pass


class ForgetsTheServer(Counter):
    def server_has(self, head: int, *, of: int) -> None:
        pass


class TrustsInOrder(Counter):
    def reach(self, phone: int, seq: int) -> None:
        pass


class ForgetsWhatWasTwice(Counter):
    def exchange(self, phone: int) -> None:
        self._applied.pop(phone, None)


class TakesEveryRowForANewOne(Counter):
    def apply(self, phone: int, message: str, seq: int, *, is_new: bool) -> None:
        super().apply(phone, message, seq, is_new=True)


class TakesWhatIsSealedForLost(Counter):
    def seal(self, phone: int, message: str, seq: int) -> None:
        self.reach(phone, seq)


@pytest.mark.parametrize(
    "broken",
    [
        CountsNothing,
        ForgetsTheServer,
        TrustsInOrder,
        ForgetsWhatWasTwice,
        TakesEveryRowForANewOne,
        TakesWhatIsSealedForLost,
    ],
)
def test_a_counter_that_does_not_count_is_found_out(broken: type[Counter]) -> None:
    assert not all(is_right(broken, story, expected) for story, expected in STORIES)
