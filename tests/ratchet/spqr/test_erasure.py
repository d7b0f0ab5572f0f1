"""The erasure code, against interpolation written down as the definition says it."""

from __future__ import annotations

from functools import cache
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.ratchet.spqr.erasure import MAX_CHUNKS, NOTHING, Encoder, add, encoder_for, restore

SIZES = (3, 5, 30, 36)
CHUNK_BYTES = 32


def slow_multiply(left: int, right: int) -> int:
    """Multiply polynomials bit by bit, modulo x^16 + x^12 + x^3 + x + 1."""
    product = 0
    while right:
        if right & 1:
            product ^= left
        right >>= 1
        left <<= 1
        if left & 0x10000:
            left ^= 0x1100B
    return product


@cache
def slow_inverse(element: int) -> int:
    """The power 2^16 - 2, by squaring."""
    result, power = 1, element
    for _ in range(15):
        power = slow_multiply(power, power)
        result = slow_multiply(result, power)
    return result


def slow_chunk(message: bytes, index: int) -> bytes:
    """Lagrange: sum over j of w_j times the product over m of (index - m) / (j - m)."""
    count = len(message) // CHUNK_BYTES
    words = [0] * 16
    for j in range(count):
        weight = 1
        for m in range(count):
            if m != j:
                weight = slow_multiply(weight, slow_multiply(index ^ m, slow_inverse(j ^ m)))
        for p in range(16):
            place = (16 * j + p) * 2
            words[p] ^= slow_multiply(weight, int.from_bytes(message[place : place + 2], "big"))
    return b"".join(word.to_bytes(2, "big") for word in words)


def message_of(count: int) -> bytes:
    return Random(count).randbytes(count * CHUNK_BYTES)


@pytest.mark.parametrize("count", SIZES)
def test_the_first_chunks_are_the_object_itself(count: int) -> None:
    message = message_of(count)

    assert b"".join(Encoder(message).chunk(index) for index in range(count)) == message


# The first redundant chunks, the last that is interpolated and the first that is transformed, both sides of the edge of
# a block, far ones of each power of two, and the last one that there is.
EDGES = (
    *range(10),
    *range(28, 34),
    *range(60, 66),
    *range(126, 130),
    *(1 << bit for bit in range(8, 16)),
    0x5A5A,
    MAX_CHUNKS - 1,
)


@pytest.mark.parametrize("count", SIZES)
def test_each_further_chunk_is_what_interpolation_gives(count: int) -> None:
    message = message_of(count)
    encoder = Encoder(message)

    for index in sorted({edge + count for edge in EDGES[:10]} | {edge for edge in EDGES if edge >= count}):
        assert encoder.chunk(index % MAX_CHUNKS) == slow_chunk(message, index % MAX_CHUNKS), index


@pytest.mark.parametrize("count", [1, 2, 4, 32, 33, 47, 64])
def test_objects_of_other_sizes_are_encoded_likewise(count: int) -> None:
    message = message_of(count)
    encoder = Encoder(message)

    for index in (0, count - 1, count, count + 20, 1000, MAX_CHUNKS - 1):
        assert encoder.chunk(index) == slow_chunk(message, index), index


@given(st.sampled_from(SIZES), st.data())
def test_any_chunks_restore_the_object_if_there_are_enough(count: int, data: st.DataObject) -> None:
    message = data.draw(st.binary(min_size=count * CHUNK_BYTES, max_size=count * CHUNK_BYTES))
    near, far = st.integers(0, 2 * count), st.integers(0, MAX_CHUNKS - 1)
    indices = data.draw(st.lists(near | far, min_size=count, max_size=count, unique=True))
    collected = NOTHING
    for index in indices:
        collected = add(collected, index, Encoder(message).chunk(index))

    assert restore(collected) == message


def test_a_chunk_that_is_there_already_changes_nothing() -> None:
    once = add(NOTHING, 7, b"\1" * CHUNK_BYTES)

    assert add(once, 7, b"\2" * CHUNK_BYTES) is once


def test_the_encoder_of_an_object_is_found_again() -> None:
    message = message_of(3)

    assert encoder_for(message) is encoder_for(bytes(bytearray(message)))
