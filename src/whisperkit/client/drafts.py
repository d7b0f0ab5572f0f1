"""What is still to be encrypted: durable at once, sealed when the devices it is for are known.

A message is a draft from the moment it is written until it is encrypted and numbered in the outbox, which may take
until the next connection. An aside is a draft until the server has it; it is encrypted afresh at each attempt.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

import msgpack

from whisperkit.client.records import Turn
from whisperkit.errors import CorruptStateError, PeerError
from whisperkit.ids import ConversationId, DeviceId, MessageId, UserId
from whisperkit.partitions import Row, prefix
from whisperkit.sync.frames import ASIDES, RosterChange

__all__ = ["DRAFTS", "Draft", "DraftKind", "next_order", "put_draft", "read_draft"]

DRAFTS: Final = prefix(b"q/")
_ORDER: Final = b"n/order"


class DraftKind(IntEnum):
    """What a draft is."""

    MESSAGE = 1
    """Its content is in the history."""
    ASIDE = 2
    """For one device, outside every conversation."""
    ROSTER = 3
    """A change of members."""


class Draft(NamedTuple):
    """Something to be sealed and sent.

    Attributes:
        order: Its place among all drafts.
        kind: What it is.
        conv: Where it goes; `ASIDES` for an aside.
        message_id: Its identity, the same in every attempt.
        to: Of an aside: the device.
        content: Of an aside: what is said, encoded.
        change: Of a ROSTER draft.
        is_fresh: Of an aside: open a new session for it, because the old one may be broken.
    """

    order: int
    kind: DraftKind
    conv: ConversationId
    message_id: MessageId
    to: DeviceId | None = None
    content: bytes = b""
    change: RosterChange | None = None
    is_fresh: bool = False

    @property
    def key(self) -> bytes:
        """The key of its row."""
        return b"q/" + self.order.to_bytes(8, "big")

    def __repr__(self) -> str:
        return f"Draft({self.order}, {self.kind.name}, {self.message_id})"


async def next_order(turn: Turn) -> int:
    """The next place; it rises for ever."""
    stored = await turn.get(_ORDER)
    order = int.from_bytes(stored or b"", "big") + 1
    turn.put([(_ORDER, order.to_bytes(8, "big"))])
    return order


async def put_draft(
    turn: Turn,
    kind: DraftKind,
    message_id: MessageId,
    *,
    conv: ConversationId = ASIDES,
    to: DeviceId | None = None,
    content: bytes = b"",
    change: RosterChange | None = None,
    is_fresh: bool = False,
) -> Draft:
    """Write a draft behind all others."""
    draft = Draft(await next_order(turn), kind, conv, message_id, to, content, change, is_fresh)
    turn.put([(draft.key, msgpack.packb((kind, conv, message_id, to, content, change, is_fresh)))])
    return draft


def read_draft(row: Row) -> Draft:
    """Read a draft.

    Raises:
        CorruptStateError: It is none.
    """
    try:
        kind, conv, message_id, to, content, change, is_fresh = msgpack.unpackb(row.value, use_list=False)
        return Draft(
            int.from_bytes(row.key[2:], "big"),
            DraftKind(kind),
            ConversationId(conv),
            MessageId(message_id),
            None if to is None else DeviceId.parse(to),
            content,
            None if change is None else RosterChange(*(tuple(map(UserId, users)) for users in change)),
            bool(is_fresh),
        )
    except (ValueError, TypeError, PeerError) as error:
        raise CorruptStateError(kind="draft", reason=type(error).__name__) from error
