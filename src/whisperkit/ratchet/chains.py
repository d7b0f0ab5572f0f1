"""Key derivation: the root step, the chain step, and the keys of one message.

Each kind of key is a type of its own, because each is 32 bytes and only the names keep them apart. A skipped
message is remembered by its seed, not by its keys: the key of the post-quantum ratchet, which is mixed in
when keys are made, is known only when the message arrives.
"""

from __future__ import annotations

from typing import NamedTuple, NewType

from whisperkit._named_tuples import make
from whisperkit.ratchet.curve import SharedSecret
from whisperkit.ratchet.prepared_hmac import NO_SALT, hkdf_64, hkdf_96, hmac_sha256, mac_pair
from whisperkit.ratchet.redaction import redacted

__all__ = [
    "ChainKey",
    "MacKey",
    "MessageKeys",
    "MessageSeed",
    "RootKey",
    "group_message_keys",
    "message_keys",
    "next_chain_key",
    "next_root",
    "step",
]

RootKey = NewType("RootKey", bytes)
"""``RK`` in the Double Ratchet: 32 bytes, replaced at every Diffie-Hellman step."""

ChainKey = NewType("ChainKey", bytes)
"""``CK``: 32 bytes, replaced at every message."""

MessageSeed = NewType("MessageSeed", bytes)
"""What the keys of one message grow from: 32 bytes, used once."""

MacKey = NewType("MacKey", bytes)
"""The key of one message's MAC: 32 bytes."""


class MessageKeys(NamedTuple):
    """The keys of exactly one message.

    Attributes:
        cipher_key: For AES-256-CBC, 32 bytes.
        mac_key: For HMAC-SHA-256, 32 bytes; empty for a group message, which is signed instead.
        iv: 16 bytes.
    """

    cipher_key: bytes
    mac_key: MacKey
    iv: bytes

    def __repr__(self) -> str:
        return redacted(self)


def next_root(root_key: RootKey, secret: SharedSecret) -> tuple[RootKey, ChainKey]:
    """Mix an agreement into the root key: ``KDF_RK``.

    Returns:
        The next root key, and the first chain key of a chain.

    Spec:
        Double Ratchet rev. 4, "Recommended cryptographic algorithms", ``KDF_RK``.
    """
    following, chain_key = hkdf_64(secret, b"WhisperRatchet", root_key)
    return RootKey(following), ChainKey(chain_key)


def step(chain_key: ChainKey) -> tuple[MessageSeed, ChainKey]:
    """Take one step in a chain.

    Returns:
        The seed of the message at this link, and the next link.

    Spec:
        Double Ratchet rev. 4, "Recommended cryptographic algorithms", ``KDF_CK`` with the constants 0x01 and 0x02.
    """
    seed, following = mac_pair(chain_key, b"\x01", b"\x02")
    return MessageSeed(seed), ChainKey(following)


def next_chain_key(chain_key: ChainKey) -> ChainKey:
    """The next link of a chain, without the seed of the message at this one."""
    return ChainKey(hmac_sha256(chain_key, b"\x02"))


def message_keys(seed: MessageSeed, pq_key: bytes | None) -> MessageKeys:
    """The keys of a message in a session.

    Args:
        seed: From the chain.
        pq_key: The key of the post-quantum ratchet for this message, 32 bytes; `None` if it gave none.

    Spec:
        Double Ratchet rev. 4, "The Triple Ratchet: combining Secure Messaging protocols for hybrid security" (the
        key of the post-quantum ratchet is the salt), and "Recommended cryptographic algorithms", ``ENCRYPT``.
    """
    cipher_key, mac_key, rest = hkdf_96(seed, b"WhisperMessageKeys", NO_SALT if pq_key is None else pq_key)
    return make(MessageKeys, (cipher_key, MacKey(mac_key), rest[:16]))


def group_message_keys(seed: MessageSeed) -> MessageKeys:
    """The keys of a group message. The initialisation vector comes first here, and there is no MAC key.

    Spec:
        Nothing is published for groups; ``docs/explanation/security.md``, "Groups: sender keys".
    """
    # HKDF to 48 bytes: the key crosses from one block to the next.
    first, second = hkdf_64(seed, b"WhisperGroup")
    return make(MessageKeys, (first[16:] + second[:16], MacKey(b""), first[:16]))
