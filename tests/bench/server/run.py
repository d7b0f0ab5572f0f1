"""All rounds of all rows, one after the other: figures are medians over rounds, and the limits are looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from tests.bench.machine import load_average
from tests.bench.server.contestants import Running, on_load_core, running
from tests.bench.server.facts import server_facts, sync_ms
from tests.bench.server.rows import Figure, Row, Step

__all__ = ["LOAD_BOUND", "SCHEMA", "FailedError", "judged", "measure", "played", "run", "turned"]

SCHEMA: Final = 2
# A generator that used so much of its core was the limit, or so near to it that nobody can tell.
LOAD_BOUND: Final = 0.9
# What a paced step goes at, of full steam.
_PACE: Final = 0.3

_ROOT: Final = Path(__file__).parents[3]
_TIMEOUT_S: Final = 1_800

Json = dict[str, Any]
Say = Callable[[str], None]


class FailedError(Exception):
    """A measurement failed.

    Args:
        what: What went wrong.
        report: What was measured nevertheless.
    """

    def __init__(self, what: str, *, report: Json | None = None) -> None:
        super().__init__(what)
        self.report = report


def run(rows: Sequence[Row], *, rounds: int, folder: Path, say: Say = print) -> Json:
    """Measure.

    Args:
        rows: What to measure.
        rounds: How often each row is measured, unless it says that once is enough.
        folder: On a disk: databases lie in folders below it while they are used.
        say: Where the progress goes.

    Returns:
        What is kept: the machine, all that was measured, the figures.

    Raises:
        FailedError: Some rows did not work. It has what the others found: all of them take a quarter of an hour.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept: list[Json] = []
    failed: dict[str, FailedError] = {}
    for row in rows:
        try:
            kept.append(_measured(row, min(rounds, row.rounds or rounds), folder, say))
        except FailedError as error:
            say(f"{row.title}: failed")
            failed[row.title] = error
    report: Json = {
        "schema": SCHEMA,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": server_facts(),
        "rows": kept,
    }
    if failed:
        what = "\n".join(f"{title}: {error}" for title, error in failed.items())
        raise FailedError(what, report=report) from next(iter(failed.values())).__cause__
    return report


def _measured(row: Row, rounds: int, folder: Path, say: Say) -> Json:
    measured: list[Json] = []
    for number in range(rounds):
        say(f"{row.title}: round {number + 1} of {rounds}")
        measured.append(_round(row, number, folder))
    return {
        "key": row.key,
        "title": row.title,
        "includes": row.includes,
        "figures": [judged(figure, measured) for figure in row.figures],
        "rounds": measured,
    }


def _round(row: Row, number: int, folder: Path) -> Json:
    measured: Json = {"load_average": load_average(), "sync_ms": sync_ms(folder)}
    for step in turned(row.steps, number):
        arguments: Json = dict(step.arguments)
        if step.paced_by is not None:
            full = measured[step.paced_by]
            arguments["per_second"] = _PACE * full["items"] / full["seconds"]
        measured[step.name] = measure(step, arguments, folder)
    return measured


def turned(steps: Sequence[Step], number: int) -> list[Step]:
    """The steps of a round. Who begins is another one in each, unless one waits for what another finds."""
    turn = 0 if any(step.paced_by for step in steps) else number % len(steps)
    return [*steps[turn:], *steps[:turn]]


def measure(step: Step, arguments: Json, folder: Path) -> Any:
    """Do one step, in a process on the core of the load.

    Raises:
        FailedError: Something did not work.
    """
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory(dir=folder)))
        if step.against is not None:
            return played(step.measure, arguments, stack.enter_context(running(step.against, place)))
        if step.measure in _ON_DISK:
            arguments |= {"folder": str(place)}
        return _worked(step.measure, arguments)


def played(measure: str, arguments: Json, server: Running) -> Any:
    """Play a load against a server that runs.

    Raises:
        FailedError: Something did not work.
    """
    told = {"url": server.url} if measure in _NO_PROCESS else {"url": server.url, "pid": server.pid}
    return _worked(measure, {**arguments, **told})


def _worked(measure: str, arguments: Json) -> Any:
    command = [sys.executable, "-m", "tests.bench.server.worker", measure, json.dumps(arguments)]
    try:
        done = subprocess.run(
            on_load_core(command), cwd=_ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise FailedError(f"{measure}: {error}\n{getattr(error, 'stderr', '')}") from error
    return json.loads(done.stdout)


# Loads that do not look at the server's process, and measurements that write files.
_NO_PROCESS: Final = frozenset(("catch_up", "logins"))
_ON_DISK: Final = frozenset(("door", "service", "inbox_read", "many_conversations"))


def judged(figure: Figure, measured: Sequence[Json]) -> Json:
    """A figure with its limits, and whether they hold.

    Args:
        figure: What to read.
        measured: What its row gave in each round.
    """
    values = [figure.read(each) for each in measured]
    found = median(values)
    is_load_bound = any(_is_load_bound(step, measured) for step in figure.hangs_on)
    return {
        "label": figure.label,
        "unit": figure.unit,
        "median": found,
        "low": min(values),
        "high": max(values),
        "least": figure.least,
        "goal": figure.goal,
        "more_is_better": figure.more_is_better,
        "is_load_bound": is_load_bound,
        "is_kept": _holds(figure, found, figure.least, is_load_bound=is_load_bound),
        "is_reached": _holds(figure, found, figure.goal, is_load_bound=is_load_bound),
    }


def _is_load_bound(step: str, measured: Sequence[Json]) -> bool:
    shares: list[float] = [each[step]["load_share"] for each in measured]
    return median(shares) >= LOAD_BOUND


def _holds(figure: Figure, found: float, limit: float | None, *, is_load_bound: bool) -> bool | None:
    if limit is None:
        return None
    holds = found >= limit if figure.more_is_better else found <= limit
    if is_load_bound:
        # A rate is at least what was found; a ratio to a relay that was not under full steam, and a delay that the
        # generator itself may have made, say nothing.
        return True if holds and figure.unit == "1/s" else None
    return holds
