"""What a gateway noted before it posted, so that others can finish it should the gateway die.

One partition for each gateway name. Its head holds the newest incarnation; a row ``n/<incarnation><conversation>``
says "I may have posts in this conversation that are not finished". A note is in the store before, or in the same
commit as, the post; it goes when nothing of the conversation is unfinished. Who finds that a gateway's lease has
lapsed adopts its notes: fence, finish, settle (DESIGN, "Repair"; model m01).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgpack

from whisperkit.errors import CorruptStateError
from whisperkit.ids import ConversationId, GatewayId, Owner
from whisperkit.partitions import Partition, Row, Span, Step
from whisperkit.service.working_set import Codec

__all__ = ["OWNERS", "Notes", "begin", "note", "note_span", "owner_of_note", "partition", "settle"]

_FORMAT: Final = 1


class Notes(NamedTuple):
    """The head of a gateway's notes.

    Attributes:
        incarnation: The newest life of the gateway; 0 before the first.
    """

    incarnation: int = 0


def partition(gateway: GatewayId) -> Partition:
    """Where a gateway's notes are."""
    return Partition(f"owner/{gateway}")


def _encode(notes: Notes) -> bytes:
    return bytes([_FORMAT]) + msgpack.packb(notes.incarnation)


def _decode(data: bytes) -> Notes:
    if not data:
        return Notes()
    try:
        incarnation = msgpack.unpackb(data[1:])
    except ValueError as error:
        raise CorruptStateError(kind="owner", reason="not msgpack") from error
    if data[0] != _FORMAT or not isinstance(incarnation, int):
        raise CorruptStateError(kind="owner", reason=f"format {data[0]}")
    return Notes(incarnation)


OWNERS: Final = Codec(_decode, _encode)


def begin(notes: Notes, *, at_least: int) -> Step[int, Notes]:
    """Open a new incarnation above all earlier ones, and at least `at_least`. The answer is its number.

    Applied again with the same number it opens the next: an incarnation may be skipped, never shared.
    """
    incarnation = max(at_least, notes.incarnation + 1)
    return Step(incarnation, Notes(incarnation))


def note(notes: Notes, owner: Owner, conversation: ConversationId) -> Step[None, Notes]:
    """Say that a conversation may have unfinished posts of this owner."""
    return Step(None, notes, put=(Row(_key(owner.incarnation, conversation), b""),))


def settle(notes: Notes, owner: Owner, conversation: ConversationId) -> Step[None, Notes]:
    """Take a note away: nothing of the conversation is unfinished, and this owner can post nothing any more."""
    return Step(None, notes, delete=(_key(owner.incarnation, conversation),))


def note_span(*, below: int) -> Span:
    """The notes of all incarnations below one."""
    return Span(b"n/", b"n/" + below.to_bytes(8, "big"))


def owner_of_note(gateway: GatewayId, key: bytes) -> tuple[Owner, ConversationId]:
    """Read the key of a note."""
    return Owner(gateway, int.from_bytes(key[2:10], "big")), ConversationId(key[10:].decode())


def _key(incarnation: int, conversation: ConversationId) -> bytes:
    return b"n/" + incarnation.to_bytes(8, "big") + conversation.encode()
