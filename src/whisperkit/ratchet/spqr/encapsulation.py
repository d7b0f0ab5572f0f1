"""ML-KEM-768 encapsulation in two halves: the first needs the header only, the second the key itself.

FIPS 203 takes the whole encapsulation key at once. Here the key takes 36 messages to arrive, and the larger
part of the ciphertext, which depends on the seed of the matrix and the hash of the key alone, is sent
meanwhile. The two halves together are exactly what a one-shot encapsulation with the same `m` gives.

`polynomials` has the arithmetic. Nothing here runs in constant time, and nothing in Python can.

Spec:
    FIPS 203, "Auxiliary Algorithms" and "The K-PKE Component Scheme".
"""

from __future__ import annotations

from hashlib import sha3_256, sha3_512
from typing import Final, NamedTuple

from whisperkit.ratchet.redaction import redacted
from whisperkit.ratchet.spqr.polynomials import (
    Factor,
    Q,
    as_factor,
    compression,
    inner_product,
    noise,
    pack_4,
    pack_10,
    sample,
    transformed,
    unpack_12,
    untransformed,
)

__all__ = [
    "CT1_BYTES",
    "CT2_BYTES",
    "EK_BYTES",
    "HALF_BYTES",
    "HEADER_BYTES",
    "M_BYTES",
    "FirstHalf",
    "encapsulate_first",
    "encapsulate_second",
    "fits_header",
]

HEADER_BYTES: Final = 64
EK_BYTES: Final = 1152
CT1_BYTES: Final = 960
CT2_BYTES: Final = 128
M_BYTES: Final = 32
HALF_BYTES: Final = 64

_K: Final = 3
_HALF_Q: Final = (Q + 1) // 2


class FirstHalf(NamedTuple):
    """What the first half gives.

    Attributes:
        secret: The shared secret, 32 bytes; final.
        ct1: To be sent, 960 bytes.
        half: What the second half needs, 64 bytes; as secret as the secret.
    """

    secret: bytes
    ct1: bytes
    half: bytes

    def __repr__(self) -> str:
        return redacted(self)


def encapsulate_first(header: bytes, m: bytes) -> FirstHalf:
    """Make the secret and the first 960 bytes of the ciphertext.

    Args:
        header: The seed of the matrix and the hash of the key, 32 bytes each.
        m: 32 random bytes.
    """
    rho, key_hash = header[:32], header[32:]
    both = sha3_512(m + key_hash).digest()
    secret, r = both[:32], both[32:]
    y = _secret_vector(r)
    compressed = compression(10)
    numbers: list[int] = []
    for i in range(_K):
        u = untransformed(inner_product([sample(rho, i, j) for j in range(_K)], y))
        numbers += [compressed[(x + e1) % Q] for x, e1 in zip(u, noise(r, _K + i), strict=True)]
    return FirstHalf(secret, pack_10(numbers), r + m)


def encapsulate_second(half: bytes, ek: bytes) -> bytes:
    """Make the last 128 bytes of the ciphertext.

    Args:
        half: From the first half.
        ek: The first 1,152 bytes of the encapsulation key, which fit the header.
    """
    r, m = half[:32], half[32:]
    numbers = unpack_12(ek)
    t = [(numbers[start : start + 256 : 2], numbers[start + 1 : start + 256 : 2]) for start in range(0, 768, 256)]
    v = untransformed(inner_product(t, _secret_vector(r)))
    message = [_HALF_Q * (byte >> bit & 1) for byte in m for bit in range(8)]
    compressed = compression(4)
    return pack_4([compressed[(x + e2 + bit) % Q] for x, e2, bit in zip(v, noise(r, 2 * _K), message, strict=True)])


def fits_header(header: bytes, ek: bytes) -> bool:
    """Whether a key is the one of the header, and each of its coefficients is below the modulus."""
    return sha3_256(ek + header[:32]).digest() == header[32:] and max(unpack_12(ek)) < Q


def _secret_vector(r: bytes) -> Factor:
    """``y`` in the spec, transformed."""
    return as_factor([transformed(noise(r, i)) for i in range(_K)])
