"""Records: what is written is read, and what is not of its form is a fault of the store."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import CorruptStateError
from whisperkit.ids import DeviceId
from whisperkit.ratchet import records
from whisperkit.ratchet.chains import MessageSeed
from whisperkit.testing.ratchet import Party, seeded_bytes

DECODERS: list[Callable[[bytes], object]] = [
    records.decode_local_identity,
    records.decode_peer,
    records.decode_one_time_prekey,
    records.decode_signed_prekey,
    records.decode_kyber_prekey,
    records.decode_shelf,
    records.decode_taken,
    records.decode_sender_keys,
    lambda data: records.decode_session(data, lambda chain: None),
]

FORMS: list[object] = [None, 5, [], [1], [2, b""], [1, b"", b""], [1, [[]]], [1, None, [b""], 3], {"a": 1}]

# Small trees of what msgpack can hold, to come near to the shapes that the decoders expect.
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.binary(max_size=3) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=8),
    max_leaves=20,
)


@pytest.mark.fuzz
@given(st.sampled_from(DECODERS), st.binary(max_size=60) | TREES.map(lambda tree: msgpack.packb([1, tree])))
def test_whatever_is_decoded_ends_in_a_value_or_in_corrupt_state(
    decode: Callable[[bytes], object], data: bytes
) -> None:
    with suppress(CorruptStateError):
        decode(data)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("value", FORMS, ids=str)
def test_a_record_of_another_form_is_refused(decode: Callable[[bytes], object], value: object) -> None:
    data = msgpack.packb(value)
    assert data is not None

    with pytest.raises(CorruptStateError):
        decode(data)


def mutations(data: bytes) -> list[bytes]:
    """The record with each of its fields, at every depth, replaced by one of another type."""
    made: list[bytes] = []

    def walk(node: list[Any], root: list[Any]) -> None:  # trees of anything
        for i, child in enumerate(node):
            node[i] = "another type"
            made.append(msgpack.packb(root) or b"")
            node[i] = child
            if isinstance(child, list):
                walk(node[i], root)

    tree: list[Any] = msgpack.unpackb(data)
    walk(tree, tree)
    return made


def test_a_session_with_any_field_of_another_type_is_refused() -> None:
    alice = Party(DeviceId.named("alice", 1), random_bytes=seeded_bytes(1))
    bob = Party(DeviceId.named("bob", 1), random_bytes=seeded_bytes(2))
    alice.meet(bob)
    data = alice.records[records.session_key(bob.id, 0)]

    for mutated in mutations(data):
        with pytest.raises(CorruptStateError):
            records.decode_session(mutated, lambda chain: None)


def test_a_session_whose_skipped_seeds_are_lost_is_refused() -> None:
    alice = Party(DeviceId.named("alice", 1), random_bytes=seeded_bytes(1))
    bob = Party(DeviceId.named("bob", 1), random_bytes=seeded_bytes(2))
    alice.meet(bob)
    alice.encrypt(b"1", to=bob)
    bob.decrypt(alice.encrypt(b"2", to=bob), sender=alice)
    data = bob.records[records.session_key(alice.id, 0)]

    with pytest.raises(CorruptStateError, match="1 skipped seeds expected, 0 found"):
        records.decode_session(data, lambda chain: None)


@given(st.dictionaries(st.integers(0, 2**32 - 1), st.binary(min_size=32, max_size=32).map(MessageSeed), max_size=5))
def test_skipped_seeds_are_read_as_they_were_written_in_their_order(seeds: dict[int, MessageSeed]) -> None:
    found = records.decode_skipped(records.encode_skipped(seeds))

    assert list(found.items()) == list(seeds.items())


@pytest.mark.parametrize("number", [-1, 1 << 32, 1 << 53])
def test_a_number_that_no_record_can_have_is_corrupt(number: int) -> None:
    remote = DeviceId.named("bob", 1)

    with pytest.raises(CorruptStateError, match=f"{number}"):
        records.session_key(remote, number)


@pytest.mark.parametrize("number", [-1, 1 << 32])
def test_a_session_whose_chain_has_such_a_number_is_corrupt(number: int) -> None:
    party, peer = (Party(DeviceId.named(name, 1), random_bytes=seeded_bytes(1)) for name in ("alice", "bob"))
    party.meet(peer)
    data = party.records[records.session_key(peer.id, 0)]
    tree = msgpack.unpackb(data)
    tree[5][0] = [number, *tree[5][0][1:4], 1]

    with pytest.raises(CorruptStateError, match=f"{number}"):
        records.decode_session(msgpack.packb(tree), lambda suffix: None)


def test_half_a_seed_is_refused() -> None:
    with pytest.raises(CorruptStateError):
        records.decode_skipped(bytes(35))
