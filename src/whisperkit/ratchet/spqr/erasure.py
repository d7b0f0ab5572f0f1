"""The erasure code: an object of n chunks is sent as a stream of chunks, any n of which restore it.

The words at the same place in all chunks of an object are the values, at the points 0 to n - 1, of a polynomial
of degree below n. A chunk with a higher number holds the values at that point. The first n chunks are thus
the object itself, and a receiver that lost nothing has nothing to compute.

What goes beyond the object is found in one of two ways: by interpolation, which needs no preparation, for the
first few; then by a transform, which makes 64 at a time (`transform`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from whisperkit._named_tuples import make
from whisperkit.ratchet.spqr.field import combine, lagrange_weights, redundant_selections, selections
from whisperkit.ratchet.spqr.transform import BLOCK_CHUNKS, PLACES, Coefficients, block, coefficients
from whisperkit.ratchet.spqr.wire import CHUNK_BYTES

__all__ = ["MAX_CHUNKS", "NOTHING", "Collected", "Encoder", "add", "encoder_for", "restore"]

MAX_CHUNKS: Final = 1 << 16

# How many redundant chunks are interpolated one by one. A little loss needs no more than these; a long run is worth
# the half of a millisecond that the transform takes to prepare.
_INTERPOLATED: Final = 8


class Encoder:
    """The chunks of one object.

    Derived data, all of it from an object that goes over the wire: it is shared between states and never stored.
    What it remembers changes how long a chunk takes and nothing else.

    Args:
        message: The object, at most 64 whole chunks.
    """

    __slots__ = ("_block", "_coefficients", "_count", "_message")

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._count = len(message) // CHUNK_BYTES
        self._coefficients: Coefficients | None = None
        self._block = (-1, b"")  # replaced as a whole: threads may share an encoder

    def chunk(self, index: int) -> bytes:
        """Chunk number `index`, 0 to 65,535."""
        place = index % BLOCK_CHUNKS
        base, chunks = self._block
        if index - place == base:
            return chunks[PLACES[place] : PLACES[place] + CHUNK_BYTES]
        if index < self._count:
            return self._message[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]
        if index < self._count + _INTERPOLATED:
            rows = [int.from_bytes(chunk, "big") for chunk in _split(self._message)]
            return combine(rows, redundant_selections(self._count, index)).to_bytes(CHUNK_BYTES, "big")
        if self._coefficients is None:
            self._coefficients = coefficients(_split(self._message))
        chunks = block(self._coefficients, index - place)
        self._block = (index - place, chunks)
        return chunks[PLACES[place] : PLACES[place] + CHUNK_BYTES]


@lru_cache(maxsize=256)
def encoder_for(message: bytes) -> Encoder:
    """The encoder of an object; the same one again if it was asked for lately, as after each load from a store."""
    return Encoder(message)


class Collected(NamedTuple):
    """The chunks of one object that have come so far.

    Attributes:
        indices: Their numbers, in order of arrival; no two are equal.
        data: The chunks, joined.
    """

    indices: tuple[int, ...] = ()
    data: bytes = b""


NOTHING: Final = Collected()


def add(collected: Collected, index: int, chunk: bytes) -> Collected:
    """Take in a chunk; one that is there already changes nothing."""
    if index in collected.indices:
        return collected
    return make(Collected, ((*collected.indices, index), collected.data + chunk))


def restore(collected: Collected) -> bytes:
    """The object, from as many chunks as it has, whichever they are."""
    indices, data = collected
    chunks = dict(zip(indices, _split(data), strict=True))
    missing = [index for index in range(len(indices)) if index not in chunks]
    if missing:
        rows = [int.from_bytes(chunk, "big") for chunk in chunks.values()]
        for index, weights in zip(missing, lagrange_weights(indices, missing), strict=True):
            chunks[index] = combine(rows, selections(weights)).to_bytes(CHUNK_BYTES, "big")
    return b"".join(chunks[index] for index in range(len(indices)))


def _split(message: bytes) -> list[bytes]:
    return [message[start : start + CHUNK_BYTES] for start in range(0, len(message), CHUNK_BYTES)]
