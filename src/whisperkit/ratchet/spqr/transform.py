"""Chunks far beyond the object, 32 at a time: the additive Fourier transform.

Let s_b be the polynomial that vanishes on {0, ..., 2^b - 1}, scaled so that s_b(2^b) = 1. It is linear over
GF(2): s_b(x + y) = s_b(x) + s_b(y). Let X_i be the product of the s_b over the bits b that are set in i; its degree
is i. In the basis of the X_i a polynomial has as many coefficients as in that of the powers, and its values at
2^m points from a multiple `base` of 2^m come from m layers of butterflies

    low ^= s_b(first point of the sub-block) * high
    high ^= low

from b = m - 1 down to 0. That is 31 products by constants for 32 chunks, where interpolation would take 36 for
each. The inverse undoes the layers from the last to the first.

A row is a chunk with the low bytes of its sixteen words before the high ones. `coefficients` works on rows, once
per object. `block` works on all rows at a time, as two planes of 512 bytes, low bytes and high bytes: an index into
them begins as (word, bit 0, ..., bit 4 of the row). Each layer takes the last bit off (`[0::2]` and `[1::2]`)
and puts it in front (low before high), so after five layers it is (bit 0, ..., bit 4, word). Since s_b is linear,
the constants of a layer are one for the base of the block and one for each higher bit of the place in it, masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, reduce
from typing import Final, NamedTuple

from whisperkit.ratchet.spqr.field import (
    ProductTable,
    combine,
    inverse,
    multiply,
    product_table,
    redundant_selections,
)

__all__ = ["BLOCK_CHUNKS", "Coefficients", "block", "coefficients", "place_of", "vanishing"]

BLOCK_CHUNKS: Final = 32

_WORDS: Final = 16
_LAYERS: Final = 5
_PLANE_BYTES: Final = BLOCK_CHUNKS * _WORDS
_HALF_BYTES: Final = _PLANE_BYTES // 2
_REVERSED: Final = tuple(int(f"{n:05b}"[::-1], 2) for n in range(BLOCK_CHUNKS))


class Coefficients(NamedTuple):
    """The polynomials of an object in the basis of the X_i, as planes.

    Attributes:
        low: Low bytes of the first 32 coefficients.
        high: High bytes.
        low_rest: Low bytes of those from the 33rd on, in the places of the first ones; empty if there are none.
        high_rest: High bytes.
    """

    low: bytes
    high: bytes
    low_rest: bytes
    high_rest: bytes


# ---- all rows at a time ---------------------------------------------------------------------------------------------


def block(known: Coefficients, base: int) -> bytes:
    """The chunks `base` to `base` + 31 joined, in the order that `place_of` tells; `base` is a multiple of 32."""
    low, high = known.low, known.high
    if known.low_rest:
        rest = _times(known.low_rest, known.high_rest, product_table(vanishing(_LAYERS, base)))
        low, high = _sum(low, rest[0]), _sum(high, rest[1])
    for layer in reversed(range(_LAYERS)):
        low, high = _butterflies(low, high, layer, base)
    out = bytearray(2 * _PLANE_BYTES)
    out[0::2], out[1::2] = high, low
    return bytes(out)


def place_of(index: int) -> int:
    """Where in its block a chunk begins, in bytes."""
    return _REVERSED[index % BLOCK_CHUNKS] * 2 * _WORDS


def _butterflies(low: bytes, high: bytes, layer: int, base: int) -> tuple[bytes, bytes]:
    """One layer of the transform, on both planes."""
    factor_low, factor_high = low[1::2], high[1::2]
    sum_low, sum_high = _times(factor_low, factor_high, product_table(vanishing(layer, base)))
    for table, mask in _place_factors()[layer]:
        more_low, more_high = _times(factor_low, factor_high, table)
        sum_low ^= more_low & mask
        sum_high ^= more_high & mask
    return _join(low, sum_low), _join(high, sum_high)


def _join(plane: bytes, product: int) -> bytes:
    """Add the products to the even places, then those to the odd ones; the even ones go in front."""
    even = int.from_bytes(plane[0::2], "big") ^ product
    odd = int.from_bytes(plane[1::2], "big") ^ even
    return even.to_bytes(_HALF_BYTES, "big") + odd.to_bytes(_HALF_BYTES, "big")


def _times(low: bytes, high: bytes, table: ProductTable) -> tuple[int, int]:
    """Multiply elements by a factor: the planes of the products, as integers."""
    low_to_low, low_to_high, high_to_low, high_to_high = table
    read = int.from_bytes
    return (
        read(low.translate(low_to_low), "big") ^ read(high.translate(high_to_low), "big"),
        read(low.translate(low_to_high), "big") ^ read(high.translate(high_to_high), "big"),
    )


def _sum(plane: bytes, addend: int) -> bytes:
    return (int.from_bytes(plane, "big") ^ addend).to_bytes(len(plane), "big")


@cache
def _place_factors() -> tuple[tuple[tuple[ProductTable, int], ...], ...]:
    """For each layer, the constants of the higher bits of a place in the block, and the bytes that have the bit."""
    return tuple(
        tuple(
            (product_table(vanishing(layer, 1 << bit)), _mask(1 << 7 - (bit - layer - 1)))
            for bit in range(layer + 1, _LAYERS)
        )
        for layer in range(_LAYERS)
    )


def _mask(bit: int) -> int:
    return int.from_bytes(bytes(0xFF if place & bit else 0 for place in range(_HALF_BYTES)), "big")


# ---- row by row -----------------------------------------------------------------------------------------------------


def coefficients(chunks: Sequence[bytes]) -> Coefficients:
    """The polynomials through the chunks of an object, of which there are at most 64."""
    rows = [chunk[1::2] + chunk[0::2] for chunk in chunks[:BLOCK_CHUNKS]]
    first = _backward(_filled(chunks[:BLOCK_CHUNKS], rows), 0)
    # Beyond the first block: what the polynomial of the first 32 chunks lacks there. Its factor s_5 is 1 there.
    beyond = chunks[BLOCK_CHUNKS:]
    if not beyond:
        return Coefficients(*_planes(first), b"", b"")
    values = _forward(first, BLOCK_CHUNKS)
    lacking = [_xor(chunk[1::2] + chunk[0::2], value) for chunk, value in zip(beyond, values, strict=False)]
    return Coefficients(*_planes(first), *_planes(_backward(lacking, BLOCK_CHUNKS)))


def _filled(chunks: Sequence[bytes], rows: list[bytes]) -> list[bytes]:
    """Values up to the next power of two of points, by interpolation."""
    size = 1 << (len(chunks) - 1).bit_length()
    whole = [int.from_bytes(chunk, "big") for chunk in chunks]
    missing = [
        combine(whole, redundant_selections(len(chunks), index)).to_bytes(2 * _WORDS, "big")
        for index in range(len(chunks), size)
    ]
    return rows + [chunk[1::2] + chunk[0::2] for chunk in missing]


def _forward(rows: list[bytes], base: int) -> list[bytes]:
    """The values at as many points from `base` as there are coefficients, a power of two."""
    rows = rows.copy()
    for layer in reversed(range(len(rows).bit_length() - 1)):
        for low, high, table in _pairs(len(rows), layer, base):
            rows[low] = _xor(rows[low], _row_times(rows[high], table))
            rows[high] = _xor(rows[high], rows[low])
    return rows


def _backward(rows: list[bytes], base: int) -> list[bytes]:
    """The coefficients, from values at as many points from `base`, a power of two."""
    rows = rows.copy()
    for layer in range(len(rows).bit_length() - 1):
        for low, high, table in _pairs(len(rows), layer, base):
            rows[high] = _xor(rows[high], rows[low])
            rows[low] = _xor(rows[low], _row_times(rows[high], table))
    return rows


def _pairs(size: int, layer: int, base: int) -> list[tuple[int, int, ProductTable]]:
    """The butterflies of a layer: the two rows, and the factor of the second."""
    width = 1 << layer
    pairs: list[tuple[int, int, ProductTable]] = []
    for start in range(0, size, 2 * width):
        table = product_table(vanishing(layer, base + start))
        pairs += ((low, low + width, table) for low in range(start, start + width))
    return pairs


def _row_times(row: bytes, table: ProductTable) -> bytes:
    low, high = _times(row[:_WORDS], row[_WORDS:], table)
    return low.to_bytes(_WORDS, "big") + high.to_bytes(_WORDS, "big")


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")


def _planes(rows: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Rows as planes of low and of high bytes, in the layout that `block` begins with."""
    low, high = bytearray(_PLANE_BYTES), bytearray(_PLANE_BYTES)
    for number, row in enumerate(rows):
        low[_REVERSED[number] :: BLOCK_CHUNKS] = row[:_WORDS]
        high[_REVERSED[number] :: BLOCK_CHUNKS] = row[_WORDS:]
    return bytes(low), bytes(high)


# ---- the polynomials s_b --------------------------------------------------------------------------------------------


def vanishing(layer: int, point: int) -> int:
    """The value of s_b at a point, for b = `layer`: linear, so those at the powers of two make all others."""
    values = _vanishing_at_powers()[layer]
    return reduce(int.__xor__, (value for bit, value in enumerate(values) if point >> bit & 1), 0)


@cache
def _vanishing_at_powers() -> tuple[tuple[int, ...], ...]:
    """s_b(2^i) for b < 6 and i < 16, by s_(b+1)(x) = s_b(x) * (s_b(x) + 1), scaled."""
    layers = [tuple(1 << bit for bit in range(16))]
    for layer in range(1, _LAYERS + 1):
        products = [multiply(value, value ^ 1) for value in layers[-1]]
        scale = inverse(products[layer])
        layers.append(tuple(multiply(product, scale) for product in products))
    return tuple(layers)
