"""The field GF(2^16) of the erasure code: 16-bit integers, whose addition is XOR.

Products modulo x^16 + x^12 + x^3 + x + 1 go by logarithms to the base x, which generates all 65,535 nonzero
elements. The tables cost a few milliseconds, so they are made when somebody first loses a chunk.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from functools import cache
from typing import Final, NamedTuple

__all__ = ["ORDER", "POLYNOMIAL", "Tables", "double", "lagrange_weights", "multiply", "tables"]

POLYNOMIAL: Final = 0x1100B
ORDER: Final = (1 << 16) - 1


class Tables(NamedTuple):
    """Powers and logarithms.

    Attributes:
        exp: x^i for i up to twice `ORDER`, so that a sum of two logarithms needs no reduction.
        log: The inverse; of 0 there is none.
    """

    exp: array[int]
    log: array[int]


def double(element: int) -> int:
    """Multiply by x."""
    element <<= 1
    return element ^ POLYNOMIAL if element >> 16 else element


@cache
def tables() -> Tables:
    """The tables; made once."""
    exp, log = array("H", [1]), array("H", bytes(2 << 16))
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


def lagrange_weights(points: Iterable[int], at: int) -> list[int]:
    """How much the value at each point counts towards the value at another one.

    The polynomial of lowest degree through given values at the points has at `at` the value
    ``XOR of weight * value``. Points are distinct, and `at` is none of them.
    """
    points = tuple(points)
    exp, log = tables()
    numerator = sum(log[at ^ point] for point in points)
    return [
        exp[(numerator - log[at ^ point] - sum(log[point ^ other] for other in points if other != point)) % ORDER]
        for point in points
    ]
