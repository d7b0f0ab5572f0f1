"""What was promised and what came: the three numbers in the middle.

A message is *acknowledged* when its phone shows one tick: the server has it. It is *lost* when somebody who should
have it went past it: a later one was applied, or the phone has all that the server holds for it; and when the server
itself does not know it any more. It is *doubled* each time a phone shows what nobody wrote, or shows it again.
"""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Collection
from typing import Final, NamedTuple

__all__ = ["Counter", "Counts"]

_NOWHERE: Final = 0


class Counts(NamedTuple):
    """The numbers."""

    acknowledged: int
    lost: int
    doubled: int


class Counter:
    """Counts, for any number of phones."""

    def __init__(self) -> None:
        self._written: set[str] = set()
        self._acknowledged: dict[str, int] = {}
        # Of each phone: what it should have with its number, how often it has it, what is there but sealed, how far
        # it is for certain.
        self._expected: dict[int, dict[str, int]] = {}
        self._applied: dict[int, Counted[str]] = {}
        self._sealed: dict[int, set[str]] = {}
        self._reached: dict[int, int] = {}
        self._server_lacks: set[str] = set()
        self._doubled_before = 0

    @property
    def highest(self) -> int:
        """The highest number that was acknowledged."""
        return max(self._acknowledged.values(), default=_NOWHERE)

    def write(self, message: str) -> None:
        """Somebody wrote a message."""
        self._written.add(message)

    def acknowledge(self, message: str, seq: int, readers: Collection[int]) -> None:
        """The server has it, under this number, for these phones."""
        self._acknowledged[message] = seq
        for phone in readers:
            self._expected.setdefault(phone, {})[message] = seq

    def apply(self, phone: int, message: str, seq: int, *, is_new: bool) -> None:
        """A phone shows it.

        Args:
            phone: Which.
            message: It.
            seq: Its number.
            is_new: Whether the phone shows one more than before; if not, it shows something else in its place.
        """
        applied = self._applied.setdefault(phone, Counted())
        if is_new or not applied[message]:
            applied[message] += 1
        self._sealed.get(phone, set()).discard(message)
        self.reach(phone, seq)

    def seal(self, phone: int, message: str, seq: int) -> None:
        """A phone has it and cannot read it yet."""
        self._sealed.setdefault(phone, set()).add(message)
        self.reach(phone, seq)

    def reach(self, phone: int, seq: int) -> None:
        """A phone has all that it gets up to here."""
        self._reached[phone] = max(self._reached.get(phone, _NOWHERE), seq)

    def server_has(self, head: int, *, of: int) -> None:
        """The server said how far the conversation goes.

        Args:
            head: That.
            of: What had been acknowledged before it was asked.
        """
        self._server_lacks |= {message for message, seq in self._acknowledged.items() if head < seq <= of}

    def exchange(self, phone: int) -> None:
        """Somebody has a new phone: what the old one had is gone with it, and only what it had twice is remembered."""
        self._doubled_before += self._doubled(phone)
        for kept in (self._expected, self._applied, self._sealed, self._reached):
            kept.pop(phone, None)

    def _doubled(self, phone: int) -> int:
        applied = self._applied.get(phone, Counted[str]())
        return sum(count - (message in self._written) for message, count in applied.items())

    @property
    def counts(self) -> Counts:
        """The numbers now."""
        lost = set(self._server_lacks)
        for phone, expected in self._expected.items():
            reached = self._reached.get(phone, _NOWHERE)
            there = self._applied.get(phone, Counted[str]()).keys() | self._sealed.get(phone, set())
            lost |= {message for message, seq in expected.items() if seq <= reached and message not in there}
        doubled = self._doubled_before + sum(map(self._doubled, self._applied))
        return Counts(len(self._acknowledged), len(lost), doubled)
