"""The vectors for mirrors in other languages are what the mirror of the library makes of the stories today."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests.examples.web.dice import dice
from tests.examples.web.player import play
from tests.examples.web.vectors import VECTORS, kept, told

# Any: JSON.
STORIES: Final[list[dict[str, Any]]] = json.loads(VECTORS.read_text(encoding="utf-8"))["stories"]


def test_the_vectors_are_what_is_made_today() -> None:
    assert VECTORS.read_text(encoding="utf-8") == told(kept()), "python -m tests.examples.web.vectors"


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story["name"])
def test_a_story_ends_as_it_is_told(story: dict[str, Any]) -> None:
    steps, answers = zip(*story["steps"], strict=True)

    assert play(story["device"], steps) == list(answers)


def test_the_same_seed_throws_the_same_story() -> None:
    assert dice(7) == dice(7)
    assert dice(7).steps != dice(8).steps


def test_the_stories_come_to_everything_that_a_mirror_answers() -> None:
    told_of = {name for story in STORIES for _, answer in story["steps"] for name in answer}

    assert told_of >= {"put", "delete", "arrived", "send", "chats", "lost", "reconnect", "must_save", "error"}
    sent = {frame[0] for story in STORIES for _, answer in story["steps"] for frame in answer.get("send", [])}
    assert sent == {17, 18, 20, 21, 64}  # ACK, PULL, FOLLOW, RANGE, READ
