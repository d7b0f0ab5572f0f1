"""The key derivations, against the library's HKDF and the formulas of the specification."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.ratchet.spqr.derivation import (
    ChainKey,
    EpochRoot,
    EpochSecret,
    added_epoch,
    epoch_secret,
    first_epoch,
    next_link,
)

KEYS = st.binary(min_size=32, max_size=32)


def oracle(ikm: bytes, info: bytes, size: int, salt: bytes = bytes(32)) -> bytes:
    return HKDF(SHA256(), size, salt, info).derive(ikm)


@given(KEYS, st.integers(1, 2**32 - 1))
def test_a_step_in_a_chain_is_the_formula(key: bytes, counter: int) -> None:
    info = counter.to_bytes(4, "big") + b"Signal PQ Ratchet V1 Chain Next"

    assert b"".join(next_link(ChainKey(key), counter)) == oracle(key, info, 64)


@given(KEYS, KEYS)
def test_epochs_begin_as_the_formulas_say(key: bytes, root: bytes) -> None:
    assert b"".join(first_epoch(key)) == oracle(key, b"Signal PQ Ratchet V1 Chain  Start", 96)
    added = added_epoch(EpochRoot(root), EpochSecret(key))
    assert b"".join(added) == oracle(key, b"Signal PQ Ratchet V1 Chain Add Epoch", 96, root)


@given(KEYS, st.integers(1, 2**64 - 1))
def test_the_secret_of_an_epoch_is_the_formula(key: bytes, epoch: int) -> None:
    info = b"Signal_PQCKA_V1_MLKEM768:SCKA Key" + epoch.to_bytes(8, "big")

    assert epoch_secret(epoch, key) == oracle(key, info, 32)


def test_the_keys_of_an_epoch_are_not_printed() -> None:
    assert repr(first_epoch(bytes(32))) == "<EpochKeys>"
