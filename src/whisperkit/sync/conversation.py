"""A conversation: it gives each post one number, once, and says how its copies reach the members.

One rule decides about a post, in one step and in one order (`post`): is it a repeat, does its gateway still
count, is its number the next one, is its sender a member, does it know who the others are. What it refuses takes
no number; what was given up takes its number with a VOID. The rule needs nothing from outside but the
partition's head, and a row where the answer is not in the head: the sender's window, members' stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from whisperkit._named_tuples import make
from whisperkit.errors import MalformedFrameError, UsageError
from whisperkit.ids import ConversationSeq, DeviceId, MessageId, Owner, UserId
from whisperkit.partitions import Row, Step
from whisperkit.strategy import Strategy
from whisperkit.sync.answers import (
    Fenced,
    ModeAnswer,
    NotMember,
    PostAnswer,
    Posted,
    Raised,
    Refusal,
    Repeat,
    RosterAnswer,
    RosterMoved,
    Switched,
    Unchanged,
    Unfinished,
    Voided,
)
from whisperkit.sync.conversation_state import (
    MAX_FENCES,
    NEW_CONVERSATION,
    Conversation,
    Fence,
    Windows,
    decode,
    encode,
    fitted,
    partition,
)
from whisperkit.sync.frames import EntryKind, RosterChange
from whisperkit.sync.roster import Intervals, apply_change, check_change
from whisperkit.sync.rows import PostRow, as_row, check_bodies, post_span
from whisperkit.sync.window import Window

__all__ = [
    "MAX_FENCES",
    "NEW_CONVERSATION",
    "Conversation",
    "Draft",
    "Fence",
    "Fenced",
    "ModeAnswer",
    "NotMember",
    "PostAnswer",
    "Posted",
    "Raised",
    "Repeat",
    "RosterMoved",
    "Switched",
    "Unchanged",
    "Unfinished",
    "Voided",
    "change_strategy",
    "check_post",
    "decode",
    "encode",
    "fence",
    "judge",
    "needs_window_row",
    "partition",
    "place",
    "post",
    "post_roster",
    "raise_fanned_out",
]

_KINDS_OF_PEERS = frozenset((EntryKind.MESSAGE, EntryKind.ROSTER, EntryKind.VOID))
_NO_STAYS: Mapping[UserId, Intervals] = {}
_NEW_WINDOW = Window()


class Draft(NamedTuple):
    """What a device asks to be posted, with what its gateway knows about it.

    Attributes:
        sender: The device.
        outbox_epoch: The epoch of its number.
        outbox_seq: Its number for this conversation, from 1; `None`: it does not count, and a repeat is recognised
            only while it is among the device's last `MAX_RECENT` sends here.
        message_id: Minted by the sender; the same in every repeat.
        kind: MESSAGE, ROSTER or VOID.
        owner: The gateway that posts it.
        at_ms: Now, milliseconds since 1970.
        is_member: Whether the sender's user is a member at the conversation's present `roster_seq`.
        if_roster: The roster version that the sender encrypted for; `None` for no condition.
        change: Of a ROSTER post.
        shared: One ciphertext for all.
        own: A ciphertext for each of some devices.
    """

    sender: DeviceId
    outbox_epoch: int
    outbox_seq: int | None
    message_id: MessageId
    kind: EntryKind
    owner: Owner
    at_ms: int
    is_member: bool
    if_roster: int | None = None
    change: RosterChange | None = None
    shared: bytes | None = None
    own: Mapping[DeviceId, bytes] | None = None

    def check(self) -> None:
        """Look at what a peer sent, before it enters a turn; `post` relies on it. See `check_post`."""
        check_post(self.kind, self.change, self.shared, self.own)


def check_post(
    kind: EntryKind, change: RosterChange | None, shared: bytes | None, own: Mapping[DeviceId, bytes] | None
) -> None:
    """Look at what a peer sent, before it enters a turn.

    Raises:
        MalformedFrameError: The kind is not for peers, a field is there that the kind has not, or it is too much.
    """
    if kind not in _KINDS_OF_PEERS:
        raise MalformedFrameError(f"no device posts a {kind.name}", frame="SEND")
    if (change is not None) != (kind is EntryKind.ROSTER):
        raise MalformedFrameError("a roster post has a change, and nothing else has", frame="SEND")
    if kind is not EntryKind.MESSAGE and shared is not None:
        raise MalformedFrameError("only a message has a shared ciphertext", frame="SEND")
    if change is not None:
        check_change(change)
    check_bodies(shared, own)


# ---- posting --------------------------------------------------------------------------------------------------------


def needs_window_row(conversation: Conversation, device: DeviceId) -> bool:
    """Whether `post` has to be given the row ``s/<device>``, if there is one."""
    return conversation.has_evicted and conversation.window_of(device) is None


def post(
    conversation: Conversation,
    draft: Draft,
    *,
    window: Window | None = None,
    intervals: Mapping[UserId, Intervals] = _NO_STAYS,
    fused: bool = False,
    keep_row: bool = True,
) -> Step[PostAnswer, Conversation]:
    """Decide about a post: `judge`, and `place` what it lets through.

    Args:
        conversation: The head.
        draft: What is to be posted, checked.
        window: See `judge`.
        intervals: See `place`.
        fused: See `place`.
        keep_row: See `place`.

    Returns:
        The answer; with `Posted` and with `Voided` for a VOID the next head, and the rows to put.

    Raises:
        UsageError: `fused` or `keep_row` against their conditions.
    """
    if fused:
        _check_finished(conversation)
    answer = judge(conversation, draft, window=window)
    if answer is not None:
        return Step(answer, conversation)
    return place(conversation, draft, window=window, intervals=intervals, fused=fused, keep_row=keep_row)


def judge(
    conversation: Conversation, draft: Draft, *, window: Window | None = None
) -> Repeat | Voided | Refusal | None:
    """Say what a post gets that takes no place: it is a repeat, or is refused. `None`: it may be placed.

    Args:
        conversation: The head.
        draft: What is to be posted, checked.
        window: The sender's window from its row, read at this version of the head; looked at only where
            `needs_window_row` says so. `None`: there is no such row.
    """
    known = conversation.window_of(draft.sender) or window or _NEW_WINDOW
    seq = known.seq_of(draft.message_id)
    if seq is not None:
        return Repeat(seq) if seq else Voided()
    return _refusal(conversation, draft, known)


def place(
    conversation: Conversation,
    draft: Draft,
    *,
    window: Window | None = None,
    intervals: Mapping[UserId, Intervals] = _NO_STAYS,
    fused: bool = False,
    keep_row: bool = True,
) -> Step[PostAnswer, Conversation]:
    """Give a post its place, which `judge` let through at this version of the head: `Posted`, of a VOID `Voided`.

    Args:
        conversation: The head.
        draft: What is to be posted, checked.
        window: As in `judge`.
        intervals: Of a ROSTER post: the stays of the users it names, read at this version; absent: none.
        fused: The commit carries all its copies too, so the row is finished at once. Only when `is_finished`: fused
            in front of an unfinished row, it would stand before that row in the inboxes.
        keep_row: False: the row is not kept, because its copies are all there is to it. Only fused, and
            only without a shared ciphertext.

    Raises:
        UsageError: `fused` or `keep_row` against their conditions.
    """
    if fused:
        _check_finished(conversation)
    if not keep_row and (not fused or draft.own is None or draft.shared is not None or draft.change is not None):
        raise UsageError("a row that is not kept has to be fused and to consist of own copies only")
    known = conversation.window_of(draft.sender) or window or _NEW_WINDOW
    if draft.kind is EntryKind.VOID:
        after, evicted = fitted(conversation._replace(windows=_windows(conversation, draft, known, 0)))
        return Step(Voided(), after, evicted)
    change, stays = (None, ()) if draft.change is None else _worked_in(conversation, draft.change, intervals)
    row = _next_row(conversation, draft, change)
    windows = _windows(conversation, draft, known, row.seq)
    after, evicted = fitted(_after(conversation, row, windows, fused=fused))
    kept = (as_row(row),) if keep_row else ()
    return Step(make(Posted, (row.seq, row)), after, kept + stays + evicted)


def _refusal(conversation: Conversation, draft: Draft, window: Window) -> Refusal | None:
    """Why a message that is new may not be posted. The order is part of the protocol."""
    fenced = conversation.fenced(draft.owner)
    if fenced is not None:
        return fenced
    if draft.outbox_seq is not None:
        refusal = window.refusal(draft.outbox_epoch, draft.outbox_seq)
        if refusal is not None:
            return refusal
    # A VOID is taken whoever sends it: its number would stay open, and a late copy of the message could take it.
    if draft.kind is EntryKind.VOID:
        return None
    if conversation.roster_seq == 0:
        is_creation = draft.change is not None and draft.sender.user in draft.change.added
        return None if is_creation else NotMember()
    if not draft.is_member:
        return NotMember()
    return None if draft.if_roster is None else _roster_moved(conversation, draft.if_roster)


def _roster_moved(conversation: Conversation, if_roster: int) -> RosterMoved | None:
    """The condition that the sender set, as sharp as the strategy needs it.

    Small groups share one key, and nobody who came or went may be missed; in a large one somebody always comes, and
    only who went could read what he must not; in the largest the server keeps the removed out.
    """
    match conversation.strategy:
        case Strategy.SMALL:
            moved = conversation.roster_seq != if_roster
        case Strategy.MID:
            moved = conversation.removed_seq > if_roster
        case Strategy.MEGA:
            moved = False
    return RosterMoved(conversation.roster_seq) if moved else None


def _worked_in(
    conversation: Conversation, change: RosterChange, intervals: Mapping[UserId, Intervals]
) -> tuple[RosterChange | None, tuple[Row, ...]]:
    """What the next row really changes, and the members' rows after it."""
    return apply_change(intervals, change, seq=conversation.seq + 1, finished=conversation.fanned_out)


def _check_finished(conversation: Conversation) -> None:
    """Fused in front of an unfinished row, a row would stand before it in the inboxes."""
    if not conversation.is_finished:
        raise UsageError(f"row {conversation.fanned_out + 1} is unfinished, so nothing can be fused")


def _next_row(conversation: Conversation, draft: Draft, change: RosterChange | None) -> PostRow:
    _, _, _, message_id, kind, _, at_ms, _, _, _, shared, own = draft
    seq, strategy, pulled_seq = ConversationSeq(conversation.seq + 1), conversation.strategy, conversation.pulled_seq
    return make(PostRow, (seq, message_id, kind, strategy, draft.sender, at_ms, pulled_seq, change, shared, own))


def _after(conversation: Conversation, row: PostRow, windows: Windows, *, fused: bool) -> Conversation:
    """The head after a row. Written out, because it is made for every message (`_replace` costs four times as much)."""
    seq, fanned_out, roster_seq, removed_seq, members, strategy, pulled_seq, fences, below, _, evicted = conversation
    is_pulled = not row.strategy.is_pushed
    # Nobody has anything to do about a pulled message. A roster change has members' lists to be told.
    if fused or (is_pulled and row.kind is EntryKind.MESSAGE and fanned_out == seq):
        fanned_out = row.seq
    if is_pulled:
        pulled_seq = row.seq
    if row.change is not None:
        roster_seq = row.seq
        removed_seq = row.seq if row.change.removed else removed_seq
        members += len(row.change.added) - len(row.change.removed)
    seq = row.seq
    return make(
        Conversation,
        (seq, fanned_out, roster_seq, removed_seq, members, strategy, pulled_seq, fences, below, windows, evicted),
    )


def post_roster(
    conversation: Conversation,
    change: RosterChange,
    *,
    message_id: MessageId,
    at_ms: int,
    owner: Owner,
    intervals: Mapping[UserId, Intervals],
    fused: bool = False,
) -> Step[RosterAnswer, Conversation]:
    """Post a change of members for the service itself, as when the application changed its room.

    Nothing is posted if the members are so already: that is what makes a repeat harmless.

    Args:
        conversation: The head.
        change: Who is to be in and who out.
        message_id: Of the post.
        at_ms: Now, milliseconds since 1970.
        owner: The gateway that posts it.
        intervals: The stays of all users it names, read at this version of the head.
        fused: As in `post`.

    Raises:
        UsageError: `fused` while rows are unfinished.
    """
    if fused:
        _check_finished(conversation)
    seq = ConversationSeq(conversation.seq + 1)
    effective, stays = apply_change(intervals, change, seq=seq, finished=conversation.fanned_out)
    if effective == RosterChange():
        return Step(Unchanged(), conversation)
    fenced = conversation.fenced(owner)
    if fenced is not None:
        return Step(fenced, conversation)
    row = PostRow(
        seq, message_id, EntryKind.ROSTER, conversation.strategy, None, at_ms, conversation.pulled_seq, change=effective
    )
    return Step(Posted(seq, row), _after(conversation, row, conversation.windows, fused=fused), (as_row(row), *stays))


def change_strategy(
    conversation: Conversation, strategy: Strategy, *, message_id: MessageId, at_ms: int, owner: Owner
) -> Step[ModeAnswer, Conversation]:
    """Let the rows from here on reach the members in another way.

    Between pushed and pulled a MODE row says so, and is itself pushed like mid, so that members who are away
    learn it. For fewer members only when all rows are finished: a row that was queued would be overtaken.

    Raises:
        UsageError: There are no members yet who could be told.
    """
    if strategy is conversation.strategy:
        return Step(Unchanged(), conversation)
    fenced = conversation.fenced(owner)
    if fenced is not None:
        return Step(fenced, conversation)
    if strategy < conversation.strategy and not conversation.is_finished:
        return Step(Unfinished(conversation.fanned_out), conversation)
    switched = conversation._replace(strategy=strategy)
    if strategy.is_pushed == conversation.strategy.is_pushed:
        return Step(Switched(strategy), switched)
    if conversation.roster_seq == 0:
        raise UsageError("a conversation begins with its members, not with a mode")
    seq = ConversationSeq(conversation.seq + 1)
    body = bytes([strategy])
    row = PostRow(seq, message_id, EntryKind.MODE, Strategy.MID, None, at_ms, conversation.pulled_seq, shared=body)
    return Step(Posted(seq, row), _after(switched, row, conversation.windows, fused=False), (as_row(row),))


# ---- finishing, fencing ---------------------------------------------------------------------------------------------


def raise_fanned_out(conversation: Conversation, upto: int, *, is_own_only: bool = False) -> Step[Raised, Conversation]:
    """Say that all rows up to `upto` are finished.

    Args:
        conversation: The head.
        upto: The last of them; above the head's seq it counts as that.
        is_own_only: All of them from behind the present `fanned_out` consist of own copies, which lie in the
            inboxes now: the rows may go.
    """
    seq = ConversationSeq(min(upto, conversation.seq))
    if seq <= conversation.fanned_out:
        return Step(Raised(conversation.fanned_out), conversation)
    drop = post_span(conversation.fanned_out, seq) if is_own_only else None
    return Step(Raised(seq), conversation._replace(fanned_out=seq), drop=drop)


def fence(conversation: Conversation, owner: Owner) -> Step[Fenced, Conversation]:
    """Refuse posts by a gateway's incarnations up to this one, from now on.

    Without it a gateway that was only taken for dead could post behind the one that finishes for it. A fence is kept
    for ever, because a post may linger as long; what is folded hits living gateways too, and costs them a repeat.
    """
    found = conversation.fenced(owner)
    if found is not None:
        return Step(found, conversation)
    others = tuple(fence for fence in conversation.fences if fence.gateway != owner.gateway)
    fences = (*others, Fence(*owner))
    below = conversation.fenced_below
    if len(fences) > MAX_FENCES:
        below = max(below, min(fence.incarnation for fence in fences))
    kept = tuple(fence for fence in fences if fence.incarnation > below)
    after, evicted = fitted(conversation._replace(fences=kept, fenced_below=below))
    return Step(Fenced(owner.incarnation), after, evicted)


# ---- windows in the head --------------------------------------------------------------------------------------------


def _windows(conversation: Conversation, draft: Draft, window: Window, seq: int) -> Windows:
    """The windows in the head once the sender's remembers its message."""
    after = window.remember(draft.message_id, seq, epoch=draft.outbox_epoch, number=draft.outbox_seq)
    others = [entry for entry in conversation.windows if entry[0] != draft.sender]
    return (*others, (draft.sender, after))
