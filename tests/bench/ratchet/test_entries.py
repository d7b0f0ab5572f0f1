from __future__ import annotations

from tests.bench.ratchet.cases import CASES, SESSION_BYTES
from tests.bench.ratchet.contestant import QUICK
from tests.bench.ratchet.entries import Json, entries, once_ms, without_slices


def played(us: float, *, look: float, leave_out: tuple[str, ...] = ()) -> Json:
    stretch = {"items": [10], "us": [us], "looks": [look, look], "switches": [0]}
    keys = [case.key for case in CASES if case.key not in (SESSION_BYTES, *leave_out)]
    return {"stretches": {key: [stretch] * 3 for key in keys}, "saved_bytes": [3_000]}


def of_case(found: list[Json], key: str) -> Json:
    return next(entry for entry in found if entry["case"] == key)


def test_the_yardsticks_of_node_and_of_python_are_held_apart() -> None:
    rounds = [{"results": {"ours": played(30.0, look=40.0), "official": played(120.0, look=400.0)}}]

    found = of_case(entries(rounds, QUICK), "short_encrypt")

    assert found["figures"]["ours"]["quiet"] == {"us": 30.0, "x25519": 0.75, "slices": 3}
    assert found["figures"]["official"]["quiet"] == {"us": 120.0, "x25519": 0.3, "slices": 3}


def test_what_is_quiet_is_measured_with_the_looks_of_all_who_use_that_yardstick() -> None:
    rounds = [{"results": {"ours": played(30.0, look=60.0), "vodozemac": played(20.0, look=40.0)}}]

    found = of_case(entries(rounds, QUICK), "short_encrypt")

    assert found["figures"]["ours"]["quiet"] is None
    assert found["figures"]["vodozemac"]["quiet"]["slices"] == 3


def test_what_a_process_pays_once_is_the_median_of_the_rounds() -> None:
    assert once_ms([{"results": {"ours": {"once_ms": each}}} for each in (9.0, 30.0, 12.0)]) == 12.0


def test_what_is_published_of_the_rounds_is_one_figure_for_each_stretch() -> None:
    report = {"schema": 1, "rounds": [{"order": ["ours"], "results": {"ours": played(30.0, look=40.0)}}]}

    found = without_slices(report)

    assert found["schema"] == 1
    assert found["rounds"][0]["order"] == ["ours"]
    assert found["rounds"][0]["results"]["ours"]["stretches_us"]["save"] == [30.0, 30.0, 30.0]


def test_who_did_not_play_in_every_round_has_no_figure() -> None:
    ours, official = played(30.0, look=40.0), played(120.0, look=40.0)
    rounds = [{"results": {"official": official, "ours": ours}}, {"results": {"ours": ours}}]

    assert [set(entry["figures"]) for entry in entries(rounds, QUICK)] == [{"ours"}] * len(CASES)


def test_who_cannot_play_a_case_is_left_out_of_that_only() -> None:
    rounds = [{"results": {"ours": played(30.0, look=40.0), "official": played(120.0, look=40.0, leave_out=("save",))}}]

    found = entries(rounds, QUICK)

    assert set(of_case(found, "save")["figures"]) == {"ours"}
    assert set(of_case(found, "load")["figures"]) == {"ours", "official"}


def test_our_limits_are_judged_by_the_live_record_of_the_official_library() -> None:
    rounds = [
        {
            "results": {
                "ours": played(30.0, look=40.0),
                "official": played(90.0, look=40.0),
                "stored": played(200.0, look=40.0),
            }
        }
    ]

    fared = of_case(entries(rounds, QUICK), "short_encrypt")["limits"]

    assert [(each["limit"], each["found"], each["is_kept"]) for each in fared] == [
        (["MOST_US", 30], 30.0, True),
        (["MOST_X25519", 0.78], 0.75, True),
        (["TIMES_FASTER", 4], 3.0, False),
    ]
