"""The epoch chain: a symmetric ratchet per epoch and direction, which gives each message its key.

Epochs are counted from 0, the one of the handshake. The chains to send in go back to the epoch last sent in,
those to receive in one epoch further, and only sending moves that mark. Since each epoch needs messages from
both sides, there are never more than two of the former and three of the latter.

Spec:
    Double Ratchet rev. 4, "The Sparse Post-Quantum Ratchet", its KDF chains; "Deletion of old KDF Chain state" for what
    is given up.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from whisperkit._named_tuples import make
from whisperkit.errors import InvalidMessageError, SkippedTooFarError, UsageError
from whisperkit.ratchet.redaction import redacted
from whisperkit.ratchet.spqr.derivation import (
    ChainKey,
    EpochKeys,
    EpochRoot,
    EpochSecret,
    MessageKey,
    added_epoch,
    first_epoch,
    next_link,
)
from whisperkit.ratchet.spqr.wire import MAX_INDEX

__all__ = [
    "MAX_JUMP",
    "MAX_SKIPPED_KEYS",
    "MAX_SKIPPED_SPAN",
    "NO_KEYS",
    "EpochChain",
    "ReceivingChain",
    "SendingChain",
    "add_epoch",
    "jump",
    "receive_key",
    "send_key",
    "start",
]

# How far an index may jump ahead. It is not authenticated before its key is derived, so this is what one
# forged message can cost: 25,000 steps of 4 microseconds. The number is the official one.
MAX_JUMP: Final = 25_000

# How far behind the newest index a skipped key can still be asked for.
MAX_SKIPPED_SPAN: Final = 2_000

# How many skipped keys of a chain are held. Those beyond the span are cleared when this many would be
# exceeded and not at each message, which would copy the mapping each time.
MAX_SKIPPED_KEYS: Final = 2_200

NO_KEYS: Final[Mapping[int, MessageKey]] = MappingProxyType({})


class SendingChain(NamedTuple):
    """One direction of one epoch, to send in.

    Attributes:
        counter: The index of the last message.
        key: The chain key after it.
    """

    counter: int
    key: ChainKey

    def __repr__(self) -> str:
        return redacted(self)


class ReceivingChain(NamedTuple):
    """One direction of one epoch, to receive in.

    Attributes:
        counter: The highest index used.
        key: The chain key after it.
        skipped: Keys of indices that were jumped over, in ascending order. Never changed in place.
    """

    counter: int
    key: ChainKey
    skipped: Mapping[int, MessageKey] = NO_KEYS

    def __repr__(self) -> str:
        return redacted(self)


class EpochChain(NamedTuple):
    """All chains that are in use.

    Attributes:
        epoch: The newest epoch.
        root: What the next epoch grows from.
        is_initiator: Whether this side sends from A to B.
        sending: Up to the newest epoch, the oldest first; the first is the one last sent in.
        receiving: Up to the newest epoch, the oldest first.
    """

    epoch: int
    root: EpochRoot
    is_initiator: bool
    sending: tuple[SendingChain, ...]
    receiving: tuple[ReceivingChain, ...]

    def __repr__(self) -> str:
        return redacted(self)


def start(auth_key: bytes, *, is_initiator: bool) -> EpochChain:
    """The chains of epoch 0."""
    keys = first_epoch(auth_key)
    sending, receiving = _directions(keys, is_initiator=is_initiator)
    return EpochChain(0, keys.root, is_initiator, (sending,), (receiving,))


def add_epoch(chain: EpochChain, secret: EpochSecret) -> EpochChain:
    """Begin the next epoch."""
    keys = added_epoch(chain.root, secret)
    sending, receiving = _directions(keys, is_initiator=chain.is_initiator)
    return EpochChain(
        chain.epoch + 1, keys.root, chain.is_initiator, (*chain.sending, sending), (*chain.receiving, receiving)
    )


def send_key(chain: EpochChain, epoch: int) -> tuple[EpochChain, int, MessageKey]:
    """Take the key for a message to send.

    Args:
        chain: The chains before.
        epoch: The one last sent in, or a newer one, whereupon the chains before it are given up.

    Returns:
        The chains after, the index of the message, and its key.

    Raises:
        UsageError: The chain is at its end, after four thousand million messages in one epoch.
    """
    newest, root, is_initiator, sending, receiving = chain
    given_up = epoch - newest - 1 + len(sending)
    if given_up:
        sending, receiving = sending[given_up:], receiving[epoch - newest - 2 :]
    counter, key = sending[0]
    counter += 1
    if counter > MAX_INDEX:
        raise UsageError("a chain of the post-quantum ratchet is at its end")
    key, message_key = next_link(key, counter)
    sending = (make(SendingChain, (counter, key)), *sending[1:])
    return make(EpochChain, (newest, root, is_initiator, sending, receiving)), counter, message_key


def jump(chain: EpochChain, epoch: int, index: int) -> int:
    """How many keys `receive_key` derives for a message: 0 if its epoch is not open, or its key was passed."""
    place = epoch - chain.epoch - 1 + len(chain.receiving)
    return max(0, index - chain.receiving[place].counter) if 0 <= place < len(chain.receiving) else 0


def receive_key(
    chain: EpochChain, epoch: int, index: int, *, max_jump: int | None = MAX_JUMP
) -> tuple[EpochChain, MessageKey]:
    """Take the key for a message that came.

    Raises:
        InvalidMessageError: Its epoch is given up or not begun, or its key was used or given up.
        SkippedTooFarError: It is more than `max_jump` ahead.
    """
    newest, root, is_initiator, sending, receiving = chain
    place = epoch - newest - 1 + len(receiving)
    if not 0 <= place < len(receiving):
        raise InvalidMessageError(f"epoch {epoch} is not open; the newest is {newest}")
    advanced, message_key = _key_at(receiving[place], index, max_jump)
    receiving = (*receiving[:place], advanced, *receiving[place + 1 :])
    return make(EpochChain, (newest, root, is_initiator, sending, receiving)), message_key


def _key_at(chain: ReceivingChain, index: int, max_jump: int | None) -> tuple[ReceivingChain, MessageKey]:
    counter, key, skipped = chain
    gap = index - counter
    if gap <= 0:
        return _take_skipped(chain, index)
    if gap > 1:
        if max_jump is not None and gap > max_jump:
            raise SkippedTooFarError(gap=gap, limit=max_jump)
        key, skipped = _skip(chain, index)
    key, message_key = next_link(key, index)
    return make(ReceivingChain, (index, key, skipped)), message_key


def _take_skipped(chain: ReceivingChain, index: int) -> tuple[ReceivingChain, MessageKey]:
    if index + MAX_SKIPPED_SPAN < chain.counter or index not in chain.skipped:
        raise InvalidMessageError(f"the key of index {index} was used or given up; the chain is at {chain.counter}")
    skipped = dict(chain.skipped)
    message_key = skipped.pop(index)
    return ReceivingChain(chain.counter, chain.key, skipped), message_key


def _skip(chain: ReceivingChain, index: int) -> tuple[ChainKey, Mapping[int, MessageKey]]:
    """Walk up to `index`, keeping the keys on the way that can be asked for afterwards."""
    is_far = index > chain.counter + MAX_SKIPPED_SPAN
    skipped: dict[int, MessageKey] = {} if is_far else dict(chain.skipped)
    key = chain.key
    for counter in range(chain.counter + 1, index):
        key, message_key = next_link(key, counter)
        if counter + MAX_SKIPPED_SPAN >= index:
            skipped[counter] = message_key
    if len(skipped) > MAX_SKIPPED_KEYS:
        skipped = {number: kept for number, kept in skipped.items() if number + MAX_SKIPPED_SPAN >= index}
    return key, skipped


def _directions(keys: EpochKeys, *, is_initiator: bool) -> tuple[SendingChain, ReceivingChain]:
    sending, receiving = (keys.a_to_b, keys.b_to_a) if is_initiator else (keys.b_to_a, keys.a_to_b)
    return SendingChain(0, sending), ReceivingChain(0, receiving)
