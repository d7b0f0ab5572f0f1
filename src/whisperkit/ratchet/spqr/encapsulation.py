"""ML-KEM-768 encapsulation in two halves: the first needs the header only, the second the key itself.

FIPS 203 takes the whole encapsulation key at once. Here the key takes 36 messages to arrive, and the larger
part of the ciphertext, which depends on the seed of the matrix and the hash of the key alone, is sent
meanwhile. The two halves together are exactly what a one-shot encapsulation with the same `m` gives.

Polynomials are lists of 256 integers modulo 3,329. Nothing here runs in constant time, and nothing in Python
can: `docs/security.md` says what that means.

Spec:
    FIPS 203, "Auxiliary Algorithms" and "The K-PKE Component Scheme".
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha3_256, sha3_512, shake_128, shake_256
from operator import add, mul, sub
from typing import Final, NamedTuple, TypeAlias

from whisperkit.ratchet.redaction import redacted

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

Q: Final = 3329
N: Final = 256
K: Final = 3

Polynomial: TypeAlias = list[int]


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
    rows = [_inverse_ntt(_inner_product([_sample_ntt(rho, i, j) for j in range(K)], y)) for i in range(K)]
    u = [map(add, row, _noise(r, K + i)) for i, row in enumerate(rows)]
    ct1 = b"".join(_compress(row, 10) for row in u)
    return FirstHalf(secret, ct1, r + m)


def encapsulate_second(half: bytes, ek: bytes) -> bytes:
    """Make the last 128 bytes of the ciphertext.

    Args:
        half: From the first half.
        ek: The first 1,152 bytes of the encapsulation key, which fit the header.
    """
    r, m = half[:32], half[32:]
    t = _unpack_12(ek)
    v = _inverse_ntt(_inner_product([t[i * N : (i + 1) * N] for i in range(K)], _secret_vector(r)))
    bits = int.from_bytes(m, "little")
    mu = [(bits >> i & 1) * ((Q + 1) // 2) for i in range(N)]
    noisy = map(add, map(add, v, _noise(r, 2 * K)), mu)
    return _compress(noisy, 4)


def fits_header(header: bytes, ek: bytes) -> bool:
    """Whether a key is the one of the header, and each of its coefficients is below the modulus."""
    return sha3_256(ek + header[:32]).digest() == header[32:] and max(_unpack_12(ek)) < Q


def _zetas() -> list[int]:
    """17 to the power of each 7-bit number reversed, in order: the twiddle factors of the transform."""
    return [pow(17, int(f"{i:07b}"[::-1], 2), Q) for i in range(128)]


_ZETAS: Final = _zetas()
# The square of the root that each pair of coefficients is a polynomial modulo.
_GAMMAS: Final = [pow(17, 2 * int(f"{i:07b}"[::-1], 2) + 1, Q) for i in range(128)]
_ONE_OF_128: Final = pow(128, -1, Q)


def _ntt(f: Polynomial) -> Polynomial:
    """Algorithm 9."""
    f = f.copy()
    twiddle = 1
    length = 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            zeta = _ZETAS[twiddle]
            twiddle += 1
            low = f[start : start + length]
            high = [zeta * x % Q for x in f[start + length : start + 2 * length]]
            f[start : start + length] = map(add, low, high)
            f[start + length : start + 2 * length] = map(sub, low, high)
        length //= 2
    return [x % Q for x in f]


def _inverse_ntt(f: Polynomial) -> Polynomial:
    """Algorithm 10."""
    f = f.copy()
    twiddle = 127
    length = 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            zeta = _ZETAS[twiddle]
            twiddle -= 1
            low = f[start : start + length]
            high = f[start + length : start + 2 * length]
            f[start : start + length] = map(add, low, high)
            f[start + length : start + 2 * length] = [zeta * (y - x) % Q for x, y in zip(low, high, strict=True)]
        length *= 2
    return [x * _ONE_OF_128 % Q for x in f]


def _inner_product(left: list[Polynomial], right: list[Polynomial]) -> Polynomial:
    """The sum of products of transformed polynomials; algorithms 11 and 12."""
    out = [0] * N
    for f, g in zip(left, right, strict=True):
        f0, f1, g0, g1 = f[0::2], f[1::2], g[0::2], g[1::2]
        out[0::2] = map(add, out[0::2], map(add, map(mul, f0, g0), map(mul, map(mul, f1, g1), _GAMMAS)))
        out[1::2] = map(add, out[1::2], map(add, map(mul, f0, g1), map(mul, f1, g0)))
    return [x % Q for x in out]


def _secret_vector(r: bytes) -> list[Polynomial]:
    """``y`` in the spec, transformed."""
    return [_ntt(_noise(r, i)) for i in range(K)]


def _noise(r: bytes, number: int) -> Polynomial:
    """Small coefficients from -2 to 2; algorithm 8 with eta = 2, on ``PRF(r, number)``."""
    return [x for byte in shake_256(r + bytes([number])).digest(N // 2) for x in _NOISE[byte]]


_NOISE: Final = [tuple((n & 1) + (n >> 1 & 1) - (n >> 2 & 1) - (n >> 3) for n in (b & 15, b >> 4)) for b in range(N)]


def _sample_ntt(rho: bytes, i: int, j: int) -> Polynomial:
    """One entry of the matrix, by rejection; algorithm 7. `i` comes first: the matrix is used transposed."""
    xof = shake_128(rho + bytes([i, j]))
    size = 504
    while True:
        accepted = [x for x in _unpack_12(xof.digest(size)) if x < Q]
        if len(accepted) >= N:
            return accepted[:N]
        size += 168


def _unpack_12(data: bytes) -> Polynomial:
    """Numbers of 12 bits, two in three bytes, the lowest bits first."""
    first, second, third = data[0::3], data[1::3], data[2::3]
    out = [0] * (len(first) * 2)
    out[0::2] = [a | (b & 15) << 8 for a, b in zip(first, second, strict=True)]
    out[1::2] = [b >> 4 | c << 4 for b, c in zip(second, third, strict=True)]
    return out


def _compress(numbers: Iterable[int], bits: int) -> bytes:
    """256 numbers rounded to so many bits, and packed, the lowest bits first."""
    joined = 0
    for place, number in enumerate(numbers):
        joined |= ((number % Q << bits) + Q // 2) // Q % (1 << bits) << place * bits
    return joined.to_bytes(N * bits // 8, "little")
