"""Posting: one decision, one commit, and the answer that tells whether anything is left to do.

Where the store spans partitions, a small message with nothing unfinished before it is *fused*: the post, its copies and
`fanned_out` are one commit, and SENT follows at once. Any other post says in its commit, or before it, that this
gateway may have something to finish (`owners`), and SENT waits for `finish`, or for a durable job (DESIGN, "From post
to inbox"; models m01 and m11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from whisperkit._named_tuples import make
from whisperkit.ids import ConversationId, DeviceId, InboxSeq, MessageId, UserId
from whisperkit.partitions import Partition
from whisperkit.service import owners
from whisperkit.service.audience import Audience, Box, Members
from whisperkit.service.codecs import CONVERSATION, INBOX
from whisperkit.service.copies import Copies
from whisperkit.service.core import Core
from whisperkit.service.executor import MAX_TURN_ROWS
from whisperkit.service.window import Delivery
from whisperkit.service.working_set import Cold, Load, WorkingSet
from whisperkit.strategy import Strategy
from whisperkit.sync import conversation as conversations
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.conversation import Conversation, Draft, Fenced, ModeAnswer, PostAnswer, Posted, Unchanged
from whisperkit.sync.frames import EntryKind, RosterChange, Send
from whisperkit.sync.inbox import Appended
from whisperkit.sync.roster import Intervals, decode_intervals, member_key
from whisperkit.sync.window import Window, decode_window, window_key

__all__ = ["ChangeRoster", "ChangeStrategy", "NoSuchUser", "PostMessage", "PostResult", "StaleDevices"]


_NO_STAYS: Mapping[UserId, Intervals] = {}


class StaleDevices(NamedTuple):
    """The message was encrypted for other devices than its audience has. No number was taken."""

    missing: tuple[DeviceId, ...]
    extra: tuple[DeviceId, ...]


class NoSuchUser(NamedTuple):
    """The other one of two has no device, so nobody would get the message. No number was taken."""

    user: UserId


Answer: TypeAlias = PostAnswer | ModeAnswer | Unchanged | StaleDevices | NoSuchUser


class PostResult(NamedTuple):
    """What became of a post.

    Attributes:
        answer: The decision.
        conversation: The head after it.
        is_fused: Whether all copies are in the inboxes.
        deliveries: The copies of a fused post.
    """

    answer: Answer
    conversation: Conversation
    is_fused: bool = False
    deliveries: Sequence[tuple[DeviceId, Delivery]] = ()


class _ConversationOperation:
    """What operations on a conversation have in common."""

    def __init__(self, core: Core, conv: ConversationId) -> None:
        self.conv = conv
        self.lane: Partition = conversations.partition(conv)
        self._core = core
        self.may_have_noted = False
        self._finished: tuple[int, bool] = (0, False)

    def finished_upto(self, upto: int, *, is_own_only: bool) -> None:
        """Tell the operation what a mark says of `fanned_out`, which the head may not know yet."""
        self._finished = upto, is_own_only

    def _load(self, work: WorkingSet) -> Conversation:
        """The head, with what is known of `fanned_out` worked in."""
        state = work.state(self.lane, CONVERSATION)
        upto, is_own_only = self._finished
        if upto > state.fanned_out:
            work.apply(self.lane, conversations.raise_fanned_out(state, upto, is_own_only=is_own_only))
            state = work.state(self.lane, CONVERSATION)
        return state

    def _stays(self, work: WorkingSet, users: Sequence[UserId]) -> Mapping[UserId, Intervals]:
        """The stays of users, from their rows."""
        keys = {user: member_key(user) for user in users}
        missing = work.missing_keys(self.lane, CONVERSATION, keys.values())
        if missing:
            raise Cold(Load(self.lane, CONVERSATION, keys=missing))
        found = {user: work.row(self.lane, CONVERSATION, key) for user, key in keys.items()}
        return {user: decode_intervals(value) for user, value in found.items() if value is not None}

    def _note(self, work: WorkingSet) -> Fenced | None:
        """Where a commit can carry it: note, before the post is applied, that this gateway has something to finish."""
        if not work.spans_partitions:
            return None
        owner = self._core.owner
        name = owners.partition(owner.gateway)
        fenced = work.apply(name, owners.note(work.state(name, owners.OWNERS), owner, self.conv))
        # A commit whose reply is lost may have put the note, though the answer is that of a repeat.
        self.may_have_noted = self.may_have_noted or fenced is None
        return fenced


class PostMessage(_ConversationOperation):
    """What a device sends: MESSAGE, ROSTER or VOID.

    Args:
        core: The gateway.
        sender: The device.
        send: What it asks for, checked by `Draft.check`.
        outbox_seq: Its number; `None` for a client that does not count.
        came_at: When it came, on the runtime's clock.
    """

    def __init__(self, core: Core, sender: DeviceId, send: Send, *, outbox_seq: int | None, came_at: float) -> None:
        super().__init__(core, send.conv)
        self.sender = sender
        self.send = send
        self.outbox_seq = outbox_seq
        self.came_at = came_at
        self._looked_for: UserId | None = None

    def draft(self, *, is_member: bool = False) -> Draft:
        """The post as the rule takes it."""
        send = self.send
        _, epoch, _, message_id, kind, if_roster, _, change, shared, own = send
        owner, at_ms = self._core.owner, self._core.runtime.wall_ms()
        number, sender = self.outbox_seq, self.sender
        return make(
            Draft,
            (sender, epoch, number, message_id, kind, owner, at_ms, is_member, if_roster, change, shared, own),
        )

    def run(self, work: WorkingSet) -> PostResult:
        """Decide, and apply what was decided."""
        state = self._load(work)
        window = self._window(work) if conversations.needs_window_row(state, self.sender) else None
        members = self._members(work, state)
        change = self.send.change
        stays = _NO_STAYS if change is None else self._stays(work, (*change.added, *change.removed))
        is_member = self._is_member(work, state) if members is None else self.sender.user in members.present
        draft = self.draft(is_member=is_member)
        answer = conversations.judge(state, draft, window=window)
        if answer is not None:
            return PostResult(answer, state)
        if members is not None and draft.kind is EntryKind.MESSAGE:
            audience = self._audience(members)
            if audience.without and (nobody := self._nobody(members, audience)) is not None:
                return PostResult(NoSuchUser(nobody), state)
            if (stale := self._stale(audience)) is not None:
                return PostResult(stale, state)
            if self._can_fuse(work, state, audience):
                boxes = [box for box in audience.boxes if box[0] != self.sender]
                return self._fuse(work, state, draft, window, boxes)
        step = conversations.place(state, draft, window=window, intervals=stays)
        # A VOID took its number, and of a pulled message nobody has anything to do: neither leaves anything to finish.
        if isinstance(step.answer, Posted) and not step.state.is_finished:
            fenced = self._note(work)
            if fenced is not None:
                return PostResult(fenced, state)
        work.apply(self.lane, step)
        return PostResult(step.answer, step.state)

    # ---- what the decision needs ----

    def _window(self, work: WorkingSet) -> Window | None:
        value = work.row(self.lane, CONVERSATION, window_key(self.sender))
        return None if value is None else decode_window(value)

    def _members(self, work: WorkingSet, state: Conversation) -> Members | None:
        """All members, where they are few enough to be listed."""
        if not state.roster_seq or not state.strategy.is_pushed or self.send.kind is EntryKind.VOID:
            return None
        return self._core.rosters.members(work, self.conv, state.roster_seq)

    def _is_member(self, work: WorkingSet, state: Conversation) -> bool:
        """Whether the sender is one, where not all members are listed."""
        user = self.sender.user
        if not state.roster_seq or self.send.kind is EntryKind.VOID:
            return False
        stays = self._stays(work, [user]).get(user, ())
        return bool(stays) and stays[-1].leave is None

    def _audience(self, members: Members) -> Audience:
        """All devices that get a copy of a message now, and the sender."""
        lists = self._core.device_lists
        audience = lists.audience(members)
        if audience is None:
            missing = lists.missing(members.now)
            raise Cold(fetch=lambda: lists.fetch(missing))
        return audience

    def _nobody(self, members: Members, audience: Audience) -> UserId | None:
        """The other one of two, if they have no device: what comes before their first would never reach them.

        A larger group goes on without a member who has none.
        """
        others = [user for user in members.now if user != self.sender.user]
        if len(members.now) > 2 or len(others) != 1 or others[0] not in audience.without:
            return None
        other = others[0]
        if self._looked_for != other:
            # They may have come a moment ago, at another gateway: that they are not there is never believed unseen.
            self._looked_for = other
            raise Cold(fetch=lambda: self._core.device_lists.fetch([other]))
        return other

    def _stale(self, audience: Audience) -> StaleDevices | None:
        """The difference between the devices that the sender knew and those that there are.

        A device without an identity key need not be named: it is in no list, because nobody can encrypt for it.
        """
        send = self.send
        is_pairwise = send.shared is None and send.own is not None
        named = (send.own or {}).keys() if is_pairwise else set(send.devices)
        if not (named or is_pairwise) or audience.is_exactly(named, sender=self.sender):
            return None
        actual = audience.devices - {self.sender}
        extra = [device for device in named if device not in actual]
        unnamed = [device for device in actual if device not in named]
        missing = [device for device in unnamed if self._core.device_lists.has_key(device)]
        return StaleDevices(tuple(sorted(missing)), tuple(sorted(extra))) if missing or extra else None

    # ---- fused ----

    def _can_fuse(self, work: WorkingSet, state: Conversation, audience: Audience) -> bool:
        limits = self._core.config.fanout
        if not work.spans_partitions:
            return False
        if state.strategy is not Strategy.SMALL or not state.is_finished:
            return False
        own = self.send.own or {}
        copies = sum(map(len, own.values())) + len(own) * len(self.send.shared or b"")
        return len(audience.boxes) <= MAX_TURN_ROWS and copies <= limits.batch_bytes

    def _fuse(
        self, work: WorkingSet, state: Conversation, draft: Draft, window: Window | None, boxes: Sequence[Box]
    ) -> PostResult:
        if cold := work.cold([name for _, name in boxes], INBOX):
            raise Cold(*cold)
        is_own_only = draft.shared is None and draft.own is not None
        step = conversations.place(state, draft, window=window, fused=True, keep_row=not is_own_only)
        posted = step.answer
        assert isinstance(posted, Posted)  # it is no VOID
        work.apply(self.lane, step)
        copies = Copies(self.conv, posted.row)
        deliveries: list[tuple[DeviceId, Delivery]] = []
        for device, name in boxes:
            item = copies.item(device)
            appended = work.apply(name, inboxes.append(work.state(name, INBOX), (item,), conv=self.conv, fused=True))
            if isinstance(appended, Appended):
                seq = InboxSeq(appended.after + 1)
                deliveries.append((device, copies.delivery(item, seq, appended.tags[-1])))
        return make(PostResult, (posted, step.state, True, deliveries))


class ChangeRoster(_ConversationOperation):
    """A change of members that the application or the service itself asks for."""

    def __init__(self, core: Core, conv: ConversationId, change: RosterChange) -> None:
        super().__init__(core, conv)
        self._change = change
        self._message_id: MessageId = core.mint()

    def run(self, work: WorkingSet) -> PostResult:
        """Decide, and apply what was decided."""
        state = self._load(work)
        stays = self._stays(work, (*self._change.added, *self._change.removed))
        step = conversations.post_roster(
            state,
            self._change,
            message_id=self._message_id,
            at_ms=self._core.runtime.wall_ms(),
            owner=self._core.owner,
            intervals=stays,
        )
        if step.changes(state):
            if (fenced := self._note(work)) is not None:
                return PostResult(fenced, state)
            work.apply(self.lane, step)
        return PostResult(step.answer, step.state)


class ChangeStrategy(_ConversationOperation):
    """Another way to reach the members, from here on."""

    def __init__(self, core: Core, conv: ConversationId, strategy: Strategy) -> None:
        super().__init__(core, conv)
        self._strategy = strategy
        self._message_id: MessageId = core.mint()

    def run(self, work: WorkingSet) -> PostResult:
        """Decide, and apply what was decided."""
        state = self._load(work)
        step = conversations.change_strategy(
            state,
            self._strategy,
            message_id=self._message_id,
            at_ms=self._core.runtime.wall_ms(),
            owner=self._core.owner,
        )
        if step.changes(state):
            if (fenced := self._note(work)) is not None:
                return PostResult(fenced, state)
            work.apply(self.lane, step)
        return PostResult(step.answer, step.state)
