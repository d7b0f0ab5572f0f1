"""Marks and what they mean: pure functions over the registers of one conversation.

They work on plain marks, as a `MarkStore` gives them, so that a server can answer from its store alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from whisperkit.ids import ConversationId, ConversationSeq, UserId
from whisperkit.receipts.status import MessageStatus
from whisperkit.strategy import Strategy

__all__ = [
    "MarkKind",
    "MarkMoved",
    "Marks",
    "Membership",
    "Received",
    "Tally",
    "audience_of",
    "clamp_read",
    "delivered_by",
    "delivered_upto",
    "mark_name",
    "moves",
    "observers_of",
    "reached",
    "read_by",
    "status_of",
    "tally_of",
]


class MarkKind(StrEnum):
    """The two registers of a user in a conversation; the values are part of stored names."""

    DELIVERED = "delivered"
    READ = "read"


Marks: TypeAlias = Mapping[str, int]
"""The marks of one conversation by name, as a `MarkStore` gives them; names of other things may be among them."""


class MarkMoved(NamedTuple):
    """A register that rises: what to save, and then to publish.

    Attributes:
        user: Whose.
        kind: Which.
        before: Its value until now; 0 if it was never raised.
        upto: Its value from now on, larger.
    """

    user: UserId
    kind: MarkKind
    before: ConversationSeq
    upto: ConversationSeq


class Received(NamedTuple):
    """A row of a conversation that a device has acknowledged."""

    conversation: ConversationId
    seq: ConversationSeq
    sender: UserId


class Membership(NamedTuple):
    """One stay of a user in a conversation.

    Attributes:
        user: Who.
        join: The number of the post that added them; 0 if they were there from the start.
        leave: The number of the post that removed them, which they still get; `None` while they are members.
    """

    user: UserId
    join: int = 0
    leave: int | None = None

    def covers(self, seq: int) -> bool:
        """Whether the user is in the audience of this number."""
        return self.join <= seq and (self.leave is None or seq <= self.leave)


class Tally(NamedTuple):
    """A message in numbers, for groups too large for names: "delivered to 12 of 29".

    Attributes:
        delivered: How many have it.
        read: How many of these have read it.
        audience: Out of how many; the sender is not one of them.
    """

    delivered: int
    read: int
    audience: int


def mark_name(kind: MarkKind, user: UserId) -> str:
    """The name of a register within its conversation, such as ``read/<user>``."""
    return f"{kind.value}/{user}"


def reached(marks: Marks, user: UserId, kind: MarkKind) -> ConversationSeq:
    """How far a user has come. Read implies delivered, even if a crash came between saving the two."""
    read = marks.get(mark_name(MarkKind.READ, user), 0)
    if kind is MarkKind.READ:
        return ConversationSeq(read)
    return ConversationSeq(max(read, marks.get(mark_name(MarkKind.DELIVERED, user), 0)))


def moves(marks: Marks, *, user: UserId, kind: MarkKind, upto: int) -> tuple[MarkMoved, ...]:
    """What a receipt raises: nothing if it is late or doubled; a read receipt also raises delivered, first."""
    kinds = (MarkKind.DELIVERED, MarkKind.READ) if kind is MarkKind.READ else (MarkKind.DELIVERED,)
    found = [MarkMoved(user, each, reached(marks, user, each), ConversationSeq(upto)) for each in kinds]
    return tuple(move for move in found if move.upto > move.before)


def clamp_read(upto: int, *, acked: int | None, head: int) -> ConversationSeq:
    """Cut a device's claim to have read down to what it can have read.

    Args:
        upto: The claim.
        acked: The newest number of this conversation that the device has acknowledged; `None` in a
            conversation that is pulled, where nothing is acknowledged.
        head: The newest number of the conversation.
    """
    return ConversationSeq(max(0, min(upto, head if acked is None else acked, head)))


def delivered_upto(rows: Iterable[Received], *, user: UserId) -> dict[ConversationId, ConversationSeq]:
    """What an acknowledgement says about delivery: the newest row of others in each conversation.

    Raise these marks first and save the acknowledgement then: the other way round, a crash in between
    loses the receipt for good, because nobody looks below an acknowledged cursor again.

    Args:
        rows: Those above the old acknowledged cursor, up to and including the new one.
        user: Whose device acknowledged. Own posts say nothing about what came in (R6).
    """
    newest: dict[ConversationId, ConversationSeq] = {}
    for row in rows:
        if row.sender != user and row.seq > newest.get(row.conversation, 0):
            newest[row.conversation] = row.seq
    return newest


def audience_of(seq: int, members: Iterable[Membership]) -> frozenset[UserId]:
    """Who gets a number: its members then, today's do not matter (R9)."""
    return frozenset(stay.user for stay in members if stay.covers(seq))


def _have(seq: int, kind: MarkKind, sender: UserId, audience: Collection[UserId], marks: Marks) -> frozenset[UserId]:
    return frozenset(user for user in audience if user != sender and reached(marks, user, kind) >= seq)


def delivered_by(seq: int, *, sender: UserId, audience: Collection[UserId], marks: Marks) -> frozenset[UserId]:
    """Who of the audience, less the sender, has the message on a device."""
    return _have(seq, MarkKind.DELIVERED, sender, audience, marks)


def read_by(seq: int, *, sender: UserId, audience: Collection[UserId], marks: Marks) -> frozenset[UserId]:
    """Who of the audience, less the sender, has read the message."""
    return _have(seq, MarkKind.READ, sender, audience, marks)


def tally_of(seq: int, *, sender: UserId, audience: Collection[UserId], marks: Marks) -> Tally:
    """The same in numbers."""
    delivered, read = (len(_have(seq, kind, sender, audience, marks)) for kind in MarkKind)
    return Tally(delivered=delivered, read=read, audience=len(frozenset(audience) - {sender}))


def status_of(seq: int, *, sender: UserId, audience: Collection[UserId], marks: Marks) -> MessageStatus:
    """The tick of a posted message: the minimum over its audience, less its sender.

    A message that nobody else gets stays `SENT`: there is no one whose tick it could show.
    """
    tally = tally_of(seq, sender=sender, audience=audience, marks=marks)
    if not tally.audience or tally.delivered < tally.audience:
        return MessageStatus.SENT
    return MessageStatus.READ if tally.read == tally.audience else MessageStatus.DELIVERED


def observers_of(
    *, mover: UserId, senders: Collection[UserId], members: Collection[UserId], strategy: Strategy
) -> frozenset[UserId]:
    """Whose devices are told when a mark of `mover` rises; an application's privacy rule may take some away (R12).

    The mover's other devices always are, for their badges; of the others both in a conversation of two,
    the senders concerned in a group, and nobody in a mega group.

    Args:
        mover: Whose mark rises.
        senders: Who posted the rows between the old and the new value.
        members: The conversation's members now.
        strategy: The conversation's strategy now.
    """
    if strategy is Strategy.MEGA:
        return frozenset((mover,))
    return frozenset(members if len(members) == 2 else senders) | {mover}
