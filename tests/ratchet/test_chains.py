"""Key derivation and the body cipher."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from whisperkit.ratchet.chains import (
    ChainKey,
    MacKey,
    MessageKeys,
    MessageSeed,
    RootKey,
    decrypt_body,
    encrypt_body,
    group_message_keys,
    message_keys,
    message_seed,
    next_chain_key,
    next_root,
)
from whisperkit.ratchet.curve import SharedSecret

KEYS = MessageKeys(bytes(32), MacKey(bytes(32)), bytes(16))


def test_seed_and_next_link_of_a_chain_have_nothing_in_common() -> None:
    key = ChainKey(b"k" * 32)

    assert len({bytes(message_seed(key)), bytes(next_chain_key(key)), bytes(key)}) == 3


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


@given(st.binary(max_size=100))
def test_a_body_comes_back_and_is_whole_blocks(text: bytes) -> None:
    sealed = encrypt_body(KEYS, text)

    assert len(sealed) % 16 == 0
    assert len(text) < len(sealed) <= len(text) + 16
    assert decrypt_body(KEYS, sealed) == text
