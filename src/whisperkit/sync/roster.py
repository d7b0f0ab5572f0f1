"""Who is in a conversation, at which row: members as intervals over its numbers.

A roster change is a post, and its seq is the version of the roster. A member's row holds all stays,
``[join, leave)``; so the audience of any row can be told whenever the row is finished, whatever changed since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from whisperkit.errors import MalformedFrameError
from whisperkit.ids import ConversationSeq, UserId
from whisperkit.packing import pack, reading, shaped, unpack
from whisperkit.partitions import Row
from whisperkit.sync.frames import MAX_CHANGE_USERS, RosterChange

__all__ = [
    "EMPTY_ROSTER",
    "MAX_STAYS",
    "MEMBERS",
    "Interval",
    "Intervals",
    "Roster",
    "apply_change",
    "audience_of",
    "check_change",
    "decode_intervals",
    "encode_intervals",
    "is_in_audience",
    "is_member_at",
    "member_key",
    "member_of",
    "members_at",
]

# How many stays a member's row keeps once they are finished; somebody who is put in and out all day ends there.
MAX_STAYS: Final = 64

# All rows of members.
MEMBERS: Final = b"m/"


class Interval(NamedTuple):
    """One stay.

    Attributes:
        join: Seq of the row that let the user in.
        leave: Seq of the row that put the user out; `None` while the user is in.
    """

    join: int
    leave: int | None = None


Intervals: TypeAlias = tuple[Interval, ...]
"""The stays of one user, oldest first; empty: never was in."""


def check_change(change: RosterChange) -> None:
    """Look at a change that a peer sent.

    Raises:
        MalformedFrameError: More than `MAX_CHANGE_USERS`, or one of them twice.
    """
    named = len(change.added) + len(change.removed)
    if named > MAX_CHANGE_USERS:
        raise MalformedFrameError(f"the change names {named} users; the limit is {MAX_CHANGE_USERS}", frame="ROSTER")
    if len({*change.added, *change.removed}) != named:
        raise MalformedFrameError("the change names a user twice", frame="ROSTER")


class Roster(NamedTuple):
    """All members at one version.

    Attributes:
        seq: Seq of the ROSTER row that made it; 0 before the first.
        members: Who is in.
    """

    seq: ConversationSeq
    members: frozenset[UserId]

    def after(self, seq: ConversationSeq, change: RosterChange) -> Roster:
        """The roster after one more ROSTER row; unchanged if it is at or above that row already."""
        if seq <= self.seq:
            return self
        return Roster(seq, (self.members | frozenset(change.added)) - frozenset(change.removed))


EMPTY_ROSTER: Final = Roster(ConversationSeq(0), frozenset())


def is_member_at(intervals: Intervals, seq: int) -> bool:
    """Whether the user is in after row `seq`."""
    return any(join <= seq and (leave is None or seq < leave) for join, leave in intervals)


def is_in_audience(intervals: Intervals, seq: int) -> bool:
    """Whether the user gets row `seq`: who is in after it, and who leaves by it, so that they learn of it."""
    return any(join <= seq and (leave is None or seq <= leave) for join, leave in intervals)


def apply_change(
    known: Mapping[UserId, Intervals], change: RosterChange, *, seq: int, finished: int = 0
) -> tuple[RosterChange, tuple[Row, ...]]:
    """Work a change into the members' rows.

    Args:
        known: The stays of all users whom the change names; absent: never was in.
        change: What was asked for.
        seq: The row that carries it.
        finished: Rows up to here need no audience any more; of stays that ended there the last `MAX_STAYS` are kept.

    Returns:
        The change that it really is, without those who are in or out already, and the rows to put.
    """
    out = frozenset(change.removed)
    added = tuple(user for user in change.added if user not in out and not _is_in(known.get(user, ())))
    removed = tuple(user for user in change.removed if _is_in(known.get(user, ())))
    rows = [_row(user, (*_kept(known.get(user, ()), finished), Interval(seq))) for user in added]
    rows += [_row(user, (*known[user][:-1], Interval(known[user][-1].join, seq))) for user in removed]
    return RosterChange(added, removed), tuple(rows)


def _is_in(intervals: Intervals) -> bool:
    return bool(intervals) and intervals[-1].leave is None


def _kept(intervals: Intervals, finished: int) -> Intervals:
    """The stays without the oldest, where there are too many and nothing in them is left to be finished."""
    while len(intervals) >= MAX_STAYS and (intervals[0].leave or 0) <= finished:
        intervals = intervals[1:]
    return intervals


# ---- rows -----------------------------------------------------------------------------------------------------------


def member_key(user: UserId) -> bytes:
    """The key of a member's row."""
    return MEMBERS + user.encode()


def member_of(row: Row) -> tuple[UserId, Intervals]:
    """Read a member's row.

    Raises:
        CorruptStateError: It is none.
    """
    with reading("member"):
        user = UserId(row.key.removeprefix(MEMBERS).decode())
    return user, decode_intervals(row.value)


def members_at(rows: Iterable[Row], seq: int) -> Iterator[UserId]:
    """Of members' rows, as they stream in: who is in after row `seq`."""
    return (user for user, stays in map(member_of, rows) if is_member_at(stays, seq))


def audience_of(rows: Iterable[Row], seq: int) -> Iterator[UserId]:
    """Of members' rows, as they stream in: who gets row `seq`."""
    return (user for user, stays in map(member_of, rows) if is_in_audience(stays, seq))


def _row(user: UserId, intervals: Intervals) -> Row:
    return Row(member_key(user), encode_intervals(intervals))


def encode_intervals(intervals: Intervals) -> bytes:
    """The value of a member's row."""
    return pack([(join, leave or 0) for join, leave in intervals])


def decode_intervals(data: bytes) -> Intervals:
    """Read the value of a member's row.

    Raises:
        CorruptStateError: It is none.
    """
    (stays,) = unpack(data, kind="member", shape=(tuple,))
    with reading("member"):
        pairs = (shaped(stay, (int, int)) for stay in stays)
        intervals = tuple(Interval(join, leave or None) for join, leave in pairs)
        ends = [end for join, leave in intervals for end in (join, leave or _OPEN)]
        if ends != sorted(set(ends)):
            raise ValueError("stays that overlap")
    return intervals


_OPEN = 1 << 64
