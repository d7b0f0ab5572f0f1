"""HMAC and HKDF, against the standard library, `cryptography` and the official library."""

from __future__ import annotations

import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.ratchet.prepared_hmac import NO_SALT, hkdf, hkdf_64, hkdf_96, hmac_sha256, mac_pair

# Vectors are JSON of many shapes, hence `Any`.
VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors/signal/keys.json").read_text())
KEYS = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize("case", VECTORS["hkdf"], ids=lambda case: str(case["length"]))
def test_hkdf_is_that_of_the_official_library(case: dict[str, Any]) -> None:
    salt = bytes.fromhex(case["salt"]) if case["salt"] else NO_SALT

    okm = hkdf(bytes.fromhex(case["ikm"]), bytes.fromhex(case["info"]), case["length"], salt=salt)

    assert okm.hex() == case["okm"]


@given(st.binary(max_size=150), st.binary())
def test_hmac_is_hmac(key: bytes, data: bytes) -> None:
    assert hmac_sha256(key, data) == hmac.digest(key, data, "sha256")


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 128])
def test_a_key_about_as_long_as_a_block_is_taken_as_the_rfc_says(size: int) -> None:
    key = bytes(range(size))

    assert hmac_sha256(key, b"x") == hmac.digest(key, b"x", "sha256")


@given(KEYS, st.binary(), st.binary())
def test_two_macs_under_one_key_are_two_macs(key: bytes, one: bytes, other: bytes) -> None:
    assert mac_pair(key, one, other) == (hmac.digest(key, one, "sha256"), hmac.digest(key, other, "sha256"))


@given(st.binary(), st.binary(), st.integers(1, 200), st.binary(max_size=100))
def test_hkdf_is_hkdf(ikm: bytes, info: bytes, size: int, salt: bytes) -> None:
    assert hkdf(ikm, info, size, salt=salt) == HKDF(SHA256(), size, salt, info).derive(ikm)


@given(st.binary(), st.binary(), st.integers(1, 200))
def test_no_salt_is_32_zero_bytes(ikm: bytes, info: bytes, size: int) -> None:
    assert hkdf(ikm, info, size) == HKDF(SHA256(), size, None, info).derive(ikm)
    assert hkdf(ikm, info, size) == hkdf(ikm, info, size, salt=bytes(32))


@given(st.binary(), st.binary(), KEYS)
def test_hkdf_to_two_blocks_is_hkdf(ikm: bytes, info: bytes, salt: bytes) -> None:
    assert b"".join(hkdf_64(ikm, info)) == HKDF(SHA256(), 64, None, info).derive(ikm)
    assert b"".join(hkdf_64(ikm, info, salt)) == HKDF(SHA256(), 64, salt, info).derive(ikm)


@given(st.binary(), st.binary(), KEYS)
def test_hkdf_to_three_blocks_is_hkdf(ikm: bytes, info: bytes, salt: bytes) -> None:
    assert b"".join(hkdf_96(ikm, info, salt)) == HKDF(SHA256(), 96, salt, info).derive(ikm)
