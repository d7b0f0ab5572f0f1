"""The MACs of the agreement, against the formulas of the specification."""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from whisperkit.errors import AuthenticationError
from whisperkit.ratchet.spqr import authenticator
from whisperkit.ratchet.spqr.derivation import EpochSecret

P = b"Signal_PQCKA_V1_MLKEM768:"
KEY = bytes(range(32))


def oracle(ikm: bytes, epoch: int) -> bytes:
    return HKDF(SHA256(), 64, bytes(32), P + b"Authenticator Update" + epoch.to_bytes(8, "big")).derive(ikm)


def test_its_keys_are_chained_from_the_handshake_on() -> None:
    first = authenticator.first(KEY)

    assert b"".join(first) == oracle(bytes(32) + KEY, 1)
    assert b"".join(authenticator.updated(first, 7, EpochSecret(KEY))) == oracle(first.root_key + KEY, 7)


def test_the_macs_cover_label_epoch_and_object() -> None:
    keys = authenticator.first(KEY)

    header = authenticator.header_mac(keys, 3, b"h" * 64)
    ciphertext = authenticator.ciphertext_mac(keys, 3, b"c" * 1088)

    assert header == hmac.digest(keys.mac_key, P + b"ekheader" + bytes(7) + b"\3" + b"h" * 64, "sha256")
    assert ciphertext == hmac.digest(keys.mac_key, P + b"ciphertext" + bytes(7) + b"\3" + b"c" * 1088, "sha256")


def test_a_mac_that_differs_is_refused() -> None:
    authenticator.verify("header", KEY, KEY)

    with pytest.raises(AuthenticationError):
        authenticator.verify("header", KEY, KEY[:-1] + b"\0")


def test_its_keys_are_not_printed() -> None:
    assert repr(authenticator.first(KEY)) == "<Authenticator>"
