"""The symmetric half of SPQR version 1: the chains of key epoch 0, without the agreement that starts new epochs.

It holds the place of `whisperkit.ratchet.spqr` behind the same five functions. What it sends is valid on the
wire and says nothing ("None", in epoch 1); what it receives may say anything, of which it takes the index. So
it reads one-way conversations of the official library, and two devices that run it understand each other, but
no post-quantum secret is ever agreed after the handshake.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import msgpack

from whisperkit.errors import CorruptStateError, InvalidMessageError
from whisperkit.ratchet.chains import hkdf
from whisperkit.ratchet.curve import RandomBytes
from whisperkit.ratchet.protobuf import read_varint, write_varint
from whisperkit.ratchet.redaction import redacted

__all__ = ["Received", "Sent", "SpqrState", "decode", "encode", "initial_state", "receive", "send"]

MAX_JUMP: Final = 25_000
MAX_SKIPPED: Final = 2_000

_VERSION: Final = 1
_EPOCH: Final = 1
_TYPE_NONE: Final = b"\x00"
_START: Final = b"Signal PQ Ratchet V1 Chain  Start"  # with two spaces
_NEXT: Final = b"Signal PQ Ratchet V1 Chain Next"


class SpqrState(NamedTuple):
    """Both chains: counter and key of the last message in each, and the keys of messages that were jumped over."""

    sent: int
    sending_key: bytes
    received: int
    receiving_key: bytes
    skipped: Mapping[int, bytes] = MappingProxyType({})

    def __repr__(self) -> str:
        return redacted(self)


class Sent(NamedTuple):
    """A message to send along, and the key that it stands for."""

    state: SpqrState
    message: bytes
    key: bytes | None

    def __repr__(self) -> str:
        return redacted(self)


class Received(NamedTuple):
    """The key that a message stands for."""

    state: SpqrState
    key: bytes | None

    def __repr__(self) -> str:
        return redacted(self)


def initial_state(auth_key: bytes, *, is_initiator: bool) -> SpqrState:
    """Start from the handshake."""
    out = hkdf(auth_key, _START, 96)
    from_initiator, from_responder = out[32:64], out[64:]
    if is_initiator:
        return SpqrState(0, from_initiator, 0, from_responder)
    return SpqrState(0, from_responder, 0, from_initiator)


def send(state: SpqrState, *, random_bytes: RandomBytes) -> Sent:
    """The next message. No randomness is needed without the agreement."""
    index = state.sent + 1
    chain, key = _next(state.sending_key, index)
    message = bytes([_VERSION]) + write_varint(_EPOCH) + write_varint(index) + _TYPE_NONE
    return Sent(state._replace(sent=index, sending_key=chain), message, key)


def receive(state: SpqrState, message: bytes) -> Received:
    """Find the key of a message.

    Raises:
        InvalidMessageError: Of another version or epoch, used before, too old or too far ahead.
    """
    index = _index_of(message)
    if index <= state.received:
        if index not in state.skipped:
            raise InvalidMessageError("post-quantum ratchet error: a key was used or given up")
        rest = {each: key for each, key in state.skipped.items() if each != index}
        return Received(state._replace(skipped=rest), state.skipped[index])
    if index - state.received > MAX_JUMP:
        raise InvalidMessageError("post-quantum ratchet error: a message is too far ahead")
    chain, skipped = state.receiving_key, state.skipped
    added: dict[int, bytes] = {}
    for each in range(state.received + 1, index):
        chain, added[each] = _next(chain, each)
    chain, key = _next(chain, index)
    if added or any(each + MAX_SKIPPED < index for each in skipped):
        skipped = {each: key for each, key in {**skipped, **added}.items() if each + MAX_SKIPPED >= index}
    return Received(SpqrState(state.sent, state.sending_key, index, chain, skipped), key)


def encode(state: SpqrState) -> bytes:
    """Write the state for storage."""
    packed = msgpack.packb([*state[:-1], [*state.skipped.items()]])
    assert packed is not None  # the stubs allow None, which packb never returns
    return packed


def decode(data: bytes) -> SpqrState:
    """Read what `encode` wrote.

    Raises:
        CorruptStateError: It is not of its form.
    """
    try:
        sent, sending_key, received, receiving_key, skipped = msgpack.unpackb(data)
        return SpqrState(int(sent), bytes(sending_key), int(received), bytes(receiving_key), dict(skipped))
    except (ValueError, TypeError) as error:
        raise CorruptStateError(kind="post-quantum ratchet", reason=type(error).__name__) from None


def _next(chain: bytes, index: int) -> tuple[bytes, bytes]:
    out = hkdf(chain, index.to_bytes(4, "big") + _NEXT, 64)
    return out[:32], out[32:]


def _index_of(message: bytes) -> int:
    if message[:1] != bytes([_VERSION]):
        raise InvalidMessageError("post-quantum ratchet error: another version")
    epoch, position = read_varint(message, 1)
    index, _ = read_varint(message, position)
    if epoch != _EPOCH or not 1 <= index < 1 << 32:
        raise InvalidMessageError("post-quantum ratchet error: another epoch")
    return index
