"""What a person may set, in `chat.toml` beside their device; all of it is optional.

theme = "terminal"      # or "dark", "light", "high-contrast"
receipts = "view"       # others hear that something was read when it was on the screen; "reply": when one answers
glyphs = "unicode"      # or "ascii"; without this, what the terminal can show
[keys]                  # any of those that F1 lists, by name
find = "ctrl+t"
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final, cast

import attrs

from examples.tui.keys import APP_KEYS, COMPOSER_KEYS, KEYS, MESSAGE_KEYS
from examples.tui.themes import THEMES

__all__ = ["Settings", "SettingsError", "load_settings"]

_CHOICES: Final[dict[str, Collection[str]]] = {
    "theme": tuple(THEMES),
    "receipts": ("view", "reply"),
    "glyphs": ("unicode", "ascii"),
}
_NAMES: Final = tuple(key.name for keys in KEYS.values() for key in keys)
# What textual does with these, whoever else wants them.
_TAKEN: Final = {"ctrl+q": "quit", "ctrl+p": "the palette", "tab": "the next pane", "shift+tab": "the pane before"}
# What is written with, beside the letters; in the messages nothing is, and what Enter does where one writes may change.
_WRITING: Final = frozenset(("space", "backspace", "delete"))


class SettingsError(Exception):
    """The file says something that means nothing."""


@attrs.frozen(kw_only=True)
class Settings:
    """What is set.

    Attributes:
        theme: One of `THEMES`.
        receipts: When others hear that something was read.
        glyphs: Which marks; empty for what the terminal can show.
        keys: Other keys, by name.
    """

    theme: str = "terminal"
    receipts: str = "view"
    glyphs: str = ""
    keys: Mapping[str, str] = attrs.field(factory=dict[str, str])


def load_settings(path: Path) -> Settings:
    """Read the file; one that is not there sets nothing.

    Raises:
        SettingsError: It cannot be read, or says something that means nothing: all of that at once, one a line.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error
    problems: list[str] = []
    chosen: dict[str, str] = {}
    keys: dict[str, str] = {}
    for name, value in found.items():
        if name == "keys" and isinstance(value, dict):
            keys = _keys(cast("dict[str, object]", value), problems)  # TOML has tables with text for keys only
        elif name not in _CHOICES:
            problems.append(f"unknown setting {name}{_near(name, [*_CHOICES, 'keys'])}")
        elif value not in _CHOICES[name]:
            problems.append(f"{name} is one of {', '.join(_CHOICES[name])}, not {value!r}")
        else:
            chosen[name] = str(value)
    if problems:
        raise SettingsError("\n".join(f"{path}: {problem}" for problem in problems))
    return Settings(**chosen, keys=keys)


def _keys(found: Mapping[str, object], problems: list[str]) -> dict[str, str]:
    keys: dict[str, str] = {}
    for name, value in found.items():
        if name not in _NAMES:
            problems.append(f"there is no key called {name}{_near(name, _NAMES)}")
        elif not isinstance(value, str) or not all(map(_is_key, value.split(","))):
            problems.append(f'keys.{name} is a key such as "ctrl+t", not {value!r}')
        else:
            keys[name] = ",".join(key.strip() for key in value.split(","))
    problems += dict.fromkeys(_clashes(keys))
    return keys


def _clashes(chosen: Mapping[str, str]) -> Iterator[str]:
    """What cannot be, because a key would mean two things in one place, or could not be written any more."""
    everywhere, writing = {one.name for one in APP_KEYS}, {one.name for one in COMPOSER_KEYS}
    for here in (COMPOSER_KEYS, MESSAGE_KEYS):
        owners: dict[str, str] = dict(_TAKEN)
        for one in (*APP_KEYS, *here):
            for key in chosen.get(one.name, one.keys).split(","):
                other = owners.setdefault(key, one.name)
                if other != one.name:
                    mine, theirs = (one.name, other) if one.name in chosen else (other, one.name)
                    yield f"keys.{mine} is {key}, and so is {theirs}: give one of them another key"
    for name, keys in chosen.items():
        for key in keys.split(","):
            is_written = len(key) == 1 or key in _WRITING
            if (is_written and name in everywhere | writing) or (key == "enter" and name in everywhere):
                yield f'keys.{name} is {key}, which could not be written any more: take one such as "ctrl+t"'


def _is_key(text: str) -> bool:
    *modifiers, key = text.strip().split("+")
    is_named = key in _NAMED or (key.startswith("f") and key[1:].isdecimal())
    return set(modifiers) <= {"ctrl", "alt", "shift"} and (is_named or len(key) == 1)


_NAMED: Final = frozenset(
    ("up", "down", "left", "right", "home", "end", "pageup", "pagedown", "enter", "escape", "tab", "space")
) | {"delete", "backspace", "insert"}


def _near(name: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""
