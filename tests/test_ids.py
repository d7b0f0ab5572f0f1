from __future__ import annotations

import copy
import json
import pickle
import uuid
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

import whisperkit
from whisperkit import BlobId, ConversationId, DeviceId, GatewayId, MessageId, Owner, UserId, ids
from whisperkit.errors import MalformedIdError, PeerError, UsageError

ALICE = UserId.named("alice")
TEXT = "018f2c6e-1b2a-7c3d-8e4f-5a6b7c8d9e0f"

uuids = st.uuids().map(UserId)
devices = st.builds(DeviceId, uuids, st.integers(1, ids.MAX_DEVICE_NUMBER))
conversations = st.from_regex(r"[A-Za-z0-9_-]{1,48}", fullmatch=True).map(ConversationId)
gateways = st.from_regex(r"[A-Za-z0-9_.-]{1,48}", fullmatch=True).map(GatewayId)
blobs = st.binary(min_size=16, max_size=16).map(bytes.hex).map(BlobId)
messages = st.binary(min_size=16, max_size=16).map(MessageId)


def repeated(byte: int) -> Callable[[int], bytes]:
    return lambda size: bytes([byte]) * size


def test_the_top_level_exports_the_ids_and_nothing_else() -> None:
    shared = [name for name in ids.__all__ if not name.startswith("MAX_")]

    assert whisperkit.__all__ == shared


@pytest.mark.parametrize("make", [UserId, ConversationId])
def test_an_id_can_be_made_of_a_uuid_or_its_text(make: Callable[[Any], str]) -> None:
    assert make(uuid.UUID(TEXT)) == make(TEXT) == TEXT


@pytest.mark.parametrize("text", ["", "alice", TEXT.upper(), TEXT[:-1], TEXT + "0", TEXT + "\n", "{" + TEXT + "}"])
def test_a_user_is_a_lower_case_uuid(text: str) -> None:
    with pytest.raises(MalformedIdError, match="a user id is a lower-case UUID"):
        UserId(text)


def test_a_user_of_a_name_is_the_same_for_ever() -> None:
    # Fixed: a change would give everybody another inbox.
    assert ALICE == "a5fc8b7c-171f-5995-9c47-169566b84e41"
    assert uuid.UUID(ALICE).version == 5
    assert UserId.named("bob") != ALICE


def test_a_device_reads_user_dot_number() -> None:
    phone = DeviceId(ALICE, 1)

    assert phone == f"{ALICE}.1" == DeviceId.named("alice", 1)
    assert (phone.user, phone.number) == (ALICE, 1)


@pytest.mark.parametrize("number", [-1, 0, 128, 1_000])
def test_a_device_number_fits_seven_bits_and_is_not_zero(number: int) -> None:
    with pytest.raises(MalformedIdError, match=f"1 to 127, got '{number}'"):
        DeviceId(ALICE, number)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice.1",
        ALICE,
        f"{ALICE}.",
        f"{ALICE}.0",
        f"{ALICE}.01",
        f"{ALICE}.128",
        f"{ALICE}.1.1",
        f"{ALICE}.1\n",
        f"{ALICE.upper()}.1",
        f"{ALICE}.\N{ARABIC-INDIC DIGIT ONE}",
        "-" * 36 + ".1",
    ],
)
def test_a_device_text_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(MalformedIdError):
        DeviceId.parse(text)


@given(devices)
def test_a_device_survives_its_text_a_copy_and_a_pickle(device: DeviceId) -> None:
    again = [DeviceId.parse(str(device)), copy.deepcopy(device), pickle.loads(pickle.dumps(device))]

    for other in again:
        assert isinstance(other, DeviceId)
        assert (other, other.user, other.number) == (device, device.user, device.number)


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_message_id_is_sixteen_bytes(size: int) -> None:
    with pytest.raises(MalformedIdError, match=f"16 bytes, got '{size} bytes'"):
        MessageId(bytes(size))


@pytest.mark.parametrize("byte", [0x00, 0x5A, 0xFF])
def test_a_minted_message_id_is_a_uuid_of_version_seven(byte: int) -> None:
    minted = MessageId.mint(wall_ms=1_700_000_000_000, random_bytes=repeated(byte))

    read = uuid.UUID(bytes=bytes(minted))
    assert (read.version, read.variant) == (7, uuid.RFC_4122)
    assert minted.minted_at_ms == 1_700_000_000_000


def test_message_ids_sort_by_the_time_at_which_they_were_minted() -> None:
    early = MessageId.mint(wall_ms=1, random_bytes=repeated(0xFF))
    late = MessageId.mint(wall_ms=2, random_bytes=repeated(0x00))

    assert early < late


@given(messages)
def test_a_message_id_survives_its_text_and_a_pickle(message: MessageId) -> None:
    assert MessageId.parse(str(message)) == message
    assert pickle.loads(pickle.dumps(message)) == message
    assert repr(message) == f"MessageId({message})"


@pytest.mark.parametrize("text", ["", TEXT.upper(), TEXT.replace("-", "")])
def test_a_message_text_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(MalformedIdError, match="a message id"):
        MessageId.parse(text)


@pytest.mark.parametrize("text", ["room-1", "A_b", "x" * 48])
def test_a_room_that_exists_already_keeps_its_id(text: str) -> None:
    assert ConversationId(text) == text


@pytest.mark.parametrize("text", ["", "x" * 49, "a.b", "a/b", "a b", "é", "room\n"])
def test_a_conversation_id_fits_into_a_row_key(text: str) -> None:
    with pytest.raises(MalformedIdError, match="a conversation id"):
        ConversationId(text)


@given(uuids, uuids)
def test_two_users_have_one_direct_conversation(one: UserId, other: UserId) -> None:
    assert ConversationId.direct(one, other) == ConversationId.direct(other, one)


def test_the_direct_conversation_of_two_users_is_the_same_for_ever() -> None:
    assert ConversationId.direct(ALICE, UserId.named("bob")) == "c806ced04aa000191af07830bd2b3dab"


def test_minted_ids_take_sixteen_random_bytes() -> None:
    assert ConversationId.mint(random_bytes=repeated(0xAB)) == "ab" * 16
    assert BlobId.mint(random_bytes=repeated(0xCD)) == "cd" * 16


@pytest.mark.parametrize("text", ["", "ab" * 15, "AB" * 16, "xy" * 16, "ab" * 16 + "\n"])
def test_a_blob_id_is_32_hexadecimal_characters(text: str) -> None:
    with pytest.raises(MalformedIdError, match="a blob id"):
        BlobId(text)


@pytest.mark.parametrize("text", ["", "g" * 49, "g/1", "g 1", "g1\n"])
def test_a_gateway_id_fits_into_a_partition_name(text: str) -> None:
    with pytest.raises(MalformedIdError, match="a gateway id"):
        GatewayId(text)


@given(st.one_of(uuids, devices, conversations, gateways, blobs, messages))
def test_an_id_goes_into_msgpack_as_it_is(value: str | bytes) -> None:
    assert msgpack.unpackb(msgpack.packb(value)) == value


@given(st.one_of(uuids, devices, conversations, gateways, blobs))
def test_a_text_id_goes_into_json_as_it_is(value: str) -> None:
    assert json.loads(json.dumps(value)) == value


@given(st.text())
def test_any_text_makes_an_id_or_a_named_error(text: str) -> None:
    for make in (UserId, DeviceId.parse, MessageId.parse, ConversationId, BlobId, GatewayId):
        try:
            made = make(text)
        except MalformedIdError:
            continue
        assert str(made) == text


def test_a_malformed_id_is_the_peers_fault_or_the_callers() -> None:
    error = MalformedIdError(kind="blob", expected="32 hexadecimal characters", found="x" * 1_000)

    assert isinstance(error, PeerError)
    assert isinstance(error, UsageError)
    assert error.kind == "blob"
    assert len(str(error)) < 200  # what a peer sent does not fill the log


def test_owners_are_ordered_by_incarnation_within_a_gateway() -> None:
    gateway = GatewayId("g1")

    assert Owner(gateway, 1) < Owner(gateway, 2)
