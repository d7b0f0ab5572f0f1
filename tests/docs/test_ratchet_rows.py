from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from ratchet_rows import figure_rows, include_rows, limit_rows, machine_rows, part_rows, quiet_rows, size_rows

from tests.bench.ratchet.cases import CASES, Measure
from tests.bench.ratchet.profiling import OPERATIONS
from tests.bench.ratchet.run import SCHEMA

KEPT: Final = Path(__file__).parents[2] / "docs" / "_data" / "bench"


def figure(median: float, *, x25519: float | None = None, low: float = 20.0, high: float = 1_234.5) -> dict[str, Any]:
    return {"median": median, "low": low, "high": high, "x25519": x25519, "quiet": None}


def limit(measure: Measure, value: float, found: float | None, *, quiet: float | None = None) -> dict[str, Any]:
    def kept(number: float | None) -> bool | None:
        return None if number is None else number <= value

    names = ("limit", "found", "is_kept", "quiet_found", "is_quiet_kept")
    return dict(zip(names, ([measure.name, value], found, kept(found), quiet, kept(quiet)), strict=True))


REPORT: Final[dict[str, Any]] = {
    "made_at": "2026-11-30T10:00:00+00:00",
    "machine": {"processor": "fast"},
    "peers": {
        "ours": {"title": "session", "versions": {"whisperkit": "1"}},
        "official": {"title": "official", "versions": {"Node.js": "v24"}},
    },
    "once_ms": 12.3,
    "rounds": [{"load_average": {"before": 0.1, "after": 1.2}}, {"load_average": {"before": 1.2, "after": 0.9}}],
    "summary": [
        {
            "case": "short_encrypt",
            "label": "encrypt",
            "includes": "plaintext to wire",
            "unit": "us",
            "figures": {"ours": figure(28.14, x25519=0.731), "official": figure(1_300.4)},
            "limits": [
                limit(Measure.MOST_US, 30, 28.14, quiet=31.0),
                limit(Measure.MOST_X25519, 0.7, 0.731),
                limit(Measure.TIMES_FASTER, 4, None),
            ],
        },
        {
            "case": "session_bytes",
            "label": "bytes",
            "includes": "after each message",
            "unit": "bytes",
            "figures": {"ours": figure(2_522, low=698, high=3_202)},
            "limits": [limit(Measure.LESS_BYTES, 4_096, 3_202)],
        },
    ],
}


def test_the_machine_is_shown_with_all_versions_and_the_load_of_each_round() -> None:
    assert list(machine_rows(REPORT)) == [
        ("measured", "2026-11-30"),
        ("processor", "fast"),
        ("whisperkit", "1"),
        ("Node.js", "v24"),
        ("tables, once in a process", "12 ms"),
        ("rounds", "2"),
        ("load average in each", "0.1 to 1.2, 1.2 to 0.9"),
    ]


def test_each_figure_says_what_it_includes() -> None:
    assert list(include_rows(REPORT))[1:] == [("encrypt", "plaintext to wire"), ("bytes", "after each message")]


def test_a_figure_of_ours_is_shown_with_its_range_and_in_agreements() -> None:
    assert list(figure_rows(REPORT)) == [
        ("µs", "session", "in X25519", "official"),
        ("encrypt", "28.1 (20 to 1,234)", "0.731", "1,300"),
    ]


def test_quiet_figures_are_shown_where_there_are_some() -> None:
    quiet = {"us": 26.54, "x25519": 0.69, "slices": 12}
    entry = {**REPORT["summary"][0], "figures": {"ours": {**figure(28.0, x25519=0.7), "quiet": quiet}}}

    assert list(quiet_rows({**REPORT, "summary": [entry]}))[1:] == [("encrypt", "26.5", "0.69", "")]
    assert list(quiet_rows(REPORT))[1:] == []


def test_a_limit_that_is_missed_is_shown_as_that() -> None:
    assert list(limit_rows(REPORT))[1:] == [
        ("encrypt", "at most 30 µs", "28.1", "met", "31", "missed"),
        ("", "at most 0.7 agreements", "0.731", "missed", "", ""),
        ("", "at least 4 times faster than the official library", "", "not measured", "", ""),
        ("bytes", "less than 4,096 bytes", "3,202", "met", "", ""),
    ]


def test_every_kind_of_limit_has_words() -> None:
    for measure in Measure:
        entry = {**REPORT["summary"][0], "limits": [limit(measure, 1, 1.0)]}
        assert len(list(limit_rows({**REPORT, "summary": [entry]}))) == 2


def test_sizes_are_shown_from_the_smallest_to_the_largest() -> None:
    assert list(size_rows(REPORT))[1:] == [("session", "698", "2,522", "3,202")]


def test_the_parts_of_an_operation_are_shown_with_their_share() -> None:
    parts = [["X25519", 0.44], ["records", 0.004]]

    assert list(part_rows({"parts": parts}))[1:] == [("X25519", "44.0 %"), ("records", "0.4 %")]


def test_what_is_kept_is_what_the_benchmark_measures_today() -> None:
    report = json.loads((KEPT / "ratchet.json").read_text(encoding="utf-8"))
    profile = json.loads((KEPT / "ratchet-profile.json").read_text(encoding="utf-8"))

    assert report["schema"] == SCHEMA
    assert [entry["case"] for entry in report["summary"]] == [case.key for case in CASES]
    for entry, case in zip(report["summary"], CASES, strict=True):
        limits = [tuple(each["limit"]) for each in entry["limits"]]
        assert limits == [(each.measure.name, each.value) for each in case.limits]
    assert list(profile["operations"]) == list(OPERATIONS)
