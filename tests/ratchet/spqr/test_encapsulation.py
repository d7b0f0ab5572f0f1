"""Encapsulation in two halves, against OpenSSL and against FIPS 203 written down slowly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha3_256
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperkit.ratchet.spqr import encapsulation
from whisperkit.ratchet.spqr.encapsulation import encapsulate_first, encapsulate_second, fits_header
from whisperkit.ratchet.spqr.kem import ML_KEM_768
from whisperkit.ratchet.spqr.polynomials import as_factor, transformed
from whisperkit.testing.ratchet import seeded_bytes

KEYS = ML_KEM_768.generate(random_bytes=seeded_bytes(1))


@settings(max_examples=20)
@given(st.binary(min_size=64, max_size=64), st.binary(min_size=32, max_size=32))
def test_what_both_halves_make_decapsulates_to_the_secret_of_the_first(seed: bytes, m: bytes) -> None:
    keys = ML_KEM_768.generate(random_bytes=lambda _: seed)

    first = encapsulate_first(keys.header, m)
    ct2 = encapsulate_second(first.half, keys.ek)

    # Decapsulation encapsulates again and compares, so the right secret means the right ciphertext to the bit.
    assert MLKEM768PrivateKey.from_seed_bytes(seed).decapsulate(first.ct1 + ct2) == first.secret
    assert (len(first.ct1), len(ct2), len(first.half)) == (960, 128, 64)


def test_a_key_fits_its_header_only() -> None:
    other = ML_KEM_768.generate(random_bytes=seeded_bytes(2))

    assert fits_header(KEYS.header, KEYS.ek)
    assert not fits_header(KEYS.header, other.ek)
    assert not fits_header(KEYS.header[::-1], KEYS.ek)


def test_a_coefficient_out_of_range_is_refused_though_the_hash_fits() -> None:
    ek = b"\xff" * 1152
    rho = bytes(32)

    assert not fits_header(rho + sha3_256(ek + rho).digest(), ek)


def test_secrets_are_not_printed() -> None:
    assert repr(encapsulate_first(KEYS.header, bytes(32))) == "<FirstHalf>"
    assert repr(KEYS) == "<KemKeys>"
    assert repr(as_factor([transformed(bytes(256))])) == "<Factor>"


@pytest.mark.parametrize("name", ["noise", "sample", "transformed", "inner_product", "untransformed"])
def test_a_wrong_part_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original: Callable[..., Sequence[Any]] = getattr(encapsulation, name)  # each has parts of another type
    place = Random(name).randrange(128)

    def broken(*args: object) -> Sequence[Any]:
        out = original(*args)
        wrong = list(out[0] if name in {"sample", "transformed", "inner_product"} else out)
        wrong[place] = (wrong[place] + 2) % 5 if name == "noise" else (wrong[place] + 1500) % 3329
        return bytes(wrong) if name == "noise" else wrong if len(wrong) == 256 else (wrong, out[1])

    monkeypatch.setattr(encapsulation, name, broken)
    first = encapsulate_first(KEYS.header, bytes(32))
    ct2 = encapsulate_second(first.half, KEYS.ek)

    assert ML_KEM_768.decapsulate(KEYS.seed, first.ct1 + ct2) != first.secret
