"""What a hostile server or peer sends: refused by a typed error without a trace, and bounded where it is kept.

The server has no keys: it alters, cuts, repeats and mixes what others sent. The peer has the keys of its own session:
its messages are authentic, whatever they say.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from whisperkit.errors import ActionRequiredError, DuplicateMessageError, PeerError
from whisperkit.ids import DeviceId
from whisperkit.ratchet import CiphertextMessage, MessageType, records, spqr
from whisperkit.ratchet.body import encrypt_body
from whisperkit.ratchet.chains import message_keys, next_chain_key, step
from whisperkit.ratchet.double_ratchet import MAX_RECEIVING_CHAINS, MAX_SKIPPED_KEYS, SendingChain
from whisperkit.ratchet.messages import PreKeySignalMessage, encode_signal_message
from whisperkit.ratchet.protobuf import write, write_varint
from whisperkit.ratchet.records import MAX_SESSION_BYTES, MAX_SHELF_BYTES, MAX_SKIPPED_ROWS_BYTES
from whisperkit.ratchet.session import Session
from whisperkit.ratchet.sessions import MAX_ARCHIVED_SESSIONS, SessionShelf
from whisperkit.ratchet.spqr import chain as chains
from whisperkit.ratchet.spqr import wire
from whisperkit.testing.ratchet import Party, seeded_bytes


def people() -> tuple[Party, Party]:
    """Two who know each other's prekeys and have not written yet."""
    alice, bob = (
        Party(DeviceId.named(name, 1), random_bytes=seeded_bytes(60 + i)) for i, name in enumerate(("alice", "bob"))
    )
    alice.meet(bob)
    return alice, bob


def friends() -> tuple[Party, Party]:
    """Two who have a session that both answered in."""
    alice, bob = people()
    bob.decrypt(alice.encrypt(b"hello", to=bob), sender=alice)
    alice.decrypt(bob.encrypt(b"hi", to=alice), sender=bob)
    return alice, bob


def refused(party: Party, message: CiphertextMessage, *, sender: Party) -> bool:
    """Whether a message ends in an error of the kinds that are announced, and the records are as they were."""
    before = dict(party.records)
    try:
        party.decrypt(message, sender=sender)
    except (PeerError, ActionRequiredError):
        assert party.records == before
        return True
    return False


def variants(message: CiphertextMessage) -> Iterator[CiphertextMessage]:
    """A message with each byte changed in four ways, cut short at each place, and with something behind its end."""
    kind, body = message
    for position, byte in enumerate(body):
        for flip in (0x01, 0x08, 0x80, 0xFF):
            yield CiphertextMessage(kind, body[:position] + bytes([byte ^ flip]) + body[position + 1 :])
        yield CiphertextMessage(kind, body[:position])
    yield CiphertextMessage(kind, body + b"\x00")
    yield CiphertextMessage(kind, body + body)


# ---- a server without keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_late", [False, True], ids=["in order", "late"])
def test_a_message_with_any_byte_changed_or_missing_is_refused_without_a_trace(is_late: bool) -> None:
    alice, bob = friends()
    message = alice.encrypt(b"the text", to=bob)
    if is_late:
        bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice)

    for variant in variants(message):
        assert refused(bob, variant, sender=alice)

    assert bob.decrypt(message, sender=alice) == b"the text"


def test_a_first_message_with_a_byte_changed_is_refused_or_says_the_same() -> None:
    alice, bob = people()
    message = alice.encrypt(b"the text", to=bob)
    start = message.body.index(PreKeySignalMessage.decode(message.body).message)
    stop = start + len(PreKeySignalMessage.decode(message.body).message)
    taken: set[int] = set()

    for position in range(len(message.body)):
        body = bytearray(message.body)
        body[position] ^= 0x01
        variant = CiphertextMessage(MessageType.PREKEY, bytes(body))
        if not refused(bob, variant, sender=alice):
            bob = people()[1]
            taken.add(position)

    # The registration id, and the low half of the version byte: nobody reads them, and nothing covers them.
    decoded = PreKeySignalMessage.decode(message.body)
    registration = message.body.index(write(((5, decoded.registration_id),)), stop)
    assert {0, registration + 1} <= taken <= {0, registration, registration + 1, registration + 2}
    assert not taken & set(range(start, stop))


def test_a_first_message_that_is_cut_short_is_refused_without_a_trace() -> None:
    alice, bob = people()
    message = alice.encrypt(b"the text", to=bob)

    for size in range(0, len(message.body), 7):
        assert refused(bob, CiphertextMessage(MessageType.PREKEY, message.body[:size]), sender=alice)

    assert bob.decrypt(message, sender=alice) == b"the text"


def test_a_replayed_message_is_a_duplicate_and_leaves_no_trace() -> None:
    alice, bob = friends()
    messages = [alice.encrypt(b"%d" % n, to=bob) for n in range(3)]
    for message in (messages[2], messages[0], messages[1]):
        bob.decrypt(message, sender=alice)
    before = dict(bob.records)

    for message in messages:
        with pytest.raises(DuplicateMessageError):
            bob.decrypt(message, sender=alice)

    assert bob.records == before


def test_a_message_of_another_session_is_refused_without_a_trace() -> None:
    alice, bob = friends()
    carol = Party(DeviceId.named("carol", 1), random_bytes=seeded_bytes(63))
    alice.meet(carol)
    carol.meet(bob)
    first = carol.encrypt(b"x", to=bob)
    bob.decrypt(first, sender=carol)
    for_carol = alice.encrypt(b"x", to=carol)

    assert refused(bob, for_carol, sender=alice)  # for another reader
    assert refused(bob, first, sender=alice)  # from another writer
    assert refused(bob, bob.encrypt(b"x", to=carol), sender=alice)  # back to who wrote it


def test_a_first_message_around_the_message_of_another_session_is_refused_without_a_trace() -> None:
    alice, bob = people()
    first = PreKeySignalMessage.decode(alice.encrypt(b"1", to=bob).body)
    alice.meet(bob)
    other = PreKeySignalMessage.decode(alice.encrypt(b"2", to=bob).body)
    mixed = CiphertextMessage(MessageType.PREKEY, first._replace(message=other.message).encode())

    assert refused(bob, mixed, sender=alice)


# ---- a peer with the keys of its session ----------------------------------------------------------------------------


class Hostile:
    """Alice without manners: her messages are authentic, and say of the post-quantum ratchet what she likes."""

    def __init__(self, party: Party, victim: Party) -> None:
        self.party = party
        self.victim = victim

    def session(self) -> Session:
        found = SessionShelf(self.party.records, self.victim.id).current
        assert found is not None
        return found

    def keep(self, session: Session) -> None:
        shelf = SessionShelf(self.party.records, self.victim.id)
        shelf.replace_current(session)
        self.party.save(shelf.save)

    def say(self, kind: wire.MessageType, chunk_index: int, chunk: bytes, *, skip: int = 0) -> CiphertextMessage:
        """A message of the post-quantum ratchet of any kind, after so many others that never leave."""
        session = self.session()
        ratchet, parties = session.ratchet, session.parties
        state, sending = ratchet.spqr, ratchet.sending
        epoch, chain, key = state.agreement.epoch, state.chain, sending.key
        for _ in range(skip):
            chain, _, _ = chains.send_key(chain, epoch - 1)
            key = next_chain_key(key)
        counter = sending.next_counter + skip
        chain, index, pq_key = chains.send_key(chain, epoch - 1)
        message = wire.opening(epoch) + write_varint(index) + bytes([kind]) + write_varint(chunk_index) + chunk
        seed, following = step(key)
        keys = message_keys(seed, pq_key)
        body = encode_signal_message(
            ratchet_key=sending.ratchet.public,
            counter=counter,
            previous_counter=0,
            ciphertext=encrypt_body(keys, b"hostile"),
            pq_ratchet=message,
            addresses=None,
            mac_key=keys.mac_key,
            sender=parties.local_identity,
            receiver=parties.remote_identity,
        )
        after = ratchet._replace(
            sending=SendingChain(sending.ratchet, following, counter + 1), spqr=state._replace(chain=chain)
        )
        self.keep(session._replace(ratchet=after))
        return CiphertextMessage(MessageType.WHISPER, body)


def rows_of(party: Party, other: Party) -> dict[bytes, bytes]:
    """What is kept of the sessions with a device, by what follows the name of the first session."""
    prefix = records.session_prefix(other.id)
    return {key[len(prefix) :]: value for key, value in party.records.items() if key.startswith(prefix)}


def check_rows(party: Party, other: Party) -> None:
    rows = rows_of(party, other)
    assert len(rows.pop(b"")) <= MAX_SHELF_BYTES
    for number in {suffix[:4] for suffix in rows}:
        assert len(rows[number]) <= MAX_SESSION_BYTES
        skipped = {suffix: row for suffix, row in rows.items() if suffix[:4] == number and suffix != number}
        assert sum(map(len, skipped.values())) <= MAX_SKIPPED_ROWS_BYTES
        assert max(map(len, skipped.values()), default=0) <= spqr.MAX_SKIPPED_BYTES


@pytest.mark.parametrize("honest_turns", [0, 12, 40, 60])
def test_whatever_a_peer_says_of_the_post_quantum_ratchet_what_we_keep_is_bounded(honest_turns: int) -> None:
    alice, bob = friends()
    for _ in range(honest_turns):
        bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice)
        alice.decrypt(bob.encrypt(b"y", to=alice), sender=bob)
    choose, hostile = Random(honest_turns), Hostile(alice, bob)
    opened = 0

    for _ in range(200):
        if choose.random() < 0.5:
            index = choose.choice([choose.randrange(50), choose.randrange(65_536), 65_535])
            skip = choose.choice([0, 0, 0, 0, 1, 40]) if choose.random() < 0.98 else 2_500
            kind = wire.MessageType(choose.randrange(7))
            message = hostile.say(kind, index, choose.randbytes(32), skip=skip)
        else:
            message = alice.encrypt(b"honest", to=bob)
        opened += not refused(bob, message, sender=alice)
        if choose.random() < 0.7:
            alice.decrypt(bob.encrypt(b"answer", to=alice), sender=bob)
        check_rows(bob, alice)

    assert opened > 80


def test_a_peer_that_skips_in_every_chain_makes_us_keep_no_more_than_the_bound() -> None:
    alice, bob = friends()
    hostile = Hostile(alice, bob)

    for _ in range(MAX_RECEIVING_CHAINS + 2):
        bob.decrypt(hostile.say(wire.MessageType.NONE, 0, b"", skip=MAX_SKIPPED_KEYS + 300), sender=alice)
        alice.decrypt(bob.encrypt(b"answer", to=alice), sender=bob)

    rows = rows_of(bob, alice)
    number = (0).to_bytes(4, "big")
    seeds = [row for suffix, row in rows.items() if suffix.startswith(number + b"s")]
    assert [len(row) for row in seeds] == MAX_RECEIVING_CHAINS * [MAX_SKIPPED_KEYS * 36]
    check_rows(bob, alice)


def test_a_peer_that_sends_first_messages_makes_us_keep_no_more_sessions_than_the_bound() -> None:
    alice, bob = people()
    for _ in range(MAX_ARCHIVED_SESSIONS + 5):
        alice.meet(bob)
        alice.encrypt(b"lost", to=bob)
        bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice)

    assert len({suffix[:4] for suffix in rows_of(bob, alice) if suffix}) == 1 + MAX_ARCHIVED_SESSIONS
    check_rows(bob, alice)


def test_a_session_that_was_never_answered_is_within_the_bound_too() -> None:
    alice, bob = people()
    alice.encrypt(b"x", to=bob)

    row = alice.records[records.session_key(bob.id, 0)]

    assert 3_000 < len(row) <= MAX_SESSION_BYTES
