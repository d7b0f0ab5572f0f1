"""What the reference server counts, under the names that its dashboard and its alerts use.

On `prometheus_client`, in a registry of its own, so that two servers in one process do not meet. Labels are small fixed
sets, never a user, a device or a conversation; all their values are there from the start at zero, because an alert
on a series that appears with its first fault misses that fault.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from itertools import product
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from examples.net.http import Request, Response, Route

__all__ = ["Metrics"]

_PREFIX: Final = "whisperkit"

STRATEGIES: Final = ("direct", "queued", "notify")
CLOSE_CODES: Final = ("normal", "protocol", "resync", "superseded", "try_later", "unauthorised")
ANSWERS: Final = ("delta", "snapshot", "forked", "ahead")
OUTCOMES: Final = ("ok", "conflict", "unknown", "error")

# From a commit in memory to a person who has given up; the alerts need 1 s, the dashboard the milliseconds.
_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
_BYTES: Final = tuple(4**n for n in range(5, 13))
_ROWS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500)


class Metrics:
    """All counters, gauges and histograms of one server; each attribute has the name of its metric.

    Args:
        version: Of the program.
        profile: ``embedded`` or ``cluster``.
        schema: Of the database.
        started_at_s: When it was started, seconds since 1970; `None` for now.
    """

    def __init__(self, *, version: str, profile: str, schema: int, started_at_s: float | None = None) -> None:
        # Without a second series for each counter, which nothing here asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the package has no types for this one
        self.registry = CollectorRegistry()
        self._build(version, profile, schema, time.time() if started_at_s is None else started_at_s)

        self.links = self._gauge("links", "Links that are open.")
        self.links_closed = self._counter(
            "links_closed", "Links that ended, by the code they were told.", code=CLOSE_CODES
        )
        self.frames = self._counter("frames", "Frames, by direction and type.", direction=None, type=None)
        self.frames_refused = self._counter("frames_refused", "Frames that were refused.", reason=None)
        self.link_queue_bytes = self._histogram("link_queue_bytes", "Bytes that wait for a slow reader.", _BYTES)

        self.messages_accepted = self._counter("messages_accepted", "Posts that got their SENT.", strategy=STRATEGIES)
        self.accept_duration = self._histogram(
            "accept_duration_seconds", "From SEND to durable: the first tick.", strategy=STRATEGIES
        )
        self.delivery_duration = self._histogram(
            "delivery_duration_seconds", "From durable to ACK, of devices that were online.", strategy=STRATEGIES
        )
        self.owed_posts = self._gauge("owed_posts", "Posts whose fan-out is not finished.")
        self.owed_post_oldest = self._gauge("owed_post_oldest_seconds", "Age of the oldest of them.")

        self.sync_answers = self._counter("sync_answers", "What devices were told at HELLO.", answer=ANSWERS)
        self.inbox_appends = self._counter("inbox_appends", "Entries appended to inboxes.")
        self.duplicates = self._counter("duplicates", "Repeats that were recognised.", where=("post", "inbox"))

        self.store_duration = self._histogram("store_duration_seconds", "Calls of a store.", store=None, operation=None)
        self.store_operations = self._counter(
            "store_operations", "Calls of a store.", store=None, operation=None, outcome=OUTCOMES
        )
        self.commit_group_rows = self._histogram("commit_group_rows", "Rows of one commit.", _ROWS)

        self.jobs_pending = self._gauge("jobs_pending", "Jobs that nobody has done.")
        self.job_oldest = self._gauge("job_oldest_seconds", "Age of the oldest of them.")
        self.jobs_fenced = self._counter("jobs_fenced", "Times that a gateway was taken for dead.")
        self.hints = self._counter("hints", "Hints to other gateways.", result=("took", "not_here", "lost"))

        self.receipts = self._counter(
            "receipts", "Receipts.", kind=("delivered", "read"), result=("raised", "stale", "ahead")
        )
        self.presence_devices = self._gauge("presence_devices", "Devices that are known to be there.")
        self.presence_published = self._counter("presence_published", "Changes told.", change=("online", "offline"))
        self.prekeys_taken = self._counter(
            "prekeys_taken", "Prekey bundles given out.", kind=("one_time", "last_resort", "limited")
        )
        self.blob_bytes = self._counter("blob_bytes", "Bytes of attachments.", direction=("in", "out"))
        self.blobs_orphaned = self._gauge("blobs_orphaned", "Attachments that nobody keeps and that are still there.")

    def text(self) -> bytes:
        """All of it, in the text format of Prometheus, version 0.0.4."""
        return generate_latest(self.registry)

    @property
    def routes(self) -> list[Route]:
        """``GET /metrics``."""
        return [Route("GET", "/metrics", self._answer)]

    def count_blob_bytes(self, direction: str, count: int) -> None:
        """Count bytes of attachments, ``in`` or ``out``; fits `BlobHttp`."""
        self.blob_bytes.labels(direction).inc(count)

    async def _answer(self, request: Request) -> Response:
        return Response(headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}, body=self.text())

    def _build(self, version: str, profile: str, schema: int, started_at_s: float) -> None:
        build = Info("build", "What runs.", namespace=_PREFIX, registry=self.registry)
        build.info({"version": version, "profile": profile, "schema": str(schema)})
        self._gauge("start_time_seconds", "Since when, seconds since 1970.").set(started_at_s)

    # A label with `None` has values that are not known here, such as the types of frames: they come as they are used.

    def _counter(self, name: str, tells: str, **labels: Iterable[str] | None) -> Counter:
        counter = Counter(name, tells, list(labels), namespace=_PREFIX, registry=self.registry)
        for values in _combinations(labels.values()):
            counter.labels(*values)
        return counter

    def _gauge(self, name: str, tells: str) -> Gauge:
        return Gauge(name, tells, namespace=_PREFIX, registry=self.registry)

    def _histogram(
        self, name: str, tells: str, buckets: Iterable[float] = _SECONDS, **labels: Iterable[str] | None
    ) -> Histogram:
        histogram = Histogram(
            name, tells, list(labels), namespace=_PREFIX, registry=self.registry, buckets=tuple(buckets)
        )
        for values in _combinations(labels.values()):
            histogram.labels(*values)
        return histogram


def _combinations(labels: Collection[Iterable[str] | None]) -> Iterable[tuple[str, ...]]:
    known = [values for values in labels if values is not None]
    return product(*known) if labels and len(known) == len(labels) else ()
