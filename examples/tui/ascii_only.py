"""Borders, bars, arrows and dots as a terminal with ASCII has them: each is as wide there as it was.

The marks have letters of their own; see `glyphs`. What people write stays as it is, but for these.
"""

from __future__ import annotations

from typing import Final

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

__all__ = ["AsciiOnly"]

_LINES: Final = "".join(map(chr, range(0x2500, 0x2580)))
_BLOCKS: Final = "".join(map(chr, range(0x2580, 0x25A0)))
_DRAWN: Final = {ord(one): "+" for one in _LINES} | {ord(one): "#" for one in _BLOCKS}
_BETTER: Final = str.maketrans(
    {
        **dict.fromkeys("─━┄┅┈┉╌╍═╴╶╸╺╼╾▔", "-"),
        **dict.fromkeys("│┃┆┇┊┋╎╏║╵╷╹╻╽╿▌▍▎▏▐▕", "|"),
        **dict.fromkeys("░▒▓", "."),
        "▁": "_",
        "╱": "/",
        "╲": "\\",
        "╳": "x",
        "←": "<",
        "→": ">",
        "↑": "^",
        "↓": "v",
        "·": "-",
        "…": ".",
        "🔎": "? ",  # of Textual's palette
    }
)
_ASCII: Final = _DRAWN | _BETTER


class AsciiOnly(LineFilter):
    """Changes what is drawn around texts, on its way to the terminal."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """See `LineFilter.apply`."""
        return [Segment(text.translate(_ASCII), style, control) for text, style, control in segments]
