"""Where metrics and traces hang on: the service says what happened, in numbers, and nothing of its content."""

from __future__ import annotations

from whisperkit.strategy import Strategy
from whisperkit.sync.frames import ByeCode

__all__ = ["Hook"]


class Hook:
    """Does nothing; override what is wanted. Calls are on the hot path: count and return.

    What is a text here is one of a small fixed set, never a user, a device or a conversation.
    """

    # ---- connections ----

    def linked(self, count: int) -> None:
        """So many devices have their link here now."""

    def link_closed(self, code: ByeCode | None) -> None:
        """A link ended, with the code that its device was told; `None`: its connection was gone."""

    def frames(self, direction: str, name: str, count: int) -> None:
        """So many frames of a type came (``in``) or left (``out``) since the last time. Told once a second."""

    def refused(self, reason: str) -> None:
        """A frame was refused: a SEND for a `RefusalReason`, another for the code of an error, which ends its link."""

    def backlog(self, size: int) -> None:
        """The peer of a link lets so many bytes wait. Told once a second, and not of links where nothing waits."""

    def presence(self, change: str) -> None:
        """A user came (``online``) or went (``offline``), and who watches them is told."""

    def present(self, devices: int) -> None:
        """So many devices are there now."""

    # ---- messages ----

    def accepted(self, strategy: Strategy, seconds: float) -> None:
        """A post got its SENT, so long after it came. A repeat gets one, too."""

    def delivered(self, strategy: Strategy, seconds: float) -> None:
        """A device that was there when an entry was posted has acknowledged it, so long after that.

        What was posted before it came is not told: how long a phone was off says nothing of the service. Nor is an
        entry of a conversation that this gateway has no memory of.
        """

    def synced(self, answer: str) -> None:
        """A device was told where it stands: delta, snapshot, forked or ahead."""

    def appended(self, count: int) -> None:
        """So many entries were appended to inboxes."""

    def repeated(self, where: str, count: int) -> None:
        """So many repeats were recognised, at the post (``post``) or at an inbox (``inbox``)."""

    def marked(self, kind: str, result: str) -> None:
        """A receipt, delivered or read.

        ``raised``: it says something new. ``stale``: it does not. ``ahead``: it says more than can be true, and counts
        up to what can; an acknowledgement of what was never sent ends the link.
        """

    def prekey_taken(self, kind: str) -> None:
        """A bundle was given out: one_time, last_resort or limited."""

    # ---- what is behind ----

    def committed(self, outcome: str, seconds: float, rows: int) -> None:
        """A commit ended: ok, conflict or unknown. It put so many rows, of all that was decided together."""

    def owed(self, posts: int, oldest_s: float) -> None:
        """This gateway still has to finish so many posts, the oldest for so long. Told once a second."""

    def job_done(self, seconds: float) -> None:
        """A job was done, so long after it was taken."""

    def fenced(self) -> None:
        """This gateway was taken for dead, and goes on as a new incarnation."""

    def hinted(self, result: str, count: int) -> None:
        """Hints to other gateways: took, not_here or lost."""
