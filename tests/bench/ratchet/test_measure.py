from __future__ import annotations

from collections.abc import Sequence

from tests.bench.ratchet.measure import Yardstick, timed


def test_work_is_done_on_all_items_in_order_with_a_look_around_each_slice() -> None:
    slices: list[Sequence[int]] = []

    def double(items: Sequence[int]) -> list[int]:
        slices.append(items)
        return [2 * item for item in items]

    stretch, made = timed(double, range(7), slice_items=3, yardstick=Yardstick())

    assert made == [0, 2, 4, 6, 8, 10, 12]
    assert [list(each) for each in slices] == [[0, 1, 2], [3, 4, 5], [6]]
    assert stretch.items == (3, 3, 1)
    assert (len(stretch.us), len(stretch.looks), len(stretch.switches)) == (3, 4, 3)
    assert min(stretch.switches) >= 0
