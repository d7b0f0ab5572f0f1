"""Sealed sender, version 1: against the vectors of the official library, and against whoever alters it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
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
from whisperkit.ratchet.curve import PublicKey, key_pair
from whisperkit.ratchet.protobuf import BYTES, read, write
from whisperkit.ratchet.sealed_sender import SealedContent, v1
from whisperkit.testing.ratchet import seeded_bytes
from whisperkit.testing.sealing import Authority

RANDOM = seeded_bytes(23)
HOUSE = Authority(random_bytes=RANDOM)
ALICE, BOB, MALLORY = (key_pair(bytes([n]) * 32) for n in (1, 2, 3))
PHONE = DeviceId.named("alice", 1)
MESSAGE = CiphertextMessage(MessageType.WHISPER, b"an encrypted message")
CONTENT = SealedContent(MESSAGE, HOUSE.certify(PHONE, ALICE.public))
SEALED = v1.seal(CONTENT, sender=ALICE, recipient=BOB.public, random_bytes=RANDOM)


def rewritten(**changed: bytes | None) -> bytes:
    """The sealed message with other fields."""
    blobs = read(SEALED[1:], {1: BYTES, 2: BYTES, 3: BYTES}).blobs
    fields = {"ephemeral": blobs[1], "static": blobs[2], "locked": blobs[3], **changed}
    return SEALED[:1] + write(enumerate(fields.values(), start=1))


def test_messages_of_the_official_library_are_opened(vectors: dict[str, Any]) -> None:
    bob = key_pair(bytes.fromhex(vectors["bob"]["identity_private"]))

    for case in vectors["v1"]:
        content = v1.open_sealed(bytes.fromhex(case["bytes"]), recipient=bob)
        assert content.encode().hex() == case["content"]


def test_a_message_is_sealed_in_the_form_of_the_official_library(vectors: dict[str, Any]) -> None:
    # Not bit for bit: the official library keeps its ephemeral private key to itself.
    bob = key_pair(bytes.fromhex(vectors["bob"]["identity_private"]))
    alice = key_pair(bytes.fromhex(vectors["alice"]["identity_private"]))

    for case in vectors["v1"]:
        theirs = bytes.fromhex(case["bytes"])
        content = SealedContent.decode(bytes.fromhex(case["content"]))
        ours = v1.seal(content, sender=alice, recipient=bob.public, random_bytes=RANDOM)
        assert len(ours) == len(theirs)
        assert ours[:4] == theirs[:4]
        assert v1.open_sealed(ours, recipient=bob) == v1.open_sealed(theirs, recipient=bob)


def test_what_is_sealed_is_opened_by_its_recipient() -> None:
    assert SEALED[0] == 0x11
    assert v1.open_sealed(SEALED, recipient=BOB) == CONTENT


def test_nobody_else_opens_it_not_even_who_sealed_it() -> None:
    for other in (ALICE, MALLORY):
        with pytest.raises(AuthenticationError):
            v1.open_sealed(SEALED, recipient=other)


def test_the_sender_is_not_to_be_seen_in_it() -> None:
    for secret in (ALICE.public[1:], PHONE.user.encode(), MESSAGE.body, CONTENT.certificate.signature):
        assert secret not in SEALED


def test_two_seals_of_one_content_have_nothing_in_common() -> None:
    again = v1.seal(CONTENT, sender=ALICE, recipient=BOB.public, random_bytes=RANDOM)

    fields = [read(each[1:], {1: BYTES, 2: BYTES, 3: BYTES}).blobs for each in (SEALED, again)]
    assert all(fields[0][number] != fields[1][number] for number in (1, 2, 3))


def test_any_bit_changed_behind_the_version_is_refused() -> None:
    for position in range(1, len(SEALED)):
        for bit in range(8):
            altered = SEALED[:position] + bytes([SEALED[position] ^ 1 << bit]) + SEALED[position + 1 :]
            with pytest.raises(PeerError):
                v1.open_sealed(altered, recipient=BOB)


def test_any_cut_is_refused() -> None:
    for size in range(len(SEALED)):
        with pytest.raises(PeerError):
            v1.open_sealed(SEALED[:size], recipient=BOB)


@pytest.mark.parametrize("first_byte", range(256))
def test_only_the_upper_half_of_the_first_byte_says_whether_it_is_read(first_byte: int) -> None:
    data = bytes([first_byte]) + SEALED[1:]

    if first_byte >> 4 in (0, 1):
        assert v1.open_sealed(data, recipient=BOB) == CONTENT
    else:
        with pytest.raises(UnsupportedVersionError):
            v1.open_sealed(data, recipient=BOB)


def test_an_empty_message_is_refused() -> None:
    with pytest.raises(InvalidMessageError, match="empty"):
        v1.open_sealed(b"", recipient=BOB)


@pytest.mark.parametrize(("name", "number"), [("ephemeral", 1), ("static", 2), ("locked", 3)])
def test_a_message_without_a_field_is_refused(name: str, number: int) -> None:
    with pytest.raises(InvalidMessageError, match=f"field {number} is missing"):
        v1.open_sealed(rewritten(**{name: None}), recipient=BOB)


@pytest.mark.parametrize("name", ["static", "locked"])
@pytest.mark.parametrize("size", [0, 9, 10])
def test_a_part_that_is_hardly_a_mac_is_refused(name: str, size: int) -> None:
    with pytest.raises(AuthenticationError):
        v1.open_sealed(rewritten(**{name: bytes(size)}), recipient=BOB)


def test_parts_of_two_messages_do_not_go_together() -> None:
    other = v1.seal(CONTENT, sender=ALICE, recipient=BOB.public, random_bytes=RANDOM)
    blobs = read(other[1:], {1: BYTES, 2: BYTES, 3: BYTES}).blobs

    for name, number in (("ephemeral", 1), ("static", 2), ("locked", 3)):
        with pytest.raises(AuthenticationError):
            v1.open_sealed(rewritten(**{name: blobs[number]}), recipient=BOB)


def test_an_ephemeral_key_of_low_order_is_refused() -> None:
    with pytest.raises(InvalidKeyError, match="low order"):
        v1.open_sealed(rewritten(ephemeral=b"\x05" + bytes(32)), recipient=BOB)


def test_who_seals_with_the_certificate_of_somebody_else_is_found_out() -> None:
    stolen = v1.seal(CONTENT, sender=MALLORY, recipient=BOB.public, random_bytes=RANDOM)

    with pytest.raises(AuthenticationError, match="another identity key than that in its certificate"):
        v1.open_sealed(stolen, recipient=BOB)


def test_who_knows_only_the_public_key_of_a_sender_cannot_seal_as_that_one() -> None:
    # With the right public key, and some private key, as a forger would.
    forged = v1.seal(CONTENT, sender=MALLORY._replace(public=ALICE.public), recipient=BOB.public, random_bytes=RANDOM)

    with pytest.raises(AuthenticationError, match="MAC"):
        v1.open_sealed(forged, recipient=BOB)


def test_a_recipient_s_key_of_low_order_is_refused() -> None:
    with pytest.raises(InvalidKeyError):
        v1.seal(CONTENT, sender=ALICE, recipient=PublicKey(b"\x05" + bytes(32)), random_bytes=RANDOM)


@pytest.mark.fuzz
@given(st.integers(0, 32), st.binary(max_size=120))
def test_whatever_is_opened_ends_in_a_content_or_a_peer_error(first: int, data: bytes) -> None:
    with suppress(PeerError):
        v1.open_sealed(bytes([first]) + data, recipient=BOB)


@pytest.mark.fuzz
@given(st.integers(1, 10_000), st.integers(1, 255), st.binary(max_size=3), st.integers(0, 5))
def test_a_mutated_message_is_refused(at: int, flip: int, more: bytes, cut: int) -> None:
    data = bytearray(SEALED)
    data[1 + at % (len(data) - 1)] ^= flip

    with pytest.raises(PeerError):
        v1.open_sealed(bytes(data[: len(data) - cut]) + more, recipient=BOB)
