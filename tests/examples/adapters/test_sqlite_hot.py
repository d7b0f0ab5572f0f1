"""What the SQLite adapter remembers of what was used last, beside the plain order of use that it stands for."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.adapters.sqlite_hot import Hot

Uses = list[tuple[bool, dict[int, int]]]


class Slow:
    """All that was ever kept, in the order of its last use."""

    def __init__(self) -> None:
        self.all: OrderedDict[int, int] = OrderedDict()

    def use(self, key: int) -> int | None:
        if key in self.all:
            self.all.move_to_end(key)
        return self.all.get(key)

    def keep(self, values: dict[int, int]) -> None:
        for key, value in values.items():
            self.all[key] = value
            self.all.move_to_end(key)

    def last(self, count: int) -> set[int]:
        return set(list(self.all)[-count:])


class Stale(Hot[int, int]):
    """Looks into the old generation first, where an earlier value may lie."""

    def get(self, key: int) -> int | None:
        found = self._old.get(key)
        return super().get(key) if found is None else found


class Growing(Hot[int, int]):
    """Never turns."""

    def _turn(self) -> None:
        pass


class Forgetful(Hot[int, int]):
    """Does not move what is used into the young generation."""

    def get(self, key: int) -> int | None:
        found = self._young.get(key)
        return self._old.get(key) if found is None else found


def check(hot: Hot[int, int], size: int, uses: Uses) -> None:
    """Answers are never another value than the last one, what was used last is there, and no more than `size` is."""
    slow = Slow()
    for is_kept, values in uses:
        if is_kept and len(values) == 1:
            hot.keep(*next(iter(values.items())))
            slow.keep(values)
        elif is_kept:
            hot.keep_all(values)
            slow.keep(values)
        else:
            for key in values:
                expected = slow.last(size // 2)
                found = hot.get(key)
                assert found in (None, slow.all.get(key))
                assert found is not None or key not in expected
                if found is None:
                    slow.all.pop(key, None)  # it is forgotten, so this was no use of it
                slow.use(key)
        assert len(hot) <= size + len(values)


keys = st.integers(0, 7)
uses = st.lists(st.tuples(st.booleans(), st.dictionaries(keys, st.integers(), min_size=1, max_size=2)), max_size=40)


@given(st.integers(2, 9), uses)
def test_what_was_used_last_is_there_as_it_was_kept_last(size: int, used: Uses) -> None:
    check(Hot(size), size, used)


ONE_BY_ONE: Uses = [(True, {key: key}) for key in range(8)]
KEPT_TWICE: Uses = [(True, {1: 1}), (True, {2: 2}), (True, {1: 9}), (False, {1: 0})]
USED_ALL_THE_TIME: Uses = [
    (True, {0: 0}),
    *((kept, {key: key}) for n in range(1, 6) for kept, key in ((True, n), (False, 0))),
]


@pytest.mark.parametrize(
    ("broken", "size", "used"),
    [(Stale(4), 4, KEPT_TWICE), (Growing(4), 4, ONE_BY_ONE), (Forgetful(4), 4, USED_ALL_THE_TIME)],
)
def test_a_wrong_memory_is_caught(broken: Hot[int, int], size: int, used: Uses) -> None:
    check(Hot(size), size, used)

    with pytest.raises(AssertionError):
        check(broken, size, used)
