"""The key derivations of the protocol, and their labels."""

from __future__ import annotations

from typing import Final, NamedTuple, NewType

from whisperkit.ratchet.prepared_hmac import hkdf, hkdf_64
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
_NEXT: Final = b"Signal PQ Ratchet V1 Chain Next"


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
    following, message_key = hkdf_64(key, counter.to_bytes(4, "big") + _NEXT)
    return ChainKey(following), MessageKey(message_key)


def _epoch_keys(out: bytes) -> EpochKeys:
    return EpochKeys(EpochRoot(out[:32]), ChainKey(out[32:64]), ChainKey(out[64:]))
