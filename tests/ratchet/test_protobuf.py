"""The protobuf reader and writer: what it accepts, what it skips, what it refuses."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import InvalidMessageError, PeerError
from whisperkit.ratchet.protobuf import (
    BYTES,
    FIXED64,
    MAX_GROUP_DEPTH,
    UINT32,
    UINT64,
    Fixed64,
    read,
    write,
    write_varint,
)

KNOWN = {1: UINT32, 2: BYTES, 3: FIXED64, 4: UINT64}


def test_a_field_that_is_zero_is_written_and_one_that_is_absent_is_not() -> None:
    assert write(((1, 0), (2, None), (3, b""))) == bytes([1 << 3, 0, 3 << 3 | 2, 0])


@given(st.integers(0, 2**32 - 1), st.binary(max_size=300))
def test_what_is_written_is_read(number: int, blob: bytes) -> None:
    fields = read(write(((1, number), (2, blob))), KNOWN)

    assert fields.numbers == {1: number}
    assert fields.blobs == {2: blob}


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_numbers_of_64_bits_are_read_whole_in_both_forms(fixed: int, varint: int) -> None:
    data = write(((3, Fixed64(fixed)), (4, varint)))

    assert data[:9] == bytes([3 << 3 | 1]) + fixed.to_bytes(8, "little")
    assert read(data, KNOWN).numbers == {3: fixed, 4: varint}


def test_order_is_free_and_the_last_of_a_repeated_field_wins() -> None:
    fields = read(write(((2, b"a"), (1, 5), (2, b"b"), (1, 6))), KNOWN)

    assert fields.numbers[1] == 6
    assert fields.blobs[2] == b"b"


@pytest.mark.parametrize(
    "unknown",
    [
        pytest.param(bytes([9 << 3, 0x80, 1]), id="varint"),
        pytest.param(bytes([9 << 3 | 1]) + bytes(8), id="64 bits"),
        pytest.param(bytes([9 << 3 | 2, 3]) + b"abc", id="bytes"),
        pytest.param(bytes([9 << 3 | 5]) + bytes(4), id="32 bits"),
        pytest.param(bytes([9 << 3 | 3, 1 << 3, 7, 8 << 3 | 3, 8 << 3 | 4, 9 << 3 | 4]), id="groups"),
        pytest.param(bytes([9 << 3 | 3]) * MAX_GROUP_DEPTH + bytes([9 << 3 | 4]) * MAX_GROUP_DEPTH, id="deep groups"),
    ],
)
def test_unknown_fields_of_every_wire_type_are_skipped(unknown: bytes) -> None:
    fields = read(unknown + write(((1, 3),)) + unknown, KNOWN)

    assert fields.numbers == {1: 3}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(bytes([1 << 3 | 2, 0]), "field 1 has wire type 2, expected 0", id="known field, other type"),
        pytest.param(bytes([2 << 3, 0]), "field 2 has wire type 0, expected 2", id="other way round"),
        pytest.param(bytes([3 << 3, 0]), "field 3 has wire type 0, expected 1", id="no fixed number"),
        pytest.param(bytes([3 << 3 | 1]) + bytes(7), "cut short", id="fixed number cut short"),
        pytest.param(bytes([4 << 3 | 1]) + bytes(8), "field 4 has wire type 1, expected 0", id="fixed, not varint"),
        pytest.param(bytes([1 << 3]), "cut short", id="no value"),
        pytest.param(bytes([0x88]), "cut short", id="half a key"),
        pytest.param(bytes([1 << 3]) + b"\x80" * 10 + b"\x01", "too long", id="varint of 11 bytes"),
        pytest.param(bytes([1 << 3]) + b"\xff" * 9 + b"\x02", "too long", id="varint above 64 bits"),
        pytest.param(bytes([2 << 3 | 2, 5, 0]), "cut short", id="bytes cut short"),
        pytest.param(bytes([9 << 3 | 1, 0]), "cut short", id="64 bits cut short"),
        pytest.param(bytes([9 << 3 | 5, 0]), "cut short", id="32 bits cut short"),
        pytest.param(bytes([0]), "impossible number", id="field 0"),
        pytest.param(b"\xf8\xff\xff\xff\xff\x01", "impossible number", id="field beyond 29 bits"),
        pytest.param(bytes([9 << 3 | 4]), "impossible wire type", id="end without a group"),
        pytest.param(bytes([9 << 3 | 3, 8 << 3 | 4]), "impossible wire type", id="end of another group"),
        pytest.param(bytes([9 << 3 | 3]), "cut short", id="group without end"),
        pytest.param(bytes([9 << 3 | 6]), "impossible wire type", id="wire type 6"),
        pytest.param(bytes([9 << 3 | 3]) * (MAX_GROUP_DEPTH + 1), "nested deeper than 100", id="too deep"),
    ],
)
def test_what_is_no_protobuf_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidMessageError, match=reason):
        read(data, KNOWN)


def test_a_number_beyond_32_bits_is_cut_to_32() -> None:
    assert read(bytes([1 << 3]) + write_varint((1 << 32) + 5), KNOWN).numbers == {1: 5}


@pytest.mark.fuzz
@given(st.binary(max_size=80))
def test_whatever_is_read_ends_in_fields_or_a_peer_error(data: bytes) -> None:
    with suppress(PeerError):
        read(data, KNOWN)
