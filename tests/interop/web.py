"""The modules of `examples/web` in Node.js: run, and broken on purpose."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

__all__ = ["WEB", "JavaScriptError", "broken_copy", "run_node"]

WEB: Final = Path(__file__).parents[2] / "examples" / "web"


class JavaScriptError(AssertionError):
    """A program has failed."""


def run_node(node: Path, *arguments: str | Path, typed: str = "") -> str:
    """Run a program to its end; returns what it says.

    Raises:
        JavaScriptError: It failed.
    """
    ran = subprocess.run([node, *arguments], input=typed, capture_output=True, text=True, check=False, timeout=300)
    if ran.returncode:
        raise JavaScriptError(ran.stderr)
    return ran.stdout


def broken_copy(folder: Path, *, file: str, old: str, new: str) -> Path:
    """Copy the modules, with a text that is in one of them once replaced by another; returns where they are."""
    web = folder / "web"
    shutil.copytree(WEB, web)
    path = web / file
    text = path.read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise LookupError(f"{file} has {text.count(old)} times what was to be broken: {old!r}")
    path.write_text(text.replace(old, new), encoding="utf-8")
    return web
