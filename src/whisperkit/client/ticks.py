"""Marks of others, as this device last heard them: registers that only rise, one row for each conversation."""

from __future__ import annotations

import msgpack

from whisperkit.client.records import Turn
from whisperkit.ids import ConversationId, UserId
from whisperkit.receipts import MarkKind, Marks, mark_name
from whisperkit.sync import frames

__all__ = ["load_marks", "raise_marks"]

_KINDS = {frames.MarkKind.DELIVERED: MarkKind.DELIVERED, frames.MarkKind.READ: MarkKind.READ}


def _key(conv: ConversationId) -> bytes:
    return b"t/" + conv.encode()


async def load_marks(turn: Turn, conv: ConversationId) -> Marks:
    """What is known of a conversation."""
    stored = await turn.get(_key(conv))
    found: dict[str, int] = {} if stored is None else msgpack.unpackb(stored)
    return found


async def raise_marks(turn: Turn, conv: ConversationId, user: UserId, kind: frames.MarkKind, upto: int) -> bool:
    """Raise a mark; false if it was there already."""
    marks = dict(await load_marks(turn, conv))
    name = mark_name(_KINDS[kind], user)
    if marks.get(name, 0) >= upto:
        return False
    marks[name] = upto
    turn.put([(_key(conv), msgpack.packb(marks))])
    return True
