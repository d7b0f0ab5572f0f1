"""Sender keys: one ciphertext for a whole group.

Each sender has a chain of its own for each *distribution* (a list of readers), and tells the readers its
present link and its signing key inside encrypted messages. A message is signed, not MACed, because every
reader knows the chain. Who joins later reads from the link it was given; who leaves is shut out by a new chain.

A record holds at most five states, the newest first, so that messages under a chain that was just replaced
still open.

Spec:
    Nothing is published for groups; ``docs/explanation/security.md``, "Groups: sender keys", says what this does and in
    what it differs from the official library.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Final, NamedTuple

from whisperkit._named_tuples import make
from whisperkit.errors import DuplicateMessageError, SkippedTooFarError
from whisperkit.ratchet.body import decrypt_body, encrypt_body
from whisperkit.ratchet.chains import (
    ChainKey,
    MessageSeed,
    group_message_keys,
    step,
)
from whisperkit.ratchet.curve import PrivateKey, PublicKey, RandomBytes, generate
from whisperkit.ratchet.double_ratchet import MAX_FORWARD_JUMP, NO_SEEDS, skip
from whisperkit.ratchet.messages import SenderKeyDistributionMessage, SenderKeyMessage, encode_sender_key_message
from whisperkit.ratchet.redaction import redacted

__all__ = [
    "MAX_SENDER_KEY_STATES",
    "GroupDecrypted",
    "GroupEncrypted",
    "SenderKeyState",
    "decrypt",
    "distribution_of",
    "encrypt",
    "find_state",
    "new_state",
    "process",
]

# How many chains of one sender stay readable. A sender could fill more with skipped seeds, 70 KiB each.
MAX_SENDER_KEY_STATES: Final = 5


class SenderKeyState(NamedTuple):
    """One chain of one sender.

    Attributes:
        chain_id: Drawn by the sender, 31 bits.
        iteration: Position of the next message.
        chain_key: The link at that position.
        signing_key: What its messages are verified with.
        signing_private: The private half; `None` with the readers.
        skipped: Seeds of messages that were jumped over, by iteration, the oldest first.
    """

    chain_id: int
    iteration: int
    chain_key: ChainKey
    signing_key: PublicKey
    signing_private: PrivateKey | None
    skipped: Mapping[int, MessageSeed] = NO_SEEDS

    def __repr__(self) -> str:
        return redacted(self)


class GroupEncrypted(NamedTuple):
    """A group message to send, and the state after it."""

    state: SenderKeyState
    body: bytes


class GroupDecrypted(NamedTuple):
    """What a group message said, and the state after it."""

    state: SenderKeyState
    plaintext: bytes

    def __repr__(self) -> str:
        return redacted(self)


def new_state(*, random_bytes: RandomBytes) -> SenderKeyState:
    """Begin a chain to send in. Asks for 4, 32 and 32 random bytes."""
    chain_id = int.from_bytes(random_bytes(4), "big") >> 1
    chain_key = ChainKey(random_bytes(32))
    signing = generate(random_bytes=random_bytes)
    return SenderKeyState(chain_id, 0, chain_key, signing.public, signing.private)


def distribution_of(state: SenderKeyState, distribution_id: uuid.UUID) -> SenderKeyDistributionMessage:
    """What to tell a reader: the chain from its present position on."""
    return SenderKeyDistributionMessage(
        distribution_id, state.chain_id, state.iteration, state.chain_key, state.signing_key
    )


def process(states: tuple[SenderKeyState, ...], message: SenderKeyDistributionMessage) -> tuple[SenderKeyState, ...]:
    """Take in a sender's chain; the newest comes first.

    A chain that is known already is kept where it stands: the same message processed twice must not rewind
    it, or what was read once could be read again.
    """
    known = find_state(states, message.chain_id)
    if known is None or known.signing_key != message.signing_key:
        known = SenderKeyState(message.chain_id, message.iteration, message.chain_key, message.signing_key, None)
    others = [state for state in states if state.chain_id != message.chain_id]
    return (known, *others)[:MAX_SENDER_KEY_STATES]


def find_state(states: tuple[SenderKeyState, ...], chain_id: int) -> SenderKeyState | None:
    """The state of a chain, or `None` if it is not known."""
    return next((state for state in states if state.chain_id == chain_id), None)


def encrypt(
    state: SenderKeyState,
    signing_private: PrivateKey,
    plaintext: bytes,
    *,
    distribution_id: uuid.UUID,
    random_bytes: RandomBytes,
) -> GroupEncrypted:
    """Encrypt a message for all readers. Asks for 64 random bytes, for the signature."""
    chain_id, iteration, chain_key, signing_key, private, skipped = state
    seed, next_key = step(chain_key)
    body = encode_sender_key_message(
        distribution_id=distribution_id,
        chain_id=chain_id,
        iteration=iteration,
        ciphertext=encrypt_body(group_message_keys(seed), plaintext),
        signing_key=signing_private,
        random_bytes=random_bytes,
    )
    after = make(SenderKeyState, (chain_id, iteration + 1, next_key, signing_key, private, skipped))
    return make(GroupEncrypted, (after, body))


def decrypt(state: SenderKeyState, message: SenderKeyMessage) -> GroupDecrypted:
    """Decrypt a message of the state's chain. The signature comes first: nothing is derived for a forger.

    Raises:
        InvalidSignatureError: It is not the sender's.
        DuplicateMessageError: It was decrypted before, lies before the link that was given, or is too old.
        SkippedTooFarError: It is too far ahead.
        InvalidMessageError: Its body is none.
    """
    message.verify_signature(state.signing_key)
    seed, after = _seed_for(state, message.iteration)
    return make(GroupDecrypted, (after, decrypt_body(group_message_keys(seed), message.ciphertext)))


def _seed_for(state: SenderKeyState, iteration: int) -> tuple[MessageSeed, SenderKeyState]:
    chain_id, expected, key, signing_key, private, skipped = state
    gap = iteration - expected
    if gap < 0:
        return _take_skipped(state, iteration)
    if gap > MAX_FORWARD_JUMP:
        raise SkippedTooFarError(gap=gap, limit=MAX_FORWARD_JUMP)
    if gap:
        key, skipped = skip(key, skipped, expected, iteration)
    seed, next_key = step(key)
    return seed, make(SenderKeyState, (chain_id, iteration + 1, next_key, signing_key, private, skipped))


def _take_skipped(state: SenderKeyState, iteration: int) -> tuple[MessageSeed, SenderKeyState]:
    if iteration not in state.skipped:
        raise DuplicateMessageError(counter=iteration, chain_index=state.iteration)
    skipped = dict(state.skipped)
    return skipped.pop(iteration), state._replace(skipped=skipped)
