"""Opening a file with the program that the system has for it: pictures, sounds, films and text only."""

from __future__ import annotations

import mimetypes
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import anyio

__all__ = ["is_harmless", "open_file"]

# What a viewer shows. Everything else, pages and documents with scripts too, is saved and opened by whoever wants to.
_HARMLESS: Final = ("image/", "audio/", "video/", "text/plain")
_UNLESS: Final = "image/svg"


def is_harmless(media_type: str, name: str) -> bool:
    """Whether a file is of a kind that is looked at: its sender says so, and its name, by which programs are chosen."""
    kinds = (media_type, mimetypes.guess_type(name)[0] or "")
    return all(kind.startswith(_HARMLESS) and not kind.startswith(_UNLESS) for kind in kinds)


async def open_file(path: Path) -> bool:
    """Open a file; false if there is nothing to open it with."""
    program = shutil.which("open" if sys.platform == "darwin" else "xdg-open")
    if program is None:
        return False
    silent = subprocess.DEVNULL
    done = await anyio.run_process([program, str(path)], check=False, stdout=silent, stderr=silent)
    return done.returncode == 0
