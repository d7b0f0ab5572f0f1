"""The report as text: a line for each figure, with what it has to hold and what it aims at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

__all__ = ["grid", "number", "render"]

_VERDICTS: Final = {True: "met", False: "MISSED", None: ""}
_HEAD: Final = ["", "median", "lowest", "highest", "", "at least", "", "goal", ""]
_LEFT: Final = (0, 4)


def render(report: dict[str, Any]) -> str:
    """Write a report as lines."""
    lines = [f"{name}: {value}" for name, value in report["machine"].items()]
    table: list[list[str]] = [_HEAD]
    for row in report["rows"]:
        loads = ", ".join(f"{each['load_average']}" for each in row["rounds"])
        syncs = ", ".join(number(each["sync_ms"]) for each in row["rounds"])
        table += [[f"{row['title']} (load average {loads}; a sync takes {syncs} ms)", *[""] * (len(_HEAD) - 1)]]
        table += [_cells(figure) for figure in row["figures"]]
    return "\n".join([*lines, "", *grid(table)]) + "\n"


def _cells(figure: dict[str, Any]) -> list[str]:
    sign = "" if figure["more_is_better"] else "<= "
    limits: list[str] = []
    for name, verdict in (("least", "is_kept"), ("goal", "is_reached")):
        limit = figure[name]
        limits += ["" if limit is None else f"{sign}{number(limit)}", _verdict(figure, limit, verdict)]
    values = (number(figure[name]) for name in ("median", "low", "high"))
    return [f"  {figure['label']}", *values, figure["unit"], *limits]


def _verdict(figure: dict[str, Any], limit: float | None, name: str) -> str:
    is_open = limit is not None and figure[name] is None
    return "the load was the limit" if is_open else _VERDICTS[figure[name]]


def number(value: float) -> str:
    """Write a number with three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def grid(table: list[list[str]]) -> Iterable[str]:
    """Columns below each other; a row that has nothing but its first cell is a heading."""
    body = [row for row in table if any(row[1:])]
    widths = [max(len(row[n]) for row in body) for n in range(len(table[0]))]
    for row in table:
        cells = (
            cell.ljust(w) if n in _LEFT else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip() if any(row[1:]) else f"\n{row[0]}"
