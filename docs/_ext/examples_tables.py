"""Directives that show what the reference server can be told, what it tells, and the keys of the terminal client.

All of it is read off `examples`.

```{settings}
```
```{metrics}
```
```{chat-keys} Everywhere
```
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from docutils import nodes
from examples_rows import key_rows, metric_rows, setting_rows
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

__all__ = ["KeysTable", "MetricsTable", "SettingsTable", "setup"]


class SettingsTable(SphinxDirective):
    """All settings of the reference server."""

    def run(self) -> list[nodes.Node]:
        """Write the table."""
        return [_table(("setting", "default", "what it is"), setting_rows())]


class MetricsTable(SphinxDirective):
    """All metrics of the reference server."""

    def run(self) -> list[nodes.Node]:
        """Write the table."""
        return [_table(("metric", "type", "labels", "tells"), metric_rows())]


class KeysTable(SphinxDirective):
    """The keys that the terminal client has in one place."""

    required_arguments: ClassVar[int] = 1
    final_argument_whitespace: ClassVar[bool] = True

    def run(self) -> list[nodes.Node]:
        """Write the table."""
        return [_table(("key", "does", "its name in chat.toml"), key_rows(self.arguments[0]))]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> nodes.table:
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in head), cols=len(head))
    group += nodes.thead("", _row(nodes.paragraph("", cell) for cell in head))
    group += nodes.tbody("", *(_row(_cells(row)) for row in rows))
    return nodes.table("", group)


def _cells(row: Sequence[str]) -> Iterable[nodes.Node]:
    return (nodes.paragraph("", "", nodes.literal("", row[0])), *(nodes.paragraph("", cell) for cell in row[1:]))


def _row(cells: Iterable[nodes.Node]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", cell) for cell in cells))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directives."""
    app.add_directive("settings", SettingsTable)
    app.add_directive("metrics", MetricsTable)
    app.add_directive("chat-keys", KeysTable)
    return {"parallel_read_safe": True}
