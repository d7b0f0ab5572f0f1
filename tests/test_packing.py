from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import CorruptStateError
from whisperkit.packing import FORMAT, pack, reading, shaped, unpack


def test_what_is_packed_is_read_in_its_shape() -> None:
    data = pack(7, b"x", "y", (1, 2), True)

    assert unpack(data, kind="thing", shape=(int, bytes, str, tuple, bool)) == (7, b"x", "y", (1, 2), True)
    assert data[1] == FORMAT


@pytest.mark.parametrize(
    "data", [b"", b"\x07", b"\x90", b"\x92\x02\x07", pack("7"), pack(7, 7), pack(True), pack(7) + b"\x00"]
)
def test_other_bytes_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptStateError) as caught:
        unpack(data, kind="thing", shape=(int,))

    assert caught.value.kind == "thing"


@pytest.mark.fuzz
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_corrupt(data: bytes) -> None:
    try:
        fields = unpack(data, kind="thing", shape=(int, tuple))
    except CorruptStateError:
        return

    assert type(fields[0]) is int


def test_only_misreading_becomes_corruption() -> None:
    with pytest.raises(KeyboardInterrupt), reading("thing"):
        raise KeyboardInterrupt


def test_types_are_exact() -> None:
    assert shaped((1, b""), (int, bytes)) == (1, b"")
    with pytest.raises(ValueError, match="types"):
        shaped((True,), (int,))
