"""How a chat ends: exit codes, and what is said when it cannot begin."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from examples.adapters.sealed_lock import WrongPassphraseError
from whisperkit.errors import StoreError

__all__ = ["EXIT_INTERRUPTED", "EXIT_OK", "EXIT_REFUSED", "EXIT_UNAVAILABLE", "NAME_TAKEN", "exit_code"]

EXIT_OK: Final = 0
EXIT_REFUSED: Final = 1
EXIT_UNAVAILABLE: Final = 69
EXIT_INTERRUPTED: Final = 130
NAME_TAKEN: Final = "is another device's name: choose another, or come from its folder"


def exit_code(run: Callable[[], int], device: str, folder: Path) -> int:
    """Run a chat; returns its exit code, or that of what kept it from running, which is said."""
    try:
        return run()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return _nobody_reads()
    except ExceptionGroup as group:  # it was a task of its own that wrote
        if group.split(BrokenPipeError)[1] is not None:
            raise
        return _nobody_reads()
    except WrongPassphraseError as error:
        print(f"{device} in {folder}: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except (StoreError, OSError) as error:
        print(f"cannot open {device} in {folder}: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE


def _nobody_reads() -> int:
    """Whoever read the lines has gone; nor must the flush at exit find nobody there."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_OK
