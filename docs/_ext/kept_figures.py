"""What the directives for measured figures share: reading what a run has kept in ``_data/bench``, and tables of it."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

__all__ = ["FigureTable", "Kept", "table"]

_DATA: Final = Path(__file__).parents[1] / "_data" / "bench"


class Kept(SphinxDirective):
    """Shows something that was kept."""

    def read(self, name: str) -> Mapping[str, Any]:  # Any: JSON, as the benchmark writes it
        """What was kept under a name; the page depends on it."""
        path = _DATA / name
        self.env.note_dependency(str(path))
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found


class FigureTable(Kept):
    """Shows rows of it in a table."""

    @abstractmethod
    def rows(self) -> Iterable[Sequence[str]]:
        """The table; the first row is its head."""

    def run(self) -> list[nodes.Node]:
        """Write the table."""
        head, *rows = self.rows()
        return [table(head, rows)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> nodes.table:
    """A table of texts."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in head), cols=len(head))
    group += nodes.thead("", _row(head))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", group)


def _row(cells: Sequence[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", cell)) for cell in cells))
