"""The polynomials of ML-KEM-768: 256 integers modulo 3,329, as far as encapsulation needs them.

Theory of operation. The transform evaluates the even coefficients, as a polynomial of their own, at 128 points, and
the odd ones likewise. The standard does that in seven layers of butterflies, two thousand steps of an
interpreter. Here it is nearly what it says, a sum of coefficients times columns, where a column holds one power of
32 points: as one integer, with 32 bits for each, called lanes. The other points are these times -1, i and -i,
where i is a root of -1; so the sums are taken over each fourth coefficient, and the four of them then added with
the signs that belong to a point, which is what two layers of butterflies do.

A polynomial is a sequence of its coefficients; a transformed one is a pair, of the values of its even coefficients
and of its odd ones.

Numbers of 10 and 12 bits are brought together and apart in the same way, all of them at once: shifts and masks
of one long integer.

Spec:
    FIPS 203, "Auxiliary Algorithms"; a deviation in method only, and the tests have its algorithms as written.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import shake_128, shake_256
from operator import add, getitem, mul, sub
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from whisperkit.ratchet.redaction import redacted

__all__ = [
    "Factor",
    "Half",
    "Q",
    "Transformed",
    "as_factor",
    "compression",
    "inner_product",
    "noise",
    "pack_4",
    "pack_10",
    "sample",
    "transformed",
    "unpack_12",
    "untransformed",
]

Q: Final = 3329

Half: TypeAlias = Sequence[int]
"""The values of the even or of the odd coefficients, at all points."""

Transformed: TypeAlias = tuple[Half, Half]
"""The values of the even coefficients and those of the odd ones."""

_POINTS_COUNT: Final = 128
_COEFFICIENTS: Final = 256
_NOISE_BIAS: Final = 2
_LANES: Final = Struct("<32I")


# ---- sampling -------------------------------------------------------------------------------------------------------


def noise(seed: bytes, number: int) -> bytes:
    """Small coefficients from -2 to 2, with 2 added: algorithm 8 with eta = 2, on ``PRF(seed, number)``."""
    drawn = shake_256(seed + number.to_bytes()).digest(_COEFFICIENTS // 2)
    out = bytearray(_COEFFICIENTS)
    out[0::2], out[1::2] = drawn.translate(_NOISE_OF_LOW_BITS), drawn.translate(_NOISE_OF_HIGH_BITS)
    return bytes(out)


def sample(rho: bytes, i: int, j: int) -> Transformed:
    """A transformed polynomial out of a seed, by rejection: algorithm 7 on ``rho || i || j``."""
    xof = shake_128(rho + bytes((i, j)))
    size = 504
    while True:
        accepted = [x for x in unpack_12(xof.digest(size)) if x < Q]
        if len(accepted) >= _COEFFICIENTS:
            return accepted[0:_COEFFICIENTS:2], accepted[1:_COEFFICIENTS:2]
        size += 168


def _noise_of(bits: int) -> int:
    return (bits & 1) + (bits >> 1 & 1) - (bits >> 2 & 1) - (bits >> 3) + _NOISE_BIAS


_NOISE_OF_LOW_BITS: Final = bytes(_noise_of(byte & 15) for byte in range(256))
_NOISE_OF_HIGH_BITS: Final = bytes(_noise_of(byte >> 4) for byte in range(256))


# ---- the transform --------------------------------------------------------------------------------------------------

# The points are the odd powers of 17, whose 256th is 1, in the order of the standard. In each four of them the
# others are the first one times -1, i and -i.
_POWERS: Final = tuple(pow(17, power, Q) for power in range(256))
_EXPONENTS: Final = tuple(2 * int(f"{i:07b}"[::-1], 2) + 1 for i in range(_POINTS_COUNT))
_POINTS: Final = tuple(_POWERS[exponent] for exponent in _EXPONENTS)
_I: Final = _POWERS[64]


def transformed(small: bytes) -> Transformed:
    """Evaluate what `noise` gave: algorithm 9."""
    return _evaluated(small[0::2]), _evaluated(small[1::2])


def untransformed(polynomial: Transformed) -> list[int]:
    """Undo the transform: algorithm 10. The coefficients are below 2^32, and not reduced."""
    out = [0] * _COEFFICIENTS
    out[0::2], out[1::2] = map(_interpolated, polynomial)
    return out


def _evaluated(small: bytes) -> Half:
    p0, p1, p2, p3 = (sum(map(getitem, table, small[r::4])) for r, table in enumerate(_multiples()))
    even, odd, difference, turned = p0 + p2, p1 + p3, p0 - p2, _I * (p1 - p3)
    out = [0] * _POINTS_COUNT
    out[0::4] = _read(even + odd)
    out[1::4] = _read(even - odd)
    out[2::4] = _read(difference + turned)
    out[3::4] = _read(difference - turned)
    return [x % Q for x in out]


def _interpolated(values: Half) -> list[int]:
    at_1, at_minus_1, at_i, at_minus_i = (values[s::4] for s in range(4))
    even, difference = list(map(add, at_1, at_minus_1)), list(map(sub, at_1, at_minus_1))
    odd, turned = list(map(add, at_i, at_minus_i)), [_I * x % Q for x in map(sub, at_i, at_minus_i)]
    table = _inverse_columns()
    out = [0] * _POINTS_COUNT
    out[0::4] = _read(sum(map(mul, table[0], map(add, even, odd))))
    out[1::4] = _read(sum(map(mul, table[1], map(sub, difference, turned))))
    out[2::4] = _read(sum(map(mul, table[2], map(sub, even, odd))))
    out[3::4] = _read(sum(map(mul, table[3], map(add, difference, turned))))
    return out


@cache
def _multiples() -> tuple[tuple[tuple[int, ...], ...], ...]:
    """For each fourth power of the points, its column times -2 to 2; for the powers after these; and so on."""
    columns = [_column([_POWERS[each * power % 256] for each in _EXPONENTS[0::4]]) for power in range(_POINTS_COUNT)]
    return tuple(tuple((-2 * each, -each, 0, each, 2 * each) for each in columns[r::4]) for r in range(4))


@cache
def _inverse_columns() -> tuple[tuple[int, ...], ...]:
    """For each point its powers to 0, -4, ..., divided by the number of points; those to -1, -5, ...; and so on."""
    shares = [power * pow(_POINTS_COUNT, -1, Q) % Q for power in _POWERS]
    return tuple(
        tuple(
            _column([shares[-each * power % 256] for power in range(r, _POINTS_COUNT, 4)]) for each in _EXPONENTS[0::4]
        )
        for r in range(4)
    )


def _column(lanes: Sequence[int]) -> int:
    return int.from_bytes(_LANES.pack(*lanes), "little")


# What a lane comes to, worst of all, is 1,418 million: 32 products of two factors, one below the modulus and one below
# four times it. Below zero it is 737 million: a difference of two sums of 32 products by at most 2, times i.
_BIAS: Final = _column([Q << 18] * 32)


def _read(column: int) -> tuple[int, ...]:
    """The lanes, each with a multiple of the modulus added, so that none is below zero."""
    return _LANES.unpack((column + _BIAS).to_bytes(_LANES.size, "little"))


class Factor(NamedTuple):
    """Transformed polynomials, made ready to be multiplied by many others.

    Attributes:
        for_even: For each of them what the even half of another counts towards the even half of the product,
            and what its odd half does.
        for_odd: The same towards the odd half.
    """

    for_even: Sequence[Half]
    for_odd: Sequence[Half]

    def __repr__(self) -> str:
        return redacted(self)


def as_factor(polynomials: Sequence[Transformed]) -> Factor:
    """Make a vector of three transformed polynomials ready for `inner_product`."""
    for_even: list[Half] = []
    for_odd: list[Half] = []
    for even, odd in polynomials:
        for_even += even, [x * point % Q for x, point in zip(odd, _POINTS, strict=True)]
        for_odd += odd, even
    return Factor(for_even, for_odd)


def inner_product(left: Sequence[Transformed], right: Factor) -> Transformed:
    """The sum of the products of two vectors, transformed: algorithms 11 and 12."""
    halves = [half for polynomial in left for half in polynomial]
    return _sum_of_products(halves, right.for_even), _sum_of_products(halves, right.for_odd)


def _sum_of_products(left: Sequence[Half], right: Sequence[Half]) -> Half:
    return [
        (a0 * b0 + a1 * b1 + a2 * b2 + a3 * b3 + a4 * b4 + a5 * b5) % Q
        for a0, a1, a2, a3, a4, a5, b0, b1, b2, b3, b4, b5 in zip(*left, *right, strict=True)
    ]


# ---- numbers of few bits --------------------------------------------------------------------------------------------


def unpack_12(data: bytes) -> tuple[int, ...]:
    """Numbers of 12 bits, two in three bytes, the lowest bits first."""
    pairs = len(data) // 3
    spread = bytearray(4 * pairs)
    spread[0::4], spread[1::4], spread[2::4] = data[0::3], data[1::3], data[2::3]
    both, low = int.from_bytes(spread, "little"), _mask(0x0000_0FFF, 4, pairs)
    apart = both & low | (both & low << 12) << 4
    return _numbers(2 * pairs).unpack(apart.to_bytes(4 * pairs, "little"))


@cache
def compression(bits: int) -> tuple[int, ...]:
    """Algorithm "Compress" as a table, for coefficients to which something from `noise` was added."""
    return tuple(((x - _NOISE_BIAS) % Q * (1 << bits) + Q // 2) // Q % (1 << bits) for x in range(Q))


def pack_10(numbers: Sequence[int]) -> bytes:
    """Numbers of 10 bits, four in five bytes, the lowest bits first."""
    groups = len(numbers) // 4
    x = int.from_bytes(_numbers(len(numbers)).pack(*numbers), "little")
    low = _mask(0x0000_03FF, 4, 2 * groups)
    x = x & low | (x & low << 16) >> 6
    low = _mask(0x000F_FFFF, 8, groups)
    x = x & low | (x & low << 32) >> 12
    spread, out = x.to_bytes(8 * groups, "little"), bytearray(5 * groups)
    for place in range(5):
        out[place::5] = spread[place::8]
    return bytes(out)


def pack_4(numbers: Sequence[int]) -> bytes:
    """Numbers of 4 bits, two in a byte, the lowest bits first."""
    return bytes(low | high << 4 for low, high in zip(numbers[0::2], numbers[1::2], strict=True))


@cache
def _mask(pattern: int, size: int, count: int) -> int:
    """The same bits in each of `count` lanes of `size` bytes."""
    return int.from_bytes(pattern.to_bytes(size, "little") * count, "little")


@cache
def _numbers(count: int) -> Struct:
    """So many numbers of 16 bits."""
    return Struct(f"<{count}H")
