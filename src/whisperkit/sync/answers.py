"""What the rules of a conversation answer: plain values, because one turn of a gateway serves many peers.

Two of them with equal fields are equal, as all NamedTuples are, and one without fields is false: look at the type.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from whisperkit.ids import ConversationSeq
from whisperkit.strategy import Strategy
from whisperkit.sync.rows import PostRow
from whisperkit.sync.window import SendFirst, StaleOutbox

__all__ = [
    "Fenced",
    "ModeAnswer",
    "NotMember",
    "PostAnswer",
    "Posted",
    "Raised",
    "Refusal",
    "Repeat",
    "RosterAnswer",
    "RosterMoved",
    "Switched",
    "Unchanged",
    "Unfinished",
    "Voided",
]


class Posted(NamedTuple):
    """It has its number now."""

    seq: ConversationSeq
    row: PostRow


class Repeat(NamedTuple):
    """It has its number already; a VOID came too late."""

    seq: ConversationSeq


class Voided(NamedTuple):
    """It was given up: its number is taken, and it will never be posted."""


class Fenced(NamedTuple):
    """The gateway was taken for dead: it goes on under an incarnation above this one, and repeats."""

    above: int


class RosterMoved(NamedTuple):
    """The members changed: catch up to this version, encrypt afresh, send under the same number and id."""

    roster_seq: ConversationSeq


class NotMember(NamedTuple):
    """The sender's user is not a member, or there is no such conversation: give up with a VOID."""


class Unchanged(NamedTuple):
    """There was nothing to do."""


class Switched(NamedTuple):
    """The next row goes by this strategy; no row had to say so."""

    strategy: Strategy


class Unfinished(NamedTuple):
    """A strategy for fewer members begins only when all rows are finished: finish, then ask again."""

    fanned_out: ConversationSeq


class Raised(NamedTuple):
    """All rows up to here are finished."""

    fanned_out: ConversationSeq


Refusal: TypeAlias = Fenced | StaleOutbox | SendFirst | RosterMoved | NotMember
PostAnswer: TypeAlias = Posted | Repeat | Voided | Refusal
RosterAnswer: TypeAlias = Posted | Unchanged | Fenced
ModeAnswer: TypeAlias = Posted | Switched | Unchanged | Unfinished | Fenced
