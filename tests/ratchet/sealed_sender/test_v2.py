"""Sealed sender, version 2: against the vectors of the official library, and against whoever alters it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import (
    AuthenticationError,
    InvalidKeyError,
    InvalidMessageError,
    PeerError,
    UnsupportedVersionError,
)
from whisperkit.ids import DeviceId
from whisperkit.ratchet import CiphertextMessage, MessageType
from whisperkit.ratchet.curve import PublicKey, agree, key_pair
from whisperkit.ratchet.prepared_hmac import hkdf
from whisperkit.ratchet.sealed_sender import SealedContent, v2
from whisperkit.testing.ratchet import seeded_bytes
from whisperkit.testing.sealing import Authority

RANDOM = seeded_bytes(24)
HOUSE = Authority(random_bytes=RANDOM)
ALICE, BOB, CAROL, MALLORY = (key_pair(bytes([n]) * 32) for n in (1, 2, 3, 4))
PHONE = DeviceId.named("alice", 1)
MESSAGE = CiphertextMessage(MessageType.SENDER_KEY, b"an encrypted message")
CONTENT = SealedContent(MESSAGE, HOUSE.certify(PHONE, ALICE.public), group_id=b"group")
MADE = v2.seal(CONTENT, sender=ALICE, recipients=[BOB.public, CAROL.public], random_bytes=RANDOM)
FOR_BOB, FOR_CAROL = (v2.join(part, MADE.shared) for part in MADE.parts)


def secret_of(received: bytes, private: bytes) -> bytes:
    """What a message grows from, as its recipient can tell."""
    pair = key_pair(private)
    ephemeral = PublicKey(b"\x05" + received[49:81])
    mask = hkdf(agree(pair.private, ephemeral) + ephemeral + pair.public, b"Sealed Sender v2: DH", 32)
    return bytes(a ^ b for a, b in zip(mask, received[1:33], strict=True))


def test_a_message_of_the_official_library_is_opened(vectors: dict[str, Any]) -> None:
    bob = key_pair(bytes.fromhex(vectors["bob"]["identity_private"]))

    content = v2.open_sealed(bytes.fromhex(vectors["v2"]["received_by_bob"]), recipient=bob)

    assert content.encode().hex() == vectors["v2"]["content"]


def test_a_message_is_sealed_bit_for_bit_as_by_the_official_library(vectors: dict[str, Any]) -> None:
    alice = key_pair(bytes.fromhex(vectors["alice"]["identity_private"]))
    bob = key_pair(bytes.fromhex(vectors["bob"]["identity_private"]))
    theirs = bytes.fromhex(vectors["v2"]["received_by_bob"])
    secret = secret_of(theirs, bob.private)

    made = v2.seal(
        SealedContent.decode(bytes.fromhex(vectors["v2"]["content"])),
        sender=alice,
        recipients=[bob.public],
        random_bytes=lambda size: secret[:size],
    )

    assert v2.join(made.parts[0], made.shared) == theirs


def test_what_is_sealed_is_opened_by_each_of_its_recipients() -> None:
    assert v2.open_sealed(FOR_BOB, recipient=BOB) == CONTENT
    assert v2.open_sealed(FOR_CAROL, recipient=CAROL) == CONTENT
    assert [len(part) for part in MADE.parts] == [v2.PART_BYTES] * 2


def test_nobody_opens_what_is_for_another() -> None:
    for data, other in ((FOR_BOB, CAROL), (FOR_BOB, ALICE), (FOR_CAROL, BOB), (FOR_CAROL, MALLORY)):
        with pytest.raises(AuthenticationError):
            v2.open_sealed(data, recipient=other)


def test_the_sender_is_not_to_be_seen_in_it() -> None:
    for secret in (ALICE.public[1:], PHONE.user.encode(), MESSAGE.body, CONTENT.certificate.signature, b"group"):
        assert secret not in FOR_BOB


def test_two_seals_of_one_content_have_nothing_in_common() -> None:
    again = v2.seal(CONTENT, sender=ALICE, recipients=[BOB.public], random_bytes=RANDOM)

    assert again.parts[0][:32] != MADE.parts[0][:32]
    assert again.parts[0][32:] != MADE.parts[0][32:]
    assert again.shared[:32] != MADE.shared[:32]
    assert again.shared[32:] != MADE.shared[32:]


def test_any_bit_changed_behind_the_version_is_refused() -> None:
    for position in range(1, len(FOR_BOB)):
        for bit in range(8):
            altered = FOR_BOB[:position] + bytes([FOR_BOB[position] ^ 1 << bit]) + FOR_BOB[position + 1 :]
            with pytest.raises(PeerError):
                v2.open_sealed(altered, recipient=BOB)


def test_any_cut_and_any_byte_more_is_refused() -> None:
    for size in range(len(FOR_BOB)):
        with pytest.raises(PeerError):
            v2.open_sealed(FOR_BOB[:size], recipient=BOB)
    with pytest.raises(AuthenticationError):
        v2.open_sealed(FOR_BOB + b"\x00", recipient=BOB)


@pytest.mark.parametrize("first_byte", range(256))
def test_only_the_upper_half_of_the_first_byte_says_whether_it_is_read(first_byte: int) -> None:
    data = bytes([first_byte]) + FOR_BOB[1:]

    if first_byte >> 4 == 2:
        assert v2.open_sealed(data, recipient=BOB) == CONTENT
    else:
        with pytest.raises(UnsupportedVersionError):
            v2.open_sealed(data, recipient=BOB)


@pytest.mark.parametrize("size", [0, 1, 96])
def test_what_is_too_short_is_refused(size: int) -> None:
    with pytest.raises(InvalidMessageError, match=f"at least 97 bytes, got {size}"):
        v2.open_sealed(FOR_BOB[:size], recipient=BOB)


def test_parts_of_two_messages_do_not_go_together() -> None:
    other = v2.seal(CONTENT, sender=ALICE, recipients=[BOB.public], random_bytes=RANDOM)
    mixed_tag = MADE.parts[0][:32] + other.parts[0][32:]

    for data in (v2.join(other.parts[0], MADE.shared), v2.join(mixed_tag, MADE.shared)):
        with pytest.raises(AuthenticationError):
            v2.open_sealed(data, recipient=BOB)


def test_a_key_of_low_order_is_refused() -> None:
    with pytest.raises(InvalidKeyError, match="low order"):
        v2.open_sealed(FOR_BOB[:49] + bytes(32) + FOR_BOB[81:], recipient=BOB)
    with pytest.raises(InvalidKeyError, match="low order"):
        v2.seal(CONTENT, sender=ALICE, recipients=[PublicKey(b"\x05" + bytes(32))], random_bytes=RANDOM)


def test_who_seals_with_the_certificate_of_somebody_else_is_found_out() -> None:
    stolen = v2.seal(CONTENT, sender=MALLORY, recipients=[BOB.public], random_bytes=RANDOM)

    with pytest.raises(AuthenticationError, match="another identity key than that in its certificate"):
        v2.open_sealed(v2.join(stolen.parts[0], stolen.shared), recipient=BOB)


def test_another_recipient_can_put_something_else_under_the_seal_but_cannot_make_one() -> None:
    # Carol knows M, and with it every key but that of Bob's tag, which does not cover the ciphertext. So the seal tells
    # for whom the sender sealed, and the inner message has to prove itself: see `SealingDevice.unseal`.
    secret = secret_of(FOR_CAROL, CAROL.private)
    other = CONTENT._replace(message=CiphertextMessage(MessageType.SENDER_KEY, b"another encrypted message"))
    ciphertext = AESGCMSIV(hkdf(secret, b"Sealed Sender v2: K", 32)).encrypt(bytes(12), other.encode(), None)
    fresh = v2.seal(other, sender=CAROL._replace(public=ALICE.public), recipients=[BOB.public], random_bytes=RANDOM)

    replaced = v2.open_sealed(FOR_BOB[:81] + ciphertext, recipient=BOB)

    assert replaced == other
    with pytest.raises(AuthenticationError):
        v2.open_sealed(v2.join(fresh.parts[0], fresh.shared), recipient=BOB)


def test_a_secret_that_the_key_pair_does_not_grow_from_is_refused() -> None:
    secret = secret_of(FOR_BOB, BOB.private)
    ephemeral = key_pair(hkdf(secret, b"Sealed Sender v2: r (2023-08)", 32))
    agreed = agree(ephemeral.private, BOB.public)
    mask = hkdf(agreed + ephemeral.public + BOB.public, b"Sealed Sender v2: DH", 32)
    other = bytes(32)
    masked = bytes(a ^ b for a, b in zip(mask, other, strict=True))
    grown = key_pair(hkdf(other, b"Sealed Sender v2: r (2023-08)", 32))
    material = agree(ALICE.private, BOB.public) + grown.public + masked + ALICE.public + BOB.public
    tag = hkdf(material, b"Sealed Sender v2: DH-sender", 16)
    ciphertext = AESGCMSIV(hkdf(other, b"Sealed Sender v2: K", 32)).encrypt(bytes(12), CONTENT.encode(), None)

    with pytest.raises(AuthenticationError, match="altered, or for another device"):
        v2.open_sealed(b"\x22" + masked + tag + ephemeral.public[1:] + ciphertext, recipient=BOB)


@pytest.mark.fuzz
@given(st.integers(0, 48), st.binary(max_size=200))
def test_whatever_is_opened_ends_in_a_content_or_a_peer_error(first: int, data: bytes) -> None:
    with suppress(PeerError):
        v2.open_sealed(bytes([first]) + data, recipient=BOB)


@pytest.mark.fuzz
@given(st.integers(1, 10_000), st.integers(1, 255), st.binary(max_size=3), st.integers(0, 5))
def test_a_mutated_message_is_refused(at: int, flip: int, more: bytes, cut: int) -> None:
    data = bytearray(FOR_BOB)
    data[1 + at % (len(data) - 1)] ^= flip

    with pytest.raises(PeerError):
        v2.open_sealed(bytes(data[: len(data) - cut]) + more, recipient=BOB)
