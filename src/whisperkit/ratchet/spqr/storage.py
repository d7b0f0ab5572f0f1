"""How a state is stored.

Two parts. The head is all but the skipped keys: a few KiB whatever happens. Skipped keys are kept by epoch, so
that a store may keep them in rows of their own; `encode` and `decode` have both in one piece.

    head       layout 1, flags 1 (bit 0: initiator), state 1, epoch 8, chunks sent 2, MAC root 32, MAC key 32,
               what the state holds, number of chunks 1, their indices 2 each, the chunks 32 each,
               chain root 32, number of sending chains 1, (counter 4, key 32) each,
               number of receiving chains 1, (counter 4, key 32, number of skipped keys 2) each
    skipped    (index 4, key 32) each, in ascending order

Numbers are big-endian. The objects have fixed sizes, and the newest epoch of the chain follows from the state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Final

from whisperkit.errors import CorruptStateError
from whisperkit.ratchet.spqr.agreement import SHAPES, TRANSITIONS, Agreement, State
from whisperkit.ratchet.spqr.authenticator import MAC_BYTES, Authenticator
from whisperkit.ratchet.spqr.chain import MAX_SKIPPED_KEYS, EpochChain, ReceivingChain, SendingChain
from whisperkit.ratchet.spqr.derivation import ChainKey, EpochRoot, MessageKey
from whisperkit.ratchet.spqr.encapsulation import CT1_BYTES, CT2_BYTES, EK_BYTES, HALF_BYTES, HEADER_BYTES
from whisperkit.ratchet.spqr.erasure import NOTHING, Collected
from whisperkit.ratchet.spqr.kem import SEED_BYTES
from whisperkit.ratchet.spqr.protocol import SpqrState
from whisperkit.ratchet.spqr.wire import CHUNK_BYTES

__all__ = [
    "MAX_ENCODED_BYTES",
    "MAX_HEAD_BYTES",
    "MAX_OPEN_EPOCHS",
    "MAX_SKIPPED_BYTES",
    "decode",
    "decode_head",
    "encode",
    "encode_head",
    "encode_skipped",
    "skipped_keys",
]

_LAYOUT: Final = 1
_FIXED: Final = Struct(">BBBQH32s32s")
_SENDING: Final = Struct(">I32s")
_RECEIVING: Final = Struct(">I32sH")
_SKIPPED: Final = Struct(">I32s")
_KIND: Final = "post-quantum ratchet"

_SIZES: Final = {
    "seed": SEED_BYTES,
    "ek": EK_BYTES,
    "header": HEADER_BYTES,
    "signed_header": HEADER_BYTES + MAC_BYTES,
    "half": HALF_BYTES,
    "ct1": CT1_BYTES,
    "signed_ct2": CT2_BYTES + MAC_BYTES,
}

# One chain for the epoch last sent in and one for the next; one more for messages that are late.
_MAX_SENDING: Final = 2
MAX_OPEN_EPOCHS: Final = 3

# What a state still lacks one chunk of, it has all others of. Where chunks lead to another state, it has none.
_MAX_COLLECTED: Final = {
    state: SHAPES[state].collects - 1 if state in (to for (at, _), to in TRANSITIONS.items() if at is state) else 0
    for state in State
}
_MAX_EPOCH: Final = (1 << 63) - 1

_MAX_OBJECT_BYTES: Final = max(
    sum(_SIZES[name] for name in SHAPES[state].holds) + _MAX_COLLECTED[state] * (2 + CHUNK_BYTES) for state in State
)
_MAX_CHAIN_BYTES: Final = 32 + 1 + _MAX_SENDING * _SENDING.size + 1 + MAX_OPEN_EPOCHS * _RECEIVING.size

MAX_HEAD_BYTES: Final = _FIXED.size + _MAX_OBJECT_BYTES + 1 + _MAX_CHAIN_BYTES
MAX_SKIPPED_BYTES: Final = MAX_SKIPPED_KEYS * _SKIPPED.size
MAX_ENCODED_BYTES: Final = MAX_HEAD_BYTES + MAX_OPEN_EPOCHS * MAX_SKIPPED_BYTES


def encode(state: SpqrState) -> bytes:
    """Write a state in one piece: at most `MAX_ENCODED_BYTES`."""
    return encode_head(state) + b"".join(map(encode_skipped, skipped_keys(state).values()))


def encode_head(state: SpqrState) -> bytes:
    """Write all but the skipped keys: at most `MAX_HEAD_BYTES`."""
    agreement, chunks_sent, (indices, data), chain = state
    return b"".join(
        (
            _FIXED.pack(
                _LAYOUT, chain.is_initiator, agreement.state, agreement.epoch, chunks_sent, *agreement.authenticator
            ),
            *(getattr(agreement, name) for name in SHAPES[agreement.state].holds),
            bytes([len(indices)]),
            *(index.to_bytes(2, "big") for index in indices),
            data,
            chain.root,
            bytes([len(chain.sending)]),
            *(_SENDING.pack(each.counter, each.key) for each in chain.sending),
            bytes([len(chain.receiving)]),
            *(_RECEIVING.pack(each.counter, each.key, len(each.skipped)) for each in chain.receiving),
        )
    )


def skipped_keys(state: SpqrState) -> dict[int, Mapping[int, MessageKey]]:
    """The skipped keys of each epoch that has some, the oldest first.

    A mapping stays the same object until one of its keys is added or taken, so that a store need not write it again.
    """
    chain = state.chain
    first = chain.epoch + 1 - len(chain.receiving)
    return {first + place: each.skipped for place, each in enumerate(chain.receiving) if each.skipped}


def encode_skipped(skipped: Mapping[int, MessageKey]) -> bytes:
    """Write the skipped keys of one epoch: at most `MAX_SKIPPED_BYTES`."""
    return b"".join(_SKIPPED.pack(index, key) for index, key in skipped.items())


def decode(data: bytes) -> SpqrState:
    """Read what `encode` wrote.

    Raises:
        CorruptStateError: It did not write that.
    """
    reader = _Reader(data)
    state, counts = _read_head(reader)
    kept = {epoch: reader.take(count * _SKIPPED.size) for epoch, count in counts.items()}
    reader.finish()
    return _with_skipped(state, counts, kept.get)


def decode_head(data: bytes, skipped: Callable[[int], bytes | None]) -> SpqrState:
    """Read what `encode_head` wrote.

    Args:
        data: The head.
        skipped: Finds what `encode_skipped` wrote for an epoch; asked only for those that have `skipped_keys`.

    Raises:
        CorruptStateError: They did not write that.
    """
    reader = _Reader(data)
    state, counts = _read_head(reader)
    reader.finish()
    return _with_skipped(state, counts, skipped)


class _Reader:
    """Takes one field after the other from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, size: int) -> bytes:
        start, self._position = self._position, self._position + size
        if self._position > len(self._data):
            raise _corrupt(f"it ends after {len(self._data)} bytes, {self._position} expected")
        return self._data[start : self._position]

    def count(self, least: int, most: int) -> int:
        found = self.take(1)[0]
        if not least <= found <= most:
            raise _corrupt(f"{found} entries of a list that has {least} to {most}")
        return found

    def finish(self) -> None:
        if self._position != len(self._data):
            raise _corrupt(f"{len(self._data) - self._position} bytes follow its end")


def _read_head(reader: _Reader) -> tuple[SpqrState, dict[int, int]]:
    """A state without skipped keys, and how many there are by epoch."""
    layout, is_initiator, code, epoch, chunks_sent, root, mac_key = _FIXED.unpack(reader.take(_FIXED.size))
    if layout != _LAYOUT or is_initiator > 1 or code >= len(State) or not 1 <= epoch <= _MAX_EPOCH:
        raise _corrupt(f"layout {layout}, flags {is_initiator}, state {code}, epoch {epoch}")
    state = State(code)
    held = {name: reader.take(_SIZES[name]) for name in SHAPES[state].holds}
    agreement = Agreement(state, epoch, Authenticator(root, mac_key), **held)
    collected = _read_collected(reader, most=_MAX_COLLECTED[state])
    newest = epoch - 1 + SHAPES[state].has_secret
    chain, counts = _read_chain(reader, newest, is_initiator=bool(is_initiator), has_secret=SHAPES[state].has_secret)
    return SpqrState(agreement, chunks_sent, collected, chain), counts


def _read_collected(reader: _Reader, *, most: int) -> Collected:
    count = reader.count(0, most)
    indices = tuple(int.from_bytes(reader.take(2), "big") for _ in range(count))
    if len(set(indices)) != count:
        raise _corrupt("a chunk is there twice")
    return Collected(indices, reader.take(count * CHUNK_BYTES)) if count else NOTHING


def _read_chain(
    reader: _Reader, newest: int, *, is_initiator: bool, has_secret: bool
) -> tuple[EpochChain, dict[int, int]]:
    root = EpochRoot(reader.take(32))
    # The chain last sent in is of the present epoch of the agreement, or of the one before it.
    sending = [_SENDING.unpack(reader.take(_SENDING.size)) for _ in range(reader.count(1 + has_secret, _MAX_SENDING))]
    last_sent = newest + 1 - len(sending)
    first = max(0, last_sent - 1)
    if last_sent < 0 or reader.count(1, MAX_OPEN_EPOCHS) != newest + 1 - first:
        raise _corrupt(f"its chains do not fit its epoch {newest}")
    receiving = [_RECEIVING.unpack(reader.take(_RECEIVING.size)) for _ in range(first, newest + 1)]
    chain = EpochChain(
        newest,
        root,
        is_initiator,
        tuple(SendingChain(counter, ChainKey(key)) for counter, key in sending),
        tuple(ReceivingChain(counter, ChainKey(key)) for counter, key, _ in receiving),
    )
    return chain, {first + place: count for place, (_, _, count) in enumerate(receiving) if count}


def _with_skipped(state: SpqrState, counts: Mapping[int, int], skipped: Callable[[int], bytes | None]) -> SpqrState:
    """A state with its skipped keys, which are looked up."""
    if not counts:
        return state
    chain = state.chain
    first = chain.epoch + 1 - len(chain.receiving)
    receiving = tuple(
        each._replace(skipped=_read_skipped(skipped(epoch) or b"", counts[epoch], each.counter))
        if epoch in counts
        else each
        for epoch, each in enumerate(chain.receiving, first)
    )
    return state._replace(chain=chain._replace(receiving=receiving))


def _read_skipped(data: bytes, count: int, counter: int) -> dict[int, MessageKey]:
    if len(data) != count * _SKIPPED.size or count > MAX_SKIPPED_KEYS:
        raise _corrupt(f"{len(data)} bytes of skipped keys, {count} keys expected, at most {MAX_SKIPPED_KEYS}")
    keys = {index: MessageKey(key) for index, key in _SKIPPED.iter_unpack(data)}
    if list(keys) != sorted(keys) or len(keys) != count or not 0 < min(keys) <= max(keys) < counter:
        raise _corrupt("skipped keys are out of order")
    return keys


def _corrupt(reason: str) -> CorruptStateError:
    return CorruptStateError(kind=_KIND, reason=reason)
