"""Several sessions with one device: which is current, which opens a message, what they may cost."""

from __future__ import annotations

import pytest

from whisperkit.errors import (
    AuthenticationError,
    DuplicateMessageError,
    InvalidMessageError,
    NoSessionError,
    PeerError,
)
from whisperkit.ids import DeviceId
from whisperkit.ratchet import (
    MAX_ARCHIVED_SESSIONS,
    MAX_FORWARD_JUMP,
    MAX_RECEIVING_CHAINS,
    UNACKNOWLEDGED_LIFE_MS,
    CiphertextMessage,
    MessageType,
    records,
)
from whisperkit.ratchet.curve import generate
from whisperkit.ratchet.messages import MAC_BYTES, SignalMessage
from whisperkit.ratchet.protobuf import write, write_varint
from whisperkit.ratchet.session import steps
from whisperkit.ratchet.sessions import MAX_SESSIONS_BYTES, MAX_TRIAL_STEPS, SessionShelf
from whisperkit.testing.ratchet import Party, seeded_bytes


@pytest.fixture
def alice() -> Party:
    return Party(DeviceId.named("alice", 1), random_bytes=seeded_bytes(20))


@pytest.fixture
def bob() -> Party:
    return Party(DeviceId.named("bob", 1), random_bytes=seeded_bytes(21))


def converse(one: Party, other: Party) -> None:
    """Make a session that both have answered in."""
    one.meet(other)
    other.decrypt(one.encrypt(b"hello", to=other), sender=one)
    one.decrypt(other.encrypt(b"hi", to=one), sender=other)


def turn(one: Party, other: Party) -> None:
    """One message each way: a new ratchet key on both sides."""
    other.decrypt(one.encrypt(b"x", to=other), sender=one)
    one.decrypt(other.encrypt(b"y", to=one), sender=other)


def archive(party: Party, other: Party) -> None:
    party.save(party.device.archive_session(party.records, remote=other.id).save)


def current_base_key(party: Party, other: Party) -> bytes:
    found = SessionShelf(party.records, other.id).current
    assert found is not None
    return found.base_key


def forged(message: CiphertextMessage, *, ratchet_key: bytes | None, jump: int) -> CiphertextMessage:
    """A message that says to be `jump` ahead in both ratchets: of a repeated field the last one counts."""
    pq_ratchet = b"\x01\x01" + write_varint(jump) + b"\x00"
    fields = write(((1, ratchet_key), (2, jump), (5, pq_ratchet)))
    return CiphertextMessage(message.type, message.body[:-MAC_BYTES] + fields + message.body[-MAC_BYTES:])


# ---- archived sessions ----------------------------------------------------------------------------------------------


def test_a_message_in_an_archived_session_makes_it_current_and_archives_the_other_in_front(
    alice: Party, bob: Party
) -> None:
    converse(alice, bob)
    archive(alice, bob)
    late = bob.encrypt(b"late", to=alice)
    alice.meet(bob)
    alice.meet(bob)
    assert list(SessionShelf(alice.records, bob.id)) == [2, 1, 0]

    assert alice.decrypt(late, sender=bob) == b"late"

    assert list(SessionShelf(alice.records, bob.id)) == [0, 2, 1]


def test_a_repeated_first_message_of_an_archived_session_makes_it_current(alice: Party, bob: Party) -> None:
    alice.meet(bob)
    messages = [alice.encrypt(b"%d" % n, to=bob) for n in range(3)]
    bob.decrypt(messages[0], sender=alice)
    archive(bob, alice)
    with pytest.raises(NoSessionError):
        bob.encrypt(b"x", to=alice)

    opened = bob.open(messages[1], sender=alice)

    assert not opened.is_new_session
    assert alice.decrypt(bob.encrypt(b"x", to=alice), sender=bob) == b"x"


def test_a_session_that_was_archived_before_it_was_answered_is_no_longer_announced(alice: Party, bob: Party) -> None:
    alice.meet(bob)
    bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice)
    archive(alice, bob)
    alice.decrypt(bob.encrypt(b"y", to=alice), sender=bob)

    message = alice.encrypt(b"z", to=bob)

    assert message.type is MessageType.WHISPER
    assert bob.decrypt(message, sender=alice) == b"z"


def test_what_a_session_repeated_is_dropped_from_the_archive(alice: Party, bob: Party) -> None:
    alice.meet(bob)
    archive(alice, bob)

    session = SessionShelf(alice.records, bob.id).load(0)

    assert session.pending is None
    assert len(alice.records[records.session_key(bob.id, 0)]) < 1000


def test_a_message_in_an_archived_session_opens_however_old_that_is(alice: Party, bob: Party) -> None:
    alice.meet(bob)
    bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice)
    alice.wall_ms = 3 * UNACKNOWLEDGED_LIFE_MS

    assert alice.decrypt(bob.encrypt(b"y", to=alice), sender=bob) == b"y"
    assert alice.encrypt(b"z", to=bob).type is MessageType.WHISPER


def test_the_oldest_of_41_archived_sessions_goes_and_a_message_in_it_does_not_open(alice: Party, bob: Party) -> None:
    converse(alice, bob)
    in_the_first = bob.encrypt(b"1", to=alice)
    alice.meet(bob)
    bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice)
    in_the_second = bob.encrypt(b"2", to=alice)
    for _ in range(MAX_ARCHIVED_SESSIONS):
        alice.meet(bob)

    with pytest.raises(PeerError):
        alice.decrypt(in_the_first, sender=bob)
    assert alice.decrypt(in_the_second, sender=bob) == b"2"
    assert len(list(SessionShelf(alice.records, bob.id))) == 1 + MAX_ARCHIVED_SESSIONS


def test_the_bundle_of_a_device_used_twice_makes_two_sessions_and_both_work(alice: Party, bob: Party) -> None:
    alice.meet(bob)
    one = [alice.encrypt(b"1", to=bob), alice.encrypt(b"2", to=bob)]
    alice.meet(bob)
    two = alice.encrypt(b"3", to=bob)

    opened = [bob.decrypt(each, sender=alice) for each in (one[0], two, one[1])]

    assert opened == [b"1", b"3", b"2"]


# ---- simultaneous initiation ----------------------------------------------------------------------------------------


def test_two_who_begin_at_once_each_send_in_the_session_they_received_until_one_answers_in_order(
    alice: Party, bob: Party
) -> None:
    alice.meet(bob)
    bob.meet(alice)
    ours, theirs = current_base_key(alice, bob), current_base_key(bob, alice)
    crossing = alice.encrypt(b"a", to=bob), bob.encrypt(b"b", to=alice)

    bob.decrypt(crossing[0], sender=alice)
    alice.decrypt(crossing[1], sender=bob)
    assert (current_base_key(alice, bob), current_base_key(bob, alice)) == (theirs, ours)

    alice.decrypt(bob.encrypt(b"in order", to=alice), sender=bob)
    assert current_base_key(alice, bob) == current_base_key(bob, alice) == ours


def test_what_was_sent_in_both_sessions_of_a_simultaneous_start_opens(alice: Party, bob: Party) -> None:
    alice.meet(bob)
    bob.meet(alice)
    crossing = [(alice.encrypt(b"a%d" % n, to=bob), bob.encrypt(b"b%d" % n, to=alice)) for n in range(4)]

    for n in (2, 0, 3, 1):
        assert bob.decrypt(crossing[n][0], sender=alice) == b"a%d" % n
        assert alice.decrypt(crossing[n][1], sender=bob) == b"b%d" % n
    for _ in range(100):
        turn(alice, bob)

    current = SessionShelf(bob.records, alice.id).current
    assert current is not None
    assert current.ratchet.spqr.agreement.epoch > 2


# ---- several devices ------------------------------------------------------------------------------------------------


def test_each_device_of_a_user_has_sessions_of_its_own(alice: Party, bob: Party) -> None:
    laptop = Party(DeviceId(bob.id.user, 2), random_bytes=seeded_bytes(22))
    converse(alice, bob)
    converse(laptop, alice)
    converse(bob, laptop)

    for one, other in ((alice, bob), (alice, laptop), (bob, laptop)):
        turn(one, other)
    for_bob = alice.encrypt(b"for bob's phone", to=bob)

    with pytest.raises(PeerError):
        laptop.decrypt(for_bob, sender=alice)
    assert bob.decrypt(for_bob, sender=alice) == b"for bob's phone"


def test_a_message_does_not_open_as_one_of_another_device_of_its_sender(alice: Party, bob: Party) -> None:
    laptop = Party(DeviceId(bob.id.user, 2), random_bytes=seeded_bytes(22))
    converse(alice, bob)
    converse(alice, laptop)
    message = bob.encrypt(b"x", to=alice)

    with pytest.raises(AuthenticationError):
        alice.decrypt(message, sender=laptop)

    assert alice.decrypt(message, sender=bob) == b"x"


# ---- duplicates -----------------------------------------------------------------------------------------------------


def test_a_duplicate_is_one_in_an_archived_session_too(alice: Party, bob: Party) -> None:
    converse(alice, bob)
    message = alice.encrypt(b"x", to=bob)
    bob.decrypt(message, sender=alice)
    alice.meet(bob)
    bob.decrypt(alice.encrypt(b"y", to=bob), sender=alice)

    with pytest.raises(DuplicateMessageError):
        bob.decrypt(message, sender=alice)


def test_a_duplicate_whose_chain_was_dropped_is_refused_all_the_same(alice: Party, bob: Party) -> None:
    converse(alice, bob)
    message = alice.encrypt(b"x", to=bob)
    bob.decrypt(message, sender=alice)
    alice.decrypt(bob.encrypt(b"y", to=alice), sender=bob)
    for _ in range(MAX_RECEIVING_CHAINS):
        turn(alice, bob)
    before = dict(bob.records)

    with pytest.raises(InvalidMessageError, match="used or given up"):
        bob.decrypt(message, sender=alice)

    assert bob.records == before


# ---- what they may cost ---------------------------------------------------------------------------------------------


def tried(error: pytest.ExceptionInfo[PeerError]) -> int:
    return int(error.value.__notes__[-1].rpartition(" ")[2])


def test_a_forged_message_under_a_ratchet_key_that_is_known_is_tried_in_its_session_only(
    alice: Party, bob: Party
) -> None:
    for _ in range(3):
        converse(alice, bob)
    bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice)
    message = alice.encrypt(b"y", to=bob)

    with pytest.raises(AuthenticationError) as caught:
        bob.decrypt(CiphertextMessage(message.type, message.body[:-1] + bytes([message.body[-1] ^ 1])), sender=alice)

    assert tried(caught) == 1


def test_what_one_forged_message_can_make_us_derive_is_bounded_over_all_sessions(alice: Party, bob: Party) -> None:
    for _ in range(8):
        converse(alice, bob)
    stranger = generate(random_bytes=seeded_bytes(23)).public
    message = forged(alice.encrypt(b"x", to=bob), ratchet_key=stranger, jump=MAX_FORWARD_JUMP)
    shelf = SessionShelf(bob.records, alice.id)
    each = steps(shelf.load(0), SignalMessage.decode(message.body))
    assert MAX_TRIAL_STEPS // each == 4

    with pytest.raises(PeerError) as caught:
        bob.decrypt(message, sender=alice)

    assert tried(caught) == 1 + 4
    assert len(list(shelf)) == 8


def test_a_jump_that_is_refused_at_once_does_not_keep_other_sessions_from_being_tried(alice: Party, bob: Party) -> None:
    for _ in range(4):
        converse(alice, bob)
    stranger = generate(random_bytes=seeded_bytes(23)).public
    message = forged(alice.encrypt(b"x", to=bob), ratchet_key=stranger, jump=MAX_FORWARD_JUMP + 10)

    with pytest.raises(PeerError) as caught:
        bob.decrypt(message, sender=alice)

    assert tried(caught) == 4


def test_a_message_in_the_oldest_session_opens_though_many_before_it_were_lost(alice: Party, bob: Party) -> None:
    converse(alice, bob)
    for _ in range(2400):
        alice.encrypt(b"lost", to=bob)
    message = alice.encrypt(b"late", to=bob)
    for _ in range(MAX_ARCHIVED_SESSIONS - 1):
        bob.meet(alice)

    assert bob.decrypt(message, sender=alice) == b"late"


def test_all_that_is_kept_of_the_sessions_with_one_device_has_a_bound() -> None:
    assert MAX_SESSIONS_BYTES < 25 << 20
