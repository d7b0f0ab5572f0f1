"""From what the service says happened to the metrics of the reference server."""

from __future__ import annotations

from examples.metrics import Metrics
from whisperkit.service import Hook
from whisperkit.strategy import Strategy
from whisperkit.sync.frames import ByeCode

__all__ = ["CountingHook"]

_STRATEGIES = {Strategy.SMALL: "direct", Strategy.MID: "queued", Strategy.MEGA: "notify"}


class CountingHook(Hook):
    """Counts."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def linked(self, count: int) -> None:
        """So many links are open."""
        self._metrics.links.set(count)

    def link_closed(self, code: ByeCode) -> None:
        """A link ended for this reason."""
        self._metrics.links_closed.labels(code.name.lower()).inc()

    def frames(self, direction: str, name: str, count: int) -> None:
        """So many frames of a type came or left."""
        self._metrics.frames.labels(direction, name).inc(count)

    def refused(self, reason: str) -> None:
        """A frame was refused."""
        self._metrics.frames_refused.labels(reason).inc()

    def accepted(self, strategy: Strategy, seconds: float) -> None:
        """A post got its SENT."""
        label = _STRATEGIES[strategy]
        self._metrics.messages_accepted.labels(label).inc()
        self._metrics.accept_duration.labels(label).observe(seconds)

    def synced(self, answer: str) -> None:
        """A device was told where it stands."""
        self._metrics.sync_answers.labels(answer).inc()

    def appended(self, count: int) -> None:
        """So many entries were appended."""
        self._metrics.inbox_appends.inc(count)

    def repeated(self, where: str) -> None:
        """A repeat was recognised."""
        self._metrics.duplicates.labels(where).inc()

    def committed(self, outcome: str, seconds: float, rows: int) -> None:
        """A commit ended."""
        self._metrics.store_operations.labels("sqlite", "commit", outcome).inc()
        self._metrics.store_duration.labels("sqlite", "commit").observe(seconds)
        self._metrics.commit_group_rows.observe(rows)

    def owed(self, posts: int, oldest_s: float) -> None:
        """So many posts are not finished."""
        self._metrics.owed_posts.set(posts)
        self._metrics.owed_post_oldest.set(oldest_s)

    def fenced(self) -> None:
        """This gateway was taken for dead."""
        self._metrics.jobs_fenced.inc()

    def hinted(self, result: str, count: int) -> None:
        """Hints to other gateways."""
        self._metrics.hints.labels(result).inc(count)

    def marked(self, kind: str, result: str) -> None:
        """A receipt."""
        self._metrics.receipts.labels(kind, result).inc()

    def prekey_taken(self, kind: str) -> None:
        """A bundle was given out."""
        self._metrics.prekeys_taken.labels(kind).inc()

    def presence(self, change: str, devices: int) -> None:
        """Somebody came or went."""
        self._metrics.presence_published.labels(change).inc()
        self._metrics.presence_devices.set(devices)
