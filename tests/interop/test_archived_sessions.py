"""Several sessions between two devices: put aside, heard of again, begun from both ends at once."""

from __future__ import annotations

from random import Random

import pytest

from tests.interop.conftest import Sides, begin, converse, tell
from tests.interop.sides import DUPLICATE, REFUSED, Ours, Side, Theirs
from whisperkit.ratchet import CiphertextMessage, MessageType

pytestmark = pytest.mark.interop


def test_nothing_is_sent_in_a_session_put_aside_until_something_comes_in_it(sides: Sides) -> None:
    alice, bob = sides
    converse(alice, bob)
    alice.archive(bob.id)

    with pytest.raises(REFUSED):
        alice.encrypt(b"hello?", remote=bob.id)
    assert not alice.has_session(bob.id)
    tell(bob, alice, b"still there?")

    assert alice.has_session(bob.id)
    assert tell(alice, bob, b"yes").type == MessageType.WHISPER


def test_a_session_put_aside_before_it_was_answered_goes_on_when_it_is_answered(sides: Sides) -> None:
    alice, bob = sides
    begin(alice, bob)
    tell(alice, bob, b"hello")
    alice.archive(bob.id)

    tell(bob, alice, b"hi")

    assert tell(alice, bob, b"you again").type == MessageType.WHISPER


def test_a_repeated_first_message_wakes_the_session_that_it_began(sides: Sides) -> None:
    alice, bob = sides
    begin(alice, bob)
    first, second = (alice.encrypt(text, remote=bob.id) for text in (b"one", b"two"))
    assert bob.decrypt(first, sender=alice.id) == b"one"
    begin(alice, bob)
    tell(alice, bob, b"in the session after it")

    assert bob.decrypt(second, sender=alice.id) == b"two"

    with pytest.raises(DUPLICATE):
        bob.decrypt(first, sender=alice.id)
    tell(bob, alice, b"in the first one again")
    tell(alice, bob, b"so let us stay here")


def test_late_messages_of_a_session_put_aside_open(sides: Sides, rng: Random) -> None:
    alice, bob = sides
    converse(alice, bob)
    late = [(b"%d" % n, alice.encrypt(b"%d" % n, remote=bob.id)) for n in range(30)]
    begin(alice, bob)
    tell(alice, bob, b"a fresh start")

    for plaintext, message in rng.sample(late, 20):
        assert bob.decrypt(message, sender=alice.id) == plaintext


@pytest.mark.parametrize("one_time", [True, False], ids=["one-time prekey", "no one-time prekey"])
def test_two_that_begin_at_once_read_everything_and_meet_in_one_session(
    ours: Ours, theirs: Theirs, rng: Random, one_time: bool
) -> None:
    begin(ours, theirs, one_time=one_time)
    begin(theirs, ours, one_time=one_time)
    ends: tuple[tuple[Side, Side], ...] = ((ours, theirs), (theirs, ours))
    waiting: dict[int, list[tuple[bytes, CiphertextMessage]]] = {0: [], 1: []}

    # Each writes before it has read what the other wrote.
    for n in range(200):
        for way, (sender, receiver) in enumerate(ends):
            plaintext = b"%d/%d" % (way, n)
            waiting[way].append((plaintext, sender.encrypt(plaintext, remote=receiver.id)))
            if rng.random() < 0.03:
                sender.restart()
        for way, (sender, receiver) in enumerate(ends):
            while len(waiting[way]) > rng.choice((0, 1, 1, 2, 3)):
                plaintext, message = waiting[way].pop(rng.randrange(len(waiting[way])))
                assert receiver.decrypt(message, sender=sender.id) == plaintext
    for way, (sender, receiver) in enumerate(ends):
        for plaintext, message in waiting[way]:
            assert receiver.decrypt(message, sender=sender.id) == plaintext
    ratchet_keys: set[bytes] = set()
    for n in range(4):
        ratchet_keys.add(ours.session(theirs.id).base_key)
        tell(ours, theirs, b"%d" % n)
        tell(theirs, ours, b"%d" % n)

    assert len(ratchet_keys) == 1


def test_many_fresh_sessions_from_both_ends_keep_both_readable(ours: Ours, theirs: Theirs, rng: Random) -> None:
    ends: tuple[tuple[Side, Side], ...] = ((ours, theirs), (theirs, ours))
    for sender, receiver in ends:
        begin(sender, receiver, one_time=rng.random() < 0.5)

    for _ in range(15):
        sender, receiver = rng.choice(ends)
        if rng.random() < 0.5:
            begin(sender, receiver, one_time=rng.random() < 0.5)
        else:
            sender.archive(receiver.id)
            begin(sender, receiver)
        written = [(b"%d" % n, sender.encrypt(b"%d" % n, remote=receiver.id)) for n in range(5)]
        for plaintext, message in rng.sample(written, 4):
            assert receiver.decrypt(message, sender=sender.id) == plaintext
        rng.choice((sender, receiver)).restart()
        tell(receiver, sender, b"heard")
        tell(sender, receiver, b"good")
