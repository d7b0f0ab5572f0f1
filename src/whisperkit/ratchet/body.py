"""The body cipher: AES-256 in CBC mode with the padding of PKCS #7.

Each message has a key of its own, so each needs a cipher object of its own, and for a short body most of the time goes
into making that. `_KeyedCipher` leaves out what `cryptography` checks on the way: that the parts fit together.

Spec:
    Double Ratchet rev. 4, "Recommended cryptographic algorithms", ``ENCRYPT``; RFC 5652, "Content-encryption
    Process", for the padding.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from whisperkit.errors import InvalidMessageError
from whisperkit.ratchet.chains import MessageKeys

__all__ = ["decrypt_body", "encrypt_body"]

_BLOCK_BYTES: Final = 16
_PADS: Final = tuple(bytes([n]) * n for n in range(_BLOCK_BYTES + 1))


class _KeyedCipher(Cipher[CBC]):
    """AES in CBC mode under keys whose lengths are right: they were cut from a derivation."""

    def __init__(self, keys: MessageKeys) -> None:
        # Not `super().__init__`, whose checks take a quarter of the time of a short message.
        self.algorithm = AES(keys.cipher_key)
        self.mode = CBC(keys.iv)


def encrypt_body(keys: MessageKeys, plaintext: bytes) -> bytes:
    """Pad and encrypt: one to sixteen bytes longer."""
    padded = plaintext + _PADS[_BLOCK_BYTES - len(plaintext) % _BLOCK_BYTES]
    # Whole blocks come out at once; nothing is left that would have to be finalised.
    return _KeyedCipher(keys).encryptor().update(padded)


def decrypt_body(keys: MessageKeys, ciphertext: bytes) -> bytes:
    """Undo `encrypt_body`. Called only after the MAC or signature was found good: bad padding tells nobody anything.

    Raises:
        InvalidMessageError: Not whole blocks, or the padding is wrong.
    """
    if not ciphertext or len(ciphertext) % _BLOCK_BYTES:
        raise InvalidMessageError(f"a body has whole blocks of {_BLOCK_BYTES} bytes, got {len(ciphertext)} bytes")
    padded = _KeyedCipher(keys).decryptor().update(ciphertext)
    size = padded[-1]
    if not 1 <= size <= _BLOCK_BYTES or not padded.endswith(_PADS[size]):
        raise InvalidMessageError("the padding of a body is wrong")
    return padded[:-size]
