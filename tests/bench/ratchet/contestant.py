"""What a library has to be able to do to be measured, and how much of it is done.

A contestant plays both sides. Its methods take a whole slice of work, so that the loop around the library is its own
and costs what such a loop costs there. What goes from one side to the other is what its wire would carry: where a
library has bytes, making and reading them is inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

__all__ = [
    "EPOCH_MESSAGES",
    "EPOCH_SLICES",
    "FULL",
    "QUICK",
    "Channel",
    "Contestant",
    "Conversation",
    "Records",
    "SetUps",
    "Sizes",
    "texts",
]

W = TypeVar("W")
S = TypeVar("S")
W_co = TypeVar("W_co", covariant=True)

# How many messages, one this way and one that, take both sides through one epoch of the post-quantum ratchet.
EPOCH_MESSAGES: Final = 87

# In how many slices an epoch is timed. They are not alike: each part of an epoch has work of its own.
EPOCH_SLICES: Final = 29


class Sizes(NamedTuple):
    """How much is done in one round.

    Attributes:
        text_bytes: The size of a message.
        warm_up: Messages, one this way and one that, and then as many one way, before the first clock is started.
        short: Messages in a short burst, and in one before the first answer.
        long: Messages in a long burst.
        points: After how many messages, one this way and one that, a short burst begins; one conversation each.
        long_points: The same for long bursts.
        ping_pong: Messages, one this way and one that; whole epochs.
        set_ups: Sessions made one after the other.
        repeats: How often whatever has no points is done.
    """

    text_bytes: int
    warm_up: int
    short: int
    long: int
    points: tuple[int, ...]
    long_points: tuple[int, ...]
    ping_pong: int
    set_ups: int
    repeats: int


# The points lie all over two epochs, so that either side is once the one that sends a key and once that which answers.
FULL: Final = Sizes(
    text_bytes=100,
    warm_up=200,
    short=1_000,
    long=10_000,
    points=(9, 53, 96, 140),
    long_points=(31,),
    ping_pong=12 * EPOCH_MESSAGES,
    set_ups=30,
    repeats=2,
)

# Tells whether everything runs, and nothing about speed.
QUICK: Final = Sizes(
    text_bytes=100,
    warm_up=10,
    short=20,
    long=40,
    points=(3,),
    long_points=(4,),
    ping_pong=EPOCH_MESSAGES,
    set_ups=2,
    repeats=1,
)


class Channel(Protocol[W]):
    """One side writes, the other reads."""

    def send(self, plaintexts: Sequence[bytes], /) -> list[W]:
        """Encrypt, in order."""
        ...

    def receive(self, messages: Sequence[W], /) -> list[bytes]:
        """Decrypt, in order."""
        ...


class Conversation(Channel[W], Protocol[W]):
    """Two sides, of which one has written and the other has read a message. `send` is the first one's."""

    def ping_pong(self, plaintexts: Sequence[bytes], /) -> list[bytes]:
        """Write and read in turns, beginning with the side that did not write last; what was read."""
        ...

    def repeats_handshake(self, message: W, /) -> bool:
        """Whether a message can begin the session: all can until the other side is heard, where a library has that."""
        ...


class SetUps(Protocol[W]):
    """Devices that have published their keys and never met."""

    def initiate(self, plaintexts: Sequence[bytes], /) -> list[W]:
        """Begin a session for each plaintext, from the next bundle, and encrypt it."""
        ...

    def respond(self, messages: Sequence[W], /) -> list[bytes]:
        """Make the session that each message begins, and decrypt it."""
        ...


class Records(Protocol[S]):
    """Sessions as they are after each message of whole epochs.

    Attributes:
        states: One for each message: of the side that has just read it.
    """

    states: list[S]

    def save(self, states: Sequence[S], /) -> list[bytes]:
        """Write each as bytes."""
        ...

    def load(self, saved: Sequence[bytes], /) -> list[S]:
        """Read each."""
        ...


class Contestant(Protocol[W, S]):
    """A library, or one way of using it. `None` where it has no such thing."""

    def versions(self) -> dict[str, str]:
        """What was measured, and what it stands on."""
        ...

    def meet(self) -> Conversation[W]:
        """Begin a conversation; Alice has written one message, and Bob has read it."""
        ...

    def set_ups(self, count: int) -> SetUps[W] | None:
        """Prepare for so many sessions."""
        ...

    def group(self) -> Channel[W] | None:
        """A sender whose key for a group its reader has."""
        ...

    def records(self, plaintexts: Sequence[bytes]) -> Records[S] | None:
        """Write and read plaintexts in turns, and keep the session after each."""
        ...

    def close(self) -> None:
        """End what it holds."""
        ...


def texts(count: int, size: int, *, mark: str) -> list[bytes]:
    """Plaintexts that all differ.

    Args:
        count: How many.
        size: Of how many bytes each.
        mark: Where they are used, so that a message of somewhere else cannot pass for one.
    """
    return [f"{mark} {n} ".encode().ljust(size, b".")[:size] for n in range(count)]
