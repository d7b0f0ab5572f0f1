"""The body cipher, against `cryptography` with all its checks and its own padding."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import InvalidMessageError
from whisperkit.ratchet.body import decrypt_body, encrypt_body
from whisperkit.ratchet.chains import MacKey, MessageKeys

KEYS = st.builds(
    MessageKeys,
    st.binary(min_size=32, max_size=32),
    st.just(MacKey(bytes(32))),
    st.binary(min_size=16, max_size=16),
)
ZERO = MessageKeys(bytes(32), MacKey(bytes(32)), bytes(16))


def encrypt_oracle(keys: MessageKeys, plaintext: bytes) -> bytes:
    padder, encryptor = PKCS7(128).padder(), Cipher(AES(keys.cipher_key), CBC(keys.iv)).encryptor()
    padded = padder.update(plaintext) + padder.finalize()
    return encryptor.update(padded) + encryptor.finalize()


def decrypt_oracle(keys: MessageKeys, ciphertext: bytes) -> bytes | None:
    """The plaintext, or `None` if it is none."""
    decryptor, unpadder = Cipher(AES(keys.cipher_key), CBC(keys.iv)).decryptor(), PKCS7(128).unpadder()
    try:
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        return None


def encrypted_as_it_is(keys: MessageKeys, padded: bytes) -> bytes:
    return Cipher(AES(keys.cipher_key), CBC(keys.iv)).encryptor().update(padded)


@given(KEYS, st.binary(max_size=100))
def test_a_body_is_encrypted_as_by_the_library_and_comes_back(keys: MessageKeys, text: bytes) -> None:
    sealed = encrypt_body(keys, text)

    assert sealed == encrypt_oracle(keys, text)
    assert decrypt_body(keys, sealed) == text


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 4_096, 70_000])
def test_a_body_of_any_length_is_whole_blocks_and_grows(size: int) -> None:
    sealed = encrypt_body(ZERO, bytes(size))

    assert sealed == encrypt_oracle(ZERO, bytes(size))
    assert len(sealed) % 16 == 0
    assert size < len(sealed) <= size + 16


@given(KEYS, st.binary(max_size=70))
def test_what_is_no_body_is_refused_when_the_library_refuses_it(keys: MessageKeys, ciphertext: bytes) -> None:
    expected = decrypt_oracle(keys, ciphertext)

    if expected is None:
        with pytest.raises(InvalidMessageError):
            decrypt_body(keys, ciphertext)
    else:
        assert decrypt_body(keys, ciphertext) == expected


@pytest.mark.parametrize("last", range(256))
def test_the_padding_is_looked_at_as_by_the_library(last: int) -> None:
    for padded in (bytes(31) + bytes([last]), bytes([last]) * 32, bytes(16) + bytes([last]) * 16):
        ciphertext = encrypted_as_it_is(ZERO, padded)
        expected = decrypt_oracle(ZERO, ciphertext)

        if expected is None:
            with pytest.raises(InvalidMessageError, match="padding"):
                decrypt_body(ZERO, ciphertext)
        else:
            assert decrypt_body(ZERO, ciphertext) == expected


@pytest.mark.parametrize("size", [0, 1, 15, 17])
def test_what_is_not_whole_blocks_is_refused(size: int) -> None:
    with pytest.raises(InvalidMessageError, match=f"got {size}"):
        decrypt_body(ZERO, bytes(size))


def test_a_key_of_another_size_encrypts_nothing() -> None:
    with pytest.raises(ValueError, match="key size"):
        encrypt_body(ZERO._replace(cipher_key=bytes(31)), b"x")
