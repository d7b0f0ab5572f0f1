"""What a gateway noted before it posted, and the list of gateways, so that others can finish it should one die.

One partition for each gateway name. Its head holds the newest incarnation; a row ``n/<incarnation><conversation>``
says "I may have posts in this conversation that are not finished". A note is in the store before, or in the same
commit as, the post; it goes when nothing of the conversation is unfinished. Who finds that a gateway's lease is not
there adopts its notes: fence, finish, settle (DESIGN, "Repair"; model m01).

A store of partitions cannot list them, and leases are ephemeral, so one more partition lists the gateways that may have
left notes: a row ``g/<gateway>`` with the newest incarnation that began. One thing holds always, in whatever order
commits come: **who has a note is listed, under its incarnation or a later one**. An incarnation is listed before it
notes anything. It is taken off the list only when it has *ended*: the head of its notes says so, since a commit that
found no note of it. A zombie that lives on is refused its next note, and goes on as a new incarnation, which lists
itself first. And it is taken off only if no later one was listed meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from whisperkit.ids import ConversationId, GatewayId, Owner
from whisperkit.packing import pack, unpack
from whisperkit.partitions import Partition, Row, Span, Step
from whisperkit.service.working_set import Codec
from whisperkit.sync.conversation import Fenced

__all__ = [
    "GATEWAYS",
    "LISTED",
    "LISTED_KEYS",
    "OWNERS",
    "Notes",
    "begin",
    "delist",
    "end",
    "enlist",
    "listed_key",
    "listed_owner",
    "note",
    "note_span",
    "owner_of_note",
    "partition",
    "settle",
]

GATEWAYS: Final[Partition] = Partition("gateways")
"""Where the list of gateways is. Written when an incarnation begins, and when a dead one was adopted."""

LISTED_KEYS: Final = b"g/"


class Notes(NamedTuple):
    """The head of a gateway's notes.

    Attributes:
        incarnation: The newest life of the gateway; 0 before the first.
        ended: Lives up to this one note nothing any more: they were found gone, and all they noted was adopted.
    """

    incarnation: int = 0
    ended: int = 0


def partition(gateway: GatewayId) -> Partition:
    """Where a gateway's notes are."""
    return Partition(f"owner/{gateway}")


def _encode(notes: Notes) -> bytes:
    return pack(*notes)


def _decode(data: bytes) -> Notes:
    return Notes(*unpack(data, kind="owner", shape=(int, int))) if data else Notes()


OWNERS: Final = Codec(_decode, _encode)


def _decode_nothing(_data: bytes) -> None:
    """The list is all rows."""


def _encode_nothing(_state: None) -> bytes:
    return b""


LISTED: Final = Codec(_decode_nothing, _encode_nothing)


def begin(notes: Notes, *, at_least: int) -> Step[int, Notes]:
    """Open a new incarnation above all earlier ones, and at least `at_least`. The answer is its number.

    Applied again with the same number it opens the next: an incarnation may be skipped, never shared.
    """
    incarnation = max(at_least, notes.incarnation + 1)
    return Step(incarnation, notes._replace(incarnation=incarnation))


def note(notes: Notes, owner: Owner, conversation: ConversationId) -> Step[Fenced | None, Notes]:
    """Say that a conversation may have unfinished posts of this owner. `Fenced`: it has ended, nobody would look."""
    if owner.incarnation <= notes.ended:
        return Step(Fenced(notes.ended), notes)
    return Step(None, notes, put=(Row(_key(owner.incarnation, conversation), b""),))


def settle(notes: Notes, owner: Owner, conversation: ConversationId) -> Step[None, Notes]:
    """Take a note away: nothing of the conversation is unfinished, and this owner can post nothing any more."""
    return Step(None, notes, delete=(_key(owner.incarnation, conversation),))


def end(notes: Notes, owner: Owner, left: Collection[Row]) -> Step[bool, Notes]:
    """End an incarnation and all before it, unless some of their notes are `left`. The answer: whether it has ended."""
    if left:
        return Step(False, notes)
    if owner.incarnation <= notes.ended:
        return Step(True, notes)
    return Step(True, notes._replace(ended=owner.incarnation))


def note_span(*, below: int) -> Span:
    """The notes of all incarnations below one."""
    return Span(b"n/", b"n/" + below.to_bytes(8, "big"))


def owner_of_note(gateway: GatewayId, key: bytes) -> tuple[Owner, ConversationId]:
    """Read the key of a note."""
    return Owner(gateway, int.from_bytes(key[2:10], "big")), ConversationId(key[10:].decode())


def _key(incarnation: int, conversation: ConversationId) -> bytes:
    return b"n/" + incarnation.to_bytes(8, "big") + conversation.encode()


# ---- the list of gateways -------------------------------------------------------------------------------------------


def listed_key(gateway: GatewayId) -> bytes:
    """The key of a gateway's row in the list."""
    return LISTED_KEYS + gateway.encode()


def listed_owner(row: Row) -> Owner:
    """Read a row of the list."""
    return Owner(GatewayId(row.key.removeprefix(LISTED_KEYS).decode()), int.from_bytes(row.value, "big"))


def enlist(owner: Owner, there: bytes | None) -> Step[None, None]:
    """List an incarnation, unless a later one of its gateway is listed. `there` is the gateway's row."""
    if there is not None and int.from_bytes(there, "big") >= owner.incarnation:
        return Step(None, None)
    return Step(None, None, put=(Row(listed_key(owner.gateway), owner.incarnation.to_bytes(8, "big")),))


def delist(owner: Owner, there: bytes | None) -> Step[None, None]:
    """Take an incarnation that has ended off the list, unless a later one of its gateway was listed meanwhile."""
    if there is None or int.from_bytes(there, "big") > owner.incarnation:
        return Step(None, None)
    return Step(None, None, delete=(listed_key(owner.gateway),))
