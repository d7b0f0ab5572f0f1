"""How far ahead and how late a message may be: to the message, where the official library draws the line."""

from __future__ import annotations

from random import Random

import pytest

from tests.interop.conftest import Sides, converse
from tests.interop.sides import DUPLICATE, REFUSED
from whisperkit.ratchet import MAX_FORWARD_JUMP, MAX_SKIPPED_KEYS

pytestmark = pytest.mark.interop

TEXT = b"again"


def test_a_long_burst_opens_in_any_order(sides: Sides, rng: Random) -> None:
    alice, bob = sides
    converse(alice, bob)
    burst = alice.encrypt_many(TEXT, 1_500, remote=bob.id)

    for message in rng.sample(burst, 300):
        assert bob.decrypt(message, sender=alice.id) == TEXT


def test_keys_of_missing_messages_are_kept_to_the_same_depth(sides: Sides) -> None:
    alice, bob = sides
    converse(alice, bob)
    burst = alice.encrypt_many(TEXT, MAX_SKIPPED_KEYS + 4, remote=bob.id)
    # The chain still has the second message's key; the post-quantum ratchet gives it up, counting from the newest.
    assert bob.decrypt(burst[MAX_SKIPPED_KEYS], sender=alice.id) == TEXT
    assert bob.decrypt(burst[0], sender=alice.id) == TEXT
    assert bob.decrypt(burst[MAX_SKIPPED_KEYS + 2], sender=alice.id) == TEXT

    with pytest.raises(REFUSED):
        bob.decrypt(burst[1], sender=alice.id)
    assert bob.decrypt(burst[2], sender=alice.id) == TEXT


def test_a_message_may_be_as_far_ahead(sides: Sides) -> None:
    alice, bob = sides
    converse(alice, bob)
    burst = alice.encrypt_many(TEXT, MAX_FORWARD_JUMP + 2, remote=bob.id)
    assert bob.decrypt(burst[0], sender=alice.id) == TEXT
    # The chain allows one more, the post-quantum ratchet does not: it counts from the last key that was used.
    too_far, farthest = burst[MAX_FORWARD_JUMP + 1], burst[MAX_FORWARD_JUMP]

    with pytest.raises(REFUSED):
        bob.decrypt(too_far, sender=alice.id)
    assert bob.decrypt(farthest, sender=alice.id) == TEXT

    for counter in (MAX_FORWARD_JUMP - 1, MAX_FORWARD_JUMP - MAX_SKIPPED_KEYS):
        assert bob.decrypt(burst[counter], sender=alice.id) == TEXT
    with pytest.raises(DUPLICATE):
        bob.decrypt(burst[MAX_FORWARD_JUMP - MAX_SKIPPED_KEYS - 1], sender=alice.id)
    assert bob.decrypt(too_far, sender=alice.id) == TEXT
