"""The dashboard, the alerts and the runbook: they speak of metrics that there are, and of nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from examples.metrics import Metrics

FOLDER = Path(__file__).parents[2] / "examples" / "monitoring"
# Of Prometheus itself, and of whoever scrapes.
OTHER_LABELS = {"le", "instance"}
FUNCTIONS = {
    "sum", "max", "count", "topk", "rate", "increase", "changes", "time", "histogram_quantile", "avg_over_time",
    "clamp_min",
}  # fmt: skip
WORDS = {"by", "or", "and", "unless", "offset"}
SELECTOR = re.compile(r"(whisperkit_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!=|!~|=)"([^"]*)"')
STRING = re.compile(r'"[^"]*"')


class Alert(NamedTuple):
    """A rule."""

    name: str
    expr: str
    wait: str
    severity: str
    summary: str
    runbook: str


# The file is written in one plain way, so that it needs no reader of YAML: keys in this order, one rule as the other.
RULE = re.compile(
    r"      - alert: (?P<name>\w+)\n"
    r"        expr: >-\n(?P<expr>(?: {10}.+\n)+)"
    r"(?:        for: (?P<wait>\w+)\n)?"
    r"        labels:\n          severity: (?P<severity>\w+)\n"
    r"        annotations:\n"
    r'          summary: "(?P<summary>[^"\n]+)"\n'
    r'          runbook: "(?P<runbook>[^"\n]+)"\n'
)


def read_alerts(text: str) -> list[Alert]:
    head, _, rules = text.partition("    rules:\n")
    assert re.fullmatch(r"(?:#.*\n)*groups:\n  - name: whisperkit\n", head), head
    alerts = [Alert(**{key: value or "" for key, value in found.groupdict().items()}) for found in RULE.finditer(rules)]
    assert RULE.sub("", rules).strip() == "", "a rule is not of the plain form"
    return alerts


def read_dashboard() -> dict[str, Any]:  # Any: JSON
    dashboard: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    return dashboard


def panels() -> list[dict[str, Any]]:
    return [panel for panel in read_dashboard()["panels"] if panel["type"] != "row"]


def queries() -> Iterator[str]:
    """All expressions that anybody asks Prometheus for."""
    dashboard = read_dashboard()
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["expr"]
    for alert in read_alerts((FOLDER / "alerts.yml").read_text()):
        yield alert.expr


def families() -> dict[str, Metric]:
    """The samples that there are, by name, with their family."""
    text = Metrics(version="1", profile="embedded", schema=1).text().decode()
    return {sample.name: family for family in text_string_to_metric_families(text) for sample in family.samples}


def labels_of(family: Metric, name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for sample in family.samples:
        if sample.name == name:
            for label, value in sample.labels.items():
                found.setdefault(label, set()).add(value)
    return found


def anchors() -> set[str]:
    return set(re.findall(r"^## (\S+)$", (FOLDER / "README.md").read_text(), re.MULTILINE))


def faults_of(expr: str) -> list[str]:
    """What is wrong with an expression: metrics, labels and values that there are not, functions, brackets."""
    there = families()
    faults: list[str] = []
    known_labels = set(OTHER_LABELS)
    for name, matchers in SELECTOR.findall(expr):
        if name not in there:
            faults.append(f"no metric {name}")
            continue
        labels = labels_of(there[name], name)
        known_labels |= labels.keys()
        for label, operator, value in MATCHER.findall(matchers):
            values = labels.get(label)
            if label in OTHER_LABELS:
                continue
            if values is None:
                faults.append(f"{name} has no label {label}")
            elif not set(value.split("|") if "~" in operator else [value]) <= values:
                faults.append(f"{name} has not the values {value} of {label}")
        if MATCHER.sub("", matchers).strip(", "):
            faults.append(f"matchers {matchers}")
    for labels_asked in re.findall(r"\bby \(([^)]*)\)", expr):
        faults += [f"no label {label}" for label in labels_asked.split(", ") if label not in known_labels]
    rest = re.sub(r"\[[^\]]*\]|\bby \([^)]*\)|\boffset \w+", "", STRING.sub("", SELECTOR.sub("m", expr)))
    words = set(re.findall(r"[a-z_]\w*", rest)) - {"m"}
    faults += [f"what is {word}" for word in sorted(words - FUNCTIONS - WORDS)]
    faults += [
        f"{bracket} is not closed" for bracket, end in ("()", "{}", "[]") if expr.count(bracket) != expr.count(end)
    ]
    return faults


@pytest.mark.parametrize("expr", sorted(set(queries())))
def test_a_query_asks_for_what_there_is(expr: str) -> None:
    assert faults_of(expr) == []


@pytest.mark.parametrize(
    "expr",
    [
        "sum(rate(whisperkit_message_accepted_total[5m]))",
        'sum(rate(whisperkit_links_closed_total{code="full"}[5m]))',
        'sum(rate(whisperkit_links_closed_total{why="stuck"}[5m]))',
        "sum by (user) (rate(whisperkit_links_closed_total[5m]))",
        "summe(whisperkit_links)",
        "sum(whisperkit_links",
    ],
)
def test_a_query_for_what_there_is_not_is_found(expr: str) -> None:
    assert faults_of(expr)


def test_every_metric_is_looked_at_by_somebody() -> None:
    asked = {name for expr in queries() for name, _ in SELECTOR.findall(expr)}
    there = families()
    looked_at = {family.name for name, family in there.items() if name in asked}

    assert looked_at == {family.name for family in there.values()}


def test_the_alerts_are_those_that_are_promised() -> None:
    alerts = {alert.name: alert for alert in read_alerts((FOLDER / "alerts.yml").read_text())}

    assert alerts.keys() == {
        "WhisperkitPostOwed",
        "WhisperkitLostTail",
        "WhisperkitUnknownOutcomes",
        "WhisperkitFirstTickSlow",
        "WhisperkitLastResort",
        "WhisperkitSlowReaders",
    }
    assert alerts["WhisperkitPostOwed"].expr.count("> 60") == 2
    assert alerts["WhisperkitFirstTickSlow"].wait == "5m"
    assert {alert.severity for alert in alerts.values()} == {"page", "ticket"}


def test_whatever_is_shown_says_what_a_bad_value_means_and_where_to_read_on() -> None:
    linked: set[str] = set()
    for panel in panels():
        tells, found, anchor = panel["description"].partition("\n\n[Runbook](${runbook}#")
        assert found, panel["title"]
        assert len(tells) > 5
        linked.add(anchor.removesuffix(")"))
    for alert in read_alerts((FOLDER / "alerts.yml").read_text()):
        page, _, anchor = alert.runbook.partition("#")
        assert page == "README.md"
        linked.add(anchor)

    assert linked == anchors()


def test_the_dashboard_goes_from_whether_it_is_well_to_the_details() -> None:
    dashboard = read_dashboard()
    rows = [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"]
    ids = [panel["id"] for panel in dashboard["panels"]]

    assert rows == [
        "1 Is it well?",
        "2 People",
        "3 Messages",
        "4 Stores",
        "5 Jobs and gateways",
        "6 Keys and files",
    ]
    assert len(set(ids)) == len(ids)
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == {"datasource", "instance", "runbook"}
    assert len(dashboard["annotations"]["list"]) == 2


def test_no_two_panels_are_at_one_place() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in read_dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
