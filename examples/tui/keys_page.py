"""The page of all keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
            shown = [(key_in_words(self._chosen.get(key.name, key.keys)), f"{key.help}  [{key.name}]") for key in keys]
            yield from _table(place, shown)
        yield from _table("Always", _TEXTUAL)
        yield from _table("Commands", [(f"{word} {one.usage}", one.help) for word, one in COMMANDS.items()])
        yield line("In brackets: what a key is called in chat.toml, where it can be set.", "quiet")


def _table(title: str, rows: Sequence[tuple[str, str]]) -> Iterable[Widget]:
    yield line(title, "loud")
    yield line("\n".join(f"  {shown:<22} {help_text}" for shown, help_text in rows))


def key_in_words(keys: str) -> str:
    """Keys as a person says them."""
    return ", ".join("+".join(map(_word, key.split("+"))) for key in keys.split(","))


def _word(part: str) -> str:
    return _WORDS.get(part, part if len(part) == 1 else part.capitalize())
