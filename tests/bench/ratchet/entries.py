"""The summary of a report: for each case the figures of all peers, and how our limits fared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from tests.bench.ratchet.cases import CASES, SESSION_BYTES, Case, worded
from tests.bench.ratchet.contestant import Sizes
from tests.bench.ratchet.measure import Stretch
from tests.bench.ratchet.peers import IN_NODE, OFFICIAL, OURS
from tests.bench.ratchet.summary import Figure, fast_look, figure, kept, mean_us, sizes_figure

__all__ = ["Json", "entries", "once_ms", "without_slices"]

# Any: JSON.
Json = dict[str, Any]

# What one peer did in one round, by case.
Played = Mapping[str, Sequence[Stretch]]


def entries(rounds: Sequence[Json], sizes: Sizes) -> list[Json]:
    """Sum up rounds.

    Args:
        rounds: What came of each, as the workers wrote it.
        sizes: How much was done.

    Returns:
        One entry for each case, with the figures of those peers that played in all rounds.
    """
    keys: list[str] = [key for key in rounds[0]["results"] if all(key in each["results"] for each in rounds)]
    stretches = {key: [_played(each["results"][key]) for each in rounds] for key in keys}
    saved: dict[str, list[int]] = {
        key: [size for each in rounds for size in each["results"][key]["saved_bytes"]] for key in keys
    }
    return [
        _entry(case, _sizes(saved) if case.key == SESSION_BYTES else _figures(case, stretches), sizes) for case in CASES
    ]


def once_ms(rounds: Sequence[Json]) -> float:
    """Milliseconds that a process of this library pays once, for tables: the median of the rounds."""
    found: list[float] = [each["results"][OURS]["once_ms"] for each in rounds]
    return median(found)


def without_slices(report: Json) -> Json:
    """A report with one figure for each stretch in place of its slices."""
    rounds: list[Json] = report["rounds"]
    shortened = [{**each, "results": {key: _short(each["results"][key]) for key in each["results"]}} for each in rounds]
    return {**report, "rounds": shortened}


def _short(found: Json) -> Json:
    stretches = {case: [round(mean_us(each), 2) for each in some] for case, some in _played(found).items()}
    return {"stretches_us": stretches}


def _sizes(saved: Mapping[str, Sequence[int]]) -> dict[str, Figure]:
    return {key: sizes_figure(each) for key, each in saved.items() if each}


def _figures(case: Case, stretches: Mapping[str, Sequence[Played]]) -> dict[str, Figure]:
    fast = {
        is_node: fast_look(
            stretch
            for key, by_round in stretches.items()
            if (key in IN_NODE) == is_node
            for played in by_round
            for each in played.values()
            for stretch in each
        )
        for is_node in {key in IN_NODE for key in stretches}
    }
    return {
        key: figure([played[case.key] for played in by_round], fast=fast[key in IN_NODE], phases=case.phases)
        for key, by_round in stretches.items()
        if case.key in by_round[0]
    }


def _entry(case: Case, figures: Mapping[str, Figure], sizes: Sizes) -> Json:
    fared = [kept(limit, figures[OURS], figures.get(OFFICIAL)) for limit in case.limits]
    return {
        "case": case.key,
        "label": worded(case.label, sizes),
        "includes": worded(case.includes, sizes),
        "unit": "bytes" if case.key == SESSION_BYTES else "us",
        "figures": {key: _plain(each) for key, each in figures.items()},
        "limits": [{**each._asdict(), "limit": [each.limit.measure.name, each.limit.value]} for each in fared],
    }


def _plain(figure: Figure) -> Json:
    return {**figure._asdict(), "quiet": figure.quiet._asdict() if figure.quiet else None}


def _played(result: Json) -> Played:
    return {
        case: [Stretch(*(tuple(one[field]) for field in Stretch._fields)) for one in each]
        for case, each in result["stretches"].items()
    }
