"""What the tests of guarantees share: people, and the form of a fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from whisperkit.errors import WhisperError
from whisperkit.ids import DeviceId
from whisperkit.ratchet import CiphertextMessage
from whisperkit.testing.ratchet import Party, seeded_bytes


def people() -> tuple[Party, Party, Party]:
    alice, bob, carol = (
        Party(DeviceId.named(name, 1), random_bytes=seeded_bytes(40 + i))
        for i, name in enumerate(("alice", "bob", "carol"))
    )
    return alice, bob, carol


def friends() -> tuple[Party, Party]:
    """Two who have a session that both answered in."""
    alice, bob, _ = people()
    alice.meet(bob)
    bob.decrypt(alice.encrypt(b"hello", to=bob), sender=alice)
    alice.decrypt(bob.encrypt(b"hi", to=alice), sender=bob)
    return alice, bob


def altered(message: CiphertextMessage, position: int = -1) -> CiphertextMessage:
    body = bytearray(message.body)
    body[position] ^= 1
    return CiphertextMessage(message.type, bytes(body))


def refused(kind: type[WhisperError] | tuple[type[WhisperError], ...], call: Callable[[], object]) -> None:
    """Assert that a call raises one kind of error and nothing else."""
    try:
        call()
    except kind:
        return
    raise AssertionError("it was not refused")


class Broken(NamedTuple):
    """A fault that somebody could make.

    Attributes:
        name: What is wrong.
        target: What is replaced, as a dotted path below `whisperkit.ratchet`.
        value: By what. `Any`, as it takes the place of all kinds of things.
        caught_by: The guarantee that falls.
    """

    name: str
    target: str
    value: Any
    caught_by: Callable[[], None]


def no_check(*args: object, **kwargs: object) -> None:
    return None
