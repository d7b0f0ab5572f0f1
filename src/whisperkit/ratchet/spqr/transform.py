"""Chunks far beyond the object, 64 at a time: the additive Fourier transform.

Let s_b be the polynomial that vanishes on {0, ..., 2^b - 1}, scaled so that s_b(2^b) = 1. It is linear over
GF(2): s_b(x + y) = s_b(x) + s_b(y). Let X_i be the product of the s_b over the bits b that are set in i; its degree
is i. In the basis of the X_i a polynomial has as many coefficients as in that of the powers, and its values at
2^m points from a multiple `base` of 2^m come from m layers of butterflies

    low ^= s_b(first point of the sub-block) * high
    high ^= low

from b = m - 1 down to 0. That is 63 products by constants for 64 chunks, where interpolation would take as many for
each two. The inverse undoes the layers from the last to the first.

Whole objects are treated at a time, as two planes: the low bytes of all words in one string, then the high bytes. Where
coefficients stand, the index into a plane is (word, bit 0, ..., bit m - 1 of the row). A layer takes the last
bit off (`[0::2]` and `[1::2]`) and puts it in front, so where the values stand it is (bit 0, ..., bit m - 1, word).
Since s_b is linear, the constants of a layer are one for the base of the block and one for each higher bit of the
place in it, masked. A layer in which all that is multiplied is zero, because an object has fewer chunks than the
block, repeats its input.
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
    xor,
)

__all__ = ["BLOCK_CHUNKS", "PLACES", "Coefficients", "block", "coefficients", "vanishing"]

BLOCK_CHUNKS: Final = 64

_LAYERS: Final = 6
_HALF_CHUNKS: Final = BLOCK_CHUNKS // 2
_WORDS: Final = 16
_CHUNK_BYTES: Final = 2 * _WORDS


PLACES: Final = tuple(_CHUNK_BYTES * int(f"{row:06b}"[::-1], 2) for row in range(BLOCK_CHUNKS))
"""Where in its block each chunk begins, in bytes."""


class Coefficients(NamedTuple):
    """The polynomials of an object in the basis of the X_i.

    Attributes:
        planes: 64 coefficients for each word.
        layers: In how many layers, the last ones, there is something to multiply.
    """

    planes: bytes
    layers: int


def block(known: Coefficients, base: int) -> bytes:
    """The chunks `base` to `base` + 63 joined, in the order that `PLACES` tells; `base` is a multiple of 64."""
    planes = known.planes
    for layer in reversed(range(_LAYERS)):
        planes = _butterflies(planes, layer, base, _LAYERS) if layer < known.layers else _repeated(planes)
    return _joined_words(planes)


def coefficients(chunks: Sequence[bytes]) -> Coefficients:
    """The polynomials through the chunks of an object, of which there are at most 64."""
    first, beyond = chunks[:_HALF_CHUNKS], chunks[_HALF_CHUNKS:]
    rows = _interpolated(first, 0)
    if beyond:
        # What the polynomial of the first half lacks in the second. Its factor s_5 is 1 there.
        found = block(Coefficients(_coefficient_planes(rows, _LAYERS), _LAYERS - 1), 0)
        places = PLACES[_HALF_CHUNKS : len(chunks)]
        lacking = [_xor(chunk, found[at : at + _CHUNK_BYTES]) for chunk, at in zip(beyond, places, strict=True)]
        rows += _interpolated(lacking, _HALF_CHUNKS)
    return Coefficients(_coefficient_planes(rows, _LAYERS), (len(rows) - 1).bit_length())


def _interpolated(chunks: Sequence[bytes], base: int) -> list[bytes]:
    """The coefficients, a power of two of them, from values at the points from `base`."""
    layers = (len(chunks) - 1).bit_length()
    # The values up to a power of two of points come from the weights for base 0: only the distances of points count.
    whole = [int.from_bytes(chunk, "big") for chunk in chunks]
    missing = [
        combine(whole, redundant_selections(len(chunks), index)).to_bytes(_CHUNK_BYTES, "big")
        for index in range(len(chunks), 1 << layers)
    ]
    planes = _value_planes([*chunks, *missing], layers)
    for layer in range(layers):
        planes = _butterflies_undone(planes, layer, base, layers)
    return _coefficient_rows(planes, layers)


# ---- one layer ------------------------------------------------------------------------------------------------------


def _butterflies(planes: bytes, layer: int, base: int, layers: int) -> bytes:
    """Add the products to the even places, then those to the odd ones."""
    even, odd = planes[0::2], planes[1::2]
    lower = _read(even) ^ _products(odd, layer, base, layers)
    return _in_front(_write(lower, len(even)), _write(_read(odd) ^ lower, len(odd)))


def _butterflies_undone(planes: bytes, layer: int, base: int, layers: int) -> bytes:
    """The inverse."""
    quarter = len(planes) // 4
    even = planes[:quarter] + planes[2 * quarter : 3 * quarter]
    odd = _write(_read(planes[quarter : 2 * quarter] + planes[3 * quarter :]) ^ _read(even), len(even))
    out = bytearray(len(planes))
    out[0::2] = _write(_read(even) ^ _products(odd, layer, base, layers), len(even))
    out[1::2] = odd
    return bytes(out)


def _repeated(planes: bytes) -> bytes:
    """What a layer comes to if the odd places are zero."""
    even = planes[0::2]
    return _in_front(even, even)


def _in_front(even: bytes, odd: bytes) -> bytes:
    """In each plane the even places before the odd ones."""
    half = len(even) // 2
    return even[:half] + odd[:half] + even[half:] + odd[half:]


def _products(planes: bytes, layer: int, base: int, layers: int) -> int:
    """Multiply each element by the constant of its place."""
    half = len(planes) // 2
    low, high = planes[:half], planes[half:]
    products = _times(low, high, product_table(vanishing(layer, base)))
    for table, mask in _place_factors(layers)[layer]:
        products ^= _times(low, high, table) & mask
    return products


def _times(low: bytes, high: bytes, table: ProductTable) -> int:
    """Multiply all elements by one factor: both planes of the products, as one integer."""
    low_to_low, low_to_high, high_to_low, high_to_high = table
    return _read(low.translate(low_to_low) + low.translate(low_to_high)) ^ _read(
        high.translate(high_to_low) + high.translate(high_to_high)
    )


def _read(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _write(number: int, size: int) -> bytes:
    return number.to_bytes(size, "little")


def _xor(left: bytes, right: bytes) -> bytes:
    return _write(_read(left) ^ _read(right), len(left))


@cache
def _place_factors(layers: int) -> tuple[tuple[tuple[ProductTable, int], ...], ...]:
    """For each layer, the constants of the higher bits of a place in the block, and the bytes that have the bit."""
    half_plane = _WORDS << layers - 1
    return tuple(
        tuple(
            (product_table(vanishing(layer, 1 << bit)), _mask(half_plane >> bit - layer, half_plane))
            for bit in range(layer + 1, layers)
        )
        for layer in range(layers)
    )


def _mask(bit: int, places: int) -> int:
    """The bytes of both planes whose place in its plane has a bit."""
    return _read(bytes(0xFF if place & bit else 0 for place in range(places)) * 2)


# ---- planes ---------------------------------------------------------------------------------------------------------


def _coefficient_planes(rows: Sequence[bytes], layers: int) -> bytes:
    """Coefficients as planes; those that are not there are zero."""
    low, high = bytearray(_WORDS << layers), bytearray(_WORDS << layers)
    for row, place in zip(rows, _reversed(layers), strict=False):
        low[place :: 1 << layers], high[place :: 1 << layers] = row[1::2], row[0::2]
    return bytes(low + high)


def _coefficient_rows(planes: bytes, layers: int) -> list[bytes]:
    """The inverse, for as many coefficients as there are places."""
    words = _joined_words(planes)
    rows: list[bytes] = []
    for place in _reversed(layers):
        row = bytearray(_CHUNK_BYTES)
        row[0::2], row[1::2] = words[2 * place :: 2 << layers], words[2 * place + 1 :: 2 << layers]
        rows.append(bytes(row))
    return rows


def _value_planes(chunks: Sequence[bytes], layers: int) -> bytes:
    """Chunks as planes, as many as there are places."""
    joined = b"".join(chunks[row] for row in _reversed(layers))
    return joined[1::2] + joined[0::2]


def _joined_words(planes: bytes) -> bytes:
    """Low and high bytes in turns, the high one of a word first."""
    out, half = bytearray(len(planes)), len(planes) // 2
    out[0::2], out[1::2] = planes[half:], planes[:half]
    return bytes(out)


@cache
def _reversed(layers: int) -> tuple[int, ...]:
    """The place of each row: its number with the bits reversed."""
    return tuple(int(f"{row:0{layers}b}"[::-1], 2) for row in range(1 << layers))


# ---- the polynomials s_b --------------------------------------------------------------------------------------------


def vanishing(layer: int, point: int) -> int:
    """The value of s_b at a point, for b = `layer`: linear, so those at the powers of two make all others."""
    values = _vanishing_at_powers()[layer]
    return reduce(xor, (value for bit, value in enumerate(values) if point >> bit & 1), 0)


@cache
def _vanishing_at_powers() -> tuple[tuple[int, ...], ...]:
    """s_b(2^i) for b < 6 and i < 16, by s_(b+1)(x) = s_b(x) * (s_b(x) + 1), scaled."""
    layers = [tuple(1 << bit for bit in range(16))]
    for layer in range(1, _LAYERS):
        products = [multiply(value, value ^ 1) for value in layers[-1]]
        scale = inverse(products[layer])
        layers.append(tuple(multiply(product, scale) for product in products))
    return tuple(layers)
