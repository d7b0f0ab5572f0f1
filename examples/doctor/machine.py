"""What the programs need of the machine: Python, packages, SQLite, a clock, a terminal.

Nothing is imported here but the standard library: where packages are missing, this is what says so.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import sqlite3
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, cast

from examples.doctor.findings import Finding, bad, good, poor

__all__ = [
    "Machine",
    "check_clock",
    "check_packages",
    "check_python",
    "check_sqlite",
    "check_terminal",
    "machine_here",
]

ROOT: Final = Path(__file__).parents[2]

# `requires-python` of pyproject.toml; a test holds the two together.
_PYTHON: Final = (3, 11)
# The first with ON CONFLICT DO UPDATE for any of the constraints.
_SQLITE: Final = (3, 35)
_OPTIONAL: Final = {"uvloop": "the server does without it, for about a third more work"}
_OTHER_PYTHON: Final = "make clean && make serve PYTHON=/path/to/python3.13"
# Clocks of two machines that share a disk may be so far apart.
_CLOCK_TOLERANCE_S: Final = 120

_REQUIREMENT: Final = re.compile(r"([\w.-]+)(?:\[[\w, -]*\])?\s*([^;]*)")
_BOUND: Final = re.compile(r"(>=|<|==)\s*([\d.]+)")


class Machine(NamedTuple):
    """The machine, as far as it is looked at.

    Attributes:
        python: Version.
        sqlite: Version.
        has_fts5: Whether SQLite finds words in texts.
        version_of: The version of a package; `None` if it is not installed.
        free_bytes: How much room there is in a folder.
        wall_s: What time it is, in seconds since 1970.
        encoding: Of what is printed.
    """

    python: tuple[int, ...]
    sqlite: tuple[int, ...]
    has_fts5: bool
    version_of: Callable[[str], str | None]
    free_bytes: Callable[[Path], int]
    wall_s: Callable[[], float]
    encoding: str


def machine_here() -> Machine:
    """This one."""
    return Machine(
        python=sys.version_info[:3],
        sqlite=sqlite3.sqlite_version_info,
        has_fts5=_has_fts5(),
        version_of=_version_of,
        free_bytes=_free_bytes,
        wall_s=time.time,
        encoding=sys.stdout.encoding,
    )


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _has_fts5() -> bool:
    db = sqlite3.connect(":memory:")
    try:
        db.execute("CREATE VIRTUAL TABLE words USING fts5 (text)")
    except sqlite3.OperationalError:
        return False
    finally:
        db.close()
    return True


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_python(machine: Machine) -> Finding:
    """Python is new enough."""
    if machine.python[:2] < _PYTHON:
        return bad("python", f"{_dotted(machine.python)}; needed is {_dotted(_PYTHON)} or newer", fix=_OTHER_PYTHON)
    return good("python", _dotted(machine.python))


def check_sqlite(machine: Machine) -> Finding:
    """SQLite knows the statements that are used, and can search."""
    version = _dotted(machine.sqlite)
    if machine.sqlite[:2] < _SQLITE:
        return bad("sqlite", f"{version}; needed is {_dotted(_SQLITE)} or newer", fix=_OTHER_PYTHON)
    if not machine.has_fts5:
        return bad("sqlite", f"{version}, without FTS5, which finds words in a chat", fix=_OTHER_PYTHON)
    return good("sqlite", f"{version} with FTS5")


def check_terminal(machine: Machine) -> Finding:
    """The terminal can show the marks of messages."""
    try:
        "✓✔◷✗⧖".encode(machine.encoding)
    except (UnicodeEncodeError, LookupError):
        return poor(
            "terminal", f"writes {machine.encoding}, which has no ✓: some marks become ?", fix="export PYTHONUTF8=1"
        )
    return good("terminal", f"writes {machine.encoding}")


def check_clock(machine: Machine, written: Iterable[Path]) -> Finding:
    """Time has not gone back: nothing is from the future.

    Args:
        machine: Whose clock.
        written: Files that are there or not.
    """
    now = machine.wall_s()
    times = {path.stat().st_mtime: path for path in (Path(__file__), *written) if path.exists()}
    newest = max(times)
    if newest > now + _CLOCK_TOLERANCE_S:
        behind = f"{newest - now:.0f} s ahead"
        return bad(
            "clock", f"{_utc(now)}, and {times[newest].name} was written {behind}", fix="timedatectl set-ntp true"
        )
    return good("clock", _utc(now))


def _utc(wall_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(wall_s))


def check_packages(machine: Machine, project: Path = ROOT / "pyproject.toml") -> Finding:
    """What the programs import is installed, in versions that will do.

    Args:
        machine: Where.
        project: Names them.
    """
    wrong, optional, count = list[str](), list[str](), 0
    for name, bounds in _requirements(project):
        count += 1
        version = machine.version_of(name)
        problem = f"{name} is missing" if version is None else _out_of_bounds(name, version, bounds)
        if problem and name in _OPTIONAL:
            optional.append(f"{problem}; {_OPTIONAL[name]}")
        elif problem:
            wrong.append(problem)
    fix = f"{sys.executable} -m pip install --editable {project.parent} --group {project}:examples"
    if wrong:
        return bad("packages", ", ".join(wrong), fix=fix)
    if optional:
        return poor("packages", ", ".join(optional), fix=fix)
    return good("packages", f"{count} are there")


def _requirements(project: Path) -> Iterator[tuple[str, str]]:
    """Names of packages, each with its bounds."""
    tables = tomllib.loads(project.read_text(encoding="utf-8"))
    yield tables["project"]["name"], ""
    # The cast: other entries include groups, and this one has none.
    for line in cast("list[str]", [*tables["project"]["dependencies"], *tables["dependency-groups"]["examples"]]):
        match = _REQUIREMENT.match(line)
        assert match is not None  # pip has read it, too
        yield match[1], match[2]


def _out_of_bounds(name: str, version: str, bounds: str) -> str | None:
    number = _numbers(version)
    for how, bound in _BOUND.findall(bounds):
        limit = _numbers(bound)
        is_kept = number >= limit if how == ">=" else number < limit if how == "<" else number == limit
        if not is_kept:
            return f"{name} is {version}, needed is {how}{bound}"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    release = re.match(r"[\d.]*", version)
    found = [int(part) for part in (release[0] if release else "").split(".") if part]
    while found and not found[-1]:  # 2.0 is 2
        found.pop()
    return tuple(found)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
