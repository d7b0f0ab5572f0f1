"""The erasure code: an object of n chunks is sent as a stream of chunks, any n of which restore it.

The words at the same place in all chunks of an object are the values, at the points 0 to n - 1, of a polynomial
of degree below n. A chunk with a higher number holds the values at that point. The first n chunks are thus
the object itself, and a receiver that lost nothing has nothing to compute.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from whisperkit.ratchet.spqr.field import lagrange_weights, multiply
from whisperkit.ratchet.spqr.wire import CHUNK_BYTES

__all__ = ["MAX_CHUNKS", "NOTHING", "Collected", "add", "chunk_at", "restore"]

MAX_CHUNKS: Final = 1 << 16

_WORDS: Final = Struct(f">{CHUNK_BYTES // 2}H")


class Collected(NamedTuple):
    """The chunks of one object that have come so far.

    Attributes:
        indices: Their numbers, in order of arrival; no two are equal.
        data: The chunks, joined.
    """

    indices: tuple[int, ...] = ()
    data: bytes = b""


NOTHING: Final = Collected()


def chunk_at(message: bytes, index: int) -> bytes:
    """Chunk number `index` of an object of whole chunks."""
    own = message[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]
    return own or _value(range(len(message) // CHUNK_BYTES), message, index)


def add(collected: Collected, index: int, chunk: bytes) -> Collected:
    """Take in a chunk; one that is there already changes nothing."""
    if index in collected.indices:
        return collected
    return Collected((*collected.indices, index), collected.data + chunk)


def restore(collected: Collected) -> bytes:
    """The object, from as many chunks as it has, whichever they are."""
    indices, data = collected
    places = {index: place * CHUNK_BYTES for place, index in enumerate(indices)}
    return b"".join(
        data[places[index] : places[index] + CHUNK_BYTES] if index in places else _value(indices, data, index)
        for index in range(len(indices))
    )


def _value(points: tuple[int, ...] | range, data: bytes, at: int) -> bytes:
    """The chunk at one point, from the chunks at others."""
    out = [0] * (CHUNK_BYTES // 2)
    for weight, words in zip(lagrange_weights(points, at), _WORDS.iter_unpack(data), strict=True):
        out = [value ^ multiply(weight, word) for value, word in zip(out, words, strict=True)]
    return _WORDS.pack(*out)
