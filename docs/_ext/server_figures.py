"""Directives that show what `make bench` and `make bench-peers` found: read off what they kept, in ``_data/bench``.

```{server-trials}
```
```{server-machine}
```
```{server-includes}
```
```{server-figures}
```
```{server-misses}
```
```{server-parts}
```
```{server-functions} pairs-50
```
```{server-players}
```
```{server-peers}
```
```{server-picture} margins
```
```{server-picture} peers pairs-50
```
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from docutils import nodes
from kept_figures import FigureTable, Kept
from server_pictures import costs, margins, parts, peers
from server_rows import (
    Row,
    figure_rows,
    function_rows,
    include_rows,
    machine_rows,
    misses,
    part_rows,
    peer_rows,
    player_rows,
    trials,
)
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

__all__ = [
    "Figures",
    "Functions",
    "Includes",
    "Machine",
    "Misses",
    "Parts",
    "Peers",
    "Picture",
    "Players",
    "Trials",
    "setup",
]

_REPORT: Final = "server.json"
_PROFILE: Final = "server-profile.json"
_PEERS: Final = "server-peers.json"


class Machine(FigureTable):
    """Where it was measured."""

    def rows(self) -> Iterable[Row]:
        return machine_rows(self.read(_REPORT))


class Includes(FigureTable):
    """What each row includes."""

    def rows(self) -> Iterable[Row]:
        return include_rows(self.read(_REPORT))


class Figures(FigureTable):
    """All figures, with what they have to be."""

    def rows(self) -> Iterable[Row]:
        return figure_rows(self.read(_REPORT))


class Parts(FigureTable):
    """Where the time of a message goes."""

    def rows(self) -> Iterable[Row]:
        return part_rows(self.read(_PROFILE))


class Functions(FigureTable):
    """The dearest functions of one load."""

    required_arguments = 1

    def rows(self) -> Iterable[Row]:
        return function_rows(self.read(_PROFILE)["loads"][self.arguments[0]])


class Players(FigureTable):
    """Who else was measured."""

    def rows(self) -> Iterable[Row]:
        return player_rows(self.read(_PEERS))


class Peers(FigureTable):
    """What the others do."""

    def rows(self) -> Iterable[Row]:
        return peer_rows(self.read(_PEERS))


class Trials(Kept):
    """A warning, if what is shown comes of a trial."""

    def run(self) -> list[nodes.Node]:
        """Warn."""
        text = trials({name: self.read(name) for name in (_REPORT, _PROFILE, _PEERS)})
        return [nodes.warning("", nodes.paragraph("", text))] if text else []


class Misses(Kept):
    """What is missed, what it costs, and what would change it."""

    def run(self) -> list[nodes.Node]:
        """Write a list, or that there is none."""
        found = [*misses(self.read(_REPORT), self.read(_PROFILE))]
        if not found:
            return [nodes.paragraph("", "Every limit is held, and every goal reached.")]
        items: list[nodes.Node] = []
        for miss in found:
            body: list[nodes.Node] = [nodes.paragraph("", f"{words}.") for words in miss.figures]
            if miss.costs:
                body.append(nodes.paragraph("", f"The largest parts of it: {miss.costs}."))
            body.append(nodes.paragraph("", miss.change))
            term = nodes.term("", miss.title)
            items.append(nodes.definition_list_item("", term, nodes.definition("", *body)))
        return [nodes.definition_list("", *items)]


class Picture(Kept):
    """One of the pictures."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        return [nodes.raw("", f'<div class="states">{self._draw()}</div>', format="html")]

    def _draw(self) -> str:
        match self.arguments:
            case ["costs"]:
                return costs(self.read(_REPORT))
            case ["margins"]:
                return margins(self.read(_REPORT))
            case ["parts"]:
                return parts(self.read(_PROFILE))
            case ["peers", key]:
                return peers(self.read(_PEERS), key)
            case _:
                raise self.error(f"there is no picture {' '.join(self.arguments)}")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directives."""
    app.add_directive("server-machine", Machine)
    app.add_directive("server-includes", Includes)
    app.add_directive("server-figures", Figures)
    app.add_directive("server-misses", Misses)
    app.add_directive("server-parts", Parts)
    app.add_directive("server-functions", Functions)
    app.add_directive("server-players", Players)
    app.add_directive("server-peers", Peers)
    app.add_directive("server-picture", Picture)
    app.add_directive("server-trials", Trials)
    return {"parallel_read_safe": True}
