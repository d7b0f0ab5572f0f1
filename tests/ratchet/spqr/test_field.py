"""The field GF(2^16), against multiplication bit by bit."""

from __future__ import annotations

from functools import reduce

from hypothesis import given, settings
from hypothesis import strategies as st

from whisperkit.ratchet.spqr import field

ELEMENTS = st.integers(0, 0xFFFF)


def slow_multiply(left: int, right: int) -> int:
    product = 0
    for bit in range(16):
        if right >> bit & 1:
            product ^= left
        left = field.double(left)
    return product


@given(ELEMENTS, ELEMENTS)
def test_a_product_by_logarithms_is_the_product_bit_by_bit(left: int, right: int) -> None:
    assert field.multiply(left, right) == slow_multiply(left, right)


@given(ELEMENTS, ELEMENTS)
def test_a_product_table_holds_the_products(factor: int, element: int) -> None:
    table = field.product_table(factor)
    high, low = divmod(element, 256)

    product_low = table.low_to_low[low] ^ table.high_to_low[high]
    product_high = table.low_to_high[low] ^ table.high_to_high[high]

    assert product_high << 8 | product_low == slow_multiply(factor, element)


@given(st.integers(1, 0xFFFF))
def test_an_element_times_its_inverse_is_one(element: int) -> None:
    assert slow_multiply(element, field.inverse(element)) == 1


@settings(max_examples=25)
@given(st.data(), st.integers(1, 12))
def test_rows_are_combined_by_their_weights(data: st.DataObject, count: int) -> None:
    weights = data.draw(st.lists(ELEMENTS, min_size=count, max_size=count))
    rows = data.draw(st.lists(st.lists(ELEMENTS, min_size=16, max_size=16), min_size=count, max_size=count))
    joined = [int.from_bytes(b"".join(word.to_bytes(2, "big") for word in row), "big") for row in rows]

    total = field.combine(joined, field.selections(weights)).to_bytes(32, "big")

    for place in range(16):
        expected = reduce(int.__xor__, (slow_multiply(w, row[place]) for w, row in zip(weights, rows, strict=True)))
        assert int.from_bytes(total[2 * place : 2 * place + 2], "big") == expected
