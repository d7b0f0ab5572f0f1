from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from whisperkit.errors import CorruptStateError, MalformedFrameError, UsageError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, GatewayId, MessageId, Owner, UserId
from whisperkit.packing import pack
from whisperkit.partitions import MAX_STATE_BYTES, Step
from whisperkit.strategy import Strategy
from whisperkit.sync.conversation import (
    MAX_FENCES,
    NEW_CONVERSATION,
    Conversation,
    Draft,
    Fence,
    Fenced,
    NotMember,
    PostAnswer,
    Posted,
    Raised,
    Repeat,
    RosterMoved,
    Switched,
    Unchanged,
    Unfinished,
    Voided,
    change_strategy,
    decode,
    encode,
    fence,
    needs_window_row,
    partition,
    post,
    post_roster,
    raise_fanned_out,
)
from whisperkit.sync.frames import EntryKind, RosterChange
from whisperkit.sync.roster import Interval, Intervals, member_of
from whisperkit.sync.rows import MAX_POST_BYTES, decode_row, post_key, post_span
from whisperkit.sync.window import MAX_RECENT, SendFirst, StaleOutbox, Window, decode_window, window_key

ALICE, ALICE_2, BOB = DeviceId.named("alice", 1), DeviceId.named("alice", 2), DeviceId.named("bob", 1)
GATEWAY = Owner(GatewayId("g1"), 1_000)
MESSAGE, ROSTER, VOID = EntryKind.MESSAGE, EntryKind.ROSTER, EntryKind.VOID

Rule: TypeAlias = Callable[[Conversation, Draft], Step[PostAnswer, Conversation]]


def message(number: int) -> MessageId:
    return MessageId(number.to_bytes(16, "big"))


def draft(number: int | None, *, sender: DeviceId = ALICE, message_id: int | None = None, **changes: Any) -> Draft:
    """A message with the id of its number. (Any: the other fields of `Draft`, as they are.)"""
    made = Draft(sender, 1, number, message(message_id or number or 0), MESSAGE, GATEWAY, 5, True, shared=b"text")
    return made._replace(**changes)


def founding(*users: UserId) -> Draft:
    return draft(1, kind=ROSTER, shared=None, is_member=False, change=RosterChange(users))


@pytest.fixture
def chat() -> Conversation:
    """Alice made it with Bob, by her number 1; it is finished."""
    step = post(NEW_CONVERSATION, founding(ALICE.user, BOB.user), fused=True)
    assert type(step.answer) is Posted
    return step.state


# ---- the decision table, row by row ---------------------------------------------------------------------------------


def test_a_post_gets_the_next_number_and_a_row(chat: Conversation) -> None:
    step = post(chat, draft(2))

    assert isinstance(step.answer, Posted)
    assert step.answer.seq == step.state.seq == 2
    assert [row.key for row in step.put] == [post_key(2)]
    assert decode_row(step.put[0].value) == step.answer.row
    assert step.answer.row[:8] == (2, message(2), MESSAGE, Strategy.SMALL, ALICE, 5, 0, None)


def test_an_id_among_the_recent_is_a_repeat_whatever_else_is_wrong(chat: Conversation) -> None:
    posted = post(chat, draft(2)).state
    fenced = fence(posted, GATEWAY).state

    again = post(fenced, draft(7, message_id=2, is_member=False, if_roster=0))

    assert again == Step(Repeat(ConversationSeq(2)), fenced)


def test_a_fenced_gateway_is_told_before_anything_about_the_number(chat: Conversation) -> None:
    fenced = fence(chat, GATEWAY).state

    assert post(fenced, draft(9)) == Step(Fenced(1_000), fenced)
    assert type(post(fenced, draft(2, owner=Owner(GATEWAY.gateway, 1_001))).answer) is Posted


@pytest.mark.parametrize(("epoch", "number"), [(0, 2), (1, 1)])
def test_a_number_that_was_passed_is_stale_also_for_who_is_no_member(
    chat: Conversation, epoch: int, number: int
) -> None:
    answer = post(chat, draft(number, message_id=9, outbox_epoch=epoch, is_member=False)).answer

    assert answer == StaleOutbox(1)
    assert type(answer) is StaleOutbox


def test_a_number_that_skips_waits_for_the_one_before(chat: Conversation) -> None:
    answer = post(chat, draft(4, is_member=False)).answer

    assert (type(answer), answer) == (SendFirst, SendFirst(2))


def test_who_is_no_member_is_told_so_and_not_how_the_roster_moved(chat: Conversation) -> None:
    assert type(post(chat, draft(2, is_member=False, if_roster=0)).answer) is NotMember


@pytest.mark.parametrize(
    ("strategy", "if_roster", "moved"),
    [
        (Strategy.SMALL, None, False),
        (Strategy.SMALL, 5, False),
        (Strategy.SMALL, 3, True),
        (Strategy.MID, 4, False),
        (Strategy.MID, 3, False),
        (Strategy.MID, 2, True),
        (Strategy.MEGA, 1, False),
    ],
)
def test_the_condition_on_the_roster_is_as_sharp_as_the_strategy_needs(
    chat: Conversation, strategy: Strategy, if_roster: int | None, moved: bool
) -> None:
    """Version 5; somebody was removed at 3, somebody came at 5."""
    seq, came, left = ConversationSeq(6), ConversationSeq(5), ConversationSeq(3)
    now = chat._replace(seq=seq, roster_seq=came, removed_seq=left, strategy=strategy)

    answer = post(now, draft(2, if_roster=if_roster)).answer

    assert type(answer) is (RosterMoved if moved else Posted)
    assert answer[0] == (5 if moved else 7)


def test_refusals_take_no_number_and_change_nothing(chat: Conversation) -> None:
    bad = [draft(9), draft(1, message_id=9), draft(2, is_member=False), draft(2, if_roster=0)]

    for refused in bad:
        step = post(chat, refused)
        assert step.state is chat
        assert not step.changes(chat)


def test_a_void_takes_the_number_and_no_seq(chat: Conversation) -> None:
    step = post(chat, draft(2, kind=VOID, shared=None, is_member=False))

    assert type(step.answer) is Voided
    assert step.state.seq == chat.seq
    assert step.put == ()
    assert type(post(step.state, draft(2, kind=VOID, shared=None)).answer) is Voided
    assert type(post(step.state, draft(3)).answer) is Posted


def test_a_message_that_was_given_up_is_never_posted(chat: Conversation) -> None:
    voided = post(chat, draft(2, kind=VOID, shared=None)).state

    late = post(voided, draft(2))

    assert type(late.answer) is Voided
    assert late.state is voided


def test_a_void_that_comes_too_late_is_told_that_it_got_through(chat: Conversation) -> None:
    posted = post(chat, draft(2)).state

    assert post(posted, draft(2, kind=VOID, shared=None)) == Step(Repeat(ConversationSeq(2)), posted)


def test_a_device_that_does_not_count_is_recognised_by_the_id_while_it_is_recent(chat: Conversation) -> None:
    state = post(chat, draft(None, message_id=50)).state
    assert type(post(state, draft(None, message_id=50)).answer) is Repeat

    for number in range(51, 51 + MAX_RECENT):
        state = post(state, draft(None, message_id=number)).state

    assert type(post(state, draft(None, message_id=50)).answer) is Posted
    assert type(post(state, draft(2, message_id=500)).answer) is Posted


def test_two_devices_of_a_user_count_apart(chat: Conversation) -> None:
    state = post(chat, draft(2)).state

    assert type(post(state, draft(1, sender=ALICE_2, message_id=7)).answer) is Posted


# ---- the counterexamples of the models ------------------------------------------------------------------------------


def told_by_number_alone(conversation: Conversation, asked: Draft) -> Step[PostAnswer, Conversation]:
    window = conversation.window_of(asked.sender) or Window()
    if asked.outbox_epoch == window.epoch and asked.outbox_seq is not None and asked.outbox_seq <= window.last:
        return Step(Repeat(conversation.seq), conversation)
    return post(conversation, asked)


@pytest.mark.parametrize(("decide", "is_right"), [(post, True), (told_by_number_alone, False)])
def test_m02_a_number_is_not_given_to_a_second_message(chat: Conversation, decide: Rule, is_right: bool) -> None:
    """Model 2 outbox, "a repeat is told by number alone; restored client": b goes out under the number of a."""
    state = decide(chat, draft(2, message_id=10)).state

    answer = decide(state, draft(2, message_id=11)).answer

    assert (type(answer) is StaleOutbox) is is_right


@pytest.mark.parametrize("voids", [True, False])
def test_m02_a_message_that_was_given_up_does_not_hold_up_the_next(chat: Conversation, voids: bool) -> None:
    """Model 2 outbox, "a refused message leaves its number open": without the VOID the next one waits for ever."""
    state = post(chat, draft(2, if_roster=99)).state
    if voids:
        state = post(state, draft(2, kind=VOID, shared=None)).state

    answer = post(state, draft(3)).answer

    assert (type(answer) is Posted) is voids


def takes_number_only(conversation: Conversation, asked: Draft) -> Step[PostAnswer, Conversation]:
    """A VOID that leaves the id out of the window, and a window that asks for numbers only."""
    step = post(conversation, asked._replace(message_id=message(999)) if asked.kind is VOID else asked)
    if asked.kind is VOID:  # the number goes to the next message
        return Step(Voided(), conversation)
    return step


@pytest.mark.parametrize(("decide", "is_right"), [(post, True), (takes_number_only, False)])
def test_m02_a_late_copy_of_what_was_given_up_finds_no_number(chat: Conversation, decide: Rule, is_right: bool) -> None:
    """Model 2 outbox, "a refused number is given to the next message, late copy"."""
    refused = draft(2, if_roster=99)
    state = decide(chat, refused).state
    state = decide(state, draft(2, kind=VOID, shared=None)).state

    late = decide(state, refused._replace(if_roster=None))  # the reason to refuse it is gone

    assert (type(late.answer) is not Posted) is is_right


def test_m02_after_a_restored_server_a_higher_epoch_goes_on(chat: Conversation) -> None:
    """Model 2 outbox, "server restored: SendFirst(n), the client has forgotten n"."""
    lost = post(chat, draft(2)).state
    assert lost.seq == 2
    restored = chat

    assert post(restored, draft(3)).answer == SendFirst(2)
    assert type(post(restored, draft(1, outbox_epoch=2, message_id=3)).answer) is Posted


def test_m02_numbers_count_for_each_conversation(chat: Conversation) -> None:
    """Model 2 outbox, "one number per device, watermark per conversation": the next one here follows the last here."""
    assert type(post(chat, draft(2)).answer) is Posted
    assert post(chat, draft(3)).answer == SendFirst(2)  # 2 went elsewhere


def without_fence(conversation: Conversation, asked: Draft) -> Step[PostAnswer, Conversation]:
    return post(conversation._replace(fences=(), fenced_below=0), asked)


@pytest.mark.parametrize(("decide", "is_right"), [(post, True), (without_fence, False)])
def test_m01_a_zombie_does_not_post_behind_the_sweep(chat: Conversation, decide: Rule, is_right: bool) -> None:
    """Model 1a post, "sweep without a fence": the note is gone, the row would never be finished."""
    swept = fence(chat, GATEWAY).state

    answer = decide(swept, draft(2)).answer

    assert (type(answer) is Fenced) is is_right


def test_m01_a_repeat_says_where_it_stands_so_that_it_is_finished_first(chat: Conversation) -> None:
    """Model 1a post, "a repeat is answered at once": a Repeat says nothing about its copies, the head does."""
    state = post(chat, draft(2)).state

    repeat = post(state, draft(2))

    assert repeat.answer == Repeat(ConversationSeq(2))
    assert not repeat.state.is_finished
    assert repeat.state.unfinished == post_span(1, 2)


def checked_before(conversation: Conversation, asked: Draft) -> Step[PostAnswer, Conversation]:
    return post(conversation, asked._replace(if_roster=None))


@pytest.mark.parametrize(("decide", "is_right"), [(post, True), (checked_before, False)])
def test_m04a_what_was_encrypted_for_who_left_is_not_posted_behind_the_leaving(
    chat: Conversation, decide: Rule, is_right: bool
) -> None:
    """Model 4a keys, "no check of the roster at the post" and "roster checked, then posted"."""
    encrypted = draft(1, sender=BOB, message_id=9, if_roster=chat.roster_seq)
    out = draft(2, kind=ROSTER, shared=None, change=RosterChange((), (ALICE.user,)))
    removed = post(chat, out, intervals={ALICE.user: (Interval(1),)}).state

    answer = decide(removed, encrypted).answer

    assert (type(answer) is RosterMoved) is is_right


def by_version(conversation: Conversation, asked: Draft) -> Step[PostAnswer, Conversation]:
    """A change that looks only at whether it is so already; a reply that was lost brings it again."""
    return post(conversation, asked._replace(message_id=message(conversation.seq + 1000), outbox_seq=None))


@pytest.mark.parametrize(("decide", "is_right"), [(post, True), (by_version, False)])
def test_m04d_a_roster_change_whose_reply_was_lost_does_not_undo_a_later_one(
    chat: Conversation, decide: Rule, is_right: bool
) -> None:
    """Model 4d change: Alice adds Carol, Bob removes her, Alice repeats."""
    carol = UserId.named("carol")
    add = draft(2, kind=ROSTER, shared=None, change=RosterChange((carol,)))
    added = decide(chat, add).state
    drop = draft(1, sender=BOB, message_id=9, kind=ROSTER, shared=None, change=RosterChange((), (carol,)))
    dropped = post(added, drop, intervals={carol: (Interval(2),)}).state

    again = decide(dropped, add)

    assert (again.state.members == 2) is is_right


def test_m05_a_repeat_is_recognised_after_any_number_of_posts_by_others(chat: Conversation) -> None:
    """Model 5a and 5b, buckets with windows of their own: here a window stays with the one head, or in its row."""
    others = [DeviceId.named(f"user {number}", 1) for number in range(60)]
    rows: dict[bytes, bytes] = {}
    state = post(chat, draft(2)).state
    for round_ in range(1, 4):
        for at, sender in enumerate(others):
            step = post(state, draft(round_, sender=sender, message_id=round_ * 100 + at), window=stored(rows, sender))
            rows.update(step.put)
            state = step.state

    assert needs_window_row(state, ALICE)
    again = post(state, draft(2), window=stored(rows, ALICE))

    assert again == Step(Repeat(ConversationSeq(2)), state)
    assert type(post(state, draft(2)).answer) is SendFirst  # what a window that is left behind would come to


def stored(rows: Mapping[bytes, bytes], device: DeviceId) -> Window | None:
    value = rows.get(window_key(device))
    return None if value is None else decode_window(value)


def test_m11_nothing_is_fused_in_front_of_an_unfinished_row(chat: Conversation) -> None:
    """Model 11 fused, "fused although something older is unfinished"."""
    unfinished = post(chat, draft(2)).state

    with pytest.raises(UsageError):
        post(unfinished, draft(3), fused=True)
    with pytest.raises(UsageError):
        roster_by_service(unfinished, RosterChange((UserId.named("carol"),)), fused=True)


def test_m11_a_fused_row_is_finished_in_its_own_commit(chat: Conversation) -> None:
    """Model 11 fused, "fanned_out not set in the fused commit"."""
    fused = post(chat, draft(2), fused=True).state

    assert fused.fanned_out == 2
    assert fused.is_finished


def test_m11_unfinished_ends_at_the_head_that_gave_fanned_out(chat: Conversation) -> None:
    """Model 11 fused, "rows read to the end, not to the head of fanned_out"."""
    state = post(chat, draft(2)).state
    span = state.unfinished
    later = post(state, draft(3)).state

    assert span == post_span(1, 2)
    assert later.unfinished == post_span(1, 3)


def test_m01b_a_row_keeps_its_own_strategy_and_names_what_is_to_be_pulled(chat: Conversation) -> None:
    """Model 1b mode: push, mode, pull, pull, mode, push. Each row says how it is finished and what lies below it."""
    rows = [post(chat, draft(2), fused=True)]
    rows.append(switched(rows[-1].state, Strategy.MEGA, 901))
    rows.append(post(finished(rows[-1].state), draft(3)))
    rows.append(post(rows[-1].state, draft(4)))
    rows.append(switched(rows[-1].state, Strategy.MID, 902))
    rows.append(post(rows[-1].state, draft(5)))

    told = [
        (answer.row.strategy, answer.row.pull_upto)
        for answer in (step.answer for step in rows)
        if isinstance(answer, Posted)
    ]

    mid, mega = Strategy.MID, Strategy.MEGA
    assert told == [(Strategy.SMALL, 0), (mid, 0), (mega, 0), (mega, 4), (mid, 5), (mid, 5)]


def finished(state: Conversation) -> Conversation:
    return raise_fanned_out(state, state.seq).state


def switched(state: Conversation, strategy: Strategy, message_id: int) -> Step[Any, Conversation]:
    return change_strategy(state, strategy, message_id=message(message_id), at_ms=6, owner=GATEWAY)


# ---- rosters --------------------------------------------------------------------------------------------------------


def test_a_conversation_begins_with_a_roster_that_has_its_maker() -> None:
    carol = UserId.named("carol")

    step = post(NEW_CONVERSATION, founding(ALICE.user, BOB.user))

    assert step.state.roster_seq == step.state.seq == 1
    assert step.state.members == 2
    assert dict(map(member_of, step.put[1:])) == {ALICE.user: (Interval(1),), BOB.user: (Interval(1),)}
    assert type(post(NEW_CONVERSATION, founding(BOB.user, carol)).answer) is NotMember
    assert type(post(NEW_CONVERSATION, draft(1)).answer) is NotMember


def test_who_is_out_already_is_not_put_out_again(chat: Conversation) -> None:
    carol = UserId.named("carol")
    change = RosterChange((ALICE.user, carol), (BOB.user,))
    known: Mapping[UserId, Intervals] = {ALICE.user: (Interval(1),), BOB.user: (Interval(1),)}

    step = post(chat, draft(2, kind=ROSTER, shared=None, change=change), intervals=known)

    assert isinstance(step.answer, Posted)
    assert step.answer.row.change == RosterChange((carol,), (BOB.user,))
    assert decode_row(step.put[0].value) == step.answer.row
    assert step.state[2:5] == (2, 2, 2)


def roster_by_service(
    state: Conversation, change: RosterChange, known: Mapping[UserId, Intervals] | None = None, *, fused: bool = False
) -> Step[Any, Conversation]:
    return post_roster(
        state, change, message_id=message(77), at_ms=9, owner=GATEWAY, intervals=known or {}, fused=fused
    )


def test_the_service_posts_a_roster_only_if_it_changes_something(chat: Conversation) -> None:
    step = roster_by_service(chat, RosterChange((UserId.named("carol"),)))

    assert isinstance(step.answer, Posted)
    assert step.answer.row.sender is None
    assert step.state.members == 3
    assert step.state.windows == chat.windows
    known = dict(map(member_of, step.put[1:]))
    assert roster_by_service(step.state, RosterChange((UserId.named("carol"),)), known) == Step(Unchanged(), step.state)


def test_the_service_may_begin_a_conversation() -> None:
    step = roster_by_service(NEW_CONVERSATION, RosterChange((ALICE.user, BOB.user)), fused=True)

    assert step.state.is_finished
    assert type(post(step.state, draft(1)).answer) is Posted


def test_a_zombie_posts_no_roster_and_no_mode(chat: Conversation) -> None:
    fenced = fence(chat, GATEWAY).state

    assert roster_by_service(fenced, RosterChange((UserId.named("carol"),))) == Step(Fenced(1_000), fenced)
    assert switched(fenced, Strategy.MID, 901) == Step(Fenced(1_000), fenced)


# ---- strategies -----------------------------------------------------------------------------------------------------


def test_between_pushed_and_pulled_a_mode_row_says_so(chat: Conversation) -> None:
    step = switched(chat, Strategy.MEGA, 901)

    assert step.answer.row[:8] == (2, message(901), EntryKind.MODE, Strategy.MID, None, 6, 0, None)
    assert step.answer.row.body == bytes([Strategy.MEGA])
    assert decode_row(step.put[0].value) == step.answer.row
    assert step.state.strategy is Strategy.MEGA
    assert not step.state.is_finished
    assert switched(step.state, Strategy.MEGA, 902) == Step(Unchanged(), step.state)


def test_between_pushed_strategies_no_row_is_needed(chat: Conversation) -> None:
    step = switched(chat, Strategy.MID, 901)

    assert step == Step(Switched(Strategy.MID), chat._replace(strategy=Strategy.MID))


def test_for_fewer_members_only_when_all_rows_are_finished(chat: Conversation) -> None:
    state = post(switched(chat, Strategy.MID, 901).state, draft(2)).state

    assert switched(state, Strategy.SMALL, 902) == Step(Unfinished(ConversationSeq(1)), state)
    assert type(switched(finished(state), Strategy.SMALL, 902).answer) is Switched


def test_a_new_conversation_may_begin_as_mid_and_not_as_mega() -> None:
    assert switched(NEW_CONVERSATION, Strategy.MID, 901).state.strategy is Strategy.MID
    with pytest.raises(UsageError):
        switched(NEW_CONVERSATION, Strategy.MEGA, 901)


def test_a_pulled_message_is_finished_when_it_is_posted_and_a_pulled_roster_is_not(chat: Conversation) -> None:
    mega = finished(switched(chat, Strategy.MEGA, 901).state)
    carol = draft(3, kind=ROSTER, shared=None, change=RosterChange((UserId.named("carol"),)))

    said = post(mega, draft(2)).state
    changed = post(said, carol).state

    assert said.is_finished
    assert said.pulled_seq == 3
    assert not changed.is_finished
    assert post(changed, draft(4)).state.fanned_out == 3


# ---- finishing ------------------------------------------------------------------------------------------------------


def test_fanned_out_only_rises_and_never_above_the_head(chat: Conversation) -> None:
    state = post(post(chat, draft(2)).state, draft(3)).state

    assert raise_fanned_out(state, 2).state.fanned_out == 2
    assert raise_fanned_out(state, 99).answer == Raised(ConversationSeq(3))
    assert raise_fanned_out(state, 1) == Step(Raised(ConversationSeq(1)), state)


def test_rows_of_own_copies_go_once_they_are_finished(chat: Conversation) -> None:
    state = post(chat, draft(2, shared=None, own={BOB: b"copy"})).state

    step = raise_fanned_out(state, 2, is_own_only=True)

    assert step.drop == post_span(1, 2)
    assert raise_fanned_out(step.state, 2, is_own_only=True) == Step(step.answer, step.state)


def test_a_fused_row_of_own_copies_need_not_be_kept(chat: Conversation) -> None:
    pairwise = draft(2, shared=None, own={BOB: b"copy"})

    step = post(chat, pairwise, fused=True, keep_row=False)

    assert step.put == ()
    assert isinstance(step.answer, Posted)
    assert step.answer.row.is_own_only
    for needed in (
        draft(2),
        draft(2, own={BOB: b"copy"}),
        draft(2, kind=ROSTER, shared=None, own={}, change=RosterChange()),
    ):
        with pytest.raises(UsageError):
            post(chat, needed, fused=True, keep_row=False)
    with pytest.raises(UsageError):
        post(chat, pairwise, keep_row=False)


# ---- fences ---------------------------------------------------------------------------------------------------------


def owner(number: int) -> Owner:
    return Owner(GatewayId(f"gateway-{number}"), 10 * number)


def test_a_fence_holds_for_that_incarnation_and_all_before_it(chat: Conversation) -> None:
    state = fence(chat, Owner(GatewayId("g1"), 50)).state

    assert state.fenced(Owner(GatewayId("g1"), 49)) == Fenced(50)
    assert state.fenced(Owner(GatewayId("g1"), 51)) is None
    assert state.fenced(Owner(GatewayId("g2"), 49)) is None
    assert fence(state, Owner(GatewayId("g1"), 50)) == Step(Fenced(50), state)
    assert fence(state, Owner(GatewayId("g1"), 60)).state.fences == (Fence(GatewayId("g1"), 60),)


def test_fences_beyond_the_bound_are_folded_and_none_is_lifted(chat: Conversation) -> None:
    state = chat
    for number in range(1, 40):
        state = fence(state, owner(number)).state

        assert len(state.fences) <= MAX_FENCES
        assert all(state.fenced(owner(earlier)) for earlier in range(1, number + 1))
    assert state.fenced_below == 230
    assert state.fenced(Owner(GatewayId("bystander"), 229)) == Fenced(230)
    assert state.fenced(Owner(GatewayId("bystander"), 231)) is None


def test_an_owner_below_the_folded_fences_needs_none(chat: Conversation) -> None:
    state = chat._replace(fenced_below=100)

    assert fence(state, Owner(GatewayId("g1"), 100)) == Step(Fenced(100), state)


# ---- bounds and bytes -----------------------------------------------------------------------------------------------

LONGEST = 2**63 - 2


def largest() -> Conversation:
    fences = tuple(Fence(GatewayId(f"{number:048}"), LONGEST) for number in range(MAX_FENCES))
    numbers = ConversationSeq(LONGEST)
    return Conversation(
        numbers, numbers, numbers, numbers, LONGEST, Strategy.SMALL, numbers, fences, 1, has_evicted=True
    )


def test_the_head_stays_within_its_bound_at_the_limits() -> None:
    state = largest()
    sizes = set[int]()
    for number in range(12):
        sender = DeviceId.named(f"user {number}", 127)
        full = Window(LONGEST, LONGEST - 1, bytes(24 * MAX_RECENT))
        asked = draft(LONGEST, sender=sender, message_id=LONGEST - number, outbox_epoch=LONGEST)
        state = post(state._replace(seq=ConversationSeq(LONGEST)), asked, window=full).state
        sizes.add(len(encode(state)))

    assert max(sizes) <= MAX_STATE_BYTES
    assert len(state.windows) == 2
    assert state.window_of(DeviceId.named("user 11", 127)) is not None


def test_the_window_used_last_is_the_last_to_leave_the_head(chat: Conversation) -> None:
    rows: dict[bytes, bytes] = {}
    state, numbers = chat, count(2)
    for at in range(80):
        sender = DeviceId.named(f"user {at}", 1)
        for asked in (draft(next(numbers)), draft(1, sender=sender, message_id=1000 + at)):  # Alice goes on
            step = post(state, asked)
            rows.update(step.put)
            state = step.state

    assert not needs_window_row(state, ALICE)
    assert needs_window_row(state, DeviceId.named("user 0", 1))
    assert stored(rows, DeviceId.named("user 0", 1)) == Window().remember(message(1000), 3, epoch=1, number=1)
    assert len(encode(state)) <= MAX_STATE_BYTES


def test_a_fence_that_needs_room_puts_windows_into_rows(chat: Conversation) -> None:
    windows = tuple((DeviceId.named(f"user {number}", 1), Window(1, 32, bytes(24 * MAX_RECENT))) for number in range(4))
    state = chat._replace(windows=windows)
    assert len(encode(state)) <= MAX_STATE_BYTES

    put: list[bytes] = []
    for number in range(8):
        step = fence(state, Owner(GatewayId(f"{number:048}"), LONGEST))
        put += [row.key for row in step.put]
        state = step.state

    assert put == [window_key(windows[0][0])]
    assert state.has_evicted
    assert len(encode(state)) <= MAX_STATE_BYTES


def test_while_no_window_was_put_away_no_row_need_be_read(chat: Conversation) -> None:
    assert not needs_window_row(chat, BOB)
    assert needs_window_row(chat._replace(has_evicted=True), BOB)
    assert not needs_window_row(chat._replace(has_evicted=True), ALICE)


def test_the_head_survives_its_bytes(chat: Conversation) -> None:
    for state in (NEW_CONVERSATION, chat, largest(), fence(switched(chat, Strategy.MEGA, 901).state, GATEWAY).state):
        assert decode(encode(state)) == state
        assert type(decode(encode(state)).strategy) is Strategy
    assert decode(b"") is NEW_CONVERSATION


BAD_FENCE = [("no gateway!", 1)]
BAD_WINDOW = [(ALICE, 1, 1, b"short")]


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"\x91",
        encode(NEW_CONVERSATION)[:-1],
        pack(*NEW_CONVERSATION[:5], 9, 0, (), 0, (), False),
        pack(*NEW_CONVERSATION[:7], BAD_FENCE, 0, (), False),
        pack(*NEW_CONVERSATION[:7], [("g1", 1e22)], 0, (), False),
        pack(*NEW_CONVERSATION[:7], (), 0, BAD_WINDOW, False),
        pack(*NEW_CONVERSATION[:7], (), 0, [("nobody", 1, 1, b"")], False),
        pack(*NEW_CONVERSATION[:7], (), 0, [7], False),
        pack(*NEW_CONVERSATION[:7], (), 0, (), 0),
    ],
)
def test_other_bytes_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptStateError):
        decode(data)


@pytest.mark.fuzz
@given(st.integers(0, 400), st.integers(0, 255))
def test_a_changed_byte_is_read_or_corrupt(at: int, value: int) -> None:
    data = bytearray(encode(post(NEW_CONVERSATION, founding(ALICE.user, BOB.user)).state))
    data[at % len(data)] = value
    try:
        state = decode(bytes(data))
    except CorruptStateError:
        return

    assert len(encode(state)) <= MAX_STATE_BYTES


def test_what_a_peer_may_not_ask_for_is_refused_before_the_turn() -> None:
    draft(1).check()
    founding(ALICE.user).check()
    draft(1, kind=VOID, shared=None).check()
    bad = [
        draft(1, kind=EntryKind.MODE),
        draft(1, kind=EntryKind.ASIDE),
        draft(1, kind=ROSTER, shared=None),
        draft(1, change=RosterChange((ALICE.user,))),
        draft(1, kind=VOID),
        draft(1, kind=ROSTER, change=RosterChange((ALICE.user,))),
        draft(1, kind=ROSTER, shared=None, change=RosterChange((ALICE.user,), (ALICE.user,))),
        draft(1, shared=bytes(MAX_POST_BYTES + 1)),
    ]
    for asked in bad:
        with pytest.raises(MalformedFrameError):
            asked.check()


def test_a_conversation_has_one_partition() -> None:
    assert partition(ConversationId("room-7")) == "conv/room-7"


# ---- the outbox of a device, a bad network, and the rule ------------------------------------------------------------


CROWD = [DeviceId.named(f"crowd {number}", 1) for number in range(38)]


class Outbox:
    """A device as the rule may expect it: numbers in order, at most 16 unanswered, VOID for what it gives up."""

    def __init__(self) -> None:
        self.next = 1
        self.pending: list[tuple[int, int, bool]] = []  # number, message, given up
        self.sent: set[int] = set()
        self.failed: set[int] = set()


class Posting(RuleBasedStateMachine):
    """Two devices send; requests and answers are lost, doubled and late; windows go to rows and come back."""

    @initialize()
    def begin(self) -> None:
        self.state = post(NEW_CONVERSATION, founding(ALICE.user, BOB.user)).state
        self.rows: dict[bytes, bytes] = {}
        self.log: list[tuple[DeviceId, int]] = []  # what was posted, in order
        self.outboxes = {ALICE_2: Outbox(), BOB: Outbox()}
        self.late: list[tuple[DeviceId, int, int, bool, int | None]] = []
        self.ids = count(10)

    def serve(self, device: DeviceId, number: int, name: int, is_void: bool, if_roster: int | None) -> PostAnswer:
        asked = draft(number, sender=device, message_id=name, if_roster=if_roster)
        if is_void:
            asked = asked._replace(kind=VOID, shared=None)
        step = post(self.state, asked, window=stored(self.rows, device))
        self.rows.update(step.put)
        self.state = step.state
        if type(step.answer) is Posted:
            self.log.append((device, name))
        return step.answer

    @rule(device=st.sampled_from([ALICE_2, BOB]))
    def write(self, device: DeviceId) -> None:
        outbox = self.outboxes[device]
        if len(outbox.pending) < 16:
            outbox.pending.append((outbox.next, next(self.ids), False))
            outbox.next += 1

    @rule(
        device=st.sampled_from([ALICE_2, BOB]),
        at=st.integers(0, 15),
        fate=st.sampled_from(["answered", "answer lost", "late"]),
        refuses=st.booleans(),
    )
    def send(self, device: DeviceId, at: int, fate: str, refuses: bool) -> None:
        outbox = self.outboxes[device]
        if not outbox.pending:
            return
        at %= len(outbox.pending)
        number, name, is_void = outbox.pending[at]
        request = (device, number, name, is_void, 0 if refuses else None)
        if fate == "late":
            self.late.append(request)
            return
        answer = self.serve(*request)
        if fate == "answered":
            self.hear(outbox, at, answer)

    def hear(self, outbox: Outbox, at: int, answer: PostAnswer) -> None:
        number, name, is_void = outbox.pending[at]
        match answer:
            case Posted() | Repeat():
                outbox.sent.add(name)
                del outbox.pending[at]
            case Voided():
                assert is_void, "only what was given up is voided"
                outbox.failed.add(name)
                del outbox.pending[at]
            case RosterMoved():
                outbox.pending[at] = (number, name, True)
            case SendFirst(expected):
                assert any(pending[0] == expected for pending in outbox.pending), "the device has forgotten it"
            case _:
                pytest.fail(f"a device that counts right was told {answer}")

    @precondition(lambda self: self.late)
    @rule(data=st.data(), stays=st.booleans())
    def arrive_late(self, data: st.DataObject, stays: bool) -> None:
        at = data.draw(st.integers(0, len(self.late) - 1))
        request = self.late[at] if stays else self.late.pop(at)
        self.serve(*request)

    @rule()
    def put_windows_away(self) -> None:
        for sender in CROWD:
            step = post(self.state, draft(1, sender=sender, message_id=next(self.ids), outbox_epoch=next(self.ids)))
            self.rows.update(step.put)
            self.state = step.state
        self.state = decode(encode(self.state))

    @invariant()
    def each_message_is_posted_once_and_in_the_order_of_its_device(self) -> None:
        for device, outbox in self.outboxes.items():
            posted = [name for sender, name in self.log if sender == device]
            assert posted == sorted(set(posted))
            assert outbox.sent <= set(posted)
            assert not outbox.failed & set(posted)


TestPosting = Posting.TestCase
TestPosting.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
