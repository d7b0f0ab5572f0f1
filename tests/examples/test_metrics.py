"""Metrics: the names that dashboard and alerts use, from the start, in the text format of Prometheus."""

from __future__ import annotations

import asyncio
from math import isnan

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from examples.metrics import Metrics
from examples.net.loopback import serving

NAMES = [
    "links",
    "links_closed_total",
    "frames_total",
    "frames_refused_total",
    "link_queue_bytes",
    "messages_accepted_total",
    "accept_duration_seconds",
    "delivery_duration_seconds",
    "owed_posts",
    "owed_post_oldest_seconds",
    "sync_answers_total",
    "inbox_appends_total",
    "duplicates_total",
    "store_duration_seconds",
    "store_operations_total",
    "commit_group_rows",
    "jobs_pending",
    "job_oldest_seconds",
    "jobs_fenced_total",
    "hints_total",
    "receipts_total",
    "presence_devices",
    "presence_published_total",
    "prekeys_taken_total",
    "blob_bytes_total",
    "blobs_orphaned",
    "build_info",
    "start_time_seconds",
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="0.1", profile="embedded", schema=3, started_at_s=12.0)


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.text().decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((f"whisperkit_{name}", frozenset(labels.items())))


def test_every_metric_of_the_dashboard_is_there_and_no_other(metrics: Metrics) -> None:
    kinds = dict(line.split()[2:4] for line in metrics.text().decode().splitlines() if line.startswith("# TYPE "))

    assert sorted(kinds) == sorted(f"whisperkit_{name}" for name in NAMES)
    assert all((kind == "counter") == name.endswith("_total") for name, kind in kinds.items())


def test_what_an_alert_waits_for_is_there_at_zero(metrics: Metrics) -> None:
    assert value(metrics, "sync_answers_total", answer="forked") == 0
    assert value(metrics, "sync_answers_total", answer="ahead") == 0
    assert value(metrics, "prekeys_taken_total", kind="last_resort") == 0
    assert value(metrics, "accept_duration_seconds_count", strategy="direct") == 0


def test_what_is_counted_is_told(metrics: Metrics) -> None:
    metrics.links.set(3)
    metrics.frames.labels("in", "SEND").inc(2)
    metrics.accept_duration.labels("direct").observe(0.003)
    metrics.store_operations.labels("sqlite", "commit", "conflict").inc()
    metrics.count_blob_bytes("in", 500)

    assert value(metrics, "links") == 3
    assert value(metrics, "frames_total", direction="in", type="SEND") == 2
    assert value(metrics, "accept_duration_seconds_bucket", strategy="direct", le="0.0025") == 0
    assert value(metrics, "accept_duration_seconds_bucket", strategy="direct", le="0.005") == 1
    assert value(metrics, "store_operations_total", store="sqlite", operation="commit", outcome="conflict") == 1
    assert value(metrics, "blob_bytes_total", direction="in") == 500


def test_what_runs_is_told(metrics: Metrics) -> None:
    assert value(metrics, "build_info", version="0.1", profile="embedded", schema="3") == 1
    assert value(metrics, "start_time_seconds") == 12


def test_the_calls_of_each_store_are_there_at_zero_as_they_can_end(metrics: Metrics) -> None:
    outcomes = {
        (labels["store"], labels["operation"], labels["outcome"])
        for (name, found), _ in samples(metrics).items()
        if name == "whisperkit_store_operations_total" and (labels := dict(found))
    }

    assert ("sqlite", "commit", "conflict") in outcomes
    assert ("sqlite", "heads", "conflict") not in outcomes
    assert ("files", "read", "error") in outcomes


@pytest.mark.anyio
async def test_what_only_a_store_knows_is_asked_when_somebody_looks(metrics: Metrics) -> None:
    async def pending() -> tuple[float, float]:
        return 3, 7.5

    metrics.ask([metrics.jobs_pending, metrics.job_oldest], pending)
    before = value(metrics, "jobs_pending")
    await metrics.refresh()

    assert before == 0
    assert (value(metrics, "jobs_pending"), value(metrics, "job_oldest_seconds")) == (3, 7.5)


@pytest.mark.anyio
async def test_what_cannot_be_asked_is_not_told_and_keeps_nobody_waiting(
    metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails() -> tuple[float]:
        raise OSError("the store is away")

    async def hangs() -> tuple[float]:
        await asyncio.Event().wait()
        raise AssertionError

    metrics.jobs_pending.set(3)
    metrics.ask([metrics.jobs_pending], fails)
    metrics.ask([metrics.blobs_orphaned], hangs)
    await metrics.refresh()

    assert isnan(value(metrics, "jobs_pending") or 0)
    assert isnan(value(metrics, "blobs_orphaned") or 0)
    assert [record.message for record in caplog.records] == ["not measured"] * 2


def test_two_servers_in_one_process_count_apart(metrics: Metrics) -> None:
    other = Metrics(version="0.1", profile="embedded", schema=3)
    other.inbox_appends.inc()

    assert (value(metrics, "inbox_appends_total"), value(other, "inbox_appends_total")) == (0, 1)


@pytest.mark.anyio
async def test_metrics_are_served_in_the_text_format(metrics: Metrics) -> None:
    async with serving(metrics.routes) as edge, httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(edge.url + "/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.content == metrics.text()
