"""Frames at random, for fuzzing and for property tests: made from the same table as the decoder.

Numbers prefer the ends of their range, texts and arrays are short: what breaks a decoder sits at bounds.
"""

from __future__ import annotations

import random
from enum import IntEnum
from typing import Any, Final, assert_never, cast

from whisperkit.ids import ConversationId, DeviceId, InboxSeq, MessageId, UserId
from whisperkit.sync import fields as of
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import FRAMES, Frame, FrameSpec

__all__ = ["mutated", "sample", "sample_frame"]

_MOST_ELEMENTS: Final = 3
_NAMES: Final = ("alice", "bob", "carol", "dave")


def sample_frame(rng: random.Random, spec: FrameSpec | None = None) -> Frame:
    """Make a valid frame, of one line of the table or of any."""
    spec = rng.choice(FRAMES) if spec is None else spec
    values = [sample(field.kind, rng) for field in spec.fields]
    return cast("Frame", spec.type.__new__(spec.type, *values))  # the table says which class belongs to the fields


def sample(kind: of.Kind, rng: random.Random) -> Any:
    """Make a valid value of a kind: which type it has depends on the kind."""
    match kind:
        case of.Number(low, high):
            return rng.choice((low, high, rng.randint(low, high), min(low + rng.randrange(300), high)))
        case of.Flag():
            return rng.random() < 0.5
        case of.Bytes(low, high):
            return rng.randbytes(min(low + rng.choice((0, 0, 1, 40, 300)), high))
        case of.Text(high):
            return "".join(rng.choice('aZ é😀"\\\n') for _ in range(rng.randrange(min(high, 12) + 1)))
        case of.Id():
            return _sample_id(kind, rng)
        case of.MessageIdField():
            return MessageId(rng.randbytes(16))
        case of.CursorField():
            return Cursor(rng.randint(1, of.MAX_NUMBER), InboxSeq(rng.randint(0, of.MAX_NUMBER)), rng.randbytes(8))
        case of.Choice():
            members: type[IntEnum] = kind.members
            return rng.choice(list(members))
        case of.Nullable(inner):
            return None if rng.random() < 0.4 else sample(inner, rng)
        case of.Array(inner, high):
            return tuple(sample(inner, rng) for _ in range(rng.randrange(min(high, _MOST_ELEMENTS) + 1)))
        case of.Map(key, value, high):
            count = rng.randrange(min(high, _MOST_ELEMENTS) + 1)
            return {sample(key, rng): sample(value, rng) for _ in range(count)}
        case of.Record(record, inner_fields):
            return record.__new__(record, *(sample(field.kind, rng) for field in inner_fields))
        case _:
            assert_never(kind)


def _sample_id(kind: of.Id[Any], rng: random.Random) -> UserId | DeviceId | ConversationId:
    user = UserId.named(rng.choice(_NAMES))
    if kind is of.USER:
        return user
    if kind is of.DEVICE:
        return DeviceId(user, rng.randint(1, 127))
    return ConversationId("".join(rng.choice("aZ0_-") for _ in range(rng.randint(1, 48))))


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Damage bytes in one to four places: flip, insert, remove, repeat, cut."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(found) + 1)
        match rng.randrange(6):
            case 0 if at < len(found):
                found[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(found):
                found[at] = rng.randrange(256)
            case 2:
                found[at:at] = rng.randbytes(rng.randint(1, 4))
            case 3:
                del found[at : at + rng.randint(1, 8)]
            case 4:
                found[at:at] = found[at : at + rng.randint(1, 32)]
            case _:
                del found[at:]
    return bytes(found)
