"""What a person may set, and how what means nothing is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.tui.settings import Settings, SettingsError, load_settings
from examples.tui.themes import THEMES


def load(folder: Path, text: str) -> Settings:
    path = folder / "chat.toml"
    path.write_text(text)
    return load_settings(path)


def test_without_a_file_nothing_is_set(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "chat.toml") == Settings()


def test_all_that_can_be_set(tmp_path: Path) -> None:
    text = 'theme = "light"\nreceipts = "reply"\nglyphs = "ascii"\n[keys]\nfind = "ctrl+t,f5"\ncopy = "y"\n'

    assert load(tmp_path, text) == Settings(
        theme="light", receipts="reply", glyphs="ascii", keys={"find": "ctrl+t,f5", "copy": "y"}
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('theem = "dark"', "unknown setting theem; did you mean theme?"),
        ('theme = "pink"', "theme is one of terminal, dark, light, high-contrast, not 'pink'"),
        ("receipts = true", "receipts is one of view, reply, not True"),
        ("keys = 3", "unknown setting keys"),
        ('[keys]\nfnd = "a"', "there is no key called fnd; did you mean find?"),
        ('[keys]\nfind = "hyper+t"', "keys.find is a key such as"),
        ("[keys]\nfind = 3", "keys.find is a key such as"),
        ('[keys]\nfind = "ctrl+k"', "keys.find is ctrl+k, and so is go-to: give one of them another key"),
        ('[keys]\ncopy = "f5, r"', "keys.copy is r, and so is retry: give one of them another key"),
        ('[keys]\nsend = "f1"', "keys.send is f1, and so is keys: give one of them another key"),
        ('[keys]\nfind = "ctrl+q"', "keys.find is ctrl+q, and so is quit: give one of them another key"),
        ('[keys]\nfind = "t"', "keys.find is t, which could not be written any more"),
        ('[keys]\nsend = "space"', "keys.send is space, which could not be written any more"),
        ('[keys]\nnew = "enter"\nsend = "f5"', "keys.new is enter, which could not be written any more"),
        ("theme = ", "chat.toml: "),
    ],
)
def test_what_means_nothing_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=r"chat\.toml: ") as refused:
        load(tmp_path, text)

    assert problem in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        '[keys]\nfind = "ctrl+k"\ngo-to = "ctrl+f"',
        '[keys]\nsend = "ctrl+j"\nnew-line = "enter"',
        '[keys]\ncopy = "y"\nopen = "o,enter"',
        '[keys]\nfind = "ctrl+f"',
    ],
)
def test_keys_may_change_places_and_letters_are_keys_where_nothing_is_written(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text).keys


def test_a_clash_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, '[keys]\nfind = "ctrl+k"\n')

    assert len(str(refused.value).splitlines()) == 1


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, 'theme = "pink"\nreceipts = "never"\n')

    assert len(str(refused.value).splitlines()) == 2


@pytest.mark.parametrize("name", THEMES)
def test_a_theme_is_called_what_it_is_chosen_by_and_gives_the_read_mark_a_colour(name: str) -> None:
    assert THEMES[name].name == name
    assert THEMES[name].variables["read"]
