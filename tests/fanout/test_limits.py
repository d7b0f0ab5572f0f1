"""Which strategy a conversation uses, and when it changes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import UsageError
from whisperkit.fanout import Limits, Strategy, needs_mode_row, next_strategy

SMALL, MID, MEGA = Strategy.SMALL, Strategy.MID, Strategy.MEGA
LIMITS = Limits()


@pytest.mark.parametrize(
    ("members", "expected"), [(0, SMALL), (199, SMALL), (200, MID), (5_000, MID), (5_001, MEGA), (10**6, MEGA)]
)
def test_the_limits_are_those_of_the_design(members: int, expected: Strategy) -> None:
    assert LIMITS.strategy_for(members) is expected


@pytest.mark.parametrize(
    ("current", "members", "expected"),
    [
        (SMALL, 199, SMALL),
        (SMALL, 200, MID),
        (SMALL, 5_001, MEGA),
        (MID, 181, MID),
        (MID, 180, SMALL),
        (MID, 5_000, MID),
        (MID, 5_001, MEGA),
        (MEGA, 4_501, MEGA),
        (MEGA, 4_500, MID),
        (MEGA, 181, MID),
        (MEGA, 180, SMALL),
    ],
)
def test_up_at_the_limits_and_down_below_them(current: Strategy, members: int, expected: Strategy) -> None:
    assert next_strategy(current, members, is_drained=True, limits=LIMITS) is expected


@pytest.mark.parametrize(("current", "members"), [(MID, 10), (MEGA, 4_500), (MEGA, 10)])
def test_nothing_goes_down_while_rows_are_owed(current: Strategy, members: int) -> None:
    assert next_strategy(current, members, is_drained=False, limits=LIMITS) is current


@pytest.mark.parametrize(("current", "members", "expected"), [(SMALL, 200, MID), (MID, 5_001, MEGA)])
def test_going_up_waits_for_nothing(current: Strategy, members: int, expected: Strategy) -> None:
    assert next_strategy(current, members, is_drained=False, limits=LIMITS) is expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(SMALL, MID, False), (MID, SMALL, False), (MID, MEGA, True), (MEGA, SMALL, True), (MEGA, MEGA, False)],
)
def test_members_are_told_when_pushing_turns_into_pulling_and_back(
    before: Strategy, after: Strategy, expected: bool
) -> None:
    assert needs_mode_row(before, after) is expected


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Limits(direct_again_at=200),
        lambda: Limits(direct_below=4_501),
        lambda: Limits(queued_again_at=5_000),
        lambda: Limits(direct_again_at=-1),
        lambda: Limits(batch_devices=0),
        lambda: Limits(batch_bytes=0),
    ],
)
def test_limits_that_make_no_sense_are_refused(wrong: Callable[[], Limits]) -> None:
    with pytest.raises(UsageError):
        wrong()


# ---- F1: a strategy that flips at the threshold ----------------------------------------------------------------------

Rule = Callable[[Strategy, int, bool], Strategy]


def good(current: Strategy, members: int, is_drained: bool) -> Strategy:
    return next_strategy(current, members, is_drained=is_drained, limits=LIMITS)


def without_hysteresis(current: Strategy, members: int, is_drained: bool) -> Strategy:
    goal = LIMITS.strategy_for(members)
    return goal if is_drained else max(goal, current)


def without_draining(current: Strategy, members: int, is_drained: bool) -> Strategy:
    return next_strategy(current, members, is_drained=True, limits=LIMITS)


def is_sound(rule: Rule, sizes: list[int], drained: list[bool]) -> bool:
    """No row goes down while others are owed, and less than twenty members never bring two changes of strategy."""
    strategies = [LIMITS.strategy_for(sizes[0])]
    for members, is_drained in zip(sizes, drained, strict=False):
        after = rule(strategies[-1], members, is_drained)
        if after < strategies[-1] and not is_drained:
            return False
        strategies.append(after)
    changes = sum(before is not after for before, after in pairwise(strategies))
    return changes <= 1 or max(sizes) - min(sizes) >= 20


@given(
    st.integers(150, 230) | st.integers(4_400, 5_100),
    st.lists(st.tuples(st.integers(0, 19), st.booleans()), min_size=1),
)
def test_members_that_come_and_go_at_a_limit_do_not_flip_the_strategy(base: int, steps: list[tuple[int, bool]]) -> None:
    assert is_sound(good, [base + more for more, _ in steps], [is_drained for _, is_drained in steps])


@pytest.mark.parametrize("broken", [without_hysteresis, without_draining])
def test_a_strategy_that_flips_is_caught(broken: Rule) -> None:
    sizes, drained = [201, 199, 201, 199, 180], [True, True, True, True, False]

    assert is_sound(good, sizes[:4], drained[:4])
    assert is_sound(good, [201, 180], [True, False])
    assert not (is_sound(broken, sizes[:4], drained[:4]) and is_sound(broken, [201, 180], [True, False]))
