"""The page about the terminal client tells all that can be set, and shows every key."""

from __future__ import annotations

from pathlib import Path

import pytest
from code_blocks import blocks
from examples_rows import key_rows

from examples.tui.keys import KEYS
from examples.tui.settings import Settings, load_settings
from examples.tui.themes import THEMES

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "chat.md"
TEXT = PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("place", KEYS)
def test_each_table_of_keys_is_on_the_page_and_has_all_of_them(place: str) -> None:
    assert f"```{{chat-keys}} {place}\n" in TEXT
    assert [name for _, _, name in key_rows(place)] == [key.name for key in KEYS[place]]


def test_the_settings_on_the_page_are_settings_and_each_theme_is_named(tmp_path: Path) -> None:
    (shown,) = [block.text for block in blocks(TEXT) if "# chat.toml" in block.text]
    path = tmp_path / "chat.toml"
    path.write_text(shown, encoding="utf-8")

    assert load_settings(path) == Settings(theme="light", receipts="reply", glyphs="ascii", keys={"find": "ctrl+t"})
    assert all(f'"{theme}"' in shown for theme in THEMES)
