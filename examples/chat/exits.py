"""How a chat ends: exit codes, and what is said when it cannot begin."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from collections.abc import Callable
from pathlib import Path
from typing import Final

from examples.adapters.sealed_lock import WrongPassphraseError
from examples.exits import EXIT_INTERRUPTED, EXIT_OK, EXIT_UNAVAILABLE
from examples.printing import nobody_reads
from whisperkit.errors import StoreError

__all__ = ["EXIT_REFUSED", "NAME_TAKEN", "exit_code"]

EXIT_REFUSED: Final = 1
NAME_TAKEN: Final = "is another device's name: choose another, or come from its folder"


def exit_code(run: Callable[[], int], device: str, folder: Path) -> int:
    """Run a chat; returns its exit code, or that of what kept it from running, which is said."""
    try:
        return run()
    except (KeyboardInterrupt, CancelledError):  # the second where a scope was cancelled at the same time
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        nobody_reads()
        return EXIT_OK
    except ExceptionGroup as group:  # it was a task of its own that wrote
        if group.split(BrokenPipeError)[1] is not None:
            raise
        nobody_reads()
        return EXIT_OK
    except WrongPassphraseError as error:
        print(f"{device} in {folder}: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except (StoreError, OSError) as error:
        print(f"cannot open {device} in {folder}: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE
