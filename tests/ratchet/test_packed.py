"""The form of records: arrays with a layout, and fields of the types that are expected."""

from __future__ import annotations

from types import NoneType
from typing import Any

import msgpack
import pytest

from whisperkit.errors import CorruptStateError
from whisperkit.ratchet.packed import fields, items, pack, shape, unpack

PAIR = shape(int, (bytes, NoneType))


def test_a_record_comes_back() -> None:
    assert unpack("pair", pack(1, b"x", None, [2])) == [1, b"x", None, [2]]


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01", pack(1) + b"x"])
def test_bytes_that_are_no_record_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptStateError) as caught:
        unpack("pair", data)

    assert caught.value.kind == "pair"


@pytest.mark.parametrize("value", [1, None, {}, b"", []])
def test_what_is_no_array_with_a_layout_is_corrupt(value: object) -> None:
    data = msgpack.packb(value)
    assert data is not None

    with pytest.raises(CorruptStateError):
        unpack("pair", data)


@pytest.mark.parametrize(("layout", "said"), [(2, "2"), ("x", "str"), (None, "NoneType")])
def test_another_layout_is_named(layout: object, said: str) -> None:
    data = msgpack.packb([layout, 1])
    assert data is not None

    with pytest.raises(CorruptStateError, match=f"its layout is {said}, known is 1"):
        unpack("pair", data)


@pytest.mark.parametrize("value", [[1, b"x"], [0, None]])
def test_fields_of_the_shape_are_taken(value: list[Any]) -> None:
    assert fields("pair", value, PAIR) == value


@pytest.mark.parametrize("value", [[], [1], [1, b"x", 2], [b"x", 1], [True, b"x"], [1, 1], (1, b"x"), {1: b"x"}, None])
def test_fields_of_another_shape_are_corrupt(value: object) -> None:
    with pytest.raises(CorruptStateError, match="not of its form") as caught:
        fields("pair", value, PAIR)

    assert caught.value.kind == "pair"


def test_a_list_of_anything_is_a_list() -> None:
    assert items("list", [1, b"x"]) == [1, b"x"]
    with pytest.raises(CorruptStateError):
        items("list", (1,))
