"""Items as lines of a certain width: pure, so that what the screen shows can be tested without one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, assert_never

from rich.cells import cell_len, chop_cells, set_cell_size

from examples.tui.feed import (
    BAR_CELLS,
    Changed,
    Day,
    Divider,
    Identity,
    Item,
    Mark,
    Role,
    Said,
    Sending,
    Told,
    identity_of,
    size_in_words,
)
from examples.tui.glyphs import Glyphs
from examples.tui.keys import KeyNames

__all__ = ["Line", "Page", "Piece", "shorten", "wrap"]

MAX_NAME: Final = 12
MAX_NAME_NARROW: Final = 8
NARROW: Final = 60
_AT_CELLS: Final = 5
_MARK_CELLS: Final = 2
_MIN_TEXT: Final = 8
_WORD: Final = re.compile(r"\S+[ ]*|[ ]+")


class Piece(NamedTuple):
    """Some text of one kind."""

    text: str
    role: Role


class Line(NamedTuple):
    """A line on the screen.

    Attributes:
        pieces: What it says.
    """

    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """Its text alone."""
        return "".join(piece.text for piece in self.pieces)


def wrap(text: str, width: int) -> list[str]:
    """Break text into lines between words, and within those that are too long; its own line breaks stay."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in _WORD.findall(paragraph):
            if cell_len(line + word.rstrip(" ")) <= width:
                line += word
                continue
            if line.strip():
                lines.append(line.rstrip(" "))
            *full, line = chop_cells(word, width) or [""]
            lines += full
        lines.append(line.rstrip(" "))
    return lines


def shorten(text: str, width: int, more: str) -> str:
    """The text, or as much of it as fits, with a sign that there is more."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - cell_len(more))).rstrip() + more


class Page:
    """Items as lines; what is the same as the last time is not laid out again.

    Args:
        glyphs: The marks.
        key: Which key does what.
    """

    def __init__(self, glyphs: Glyphs, key: KeyNames) -> None:
        self._glyphs = glyphs
        self._key = key
        self._shape: tuple[int, int] | None = None
        self._known: dict[Identity, tuple[Item, list[Line]]] = {}

    def lay_out(self, items: Sequence[Item], *, width: int) -> list[list[Line]]:
        """The lines of each item."""
        shape = width, _name_cells(items, width)
        known = self._known if shape == self._shape else {}
        self._shape, self._known = shape, {}
        block = _Block(*shape, self._glyphs, self._key)
        found: list[list[Line]] = []
        for item in items:
            name = identity_of(item)
            before = known.get(name)
            lines = before[1] if before is not None and before[0] == item else block.lines_of(item)
            self._known[name] = item, lines
            found.append(lines)
        return found


def _name_cells(items: Sequence[Item], width: int) -> int:
    named = {item.name for item in items if isinstance(item, Said | Sending)}
    return min(max(map(cell_len, named), default=3), MAX_NAME_NARROW if width < NARROW else MAX_NAME)


class _Block:
    def __init__(self, width: int, name_cells: int, glyphs: Glyphs, key: KeyNames) -> None:
        self._lines: list[Line] = []
        self._width = width
        self._name_cells = name_cells
        self._glyphs = glyphs
        self._pause, self._delete = key("pause"), key("delete")
        self._indent = name_cells + 1 + _AT_CELLS + 2
        self._text_cells = max(_MIN_TEXT, width - self._indent - _MARK_CELLS - 1)

    def lines_of(self, item: Item) -> list[Line]:
        """Turn an item into lines."""
        self._lines = []
        match item:
            case Day(text):
                self._rule(text, Role.NOTE)
            case Divider(text):
                self._rule(text, Role.DIVIDER)
            case Told(_, text):
                for line in wrap(text, max(_MIN_TEXT, self._width - 4)):
                    self._put(Piece(f"  {line}", Role.NOTE))
            case Changed(_, text, below):
                for line in wrap(text, max(_MIN_TEXT, self._width - 2)):
                    self._put(Piece(line, Role.WARNING))
                self._put(Piece(f"  {below}", Role.NOTE))
            case Said():
                self._said(item)
            case Sending():
                self._sending(item)
            case _:
                assert_never(item)
        return self._lines

    def _rule(self, text: str, role: Role) -> None:
        text = f" {shorten(text, max(1, self._width - 4), self._glyphs.more)} "
        left = max(0, self._width - cell_len(text)) // 2
        right = max(0, self._width - cell_len(text) - left)
        self._put(Piece(f"{self._glyphs.rule * left}{text}{self._glyphs.rule * right}", role))

    def _said(self, item: Said) -> None:
        self._block(item.name, item.at, wrap(item.text, self._text_cells), item.role, item.mark)
        if item.below:
            for line in wrap(item.below, max(_MIN_TEXT, self._width - self._indent)):
                self._put(Piece(" " * self._indent + line, Role.NOTE))

    def _sending(self, item: Sending) -> None:
        glyphs = self._glyphs
        if item.problem:
            how = f"{glyphs.failed} {item.problem} · {self._pause} go on · {self._delete} give up"
        elif item.is_paused:
            how = f"paused at {_percent(item.part)} · {self._pause} go on · {self._delete} give up"
        elif item.part is None:
            how = "encrypting"
        else:
            full = int(item.part * BAR_CELLS)
            rate = f" {size_in_words(int(item.rate))}/s" if item.rate else ""
            bar = f"{glyphs.filled * full}{glyphs.empty * (BAR_CELLS - full)}"
            how = f"{bar} {_percent(item.part)}{rate} · {self._pause} pause"
        lines = wrap(f"{item.text}  {how}", self._text_cells)
        self._block(item.name, item.at, lines, Role.DIM, Mark(glyphs.pending, Role.DIM))

    def _block(self, name: str, at: str, lines: Sequence[str], role: Role, mark: Mark | None) -> None:
        shown = shorten(name, self._name_cells, self._glyphs.more)
        head = (
            Piece(f"{shown}{' ' * (self._name_cells - cell_len(shown))} ", Role.NAME),
            Piece(f"{at:<{_AT_CELLS}}  ", Role.NOTE),
        )
        for place, line in enumerate(lines):
            start = head if place == 0 else (Piece(" " * self._indent, Role.PLAIN),)
            is_last = place == len(lines) - 1
            room = self._width - self._indent - cell_len(line)
            if mark is None or not is_last:
                self._put(*start, Piece(line, role))
            elif cell_len(mark.text) < room:
                gap = " " * (room - cell_len(mark.text))
                self._put(*start, Piece(line, role), Piece(gap, Role.PLAIN), Piece(mark.text, mark.role))
            else:
                self._put(*start, Piece(line, role))
                self._mark_below(mark)

    def _mark_below(self, mark: Mark) -> None:
        for line in wrap(mark.text, max(_MIN_TEXT, self._width - 2)):
            gap = " " * max(0, self._width - cell_len(line))
            self._put(Piece(gap, Role.PLAIN), Piece(line, mark.role))

    def _put(self, *pieces: Piece) -> None:
        self._lines.append(Line(pieces))


def _percent(part: float | None) -> str:
    return f"{int((part or 0.0) * 100)} %"
