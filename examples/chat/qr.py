"""The code that the other side scans, drawn with half blocks: two modules on top of each other make one character.

Both colours are set, black on white, so that it reads the same on dark and on light terminals. It has the quiet zone
that scanners need. The weakest error correction is enough for a screen, and keeps it low: 21 lines for a safety number.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Final, TextIO

import segno

__all__ = ["qr_lines", "room_for_qr"]

_QUIET: Final = 4
# By whether the upper and the lower module are dark.
_BLOCKS: Final = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}
# The colours of the cube, which no theme changes: black on white.
_BEGIN: Final = "\x1b[38;5;16;48;5;231m"
_END: Final = "\x1b[0m"


def qr_lines(data: bytes, *, columns: int) -> list[str]:
    """Draw a code.

    Args:
        data: What is scanned.
        columns: How wide the terminal is; 0 for one that cannot show it.

    Returns:
        Its lines; none if it does not fit.
    """
    code = segno.make_qr(data, error="l")
    rows = [[bool(module) for module in row] for row in code.matrix_iter(border=_QUIET)]
    width = len(rows)
    if width > columns:
        return []
    light = [False] * width
    pairs = zip(rows[::2], [*rows[1::2], light], strict=False)
    return [_BEGIN + "".join(_BLOCKS[pair] for pair in zip(*two, strict=True)) + _END for two in pairs]


def room_for_qr(out: TextIO, environment: Mapping[str, str] = os.environ) -> int:
    """How many columns there are to draw in: 0 where it could not be drawn, or not be scanned.

    Args:
        out: Where it would be drawn.
        environment: Says what the person wants.
    """
    if not out.isatty() or environment.get("NO_COLOR") or environment.get("TERM", "dumb") == "dumb":
        return 0
    try:
        "".join(_BLOCKS.values()).encode(out.encoding)
    except UnicodeEncodeError:
        return 0
    return shutil.get_terminal_size(fallback=(0, 0)).columns
