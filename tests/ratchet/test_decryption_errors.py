"""Word that a message could not be decrypted: what it says of each kind of message, and how it is read."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import InvalidKeyError, InvalidMessageError, PeerError
from whisperkit.ids import ConversationId, DeviceId
from whisperkit.ratchet import CiphertextMessage, MessageType
from whisperkit.ratchet.curve import PublicKey, key_pair
from whisperkit.ratchet.decryption_errors import DecryptionErrorMessage, PlaintextContent, is_of_current_session
from whisperkit.ratchet.messages import PreKeySignalMessage, SignalMessage
from whisperkit.ratchet.protobuf import write
from whisperkit.testing.ratchet import Party, seeded_bytes

# Vectors are JSON of many shapes, hence `Any`.
VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors/signal/sealed_sender.json").read_text())
CASE = VECTORS["decryption_error_message"]
KEY = key_pair(b"\x05" * 32).public
GROUP = ConversationId("g")


@pytest.fixture
def alice() -> Party:
    return Party(DeviceId.named("alice", 3), random_bytes=seeded_bytes(1))


@pytest.fixture
def bob() -> Party:
    return Party(DeviceId.named("bob", 1), random_bytes=seeded_bytes(2))


def test_one_about_a_group_message_is_that_of_the_official_library() -> None:
    error = DecryptionErrorMessage(None, CASE["timestamp"], CASE["device_id"])

    assert error.encode().hex() == CASE["serialized"]
    assert PlaintextContent.of(error).encode().hex() == CASE["plaintext_content"]
    assert PlaintextContent.decode(bytes.fromhex(CASE["plaintext_content"])).decryption_error == error


def test_one_about_a_first_message_names_the_ratchet_key_inside_of_it(alice: Party, bob: Party) -> None:
    alice.meet(bob)
    message = alice.encrypt(b"x", to=bob)
    inner = SignalMessage.decode(PreKeySignalMessage.decode(message.body).message)

    error = DecryptionErrorMessage.about(message, sender=alice.id, sent_at_ms=1_700_000_000_000)

    assert message.type == MessageType.PREKEY
    assert error == DecryptionErrorMessage(inner.ratchet_key, 1_700_000_000_000, 3)


def test_one_about_a_normal_message_names_its_ratchet_key(alice: Party, bob: Party) -> None:
    alice.meet(bob)
    bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice)
    message = bob.encrypt(b"y", to=alice)

    error = DecryptionErrorMessage.about(message, sender=bob.id, sent_at_ms=0)

    assert message.type == MessageType.WHISPER
    assert error == DecryptionErrorMessage(SignalMessage.decode(message.body).ratchet_key, 0, 1)
    assert DecryptionErrorMessage.decode(error.encode()) == error


def test_one_about_a_group_message_names_no_key(alice: Party) -> None:
    alice.save(alice.device.create_distribution(alice.records, GROUP).save)
    message = alice.device.group_encrypt(alice.records, b"x", group=GROUP).message

    error = DecryptionErrorMessage.about(message, sender=alice.id, sent_at_ms=7)

    assert error.ratchet_key is None


@pytest.mark.parametrize("kind", [MessageType.WHISPER, MessageType.PREKEY])
def test_a_message_too_damaged_to_name_is_refused(kind: MessageType) -> None:
    message = CiphertextMessage(kind, b"\x44" + bytes(40))

    with pytest.raises(InvalidMessageError):
        DecryptionErrorMessage.about(message, sender=DeviceId.named("alice", 1), sent_at_ms=0)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ([(2, 5)], DecryptionErrorMessage(None, 5, 0)),
        ([(1, KEY), (2, 2**64 - 1), (3, 9)], DecryptionErrorMessage(KEY, 2**64 - 1, 9)),
    ],
)
def test_only_the_time_has_to_be_there(fields: list[tuple[int, int | bytes]], found: DecryptionErrorMessage) -> None:
    assert DecryptionErrorMessage.decode(write(fields)) == found


def test_one_without_a_time_is_refused() -> None:
    with pytest.raises(InvalidMessageError, match="field 2 is missing"):
        DecryptionErrorMessage.decode(write(((1, KEY), (3, 1))))


def test_one_with_a_bad_key_is_refused() -> None:
    with pytest.raises(InvalidKeyError):
        DecryptionErrorMessage.decode(write(((1, b"\x04" + bytes(32)), (2, 1))))


@pytest.mark.parametrize("data", [b"", b"\xc1\x80", b"\x80"])
def test_what_does_not_begin_with_its_byte_is_no_plaintext_content(data: bytes) -> None:
    with pytest.raises(InvalidMessageError, match="0xc0"):
        PlaintextContent.decode(data)


@pytest.mark.parametrize("padding", [b"", b"\x00", b"\x81", b"\x80\x01"])
def test_a_content_whose_padding_is_wrong_is_refused(padding: bytes) -> None:
    inner = write(((8, DecryptionErrorMessage(None, 5, 0).encode()),))

    with pytest.raises(PeerError):
        _ = PlaintextContent(inner + padding).decryption_error


def test_a_content_may_be_padded_further() -> None:
    error = DecryptionErrorMessage(None, 5, 0)
    inner = write(((8, error.encode()),))

    assert PlaintextContent(inner + b"\x80" + bytes(100)).decryption_error == error


def test_a_content_with_something_else_in_it_is_refused() -> None:
    content = PlaintextContent.decode(b"\xc0" + write(((1, b"a text in the clear"),)) + b"\x80")

    with pytest.raises(InvalidMessageError, match="field 8 is missing"):
        _ = content.decryption_error


def test_it_is_of_the_current_session_until_that_goes_on(alice: Party, bob: Party) -> None:
    alice.meet(bob)
    message = alice.encrypt(b"x", to=bob)
    error = DecryptionErrorMessage.about(message, sender=alice.id, sent_at_ms=0)
    alice.encrypt(b"y", to=bob)

    before = is_of_current_session(alice.records, error, remote=bob.id)
    alice.meet(bob)
    after = is_of_current_session(alice.records, error, remote=bob.id)

    assert (before, after) == (True, False)


def test_it_is_of_no_session_if_there_is_none_or_it_names_no_key(alice: Party, bob: Party) -> None:
    unknown = is_of_current_session(alice.records, DecryptionErrorMessage(KEY, 0, 3), remote=bob.id)
    alice.meet(bob)

    assert not unknown
    assert not is_of_current_session(alice.records, DecryptionErrorMessage(KEY, 0, 3), remote=bob.id)
    assert not is_of_current_session(alice.records, DecryptionErrorMessage(None, 0, 3), remote=bob.id)


@given(
    st.one_of(st.none(), st.binary(min_size=32, max_size=32).map(lambda u: PublicKey(b"\x05" + u))),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
)
def test_what_is_written_is_read(key: PublicKey | None, sent_at_ms: int, number: int) -> None:
    error = DecryptionErrorMessage(key, sent_at_ms, number)

    assert PlaintextContent.decode(PlaintextContent.of(error).encode()).decryption_error == error


@pytest.mark.fuzz
@given(
    st.sampled_from([b"", b"\xc0", b"\xc0\x42"]), st.binary(max_size=100), st.sampled_from([b"", b"\x80", b"\x80\0"])
)
def test_whatever_is_decoded_ends_in_an_error_message_or_a_peer_error(first: bytes, data: bytes, last: bytes) -> None:
    with suppress(PeerError):
        DecryptionErrorMessage.decode(data)
    with suppress(PeerError):
        _ = PlaintextContent.decode(first + data + last).decryption_error
