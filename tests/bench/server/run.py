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

from tests.bench.machine import facts, load_average
from tests.bench.server.contestants import on_load_core, running
from tests.bench.server.rows import Figure, Row, Step

__all__ = ["SCHEMA", "FailedError", "run"]

SCHEMA: Final = 1

_ROOT: Final = Path(__file__).parents[3]
_TIMEOUT_S: Final = 1_800

Json = dict[str, Any]
Say = Callable[[str], None]


class FailedError(Exception):
    """A measurement failed."""


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
        FailedError: Something did not work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept: list[Json] = []
    for row in rows:
        count = min(rounds, row.rounds or rounds)
        measured: list[Json] = []
        for number in range(count):
            say(f"{row.title}: round {number + 1} of {count}")
            measured.append(_round(row, folder))
        kept.append(
            {
                "key": row.key,
                "title": row.title,
                "figures": [_figure(figure, measured) for figure in row.figures],
                "rounds": measured,
            }
        )
    return {
        "schema": SCHEMA,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": facts(),
        "rows": kept,
    }


def _round(row: Row, folder: Path) -> Json:
    measured: Json = {"load_average": load_average()}
    for step in row.steps:
        measured[step.name] = _measure(step, folder)
    return measured


def _measure(step: Step, folder: Path) -> Any:
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory(dir=folder)))
        arguments: Json = dict(step.arguments)
        if step.against is not None:
            server = stack.enter_context(running(step.against, place))
            arguments |= {"url": server.url, **({"pid": server.pid} if step.measure in _OF_PROCESS else {})}
        elif step.measure in _ON_DISK:
            arguments |= {"folder": str(place)}
        command = [sys.executable, "-m", "tests.bench.server.worker", step.measure, json.dumps(arguments)]
        try:
            done = subprocess.run(
                on_load_core(command), cwd=_ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise FailedError(f"{step.measure}: {error}\n{getattr(error, 'stderr', '')}") from error
        return json.loads(done.stdout)


# What they are told beside their arguments: the process whose CPU time and memory count, or where files go.
_OF_PROCESS: Final = frozenset(("pairs", "group", "idle", "long_run", "relay_pairs", "relay_group"))
_ON_DISK: Final = frozenset(("door", "service", "inbox_read", "many_conversations"))


def _figure(figure: Figure, measured: Sequence[Json]) -> Json:
    values = [figure.read(each) for each in measured]
    found = median(values)
    return {
        "label": figure.label,
        "unit": figure.unit,
        "median": found,
        "low": min(values),
        "high": max(values),
        "least": figure.least,
        "goal": figure.goal,
        "more_is_better": figure.more_is_better,
        "is_kept": _holds(figure, found, figure.least),
        "is_reached": _holds(figure, found, figure.goal),
    }


def _holds(figure: Figure, found: float, limit: float | None) -> bool | None:
    if limit is None:
        return None
    return found >= limit if figure.more_is_better else found <= limit
