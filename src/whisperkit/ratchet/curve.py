"""Curve25519 key pairs: the 33-byte public form, agreement, and the one test for canonical points.

A public key travels as a type byte 0x05 and the 32-byte Montgomery u coordinate; a private key is 32 bytes,
clamped where it enters, so that whoever uses one later need not think of it.

Nothing validates a point when a public key is decoded. That is the protocol: X25519 is defined for every
u, and the two places where a bad point would do harm have checks of their own, `agree` (an all-zero
result) and `is_canonical` (the base key of a first message).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, NewType, TypeAlias

import nacl.bindings as sodium
import nacl.exceptions

from whisperkit.errors import InvalidKeyError

__all__ = [
    "PRIVATE_KEY_BYTES",
    "PUBLIC_KEY_BYTES",
    "KeyPair",
    "PrivateKey",
    "PublicKey",
    "RandomBytes",
    "SharedSecret",
    "agree",
    "decode_public",
    "edwards_y",
    "generate",
    "is_canonical",
    "key_pair",
]

PUBLIC_KEY_BYTES: Final = 33
PRIVATE_KEY_BYTES: Final = 32
P: Final = 2**255 - 19

_TYPE: Final = 0x05
_TYPE_BYTE: Final = bytes([_TYPE])

RandomBytes: TypeAlias = Callable[[int], bytes]
"""Where randomness comes from: a function that returns so many bytes nobody can guess, such as `os.urandom`."""

PublicKey = NewType("PublicKey", bytes)
"""A Curve25519 public key in its wire form: 0x05 and the u coordinate, 33 bytes."""

PrivateKey = NewType("PrivateKey", bytes)
"""A Curve25519 private key: 32 bytes, clamped."""

SharedSecret = NewType("SharedSecret", bytes)
"""What two parties agreed on: 32 bytes, to be put through a key derivation before use."""


class KeyPair(NamedTuple):
    """A Curve25519 key pair.

    Attributes:
        public: 33 bytes.
        private: 32 bytes, clamped. Never printed.
    """

    public: PublicKey
    private: PrivateKey

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public.hex()}, private=...)"


def key_pair(private: bytes) -> KeyPair:
    """Make the pair of a private key, clamping it.

    Raises:
        InvalidKeyError: Not 32 bytes.
    """
    if len(private) != PRIVATE_KEY_BYTES:
        raise InvalidKeyError(f"a private key has {PRIVATE_KEY_BYTES} bytes, got {len(private)}")
    clamped = bytes([private[0] & 248]) + private[1:31] + bytes([private[31] & 127 | 64])
    return KeyPair(PublicKey(_TYPE_BYTE + sodium.crypto_scalarmult_base(clamped)), PrivateKey(clamped))


def generate(*, random_bytes: RandomBytes) -> KeyPair:
    """Make a new key pair from 32 random bytes."""
    return key_pair(random_bytes(PRIVATE_KEY_BYTES))


def decode_public(data: bytes) -> PublicKey:
    """Read a public key from the wire; bytes beyond the 33rd are dropped, as the official library does.

    Raises:
        InvalidKeyError: Empty, of another type, or too short.
    """
    if not data:
        raise InvalidKeyError("a public key is empty")
    if data[0] != _TYPE:
        raise InvalidKeyError(f"a public key has type 0x{data[0]:02x}, expected 0x{_TYPE:02x}")
    if len(data) < PUBLIC_KEY_BYTES:
        raise InvalidKeyError(f"a public key has {PUBLIC_KEY_BYTES} bytes, got {len(data)}")
    return PublicKey(data[:PUBLIC_KEY_BYTES])


def agree(private: PrivateKey, public: PublicKey) -> SharedSecret:
    """Compute X25519.

    Raises:
        InvalidKeyError: The result is all zero: the public key is a point of low order, which would let
            a peer choose the "shared" secret.
    """
    try:
        return SharedSecret(sodium.crypto_scalarmult(private, public[1:]))
    except (nacl.exceptions.RuntimeError, RuntimeError):
        raise InvalidKeyError("a key agreement gave zero: the public key is of low order") from None


def edwards_y(public: PublicKey) -> bytes | None:
    """The y coordinate of the Edwards point of a key, 32 bytes with sign bit 0; `None` where there is none (u = -1)."""
    u = (int.from_bytes(public[1:], "little") & (1 << 255) - 1) % P
    if u == P - 1:
        return None
    return ((u - 1) * pow(u + 1, P - 2, P) % P).to_bytes(32, "little")


def is_canonical(public: PublicKey) -> bool:
    """Whether u is reduced and its point lies in the prime-order subgroup of the curve."""
    if int.from_bytes(public[1:], "little") >= P:
        return False
    y = edwards_y(public)
    return y is not None and sodium.crypto_core_ed25519_is_valid_point(y)
