"""ML-KEM-768 encapsulation in two halves: the first needs the header only, the second the key itself.

FIPS 203 takes the whole encapsulation key at once. Here the key takes 36 messages to arrive, and the larger
part of the ciphertext, which depends on the seed of the matrix and the hash of the key alone, is sent
meanwhile. The two halves together are exactly what a one-shot encapsulation with the same `m` gives.

Polynomials are lists of 256 integers modulo 3,329. Nothing here runs in constant time, and nothing in Python can.

Spec:
    FIPS 203, "Auxiliary Algorithms" and "The K-PKE Component Scheme".
"""

from __future__ import annotations

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
    ct1 = b"".join(
        _pack_10([_COMPRESS_10[x % Q] for x in map(add, row, _noise(r, K + i))]) for i, row in enumerate(rows)
    )
    return FirstHalf(secret, ct1, r + m)


def encapsulate_second(half: bytes, ek: bytes) -> bytes:
    """Make the last 128 bytes of the ciphertext.

    Args:
        half: From the first half.
        ek: The first 1,152 bytes of the encapsulation key, which fit the header.
    """
    r, m = half[:32], half[32:]
    numbers = _unpack_12(ek)
    t = [_halves(numbers[i * N : (i + 1) * N]) for i in range(K)]
    v = _inverse_ntt(_inner_product(t, _secret_vector(r)))
    message = [(byte >> bit & 1) * ((Q + 1) // 2) for byte in m for bit in range(8)]
    return _pack_4([_COMPRESS_4[x % Q] for x in map(add, map(add, v, _noise(r, 2 * K)), message)])


def fits_header(header: bytes, ek: bytes) -> bool:
    """Whether a key is the one of the header, and each of its coefficients is below the modulus."""
    return sha3_256(ek + header[:32]).digest() == header[32:] and max(_unpack_12(ek)) < Q


def _power_at(place: int, times: int, plus: int) -> int:
    return pow(17, times * int(f"{place:07b}"[::-1], 2) + plus, Q)


def _round(x: int, bits: int) -> int:
    return ((x << bits) + Q // 2) // Q % (1 << bits)


# The twiddle factors: 17 to the power of each 7-bit number reversed. A layer with 2^l blocks uses those from 2^l on,
# and in the layout here the number of a butterfly's block is its own number modulo 2^l.
_ZETAS: Final = tuple(_power_at(i, 1, 0) for i in range(128))
_LAYERS: Final = tuple(tuple(_ZETAS[(1 << layer) + i % (1 << layer)] for i in range(128)) for layer in range(7))
_INVERSE_LAYERS: Final = tuple(tuple(pow(zeta, -1, Q) for zeta in layer) for layer in reversed(_LAYERS))
_GAMMAS: Final = tuple(_power_at(i, 2, 1) for i in range(128))
_ONE_OF_128: Final = pow(128, -1, Q)
_COMPRESS_10: Final = tuple(_round(x, 10) for x in range(Q))
_COMPRESS_4: Final = tuple(_round(x, 4) for x in range(Q))


def _ntt(f: Polynomial) -> Polynomial:
    """Algorithm 9, in constant geometry.

    Each layer pairs the first half of the list with the second, and puts each pair's results side by side. So
    the bit of the index that is transformed moves from the front to the end, and after seven layers what is
    left in front is the lowest: all even coefficients come before all odd ones.
    """
    for zetas in _LAYERS:
        low = f[:128]
        high = [x % Q for x in map(mul, f[128:], zetas)]
        f = [0] * N
        f[0::2] = map(add, low, high)
        f[1::2] = map(sub, low, high)
    return f


def _inverse_ntt(f: Polynomial) -> Polynomial:
    """Algorithm 10: the layers of `_ntt` undone, and the factors of two at the end."""
    for zetas in _INVERSE_LAYERS:
        low, high = f[0::2], f[1::2]
        f = [*map(add, low, high), *[x % Q for x in map(mul, map(sub, low, high), zetas)]]
    return [x * _ONE_OF_128 % Q for x in f]


def _halves(f: Polynomial) -> Polynomial:
    """A transformed polynomial from the order of the standard into the one of `_ntt`."""
    return f[0::2] + f[1::2]


def _inner_product(left: list[Polynomial], right: list[Polynomial]) -> Polynomial:
    """The sum of products of transformed polynomials; algorithms 11 and 12."""
    zeros = [0] * 128
    even, odd, wrapped = zeros, zeros, zeros
    for f, g in zip(left, right, strict=True):
        f0, f1, g0, g1 = f[:128], f[128:], g[:128], g[128:]
        even = list(map(add, even, map(mul, f0, g0)))
        wrapped = list(map(add, wrapped, map(mul, f1, g1)))
        odd = list(map(add, odd, map(add, map(mul, f0, g1), map(mul, f1, g0))))
    even = list(map(add, even, map(mul, [x % Q for x in wrapped], _GAMMAS)))
    return [x % Q for x in even + odd]


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
            return _halves(accepted[:N])
        size += 168


def _unpack_12(data: bytes) -> Polynomial:
    """Numbers of 12 bits, two in three bytes, the lowest bits first."""
    first, second, third = data[0::3], data[1::3], data[2::3]
    out = [0] * (len(first) * 2)
    out[0::2] = [a | (b & 15) << 8 for a, b in zip(first, second, strict=True)]
    out[1::2] = [b >> 4 | c << 4 for b, c in zip(second, third, strict=True)]
    return out


def _pack_10(numbers: list[int]) -> bytes:
    """Numbers of 10 bits, four in five bytes, the lowest bits first."""
    groups = zip(numbers[0::4], numbers[1::4], numbers[2::4], numbers[3::4], strict=True)
    return b"".join((a | b << 10 | c << 20 | d << 30).to_bytes(5, "little") for a, b, c, d in groups)


def _pack_4(numbers: list[int]) -> bytes:
    """Numbers of 4 bits, two in a byte, the lowest bits first."""
    return bytes(a | b << 4 for a, b in zip(numbers[0::2], numbers[1::2], strict=True))
