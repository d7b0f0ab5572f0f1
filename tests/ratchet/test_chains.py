"""Key derivation, against the formulas by way of the standard library and `cryptography`."""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.ratchet.chains import (
    ChainKey,
    MessageSeed,
    RootKey,
    group_message_keys,
    message_keys,
    next_chain_key,
    next_root,
    step,
)
from whisperkit.ratchet.curve import SharedSecret

KEYS = st.binary(min_size=32, max_size=32)


def oracle(ikm: bytes, info: bytes, size: int, salt: bytes | None = None) -> bytes:
    return HKDF(SHA256(), size, salt, info).derive(ikm)


@given(KEYS)
def test_a_step_is_the_formula(key: bytes) -> None:
    seed, following = step(ChainKey(key))

    assert seed == hmac.digest(key, b"\x01", "sha256")
    assert following == next_chain_key(ChainKey(key)) == hmac.digest(key, b"\x02", "sha256")


@given(KEYS, st.none() | KEYS)
def test_the_keys_of_a_message_are_the_formula(seed: bytes, pq_key: bytes | None) -> None:
    keys = message_keys(MessageSeed(seed), pq_key)

    assert (len(keys.cipher_key), len(keys.mac_key), len(keys.iv)) == (32, 32, 16)
    assert b"".join(keys) == oracle(seed, b"WhisperMessageKeys", 80, pq_key)


@given(KEYS)
def test_the_keys_of_a_group_message_are_the_formula(seed: bytes) -> None:
    keys = group_message_keys(MessageSeed(seed))

    assert keys.iv + keys.cipher_key == oracle(seed, b"WhisperGroup", 48)


@given(KEYS, KEYS)
def test_a_root_step_is_the_formula(root_key: bytes, secret: bytes) -> None:
    found = next_root(RootKey(root_key), SharedSecret(secret))

    assert b"".join(found) == oracle(secret, b"WhisperRatchet", 64, root_key)


def test_seed_and_next_link_of_a_chain_have_nothing_in_common() -> None:
    key = ChainKey(b"k" * 32)

    assert len({*map(bytes, step(key)), bytes(key)}) == 3


def test_the_keys_of_a_message_depend_on_seed_and_post_quantum_key() -> None:
    seeds = [MessageSeed(bytes([n]) * 32) for n in (1, 2)]
    found = [message_keys(seed, key) for seed in seeds for key in (None, b"q" * 32)]

    assert len(set(found)) == 4
    assert message_keys(seeds[0], None) == message_keys(seeds[0], bytes(32))  # no salt is 32 zero bytes


def test_a_root_step_depends_on_both_inputs() -> None:
    found = {next_root(RootKey(bytes([a]) * 32), SharedSecret(bytes([b]) * 32)) for a in (1, 2) for b in (3, 4)}

    assert len(found) == 4


def test_a_group_message_has_no_mac_key() -> None:
    keys = group_message_keys(MessageSeed(bytes(32)))

    assert (len(keys.cipher_key), len(keys.iv), keys.mac_key) == (32, 16, b"")
