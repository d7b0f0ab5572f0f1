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

from collections.abc import Iterable

from kept_figures import FigureTable
from ratchet_rows import (
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


class Machine(FigureTable):
    """Where it was measured."""

    def rows(self) -> Iterable[Row]:
        return machine_rows(self.read("ratchet.json"))


class Includes(FigureTable):
    """What each figure includes."""

    def rows(self) -> Iterable[Row]:
        return include_rows(self.read("ratchet.json"))


class Figures(FigureTable):
    """All figures, by the medians."""

    def rows(self) -> Iterable[Row]:
        return figure_rows(self.read("ratchet.json"))


class QuietFigures(FigureTable):
    """All figures, by quiet slices."""

    def rows(self) -> Iterable[Row]:
        return quiet_rows(self.read("ratchet.json"))


class Limits(FigureTable):
    """What this library has to hold, and whether it does."""

    def rows(self) -> Iterable[Row]:
        return limit_rows(self.read("ratchet.json"))


class Sizes(FigureTable):
    """How large a saved session is."""

    def rows(self) -> Iterable[Row]:
        return size_rows(self.read("ratchet.json"))


class ProfileTable(FigureTable):
    """Where the time of one operation goes."""

    required_arguments = 1
    final_argument_whitespace = True

    def rows(self) -> Iterable[Row]:
        return part_rows(self.read("ratchet-profile.json")["operations"][self.arguments[0]])


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
