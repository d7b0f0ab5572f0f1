"""Who a message was for: the members at its place in the conversation, whoever came or went since.

Changes of members have a row each, beside the history: ``y/`` with the conversation and the number. Undone from the
newest on, they lead from the members now to those at any number; a tick that was full stays full when somebody joins.
"""

from __future__ import annotations

from typing import Final

import msgpack

from whisperkit.client.keys import conv_bytes
from whisperkit.client.records import Turn
from whisperkit.ids import ConversationId, UserId
from whisperkit.partitions import Span
from whisperkit.sync.chat import Chat, Membership
from whisperkit.sync.codec import decode_change, encode_change
from whisperkit.sync.frames import RosterChange

__all__ = ["audience_of", "is_let_in", "note_change", "note_members", "what_changed"]

# Changes of a mega group that are looked through for one user.
MAX_LOOKED_AT: Final = 10_000

_CHANGES: Final = b"y/"
# Behind every number that a conversation will ever give.
_LAST: Final = b"\xf0"


def what_changed(asked: RosterChange, before: Membership | None) -> RosterChange:
    """What of a change that this device posted changed anything: others are told that by the server.

    Undoing more would take a member who was added again out of the audience of all before, and move their ticks back.

    Args:
        asked: What was posted.
        before: Who was in, as far as this device knows; `None`: nobody, or not this user.
    """
    if before is None or not before.is_whole:
        return asked
    members = frozenset(before.members)
    return RosterChange(
        tuple(user for user in asked.added if user not in members),
        tuple(user for user in asked.removed if user in members),
    )


def note_change(turn: Turn, conv: ConversationId, seq: int, change: RosterChange) -> None:
    """Write down a change of members."""
    turn.put([(_key(conv, seq), encode_change(change))])


def note_members(turn: Turn, conv: ConversationId, members: tuple[UserId, ...]) -> None:
    """Write down who was in when this user left: from then on the mirror does not say any more."""
    turn.put([(_CHANGES + conv_bytes(conv) + _LAST, msgpack.packb(members))])


async def audience_of(turn: Turn, chat: Chat, seq: int) -> frozenset[UserId]:
    """Who got a message, as far as this device knows; of a mega group nobody is known."""
    members: set[UserId] = set()
    if chat.membership is not None:
        members.update(chat.membership.members)
    else:
        stored = await turn.get(_CHANGES + conv_bytes(chat.conv) + _LAST)
        members.update(map(UserId, msgpack.unpackb(stored) if stored is not None else ()))
    later = Span(_key(chat.conv, seq + 1), _CHANGES + conv_bytes(chat.conv) + _LAST)
    rows = await turn.load([later])
    for key in sorted((key for key in rows if later.start <= key < later.stop), reverse=True):
        change = decode_change(rows[key])
        members = (members - set(change.added)) | set(change.removed)
    return frozenset(members)


async def is_let_in(turn: Turn, chat: Chat, user: UserId) -> bool:
    """Whether a user may be given this device's key to a group.

    A mega group lists nobody, and most of its members came before this device. There everybody counts as one who was
    not seen leaving: who asks has named a message, and only the server and its members know the names.
    """
    if chat.membership is None:
        return False
    if chat.membership.is_whole and not chat.is_pulled:
        return user in chat.membership.members
    for _, value in await turn.last(Span(_key(chat.conv, 0), _key(chat.conv, (1 << 63) - 1)), limit=MAX_LOOKED_AT):
        change = decode_change(value)
        if user in change.removed or user in change.added:
            return user in change.added
    return True


def _key(conv: ConversationId, seq: int) -> bytes:
    return _CHANGES + conv_bytes(conv) + seq.to_bytes(8, "big")
