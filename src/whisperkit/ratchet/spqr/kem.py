"""ML-KEM-768 as the agreement uses it: the seam behind which keys are made and secrets recovered.

Key generation and decapsulation are OpenSSL's. Encapsulation comes in two halves, which no library offers;
`encapsulation` has it. Recorded conversations hold expanded keys that OpenSSL does not load, which is why
this is a seam at all: a test puts a recording in its place.
"""

from __future__ import annotations

from hashlib import sha3_256
from typing import Final, NamedTuple, Protocol

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

from whisperkit.ratchet.curve import RandomBytes
from whisperkit.ratchet.redaction import redacted
from whisperkit.ratchet.spqr.encapsulation import EK_BYTES

__all__ = ["ML_KEM_768", "SEED_BYTES", "Kem", "KemKeys"]

SEED_BYTES: Final = 64


class KemKeys(NamedTuple):
    """A key pair.

    Attributes:
        seed: ``d || z`` in FIPS 203, 64 bytes. Never printed.
        header: What the other side needs for the first half of its encapsulation, 64 bytes.
        ek: What it needs for the second, 1,152 bytes.
    """

    seed: bytes
    header: bytes
    ek: bytes

    def __repr__(self) -> str:
        return redacted(self)


class Kem(Protocol):
    """The two operations of the side that owns the key."""

    def generate(self, *, random_bytes: RandomBytes) -> KemKeys:
        """Make a key pair from 64 random bytes."""
        ...

    def decapsulate(self, seed: bytes, ciphertext: bytes) -> bytes:
        """Recover the secret (32 bytes) of a ciphertext (1,088 bytes); a wrong one gives another secret."""
        ...


class _OpenSsl:
    def generate(self, *, random_bytes: RandomBytes) -> KemKeys:
        seed = random_bytes(SEED_BYTES)
        public = MLKEM768PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()
        return KemKeys(seed, public[EK_BYTES:] + sha3_256(public).digest(), public[:EK_BYTES])

    def decapsulate(self, seed: bytes, ciphertext: bytes) -> bytes:
        return MLKEM768PrivateKey.from_seed_bytes(seed).decapsulate(ciphertext)


ML_KEM_768: Final[Kem] = _OpenSsl()
