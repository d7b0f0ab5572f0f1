"""The page of all keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from textual.widget import Widget

from examples.chat.commands import COMMANDS
from examples.tui.dialog import Dialog, line
from examples.tui.keys import KEYS

__all__ = ["KeysPage", "key_in_words"]

_TEXTUAL: Final = (("Tab", "to the next pane"), ("Ctrl+P", "all commands"), ("Ctrl+Q", "quit"))
_WORDS: Final = {"pageup": "PgUp", "pagedown": "PgDn", "escape": "Esc", "delete": "Del", "up": "↑", "down": "↓"}


class KeysPage(Dialog[None]):
    """All keys, and all commands.

    Args:
        chosen: Keys that the person has set, by name.
    """

    def __init__(self, chosen: Mapping[str, str]) -> None:
        super().__init__("Keys", "↑↓ scroll · Esc back")
        self._chosen = chosen

    def inside(self) -> Iterable[Widget]:
        """A table of each kind."""
        for place, keys in KEYS.items():
            yield line(place, "loud")
            for key in keys:
                shown = key_in_words(self._chosen.get(key.name, key.keys))
                yield line(f"  {shown:<22} {key.help}  [{key.name}]")
        yield line("Always", "loud")
        for shown, help_text in _TEXTUAL:
            yield line(f"  {shown:<22} {help_text}")
        yield line("Commands", "loud")
        for word, command in COMMANDS.items():
            yield line(f"  {f'{word} {command.usage}':<22} {command.help}")
        yield line("In brackets: what a key is called in chat.toml, where it can be set.", "quiet")


def key_in_words(keys: str) -> str:
    """Keys as a person says them."""
    return ", ".join("+".join(map(_word, key.split("+"))) for key in keys.split(","))


def _word(part: str) -> str:
    return _WORDS.get(part, part if len(part) == 1 else part.capitalize())
