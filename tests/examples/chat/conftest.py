"""A chat net for each test, and people in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.examples.chat.person import Person
from whisperkit.testing.sim_phone import ChatNet, SimPhone


@pytest.fixture
def net() -> Iterator[ChatNet]:
    """A server, and phones to be added."""
    net = ChatNet()
    yield net
    net.close()


@pytest.fixture
def person(net: ChatNet, tmp_path: Path) -> Iterator[Callable[..., Person]]:
    """Make somebody."""
    people: list[Person] = []

    def make(name: str, phone: SimPhone | None = None) -> Person:
        people.append(Person(net, name, tmp_path, phone))
        return people[-1]

    yield make
    for one in people:
        one.index.__exit__()
