"""Sessions, against the handshakes of the official library, and what a session refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from whisperkit.errors import (
    AuthenticationError,
    DuplicateMessageError,
    InvalidKeyError,
    InvalidMessageError,
    SkippedTooFarError,
    UnsupportedVersionError,
)
from whisperkit.ratchet import session
from whisperkit.ratchet.addresses import encode_address
from whisperkit.ratchet.chains import MessageKeys
from whisperkit.ratchet.curve import decode_public, generate, key_pair
from whisperkit.ratchet.double_ratchet import MAX_FORWARD_JUMP, MAX_SELF_FORWARD_JUMP, MAX_SKIPPED_KEYS, send
from whisperkit.ratchet.kem import encapsulate
from whisperkit.ratchet.kem import generate as generate_kem
from whisperkit.ratchet.kem import key_pair as kem_key_pair
from whisperkit.ratchet.messages import (
    CiphertextMessage,
    MessageType,
    PreKeySignalMessage,
    SignalMessage,
    encode_signal_message,
)
from whisperkit.ratchet.pqxdh import FirstKeys, agree_as_initiator, agree_as_responder
from whisperkit.ratchet.session import Parties, Pending, Session
from whisperkit.testing.ratchet import seeded_bytes

# Vectors are JSON of many shapes, hence `Any`.
VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors/signal/handshake.json").read_text())
ALICE, BOB = "31415926-5358-9793-2384-626433827950", "9d0652a3-dcc3-4d11-975f-74d61598733f"
RANDOM = seeded_bytes(4)


def respond(case: dict[str, Any]) -> tuple[Session, PreKeySignalMessage, FirstKeys]:
    """Bob of a vector, before he decrypts the first message."""
    first = PreKeySignalMessage.decode(bytes.fromhex(case["first_message"]["bytes"]))
    alice, bob, prekeys = case["alice"], case["bob"], case["bob_prekeys"]
    identity = key_pair(bytes.fromhex(bob["identity_private"]))
    signed = key_pair(bytes.fromhex(prekeys["signed_prekey"]["private"]))
    one_time = prekeys["one_time_prekey"]
    keys = agree_as_responder(
        identity=identity,
        signed_prekey=signed,
        one_time_prekey=key_pair(bytes.fromhex(one_time["private"])) if one_time else None,
        kyber_prekey=kem_key_pair(bytes.fromhex(prekeys["kyber_prekey"]["fips203_seed"])).seed,
        remote_identity=first.identity_key,
        base_key=first.base_key,
        kyber_ciphertext=first.kyber_ciphertext,
    )
    parties = Parties(
        identity.public,
        first.identity_key,
        bob["registration_id"],
        first.registration_id,
        encode_address(bob["name"], bob["device_id"]),
        encode_address(alice["name"], alice["device_id"]),
    )
    return session.start_as_responder(parties, keys, base_key=first.base_key, signed_prekey=signed), first, keys


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["note"])
def test_a_handshake_gives_the_keys_of_the_official_library(case: dict[str, Any]) -> None:
    begun, first, keys = respond(case)
    derived = case["derived"]

    inner = SignalMessage.decode(first.message)
    after = session.decrypt(begun, inner, random_bytes=RANDOM).session

    assert first._asdict() == {
        **first._asdict(),
        "pre_key_id": case["fields"]["pre_key_id"],
        "signed_pre_key_id": case["fields"]["signed_pre_key_id"],
        "kyber_pre_key_id": case["fields"]["kyber_pre_key_id"],
        "registration_id": case["fields"]["registration_id"],
        "base_key": bytes.fromhex(case["fields"]["base_key"]),
    }
    assert keys.chain_key.hex() == derived["pqxdh_chain_key"]
    assert keys.spqr_auth_key.hex() == derived["spqr_auth_key"]
    assert inner.ratchet_key.hex() == derived["alice_first_ratchet_public"]
    assert after.ratchet.receiving[0].ratchet_key == inner.ratchet_key


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["note"])
def test_the_first_messages_of_the_official_library_are_read(case: dict[str, Any]) -> None:
    state, _, _ = respond(case)

    for name in ("first_message", "second_message"):
        first = PreKeySignalMessage.decode(bytes.fromhex(case[name]["bytes"]))
        opened = session.decrypt(state, SignalMessage.decode(first.message), random_bytes=RANDOM)
        assert opened.plaintext.hex() == case[name]["plaintext"]
        state = opened.session


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["note"])
def test_a_message_of_the_official_library_is_written_again_bit_for_bit(case: dict[str, Any]) -> None:
    body = bytes.fromhex(case["first_message"]["bytes"])

    assert PreKeySignalMessage.decode(body).encode() == body


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["note"])
def test_the_initiator_s_ratchet_starts_as_that_of_the_official_library(case: dict[str, Any]) -> None:
    _, first, keys = respond(case)
    derived, identity = case["derived"], decode_public(bytes.fromhex(case["bob"]["identity_public"]))
    parties = Parties(first.identity_key, identity, 1, 2, None, None)

    begun = session.start_as_initiator(
        parties,
        keys,
        base_key=first.base_key,
        signed_prekey=decode_public(bytes.fromhex(case["bob_prekeys"]["signed_prekey"]["public"])),
        pending=Pending(None, 1, 1, first.kyber_ciphertext, 0),
        random_bytes=lambda size: bytes.fromhex(derived["alice_first_ratchet_private"]),
    )

    assert begun.ratchet.root_key.hex() == derived["root_key_after_first_ratchet"]
    assert begun.ratchet.sending.key.hex() == derived["alice_send_chain_key_0"]


# ---- two sides ------------------------------------------------------------------------------------------------------


def pair(local: str = ALICE, remote: str = BOB, *, same_identity: bool = False) -> tuple[Session, Session]:
    """An initiator's session, and the responder's before the first message."""
    alice, signed, base = (generate(random_bytes=RANDOM) for _ in range(3))
    bob = alice if same_identity else generate(random_bytes=RANDOM)
    kyber = generate_kem(random_bytes=RANDOM)
    sent = encapsulate(kyber.public)
    keys = agree_as_initiator(
        identity=alice,
        base=base,
        remote_identity=bob.public,
        signed_prekey=signed.public,
        one_time_prekey=None,
        encapsulated=sent,
    )
    ours, theirs = encode_address(local, 1), encode_address(remote, 2)
    one = session.start_as_initiator(
        Parties(alice.public, bob.public, 1, 2, ours, theirs),
        keys,
        base_key=base.public,
        signed_prekey=signed.public,
        pending=Pending(None, 1, 1, sent.ciphertext, made_at_ms=1000),
        random_bytes=RANDOM,
    )
    parties = Parties(bob.public, alice.public, 2, 1, theirs, ours)
    return one, session.start_as_responder(parties, keys, base_key=base.public, signed_prekey=signed)


def inner(message: CiphertextMessage) -> SignalMessage:
    if message.type is MessageType.PREKEY:
        return SignalMessage.decode(PreKeySignalMessage.decode(message.body).message)
    return SignalMessage.decode(message.body)


def step(sender: Session, receiver: Session, text: bytes) -> tuple[Session, Session]:
    sent = session.encrypt(sender, text, random_bytes=RANDOM)
    opened = session.decrypt(receiver, inner(sent.message), random_bytes=RANDOM)
    assert opened.plaintext == text
    return sent.session, opened.session


def lose(sender: Session, count: int) -> Session:
    """Messages that are sent and never arrive."""
    for _ in range(count):
        sender = sender._replace(ratchet=send(sender.ratchet, random_bytes=RANDOM).state)
    return sender


@pytest.mark.parametrize("text", [b"", b"x", bytes(15), bytes(16), bytes(5000)], ids=len)
def test_a_text_of_any_length_comes_through(text: bytes) -> None:
    step(*pair(), text)


def test_messages_are_first_messages_until_the_peer_answered() -> None:
    alice, bob = pair()
    for _ in range(2):
        sent = session.encrypt(alice, b"x", random_bytes=RANDOM)
        assert sent.message.type is MessageType.PREKEY
        alice, bob = step(alice, bob, b"x")

    bob, alice = step(bob, alice, b"y")

    assert alice.pending is None
    assert session.encrypt(alice, b"x", random_bytes=RANDOM).message.type is MessageType.WHISPER


def test_addresses_are_in_first_messages_only_and_only_for_service_ids() -> None:
    alice, bob = pair()
    named, _ = pair("alice", "bob")

    first = inner(session.encrypt(alice, b"x", random_bytes=RANDOM).message)
    alice, bob = step(alice, bob, b"x")
    answer = inner(session.encrypt(bob, b"x", random_bytes=RANDOM).message)

    assert first.addresses == encode_address(ALICE, 1) + encode_address(BOB, 2)  # type: ignore[operator]  # both are service ids
    assert answer.addresses is None
    assert inner(session.encrypt(named, b"x", random_bytes=RANDOM).message).addresses is None


@pytest.mark.parametrize(
    "changed",
    [
        {"local_address": encode_address(BOB, 3)},
        {"local_address": encode_address("PNI:" + BOB, 2)},
        {"local_address": None},
        {"remote_address": encode_address(ALICE, 2)},
        {"remote_address": encode_address(BOB, 1)},
        {"remote_address": None},
    ],
    ids=str,
)
def test_a_first_message_for_another_address_is_refused(changed: dict[str, Any]) -> None:  # of several fields
    alice, bob = pair()
    message = inner(session.encrypt(alice, b"x", random_bytes=RANDOM).message)

    moved = bob._replace(parties=bob.parties._replace(**changed))

    with pytest.raises(AuthenticationError, match="another device"):
        session.decrypt(moved, message, random_bytes=RANDOM)


def test_the_mac_binds_both_identities() -> None:
    alice, bob = pair()
    message = inner(session.encrypt(alice, b"x", random_bytes=RANDOM).message)
    other = generate(random_bytes=RANDOM).public

    for changed in (bob.parties._replace(local_identity=other), bob.parties._replace(remote_identity=other)):
        with pytest.raises(AuthenticationError, match="MAC"):
            session.decrypt(bob._replace(parties=changed), message, random_bytes=RANDOM)


def test_every_flipped_bit_is_noticed_and_the_message_still_opens_afterwards() -> None:
    alice, bob = step(*pair(), b"x")
    bob, alice = step(bob, alice, b"y")
    body = session.encrypt(alice, b"secret", random_bytes=RANDOM).message.body
    refusals = (
        AuthenticationError,
        DuplicateMessageError,
        InvalidKeyError,
        InvalidMessageError,
        SkippedTooFarError,
        UnsupportedVersionError,  # of the session, or of the post-quantum ratchet
    )

    for position in range(len(body)):
        damaged = body[:position] + bytes([body[position] ^ 1]) + body[position + 1 :]
        with pytest.raises(refusals):
            session.decrypt(bob, SignalMessage.decode(damaged), random_bytes=RANDOM)

    assert session.decrypt(bob, SignalMessage.decode(body), random_bytes=RANDOM).plaintext == b"secret"


def test_a_version_byte_with_another_lower_half_is_covered_by_the_mac() -> None:
    alice, bob = pair()
    body = PreKeySignalMessage.decode(session.encrypt(alice, b"x", random_bytes=RANDOM).message.body).message

    with pytest.raises(AuthenticationError):
        session.decrypt(bob, SignalMessage.decode(b"\x40" + body[1:]), random_bytes=RANDOM)
    with pytest.raises(UnsupportedVersionError):
        SignalMessage.decode(b"\x34" + body[1:])


def unpadded(keys: MessageKeys, text: bytes) -> bytes:
    """A text, encrypted without padding; where that is not possible, as it is."""
    if len(text) != 16:
        return text
    encryptor = Cipher(AES(keys.cipher_key), CBC(keys.iv)).encryptor()
    return encryptor.update(text) + encryptor.finalize()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(b"", "whole blocks", id="empty"),
        pytest.param(bytes(15), "whole blocks", id="15 bytes"),
        pytest.param(bytes(16), "padding", id="padding of 0"),
        pytest.param(bytes(15) + b"\x11", "padding", id="padding of 17"),
        pytest.param(bytes(14) + b"\x01\x02", "padding", id="uneven padding"),
    ],
)
def test_a_body_that_is_none_is_refused_although_its_mac_is_good(text: bytes, reason: str) -> None:
    alice, bob = pair()
    sent = send(alice.ratchet, random_bytes=RANDOM)
    body = encode_signal_message(
        ratchet_key=sent.ratchet_key,
        counter=sent.counter,
        previous_counter=0,
        ciphertext=unpadded(sent.keys, text),
        pq_ratchet=sent.pq_ratchet,
        addresses=None,
        mac_key=sent.keys.mac_key,
        sender=alice.parties.local_identity,
        receiver=alice.parties.remote_identity,
    )

    with pytest.raises(InvalidMessageError, match=reason):
        session.decrypt(bob, SignalMessage.decode(body), random_bytes=RANDOM)


def test_a_session_is_stale_after_30_days_without_an_answer_and_not_before() -> None:
    alice, bob = pair()
    month_ms = 30 * 24 * 3600 * 1000

    assert not session.is_stale(alice, wall_ms=1000 + month_ms)
    assert session.is_stale(alice, wall_ms=1001 + month_ms)
    assert not session.is_stale(bob, wall_ms=1001 + month_ms)


@pytest.mark.parametrize(
    ("local", "remote", "same_identity", "expected"),
    [
        (BOB, BOB, True, True),
        (BOB.upper(), BOB, True, True),
        (BOB, BOB, False, False),
        (ALICE, BOB, True, False),
        ("PNI:" + BOB, BOB, True, False),
        ("bob", "bob", True, False),
    ],
)
def test_a_session_with_oneself_is_told_by_identity_and_service_id(
    local: str, remote: str, same_identity: bool, expected: bool
) -> None:
    alice, bob = pair(local, remote, same_identity=same_identity)

    assert alice.parties.is_self is expected
    assert bob.parties.is_self is expected


@pytest.mark.parametrize(
    ("remote", "same_identity", "limit"), [(BOB, False, MAX_FORWARD_JUMP), (ALICE, True, MAX_SELF_FORWARD_JUMP)]
)
def test_jumps_are_limited_and_less_so_in_a_session_with_oneself(remote: str, same_identity: bool, limit: int) -> None:
    alice, bob = step(*pair(ALICE, remote, same_identity=same_identity), b"x")
    message = inner(session.encrypt(alice, b"x", random_bytes=RANDOM).message)

    with pytest.raises(SkippedTooFarError) as caught:
        session.decrypt(bob, message._replace(counter=message.counter + limit + 1), random_bytes=RANDOM)

    assert (caught.value.gap, caught.value.limit) == (limit + 1, limit)


def test_a_jump_beyond_the_usual_limit_opens_in_a_session_with_oneself() -> None:
    alice, bob = step(*pair(ALICE, ALICE, same_identity=True), b"x")
    lost = MAX_FORWARD_JUMP + 10

    _, bob = step(lose(alice, lost), bob, b"after a long time in the drawer")

    assert bob.ratchet.receiving[-1].next_counter == lost + 2


# ---- two ratchets, two limits ---------------------------------------------------------------------------------------


def burst(alice: Session, count: int) -> tuple[Session, list[SignalMessage]]:
    """Messages that Alice sends and that do not arrive yet."""
    messages: list[SignalMessage] = []
    for _ in range(count):
        sent = session.encrypt(alice, b"x", random_bytes=RANDOM)
        alice = sent.session
        messages.append(inner(sent.message))
    return alice, messages


def opens(bob: Session, message: SignalMessage) -> Session:
    return session.decrypt(bob, message, random_bytes=RANDOM).session


def test_the_post_quantum_ratchet_s_jump_is_the_stricter_one_by_one() -> None:
    alice, bob = step(*pair(), b"0")
    _, (at_the_limit, beyond) = burst(lose(alice, MAX_FORWARD_JUMP - 1), 2)

    opens(bob, at_the_limit)
    with pytest.raises(SkippedTooFarError) as caught:
        opens(bob, beyond)

    assert (caught.value.gap, caught.value.limit) == (MAX_FORWARD_JUMP + 1, MAX_FORWARD_JUMP)


def test_a_skipped_message_opens_up_to_2000_behind_the_newest() -> None:
    alice, bob = pair()
    _, messages = burst(alice, MAX_SKIPPED_KEYS + 3)
    for message in messages[2 : MAX_SKIPPED_KEYS + 1]:
        bob = opens(bob, message)
    assert list(bob.ratchet.receiving[-1].skipped) == [0, 1]

    opens(bob, messages[0])
    for message in messages[MAX_SKIPPED_KEYS + 1 :]:
        bob = opens(bob, message)

    # The seed is still there, but the post-quantum ratchet has given its key up.
    with pytest.raises(InvalidMessageError, match="given up"):
        opens(bob, messages[1])


def test_after_a_jump_the_last_2000_open_and_those_before_count_as_duplicates() -> None:
    alice, bob = pair()
    _, messages = burst(alice, MAX_SKIPPED_KEYS + 10)
    bob = opens(bob, messages[-1])
    oldest = len(messages) - 1 - MAX_SKIPPED_KEYS

    opens(bob, messages[oldest])
    with pytest.raises(DuplicateMessageError):
        opens(bob, messages[oldest - 1])


def test_a_message_of_a_post_quantum_epoch_that_was_given_up_does_not_open() -> None:
    alice, bob = step(*pair(), b"x")
    bob, alice = step(bob, alice, b"y")
    alice, (late,) = burst(alice, 1)
    while bob.ratchet.spqr.agreement.epoch < 4:
        alice, bob = step(alice, bob, b"x")
        bob, alice = step(bob, alice, b"y")

    with pytest.raises(InvalidMessageError):
        opens(bob, late)


def test_a_message_without_a_post_quantum_part_is_refused() -> None:
    alice, bob = pair()
    message = inner(session.encrypt(alice, b"x", random_bytes=RANDOM).message)

    with pytest.raises(UnsupportedVersionError):
        opens(bob, message._replace(pq_ratchet=b""))


def test_the_key_of_the_post_quantum_ratchet_goes_into_the_key_of_each_message() -> None:
    alice, bob = pair()
    _, stranger = pair()
    message = inner(session.encrypt(alice, b"x", random_bytes=RANDOM).message)

    with pytest.raises(AuthenticationError):
        opens(bob._replace(ratchet=bob.ratchet._replace(spqr=stranger.ratchet.spqr)), message)
