"""The Double Ratchet with the post-quantum ratchet mixed in, as two functions on a frozen state.

Theory of operation. `send` and `receive` derive the keys of one message and return the state as it will be
if the message is good. Nothing is changed: the caller checks the MAC, decrypts, and only then keeps the
returned state. Forgetting a failed attempt is dropping a reference.

Three things differ from the textbook. On a Diffie-Hellman step nothing is skipped in the old chain, whose
length the header therefore need not say: old chains stay usable while they are among the last five. Skipped
keys are kept as seeds, because the post-quantum key comes with the message. And there are two forward limits:
this module's, counted per chain, and the post-quantum ratchet's own, which runs on over chains.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from whisperkit._named_tuples import make
from whisperkit.errors import DuplicateMessageError, SkippedTooFarError
from whisperkit.ratchet import spqr
from whisperkit.ratchet.chains import (
    ChainKey,
    MessageKeys,
    MessageSeed,
    RootKey,
    message_keys,
    next_chain_key,
    next_root,
    step,
)
from whisperkit.ratchet.curve import KeyPair, PublicKey, RandomBytes, agree, generate
from whisperkit.ratchet.redaction import redacted
from whisperkit.ratchet.spqr import ML_KEM_768, Kem

__all__ = [
    "MAX_FORWARD_JUMP",
    "MAX_RECEIVING_CHAINS",
    "MAX_SELF_FORWARD_JUMP",
    "MAX_SKIPPED_KEYS",
    "NO_SEEDS",
    "Header",
    "RatchetState",
    "Received",
    "ReceivingChain",
    "SendingChain",
    "Sent",
    "has_chain",
    "receive",
    "send",
    "skip",
    "steps",
]

# How far a header may jump ahead. The header is not authenticated before its key is derived, so this is
# what one forged message can cost: 25,000 hashes, about 50 ms. The number is the official one.
MAX_FORWARD_JUMP: Final = 25_000

# The same in a session with oneself. The official library has no limit there, because one's own devices send a lot
# to one that lies in a drawer; but then one forged header costs 4,000 million steps, which is hours. This is
# 8,000 messages a day for the 30 days that a server keeps them, and two seconds of hashing.
MAX_SELF_FORWARD_JUMP: Final = 250_000

# How many skipped seeds a chain keeps. A forger gains nothing, as nothing is kept before the MAC is good;
# a peer gains 2,000 times 36 bytes in each of five chains. A key kept longer is a key stolen later.
MAX_SKIPPED_KEYS: Final = 2_000

# How many of the peer's ratchet keys stay usable for late messages.
MAX_RECEIVING_CHAINS: Final = 5

NO_SEEDS: Final[Mapping[int, MessageSeed]] = MappingProxyType({})


class SendingChain(NamedTuple):
    """The chain of the messages that this side sends.

    Attributes:
        ratchet: The key pair whose public half is in their headers.
        key: ``CKs``.
        next_counter: The counter of the next message.
    """

    ratchet: KeyPair
    key: ChainKey
    next_counter: int

    def __repr__(self) -> str:
        return redacted(self)


class ReceivingChain(NamedTuple):
    """The chain of messages under one of the peer's ratchet keys.

    Attributes:
        number: Chains of a session are numbered from 0, so that their skipped seeds can be stored apart.
        ratchet_key: The peer's public key.
        key: ``CKr``.
        next_counter: The counter that is expected next.
        skipped: Seeds of messages that were jumped over, by counter, the oldest first. Never changed in place.
    """

    number: int
    ratchet_key: PublicKey
    key: ChainKey
    next_counter: int
    skipped: Mapping[int, MessageSeed] = NO_SEEDS

    def __repr__(self) -> str:
        return redacted(self)


class RatchetState(NamedTuple):
    """All of one session's ratchet.

    Attributes:
        root_key: ``RK``.
        sending: The chain to send in.
        receiving: At most `MAX_RECEIVING_CHAINS`, the oldest first.
        previous_counter: What the headers say about the sending chain before: its length less one, at least 0.
        spqr: The post-quantum ratchet.
    """

    root_key: RootKey
    sending: SendingChain
    receiving: tuple[ReceivingChain, ...]
    previous_counter: int
    spqr: spqr.SpqrState

    def __repr__(self) -> str:
        return redacted(self)


class Header(Protocol):
    """What a message says about its keys; a whole message serves as well."""

    @property
    def ratchet_key(self) -> PublicKey:
        """The sender's ratchet key."""
        ...

    @property
    def counter(self) -> int:
        """The message's position in its chain."""
        ...

    @property
    def pq_ratchet(self) -> bytes:
        """The message of the post-quantum ratchet."""
        ...


class Sent(NamedTuple):
    """The header and the keys for one message to send.

    Attributes:
        state: The state after it.
        ratchet_key: The ratchet key to send along.
        counter: Its position in the chain.
        pq_ratchet: The message of the post-quantum ratchet.
        keys: What to encrypt it with.
    """

    state: RatchetState
    ratchet_key: PublicKey
    counter: int
    pq_ratchet: bytes
    keys: MessageKeys

    def __repr__(self) -> str:
        return redacted(self)


class Received(NamedTuple):
    """The keys of one message that came, and the state after it, to be kept only if its MAC is good."""

    state: RatchetState
    keys: MessageKeys

    def __repr__(self) -> str:
        return redacted(self)


def send(state: RatchetState, *, random_bytes: RandomBytes, kem: Kem = ML_KEM_768) -> Sent:
    """Derive the keys of the next message to send.

    Args:
        state: The state before it.
        random_bytes: Asked for what the post-quantum ratchet needs, two times in an epoch.
        kem: The KEM of that ratchet.

    Spec:
        Double Ratchet rev. 4, "Encrypting messages", ``RatchetEncrypt``, and "The Triple Ratchet: combining Secure
        Messaging protocols for hybrid security".
    """
    root_key, (ratchet, key, counter), receiving, previous_counter, post_quantum_before = state
    post_quantum = spqr.send(post_quantum_before, random_bytes=random_bytes, kem=kem)
    seed, next_key = step(key)
    advanced = make(SendingChain, (ratchet, next_key, counter + 1))
    after = make(RatchetState, (root_key, advanced, receiving, previous_counter, post_quantum.state))
    keys = message_keys(seed, post_quantum.key)
    return make(Sent, (after, ratchet.public, counter, post_quantum.message, keys))


def receive(
    state: RatchetState,
    header: Header,
    *,
    random_bytes: RandomBytes,
    max_jump: int = MAX_FORWARD_JUMP,
    kem: Kem = ML_KEM_768,
) -> Received:
    """Derive the keys of a message that came.

    Args:
        state: The state before it.
        header: What the message says; nothing of it is trusted.
        random_bytes: Asked for 32 bytes if the message brings a new ratchet key.
        max_jump: How far it may be ahead of its chain, and of that of the post-quantum ratchet.
        kem: The KEM of that ratchet.

    Raises:
        DuplicateMessageError: Its seed was used or given up.
        SkippedTooFarError: It is too far ahead.
        InvalidKeyError: Its ratchet key is of low order.
        PeerError: The post-quantum ratchet refuses it.

    Spec:
        Double Ratchet rev. 4, "Decrypting messages", ``RatchetDecrypt``, as the theory of operation says it differs.
    """
    chain = _find(state.receiving, header.ratchet_key)
    if chain is None:
        state = _turn(state, header.ratchet_key, random_bytes=random_bytes)
        chain = state.receiving[-1]
    root_key, sending, receiving, previous_counter, post_quantum_before = state
    seed, advanced = _seed_for(chain, header.counter, max_jump)
    post_quantum = spqr.receive(post_quantum_before, header.pq_ratchet, max_jump=max_jump, kem=kem)
    chains = _replaced(receiving, chain, advanced)
    after = make(RatchetState, (root_key, sending, chains, previous_counter, post_quantum.state))
    return make(Received, (after, message_keys(seed, post_quantum.key)))


def has_chain(state: RatchetState, ratchet_key: PublicKey) -> bool:
    """Whether a message under this key of the peer's makes no Diffie-Hellman step."""
    return _find(state.receiving, ratchet_key) is not None


def steps(state: RatchetState, header: Header, *, max_jump: int = MAX_FORWARD_JUMP) -> int:
    """How many keys `receive` derives on the way to those of a message: what a forged one can cost."""
    chain = _find(state.receiving, header.ratchet_key)
    gap = header.counter - (chain.next_counter if chain else 0)
    return sum(each for each in (gap, spqr.jump(state.spqr, header.pq_ratchet)) if 0 < each <= max_jump)


def _find(chains: tuple[ReceivingChain, ...], ratchet_key: PublicKey) -> ReceivingChain | None:
    for chain in reversed(chains):
        if chain.ratchet_key == ratchet_key:
            return chain
    return None


def _replaced(
    chains: tuple[ReceivingChain, ...], chain: ReceivingChain, by: ReceivingChain
) -> tuple[ReceivingChain, ...]:
    if chain is chains[-1]:
        return (*chains[:-1], by)
    return tuple(by if each is chain else each for each in chains)


def _turn(state: RatchetState, ratchet_key: PublicKey, *, random_bytes: RandomBytes) -> RatchetState:
    """The Diffie-Hellman step: a receiving chain for the new key, and a sending chain of one's own to answer in.

    Spec:
        Double Ratchet rev. 4, "Decrypting messages", ``DHRatchet``.
    """
    root_key, receiving_key = next_root(state.root_key, agree(state.sending.ratchet.private, ratchet_key))
    ratchet = generate(random_bytes=random_bytes)
    root_key, sending_key = next_root(root_key, agree(ratchet.private, ratchet_key))
    number = state.receiving[-1].number + 1 if state.receiving else 0
    opened = ReceivingChain(number, ratchet_key, receiving_key, 0)
    return state._replace(
        root_key=root_key,
        sending=SendingChain(ratchet, sending_key, 0),
        receiving=(*state.receiving, opened)[-MAX_RECEIVING_CHAINS:],
        previous_counter=max(0, state.sending.next_counter - 1),
    )


def _seed_for(chain: ReceivingChain, counter: int, max_jump: int) -> tuple[MessageSeed, ReceivingChain]:
    """The seed of message `counter`, and the chain after it."""
    number, ratchet_key, key, next_counter, skipped = chain
    gap = counter - next_counter
    if gap < 0:
        return _take_skipped(chain, counter)
    if gap > max_jump:
        raise SkippedTooFarError(gap=gap, limit=max_jump)
    if gap:
        key, skipped = skip(key, skipped, next_counter, counter)
    seed, next_key = step(key)
    return seed, make(ReceivingChain, (number, ratchet_key, next_key, counter + 1, skipped))


def _take_skipped(chain: ReceivingChain, counter: int) -> tuple[MessageSeed, ReceivingChain]:
    if counter not in chain.skipped:
        raise DuplicateMessageError(counter=counter, chain_index=chain.next_counter)
    skipped = dict(chain.skipped)
    return skipped.pop(counter), chain._replace(skipped=skipped)


def skip(
    key: ChainKey, skipped: Mapping[int, MessageSeed], start: int, stop: int
) -> tuple[ChainKey, Mapping[int, MessageSeed]]:
    """Walk a chain from `start` to `stop`, keeping the newest `MAX_SKIPPED_KEYS` seeds of old and new ones.

    Spec:
        Double Ratchet rev. 4, "Decrypting messages", ``SkipMessageKeys``; "Deletion of skipped message keys" for
        the limit.
    """
    added: dict[int, MessageSeed] = {}
    for counter in range(start, stop):
        if counter >= stop - MAX_SKIPPED_KEYS:
            added[counter], key = step(key)
        else:
            key = next_chain_key(key)
    surplus = max(0, len(skipped) + len(added) - MAX_SKIPPED_KEYS)
    return key, {**dict(islice(skipped.items(), surplus, None)), **added}
