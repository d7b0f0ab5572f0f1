"""Beginning sessions with the official library, in both roles, with and without a one-time prekey."""

from __future__ import annotations

import pytest

from tests.interop.sides import Ours, Side, Theirs
from whisperkit.ratchet import MessageType

pytestmark = pytest.mark.interop

ROLES = ("ours begins", "theirs begins")


@pytest.fixture(params=ROLES)
def sides(request: pytest.FixtureRequest, ours: Ours, theirs: Theirs) -> tuple[Side, Side]:
    """Who begins, and who answers."""
    return (ours, theirs) if request.param == ROLES[0] else (theirs, ours)


@pytest.mark.parametrize("one_time", [True, False], ids=["one-time prekey", "no one-time prekey"])
def test_first_messages_open_and_are_answered(sides: tuple[Side, Side], one_time: bool) -> None:
    alice, bob = sides
    alice.begin(bob.bundle(one_time=one_time), remote=bob.id)

    first = alice.encrypt(b"hello", remote=bob.id)
    assert first.type == MessageType.PREKEY
    assert bob.decrypt(first, sender=alice.id) == b"hello"
    answer = bob.encrypt(b"hi", remote=alice.id)
    assert answer.type == MessageType.WHISPER
    assert alice.decrypt(answer, sender=bob.id) == b"hi"
    assert alice.encrypt(b"", remote=bob.id).type == MessageType.WHISPER
