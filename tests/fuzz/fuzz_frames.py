"""Throw random and damaged bytes at every decoder of the wire, for as long as you like.

    python tests/fuzz/fuzz_frames.py --inputs 1000000 --seed 1

Each input must be decoded, or refused with a `PeerError`; what is decoded must survive being written and read again.
An input that does anything else is printed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from whisperkit.errors import PeerError
from whisperkit.sync import codec
from whisperkit.sync.connection import ClientConnection, ServerConnection
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import Direction
from whisperkit.testing.samples import mutated, sample_frame

Decoder = Callable[[codec.Message], object]


def main() -> int:
    """Run, and say what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="how many inputs")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same inputs")
    options = parser.parse_args()
    outcomes: Counter[str] = Counter()
    for data in inputs(options.inputs, seed=options.seed):
        for decoder in DECODERS:
            try:
                outcome = verdict(decoder, data)
            except Exception as error:  # anything else is what we are looking for
                sys.stdout.write(f"FAIL {decoder.__name__} {data!r}: {type(error).__name__}: {error}\n")
                return 1
            outcomes[outcome] += 1
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items()))
    sys.stdout.write(f"{options.inputs:,} inputs, {len(DECODERS)} decoders, seed {options.seed}: {counts}\n")
    return 0


def inputs(count: int, *, seed: int) -> Iterator[codec.Message]:
    """Make inputs: bytes at random, damaged frames, frames put together, in both forms."""
    rng = random.Random(seed)
    for _ in range(count):
        frames = [sample_frame(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
        match rng.randrange(8):
            case 0:
                yield rng.randbytes(rng.randrange(64))
            case 1:
                yield bytes((0x90 | rng.randrange(16), rng.randrange(128))) + rng.randbytes(rng.randrange(64))
            case 2:
                yield codec.encode_json(frames)[0]
            case 3:
                yield mutated(codec.encode_json(frames)[0].encode(), rng).decode(errors="surrogateescape")
            case 4:
                yield b"[" + mutated(codec.encode_json(frames)[0].encode(), rng)
            case 5:
                yield codec.encode_many(frames)[0]
            case _:
                yield mutated(codec.encode_many(frames)[0], rng)


def verdict(decoder: Decoder, data: codec.Message) -> str:
    """Decode one input."""
    try:
        decoder(data)
    except PeerError:
        return "refused"
    return "decoded"


def decode_frames(data: codec.Message) -> None:
    """Both directions; what is read is written and read again."""
    found = codec.decode(data, direction=Direction.BOTH)
    (packed,) = codec.encode_many(found)
    assert codec.decode(packed, direction=Direction.BOTH) == found
    (text,) = codec.encode_json(found)
    assert codec.decode(text, direction=Direction.BOTH) == found


def receive_as_server(data: codec.Message) -> None:
    """A server that waits for HELLO."""
    server = ServerConnection()
    server.receive(data)


def receive_as_client(data: codec.Message) -> None:
    """A client that waits for CHALLENGE."""
    ClientConnection().receive(data)


def decode_change(data: codec.Message) -> None:
    """The inner part of a ROSTER entry."""
    codec.decode_change(data if isinstance(data, bytes) else data.encode(errors="surrogateescape"))


def decode_item(data: codec.Message) -> None:
    """The state that comes with it."""
    codec.decode_item(data if isinstance(data, bytes) else data.encode(errors="surrogateescape"))


def parse_cursor(data: codec.Message) -> None:
    """The text form of a cursor."""
    Cursor.parse(data if isinstance(data, str) else data.decode("latin-1"))


DECODERS: Final[tuple[Decoder, ...]] = (
    decode_frames,
    receive_as_server,
    receive_as_client,
    decode_change,
    decode_item,
    parse_cursor,
)

if __name__ == "__main__":
    sys.exit(main())
