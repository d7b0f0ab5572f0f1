"""The exit codes of the programs here; those above 2 are of sysexits.h, and the last is what a shell calls Ctrl-C.

Nothing is imported here but the standard library, because `doctor` runs where nothing else is installed.
"""

from __future__ import annotations

import os
import sys
from typing import Final

__all__ = ["EXIT_CONFIG", "EXIT_FAILED", "EXIT_INTERRUPTED", "EXIT_OK", "EXIT_UNAVAILABLE", "nobody_reads"]

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_UNAVAILABLE: Final = 69
EXIT_CONFIG: Final = 78
EXIT_INTERRUPTED: Final = 130


def nobody_reads() -> None:
    """Whoever read what is printed has gone; nor must the flush at exit find nobody there."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
