"""From the stretches of all rounds to one figure for each case and contestant, and whether a limit is kept.

A figure is the median over rounds of the median over the stretches of a round. The quiet figure is what those slices
say that stand between two fast looks at the yardstick and in which nobody else got the core: the median of them, or,
where the work differs from slice to slice in a fixed order, the mean of the medians of each kind. It is `None` where a
kind has no such slice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import Final, NamedTuple, assert_never

from tests.bench.ratchet.cases import Limit, Measure
from tests.bench.ratchet.measure import Stretch

__all__ = ["Figure", "Kept", "Quiet", "fast_look", "figure", "kept", "mean_us", "quiet", "sizes_figure"]

# A look is fast if it is at most this much above the fastest twentieth of all looks.
_FAST: Final = 1.07
_FASTEST: Final = 0.05


class Quiet(NamedTuple):
    """What quiet slices say.

    Attributes:
        us: Microseconds for one item.
        x25519: The same in agreements.
        slices: How many there were.
    """

    us: float
    x25519: float
    slices: int


class Figure(NamedTuple):
    """What one case costs a contestant.

    Attributes:
        median: The median over the rounds; microseconds, or bytes for sizes of sessions.
        low: The smallest of the rounds, or the smallest size.
        high: The largest.
        x25519: The median in agreements; `None` for sizes.
        quiet: What quiet slices say; `None` if there were none, and for sizes.
    """

    median: float
    low: float
    high: float
    x25519: float | None
    quiet: Quiet | None


class Kept(NamedTuple):
    """How one limit fared.

    Attributes:
        limit: Which one.
        found: What it is about, from the medians; `None` if it could not be measured.
        is_kept: Whether that keeps it.
        quiet_found: The same from quiet slices.
        is_quiet_kept: Whether that keeps it.
    """

    limit: Limit
    found: float | None
    is_kept: bool | None
    quiet_found: float | None
    is_quiet_kept: bool | None


def mean_us(stretch: Stretch) -> float:
    """Microseconds for one item over a whole stretch."""
    return sum(us * items for us, items in zip(stretch.us, stretch.items, strict=True)) / sum(stretch.items)


def fast_look(stretches: Iterable[Stretch]) -> float:
    """How many microseconds a look may take to count as fast, from all looks of a run at one yardstick."""
    looks = sorted(look for stretch in stretches for look in stretch.looks)
    return looks[int(len(looks) * _FASTEST)] * _FAST


def quiet(stretches: Iterable[Stretch], *, fast: float, phases: int) -> Quiet | None:
    """What the undisturbed slices between two fast looks say.

    Args:
        stretches: Of one case.
        fast: From `fast_look`.
        phases: Every how many slices the same work comes again.
    """
    us: list[list[float]] = [[] for _ in range(phases)]
    ratios: list[list[float]] = [[] for _ in range(phases)]
    for stretch in stretches:
        slices = zip(stretch.us, pairwise(stretch.looks), stretch.switches, strict=True)
        for n, (cost, (before, after), switches) in enumerate(slices):
            if max(before, after) <= fast and not switches:
                us[n % phases].append(cost)
                ratios[n % phases].append(cost / fmean((before, after)))
    if not all(us):
        return None
    return Quiet(fmean(map(median, us)), fmean(map(median, ratios)), sum(map(len, us)))


def figure(rounds: Sequence[Sequence[Stretch]], *, fast: float, phases: int) -> Figure:
    """Sum up one case of one contestant.

    Args:
        rounds: Its stretches, at least one in each of at least one round.
        fast: From `fast_look`.
        phases: Every how many slices the same work comes again.
    """
    values = [median(map(mean_us, stretches)) for stretches in rounds]
    ratios = [median(mean_us(each) / fmean(each.looks) for each in stretches) for stretches in rounds]
    flat = [stretch for stretches in rounds for stretch in stretches]
    return Figure(median(values), min(values), max(values), median(ratios), quiet(flat, fast=fast, phases=phases))


def sizes_figure(sizes: Collection[int]) -> Figure:
    """Sum up the sizes of saved sessions."""
    return Figure(median(sizes), min(sizes), max(sizes), x25519=None, quiet=None)


def kept(limit: Limit, ours: Figure, official: Figure | None) -> Kept:
    """Hold our figure against a limit.

    Args:
        limit: The limit.
        ours: Our figure.
        official: The official library's, if it was measured.
    """
    found, quiet_found = _found(limit, ours, official)
    return Kept(limit, found, _keeps(limit, found), quiet_found, _keeps(limit, quiet_found))


def _found(limit: Limit, ours: Figure, official: Figure | None) -> tuple[float | None, float | None]:
    quiet_ours, quiet_official = ours.quiet, official and official.quiet
    match limit.measure:
        case Measure.MOST_US:
            return ours.median, quiet_ours and quiet_ours.us
        case Measure.MOST_X25519:
            return ours.x25519, quiet_ours and quiet_ours.x25519
        case Measure.LESS_BYTES:
            return ours.high, None
        case Measure.TIMES_FASTER:
            return (
                official and official.median / ours.median,
                quiet_ours and quiet_official and quiet_official.us / quiet_ours.us,
            )
        case _:
            assert_never(limit.measure)


def _keeps(limit: Limit, found: float | None) -> bool | None:
    if found is None:
        return None
    match limit.measure:
        case Measure.TIMES_FASTER:
            return found >= limit.value
        case Measure.LESS_BYTES:
            return found < limit.value
        case _:
            return found <= limit.value
