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

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import attrs
from docutils import nodes
from prometheus_client import Metric
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from examples.config import Config
from examples.metrics import Metrics
from examples.tallies import Counts, Spreads
from examples.tui.keys import KEYS
from examples.tui.keys_page import key_in_words

__all__ = ["KeysTable", "MetricsTable", "SettingsTable", "key_rows", "metric_rows", "setting_rows", "setup"]

_ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n {6,}.*)*)", re.MULTILINE)


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


def key_rows(place: str) -> list[tuple[str, str, str]]:
    """Key, meaning and name of each key in one place, in the order of the table."""
    return [(key_in_words(key.keys), key.help, key.name) for key in KEYS[place]]


def setting_rows() -> list[tuple[str, str, str]]:
    """Name, default and meaning of each setting, in the order of the table."""
    rows: list[tuple[str, str, str]] = []
    for section in attrs.fields(attrs.resolve_types(Config)):
        if section.type is None or not attrs.has(section.type):
            continue
        meanings = dict(_ATTRIBUTE.findall(inspect.getdoc(section.type) or ""))
        for field in attrs.fields(section.type):
            meaning = " ".join(meanings[field.name].split()).replace("``", "")
            rows.append((f"{section.name}.{field.name}", f"{field.default}", meaning + _bounds(field)))
    return rows


def _bounds(field: attrs.Attribute[Any]) -> str:  # Any: a setting is a text or a number
    """What a number must be, in the words with which another one is refused."""
    refusal = None if isinstance(field.default, str) else field.metadata["check"](-1)
    return f" It {refusal}." if refusal else ""


def metric_rows() -> list[tuple[str, str, str, str]]:
    """Name, type, labels and meaning of each metric, in the order of the code."""
    metrics = Metrics(version="", profile="", schema=0)
    collected: Iterable[Metric] = metrics.registry.collect()
    # A series that does not exist yet does not show its labels. Gauges have none.
    labels: dict[str, Sequence[str]] = {
        thing.name: thing.label_names for thing in vars(metrics).values() if isinstance(thing, Counts | Spreads)
    }
    return [
        (_name(metric), metric.type, ", ".join(labels.get(metric.name, ())), metric.documentation)
        for metric in collected
    ]


def _name(metric: Metric) -> str:
    return metric.name + {"counter": "_total", "info": "_info"}.get(metric.type, "")


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
