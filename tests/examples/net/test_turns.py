"""Connections read and write once per turn of the loop, in order, and none of them harms another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from examples.net.turns import MAX_GATHERED_BYTES, Turns


class Loop:
    """What is called soon, and when."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self.due.append(call)

    def turn(self) -> None:
        due, self.due = self.due, []
        for call in due:
            call()


class Peer:
    """A connection that answers what it reads, and fails at a certain word."""

    def __init__(self, name: str, turns: Turns, happened: list[str]) -> None:
        self._name = name
        self._turns = turns
        self._happened = happened

    def read(self, data: bytes) -> None:
        if data == b"fail":
            raise ValueError("told so")
        self._happened.append(f"{self._name} reads {data.decode()}")
        self._turns.flush_soon(self)

    def flush(self) -> None:
        self._happened.append(f"{self._name} writes")

    def abort(self) -> None:
        self._happened.append(f"{self._name} is cut")


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def turns(loop: Loop) -> Turns:
    return Turns(cast("asyncio.AbstractEventLoop", loop))


def test_all_are_read_in_the_order_in_which_it_came_and_then_all_write(loop: Loop, turns: Turns) -> None:
    happened: list[str] = []
    a, b = Peer("a", turns, happened), Peer("b", turns, happened)
    turns.read_soon(a, b"1")
    turns.read_soon(b, b"2")
    assert happened == [], "the sockets first"

    loop.turn()
    assert happened == ["a reads 1", "b reads 2"]
    loop.turn()
    assert happened[2:] == ["a writes", "b writes"]
    assert loop.due == []

    turns.read_soon(b, b"3")
    loop.turn()
    assert happened[4:] == ["b reads 3"]


def test_one_that_cannot_be_read_is_cut_and_the_others_are_read(
    loop: Loop, turns: Turns, caplog: pytest.LogCaptureFixture
) -> None:
    happened: list[str] = []
    a, b = Peer("a", turns, happened), Peer("b", turns, happened)
    turns.read_soon(a, b"fail")
    turns.read_soon(b, b"2")

    loop.turn()

    assert happened == ["a is cut", "b reads 2"]
    assert [record.getMessage() for record in caplog.records] == ["reading failed"]


def test_nothing_is_read_behind_what_could_not_be(loop: Loop, turns: Turns) -> None:
    """It may be the rest of a frame whose beginning is lost."""
    happened: list[str] = []
    a, b = Peer("a", turns, happened), Peer("b", turns, happened)
    for peer, data in ((a, b"1"), (a, b"fail"), (b, b"2"), (a, b"3"), (b, b"4")):
        turns.read_soon(peer, data)

    loop.turn()

    assert happened == ["a reads 1", "a is cut", "b reads 2", "b reads 4"]


def test_no_more_is_gathered_than_the_limit_says(loop: Loop, turns: Turns) -> None:
    happened: list[str] = []
    a = Peer("a", turns, happened)
    turns.read_soon(a, b"x" * MAX_GATHERED_BYTES)
    assert happened == []

    turns.read_soon(a, b"y")
    assert [len(one) for one in happened] == [len("a reads ") + MAX_GATHERED_BYTES, len("a reads y")]

    turns.read_soon(a, b"x" * MAX_GATHERED_BYTES)
    assert len(happened) == 2, "it begins at nothing again"
    loop.turn()
    assert sum("reads" in one for one in happened) == 3


def test_who_ends_a_connection_has_all_read_before(loop: Loop, turns: Turns) -> None:
    happened: list[str] = []
    turns.read_soon(Peer("a", turns, happened), b"1")

    turns.read_now()
    assert happened == ["a reads 1"]

    loop.turn()
    assert happened == ["a reads 1", "a writes"], "once"
