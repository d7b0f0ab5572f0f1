"""The changelog's pieces: named as they should be, and the names in them are there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "changelog.d"
PIECES = sorted(path for path in FOLDER.iterdir() if path.name != "README.md")
NAMES = sorted({name for path in PIECES for name in re.findall(r"`(whisperkit(?:\.\w+)+)`", path.read_text("utf-8"))})


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: piece.name)
def test_a_piece_says_what_kind_of_change_it_is(piece: Path) -> None:
    assert re.fullmatch(r"[a-z-]+\.(added|changed|fixed|removed|security)\.md", piece.name)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_the_changelog_is_there(name: str) -> None:
    module, attributes = name, list[str]()
    while True:
        try:
            found: object = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            attributes.insert(0, last)
    for attribute in attributes:
        found = getattr(found, attribute)
