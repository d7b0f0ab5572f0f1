"""The polynomials of ML-KEM, against the algorithms of FIPS 203 written down as they stand there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import shake_128, shake_256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperkit.ratchet.spqr.polynomials import (
    Q,
    Transformed,
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

COEFFICIENTS = st.lists(st.integers(0, Q - 1), min_size=256, max_size=256)
SMALL = st.binary(min_size=256, max_size=256).map(lambda data: bytes(byte % 5 for byte in data))


def bits_of(data: bytes) -> list[int]:
    """Algorithm 4."""
    return [byte >> bit & 1 for byte in data for bit in range(8)]


def numbers_of(data: bytes, width: int) -> list[int]:
    """Algorithm 6."""
    bits = bits_of(data)
    return [sum(bits[i + j] << j for j in range(width)) for i in range(0, len(bits), width)]


def reversed_7(i: int) -> int:
    return int(f"{i:07b}"[::-1], 2)


def slow_ntt(f: list[int]) -> list[int]:
    """Algorithm 9."""
    f, i, length = f.copy(), 1, 128
    while length >= 2:
        for start in range(0, 256, 2 * length):
            zeta = pow(17, reversed_7(i), Q)
            i += 1
            for j in range(start, start + length):
                t = zeta * f[j + length] % Q
                f[j + length] = (f[j] - t) % Q
                f[j] = (f[j] + t) % Q
        length //= 2
    return f


def slow_inverse_ntt(f: list[int]) -> list[int]:
    """Algorithm 10."""
    f, i, length = f.copy(), 127, 2
    while length <= 128:
        for start in range(0, 256, 2 * length):
            zeta = pow(17, reversed_7(i), Q)
            i -= 1
            for j in range(start, start + length):
                t = f[j]
                f[j] = (t + f[j + length]) % Q
                f[j + length] = zeta * (f[j + length] - t) % Q
        length *= 2
    return [x * 3303 % Q for x in f]


def slow_product(f: list[int], g: list[int]) -> list[int]:
    """Algorithms 11 and 12."""
    out: list[int] = []
    for i in range(128):
        gamma = pow(17, 2 * reversed_7(i) + 1, Q)
        a0, a1, b0, b1 = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        out += (a0 * b0 + a1 * b1 * gamma) % Q, (a0 * b1 + a1 * b0) % Q
    return out


def slow_sample(seed: bytes) -> list[int]:
    """Algorithm 7."""
    data = iter(shake_128(seed).digest(3 * 1024))
    out: list[int] = []
    while len(out) < 256:
        c0, c1, c2 = next(data), next(data), next(data)
        out += [d for d in (c0 + 256 * (c1 % 16), c1 // 16 + 16 * c2) if d < Q]
    return out[:256]


def slow_noise(data: bytes) -> list[int]:
    """Algorithm 8, for eta = 2."""
    b = bits_of(data)
    return [b[i] + b[i + 1] - b[i + 2] - b[i + 3] for i in range(0, 1024, 4)]


def in_order(polynomial: Transformed) -> list[int]:
    return [x for pair in zip(*polynomial, strict=True) for x in pair]


def in_halves(f: list[int]) -> Transformed:
    return f[0::2], f[1::2]


# The largest sums that there can be, where a lane would overflow if it could.
EXTREMES = [[x] * 256 for x in (0, 1, 1728, 3327, Q - 1)] + [[x, x, y, y] * 64 for x, y in ((0, Q - 1), (Q - 1, 0))]


@settings(max_examples=20)
@given(SMALL)
def test_small_coefficients_are_transformed_as_in_the_standard(small: bytes) -> None:
    assert in_order(transformed(small)) == slow_ntt([(x - 2) % Q for x in small])


@pytest.mark.parametrize("pattern", [(0,), (4,), (0, 0, 4, 4), (2, 2, 4, 4, 2, 2, 0, 0)], ids=str)
def test_no_lane_overflows_whatever_is_transformed(pattern: tuple[int, ...]) -> None:
    small = bytes(pattern * 256)[:256]

    assert in_order(transformed(small)) == slow_ntt([(x - 2) % Q for x in small])


@settings(max_examples=20)
@given(COEFFICIENTS)
def test_a_transform_is_undone_as_in_the_standard(f: list[int]) -> None:
    assert [x % Q for x in untransformed(in_halves(f))] == slow_inverse_ntt(f)


@pytest.mark.parametrize("f", EXTREMES, ids=lambda f: f"{f[0]}-{f[2]}")
def test_no_lane_overflows_whatever_is_undone(f: list[int]) -> None:
    assert [x % Q for x in untransformed(in_halves(f))] == slow_inverse_ntt(f)


@settings(max_examples=10)
@given(st.lists(COEFFICIENTS, min_size=6, max_size=6))
def test_an_inner_product_is_the_sum_of_the_products(six: list[list[int]]) -> None:
    left, right = six[:3], six[3:]
    products = [slow_product(f, g) for f, g in zip(left, right, strict=True)]

    found = inner_product(list(map(in_halves, left)), as_factor(list(map(in_halves, right))))

    assert in_order(found) == [sum(each) % Q for each in zip(*products, strict=True)]


@given(st.binary(min_size=32, max_size=32), st.integers(0, 255), st.integers(0, 255))
def test_a_polynomial_is_sampled_as_in_the_standard(rho: bytes, i: int, j: int) -> None:
    assert in_order(sample(rho, i, j)) == slow_sample(rho + bytes((i, j)))


def test_more_is_drawn_if_too_much_was_rejected() -> None:
    # One seed in some ten thousand rejects so much of the first 504 bytes; this is the first of its kind.
    rho = next(
        rho
        for rho in (number.to_bytes(32, "big") for number in range(100_000))
        if sum(x < Q for x in unpack_12(shake_128(rho + bytes(2)).digest(504))) < 256
    )

    assert in_order(sample(rho, 0, 0)) == slow_sample(rho + bytes(2))


@given(st.binary(min_size=32, max_size=32), st.integers(0, 6))
def test_noise_is_that_of_the_standard_with_two_added(seed: bytes, number: int) -> None:
    assert [x - 2 for x in noise(seed, number)] == slow_noise(shake_256(seed + bytes([number])).digest(128))


@pytest.mark.parametrize("bits", [4, 10])
def test_a_coefficient_is_rounded_to_the_nearest_that_there_is(bits: int) -> None:
    table = compression(bits)

    # x times 2^bits / q to the nearest integer, of two equally near ones none since q is odd; 2 was added to x.
    assert [table[(x + 2) % Q] for x in range(Q)] == [round(x * 2**bits / Q) % 2**bits for x in range(Q)]


@given(st.integers(1, 100).flatmap(lambda pairs: st.binary(min_size=3 * pairs, max_size=3 * pairs)))
def test_twelve_bits_are_read_as_in_the_standard(data: bytes) -> None:
    assert list(unpack_12(data)) == numbers_of(data, 12)


@pytest.mark.parametrize(("pack", "width"), [(pack_4, 4), (pack_10, 10)])
def test_fewer_bits_are_written_as_in_the_standard(pack: Callable[[Sequence[int]], bytes], width: int) -> None:
    for count in (8, 256, 768):
        numbers = [Random(count).randrange(1 << width) for _ in range(count)]

        assert numbers_of(pack(numbers), width) == numbers
