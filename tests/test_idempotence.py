"""Every rule, applied to its own result, changes nothing, and its answer leads to the same end.

`transact` and the gateway's turn repeat a rule whenever a commit's outcome is unknown. So this one property holds
them all: after any history, whatever is done next may be done again at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperkit import accounts, blobs, keys
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, GatewayId, MessageId, Owner, UserId
from whisperkit.partitions import Row, Step
from whisperkit.strategy import Strategy
from whisperkit.sync import conversation, inbox
from whisperkit.sync.frames import EntryKind, RosterChange
from whisperkit.sync.roster import MEMBERS, member_of
from whisperkit.sync.window import decode_window, window_key

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)
CAROL = UserId.named("carol")
CHAT = ConversationId("chat")
FIRST = MessageId(b"first message id")


class Shelf:
    """One partition as a store would keep it, but never dropping what may vanish later as well as at once."""

    def __init__(self, decode: Callable[[bytes], Any], encode: Callable[[Any], bytes]) -> None:
        self._decode = decode
        self._encode = encode
        self.state = decode(b"")  # Any: each partition has a state of its own
        self.rows: dict[bytes, bytes] = {}

    def apply(self, step: Step[Any, Any]) -> bool:
        """Commit a step; says whether there was anything to commit."""
        changes = step.changes(self.state)
        if changes:
            self.state = self._decode(self._encode(step.state))
            self.rows.update(step.put)
        for key in step.delete:
            self.rows.pop(key, None)
        if step.drop is not None:
            start, stop, _ = step.drop
            self.rows = {key: value for key, value in self.rows.items() if not start <= key < stop}
        return changes

    def under(self, start: bytes) -> list[Row]:
        return [Row(key, value) for key, value in sorted(self.rows.items()) if key.startswith(start)]


class World:
    """One partition of each kind."""

    def __init__(self) -> None:
        self.conversation = Shelf(conversation.decode, conversation.encode)
        self.inbox = Shelf(inbox.decode, inbox.encode)
        self.account = Shelf(accounts.decode, accounts.encode)
        self.keys = Shelf(keys.decode, keys.encode)
        self.blob = Shelf(blobs.decode, blobs.encode)


class Done(NamedTuple):
    """What came of a rule: whether it changed anything, and where its answer leads."""

    has_changed: bool
    end: object


Act: TypeAlias = Callable[[World], Done]


def applied(shelf: Shelf, step: Step[Any, Any]) -> Done:
    return Done(shelf.apply(step), end_of(step.answer))


def end_of(answer: object) -> object:
    """Where an answer leads: what was done just now, and what was done already, lead to the same."""
    match answer:
        case conversation.Posted(seq) | conversation.Repeat(seq):
            return "it has this number", seq
        case conversation.Switched() | conversation.Unchanged():
            return "it is so"
        case inbox.Appended(after, items):
            return "all is there up to", after + len(items)
        case int():
            return "nothing is left to forget"
        case _:
            return type(answer), answer


def by_the_service(done: Done) -> Done:
    """The service posts to have something so; under which number is nothing to it."""
    return done._replace(end=end_of(conversation.Unchanged())) if done.has_changed else done


# ---- what may happen ------------------------------------------------------------------------------------------------


def posting(draft: conversation.Draft) -> Act:
    """A post, and, where nothing is unfinished, its copy in the same commit."""

    def act(world: World) -> Done:
        state: conversation.Conversation = world.conversation.state
        fused = state.is_finished and state.strategy is Strategy.SMALL
        row = world.conversation.rows.get(window_key(draft.sender))
        step = conversation.post(
            state,
            draft._replace(is_member=True),
            window=None if row is None else decode_window(row),
            intervals=dict(map(member_of, world.conversation.under(MEMBERS))),
            fused=fused,
        )
        has_changed = world.conversation.apply(step)
        if fused and isinstance(step.answer, conversation.Posted):
            items = [item(step.answer.seq)]
            world.inbox.apply(inbox.append(world.inbox.state, items, conv=CHAT, fused=True))
        return Done(has_changed, end_of(step.answer))

    return act


def item(seq: int) -> inbox.Item:
    return inbox.Item(message(seq), ConversationSeq(seq), b"tail", False)


def message(number: int) -> MessageId:
    return MessageId(number.to_bytes(16, "big"))


def finishing(world: World) -> Done:
    state: conversation.Conversation = world.conversation.state
    known = world.inbox.rows.get(inbox.last_seq_key(CHAT))
    items = [item(seq) for seq in range(state.fanned_out + 1, state.seq + 1)]
    last_seq = None if known is None else inbox.decode_last_seq(known)
    return applied(world.inbox, inbox.append(world.inbox.state, items, conv=CHAT, last_seq=last_seq))


def on_conversation(rule: Callable[[conversation.Conversation], Step[Any, Any]]) -> Act:
    return lambda world: applied(world.conversation, rule(world.conversation.state))


def on_inbox(rule: Callable[[inbox.Inbox], Step[Any, Any]]) -> Act:
    return lambda world: applied(world.inbox, rule(world.inbox.state))


def on_account(rule: Callable[[accounts.Account], Step[Any, Any]]) -> Act:
    return lambda world: applied(world.account, rule(world.account.state))


def on_keys(rule: Callable[[keys.Keys], Step[Any, Any]]) -> Act:
    return lambda world: applied(world.keys, rule(world.keys.state))


def on_blob(rule: Callable[[blobs.Blob], Step[Any, Any]]) -> Act:
    return lambda world: applied(world.blob, rule(world.blob.state))


SMALL_NUMBERS = st.integers(0, 4)
OWNERS = st.builds(Owner, st.sampled_from([GatewayId("g1"), GatewayId("g2")]), st.integers(1, 4))
USERS = st.sets(st.sampled_from([ALICE.user, BOB.user, CAROL])).map(lambda users: tuple(sorted(users)))
CHANGES = st.builds(RosterChange, USERS, USERS)


@st.composite
def drafts(draw: st.DrawFn) -> conversation.Draft:
    draft = conversation.Draft(
        sender=draw(st.sampled_from([ALICE, BOB])),
        outbox_epoch=draw(st.integers(1, 2)),
        outbox_seq=draw(st.none() | st.integers(1, 4)),
        message_id=message(draw(st.integers(1, 12))),
        kind=draw(st.sampled_from([EntryKind.MESSAGE, EntryKind.ROSTER, EntryKind.VOID])),
        owner=draw(OWNERS),
        at_ms=1,
        is_member=True,
        if_roster=draw(st.none() | SMALL_NUMBERS),
    )
    if draft.kind is EntryKind.ROSTER:
        return draft._replace(change=draw(CHANGES))
    return draft._replace(shared=b"text") if draft.kind is EntryKind.MESSAGE else draft


@st.composite
def conversation_acts(draw: st.DrawFn) -> Act:
    owner, number = draw(OWNERS), draw(st.integers(0, 9))
    match draw(st.integers(0, 5)):
        case 0:
            change = draw(CHANGES)

            def post_roster(world: World) -> Done:
                state = world.conversation.state
                known = dict(map(member_of, world.conversation.under(MEMBERS)))
                step = conversation.post_roster(
                    state, change, message_id=message(50), at_ms=1, owner=owner, intervals=known
                )
                return by_the_service(applied(world.conversation, step))

            return post_roster
        case 1:
            strategy = draw(st.sampled_from(Strategy))

            def change_strategy(world: World) -> Done:
                state = world.conversation.state
                wanted = strategy if state.roster_seq else Strategy.MID
                step = conversation.change_strategy(state, wanted, message_id=message(51), at_ms=1, owner=owner)
                return by_the_service(applied(world.conversation, step))

            return change_strategy
        case 2:
            return on_conversation(lambda state: conversation.raise_fanned_out(state, number, is_own_only=number > 5))
        case 3:
            return on_conversation(lambda state: conversation.fence(state, owner))
        case _:
            return posting(draw(drafts()))


@st.composite
def inbox_acts(draw: st.DrawFn) -> Act:
    number = draw(st.integers(1, 4))
    match draw(st.integers(0, 4)):
        case 0:
            return on_inbox(lambda state: inbox.open_inbox(state, BOB, epoch=1, link=number))
        case 1:
            return on_inbox(lambda state: inbox.close_inbox(state, link=number))
        case 2:
            return on_inbox(lambda state: inbox.raise_epoch(state, number))
        case 3:
            return on_inbox(lambda state: inbox.trim(state, number, bytes(8)))
        case _:
            return finishing


@st.composite
def account_acts(draw: st.DrawFn) -> Act:
    new = accounts.NewDevice(draw(st.integers(1, 3)), draw(st.sampled_from([b"k" * 33, b"l" * 33])), 7)
    by, number = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    is_drained = draw(st.booleans())
    match draw(st.integers(0, 4)):
        case 0:
            return on_account(lambda state: accounts.register(state, new, at_ms=1))
        case 1:
            return on_account(lambda state: accounts.link(state, new, by=by, at_ms=1, is_drained=is_drained))
        case 2:
            return on_account(lambda state: accounts.unlink(state, number, by=by))
        case case:
            rule = accounts.join if case == 3 else accounts.leave

            def tell(world: World) -> Done:
                value = world.account.rows.get(accounts.membership_key(CHAT))
                known = None if value is None else accounts.decode_membership(value)
                return applied(world.account, rule(world.account.state, CHAT, known, seq=ConversationSeq(number)))

            return tell


@st.composite
def keys_acts(draw: st.DrawFn) -> Act:
    numbers = draw(st.sets(st.integers(1, 6)))
    generation, request = draw(st.integers(1, 2)), message(draw(st.integers(1, 3)))
    wall_ms = draw(st.sampled_from([0, keys.REFILL_MS, keys.REMEMBER_MS * 2]))
    signed = keys.SignedKey(draw(st.integers(1, 2)), b"key", b"signature")
    one_time = tuple(keys.OneTimeKey(number, b"key") for number in numbers)
    kyber = tuple(keys.SignedKey(number, b"key", b"signature") for number in numbers)
    match draw(st.integers(0, 3)):
        case 0:
            return on_keys(
                lambda state: keys.upload(state, keys.KeyUpload(generation, signed, signed, one_time, kyber))
            )
        case 1:
            return on_keys(lambda state: keys.reset(state, generation))
        case 2:

            def forget(world: World) -> Done:
                rows = world.keys.under(keys.REQUESTS)
                return applied(world.keys, keys.forget_requests(world.keys.state, rows, wall_ms=wall_ms))

            return forget
        case _:

            def take(world: World) -> Done:
                spans = keys.rows_to_take(world.keys.state, BOB)
                rows = [
                    row for row in world.keys.under(b"") if any(span.start <= row.key < span.stop for span in spans)
                ]
                step = keys.take(world.keys.state, rows, requester=BOB, request=request, wall_ms=wall_ms)
                return applied(world.keys, step)

            return take


@st.composite
def blob_acts(draw: st.DrawFn) -> Act:
    owner, time, size = draw(st.sampled_from([ALICE.user, CAROL])), draw(st.integers(0, 9)), draw(st.integers(1, 2))
    match draw(st.integers(0, 3)):
        case 0:
            return on_blob(lambda state: blobs.reserve(state, owner=owner, size=size, until_ms=time))
        case 1:
            return on_blob(lambda state: blobs.commit(state, owner=owner, stored=size, until_ms=time))
        case 2:
            return on_blob(lambda state: blobs.keep(state, until_ms=time))
        case _:
            return on_blob(lambda state: blobs.sweep(state, now_ms=time))


ACTS = st.one_of(conversation_acts(), inbox_acts(), account_acts(), keys_acts(), blob_acts())


def founded() -> World:
    """A conversation with two members and an open inbox, so that most of what happens is not refused."""
    world = World()
    founding = conversation.Draft(
        ALICE,
        1,
        1,
        FIRST,
        EntryKind.ROSTER,
        Owner(GatewayId("g1"), 5),
        1,
        False,
        change=RosterChange((ALICE.user, BOB.user)),
    )
    assert isinstance(world.conversation, Shelf)
    world.inbox.apply(inbox.open_inbox(world.inbox.state, BOB, epoch=1, link=1))
    world.account.apply(accounts.register(world.account.state, accounts.NewDevice(1, b"k" * 33, 7), at_ms=1))
    assert posting(founding)(world).has_changed
    return world


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.lists(ACTS, min_size=1, max_size=25))
def test_every_rule_applied_to_its_own_result_changes_nothing_and_leads_to_the_same_end(
    is_founded: bool, acts: list[Act]
) -> None:
    world = founded() if is_founded else World()
    for act in acts:
        first = act(world)

        again = act(world)

        assert not again.has_changed
        assert again.end == first.end


def forgetful_post(world: World) -> Done:
    """A post that does not remember ids."""
    done = posting(draft_two())(world)
    world.conversation.state = world.conversation.state._replace(windows=())
    return done


def counting_append(world: World) -> Done:
    """An append that does not ask what is there."""
    return applied(world.inbox, inbox.append(world.inbox.state, [item(2)], conv=CHAT))


def keys_by_request_only(world: World) -> Done:
    """A take under a new request each time."""
    spans = keys.rows_to_take(world.keys.state, BOB)
    rows = [row for row in world.keys.under(b"") if any(span.start <= row.key < span.stop for span in spans)]
    request = message(world.keys.state.one_time.taken + 100)
    return applied(world.keys, keys.take(world.keys.state, rows, requester=BOB, request=request, wall_ms=0))


def draft_two() -> conversation.Draft:
    owner = Owner(GatewayId("g1"), 5)
    return conversation.Draft(ALICE, 1, None, message(2), EntryKind.MESSAGE, owner, 1, True, shared=b"text")


@pytest.mark.parametrize("broken", [forgetful_post, counting_append, keys_by_request_only])
def test_a_rule_that_is_not_idempotent_is_caught(broken: Act) -> None:
    world = founded()
    signed = keys.SignedKey(1, b"key", b"signature")
    one_time = tuple(keys.OneTimeKey(number, b"key") for number in range(1, 5))
    world.keys.apply(keys.upload(world.keys.state, keys.KeyUpload(1, signed, signed, one_time)))
    first = broken(world)

    again = broken(world)

    assert again.has_changed or again.end != first.end
