"""What is printed where a terminal lacks a glyph, or where nobody reads any more: neither is a reason to end badly.

Nothing is imported here but the standard library, because `doctor` runs where nothing else is installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

__all__ = ["nobody_reads", "replace_what_is_missing"]


def replace_what_is_missing() -> None:
    """Let what is printed have a question mark for each glyph that the terminal has not, from here on."""
    reconfigure: Callable[..., None] | None = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:  # a test may have put something there that has none
        reconfigure(errors="replace")


def nobody_reads() -> None:
    """Whoever read what is printed has gone; nor must the flush at exit find nobody there."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
