"""The page of all keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rich.cells import cell_len, set_cell_size
from textual.widget import Widget

from examples.chat.commands import COMMANDS
from examples.tui.dialog import Dialog, line
from examples.tui.keys import KEYS, key_in_words

__all__ = ["KeysPage"]

_TEXTUAL: Final = (("Tab", "to the next pane"), ("Ctrl+P", "all commands"), ("Ctrl+Q", "quit"))
# What is longer stands out, so that the others need not stand so far apart.
MAX_KEYS: Final = 22


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
    cells = min(MAX_KEYS, max(cell_len(shown) for shown, _ in rows))
    yield line("\n".join(f"  {set_cell_size(shown, max(cells, cell_len(shown)))}  {text}" for shown, text in rows))
