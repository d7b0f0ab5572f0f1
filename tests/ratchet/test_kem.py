"""Kyber1024 prekeys. The secret itself is proved by the handshakes of the official library, in `test_session`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from whisperkit.errors import InvalidKeyError
from whisperkit.ratchet.kem import (
    KemPublicKey,
    check_ciphertext,
    decapsulate,
    decode_public,
    encapsulate,
    generate,
    key_pair,
)

# Vectors are JSON of many shapes, hence `Any`.
VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors/signal/kyber_fixture.json").read_text())


@pytest.mark.parametrize("case", VECTORS["keys"], ids=["0", "1", "2"])
def test_a_key_pair_grows_from_its_seed(case: dict[str, str]) -> None:
    pair = key_pair(bytes.fromhex(case["fips203_seed"]))

    assert pair.public.hex() == case["public"]


def test_both_sides_get_the_same_secret() -> None:
    pair = generate(random_bytes=lambda size: b"\x09" * size)

    sent = encapsulate(pair.public)

    assert check_ciphertext(sent.ciphertext) == sent.ciphertext
    assert decapsulate(pair.seed, sent.ciphertext) == sent.secret
    assert len(sent.secret) == 32


def test_a_ciphertext_that_was_altered_gives_another_secret_and_no_error() -> None:
    pair = key_pair(bytes(64))
    sent = encapsulate(pair.public)

    altered = sent.ciphertext[:-1] + bytes([sent.ciphertext[-1] ^ 1])

    assert decapsulate(pair.seed, altered) != sent.secret


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\x0a" + bytes(1568), "type 0x0a"),
        (b"\x07" + bytes(1184), "type 0x07"),
        (b"\x08" + bytes(1567), "1569 bytes, got 1568"),
        (b"\x08" + bytes(1569), "1569 bytes, got 1570"),
    ],
)
def test_a_key_or_ciphertext_of_another_form_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidKeyError, match=reason):
        decode_public(data)
    with pytest.raises(InvalidKeyError, match=reason):
        check_ciphertext(data)


def test_a_key_with_a_coefficient_out_of_range_is_refused() -> None:
    public = KemPublicKey(decode_public(b"\x08" + b"\xff" * 1568))

    with pytest.raises(InvalidKeyError, match="out of range"):
        encapsulate(public)


def test_keys_and_secrets_are_not_printed() -> None:
    pair = key_pair(b"\x17" * 64)
    sent = encapsulate(pair.public)

    assert repr(pair.seed) not in repr(pair)
    assert pair.seed.hex() not in repr(pair)
    assert repr(sent.secret) not in repr(sent)
    assert sent.secret.hex() not in repr(sent)
