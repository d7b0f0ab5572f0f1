from __future__ import annotations

import pytest

from tests.bench.ratchet.cases import Limit, Measure
from tests.bench.ratchet.measure import Stretch
from tests.bench.ratchet.summary import Figure, Quiet, fast_look, figure, kept, mean_us, quiet, sizes_figure


def stretch(
    *us: float,
    looks: tuple[float, ...] | None = None,
    items: tuple[int, ...] | None = None,
    switches: tuple[int, ...] | None = None,
) -> Stretch:
    return Stretch(items or (10,) * len(us), us, looks or (40.0,) * (len(us) + 1), switches=switches or (0,) * len(us))


def test_a_stretch_costs_the_mean_of_its_items_not_of_its_slices() -> None:
    assert mean_us(stretch(10.0, 40.0, items=(20, 10))) == 20.0


def test_a_fast_look_is_within_seven_percent_of_the_fastest_twentieth() -> None:
    looks = tuple(float(us) for us in range(100, 200))

    assert fast_look([stretch(*(1.0,) * 99, looks=looks)]) == pytest.approx(105 * 1.07)


def test_one_look_that_was_too_fast_to_be_true_does_not_make_all_others_slow() -> None:
    assert fast_look([stretch(*(1.0,) * 99, looks=(1.0, *(40.0,) * 99))]) == pytest.approx(42.8)


def test_only_slices_between_two_fast_looks_are_quiet() -> None:
    found = quiet([stretch(1.0, 2.0, 3.0, 4.0, looks=(40.0, 40.0, 60.0, 40.0, 40.0))], fast=42.0, phases=1)

    assert found == Quiet(us=2.5, x25519=2.5 / 40, slices=2)


def test_a_slice_in_which_another_process_got_the_core_is_not_quiet() -> None:
    found = quiet([stretch(1.0, 20.0, 3.0, switches=(0, 1, 0))], fast=42.0, phases=1)

    assert found == Quiet(us=2.0, x25519=2.0 / 40, slices=2)


def test_the_quiet_figure_of_work_in_phases_is_the_mean_of_their_medians() -> None:
    found = quiet([stretch(1.0, 10.0, 3.0, 30.0, 2.0, 20.0)], fast=40.0, phases=2)

    assert found == Quiet(us=11.0, x25519=11.0 / 40, slices=6)


def test_there_is_no_quiet_figure_if_one_phase_was_never_quiet() -> None:
    assert quiet([stretch(1.0, 10.0, looks=(40.0, 40.0, 50.0))], fast=42.0, phases=2) is None


def test_a_figure_is_the_median_over_rounds_of_the_medians_of_their_stretches() -> None:
    rounds = [[stretch(1.0), stretch(2.0), stretch(9.0)], [stretch(80.0)], [stretch(3.0), stretch(5.0)]]

    found = figure(rounds, fast=40.0, phases=1)

    assert (found.median, found.low, found.high) == (4.0, 2.0, 80.0)
    assert found.x25519 == pytest.approx(4.0 / 40)


def test_each_stretch_is_held_against_the_looks_around_it() -> None:
    rounds = [[stretch(10.0, looks=(10.0, 10.0)), stretch(60.0, looks=(30.0, 30.0)), stretch(9.0, looks=(3.0, 3.0))]]

    assert figure(rounds, fast=0.0, phases=1).x25519 == 2.0


OURS = Figure(median=30.0, low=20.0, high=40.0, x25519=0.75, quiet=Quiet(us=25.0, x25519=0.6, slices=7))
OFFICIAL = Figure(median=120.0, low=100.0, high=140.0, x25519=2.0, quiet=Quiet(us=110.0, x25519=1.9, slices=7))


@pytest.mark.parametrize(
    ("limit", "found", "quiet_found"),
    [
        (Limit(Measure.MOST_US, 30.0), 30.0, 25.0),
        (Limit(Measure.MOST_X25519, 0.75), 0.75, 0.6),
        (Limit(Measure.TIMES_FASTER, 4.0), 4.0, 4.4),
        (Limit(Measure.LESS_BYTES, 40.1), 40.0, None),
    ],
)
def test_a_limit_that_is_just_reached_is_kept(limit: Limit, found: float, quiet_found: float | None) -> None:
    fared = kept(limit, OURS, OFFICIAL)

    assert (fared.found, fared.is_kept, fared.quiet_found) == (found, True, quiet_found)
    assert fared.is_quiet_kept == (None if quiet_found is None else True)


@pytest.mark.parametrize(
    "limit",
    [
        Limit(Measure.MOST_US, 29.9),
        Limit(Measure.MOST_X25519, 0.74),
        Limit(Measure.TIMES_FASTER, 4.1),
        Limit(Measure.LESS_BYTES, 40.0),
    ],
)
def test_a_limit_that_is_just_not_reached_is_missed(limit: Limit) -> None:
    assert kept(limit, OURS, OFFICIAL).is_kept is False


def test_nothing_is_faster_than_what_was_not_measured() -> None:
    fared = kept(Limit(Measure.TIMES_FASTER, 4.0), OURS, None)

    assert (fared.found, fared.is_kept, fared.quiet_found, fared.is_quiet_kept) == (None, None, None, None)


def test_the_sizes_of_sessions_are_summed_up_by_the_smallest_the_median_and_the_largest() -> None:
    assert sizes_figure([700, 3_000, 2_500]) == Figure(2_500, 700, 3_000, x25519=None, quiet=None)
