"""What the documentation tables of the examples say, read off `examples`; needs nothing of Sphinx."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
from prometheus_client import Metric

from examples.config import Config
from examples.metrics import Metrics
from examples.tallies import Counts, Spreads
from examples.tui.keys import KEYS, key_in_words

__all__ = ["key_rows", "metric_rows", "setting_rows"]

_ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n {6,}.*)*)", re.MULTILINE)


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
