"""Reading and writing messages in their usual form, against `protobuf`, which takes every form."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import InvalidMessageError, PeerError, UnsupportedVersionError
from whisperkit.ratchet.curve import PublicKey, decode_public
from whisperkit.ratchet.kem import check_ciphertext
from whisperkit.ratchet.messages import PreKeySignalMessage, SenderKeyMessage, SignalMessage
from whisperkit.ratchet.protobuf import BYTES, UINT32, read, write, write_varint
from whisperkit.ratchet.usual_form import (
    PreKeyFields,
    SenderKeyFields,
    SignalFields,
    read_prekey_message,
    read_sender_key_message,
    read_signal_message,
    write_prekey_message,
    write_sender_key_message,
    write_signal_message,
)

MAC = b"8 of MAC"
SIGNATURE = bytes(range(64))

# ---- the oracles: the same by way of `protobuf` ---------------------------------------------------------------------


def version_oracle(data: bytes, min_bytes: int) -> None:
    if len(data) < min_bytes:
        raise InvalidMessageError(f"a message has at least {min_bytes} bytes, got {len(data)}")
    if data[0] >> 4 != 4:
        raise UnsupportedVersionError(found=data[0] >> 4, supported=(4,))


def signal_oracle(data: bytes) -> SignalFields:
    version_oracle(data, 9)
    fields = read(data[1:-8], {1: BYTES, 2: UINT32, 3: UINT32, 4: BYTES, 5: BYTES, 6: BYTES})
    return (
        decode_public(fields.blob(1)),
        fields.number(2),
        fields.numbers.get(3, 0),
        fields.blob(4),
        fields.blobs.get(5, b""),
        fields.blobs.get(6),
        data[:-8],
        data[-8:],
    )


def prekey_oracle(data: bytes) -> PreKeyFields:
    version_oracle(data, 1)
    fields = read(data[1:], {1: UINT32, 2: BYTES, 3: BYTES, 4: BYTES, 5: UINT32, 6: UINT32, 7: UINT32, 8: BYTES})
    return (
        fields.numbers.get(1),
        decode_public(fields.blob(2)),
        decode_public(fields.blob(3)),
        fields.blob(4),
        fields.numbers.get(5, 0),
        fields.number(6),
        fields.number(7),
        check_ciphertext(fields.blob(8)),
    )


def sender_key_oracle(data: bytes) -> SenderKeyFields:
    if len(data) < 65:
        raise InvalidMessageError(f"a message has at least 65 bytes, got {len(data)}")
    if data[0] >> 4 != 3:
        raise UnsupportedVersionError(found=data[0] >> 4, supported=(3,))
    fields = read(data[1:-64], {1: BYTES, 2: UINT32, 3: UINT32, 4: BYTES})
    distribution = uuid.UUID(bytes=fields.blob(1, 16))
    return distribution, fields.number(2), fields.number(3), fields.blob(4), data[:-64], data[-64:]


def outcome(call: Callable[[bytes], object], data: bytes) -> object:
    """What a reader answers: its value, or the kind and text of its error."""
    try:
        return call(data)
    except PeerError as error:
        return type(error), str(error)


# ---- messages, honest and not ---------------------------------------------------------------------------------------

KEYS = st.binary(min_size=32, max_size=32).map(lambda u: PublicKey(b"\x05" + u))
NUMBERS = st.one_of(
    st.integers(0, 2**32 - 1), st.sampled_from([0, 127, 128, 2**14 - 1, 2**14, 2**21 - 1, 2**21, 2**32 - 1])
)
BLOBS = st.one_of(st.binary(max_size=40), st.integers(120, 140).map(bytes), st.integers(16_380, 16_390).map(bytes))
CIPHERTEXTS = st.binary(min_size=4, max_size=4).map(lambda text: b"\x08" + text * 392)

WrittenFields: TypeAlias = tuple[PublicKey, int, int, bytes, bytes, bytes | None]
SIGNALS: st.SearchStrategy[WrittenFields] = st.tuples(KEYS, NUMBERS, NUMBERS, BLOBS, BLOBS, st.none() | BLOBS)
PREKEYS: st.SearchStrategy[PreKeyFields] = st.tuples(
    st.none() | NUMBERS, KEYS, KEYS, BLOBS, NUMBERS, NUMBERS, NUMBERS, CIPHERTEXTS
)


GROUPS: st.SearchStrategy[tuple[bytes, int, int, bytes]] = st.tuples(
    st.binary(min_size=16, max_size=16), NUMBERS, NUMBERS, BLOBS
)


def written(fields: Sequence[int | bytes | None]) -> bytes:
    return b"\x44" + write(enumerate(fields, 1))


@given(SIGNALS)
def test_a_message_is_written_as_protobuf_does_and_read_as_it_was(fields: WrittenFields) -> None:
    data = write_signal_message(*fields)

    assert data == written(fields)
    assert read_signal_message(data + MAC) == signal_oracle(data + MAC) == (*fields, data, MAC)


@given(PREKEYS)
def test_a_first_message_is_written_as_protobuf_does_and_read_as_it_was(fields: PreKeyFields) -> None:
    data = write_prekey_message(*fields)

    assert data == written(fields)
    assert read_prekey_message(data) == prekey_oracle(data) == fields


@given(GROUPS)
def test_a_group_message_is_written_as_protobuf_does_and_read_as_it_was(fields: tuple[bytes, int, int, bytes]) -> None:
    distribution = uuid.UUID(bytes=fields[0])
    data = write_sender_key_message(distribution, *fields[1:])

    assert data == b"\x33" + write(enumerate(fields, 1))
    whole = data + SIGNATURE
    assert read_sender_key_message(whole) == sender_key_oracle(whole) == (distribution, *fields[1:], data, SIGNATURE)


@given(PREKEYS, BLOBS)
def test_the_constant_part_of_first_messages_is_that_of_their_own_session(fields: PreKeyFields, other: bytes) -> None:
    ciphertext = b"\x08" + bytes(1568)
    for variant in (
        fields,
        (*fields[:3], other, *fields[4:]),
        (*fields[:7], ciphertext),
        (None, *fields[1:]),
        (0, *fields[1:]),
    ):
        assert write_prekey_message(*variant) == written(variant)


def spare(number: int, extra: int) -> bytes:
    """A number with more bytes than it needs."""
    short = write_varint(number)
    return short[:-1] + bytes([short[-1] | 0x80]) + b"\x80" * (extra - 1) + b"\x00" if extra else short


@st.composite
def unusual(draw: st.DrawFn, messages: st.SearchStrategy[Sequence[int | bytes | None]]) -> bytes:
    """A message in another form, or damaged: fields moved, repeated, left out, unknown, or with bytes to spare."""
    fields = [(number, value) for number, value in enumerate(draw(messages), 1) if value is not None]
    places = st.integers(0, len(fields) - 1)
    for change in draw(st.lists(st.sampled_from(["move", "repeat", "drop", "unknown", "retype"]), max_size=2)):
        place = draw(places) % len(fields)
        match change:
            case "move":
                fields.append(fields.pop(place))
            case "repeat":
                fields.insert(draw(places), fields[place])
            case "drop" if len(fields) > 1:
                del fields[place]
            case "retype":
                fields[place] = (fields[place][0], draw(st.one_of(NUMBERS, BLOBS)))
            case _:
                fields.insert(place, (draw(st.integers(9, 20)), draw(st.one_of(NUMBERS, BLOBS))))
    first = draw(st.sampled_from([b"\x44"] * 8 + [b"\x40", b"\x4f", b"\x34"]))
    extras = st.sampled_from([0] * 8 + [1, 2, 7])
    data = first + b"".join(
        spare(number << 3, draw(extras)) + spare(value, draw(extras))
        if isinstance(value, int)
        else spare(number << 3 | 2, draw(extras)) + spare(len(value), draw(extras)) + value
        for number, value in fields
    )
    for damage in draw(st.lists(st.sampled_from(["cut", "flip", "add", "enlarge"]), max_size=2)):
        position = draw(st.integers(0, min(len(data), 300)))
        match damage:
            case "cut":
                data = data[: len(data) - position]
            case "flip" if position < len(data):
                data = data[:position] + bytes([data[position] ^ draw(st.integers(1, 255))]) + data[position + 1 :]
            case "add":
                data += draw(st.binary(min_size=1, max_size=12))
            case _:  # a number becomes larger than 32 or 64 bits
                data = data[:position] + draw(st.sampled_from([b"\x80" * 5, b"\xff" * 9])) + data[position:]
    return data


@given(unusual(SIGNALS))
def test_whatever_comes_a_message_is_read_or_refused_as_by_protobuf(data: bytes) -> None:
    for whole in (data, data + MAC):
        expected = outcome(signal_oracle, whole)

        assert read_signal_message(whole) in (None, expected)
        assert outcome(SignalMessage.decode, whole) == expected


@given(unusual(PREKEYS))
def test_whatever_comes_a_first_message_is_read_or_refused_as_by_protobuf(data: bytes) -> None:
    expected = outcome(prekey_oracle, data)

    assert read_prekey_message(data) in (None, expected)
    assert outcome(PreKeySignalMessage.decode, data) == expected


@given(unusual(GROUPS), st.sampled_from([b"\x33"] * 8 + [b"\x30", b"\x44"]))
def test_whatever_comes_a_group_message_is_read_or_refused_as_by_protobuf(data: bytes, first: bytes) -> None:
    for whole in (first + data[1:], first + data[1:] + SIGNATURE):
        expected = outcome(sender_key_oracle, whole)

        assert read_sender_key_message(whole) in (None, expected)
        assert outcome(SenderKeyMessage.decode, whole) == expected


@pytest.mark.parametrize("ciphertext", [b"", b"\x08" + bytes(1567), b"\x08" + bytes(1569), b"\x07" + bytes(1568)])
def test_a_first_message_with_another_ciphertext_is_left_to_protobuf(ciphertext: bytes) -> None:
    key = b"\x05" + bytes(32)
    data = written((1, key, key, b"inner", 2, 3, 4, ciphertext))

    assert read_prekey_message(data) is None
    assert outcome(PreKeySignalMessage.decode, data) == outcome(prekey_oracle, data)


LENGTH_OF_A_BODY = 2**32 + 4  # whose low 32 bits are the length of what follows


@pytest.mark.parametrize("field", [4, 5, 6])
def test_a_length_is_not_cut_to_32_bits(field: int) -> None:
    key = b"\x05" + bytes(32)
    before = write([(1, key), (2, 0), (3, 0), *((number, b"") for number in range(4, field))])
    data = b"\x44" + before + bytes([field << 3 | 2]) + write_varint(LENGTH_OF_A_BODY) + b"body" + MAC

    assert read_signal_message(data) is None
    assert outcome(SignalMessage.decode, data) == outcome(signal_oracle, data)


def test_a_number_of_more_than_32_bits_is_cut_as_by_protobuf() -> None:
    data = b"\x44" + write([(1, b"\x05" + bytes(32)), (2, 2**32 + 7), (3, 2**63 + 8), (4, b"body"), (5, b"")]) + MAC

    assert SignalMessage.decode(data) == signal_oracle(data)
    assert signal_oracle(data)[1:3] == (7, 8)


@pytest.mark.parametrize("reader", [read_signal_message, read_prekey_message, read_sender_key_message])
@given(
    st.binary(max_size=200).map(lambda noise: b"\x44" + noise)
    | st.binary(max_size=200).map(lambda noise: b"\x33" + noise)
)
def test_noise_is_not_in_the_usual_form(reader: Callable[[bytes], object], data: bytes) -> None:
    assert reader(data) is None
