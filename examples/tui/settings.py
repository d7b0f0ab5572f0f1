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
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, cast

import attrs

from examples.tui.keys import KEYS
from examples.tui.themes import THEMES

__all__ = ["Settings", "SettingsError", "load_settings"]

_CHOICES: Final[dict[str, Collection[str]]] = {
    "theme": tuple(THEMES),
    "receipts": ("view", "reply"),
    "glyphs": ("unicode", "ascii"),
}
_NAMES: Final = tuple(key.name for keys in KEYS.values() for key in keys)


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
            keys[name] = value
    return keys


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
