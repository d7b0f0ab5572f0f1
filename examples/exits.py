"""The exit codes of the programs here; those above 2 are of sysexits.h, and the last is what a shell calls Ctrl-C.

Nothing is imported here but the standard library, because `doctor` runs where nothing else is installed.
"""

from __future__ import annotations

from typing import Final

__all__ = ["EXIT_CONFIG", "EXIT_FAILED", "EXIT_INTERRUPTED", "EXIT_OK", "EXIT_UNAVAILABLE"]

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_UNAVAILABLE: Final = 69
EXIT_CONFIG: Final = 78
EXIT_INTERRUPTED: Final = 130
