"""XEdDSA signatures, against the vectors of the official library."""

from __future__ import annotations

import json
import os
from hashlib import sha512
from pathlib import Path
from typing import Any

import nacl.bindings as sodium
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import InvalidSignatureError, PeerError
from whisperkit.ratchet import sign, verify, xeddsa
from whisperkit.ratchet.curve import key_pair

# Vectors are JSON of many shapes, hence `Any`.
VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors/signal/keys.json").read_text())
ORDER = 2**252 + 27742317777372353535851937790883648493
PAIR = key_pair(b"\x31" * 32)


@pytest.mark.parametrize("case", VECTORS["signatures"], ids=lambda case: case["note"][:30])
def test_a_signature_is_judged_as_by_the_official_library(case: dict[str, Any]) -> None:
    arguments = [bytes.fromhex(case[name]) for name in ("public", "message", "signature")]

    # The official library takes s + L as well as s. No honest signer makes it, and a strict check is safer.
    if case["valid"] and not case["note"].startswith("s + L"):
        verify(*arguments)
    else:
        with pytest.raises(InvalidSignatureError):
            verify(*arguments)


def test_the_signature_over_another_identity_of_the_official_library_fits() -> None:
    case = VECTORS["alternate_identity"]
    message = b"\xff" * 32 + b"Signal_PNI_Signature" + bytes.fromhex(case["other_public"])

    verify(bytes.fromhex(case["signer_public"]), message, bytes.fromhex(case["signature"]))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_what_is_signed_verifies(private: bytes, message: bytes) -> None:
    pair = key_pair(private)

    verify(pair.public, message, sign(pair.private, message, random_bytes=os.urandom))


def sign_oracle(private: bytes, message: bytes, random: bytes) -> bytes:
    """The formula of the specification, without the negation of the key, in Python's integers."""

    def hashed(*parts: bytes) -> int:
        return int.from_bytes(sha512(b"".join(parts)).digest(), "little") % ORDER

    def point(scalar: int) -> bytes:
        return sodium.crypto_scalarmult_ed25519_base_noclamp(scalar.to_bytes(32, "little"))

    a = int.from_bytes(private, "little")
    public = point(a % ORDER)
    r = hashed(b"\xfe" + b"\xff" * 31, private, message, random)
    s = (r + hashed(point(r), public, message) * a) % ORDER
    return point(r) + (s | (public[31] >> 7) << 255).to_bytes(32, "little")


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100), st.binary(min_size=64, max_size=64))
def test_a_signature_is_the_formula_the_first_time_and_later(private: bytes, message: bytes, random: bytes) -> None:
    key = key_pair(private).private
    expected = sign_oracle(key, message, random)

    assert [sign(key, message, random_bytes=lambda _: random) for _ in range(2)] == [expected] * 2


def test_the_points_of_only_so_many_keys_are_remembered() -> None:
    for n in range(300):
        pair = key_pair(n.to_bytes(32, "big"))
        verify(pair.public, b"x", sign(pair.private, b"x", random_bytes=bytes))

    assert 0 < len(xeddsa._points) <= 256  # pyright: ignore[reportPrivateUsage]  # there is no other sign of it


def test_no_private_key_is_remembered() -> None:
    sign(PAIR.private, b"x", random_bytes=bytes)

    points = xeddsa._points  # pyright: ignore[reportPrivateUsage]  # as above
    assert PAIR.private not in points
    assert PAIR.private not in points.values()


def test_both_signs_of_the_public_point_occur_and_verify() -> None:
    signs: set[int] = set()

    for n in range(16):
        pair = key_pair(bytes([n + 1]) * 32)
        signature = sign(pair.private, b"x", random_bytes=os.urandom)
        verify(pair.public, b"x", signature)
        signs.add(signature[63] & 0x80)

    assert signs == {0, 0x80}


def test_a_signature_asks_for_64_random_bytes_and_repeats_with_them() -> None:
    one = sign(PAIR.private, b"x", random_bytes=lambda size: b"\x07" * size)
    two = sign(PAIR.private, b"x", random_bytes=lambda size: b"\x07" * size)
    other = sign(PAIR.private, b"x", random_bytes=lambda size: b"\x08" * size)

    assert one == two != other


def test_the_nonce_depends_on_the_message_even_if_the_randomness_does_not() -> None:
    one = sign(PAIR.private, b"x", random_bytes=bytes)
    two = sign(PAIR.private, b"y", random_bytes=bytes)

    assert one[:32] != two[:32]


def test_a_key_without_an_edwards_form_verifies_nothing() -> None:
    minus_one = b"\x05" + (2**255 - 20).to_bytes(32, "little")

    with pytest.raises(InvalidSignatureError, match="no Edwards form"):
        verify(minus_one, b"x", bytes(64))


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=70))
def test_whatever_is_verified_ends_well_or_in_a_peer_error(public: bytes, message: bytes, signature: bytes) -> None:
    with pytest.raises(PeerError):
        verify(public, message, signature)
