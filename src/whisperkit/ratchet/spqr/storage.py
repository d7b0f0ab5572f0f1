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

import struct
from collections.abc import Callable, Mapping
from struct import Struct
from typing import Final

from whisperkit._named_tuples import make
from whisperkit.errors import CorruptStateError
from whisperkit.ratchet.spqr.agreement import SHAPES, TRANSITIONS, Agreement, State
from whisperkit.ratchet.spqr.authenticator import MAC_BYTES, Authenticator
from whisperkit.ratchet.spqr.chain import MAX_SKIPPED_KEYS, NO_KEYS, EpochChain, ReceivingChain, SendingChain
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
_STATES: Final = tuple(State)
_HAS_SECRET: Final = tuple(SHAPES[state].has_secret for state in State)
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

# For each state its objects, of which those that it does not hold have no bytes; for each number of chunks that
# number and their indices.
_OBJECTS: Final = tuple(
    Struct("".join(f"{size if name in SHAPES[state].holds else 0}s" for name, size in _SIZES.items()))
    for state in State
)
_INDICES: Final = tuple(Struct(f">B{count}H") for count in range(max(shape.collects for shape in SHAPES.values())))

# One chain for the epoch last sent in and one for the next; one more for messages that are late.
_MAX_SENDING: Final = 2
MAX_OPEN_EPOCHS: Final = 3

# What a state still lacks one chunk of, it has all others of. Where chunks lead to another state, it has none.
_MAX_COLLECTED: Final = tuple(
    SHAPES[state].collects - 1 if state in (to for (at, _), to in TRANSITIONS.items() if at is state) else 0
    for state in State
)
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
    agreement, chunks_sent, (indices, chunks), chain = state
    code, epoch, (mac_root, mac_key), *objects = agreement
    _, root, is_initiator, sending, receiving = chain
    return b"".join(
        (
            _FIXED.pack(_LAYOUT, is_initiator, code, epoch, chunks_sent, mac_root, mac_key),
            *objects,  # in the order of their fields, and those that the state does not hold are empty
            _INDICES[len(indices)].pack(len(indices), *indices),
            chunks,
            root,
            len(sending).to_bytes(),
            *[_SENDING.pack(counter, key) for counter, key in sending],
            len(receiving).to_bytes(),
            *[_RECEIVING.pack(counter, key, len(skipped)) for counter, key, skipped in receiving],
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
    state, counts, position = _read_head(data)
    kept: dict[int, bytes] = {}
    for epoch, count in counts.items():
        start, position = position, position + count * _SKIPPED.size
        kept[epoch] = data[start:position]
    _check_end(data, position)
    return _with_skipped(state, counts, kept.get)


def decode_head(data: bytes, skipped: Callable[[int], bytes | None]) -> SpqrState:
    """Read what `encode_head` wrote.

    Args:
        data: The head.
        skipped: Finds what `encode_skipped` wrote for an epoch; asked only for those that have `skipped_keys`.

    Raises:
        CorruptStateError: They did not write that.
    """
    state, counts, position = _read_head(data)
    _check_end(data, position)
    return _with_skipped(state, counts, skipped) if counts else state


def _read_head(data: bytes) -> tuple[SpqrState, Mapping[int, int], int]:
    """A state without skipped keys, how many there are by epoch, and how far it was read.

    That is further than `data` goes if it is cut short within something that is taken as it is.
    """
    code: int
    try:
        layout, is_initiator, code, epoch, chunks_sent, mac_root, mac_key = _FIXED.unpack_from(data)
        if layout != _LAYOUT or is_initiator > 1 or code >= len(_STATES) or not 1 <= epoch <= _MAX_EPOCH:
            raise _corrupt(f"layout {layout}, flags {is_initiator}, state {code}, epoch {epoch}")
        has_secret, objects = _HAS_SECRET[code], _OBJECTS[code]
        seed, ek, header, signed_header, half, ct1, signed_ct2 = objects.unpack_from(data, _FIXED.size)
        keys = make(Authenticator, (mac_root, mac_key))
        agreement = make(
            Agreement, (_STATES[code], epoch, keys, seed, ek, header, signed_header, half, ct1, signed_ct2)
        )
        collected, position = _read_collected(data, _FIXED.size + objects.size, most=_MAX_COLLECTED[code])
        newest = epoch - 1 + has_secret
        chain, counts, position = _read_chain(data, position, newest, bool(is_initiator), has_secret=has_secret)
    except (struct.error, IndexError):
        raise _corrupt(f"it ends after {len(data)} bytes") from None
    return make(SpqrState, (agreement, chunks_sent, collected, chain)), counts, position


def _read_collected(data: bytes, position: int, *, most: int) -> tuple[Collected, int]:
    count = data[position]
    if not count:
        return NOTHING, position + 1
    if count > most:
        raise _corrupt(f"{count} chunks, at most {most} expected")
    indices: tuple[int, ...] = _INDICES[count].unpack_from(data, position)[1:]
    if len(set(indices)) != count:
        raise _corrupt("a chunk is there twice")
    position += _INDICES[count].size
    end = position + count * CHUNK_BYTES
    return make(Collected, (indices, data[position:end])), end


def _read_chain(
    data: bytes, position: int, newest: int, is_initiator: bool, *, has_secret: bool
) -> tuple[EpochChain, Mapping[int, int], int]:
    root = EpochRoot(data[position : position + 32])
    position += 33
    sending_chains = data[position - 1]
    # The chain last sent in is of the present epoch of the agreement, or of the one before it.
    if not 1 + has_secret <= sending_chains <= _MAX_SENDING:
        raise _corrupt(f"{sending_chains} chains to send in")
    end = position + sending_chains * _SENDING.size
    sending: list[SendingChain] = []
    for at in range(position, end, _SENDING.size):
        counter, key = _SENDING.unpack_from(data, at)
        sending.append(make(SendingChain, (counter, ChainKey(key))))
    receiving_chains = data[end]
    oldest = newest + 1 - receiving_chains
    last_sent = newest + 1 - sending_chains
    if last_sent < 0 or oldest != max(0, last_sent - 1):
        raise _corrupt(f"{sending_chains} chains to send in and {receiving_chains} to receive in, in epoch {newest}")
    position, end = end + 1, end + 1 + receiving_chains * _RECEIVING.size
    receiving: list[ReceivingChain] = []
    counts: dict[int, int] = {}
    for at in range(position, end, _RECEIVING.size):
        counter, key, skipped = _RECEIVING.unpack_from(data, at)
        if skipped:
            counts[oldest + len(receiving)] = skipped
        receiving.append(make(ReceivingChain, (counter, ChainKey(key), NO_KEYS)))
    return make(EpochChain, (newest, root, is_initiator, tuple(sending), tuple(receiving))), counts, end


def _check_end(data: bytes, position: int) -> None:
    if position != len(data):
        raise _corrupt(f"it has {len(data)} bytes, {position} expected")


def _with_skipped(state: SpqrState, counts: Mapping[int, int], skipped: Callable[[int], bytes | None]) -> SpqrState:
    """A state with its skipped keys, which are looked up."""
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
