"""Curve25519 keys, against the vectors of the official library."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import InvalidKeyError, PeerError
from whisperkit.ratchet.curve import PublicKey, agree, decode_public, edwards_y, generate, is_canonical, key_pair

# Vectors are JSON of many shapes, hence `Any`.
VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors/signal/keys.json").read_text())
P = 2**255 - 19


def public(u: int) -> PublicKey:
    return PublicKey(b"\x05" + u.to_bytes(32, "little"))


@pytest.mark.parametrize("case", VECTORS["agreements"])
def test_an_agreement_is_that_of_the_official_library(case: dict[str, str]) -> None:
    pair = key_pair(bytes.fromhex(case["private"]))

    assert pair.public.hex() == case["own_public"]
    assert agree(pair.private, decode_public(bytes.fromhex(case["public"]))).hex() == case["secret"]


def test_a_private_key_is_clamped_where_it_enters() -> None:
    case = VECTORS["clamp_on_import"]

    pair = key_pair(bytes.fromhex(case["input"]))

    assert pair.private.hex() == case["serialized"]
    assert pair.public.hex() == case["public"]


def test_a_private_key_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidKeyError, match="32 bytes, got 31"):
        key_pair(bytes(31))


def test_a_key_is_generated_from_32_random_bytes() -> None:
    asked: list[int] = []

    def random_bytes(size: int) -> bytes:
        asked.append(size)
        return b"\x55" * size

    assert generate(random_bytes=random_bytes) == key_pair(b"\x55" * 32)
    assert asked == [32]


@pytest.mark.parametrize("case", VECTORS["decoding"], ids=lambda case: case["note"])
def test_a_public_key_is_decoded_as_by_the_official_library(case: dict[str, str]) -> None:
    data = bytes.fromhex(case["input"])
    verdict, _, found = case["result"].partition(" ")

    if verdict == "ok":
        assert decode_public(data).hex() == found
    else:
        with pytest.raises(InvalidKeyError):
            decode_public(data)


@pytest.mark.parametrize("case", VECTORS["bad_agreement"], ids=lambda case: case["public"][:12])
def test_an_agreement_with_a_key_of_low_order_is_refused(case: dict[str, str]) -> None:
    with pytest.raises(InvalidKeyError, match="low order"):
        agree(key_pair(b"\x11" * 32).private, decode_public(bytes.fromhex(case["public"])))


@given(st.binary(max_size=40))
def test_whatever_is_decoded_as_a_key_ends_in_a_key_or_a_peer_error(data: bytes) -> None:
    with suppress(PeerError):
        assert len(decode_public(data)) == 33


def test_an_honest_key_is_canonical() -> None:
    assert all(is_canonical(key_pair(bytes([n]) * 32).public) for n in range(1, 20))


@pytest.mark.parametrize(
    "u",
    [
        pytest.param(0, id="zero"),
        pytest.param(1, id="order 4"),
        pytest.param(P - 1, id="minus one"),
        pytest.param(2, id="on the twist"),
        pytest.param(P, id="not reduced"),
        pytest.param(9 + (1 << 255), id="bit 255 set"),
    ],
)
def test_a_key_that_is_not_canonical_is_told(u: int) -> None:
    assert not is_canonical(public(u))


def test_a_point_with_a_part_of_low_order_is_not_canonical() -> None:
    import nacl.bindings as sodium

    order_two = (2**255 - 20).to_bytes(32, "little")  # the Edwards point (0, -1)
    y = edwards_y(key_pair(b"\x21" * 32).public)
    assert y is not None
    mixed = int.from_bytes(sodium.crypto_core_ed25519_add(y, order_two), "little") & (1 << 255) - 1

    u = (1 + mixed) * pow(1 - mixed, P - 2, P) % P

    assert not is_canonical(public(u))


def test_minus_one_has_no_edwards_form() -> None:
    assert edwards_y(public(P - 1)) is None


def test_a_key_pair_prints_without_its_private_half() -> None:
    pair = key_pair(b"\x42" * 32)

    assert pair.private.hex() not in repr(pair)
    assert repr(pair.private) not in repr(pair)
