"""What a check found: a line for people, a record for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple, TextIO

__all__ = ["Finding", "State", "bad", "good", "is_coloured", "poor", "show", "show_json"]

_NAME_COLUMNS: Final = 13


class State(Enum):
    """How it stands; the value is the word that is shown."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


# Green, yellow and red of the terminal's own; the word says the same.
_COLOURS: Final[Mapping[State, str]] = {State.OK: "32", State.WARN: "33", State.FAIL: "1;31"}


class Finding(NamedTuple):
    """What a check found.

    Attributes:
        name: Of the check.
        state: How it stands.
        found: What is there, in a line.
        fix: A command that puts it right; empty if there is nothing to do.
    """

    name: str
    state: State
    found: str
    fix: str


def good(name: str, found: str) -> Finding:
    """All is well."""
    return Finding(name, State.OK, found, "")


def poor(name: str, found: str, *, fix: str) -> Finding:
    """It runs, and not as well as it could."""
    return Finding(name, State.WARN, found, fix)


def bad(name: str, found: str, *, fix: str) -> Finding:
    """It does not run."""
    return Finding(name, State.FAIL, found, fix)


def show(findings: Iterable[Finding], stream: TextIO, *, is_coloured: bool) -> list[Finding]:
    """Write a line for each finding when it comes, what to do below it, and the counts at the end; returns them all."""
    shown: list[Finding] = []
    for finding in findings:
        word = f"{finding.state.value:<4}"
        if is_coloured:
            word = f"\033[{_COLOURS[finding.state]}m{word}\033[0m"
        stream.write(f"{word}  {finding.name:<{_NAME_COLUMNS}}{finding.found}\n")
        if finding.fix:
            stream.write(f"      fix: {finding.fix}\n")
        stream.flush()
        shown.append(finding)
    counts = _counts(shown)
    warnings = f"{counts['warn']} warning{'' if counts['warn'] == 1 else 's'}"
    stream.write(f"{counts['ok']} ok, {warnings}, {counts['fail']} failed\n")
    return shown


def show_json(findings: Sequence[Finding], stream: TextIO) -> None:
    """Write the same as one JSON object."""
    checks = [{**finding._asdict(), "state": finding.state.name.lower()} for finding in findings]
    stream.write(json.dumps({"checks": checks, "counts": _counts(findings)}, indent=2) + "\n")


def _counts(findings: Iterable[Finding]) -> dict[str, int]:
    states = [finding.state for finding in findings]
    return {state.name.lower(): states.count(state) for state in State}


def is_coloured(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether colours are welcome: on a terminal that has some, unless `NO_COLOR` is set to something."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
