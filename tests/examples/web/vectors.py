"""The stories that are kept, for mirrors in other languages: `python -m tests.examples.web.vectors` writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.examples.web.dice import dice
from tests.examples.web.stories import Story, told_by_hand

__all__ = ["VECTORS", "kept", "told"]

VECTORS: Final = Path(__file__).parents[2] / "vectors" / "mirror" / "stories.json"
ORIGIN: Final = "whisperkit.sync.mirror; remade by `python -m tests.examples.web.vectors`"
KEPT_DICE: Final = 6


def told(stories: Iterable[Story]) -> str:
    """As they are kept: a line for each step and what came of it."""
    return "".join(_lines(stories))


def _lines(stories: Iterable[Story]) -> Iterable[str]:
    yield f'{{"origin": {json.dumps(ORIGIN)}, "stories": [\n'
    for number, story in enumerate(stories):
        yield ",\n" if number else ""
        yield f'{{"name": {json.dumps(story.name)}, "device": {json.dumps(story.device)}, "steps": [\n'
        yield ",\n".join(json.dumps(line, sort_keys=True) for line in story.told()["steps"])
        yield "\n]}"
    yield "\n]}\n"


def kept() -> list[Story]:
    """Those in the vectors."""
    return [*told_by_hand(), *(dice(seed) for seed in range(KEPT_DICE))]


if __name__ == "__main__":
    VECTORS.parent.mkdir(exist_ok=True)
    VECTORS.write_text(told(kept()), encoding="utf-8")
