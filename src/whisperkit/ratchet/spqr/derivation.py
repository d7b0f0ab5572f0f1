"""HMAC and HKDF with SHA-256, and every label of the protocol.

A SHA-256 state that has taken in a padded key is the expensive half of a short HMAC. States are therefore
made once per key and copied; those of the zero salt are made when the module is loaded. This is half the
time of `hmac.digest`, with the same result.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple, NewType

from whisperkit.ratchet.redaction import redacted

__all__ = [
    "ChainKey",
    "EpochKeys",
    "EpochRoot",
    "EpochSecret",
    "MessageKey",
    "added_epoch",
    "epoch_secret",
    "first_epoch",
    "hkdf",
    "hmac_sha256",
    "next_link",
]

EpochSecret = NewType("EpochSecret", bytes)
"""What both sides agreed on in one epoch: 32 bytes."""

EpochRoot = NewType("EpochRoot", bytes)
"""What the keys of an epoch are chained to the next by: 32 bytes."""

ChainKey = NewType("ChainKey", bytes)
"""The key of one direction in one epoch: 32 bytes, replaced at every message."""

MessageKey = NewType("MessageKey", bytes)
"""The key for exactly one message: 32 bytes."""

LABEL: Final = b"Signal_PQCKA_V1_MLKEM768:"
_START: Final = b"Signal PQ Ratchet V1 Chain  Start"  # two spaces
_ADD_EPOCH: Final = b"Signal PQ Ratchet V1 Chain Add Epoch"
_NEXT_1: Final = b"Signal PQ Ratchet V1 Chain Next\x01"
_NEXT_2: Final = b"Signal PQ Ratchet V1 Chain Next\x02"

_BLOCK_BYTES: Final = 64
_NO_SALT: Final = bytes(32)
_INNER_PAD: Final = bytes(n ^ 0x36 for n in range(256))
_OUTER_PAD: Final = bytes(n ^ 0x5C for n in range(256))
_ZEROS: Final = bytes(_BLOCK_BYTES)
_ZERO_INNER: Final = sha256(_ZEROS.translate(_INNER_PAD))
_ZERO_OUTER: Final = sha256(_ZEROS.translate(_OUTER_PAD))


class EpochKeys(NamedTuple):
    """What an epoch begins with.

    Attributes:
        root: For the next epoch.
        a_to_b: The chain of the initiator's messages.
        b_to_a: The chain of the responder's.
    """

    root: EpochRoot
    a_to_b: ChainKey
    b_to_a: ChainKey

    def __repr__(self) -> str:
        return redacted(self)


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """HMAC (RFC 2104) with a key of at most 64 bytes."""
    padded = key.ljust(_BLOCK_BYTES, b"\0")
    inner = sha256(padded.translate(_INNER_PAD))
    inner.update(data)
    outer = sha256(padded.translate(_OUTER_PAD))
    outer.update(inner.digest())
    return outer.digest()


def hkdf(ikm: bytes, info: bytes, size: int, *, salt: bytes = _NO_SALT) -> bytes:
    """HKDF (RFC 5869)."""
    prk = hmac_sha256(salt, ikm)
    out = block = b""
    counter = 0
    while len(out) < size:
        counter += 1
        block = hmac_sha256(prk, block + info + counter.to_bytes())
        out += block
    return out[:size]


def epoch_secret(epoch: int, shared: bytes) -> EpochSecret:
    """The secret of an epoch, from the secret that ML-KEM gave."""
    return EpochSecret(hkdf(shared, LABEL + b"SCKA Key" + epoch.to_bytes(8, "big"), 32))


def first_epoch(auth_key: bytes) -> EpochKeys:
    """The keys of epoch 0, from the handshake."""
    return _epoch_keys(hkdf(auth_key, _START, 96))


def added_epoch(root: EpochRoot, secret: EpochSecret) -> EpochKeys:
    """The keys of the next epoch."""
    return _epoch_keys(hkdf(secret, _ADD_EPOCH, 96, salt=root))


def next_link(key: ChainKey, counter: int) -> tuple[ChainKey, MessageKey]:
    """Take one step in a chain.

    Args:
        key: The chain key before.
        counter: The index of the message, from 1.

    Returns:
        The next chain key, and the key of the message: the halves of
        ``HKDF(key, be32(counter) || "Signal PQ Ratchet V1 Chain Next", 64)``.
    """
    inner = _ZERO_INNER.copy()
    inner.update(key)
    outer = _ZERO_OUTER.copy()
    outer.update(inner.digest())
    prk = outer.digest() + _NO_SALT
    number = counter.to_bytes(4, "big")
    inner = sha256(prk.translate(_INNER_PAD))
    outer = sha256(prk.translate(_OUTER_PAD))
    block, mac = inner.copy(), outer.copy()
    block.update(number + _NEXT_1)
    mac.update(block.digest())
    first = mac.digest()
    inner.update(first + number + _NEXT_2)
    outer.update(inner.digest())
    return ChainKey(first), MessageKey(outer.digest())


def _epoch_keys(out: bytes) -> EpochKeys:
    return EpochKeys(EpochRoot(out[:32]), ChainKey(out[32:64]), ChainKey(out[64:]))
