"""The ratchet: `send` makes the message and key of one message, `receive` takes in one that came.

A state is a frozen value and both return the next one. The caller keeps it only when the message as a whole
has proved good, so a forged message, whose agreement part nobody has authenticated yet, leaves no trace.

Not spoken: versions above 1, which no sender has, and the index 0 of senders that might have fallen back to no
post-quantum ratchet at all. The reference accepts the latter and then uses no key; refusing takes that away.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from whisperkit._named_tuples import make
from whisperkit.errors import PeerError
from whisperkit.ratchet.curve import RandomBytes
from whisperkit.ratchet.redaction import redacted
from whisperkit.ratchet.spqr import agreement as agreements
from whisperkit.ratchet.spqr import chain as chains
from whisperkit.ratchet.spqr import wire
from whisperkit.ratchet.spqr.agreement import SHAPES, Agreement, State
from whisperkit.ratchet.spqr.chain import MAX_JUMP, EpochChain
from whisperkit.ratchet.spqr.derivation import MessageKey
from whisperkit.ratchet.spqr.erasure import MAX_CHUNKS, NOTHING, Collected, encoder_for
from whisperkit.ratchet.spqr.kem import ML_KEM_768, Kem
from whisperkit.ratchet.spqr.wire import MessageType, encode_varint

__all__ = ["Received", "Sent", "SpqrState", "initial_state", "jump", "receive", "send"]


class SpqrState(NamedTuple):
    """All of the ratchet of one session.

    Attributes:
        agreement: Changes five times an epoch.
        chunks_sent: How many chunks of the present object were sent, modulo 65,536.
        collected: The chunks that came of the other side's.
        chain: Changes with each message.
    """

    agreement: Agreement
    chunks_sent: int
    collected: Collected
    chain: EpochChain

    @property
    def state(self) -> State:
        """Where the agreement is."""
        return self.agreement.state

    def __repr__(self) -> str:
        return redacted(self)


class Sent(NamedTuple):
    """A message to send.

    Attributes:
        state: The state after it.
        message: Goes along with the encrypted message: 4 to 52 bytes.
        key: Is mixed into the key of that message: 32 bytes.
    """

    state: SpqrState
    message: bytes
    key: MessageKey

    def __repr__(self) -> str:
        return redacted(self)


class Received(NamedTuple):
    """What a message gave.

    Attributes:
        state: The state after it, to be kept only if the encrypted message that it came with is good.
        key: Is mixed into the key of that message: 32 bytes.
    """

    state: SpqrState
    key: MessageKey

    def __repr__(self) -> str:
        return redacted(self)


def initial_state(auth_key: bytes, *, is_initiator: bool) -> SpqrState:
    """Begin, after a handshake.

    Args:
        auth_key: From the handshake, 32 bytes.
        is_initiator: Whether this side began the session.
    """
    agreement = agreements.start(auth_key, is_initiator=is_initiator)
    return SpqrState(agreement, 0, NOTHING, chains.start(auth_key, is_initiator=is_initiator))


def send(state: SpqrState, *, random_bytes: RandomBytes, kem: Kem = ML_KEM_768) -> Sent:
    """Make a message.

    Args:
        state: The state before.
        random_bytes: Asked for 64 bytes when a key pair is due and for 32 when an encapsulation is.
        kem: What makes the key pair.

    Raises:
        UsageError: Four thousand million messages were sent in this epoch.
    """
    before, chunks_sent, collected, chain = state
    agreement, secret = agreements.send(before, random_bytes=random_bytes, kem=kem)
    if agreement is not before:
        chunks_sent = 0
    if secret is not None:
        chain = chains.add_epoch(chain, secret)
    chain, index, key = chains.send_key(chain, agreement.epoch - 1)
    message, chunks_sent = _message(agreement, index, chunks_sent)
    return make(Sent, (make(SpqrState, (agreement, chunks_sent, collected, chain)), message, key))


def receive(state: SpqrState, message: bytes, *, max_jump: int | None = MAX_JUMP, kem: Kem = ML_KEM_768) -> Received:
    """Take in a message.

    Args:
        state: The state before.
        message: As it came; nothing of it is trusted.
        max_jump: How far it may be ahead of its chain; `None` for no limit, in a session with oneself.
        kem: What recovers the secret of a ciphertext.

    Raises:
        UnsupportedVersionError: It is of another version than 1, or empty.
        SkippedTooFarError: It is too far ahead.
        AuthenticationError: It completes a header or a ciphertext that is not the peer's.
        InvalidMessageError: It is not of its form, its key was used or given up, or it has no place in this state.
    """
    before, chunks_sent, collected, chain = state
    parsed = wire.decode(message)
    agreement, collected, secret = agreements.receive(before, collected, parsed, kem=kem)
    if secret is not None:
        chain = chains.add_epoch(chain, secret)
    chain, key = chains.receive_key(chain, parsed.epoch - 1, parsed.number, max_jump=max_jump)
    if agreement is not before and agreement.carried != before.carried:
        chunks_sent = 0
    return make(Received, (make(SpqrState, (agreement, chunks_sent, collected, chain)), key))


def jump(state: SpqrState, message: bytes) -> int:
    """How many keys `receive` derives for a message, unless that is beyond its limit; 0 if it is not of its form."""
    try:
        parsed = wire.decode(message)
    except PeerError:
        return 0
    return chains.jump(state.chain, parsed.epoch - 1, parsed.number)


def _message(agreement: Agreement, index: int, chunks_sent: int) -> tuple[bytes, int]:
    """The bytes of a message, and the number of chunks sent after it."""
    head = wire.opening(agreement.epoch) + encode_varint(index) + _TYPE_BYTES[agreement.state]
    carried = agreement.carried
    if carried is None:
        return head, chunks_sent
    message = head + encode_varint(chunks_sent) + encoder_for(carried).chunk(chunks_sent)
    return message, (chunks_sent + 1) % MAX_CHUNKS


# Those states that send no type are left by sending.
_TYPE_BYTES: Final = tuple((SHAPES[state].sends or MessageType.NONE).to_bytes() for state in State)
