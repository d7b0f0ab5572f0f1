"""Kyber1024 prekeys, made from ML-KEM-1024.

On the Signal wire a KEM key is of type 0x08, Kyber of round 3. Its keys and ciphertexts have the layout of
FIPS 203, and its secret is the FIPS 203 secret hashed once more together with the ciphertext, so a FIPS 203
library serves for both directions.

Encapsulation draws its 32 random bytes inside OpenSSL, whose interface takes none: the one place in the
ratchet where `random_bytes` does not reach. A replayed run differs in that ciphertext and what is derived
from it, and in nothing that decides anything.

Spec:
    PQXDH rev. 3, "Post-Quantum Key Encapsulation Keys"; FIPS 203, "The ML-KEM Key-Encapsulation Mechanism";
    the differences are in ``docs/explanation/security.md``, "Keys and signatures".
"""

from __future__ import annotations

from hashlib import sha3_256, shake_256
from typing import Final, NamedTuple, NewType

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM1024PrivateKey, MLKEM1024PublicKey

from whisperkit.errors import InvalidKeyError
from whisperkit.ratchet.curve import RandomBytes, SharedSecret

__all__ = [
    "KEM_CIPHERTEXT_BYTES",
    "KEM_PUBLIC_KEY_BYTES",
    "KEM_SEED_BYTES",
    "Encapsulated",
    "KemKeyPair",
    "KemPublicKey",
    "KemSeed",
    "check_ciphertext",
    "decapsulate",
    "decode_public",
    "encapsulate",
    "generate",
    "key_pair",
]

KEM_PUBLIC_KEY_BYTES: Final = 1569
KEM_CIPHERTEXT_BYTES: Final = 1569
KEM_SEED_BYTES: Final = 64

_TYPE: Final = 0x08
_TYPE_BYTE: Final = bytes([_TYPE])

KemPublicKey = NewType("KemPublicKey", bytes)
"""A Kyber1024 public key in its wire form: 0x08 and 1,568 bytes."""

KemSeed = NewType("KemSeed", bytes)
"""The private half, as the 64 bytes ``d || z`` of FIPS 203 that it grows from."""


class KemKeyPair(NamedTuple):
    """A Kyber1024 key pair.

    Attributes:
        public: 1,569 bytes.
        seed: 64 bytes. Never printed.
    """

    public: KemPublicKey
    seed: KemSeed

    def __repr__(self) -> str:
        return f"KemKeyPair(public={self.public[:8].hex()}..., seed=...)"


class Encapsulated(NamedTuple):
    """A fresh secret, and how to tell it to the owner of a public key.

    Attributes:
        ciphertext: 1,569 bytes with the type byte.
        secret: 32 bytes. Never printed.
    """

    ciphertext: bytes
    secret: SharedSecret

    def __repr__(self) -> str:
        return f"Encapsulated(ciphertext={self.ciphertext[:8].hex()}..., secret=...)"


def key_pair(seed: bytes) -> KemKeyPair:
    """Make the pair of a seed of 64 bytes."""
    public = _private_key(KemSeed(seed)).public_key().public_bytes_raw()
    return KemKeyPair(KemPublicKey(_TYPE_BYTE + public), KemSeed(seed))


def generate(*, random_bytes: RandomBytes) -> KemKeyPair:
    """Make a new key pair from 64 random bytes."""
    return key_pair(random_bytes(KEM_SEED_BYTES))


def decode_public(data: bytes) -> KemPublicKey:
    """Read a public key from the wire.

    Raises:
        InvalidKeyError: Of another type or length.
    """
    _check(data, "KEM public key", KEM_PUBLIC_KEY_BYTES)
    return KemPublicKey(data)


def encapsulate(public: KemPublicKey) -> Encapsulated:
    """Make a fresh secret for the owner of a public key.

    Raises:
        InvalidKeyError: The key is not one of ML-KEM (a coefficient is out of range).
    """
    try:
        key = MLKEM1024PublicKey.from_public_bytes(public[1:])
    except ValueError:
        raise InvalidKeyError("a KEM public key has a coefficient out of range") from None
    secret, ciphertext = key.encapsulate()
    return Encapsulated(_TYPE_BYTE + ciphertext, _round_3(secret, ciphertext))


def check_ciphertext(data: bytes) -> bytes:
    """Check type and length of a ciphertext, and return it.

    Raises:
        InvalidKeyError: Of another type or length.
    """
    return _check(data, "KEM ciphertext", KEM_CIPHERTEXT_BYTES)


def decapsulate(seed: KemSeed, ciphertext: bytes) -> SharedSecret:
    """Recover the secret of a ciphertext that passed `check_ciphertext`.

    A ciphertext that was altered gives another secret, not an error: the MAC of the message tells.
    """
    return _round_3(_private_key(seed).decapsulate(ciphertext[1:]), ciphertext[1:])


def _round_3(secret: bytes, ciphertext: bytes) -> SharedSecret:
    return SharedSecret(shake_256(secret + sha3_256(ciphertext).digest()).digest(32))


def _check(data: bytes, what: str, size: int) -> bytes:
    if not data:
        raise InvalidKeyError(f"a {what} is empty")
    if data[0] != _TYPE:
        raise InvalidKeyError(f"a {what} has type 0x{data[0]:02x}, expected 0x{_TYPE:02x}")
    if len(data) != size:
        raise InvalidKeyError(f"a {what} has {size} bytes, got {len(data)}")
    return data


def _private_key(seed: KemSeed) -> MLKEM1024PrivateKey:
    return MLKEM1024PrivateKey.from_seed_bytes(seed)
