"""What the reference server counts, under the names that its dashboard and its alerts use.

On `prometheus_client`, with counters of `examples.tallies`, in a registry of its own, so that two servers in one
process do not meet. Labels are small fixed sets, never a user, a device or a conversation; all their values are there
from the start at zero, because an alert on a series that appears with its first fault misses that fault.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from itertools import product
from math import nan
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Gauge, Info, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from examples.net.http import Request, Response, Route
from examples.tallies import Counts, Spreads
from whisperkit.sync.frames import FRAMES, Answer, ByeCode, RefusalReason

__all__ = ["Metrics"]

log = logging.getLogger("examples.metrics")

_PREFIX: Final = "whisperkit"

DIRECTIONS: Final = ("in", "out")
STRATEGIES: Final = ("direct", "queued", "notify")
FRAME_TYPES: Final = tuple(spec.name for spec in FRAMES)
# "gone": the connection ended before it was told anything.
CLOSE_CODES: Final = (*(code.name.lower() for code in ByeCode), "gone")
# Of a SEND; of anything else, and then its link ends.
REASONS: Final = (
    *(reason.name.lower() for reason in RefusalReason),
    *("malformed", "oversized", "out_of_turn", "unauthorised", "other"),
)
ANSWERS: Final = tuple(answer.name.lower() for answer in Answer)
_READ: Final = ("ok", "error")
_WRITE: Final = ("ok", "unknown")
STORE_CALLS: Final = {
    ("sqlite", "heads"): _READ,
    ("sqlite", "rows"): _READ,
    ("sqlite", "commit"): ("ok", "conflict", "unknown"),
    ("sqlite", "marks"): _READ,
    ("sqlite", "raise_marks"): _WRITE,
    ("files", "put"): _WRITE,
    ("files", "read"): _READ,
    ("files", "drop"): _WRITE,
    ("files", "settle"): _WRITE,
}
"""The calls of each store, and how each can end."""

# A scraper and the one behind it want an answer within a second, also while a store is away.
_PATIENCE_S: Final = 0.8

# From a commit in memory to a person who has given up; the alerts need 1 s, the dashboard the milliseconds.
_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
_BYTES: Final = tuple(4**n for n in range(5, 13))
_ROWS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500)


class _Question(NamedTuple):
    """What is not told to us but asked for, whenever somebody wants to know."""

    gauges: Sequence[Gauge]
    ask: Callable[[], Awaitable[Sequence[float]]]


class Metrics:
    """All counters, gauges and histograms of one server; each attribute has the name of its metric.

    Args:
        version: Of the program.
        profile: Of the configuration.
        schema: Of the database.
        started_at_s: When it was started, seconds since 1970; `None` for now.
    """

    def __init__(self, *, version: str, profile: str, schema: int, started_at_s: float | None = None) -> None:
        self.registry = CollectorRegistry()
        self._questions: list[_Question] = []
        self._build(version, profile, schema, time.time() if started_at_s is None else started_at_s)

        self.links = self._gauge("links", "Links of devices that are open.")
        self.links_closed = self._counter(
            "links_closed",
            "Links that ended, by the code they were told; gone: the connection ended before.",
            code=CLOSE_CODES,
        )
        self.frames = self._counter("frames", "Frames, by direction and type.", direction=DIRECTIONS, type=FRAME_TYPES)
        self.frames_refused = self._counter("frames_refused", "Frames that were refused.", reason=REASONS)
        self.link_queue_bytes = self._histogram(
            "link_queue_bytes", "Bytes that wait for a slow reader, of each such link once a second.", _BYTES
        )

        self.messages_accepted = self._counter(
            "messages_accepted", "Posts that got their SENT, repeats included.", strategy=STRATEGIES
        )
        self.accept_duration = self._histogram(
            "accept_duration_seconds", "From SEND to durable: the first tick.", strategy=STRATEGIES
        )
        self.delivery_duration = self._histogram(
            "delivery_duration_seconds",
            "From the post to the ACK of a device that was online then: two ticks.",
            strategy=STRATEGIES,
        )
        self.owed_posts = self._gauge("owed_posts", "Posts whose fan-out is not finished, jobs not included.")
        self.owed_post_oldest = self._gauge("owed_post_oldest_seconds", "Age of the oldest of them.")

        self.sync_answers = self._counter("sync_answers", "What devices were told at HELLO.", answer=ANSWERS)
        self.inbox_appends = self._counter("inbox_appends", "Entries appended to inboxes.")
        self.duplicates = self._counter("duplicates", "Repeats that were recognised.", where=("post", "inbox"))

        self.store_duration = self._histogram("store_duration_seconds", "Calls of a store.", store=(), operation=())
        self.store_operations = self._counter(
            "store_operations", "Calls of a store, by how they ended.", store=(), operation=(), outcome=()
        )
        for (store, operation), outcomes in STORE_CALLS.items():
            self.store_duration.labels(store, operation)
            for outcome in outcomes:
                self.store_operations.labels(store, operation, outcome)
        self.commit_group_rows = self._histogram(
            "commit_group_rows", "Rows of one commit: of all that was decided together.", _ROWS
        )

        self.jobs_pending = self._gauge("jobs_pending", "Jobs that are not done.")
        self.job_oldest = self._gauge("job_oldest_seconds", "Age of the oldest of them.")
        self.jobs_fenced = self._counter("jobs_fenced", "Times that a gateway was taken for dead.")
        self.hints = self._counter(
            "hints", "Hints to other gateways: none where there is one.", result=("took", "not_here", "lost")
        )

        self.receipts = self._counter(
            "receipts",
            "Receipts: news, nothing new, or more than can be true.",
            kind=("delivered", "read"),
            result=("raised", "stale", "ahead"),
        )
        self.presence_devices = self._gauge("presence_devices", "Devices that are there.")
        self.presence_published = self._counter(
            "presence_published", "Users who came and went.", change=("online", "offline")
        )
        self.prekeys_taken = self._counter(
            "prekeys_taken", "Prekey bundles given out.", kind=("one_time", "last_resort", "limited")
        )
        self.blob_bytes = self._counter("blob_bytes", "Bytes of attachments.", direction=DIRECTIONS)
        self.blobs_orphaned = self._gauge("blobs_orphaned", "Attachments that nobody keeps and that are still there.")

    def ask(self, gauges: Sequence[Gauge], question: Callable[[], Awaitable[Sequence[float]]]) -> None:
        """Set gauges from the answers to a question, which is asked whenever somebody looks; `nan` without one."""
        self._questions.append(_Question(gauges, question))

    async def refresh(self) -> None:
        """Ask what is to be asked, within a second."""
        await asyncio.gather(*map(self._refresh, self._questions))

    async def _refresh(self, question: _Question) -> None:
        answers: Sequence[float] = [nan] * len(question.gauges)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                answers = await question.ask()
        except Exception:
            log.warning("not measured", exc_info=True)
        for gauge, answer in zip(question.gauges, answers, strict=True):
            gauge.set(answer)

    def text(self) -> bytes:
        """All of it, as it was last told or asked, in the text format of Prometheus, version 0.0.4."""
        return generate_latest(self.registry)

    @property
    def routes(self) -> list[Route]:
        """``GET /metrics``."""
        return [Route("GET", "/metrics", self._answer)]

    def count_blob_bytes(self, direction: str, count: int) -> None:
        """Count bytes of attachments, ``in`` or ``out``; fits `BlobHttp`."""
        self.blob_bytes.labels(direction).inc(count)

    async def _answer(self, request: Request) -> Response:
        await self.refresh()
        return Response(headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}, body=self.text())

    def _build(self, version: str, profile: str, schema: int, started_at_s: float) -> None:
        build = Info("build", "What runs.", namespace=_PREFIX, registry=self.registry)
        build.info({"version": version, "profile": profile, "schema": str(schema)})
        self._gauge("start_time_seconds", "Since when, seconds since 1970.").set(started_at_s)

    def _counter(self, name: str, tells: str, **labels: Collection[str]) -> Counts:
        counts = Counts(f"{_PREFIX}_{name}", tells, list(labels))
        for values in product(*labels.values()):
            counts.labels(*values)
        self.registry.register(counts)
        return counts

    def _gauge(self, name: str, tells: str) -> Gauge:
        return Gauge(name, tells, namespace=_PREFIX, registry=self.registry)

    def _histogram(
        self, name: str, tells: str, bounds: Sequence[float] = _SECONDS, **labels: Collection[str]
    ) -> Spreads:
        spreads = Spreads(f"{_PREFIX}_{name}", tells, list(labels), bounds=bounds)
        for values in product(*labels.values()):
            spreads.labels(*values)
        self.registry.register(spreads)
        return spreads
