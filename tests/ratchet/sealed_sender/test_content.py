"""The content of a sealed message, written and read."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import InvalidMessageError, PeerError
from whisperkit.ids import DeviceId
from whisperkit.ratchet import CiphertextMessage, DecryptionErrorMessage, MessageType, PlaintextContent
from whisperkit.ratchet.curve import key_pair
from whisperkit.ratchet.protobuf import write
from whisperkit.ratchet.sealed_sender import ContentHint, Sealable, SealedContent
from whisperkit.testing.ratchet import seeded_bytes
from whisperkit.testing.sealing import Authority

CERTIFICATE = Authority(random_bytes=seeded_bytes(22)).certify(DeviceId.named("alice", 1), key_pair(bytes(32)).public)
FIELDS: dict[int, int | bytes] = {1: 2, 2: CERTIFICATE.encode(), 3: b"body"}
SAID = PlaintextContent.of(DecryptionErrorMessage(None, 5, 1))


def test_contents_of_the_official_library_are_read_and_written_bit_for_bit(vectors: dict[str, Any]) -> None:
    first = [bytes.fromhex(case["content"]) for case in vectors["v1"]]
    many = bytes.fromhex(vectors["v2"]["content"])

    for data in (*first, many):
        assert SealedContent.decode(data).encode() == data
    for data, case in zip(first, vectors["v1"], strict=True):
        message = CiphertextMessage(MessageType.PREKEY, bytes.fromhex(case["inner"]))
        assert SealedContent.decode(data).message == message
    content = SealedContent.decode(many)
    assert isinstance(content.message, PlaintextContent)
    assert content.message.encode().hex() == vectors["decryption_error_message"]["plaintext_content"]
    assert (content.hint, content.group_id) == (ContentHint.RESENDABLE, b"group-id")


@pytest.mark.parametrize("hint", list(ContentHint))
@pytest.mark.parametrize("group_id", [b"", b"g"])
@pytest.mark.parametrize("message", [*(CiphertextMessage(kind, b"x") for kind in MessageType), SAID])
def test_what_is_written_is_read(message: Sealable, hint: ContentHint, group_id: bytes) -> None:
    content = SealedContent(message, CERTIFICATE, hint, group_id)

    assert SealedContent.decode(content.encode()) == content


@pytest.mark.parametrize(("message", "number"), [
    (CiphertextMessage(MessageType.PREKEY, b""), 1),
    (CiphertextMessage(MessageType.WHISPER, b""), 2),
    (CiphertextMessage(MessageType.SENDER_KEY, b""), 7),
    (SAID, 8),
])  # fmt: skip
def test_a_first_message_has_another_number_here_than_elsewhere(message: Sealable, number: int) -> None:
    assert SealedContent(message, CERTIFICATE).encode()[:2] == bytes([1 << 3, number])


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_content_without_a_required_field_is_refused(number: int) -> None:
    with pytest.raises(InvalidMessageError, match=f"field {number} is missing"):
        SealedContent.decode(write((key, value) for key, value in FIELDS.items() if key != number))


@pytest.mark.parametrize("number", [0, 3, 4, 6, 9])
def test_a_content_of_another_kind_is_refused(number: int) -> None:
    with pytest.raises(InvalidMessageError, match=f"of type {number}"):
        SealedContent.decode(write({**FIELDS, 1: number}.items()))


def test_a_plaintext_content_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidMessageError, match="0xc0"):
        SealedContent.decode(write({**FIELDS, 1: 8}.items()))


@pytest.mark.parametrize("number", [0, 3, 77])
def test_a_hint_that_is_not_known_counts_as_absent(number: int) -> None:
    assert SealedContent.decode(write({**FIELDS, 4: number}.items())).hint == ContentHint.DEFAULT


def test_who_prints_a_content_learns_nothing_of_it() -> None:
    assert repr(SealedContent(SAID, CERTIFICATE)) == "<SealedContent>"


@pytest.mark.fuzz
@given(st.binary(max_size=60), st.integers(0, 9), st.binary(max_size=30))
def test_whatever_is_decoded_ends_in_a_content_or_a_peer_error(data: bytes, kind: int, body: bytes) -> None:
    for form in (data, write({**FIELDS, 1: kind, 3: body}.items()) + data):
        with suppress(PeerError):
            SealedContent.decode(form)
