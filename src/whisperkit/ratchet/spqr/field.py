"""The field GF(2^16) of the erasure code: 16-bit integers, whose addition is XOR.

Products modulo x^16 + x^12 + x^3 + x + 1 go by logarithms to the base x, which generates all 65,535 nonzero
elements. The tables cost a few milliseconds, so they are made when somebody first loses a chunk.

Where many elements meet one factor, a product is four `bytes.translate`: of the low and the high byte of each
element, to the low and the high byte of the product.
"""

from __future__ import annotations

import operator
from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache, lru_cache, reduce
from itertools import compress
from typing import Final, NamedTuple, TypeAlias

__all__ = [
    "ORDER",
    "POLYNOMIAL",
    "ProductTable",
    "Selections",
    "combine",
    "double",
    "inverse",
    "lagrange_weights",
    "multiply",
    "product_table",
    "redundant_selections",
    "selections",
    "tables",
    "xor",
]

POLYNOMIAL: Final = 0x1100B
ORDER: Final = (1 << 16) - 1
_BITS: Final = 16

# Sixteen elements side by side in one integer.
_EACH_LOWEST_BIT: Final = int.from_bytes(b"\x00\x01" * 16, "big")
_ALL_BUT_HIGHEST: Final = int.from_bytes(b"\x7f\xff" * 16, "big")
_REDUCTION: Final = POLYNOMIAL & ORDER

Selections: TypeAlias = tuple[tuple[bool, ...], ...]
"""For each bit of a weight, the highest first, which of the rows have it in theirs."""


xor: Final[Callable[[int, int], int]] = operator.xor  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
"""The sum of two elements, or of as many as stand side by side."""


class Tables(NamedTuple):
    """Powers and logarithms.

    Attributes:
        exp: x^i for i up to twice `ORDER`, so that a sum of two logarithms needs no reduction.
        log: The inverse; of 0 there is none.
    """

    exp: array[int]
    log: array[int]


class ProductTable(NamedTuple):
    """Products by one factor, byte by byte; each 256 bytes.

    Attributes:
        low_to_low: What the low byte of an element adds to the low byte of the product.
        low_to_high: What it adds to the high byte.
        high_to_low: What the high byte adds to the low byte.
        high_to_high: What it adds to the high byte.
    """

    low_to_low: bytes
    low_to_high: bytes
    high_to_low: bytes
    high_to_high: bytes


def double(element: int) -> int:
    """Multiply by x."""
    element <<= 1
    return element ^ POLYNOMIAL if element >> _BITS else element


@cache
def tables() -> Tables:
    """The tables; made once."""
    exp, log = array("H", [1]), array("H", bytes(2 << _BITS))
    while len(exp) < ORDER:
        exp.append(double(exp[-1]))
    for power, element in enumerate(exp):
        log[element] = power
    return Tables(exp * 2, log)


def multiply(left: int, right: int) -> int:
    """The product of two elements."""
    if not left or not right:
        return 0
    exp, log = tables()
    return exp[log[left] + log[right]]


def inverse(element: int) -> int:
    """One divided by an element that is not 0."""
    exp, log = tables()
    return exp[ORDER - log[element]]


@cache
def _windows() -> tuple[tuple[int, ...], ...]:
    """For each four bits of a factor and each value of them, its product table read as one integer."""
    single = [int.from_bytes(_table_of(1 << bit), "big") for bit in range(_BITS)]
    return tuple(
        tuple(reduce(xor, (single[start + bit] for bit in range(4) if value >> bit & 1), 0) for value in range(16))
        for start in range(0, _BITS, 4)
    )


def _table_of(factor: int) -> bytes:
    low = [multiply(factor, byte) for byte in range(256)]
    high = [multiply(factor, byte << 8) for byte in range(256)]
    return bytes(part >> shift & 0xFF for products in (low, high) for shift in (0, 8) for part in products)


def product_table(factor: int) -> ProductTable:
    """The products by a factor: linear in it, so four tables added give any."""
    first, second, third, fourth = _windows()
    joined = first[factor & 15] ^ second[factor >> 4 & 15] ^ third[factor >> 8 & 15] ^ fourth[factor >> 12]
    data = joined.to_bytes(1024, "big")
    return ProductTable(data[:256], data[256:512], data[512:768], data[768:])


def lagrange_weights(points: Collection[int], at: Iterable[int]) -> list[list[int]]:
    """How much the value at each point counts towards the value at other ones.

    The polynomial of lowest degree through given values at the points has at each of `at` the value
    ``XOR of weight * value``. Points are distinct, and none of them is in `at`.
    """
    exp, log = tables()
    # The logarithm of 0 is 0 here, so a point adds nothing to its own denominator.
    denominators = [sum([log[point ^ other] for other in points]) for point in points]
    out: list[list[int]] = []
    for target in at:
        distances = [log[target ^ point] for point in points]
        total = sum(distances)
        out.append([exp[(total - d - e) % ORDER] for d, e in zip(distances, denominators, strict=True)])
    return out


def selections(weights: Sequence[int]) -> Selections:
    """Prepare weights for `combine`."""
    return tuple(tuple(weight >> bit & 1 == 1 for weight in weights) for bit in reversed(range(_BITS)))


@lru_cache(maxsize=512)
def redundant_selections(chunks: int, index: int) -> Selections:
    """The weights of the points 0 to `chunks` - 1 at the point `index`, prepared."""
    return selections(lagrange_weights(range(chunks), (index,))[0])


def combine(rows: Sequence[int], prepared: Selections) -> int:
    """The sum of rows times weights, by Horner's rule over the bits of the weights.

    Args:
        rows: Sixteen elements each, side by side in an integer of 256 bits.
        prepared: The weights.
    """
    total = 0
    for selected in prepared:
        total = (total & _ALL_BUT_HIGHEST) << 1 ^ (total >> (_BITS - 1) & _EACH_LOWEST_BIT) * _REDUCTION
        total = reduce(xor, compress(rows, selected), total)
    return total
