"""Read a table of transitions and draw it.

A state machine of the library is a mapping from (state, kind of input) to the next state; what is not in
it does not happen. This module turns such a mapping into rows for a table and into a picture, and knows
nothing of Sphinx; `state_table` puts both on a page.

The picture has one column for each state, in the order in which they are declared, and one arrow for each
pair of states that follow one another, from top to bottom in the order of the table: nothing ever overlaps,
however many there are.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from html import escape
from typing import NamedTuple, TypeAlias

__all__ = ["Arrow", "Table", "Transition", "arrows", "draw", "transitions"]

Table: TypeAlias = Mapping[tuple[enum.Enum, object], enum.Enum]

_CHAR = 7.3  # the width of one character, in pixels at the size that the style sheet sets
_LINE = 17
_BOX_HEIGHT = 28
_MARGIN = 12
_MAX_CAUSES = 6  # beside one arrow; the table below the picture has them all


class Transition(NamedTuple):
    """One entry of a table, in words."""

    before: str
    cause: str
    after: str


class Arrow(NamedTuple):
    """All that leads from one state to another."""

    before: str
    causes: tuple[str, ...]
    after: str


def transitions(table: Table) -> list[Transition]:
    """Name the entries of a table, in its order."""
    return [Transition(before.name, _name_of(cause), after.name) for (before, cause), after in table.items()]


def _name_of(cause: object) -> str:
    if isinstance(cause, type):
        return cause.__name__
    return cause.name if isinstance(cause, enum.Enum) else str(cause)


def arrows(found: list[Transition]) -> list[Arrow]:
    """Gather what leads from one state to another, each pair where it first comes up; of very many causes, some."""
    causes: dict[tuple[str, str], list[str]] = {}
    for step in found:
        causes.setdefault((step.before, step.after), []).append(step.cause)
    return [Arrow(before, _some(names), after) for (before, after), names in causes.items()]


def _some(names: list[str]) -> tuple[str, ...]:
    more = len(names) - _MAX_CAUSES + 1
    return (*names[: _MAX_CAUSES - 1], f"and {more} more") if more > 1 else tuple(names)


def draw(table: Table, *, title: str) -> str:
    """Draw a table as an SVG picture in the colours of the text around it."""
    found = arrows(transitions(table))
    names = {state.name for (before, _), after in table.items() for state in (before, after)}
    declared = [state.name for state in type(next(iter(table))[0]) if state.name in names]
    gap = _column_gap(found, declared)
    columns = {name: _MARGIN + gap * (index + 0.5) for index, name in enumerate(declared)}
    y, parts = _BOX_HEIGHT + _MARGIN * 2.0, list[str]()
    for arrow in found:
        y += _LINE * len(arrow.causes)
        parts += _arrow(arrow, columns, y)
        y += _MARGIN
    width, height = gap * (len(declared) + 0.5) + _MARGIN, y + _MARGIN
    return "\n".join([*_opening(width, height, title), *_columns(columns, height), *parts, "</svg>"])


def _column_gap(found: list[Arrow], declared: list[str]) -> float:
    """How far columns stand apart, so that every text has room between two of them."""
    texts = [*declared, *(cause for arrow in found for cause in arrow.causes)]
    return max(map(len, texts)) * _CHAR + 3 * _MARGIN


def _opening(width: float, height: float, title: str) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}">'
    ]


def _columns(columns: Mapping[str, float], height: float) -> list[str]:
    parts: list[str] = []
    for name, x in columns.items():
        half = len(name) * _CHAR / 2 + _MARGIN
        parts += [
            f'<line x1="{x:.0f}" y1="{_BOX_HEIGHT + 1}" x2="{x:.0f}" y2="{height:.0f}" '
            'stroke="currentColor" stroke-dasharray="2 5" opacity="0.5"/>',
            f'<rect x="{x - half:.0f}" y="1" width="{2 * half:.0f}" height="{_BOX_HEIGHT}" rx="6" '
            'fill="none" stroke="currentColor"/>',
            _text(x, _BOX_HEIGHT / 2 + 5, name, "middle"),
        ]
    return parts


def _arrow(arrow: Arrow, columns: Mapping[str, float], y: float) -> list[str]:
    """A line with a head, and what causes the step, one above the other, in the gap next to the start."""
    start, end = columns[arrow.before], columns[arrow.after]
    side = 1 if end >= start else -1
    if start == end:  # a loop to the right of its column, its causes beside it
        path, x, anchor = (
            f"M{start:.0f} {y - _LINE:.0f} h{_MARGIN} V{y:.0f} H{start:.0f}",
            start + 1.5 * _MARGIN,
            "start",
        )
        side = -1
    else:
        path, x, anchor = f"M{start:.0f} {y:.0f} H{end:.0f}", start + side * _gap_of(columns) / 2, "middle"
    head = f"M{end:.0f} {y:.0f} l{-9 * side} -4 v8 z"
    last = len(arrow.causes) - 1
    return [
        f'<path d="{path}" fill="none" stroke="currentColor"/><path d="{head}" fill="currentColor"/>',
        *(_text(x, y - 6 - _LINE * (last - line), cause, anchor) for line, cause in enumerate(arrow.causes)),
    ]


def _gap_of(columns: Mapping[str, float]) -> float:
    one, another, *_ = columns.values()
    return another - one


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="currentColor">{escape(text)}</text>'
