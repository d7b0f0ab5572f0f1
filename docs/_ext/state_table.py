"""A directive that shows a state machine of the library: its picture, and its table of transitions.

    ```{state-table} whisperkit.sync.mirror
    ```

reads ``TRANSITIONS`` of that module; ``module:NAME`` reads another mapping.
"""

from __future__ import annotations

import importlib
from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata
from transitions import Table, draw, transitions

__all__ = ["StateTable", "setup"]


class StateTable(SphinxDirective):
    """The directive."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Draw the picture and write the table."""
        module, _, name = self.arguments[0].partition(":")
        table: Table = getattr(importlib.import_module(module), name or "TRANSITIONS")
        picture = draw(table, title=f"The states of {module}")
        figure = nodes.raw("", f'<div class="states">{picture}</div>', format="html")
        return [figure, _table(table)]


def _table(table: Table) -> nodes.table:
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in range(3)), cols=3)
    group += nodes.thead("", _row("In state", "comes", "then it is"))
    causes: dict[tuple[str, str], list[str]] = {}
    for step in transitions(table):
        causes.setdefault((step.before, step.after), []).append(step.cause)
    group += nodes.tbody("", *(_row(before, ", ".join(some), after) for (before, after), some in causes.items()))
    return nodes.table("", group)


def _row(*cells: str) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", cell)) for cell in cells))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("state-table", StateTable)
    return {"parallel_read_safe": True}
