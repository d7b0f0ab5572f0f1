"""Where metrics and traces hang on: the service says what happened, in numbers, and nothing of its content."""

from __future__ import annotations

from whisperkit.strategy import Strategy
from whisperkit.sync.frames import ByeCode

__all__ = ["Hook"]


class Hook:
    """Does nothing; override what is wanted. Calls are on the hot path: count and return."""

    def linked(self, count: int) -> None:
        """So many links are open now."""

    def link_closed(self, code: ByeCode) -> None:
        """A link ended for this reason."""

    def frames(self, direction: str, name: str, count: int) -> None:
        """So many frames of a type came (``in``) or left (``out``)."""

    def refused(self, reason: str) -> None:
        """A frame was refused."""

    def accepted(self, strategy: Strategy, seconds: float) -> None:
        """A post got its SENT, so long after it came."""

    def delivered(self, count: int) -> None:
        """So many entries were acknowledged."""

    def synced(self, answer: str) -> None:
        """A device was told where it stands: delta, snapshot, forked or ahead."""

    def appended(self, count: int) -> None:
        """So many entries were appended to inboxes."""

    def repeated(self, where: str) -> None:
        """A repeat was recognised, at the post or at an inbox."""

    def committed(self, outcome: str, seconds: float, rows: int) -> None:
        """A commit ended: ok, conflict or unknown."""

    def owed(self, posts: int, oldest_s: float) -> None:
        """So many posts of this gateway are not finished, the oldest for so long."""

    def job_done(self, seconds: float) -> None:
        """A job was done."""

    def fenced(self) -> None:
        """This gateway was taken for dead, and goes on as a new incarnation."""

    def hinted(self, result: str, count: int) -> None:
        """Hints to other gateways: took, not_here or lost."""

    def marked(self, kind: str, result: str) -> None:
        """A receipt: raised, stale or ahead."""

    def prekey_taken(self, kind: str) -> None:
        """A bundle was given out: one_time, last_resort or limited."""

    def presence(self, change: str, devices: int) -> None:
        """Somebody came or went; so many devices are known now."""
