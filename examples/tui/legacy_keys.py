"""Alt+Enter and Alt+1 to Alt+9 in terminals that know only the old way to send them: Escape, and then the key.

Textual takes Escape and a digit for what a Macintosh writes with Option and that digit, and Escape and Enter for Enter
alone, which would send half a message. Its table is put right here; terminals with the newer protocol do not need it.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final, cast

from textual import _ansi_sequences
from textual.keys import Keys

__all__ = ["understand_old_alt"]

_ENTER: Final = "\x1b\r"


def understand_old_alt() -> None:
    """Let textual understand these keys; without effect the second time."""
    # Any: the table is declared to be read only, and its values to be members of `Keys`, which has no such key.
    table = cast("dict[str, Any]", _ansi_sequences.ANSI_SEQUENCES_KEYS)
    for digit in "123456789":
        table.pop(f"\x1b{digit}", None)  # what has no entry is read as Alt and the key
    table[_ENTER] = (cast("Keys", SimpleNamespace(value="alt+enter")),)
