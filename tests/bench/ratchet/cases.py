"""The rows of the table: what is measured, what is in it, and what it has to hold.

The limits are those of a quiet machine on which one X25519 agreement takes 38.5 us. A limit in microseconds says
nothing on another machine or beside busy neighbours, so most have a second one in agreements, which does.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from tests.bench.ratchet.contestant import EPOCH_MESSAGES, EPOCH_SLICES, Sizes

__all__ = ["CASES", "SESSION_BYTES", "Case", "Limit", "Measure", "worded"]


class Measure(Enum):
    """In what a limit is set."""

    MOST_US = "us at most"
    MOST_X25519 = "X25519 agreements at most"
    TIMES_FASTER = "times faster than the official library at least"
    LESS_BYTES = "bytes, and not one more"


class Limit(NamedTuple):
    """One thing that a case has to hold."""

    measure: Measure
    value: float


class Case(NamedTuple):
    """One row.

    Attributes:
        key: What its samples are filed under.
        label: What it is called.
        includes: What is done while the clock runs.
        limits: What it has to hold.
        phases: Every how many slices the same work comes again.
    """

    key: str
    label: str
    includes: str
    limits: tuple[Limit, ...]
    phases: int = 1


def _at_most(us: float, x25519: float | None = None, *, faster: float | None = None) -> tuple[Limit, ...]:
    given = ((Measure.MOST_US, us), (Measure.MOST_X25519, x25519), (Measure.TIMES_FASTER, faster))
    return tuple(Limit(measure, value) for measure, value in given if value is not None)


def _faster(times: float) -> tuple[Limit, ...]:
    return (Limit(Measure.TIMES_FASTER, times),)


_BURST: Final = _at_most(30, 0.78, faster=4)
# 34 us on the machine on which 30 are 0.78.
_FIRST: Final = _at_most(34, 0.88, faster=4)

# The key under which sizes of saved sessions are summed up; it is not timed.
SESSION_BYTES: Final = "session_bytes"

CASES: Final = (
    Case("short_encrypt", "encrypt, burst of {short:,}", "one way in an answered session: plaintext to wire", _BURST),
    Case("short_decrypt", "decrypt, burst of {short:,}", "the same messages in order: wire to plaintext", _BURST),
    Case("long_encrypt", "encrypt, burst of {long:,}", "as above", _BURST),
    Case("long_decrypt", "decrypt, burst of {long:,}", "as above", _BURST),
    Case(
        "first_encrypt",
        "encrypt before the first answer",
        "{short:,} one way, each of which repeats the handshake",
        _FIRST,
    ),
    Case(
        "first_decrypt",
        "decrypt before the first answer",
        "the same messages in order; the session is there already",
        _FIRST,
    ),
    Case(
        "ping_pong",
        "ping-pong, a message",
        "one encryption and one decryption, with a Diffie-Hellman step each time, over {epochs} whole epochs of the "
        "post-quantum ratchet, all its work included",
        _at_most(250, 6.5, faster=1.6),
        EPOCH_SLICES,
    ),
    Case(
        "initiate",
        "set-up, initiator",
        "from the bytes of a bundle with one-time keys, signatures checked, to the first message on the wire",
        _faster(1),
    ),
    Case(
        "respond",
        "set-up, responder",
        "from that message on the wire to its plaintext, with the keys out of the store",
        _faster(1),
    ),
    Case(
        "group_encrypt",
        "sender key, encrypt",
        "{short:,} for a group: plaintext to wire, signed",
        _faster(1.5),
    ),
    Case("group_decrypt", "sender key, decrypt", "the same messages in order, verified", _faster(1.5)),
    Case("save", "save a session", "a session as it is after a message of the ping-pong, to bytes", _at_most(10)),
    Case("load", "load a session", "and back", _at_most(30)),
    Case(
        SESSION_BYTES,
        "bytes of a saved session",
        "after each message of the ping-pong; the limit is for the largest",
        (Limit(Measure.LESS_BYTES, 4_096),),
    ),
)


def worded(text: str, sizes: Sizes) -> str:
    """A label or an explanation with the sizes of a run in it."""
    return text.format(**sizes._asdict(), epochs=sizes.ping_pong // EPOCH_MESSAGES)
