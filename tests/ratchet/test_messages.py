"""The form of the four messages: what is missing, what is too much, and what is written back bit for bit."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import InvalidMessageError, PeerError, UnsupportedVersionError
from whisperkit.ids import DeviceId, UserId
from whisperkit.ratchet.addresses import ADDRESS_BYTES, address_of, encode_address
from whisperkit.ratchet.chains import ChainKey, MacKey
from whisperkit.ratchet.curve import key_pair
from whisperkit.ratchet.kem import encapsulate
from whisperkit.ratchet.kem import key_pair as kem_key_pair
from whisperkit.ratchet.messages import (
    CiphertextMessage,
    MessageType,
    PreKeySignalMessage,
    SenderKeyDistributionMessage,
    SenderKeyMessage,
    SignalMessage,
    encode_signal_message,
)
from whisperkit.ratchet.protobuf import write

KEY = key_pair(b"\x05" * 32).public
CIPHERTEXT = encapsulate(kem_key_pair(bytes(64)).public).ciphertext

SIGNAL: dict[int, int | bytes] = {1: KEY, 2: 0, 3: 0, 4: b"body", 5: b"pq"}
PREKEY: dict[int, int | bytes] = {2: KEY, 3: KEY, 4: b"inner", 6: 0, 7: 0, 8: CIPHERTEXT}
DISTRIBUTION: dict[int, int | bytes] = {1: bytes(16), 2: 0, 3: 0, 4: bytes(32), 5: KEY}
GROUP: dict[int, int | bytes] = {1: bytes(16), 2: 0, 3: 0, 4: b"body"}

DECODERS: list[Callable[[bytes], object]] = [
    SignalMessage.decode,
    PreKeySignalMessage.decode,
    SenderKeyDistributionMessage.decode,
    SenderKeyMessage.decode,
]


def without(fields: dict[int, int | bytes], number: int) -> bytes:
    return write((key, value) for key, value in fields.items() if key != number)


def test_a_message_is_written_with_its_zeros_in_ascending_order() -> None:
    body = encode_signal_message(
        ratchet_key=KEY,
        counter=0,
        previous_counter=0,
        ciphertext=b"body",
        pq_ratchet=b"pq",
        addresses=None,
        mac_key=MacKey(bytes(32)),
        sender=KEY,
        receiver=KEY,
    )

    assert body[:-8] == b"\x44" + write(SIGNAL.items())
    assert SignalMessage.decode(body).authenticated == body[:-8]


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_message_without_a_required_field_is_refused(number: int) -> None:
    with pytest.raises(InvalidMessageError, match=f"field {number} is missing"):
        SignalMessage.decode(b"\x44" + without(SIGNAL, number) + bytes(8))


def test_a_message_without_its_optional_fields_is_read() -> None:
    message = SignalMessage.decode(b"\x44" + write(((1, KEY), (2, 7), (4, b""))) + bytes(8))

    assert (message.counter, message.previous_counter, message.pq_ratchet, message.addresses) == (7, 0, b"", None)


@pytest.mark.parametrize("number", [2, 3, 4, 6, 7, 8])
def test_a_first_message_without_a_required_field_is_refused(number: int) -> None:
    with pytest.raises(InvalidMessageError, match=f"field {number} is missing"):
        PreKeySignalMessage.decode(b"\x44" + without(PREKEY, number))


def test_in_a_first_message_an_id_of_zero_is_there_and_an_absent_one_is_not() -> None:
    absent = PreKeySignalMessage.decode(b"\x44" + write(PREKEY.items()))
    zero = PreKeySignalMessage.decode(b"\x44" + write(((1, 0), *PREKEY.items())))

    assert (absent.pre_key_id, absent.registration_id) == (None, 0)
    assert zero.pre_key_id == 0
    assert zero.signed_pre_key_id == zero.kyber_pre_key_id == 0


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_distribution_without_a_field_is_refused(number: int) -> None:
    padding = write(((15, bytes(70)),))  # so that it is long enough to be looked at

    with pytest.raises(InvalidMessageError, match=f"field {number} is missing"):
        SenderKeyDistributionMessage.decode(b"\x33" + without(DISTRIBUTION, number) + padding)


def test_a_distribution_is_read_as_it_was_written() -> None:
    message = SenderKeyDistributionMessage(uuid.UUID(int=5), 3, 0, ChainKey(bytes(32)), KEY)

    assert SenderKeyDistributionMessage.decode(message.encode()) == message


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_group_message_without_a_field_is_refused(number: int) -> None:
    with pytest.raises(InvalidMessageError, match=f"field {number} is missing"):
        SenderKeyMessage.decode(b"\x33" + without(GROUP, number) + bytes(64))


def test_a_list_of_readers_is_16_bytes() -> None:
    short = write({**GROUP, 1: bytes(15)}.items())

    with pytest.raises(InvalidMessageError, match="16 bytes, got 15"):
        SenderKeyMessage.decode(b"\x33" + short + bytes(64))


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("nibble", [0, 1, 2, 5, 15])
def test_another_version_is_refused(decode: Callable[[bytes], object], nibble: int) -> None:
    with pytest.raises(UnsupportedVersionError) as caught:
        decode(bytes([nibble << 4]) + bytes(100))

    assert caught.value.found == nibble


@pytest.mark.parametrize(("decode", "size"), [(DECODERS[0], 8), (DECODERS[1], 0), (DECODERS[2], 64), (DECODERS[3], 64)])
def test_what_is_too_short_is_refused(decode: Callable[[bytes], object], size: int) -> None:
    with pytest.raises(InvalidMessageError, match=f"got {size}"):
        decode(bytes(size))


@pytest.mark.fuzz
@given(st.sampled_from(DECODERS), st.sampled_from([0x33, 0x44]), st.binary(max_size=150))
def test_whatever_is_decoded_ends_in_a_message_or_a_peer_error(
    decode: Callable[[bytes], Any], first: int, data: bytes
) -> None:
    with suppress(PeerError):
        decode(bytes([first]) + data)


def test_the_numbers_of_the_types_are_those_of_the_official_library() -> None:
    assert {kind.name: kind.value for kind in MessageType} == {"WHISPER": 2, "PREKEY": 3, "SENDER_KEY": 7}
    assert CiphertextMessage.of(3, b"x") == CiphertextMessage(MessageType.PREKEY, b"x")


@pytest.mark.parametrize("number", [-1, 0, 1, 4, 8, 1 << 40])
def test_a_message_of_another_type_is_refused(number: int) -> None:
    with pytest.raises(InvalidMessageError, match=f"of type {number}"):
        CiphertextMessage.of(number, b"")


@pytest.mark.parametrize(
    ("name", "is_service_id"),
    [
        ("9d0652a3-dcc3-4d11-975f-74d61598733f", True),
        ("9D0652A3-DCC3-4D11-975F-74D61598733F", True),
        ("PNI:9d0652a3-dcc3-4d11-975f-74d61598733f", True),
        ("pni:9d0652a3-dcc3-4d11-975f-74d61598733f", False),
        ("ACI:9d0652a3-dcc3-4d11-975f-74d61598733f", False),
        ("9d0652a3dcc34d11975f74d61598733f", False),
        ("alice", False),
        ("", False),
    ],
)
def test_a_service_id_is_told_from_another_name(name: str, is_service_id: bool) -> None:
    found = encode_address(name, 3)

    assert (found is not None) is is_service_id
    if found is not None:
        assert (len(found), found[0], found[-1]) == (ADDRESS_BYTES, int(name.startswith("PNI:")), 3)


def test_a_user_of_this_library_is_a_service_id() -> None:
    device = DeviceId(UserId("9d0652a3-dcc3-4d11-975f-74d61598733f"), 3)

    assert address_of(device) == encode_address(device.user, device.number)
