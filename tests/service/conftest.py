"""What the tests of the service share: a `Lab` both ways, over a store that spans partitions and one that does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from tests.service.lab import Lab

WAYS = ("spanning", "stepwise")


class MakeLab(Protocol):
    """Makes labs with options; they are closed when the test ends."""

    def __call__(self, **options: Any) -> Lab: ...


@pytest.fixture(params=WAYS)
def make_lab(request: pytest.FixtureRequest) -> Iterator[MakeLab]:
    made: list[Lab] = []

    def make(**options: Any) -> Lab:  # Any: whatever `Lab` takes
        made.append(Lab(**{"spans": request.param == "spanning", **options}))
        return made[-1]

    yield make
    for lab in made:
        lab.world.close()


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    return make_lab()
