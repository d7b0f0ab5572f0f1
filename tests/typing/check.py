"""Whether type checkers on the side of users see the types of the library: `make typing`.

The wheel is built and installed where nothing of this repository is. There public_api.py is checked as it stands, and
has to be accepted whole; and once more with each wrong use in the place of its comment, where each of them has to be
refused, and nothing else. A checker that did not find the library, or its types, would take everything for `Any` and
fail the second.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from tests.distribution import UNREACHABLE, build_wheel, install, new_environment

__all__ = ["CHECKERS", "Checker", "WrongUses", "faults", "main", "reported", "wrong_uses"]

_PAGE: Final = Path(__file__).with_name("public_api.py")
_BIN: Final = Path(sys.executable).parent
_WRONG_USE: Final = re.compile(r"^( *)# refused! ", re.MULTILINE)
# What is not about types would make of any line a wrong use.
_BESIDE_TYPES: Final = ("Coroutine", "Expression", "Import", "Variable")
_PYRIGHT: Final = {
    "typeCheckingMode": "strict",
    **dict.fromkeys((f"reportUnused{what}" for what in _BESIDE_TYPES), False),
}
# Name of a file, number of a line, and whatever else: the form that all of them print.
_ERROR: Final = re.compile(
    r"^\s*(?:ERROR )?\S*?(\w+\.py):(\d+):\d+:? .*\berror\b|^ERROR \S*?(\w+\.py):(\d+)", re.MULTILINE
)


class Checker(NamedTuple):
    """A type checker.

    Attributes:
        name: What it is called.
        command: How it checks files, given the interpreter of the environment and the files.
    """

    name: str
    command: Callable[[Path, Sequence[str]], list[str | Path]]


def _mypy(python: Path, files: Sequence[str]) -> list[str | Path]:
    options = ["--strict", "--config-file=", "--no-incremental", "--show-column-numbers", "--python-executable"]
    return [_BIN / "mypy", *options, python, *files]


def _pyright(python: Path, files: Sequence[str]) -> list[str | Path]:
    return [_BIN / "pyright", "--pythonpath", python, "--project", "pyrightconfig.json"]


def _pyrefly(python: Path, files: Sequence[str]) -> list[str | Path]:
    return [_BIN / "pyrefly", "check", "--output-format", "min-text", "--python-interpreter-path", python, *files]


def _ty(python: Path, files: Sequence[str]) -> list[str | Path]:
    return [_BIN / "ty", "check", "--output-format", "concise", "--python", python, *files]


CHECKERS: Final = (
    Checker("mypy", _mypy),
    Checker("pyright", _pyright),
    Checker("pyrefly", _pyrefly),
    Checker("ty", _ty),
)


class WrongUses(NamedTuple):
    """A page with its wrong uses.

    Attributes:
        text: The page in which they are code.
        lines: Their numbers.
    """

    text: str
    lines: frozenset[int]


def wrong_uses(page: str) -> WrongUses:
    """Put the wrong uses of a page in the place of their comments."""
    lines = frozenset(page.count("\n", 0, found.start()) + 1 for found in _WRONG_USE.finditer(page))
    return WrongUses(_WRONG_USE.sub(r"\1", page), lines)


def reported(output: str, file: str) -> frozenset[int]:
    """The lines of a file in which a checker found an error."""
    found = _ERROR.finditer(output)
    return frozenset(int(match[2] or match[4]) for match in found if (match[1] or match[3]) == file)


def main() -> int:
    """Check with all of them; 0 if each is content."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        python = new_environment(folder / "environment")
        if not install(str(build_wheel(folder)), python):
            print(f"typing: skipped, {UNREACHABLE}", file=sys.stderr)
            return 1 if os.environ.get("CI") else 0
        pages = folder / "pages"
        pages.mkdir()
        page = _PAGE.read_text(encoding="utf-8")
        wrong = wrong_uses(page)
        (pages / "right.py").write_text(page, encoding="utf-8")
        (pages / "wrong.py").write_text(wrong.text, encoding="utf-8")
        (pages / "pyrightconfig.json").write_text(json.dumps(_PYRIGHT), encoding="utf-8")
        with ThreadPoolExecutor(2) as pool:
            outputs = list(pool.map(partial(_output, python=python, pages=pages), CHECKERS))
    found = [faults(output, wrong) for output in outputs]
    for checker, output, wrongs in zip(CHECKERS, outputs, found, strict=True):
        print(f"{checker.name:<9}{'; '.join(wrongs) or f'accepts the page, refuses {len(wrong.lines)} wrong uses'}")
        if wrongs:
            print(output, file=sys.stderr)
    return 1 if any(found) else 0


def _output(checker: Checker, *, python: Path, pages: Path) -> str:
    environ = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH", "VIRTUAL_ENV")
    }
    command = checker.command(python, ["right.py", "wrong.py"])
    run = subprocess.run(command, cwd=pages, env=environ, capture_output=True, text=True, check=False)
    return run.stdout + run.stderr


def faults(output: str, wrong: WrongUses) -> list[str]:
    """What a checker did that it should not have done, in words."""
    unjust, refused = reported(output, "right.py"), reported(output, "wrong.py")
    found = {
        f"refuses {_PAGE.name},": unjust,
        "accepts the wrong uses of": wrong.lines - refused,
        "refuses beside the wrong uses": refused - wrong.lines - unjust,
    }
    return [f"{what} line {_listed(lines)}" for what, lines in found.items() if lines]


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


if __name__ == "__main__":
    sys.exit(main())
