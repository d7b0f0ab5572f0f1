"""Attachments: streamed, authenticated chunk by chunk, and what is done to them on the way is noticed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import AttachmentError, PeerError, UsageError
from whisperkit.ratchet import (
    CHUNK_BYTES,
    MAX_ATTACHMENT_BYTES,
    SEALED_CHUNK_BYTES,
    AttachmentDecryptor,
    AttachmentEncryptor,
    AttachmentPointer,
    sealed_size,
)
from whisperkit.testing.ratchet import seeded_bytes

SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 77]
TEXT = seeded_bytes(1)(3 * CHUNK_BYTES + 77)


def encrypt(text: bytes, *, piece: int = 1 << 20, seed: int = 2) -> tuple[bytes, AttachmentPointer]:
    encryptor = AttachmentEncryptor(random_bytes=seeded_bytes(seed))
    sealed = [encryptor.update(text[i : i + piece]) for i in range(0, len(text), piece)]
    sealed.append(encryptor.finalize())
    return b"".join(sealed), encryptor.pointer(name="cat.jpg", media_type="image/jpeg")


def decrypt(sealed: bytes, pointer: AttachmentPointer, *, piece: int = 1 << 20) -> bytes:
    decryptor = AttachmentDecryptor(pointer)
    text = [decryptor.update(sealed[i : i + piece]) for i in range(0, len(sealed), piece)]
    decryptor.finalize()
    return b"".join(text)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_comes_back_as_it_was(size: int) -> None:
    sealed, pointer = encrypt(TEXT[:size])

    assert len(sealed) == sealed_size(size) == pointer.sealed_size
    assert decrypt(sealed, AttachmentPointer.decode(pointer.encode())) == TEXT[:size]


@pytest.mark.parametrize("piece", [997, 1 << 16, (1 << 16) + 16, 1 << 20])
def test_the_pieces_in_which_it_is_read_make_no_difference(piece: int) -> None:
    sealed, pointer = encrypt(TEXT, piece=piece)

    assert sealed == encrypt(TEXT)[0]
    assert decrypt(sealed, pointer, piece=piece) == TEXT


def test_memory_is_bounded_by_one_chunk_and_one_piece() -> None:
    encryptor = AttachmentEncryptor(random_bytes=os.urandom)

    held = 0
    for _ in range(40):
        held += 10_000 - len(encryptor.update(bytes(10_000)))
        assert held <= CHUNK_BYTES


def test_a_transfer_that_broke_off_goes_on_at_the_next_chunk() -> None:
    sealed, pointer = encrypt(TEXT)
    first = AttachmentDecryptor(pointer)
    text = first.update(sealed[: SEALED_CHUNK_BYTES + 1000])

    second = AttachmentDecryptor(pointer, chunk=first.position)
    text += second.update(sealed[second.sealed_offset :])
    second.finalize()

    assert first.position == 1
    assert text == TEXT


def test_nothing_is_left_to_fetch_after_the_last_chunk() -> None:
    _, pointer = encrypt(TEXT)

    AttachmentDecryptor(pointer, chunk=4).finalize()


@pytest.mark.parametrize("chunk", [-1, 5])
def test_a_transfer_cannot_go_on_outside_of_the_file(chunk: int) -> None:
    with pytest.raises(UsageError, match="has 4 chunks"):
        AttachmentDecryptor(encrypt(TEXT)[1], chunk=chunk)


def swap(sealed: bytes) -> bytes:
    one, two = sealed[:SEALED_CHUNK_BYTES], sealed[SEALED_CHUNK_BYTES : 2 * SEALED_CHUNK_BYTES]
    return two + one + sealed[2 * SEALED_CHUNK_BYTES :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a bit flipped": lambda sealed: sealed[:100] + bytes([sealed[100] ^ 1]) + sealed[101:],
    "a bit of the last tag flipped": lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1]),
    "two chunks swapped": swap,
    "a chunk doubled": lambda sealed: sealed[:SEALED_CHUNK_BYTES] * 2 + sealed[2 * SEALED_CHUNK_BYTES :],
    "a chunk left out": lambda sealed: sealed[SEALED_CHUNK_BYTES:],
    "cut short at a chunk's end": lambda sealed: sealed[: 3 * SEALED_CHUNK_BYTES],
    "cut short within a chunk": lambda sealed: sealed[:-1],
    "empty": lambda sealed: b"",
    "longer": lambda sealed: sealed + b"x",
    "a chunk of another file": lambda sealed: (
        encrypt(TEXT, seed=3)[0][:SEALED_CHUNK_BYTES] + sealed[SEALED_CHUNK_BYTES:]
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed(damage: str) -> None:
    sealed, pointer = encrypt(TEXT)

    with pytest.raises(AttachmentError):
        decrypt(DAMAGE[damage](sealed), pointer)


def test_a_file_cut_at_a_chunk_s_end_is_noticed_even_if_the_size_was_forged_to_match() -> None:
    sealed, pointer = encrypt(TEXT)

    with pytest.raises(AttachmentError, match="altered or misplaced"):
        decrypt(sealed[: 3 * SEALED_CHUNK_BYTES], pointer._replace(size=3 * CHUNK_BYTES))


def test_a_file_of_another_digest_is_noticed_at_the_end() -> None:
    sealed, pointer = encrypt(TEXT)

    with pytest.raises(AttachmentError, match="not the one that its pointer names"):
        decrypt(sealed, pointer._replace(digest=bytes(32)))


def test_an_encryption_cannot_be_continued_after_its_end() -> None:
    encryptor = AttachmentEncryptor(random_bytes=os.urandom)
    encryptor.finalize()

    with pytest.raises(UsageError, match="finished"):
        encryptor.update(b"x")
    with pytest.raises(UsageError, match="finished"):
        encryptor.finalize()


def test_there_is_no_pointer_before_the_end() -> None:
    with pytest.raises(UsageError, match="finalize"):
        AttachmentEncryptor(random_bytes=os.urandom).pointer(name="x", media_type="y")


def test_a_name_that_is_too_long_is_refused() -> None:
    encryptor = AttachmentEncryptor(random_bytes=os.urandom)
    encryptor.finalize()

    with pytest.raises(UsageError, match="255 characters"):
        encryptor.pointer(name="x" * 256, media_type="y")


def test_a_file_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whisperkit.ratchet.attachments.MAX_ATTACHMENT_BYTES", 1000)

    with pytest.raises(UsageError, match="at most 1000 bytes"):
        AttachmentEncryptor(random_bytes=os.urandom).update(bytes(1001))


@pytest.mark.parametrize(
    "forged",
    [
        {"key": bytes(31)},
        {"digest": bytes(31)},
        {"size": -1},
        {"size": MAX_ATTACHMENT_BYTES + 1},
        {"name": "x" * 256},
        {"media_type": "x" * 256},
    ],
    ids=str,
)
def test_a_pointer_out_of_bounds_is_refused(forged: dict[str, Any]) -> None:  # of several fields
    pointer = encrypt(b"")[1]

    with pytest.raises(AttachmentError, match="not of its form"):
        AttachmentPointer.decode(pointer._replace(**forged).encode())


@pytest.mark.fuzz
@given(st.binary(max_size=120))
def test_whatever_is_decoded_as_a_pointer_ends_in_a_pointer_or_a_peer_error(data: bytes) -> None:
    with pytest.raises(PeerError):
        AttachmentPointer.decode(data)


def test_the_key_is_not_printed() -> None:
    pointer = encrypt(b"")[1]

    assert repr(pointer.key) not in repr(pointer)
    assert pointer.key.hex() not in repr(pointer)
