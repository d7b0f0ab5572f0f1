"""Directives that show what `make bench-ratchet` found: read off what it kept, in ``_data/bench``.

```{ratchet-machine}
```
```{ratchet-includes}
```
```{ratchet-figures}
```
```{ratchet-quiet-figures}
```
```{ratchet-limits}
```
```{ratchet-sizes}
```
```{ratchet-profile} decrypt, burst of 1,000
```
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from docutils import nodes
from ratchet_rows import (
    Json,
    Row,
    figure_rows,
    include_rows,
    limit_rows,
    machine_rows,
    part_rows,
    quiet_rows,
    size_rows,
)
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

__all__ = [
    "Figures",
    "Includes",
    "Limits",
    "Machine",
    "ProfileTable",
    "QuietFigures",
    "Sizes",
    "setup",
]

_DATA: Final = Path(__file__).parents[1] / "_data" / "bench"


class _Figures(SphinxDirective):
    def rows(self) -> Iterable[Row]:
        """The table; the first row is its head."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Write the table."""
        head, *rows = self.rows()
        return [_table(head, rows)]

    def read(self, name: str) -> Json:
        """What was kept."""
        path = _DATA / name
        self.env.note_dependency(str(path))
        found: Json = json.loads(path.read_text(encoding="utf-8"))
        return found


class Machine(_Figures):
    """Where it was measured."""

    def rows(self) -> Iterable[Row]:
        return machine_rows(self.read("ratchet.json"))


class Includes(_Figures):
    """What each figure includes."""

    def rows(self) -> Iterable[Row]:
        return include_rows(self.read("ratchet.json"))


class Figures(_Figures):
    """All figures, by the medians."""

    def rows(self) -> Iterable[Row]:
        return figure_rows(self.read("ratchet.json"))


class QuietFigures(_Figures):
    """All figures, by quiet slices."""

    def rows(self) -> Iterable[Row]:
        return quiet_rows(self.read("ratchet.json"))


class Limits(_Figures):
    """What this library has to hold, and whether it does."""

    def rows(self) -> Iterable[Row]:
        return limit_rows(self.read("ratchet.json"))


class Sizes(_Figures):
    """How large a saved session is."""

    def rows(self) -> Iterable[Row]:
        return size_rows(self.read("ratchet.json"))


class ProfileTable(_Figures):
    """Where the time of one operation goes."""

    required_arguments = 1
    final_argument_whitespace = True

    def rows(self) -> Iterable[Row]:
        return part_rows(self.read("ratchet-profile.json")["operations"][self.arguments[0]])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> nodes.table:
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in head), cols=len(head))
    group += nodes.thead("", _row(head))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", group)


def _row(cells: Sequence[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", cell)) for cell in cells))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directives."""
    app.add_directive("ratchet-machine", Machine)
    app.add_directive("ratchet-includes", Includes)
    app.add_directive("ratchet-figures", Figures)
    app.add_directive("ratchet-quiet-figures", QuietFigures)
    app.add_directive("ratchet-limits", Limits)
    app.add_directive("ratchet-sizes", Sizes)
    app.add_directive("ratchet-profile", ProfileTable)
    return {"parallel_read_safe": True}
