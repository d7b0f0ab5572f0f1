"""What the page about performance shows of the server: rows and pictures of what was kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import pytest
from server_pictures import costs, margins, parts, peers
from server_rows import (
    CHANGES,
    figure_rows,
    function_rows,
    include_rows,
    machine_rows,
    misses,
    number,
    part_rows,
    peer_rows,
    player_rows,
    trials,
)

from tests.bench.server import peers_run, profiling
from tests.bench.server.parts import PARTS
from tests.bench.server.peers import PEERS
from tests.bench.server.peers_run import PEER_ROWS
from tests.bench.server.profiling import PROFILED
from tests.bench.server.rows import ROWS
from tests.bench.server.run import SCHEMA

KEPT: Final = Path(__file__).parents[2] / "docs" / "_data" / "bench"
SVG: Final = "{http://www.w3.org/2000/svg}"


def figure(
    label: str,
    median: float,
    *,
    least: float | None = None,
    goal: float | None = None,
    more_is_better: bool = True,
    unit: str = "us",
    is_load_bound: bool = False,
) -> dict[str, Any]:
    def holds(limit: float | None) -> bool | None:
        if limit is None or is_load_bound:
            return None
        return median >= limit if more_is_better else median <= limit

    return {
        "label": label,
        "unit": unit,
        "median": median,
        "low": 1.0,
        "high": 1_234.5,
        "least": least,
        "goal": goal,
        "more_is_better": more_is_better,
        "is_load_bound": is_load_bound,
        "is_kept": holds(least),
        "is_reached": holds(goal),
    }


def measured(us: float) -> dict[str, Any]:
    each = {who: {"server_us": us * n} for n, who in enumerate(("ours", "relay", "edge"), 1)}
    return {"load_average": us / 10, "sync_ms": us / 100, **each}


REPORT: Final[dict[str, Any]] = {
    "made_at": "2026-11-30T10:00:00+00:00",
    "is_trial": False,
    "machine": {"processor": "fast"},
    "rows": [
        {
            "key": "pairs-50",
            "title": "1:1 & more",
            "includes": "a message goes",
            "rounds": [measured(30.0), measured(10.0), measured(20.0)],
            "figures": [
                figure("messages a second", 1_500.0, least=1_000.0, goal=2_000.0, unit="1/s"),
                figure("time", 5.0, least=4.0, goal=3.0, more_is_better=False),
                figure("of the relay", 2.0, least=1.0, more_is_better=False, unit="ratio", is_load_bound=True),
            ],
        },
        {
            "key": "idle",
            "title": "idle",
            "includes": "nothing",
            "rounds": [{"load_average": 0.5, "sync_ms": 0.7, "ours": 1.0}],
            "figures": [figure("it", 0.5, least=2.0, more_is_better=False, unit="KiB")],
        },
    ],
}

PROFILE: Final[dict[str, Any]] = {
    "is_trial": False,
    "loads": {
        "pairs-50": {
            "title": "1:1 & more",
            "us": 80.0,
            "watched_us": 90.0,
            "samples": 2_000,
            "parts": [["a", 60.0], ["b & c", 19.0], ["d", 1.0]],
            "functions": [["module:function", "a", 12.34]],
        }
    },
}


def span(median: float) -> dict[str, float]:
    return {"median": median, "low": median / 2, "high": median * 2}


def full_steam(rate: float, *, is_load_bound: bool = False) -> dict[str, Any]:
    return {"rate": span(rate), "us": span(1e6 / rate), "is_load_bound": is_load_bound}


OTHERS: Final[dict[str, Any]] = {
    "is_trial": True,
    "peers": {
        "ours": {"title": "whisperkit", "about": "as it is", "stored": "all", "version": "1", "missing": None},
        "some": {"title": "some", "about": "fast", "stored": "nothing", "version": "2", "missing": None},
        "none": {"title": "none", "about": "slow", "stored": "all", "version": "", "missing": "no such package"},
    },
    "rows": [
        {
            "key": "pairs-50",
            "title": "50 pairs",
            "unit": "items",
            "results": {"ours": full_steam(10_000.0), "some": full_steam(5_000.0, is_load_bound=True)},
        },
        {"key": "idle", "title": "idle", "unit": "bytes", "results": {"ours": {"kib": span(7.25)}}},
    ],
}


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_figures_stand_below_what_was_measured_with_what_they_have_to_be() -> None:
    head, *rows = figure_rows(REPORT)

    assert {len(row) for row in [head, *rows]} == {7}
    assert rows[0][0] == "1:1 & more"
    assert rows[1] == ("– messages a second", "1,500 /s", "1 to 1,234", "≥ 1,000", "held", "≥ 2,000", "missed")
    assert rows[2] == ("– time", "5 µs", "1 to 1,234", "≤ 4", "missed", "≤ 3", "missed")
    assert rows[5] == ("– it", "0.5 KiB", "", "≤ 2", "held", "", "")


def test_a_limit_that_the_load_has_kept_from_being_judged_is_neither_held_nor_missed() -> None:
    rows = [*figure_rows(REPORT)]

    assert rows[4] == ("– of the relay", "2", "1 to 1,234", "≤ 1", "the load was the limit", "", "")


def test_each_row_says_what_it_includes() -> None:
    assert list(include_rows(REPORT))[1:] == [("1:1 & more", "a message goes"), ("idle", "nothing")]


def test_the_machine_is_named_with_its_disk_and_its_load() -> None:
    assert list(machine_rows(REPORT)) == [
        ("measured", "2026-11-30"),
        ("processor", "fast"),
        ("until 4 KiB are synced, medians of all rounds", "0.1 to 0.7 ms"),
        ("load average", "0.5 to 3"),
    ]


def test_what_is_missed_is_told_with_what_it_costs_and_what_would_change_it() -> None:
    (miss,) = misses(REPORT, PROFILE)

    assert miss.title == "1:1 & more"
    assert miss.figures == (
        "messages a second: 1,500 /s, the goal is at least 2,000",
        "time: 5 µs, has to be at most 4",
    )
    assert miss.costs == "a 75 %, b & c 24 %"
    assert miss.change == CHANGES["pairs-50"]


def test_where_all_is_held_nothing_is_told() -> None:
    assert list(misses({**REPORT, "rows": REPORT["rows"][1:]}, PROFILE)) == []


def test_for_every_row_it_is_known_what_would_change_it() -> None:
    assert set(CHANGES) == {row.key for row in ROWS}


def test_parts_are_shown_with_their_time_and_their_share() -> None:
    assert list(part_rows(PROFILE)) == [
        ("part", "1:1 & more"),
        ("a", "60.0 µs, 75.0 %"),
        ("b & c", "19.0 µs, 23.8 %"),
        ("d", "1.0 µs, 1.2 %"),
        ("all of it", "80 µs"),
        ("the same while it was looked at", "90 µs"),
        ("samples", "2,000"),
    ]
    assert list(function_rows(PROFILE["loads"]["pairs-50"]))[1:] == [("module:function", "a", "12.3")]


def test_who_else_was_measured_is_told_with_what_they_store_or_why_they_were_not() -> None:
    assert list(player_rows(OTHERS))[1:] == [
        ("whisperkit 1", "as it is", "all"),
        ("some 2", "fast", "nothing"),
        ("none", "not measured: no such package", "all"),
    ]


def test_what_the_others_do_has_a_column_for_each_load() -> None:
    assert list(peer_rows(OTHERS)) == [
        ("", "50 pairs", "idle"),
        ("whisperkit", "10,000/s (100 µs)", "7.25 KiB"),
        ("some", "5,000/s (200 µs); the load was the limit", ""),
    ]


def test_a_trial_is_told() -> None:
    assert trials({"report": REPORT, "peers": OTHERS}).endswith("speed: peers.")
    assert trials({"report": REPORT}) == ""


@pytest.mark.parametrize(("value", "text"), [(1_234.5, "1,234"), (100.4, "100"), (99.96, "100"), (0.1234, "0.123")])
def test_a_number_has_three_digits(value: float, text: str) -> None:
    assert number(value) == text


# ---- pictures --------------------------------------------------------------------------------------------------------


def widths(picture: str) -> list[float]:
    return [float(rect.attrib["width"]) for rect in ElementTree.fromstring(picture).iter(f"{SVG}rect")]


def texts(picture: str) -> list[str | None]:
    return [text.text for text in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def test_the_picture_of_costs_has_a_bar_for_each_who_played_as_long_as_the_median() -> None:
    picture = costs(REPORT)

    assert [round(width / widths(picture)[0], 2) for width in widths(picture)] == [1.0, 2.0, 3.0]
    assert texts(picture)[0] == "1:1 & more"
    assert "20 µs" in texts(picture)
    assert "idle" not in texts(picture)


def test_the_picture_of_margins_shows_what_is_judged_as_a_multiple_of_its_limit() -> None:
    picture = margins(REPORT)

    rate, time, it = widths(picture)
    assert (round(time / rate, 2), round(it / rate, 2)) == (0.53, 2.0)  # 0.8 of 1.5, and 3, the most, of 1.5
    assert [text for text in texts(picture) if text and text.endswith(" ×")] == ["1.5 ×", "0.8 ×", "4 ×"]
    line = next(ElementTree.fromstring(picture).iter(f"{SVG}line"))
    bars = [*ElementTree.fromstring(picture).iter(f"{SVG}rect")]
    assert float(line.attrib["x1"]) == pytest.approx(float(bars[0].attrib["x"]) + rate / 1.5, abs=0.2)


def test_the_picture_of_parts_is_as_wide_as_all_of_them() -> None:
    picture = parts(PROFILE)

    bars, legend = widths(picture)[:3], texts(picture)[-3:]
    assert sum(bars) == pytest.approx(720, abs=0.5)
    assert bars[0] == pytest.approx(540, abs=0.5)
    assert legend == ["a", "b & c", "d"]


def test_the_picture_of_others_has_a_bar_for_each_who_played() -> None:
    assert len(widths(peers(OTHERS, "pairs-50"))) == 2
    assert "7.25 KiB" in texts(peers(OTHERS, "idle"))


# ---- what is kept ----------------------------------------------------------------------------------------------------


def test_what_is_shown_was_measured_by_the_table_of_today() -> None:
    kept = json.loads((KEPT / "server.json").read_text(encoding="utf-8"))

    assert kept["schema"] == SCHEMA
    for row, found in zip(ROWS, kept["rows"], strict=True):
        assert row.key == found["key"]
        limits = [(each["label"], each["least"], each["goal"]) for each in found["figures"]]
        assert limits == [(figure.label, figure.least, figure.goal) for figure in row.figures]


def test_the_profile_that_is_shown_has_the_parts_of_today() -> None:
    kept = json.loads((KEPT / "server-profile.json").read_text(encoding="utf-8"))

    assert kept["schema"] == profiling.SCHEMA
    assert list(kept["loads"]) == list(PROFILED)
    for load in kept["loads"].values():
        assert [name for name, _ in load["parts"]] == list(PARTS)


def test_the_others_that_are_shown_are_those_of_today() -> None:
    kept = json.loads((KEPT / "server-peers.json").read_text(encoding="utf-8"))

    assert kept["schema"] == peers_run.SCHEMA
    assert list(kept["peers"]) == [peer.key for peer in PEERS]
    assert [row["key"] for row in kept["rows"]] == [row.key for row in PEER_ROWS]
