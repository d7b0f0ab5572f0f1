"""Beginning sessions with the official library, in both roles, with and without a one-time prekey."""

from __future__ import annotations

from random import Random

import pytest

from tests.interop.conftest import MakeOurs, MakeTheirs, Sides, begin, converse, tell
from tests.interop.sides import DUPLICATE, NOW_MS, REFUSED, UNTRUSTED, Ours
from whisperkit.ids import DeviceId
from whisperkit.ratchet import MAX_ARCHIVED_SESSIONS, UNACKNOWLEDGED_LIFE_MS, CiphertextMessage, MessageType

pytestmark = pytest.mark.interop

ONE_TIME = pytest.mark.parametrize("one_time", [True, False], ids=["one-time prekey", "no one-time prekey"])


@ONE_TIME
def test_first_messages_open_and_are_answered(sides: Sides, one_time: bool) -> None:
    alice, bob = sides
    begin(alice, bob, one_time=one_time)

    assert tell(alice, bob, b"hello").type == MessageType.PREKEY
    assert tell(bob, alice, b"hi").type == MessageType.WHISPER
    assert tell(alice, bob, b"").type == MessageType.WHISPER


@ONE_TIME
def test_unanswered_messages_open_in_any_order_and_once(sides: Sides, rng: Random, one_time: bool) -> None:
    alice, bob = sides
    begin(alice, bob, one_time=one_time)
    written = [(b"%d" % n, alice.encrypt(b"%d" % n, remote=bob.id)) for n in range(100)]
    arriving = rng.sample(written, 70)

    opened = [bob.decrypt(message, sender=alice.id) for _, message in arriving]

    assert opened == [plaintext for plaintext, _ in arriving]
    assert {message.type for _, message in arriving} == {MessageType.PREKEY}
    for _, message in rng.sample(arriving, 10):
        with pytest.raises(DUPLICATE):
            bob.decrypt(message, sender=alice.id)
    tell(bob, alice, b"that was much")


def test_a_one_time_prekey_serves_one_session(sides: Sides) -> None:
    alice, bob = sides
    bundle = bob.bundle(one_time=True)
    alice.begin(bundle, remote=bob.id)
    tell(alice, bob, b"first")
    alice.begin(bundle, remote=bob.id)

    with pytest.raises(REFUSED):
        bob.decrypt(alice.encrypt(b"second", remote=bob.id), sender=alice.id)


def test_a_bundle_without_a_one_time_prekey_serves_many_sessions(sides: Sides) -> None:
    alice, bob = sides
    bundle = bob.bundle(one_time=False)

    for n in range(5):
        alice.begin(bundle, remote=bob.id)
        tell(alice, bob, b"%d" % n)
        tell(bob, alice, b"%d" % n)


def test_messages_of_replaced_sessions_open_as_long_as_they_are_kept(sides: Sides) -> None:
    alice, bob = sides
    written: list[tuple[CiphertextMessage, CiphertextMessage]] = []
    for _ in range(1 + MAX_ARCHIVED_SESSIONS + 3):
        begin(alice, bob)
        written.append((alice.encrypt(b"one", remote=bob.id), alice.encrypt(b"two", remote=bob.id)))
    for one, _ in written:
        assert bob.decrypt(one, sender=alice.id) == b"one"
    forgotten, oldest_kept = written[2][1], written[3][1]

    with pytest.raises(REFUSED):
        bob.decrypt(forgotten, sender=alice.id)
    assert bob.decrypt(oldest_kept, sender=alice.id) == b"two"


def test_a_session_that_goes_unanswered_is_given_up_after_thirty_days(sides: Sides) -> None:
    alice, bob = sides
    begin(alice, bob)
    alice.encrypt(b"anybody there?", remote=bob.id)

    assert alice.has_session(bob.id, wall_ms=NOW_MS + UNACKNOWLEDGED_LIFE_MS)
    assert not alice.has_session(bob.id, wall_ms=NOW_MS + UNACKNOWLEDGED_LIFE_MS + 1_000)


def test_an_answered_session_has_no_end(sides: Sides) -> None:
    alice, bob = sides
    converse(alice, bob)

    assert alice.has_session(bob.id, wall_ms=NOW_MS + 100 * UNACKNOWLEDGED_LIFE_MS)
    assert bob.has_session(alice.id, wall_ms=NOW_MS + 100 * UNACKNOWLEDGED_LIFE_MS)


def test_another_identity_is_refused_until_it_is_accepted(
    sides: Sides, make_ours: MakeOurs, make_theirs: MakeTheirs
) -> None:
    alice, bob = sides
    converse(alice, bob)
    again = (make_ours if isinstance(alice, Ours) else make_theirs)(alice.id)
    begin(again, bob)
    first = again.encrypt(b"a new phone", remote=bob.id)

    with pytest.raises(REFUSED) as refusal:
        bob.decrypt(first, sender=again.id)
    with pytest.raises(REFUSED):
        bob.begin(again.bundle(one_time=True), remote=again.id)
    bob.accept(again.identity_key, remote=again.id)

    assert isinstance(refusal.value, UNTRUSTED)
    assert bob.decrypt(first, sender=again.id) == b"a new phone"
    tell(bob, again, b"welcome back")


def test_a_first_message_under_the_name_of_another_device_is_refused(sides: Sides) -> None:
    alice, bob = sides
    begin(alice, bob)
    first = alice.encrypt(b"it is me", remote=bob.id)
    other = DeviceId(alice.id.user, alice.id.number % 127 + 1)

    with pytest.raises(REFUSED):
        bob.decrypt(first, sender=other)
    assert bob.decrypt(first, sender=alice.id) == b"it is me"
