"""The demo ends with 0 only if all of its claims held."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from examples.demo.narrator import Narrator
from examples.demo.run import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, run_demo

Play = Callable[[Path, Narrator], Awaitable[None]]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def run(play: Play, *, claims: int = 1, keep: bool = False, is_json: bool = False) -> int:
    return run_demo(is_fast=True, is_stepped=False, keep=keep, is_json=is_json, play=play, claims=claims)


async def true_story(folder: Path, narrator: Narrator) -> None:
    (folder / "data").write_text("something")
    narrator.claim("nothing is lost", expected=0, found=0, evidence="none")


async def false_story(folder: Path, narrator: Narrator) -> None:
    await true_story(folder, narrator)
    narrator.claim("nothing is [doubled]", expected=0, found=1, evidence="none")
    narrator.claim("never come to", expected=0, found=0, evidence="none")


async def broken_story(folder: Path, narrator: Narrator) -> None:
    await true_story(folder, narrator)
    raise RuntimeError("the phone fell into the sea")


async def left_story(_folder: Path, _narrator: Narrator) -> None:
    raise KeyboardInterrupt


async def cancelled_story(_folder: Path, _narrator: Narrator) -> None:
    raise asyncio.CancelledError


async def unread_story(_folder: Path, _narrator: Narrator) -> None:
    raise SystemExit(1)  # as rich does in a pipe that nobody reads


def test_a_story_whose_claims_hold_ends_well_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(true_story) == EXIT_OK

    assert capsys.readouterr().out.splitlines()[-1].startswith("1 of 1 claims held in 0 s")
    assert list(tmp_path.iterdir()) == []


def test_what_it_made_is_kept_when_that_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(true_story, keep=True) == EXIT_OK

    (folder,) = tmp_path.iterdir()
    assert capsys.readouterr().out.splitlines()[-1] == f"the data is kept in {folder}"
    assert (folder / "data").exists()


def test_a_claim_that_fails_is_named_and_ends_the_story_with_a_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(false_story, claims=3) == EXIT_FAILED

    (folder,) = tmp_path.iterdir()
    out = capsys.readouterr().out
    assert "✗ nothing is [doubled]\n      expected 0\n      found    1\n" in out
    assert out.splitlines()[-2:] == ["a claim failed: nothing is [doubled]", f"the data is kept in {folder}"]
    assert "never come to" not in out
    assert "held" not in out


def test_a_story_that_ends_early_has_not_held_all_of_its_claims(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(true_story, claims=2) == EXIT_FAILED

    assert "1 of 2 claims held" in capsys.readouterr().out


def test_a_story_that_breaks_says_why_and_ends_with_a_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(broken_story) == EXIT_FAILED

    out = capsys.readouterr().out
    assert "the phone fell into the sea" in out
    assert "the story could not be told to its end" in out
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("play", [left_story, cancelled_story])
def test_ctrl_c_ends_it_and_cleans_up(play: Play, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(play) == EXIT_INTERRUPTED

    assert capsys.readouterr().out == "\nstopped\n"
    assert list(tmp_path.iterdir()) == []


def test_whoever_reads_only_the_beginning_ends_it_and_nothing_is_left(tmp_path: Path) -> None:
    assert run(unread_story) == EXIT_INTERRUPTED

    assert list(tmp_path.iterdir()) == []


def test_a_story_runs_in_an_event_loop_of_its_own() -> None:
    loops: list[object] = []

    async def note(_folder: Path, narrator: Narrator) -> None:
        loops.append(asyncio.get_running_loop())
        narrator.claim("it runs", expected=1, found=len(loops), evidence="one")

    assert run(note) == EXIT_OK


def test_programs_get_the_claims_as_json_and_people_the_story_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(true_story, is_json=True) == EXIT_OK

    said = capsys.readouterr()
    told = json.loads(said.out)
    assert 0 <= told.pop("seconds") < 60
    assert told == {
        "ok": True,
        "expected": 1,
        "held": 1,
        "claims": [{"text": "nothing is lost", "evidence": "none"}],
        "failed": None,
    }
    assert "✓ nothing is lost" in said.err


def test_programs_are_told_which_claim_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(false_story, claims=3, is_json=True) == EXIT_FAILED

    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["expected"], told["held"]) == (False, 3, 1)
    assert told["failed"] == {"text": "nothing is [doubled]", "expected": "0", "found": "1"}


@pytest.mark.parametrize("play", [broken_story, left_story])
def test_programs_get_json_also_of_a_story_that_ends_early(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(play, is_json=True) != EXIT_OK

    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["failed"]) == (False, None)
