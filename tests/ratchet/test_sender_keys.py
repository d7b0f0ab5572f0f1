"""Sender keys, against the vectors of the official library."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from whisperkit.errors import (
    DuplicateMessageError,
    InvalidMessageError,
    InvalidSignatureError,
    PeerError,
    SkippedTooFarError,
    UnsupportedVersionError,
)
from whisperkit.ratchet import sender_keys
from whisperkit.ratchet.chains import ChainKey
from whisperkit.ratchet.curve import PrivateKey, PublicKey, generate, key_pair
from whisperkit.ratchet.double_ratchet import MAX_FORWARD_JUMP, MAX_SKIPPED_KEYS, skip
from whisperkit.ratchet.messages import SenderKeyDistributionMessage, SenderKeyMessage, encode_sender_key_message
from whisperkit.ratchet.sender_keys import MAX_SENDER_KEY_STATES, SenderKeyState
from whisperkit.testing.ratchet import seeded_bytes

# Vectors are JSON of many shapes, hence `Any`.
VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors/signal/groups.json").read_text())
SECRETS = VECTORS["sender_secrets"]
RANDOM = seeded_bytes(6)
LIST = uuid.UUID(VECTORS["distribution_id"])


def distribution(name: str = "distribution_message") -> SenderKeyDistributionMessage:
    return SenderKeyDistributionMessage.decode(bytes.fromhex(VECTORS[name]))


def sender() -> tuple[SenderKeyState, PrivateKey]:
    state = sender_keys.new_state(random_bytes=RANDOM)
    assert state.signing_private is not None
    return state, state.signing_private


def reader(state: SenderKeyState) -> SenderKeyState:
    (known,) = sender_keys.process((), sender_keys.distribution_of(state, LIST))
    return known


def encrypt(state: SenderKeyState, private: PrivateKey, text: bytes) -> tuple[SenderKeyState, SenderKeyMessage]:
    made = sender_keys.encrypt(state, private, text, distribution_id=LIST, random_bytes=RANDOM)
    return made.state, SenderKeyMessage.decode(made.body)


def skipped_to(state: SenderKeyState, private: PrivateKey, iteration: int) -> SenderKeyMessage:
    """The sender's message at a position further on."""
    key, _ = skip(state.chain_key, {}, state.iteration, iteration)
    return encrypt(state._replace(chain_key=key, iteration=iteration), private, b"far")[1]


def test_a_distribution_message_is_that_of_the_official_library() -> None:
    message = distribution()

    assert message.distribution_id == LIST
    assert message.chain_id == SECRETS["chain_id"]
    assert message.chain_key.hex() == SECRETS["chain_key_0"]
    assert message.signing_key.hex() == SECRETS["signing_public"]
    assert message.encode().hex() == VECTORS["distribution_message"]


def test_a_message_is_encrypted_bit_for_bit_as_by_the_official_library_but_for_the_signature() -> None:
    signing = key_pair(bytes.fromhex(SECRETS["signing_private"]))
    chain_key = ChainKey(bytes.fromhex(SECRETS["chain_key_0"]))
    state = SenderKeyState(SECRETS["chain_id"], 0, chain_key, signing.public, signing.private)

    for case in VECTORS["messages"]:
        state, message = encrypt(state, signing.private, bytes.fromhex(case["plaintext"]))
        assert message.signed == bytes.fromhex(case["bytes"])[:-64]

    assert sender_keys.distribution_of(state, LIST).encode().hex() == VECTORS["late_distribution_message"]


def test_deliveries_end_as_in_the_official_library() -> None:
    (state,) = sender_keys.process((), distribution())

    for case in VECTORS["deliveries"]:
        body = bytes.fromhex(VECTORS["messages"][case["iteration"]]["bytes"])
        if case["result"].startswith("error message with old counter"):
            with pytest.raises(DuplicateMessageError):
                sender_keys.decrypt(state, SenderKeyMessage.decode(body))
        else:
            opened = sender_keys.decrypt(state, SenderKeyMessage.decode(body))
            assert opened.plaintext.hex() == case["result"]
            state = opened.state

    for case in VECTORS["negative_after_deliveries"]:
        if case["note"] == "unknown sender":
            continue  # a matter of the device, tested there
        if case["result"].startswith("error"):
            with pytest.raises((InvalidSignatureError, UnsupportedVersionError, InvalidMessageError)):
                sender_keys.decrypt(state, SenderKeyMessage.decode(bytes.fromhex(case["bytes"])))
        else:
            opened = sender_keys.decrypt(state, SenderKeyMessage.decode(bytes.fromhex(case["bytes"])))
            assert opened.plaintext.hex() == case["result"]


def test_who_joins_late_reads_from_there() -> None:
    message = distribution("late_distribution_message")
    assert (message.iteration, message.chain_key.hex()) == (VECTORS["late_iteration"], VECTORS["late_chain_key"])
    (state,) = sender_keys.process((), message)

    for case in VECTORS["messages_after_late_distribution"]:
        opened = sender_keys.decrypt(state, SenderKeyMessage.decode(bytes.fromhex(case["bytes"])))
        assert opened.plaintext.hex() == case["plaintext"]
        state = opened.state

    early = SenderKeyMessage.decode(bytes.fromhex(VECTORS["messages"][29]["bytes"]))
    with pytest.raises(DuplicateMessageError):
        sender_keys.decrypt(state, early)


def test_the_same_distribution_message_twice_does_not_rewind_the_chain() -> None:
    state, private = sender()
    first = sender_keys.distribution_of(state, LIST)
    known = sender_keys.process((), first)
    _, message = encrypt(state, private, b"x")
    known = (sender_keys.decrypt(known[0], message).state,)

    known = sender_keys.process(known, first)

    with pytest.raises(DuplicateMessageError):
        sender_keys.decrypt(known[0], message)


def test_a_known_chain_comes_to_the_front_and_the_same_id_with_another_key_replaces_it() -> None:
    one, _ = sender()
    two, _ = sender()
    impostor = two._replace(chain_id=one.chain_id)
    known = sender_keys.process((), sender_keys.distribution_of(one, LIST))
    known = sender_keys.process(known, sender_keys.distribution_of(two, LIST))

    again = sender_keys.process(known, sender_keys.distribution_of(one, LIST))
    replaced = sender_keys.process(known, sender_keys.distribution_of(impostor, LIST))

    assert [state.chain_id for state in again] == [one.chain_id, two.chain_id]
    assert [state.signing_key for state in replaced] == [two.signing_key, two.signing_key]


def test_at_most_five_chains_of_a_sender_are_kept() -> None:
    chains = [sender()[0] for _ in range(MAX_SENDER_KEY_STATES + 2)]
    known: tuple[SenderKeyState, ...] = ()

    for chain in chains:
        known = sender_keys.process(known, sender_keys.distribution_of(chain, LIST))

    assert [state.chain_id for state in known] == [chain.chain_id for chain in reversed(chains[2:])]


def test_a_jump_of_25_000_is_accepted_and_one_more_is_not() -> None:
    state, private = sender()

    opened = sender_keys.decrypt(reader(state), skipped_to(state, private, MAX_FORWARD_JUMP))
    with pytest.raises(SkippedTooFarError) as caught:
        sender_keys.decrypt(reader(state), skipped_to(state, private, MAX_FORWARD_JUMP + 1))

    assert list(opened.state.skipped) == list(range(MAX_FORWARD_JUMP - MAX_SKIPPED_KEYS, MAX_FORWARD_JUMP))
    assert caught.value.gap == 25_001


def test_the_seed_of_a_late_message_is_used_once() -> None:
    state, private = sender()
    known = reader(state)
    state, late = encrypt(state, private, b"late")
    state, message = encrypt(state, private, b"x")
    known = sender_keys.decrypt(known, message).state

    opened = sender_keys.decrypt(known, late)

    assert opened.plaintext == b"late"
    assert not opened.state.skipped
    with pytest.raises(DuplicateMessageError):
        sender_keys.decrypt(opened.state, late)


def test_a_reader_cannot_write_in_the_sender_s_name() -> None:
    state, _ = sender()
    mallory = generate(random_bytes=RANDOM)

    _, forged = encrypt(state, mallory.private, b"x")

    with pytest.raises(InvalidSignatureError):
        sender_keys.decrypt(reader(state), forged)


def test_a_body_that_is_none_is_refused_although_its_signature_is_good() -> None:
    state, private = sender()
    body = encode_sender_key_message(
        distribution_id=LIST,
        chain_id=state.chain_id,
        iteration=0,
        ciphertext=bytes(15),
        signing_key=private,
        random_bytes=RANDOM,
    )

    with pytest.raises(InvalidMessageError, match="whole blocks"):
        sender_keys.decrypt(reader(state), SenderKeyMessage.decode(body))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"chain_key": ChainKey(bytes(31))}, "32 bytes, got 31"),
        ({"signing_key": PublicKey(b"\x05" + bytes(33))}, "33 bytes, got 34"),
        ({"signing_key": PublicKey(b"\x04" + bytes(32))}, "type 0x04"),
    ],
)
def test_a_distribution_message_with_a_field_of_a_wrong_size_is_refused(
    changed: dict[str, Any],  # values of several fields
    reason: str,
) -> None:
    with pytest.raises(PeerError, match=reason):
        SenderKeyDistributionMessage.decode(distribution()._replace(**changed).encode())


@pytest.mark.parametrize("first_byte", [0x23, 0x43])
def test_a_distribution_message_of_another_version_is_refused(first_byte: int) -> None:
    with pytest.raises(UnsupportedVersionError):
        SenderKeyDistributionMessage.decode(bytes([first_byte]) + distribution().encode()[1:])


def test_a_distribution_message_that_is_too_short_is_refused() -> None:
    with pytest.raises(InvalidMessageError, match="at least 65 bytes, got 64"):
        SenderKeyDistributionMessage.decode(distribution().encode()[:64])
