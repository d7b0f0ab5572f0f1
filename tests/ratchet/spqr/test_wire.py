"""The bytes of a message."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import InvalidMessageError, PeerError, UnsupportedVersionError
from whisperkit.ratchet.spqr.wire import Message, MessageType, decode, encode_varint, opening

CHUNK = bytes(range(32))


def test_the_first_message_of_all_is_as_the_specification_says() -> None:
    assert decode(b"\x01\x01\x01\x01\x00" + CHUNK) == Message(1, 1, MessageType.HEADER, 0, CHUNK)


@given(
    st.integers(1, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.sampled_from(MessageType),
    st.integers(0, 65_535),
    st.binary(),
)
def test_what_is_written_is_read_and_what_follows_is_ignored(
    epoch: int, number: int, kind: MessageType, chunk_index: int, rest: bytes
) -> None:
    has_chunk = kind not in (MessageType.NONE, MessageType.CT1_ACK)
    chunk = encode_varint(chunk_index) + CHUNK if has_chunk else b""
    expected = Message(epoch, number, kind, chunk_index, CHUNK) if has_chunk else Message(epoch, number, kind)

    assert decode(opening(epoch) + encode_varint(number) + bytes([kind]) + chunk + rest) == expected


def slow_varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; all bytes but the last have the highest bit set."""
    groups = [value >> shift & 0x7F for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


@given(st.integers(0, 2**64 - 1) | st.integers(0, 2**15))
def test_a_number_is_written_as_the_specification_says(value: int) -> None:
    assert encode_varint(value) == slow_varint(value)
    assert opening(value) == b"\x01" + slow_varint(value)


@given(st.integers(0, 9), st.integers(0, 8), st.integers(1, 127))
def test_a_number_may_be_written_in_more_bytes_than_it_needs(of_epoch: int, of_number: int, value: int) -> None:
    def padded(bytes_more: int) -> bytes:
        return bytes([value | 0x80] + [0x80] * (bytes_more - 1) + [0]) if bytes_more else bytes([value])

    assert decode(b"\x01" + padded(of_epoch) + padded(of_number) + b"\x00") == Message(value, value, MessageType.NONE)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x02\x01\x01\x00", b"\xff"])
def test_another_version_is_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedVersionError):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x01", id="no epoch"),
        pytest.param(b"\x01\x81", id="an epoch cut short"),
        pytest.param(b"\x01" + b"\x80" * 10 + b"\x01\x01\x00", id="an epoch of eleven bytes"),
        pytest.param(b"\x01\x00\x01\x00", id="epoch 0"),
        pytest.param(b"\x01\x01", id="no index"),
        pytest.param(b"\x01\x01\x80\x80\x80\x80\x10\x00", id="an index above 32 bits"),
        pytest.param(b"\x01\x01\x01", id="no type"),
        pytest.param(b"\x01\x01\x01\x07", id="an unknown type"),
        pytest.param(b"\x01\x01\x01\x01", id="no chunk"),
        pytest.param(b"\x01\x01\x01\x02\x00" + CHUNK[:-1], id="a chunk cut short"),
        pytest.param(b"\x01\x01\x01\x05\x80\x80\x04" + CHUNK, id="a chunk index above 16 bits"),
    ],
)
def test_what_is_not_of_the_form_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidMessageError):
        decode(data)


@pytest.mark.fuzz
@given(st.binary(max_size=64) | st.binary(max_size=64).map(b"\x01\x01".__add__))
def test_any_bytes_are_a_message_or_the_fault_of_a_peer(data: bytes) -> None:
    with suppress(PeerError):
        decode(data)
