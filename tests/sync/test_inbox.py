from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperkit.errors import CorruptStateError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq, MessageId
from whisperkit.partitions import MAX_STATE_BYTES, Row, Step, seq_span
from whisperkit.sync import codec, frames
from whisperkit.sync.cursor import Cursor, first_tag, next_tag, relinked_tag
from whisperkit.sync.inbox import (
    NEW_INBOX,
    Acked,
    Ahead,
    Appended,
    Closed,
    Delta,
    Floor,
    Forked,
    Inbox,
    Item,
    Opened,
    OwnValue,
    SharedValue,
    Snapshot,
    acknowledge,
    append,
    close_inbox,
    compare,
    decode,
    decode_last_seq,
    decode_value,
    encode,
    encode_last_seq,
    encode_shared,
    entry_key,
    entry_span,
    last_seq_key,
    open_inbox,
    partition,
    raise_epoch,
    tag_key,
    trim,
)

BOB = DeviceId.named("bob", 1)
CHAT = ConversationId("chat")


def message(number: int) -> MessageId:
    return MessageId(number.to_bytes(16, "big"))


def item(number: int, *, is_shared: bool = False) -> Item:
    tail = codec.entry_tail(
        message_id=message(number),
        kind=frames.EntryKind.MESSAGE,
        conv=CHAT,
        conv_seq=ConversationSeq(number),
        pull_upto=ConversationSeq(0),
        sender=None,
        at_ms=5,
        own=b"copy",
        shared=None,
    )
    return Item(message(number), ConversationSeq(number), tail, is_shared)


def filled(*numbers: int) -> Inbox:
    return append(opened(), [item(number) for number in numbers], conv=CHAT).state


def opened(link: int = 1) -> Inbox:
    return open_inbox(NEW_INBOX, BOB, epoch=1, link=link).state


def tags(*numbers: int) -> list[bytes]:
    chain = [first_tag(BOB)]
    for number in numbers:
        chain.append(next_tag(chain[-1], message(number)))
    return chain


# ---- opening, closing -----------------------------------------------------------------------------------------------


def test_an_inbox_begins_empty_with_the_tag_of_its_device() -> None:
    step = open_inbox(NEW_INBOX, BOB, epoch=3, link=2)

    assert step.answer == Opened(Cursor(3, InboxSeq(0), first_tag(BOB)))
    assert step.state.head_cursor == step.state.floor_cursor
    assert not step.state.is_closed


def test_nothing_is_appended_to_an_inbox_that_is_not_open() -> None:
    closed = close_inbox(filled(1), link=1).state

    for inbox in (NEW_INBOX, closed):
        step = append(inbox, [item(2)], conv=CHAT)
        assert type(step.answer) is Closed
        assert not step.changes(inbox)


def test_closing_lets_all_rows_go_and_keeps_the_numbers() -> None:
    step = close_inbox(filled(1, 2), link=1)

    assert step.drop == seq_span(b"e/", 0, 2)
    assert step.state[1:5] == (2, tags(1, 2)[-1], 2, tags(1, 2)[-1])


def test_reopening_is_linking_afresh_behind_all_that_was() -> None:
    closed = close_inbox(filled(1, 2), link=1).state

    step = open_inbox(closed, BOB, epoch=1, link=4)

    assert step.answer == Opened(Cursor(1, InboxSeq(2), relinked_tag(tags(1, 2)[-1], 4)))
    assert append(step.state, [item(3)], conv=CHAT, last_seq=2).state.seq == 3


def test_a_cursor_of_an_earlier_link_is_a_fork() -> None:
    """What came between the two links is in no inbox: who went on from there would never know."""
    before = filled(1, 2)

    after = open_inbox(close_inbox(before, link=1).state, BOB, epoch=1, link=4).state

    assert compare(after, before.head_cursor) == Forked(after.floor_cursor)
    assert compare(after, after.floor_cursor) == Delta(InboxSeq(2), InboxSeq(2))


def test_a_new_link_begins_afresh_although_the_old_one_was_not_closed() -> None:
    step = open_inbox(filled(1, 2), BOB, epoch=1, link=4)

    assert step.state.floor == 2
    assert step.drop == seq_span(b"e/", 0, 2)


@pytest.mark.parametrize("late", [1, 4])
def test_an_opening_or_closing_that_comes_late_is_without_effect(late: int) -> None:
    inbox = opened(link=5)

    assert open_inbox(inbox, BOB, epoch=1, link=late) == Step(Closed(), inbox)
    assert close_inbox(inbox, link=late) == Step(Closed(), inbox)


def test_a_link_that_was_closed_is_not_opened_again() -> None:
    closed = close_inbox(opened(), link=1).state

    assert type(open_inbox(closed, BOB, epoch=1, link=1).answer) is Closed
    assert type(open_inbox(close_inbox(NEW_INBOX, link=1).state, BOB, epoch=1, link=1).answer) is Closed


def test_a_link_closed_before_it_was_opened_leaves_the_chain_to_the_device() -> None:
    closed = close_inbox(NEW_INBOX, link=1).state

    assert open_inbox(closed, BOB, epoch=1, link=2).state.tag == first_tag(BOB)


# ---- appending ------------------------------------------------------------------------------------------------------


def test_entries_are_numbered_and_chained_and_are_the_frames_that_are_pushed() -> None:
    step = append(opened(), [item(1), item(2)], conv=CHAT)

    assert isinstance(step.answer, Appended)
    pushed = list(step.answer.frames())
    assert [row.key for row in step.put] == [entry_key(1), entry_key(2), last_seq_key(CHAT)]
    assert [decode_value(row.value) for row in step.put[:2]] == [
        OwnValue(frame, tag) for frame, tag in zip(pushed, tags(1, 2)[1:], strict=True)
    ]
    (entry,) = codec.decode(pushed[1], direction=frames.Direction.TO_CLIENT)
    assert isinstance(entry, frames.Entry)
    assert (entry.seq, entry.tag, entry.message_id, entry.own) == (2, tags(1, 2)[2], message(2), b"copy")
    assert step.state.head_cursor == Cursor(1, InboxSeq(2), tags(1, 2)[2])


def test_a_shared_body_is_kept_by_reference_and_pushed_whole() -> None:
    step = append(opened(), [item(7, is_shared=True)], conv=CHAT)

    assert isinstance(step.answer, Appended)
    assert decode_value(step.put[0].value) == SharedValue(tags(7)[1], CHAT, ConversationSeq(7))
    assert len(step.put[0].value) <= 32
    assert next(step.answer.frames()).endswith(item(7).tail)


def test_the_last_row_of_a_conversation_is_noted_by_finish_and_not_by_a_fused_post() -> None:
    finished = append(opened(), [item(3)], conv=CHAT, last_seq=2)
    fused = append(opened(), [item(3)], conv=CHAT, fused=True)

    assert decode_last_seq(finished.put[-1].value) == 3
    assert [row.key for row in fused.put] == [entry_key(1)]


def asking_the_row(inbox: Inbox, items: Sequence[Item], last_seq: int | None) -> Step[Appended | Closed, Inbox]:
    return append(inbox, items, conv=CHAT, last_seq=last_seq)


def not_asking(inbox: Inbox, items: Sequence[Item], last_seq: int | None) -> Step[Appended | Closed, Inbox]:
    return append(inbox, items, conv=CHAT)


Appending = Callable[[Inbox, Sequence[Item], int | None], Step[Appended | Closed, Inbox]]


@pytest.mark.parametrize(("add", "is_right"), [(asking_the_row, True), (not_asking, False)])
def test_m11_who_finishes_from_a_stale_fanned_out_doubles_nothing(add: Appending, is_right: bool) -> None:
    """Model 11 fused, "finish from a stale fanned_out, c/ not looked at" and "append bound, no c/ at all"."""
    first = add(opened(), [item(1), item(2)], None)

    again = add(first.state, [item(1), item(2), item(3)], decode_last_seq(first.put[-1].value))

    assert (again.state.seq == 3) is is_right


def test_m11_a_row_read_at_an_older_version_is_not_good_enough() -> None:
    """Model 11 fused, "head taken from the ConflictError, c/ row kept": the rule can only be as right as its row."""
    first = append(opened(), [item(1)], conv=CHAT)

    assert append(first.state, [item(1)], conv=CHAT, last_seq=None).state.seq == 2  # kept from before: doubled
    assert append(first.state, [item(1)], conv=CHAT, last_seq=1).state.seq == 1


@pytest.mark.parametrize(("add", "is_right"), [(asking_the_row, True), (not_asking, False)])
def test_m01_a_row_never_comes_behind_a_newer_one_of_its_conversation(add: Appending, is_right: bool) -> None:
    """Model 1a post, "fan out own row only, dedupe by id": the order is inverted; by the last seq it is not."""
    newer = add(opened(), [item(2)], None)

    older = add(newer.state, [item(1)], 2)

    assert (older.state == newer.state) is is_right


def test_items_out_of_order_are_taken_once_at_most() -> None:
    step = append(opened(), [item(2), item(1), item(2), item(3)], conv=CHAT)

    assert isinstance(step.answer, Appended)
    assert [added.conv_seq for added in step.answer.items] == [2, 3]


# ---- comparing ------------------------------------------------------------------------------------------------------


def at(inbox: Inbox, seq: int, tag: bytes, epoch: int = 1) -> tuple[Inbox, Cursor]:
    return inbox, Cursor(epoch, InboxSeq(seq), tag)


def test_a_cursor_on_the_log_is_owed_what_is_above_it() -> None:
    chain = tags(1, 2, 3)
    inbox = filled(1, 2, 3)

    assert compare(*at(inbox, 0, chain[0])) == Delta(InboxSeq(0), InboxSeq(3))
    assert compare(*at(inbox, 2, chain[2]), chain[2]) == Delta(InboxSeq(2), InboxSeq(3))
    assert compare(*at(inbox, 3, chain[3])) == Delta(InboxSeq(3), InboxSeq(3))


def test_the_answer_is_never_an_empty_page_that_means_unknown() -> None:
    chain = tags(1, 2, 3)
    inbox = trim(filled(1, 2, 3), 2, chain[2]).state
    floor = inbox.floor_cursor

    answers = {
        "never had one": compare(inbox, None),
        "below the floor": compare(*at(inbox, 1, chain[1]), chain[1]),
        "above the head": compare(*at(inbox, 4, chain[3])),
        "another epoch": compare(*at(inbox, 3, chain[3], epoch=2)),
        "another log, at the head": compare(*at(inbox, 3, chain[2])),
        "another log, at the floor": compare(*at(inbox, 2, chain[3])),
        "another log, between": compare(*at(filled(1, 2, 3), 2, chain[2]), chain[1]),
        "no such row": compare(*at(filled(1, 2, 3), 2, chain[2])),
    }

    kinds = {name: type(answer) for name, answer in answers.items()}
    assert kinds == {
        "never had one": Snapshot,
        "below the floor": Snapshot,
        "above the head": Ahead,
        "another epoch": Forked,
        "another log, at the head": Forked,
        "another log, at the floor": Forked,
        "another log, between": Forked,
        "no such row": Forked,
    }
    assert {answers[name][0] for name in list(answers)[:6]} == {floor}


def test_only_between_floor_and_head_a_row_is_needed_for_its_tag() -> None:
    inbox = trim(filled(1, 2, 3, 4), 1, tags(1)[1]).state

    needed = [tag_key(inbox, Cursor(1, InboxSeq(seq), bytes(8))) for seq in range(6)]

    assert needed == [None, None, entry_key(2), entry_key(3), None, None]
    assert tag_key(inbox, Cursor(2, InboxSeq(2), bytes(8))) is None


def test_an_acknowledgement_is_a_whole_cursor() -> None:
    chain = tags(1, 2, 3)
    inbox = filled(1, 2, 3)

    assert acknowledge(*at(inbox, 2, chain[2]), chain[2]) == Acked("acked/1", InboxSeq(2))
    assert type(acknowledge(*at(inbox, 2, chain[3]), chain[2])) is Forked
    assert type(acknowledge(*at(inbox, 9, chain[3]))) is Ahead
    assert type(acknowledge(*at(trim(inbox, 3, chain[3]).state, 2, chain[2]))) is Snapshot


def test_a_restored_store_makes_a_fork_of_every_cursor() -> None:
    inbox = filled(1)
    cursor = inbox.head_cursor

    step = raise_epoch(inbox, 2)

    assert step.answer == Cursor(2, InboxSeq(1), inbox.tag)
    assert type(compare(step.state, cursor)) is Forked
    assert raise_epoch(step.state, 1).state is step.state


# ---- trimming -------------------------------------------------------------------------------------------------------


def test_the_floor_only_rises_and_its_tag_outlives_the_rows() -> None:
    chain = tags(1, 2, 3)

    step = trim(filled(1, 2, 3), 2, chain[2])

    assert step.answer == Floor(Cursor(1, InboxSeq(2), chain[2]))
    assert step.drop == seq_span(b"e/", 0, 2)
    assert trim(step.state, 1, chain[1]) == Step(step.answer, step.state)
    assert trim(step.state, 3, chain[3]).drop == seq_span(b"e/", 2, 3)


def test_what_the_inbox_has_not_reached_is_not_trimmed() -> None:
    inbox = filled(1)

    assert trim(inbox, 2, bytes(8)).state is inbox


# ---- model 3, with the rules themselves -----------------------------------------------------------------------------


class World(NamedTuple):
    """A log that loses its tail once or is trimmed by age once, and a device; ACKs may arrive late."""

    todo: tuple[int, ...]
    inbox: Inbox
    log: tuple[tuple[int, bytes], ...] = ()  # message and tag at each place
    acked: int = 0
    cursor: Cursor | None = None
    applied: tuple[int, ...] = ()
    excused: frozenset[int] = frozenset()
    acks: frozenset[Cursor] = frozenset()
    tail_losses: int = 1
    trims: int = 1


class Variant(NamedTuple):
    """What to break."""

    tags: bool = True
    acks_are_cursors: bool = True
    snapshot_is_floor: bool = True
    drops_repeats: bool = True


def tag_in(world: World, seq: int) -> bytes | None:
    return world.log[seq - 1][1] if 0 < seq <= len(world.log) else None


def steps(world: World, variant: Variant) -> Iterator[World]:
    """All that may happen next, as in models/m03."""
    if world.todo:
        number, *rest = world.todo
        after = append(world.inbox, [item(number)], conv=CHAT, fused=True).state
        log = (*world.log, (number, after.tag))
        yield world._replace(todo=tuple(rest), inbox=after, log=log)
    if world.tail_losses and len(world.log) - world.inbox.floor >= 2:
        yield without_tail(world)
    if world.trims and len(world.log) > world.inbox.floor + 1:
        yield trimmed(world, len(world.log) - 1)._replace(trims=0)
    if world.acked > world.inbox.floor:
        yield trimmed(world, world.acked)
    yield from device_steps(world, variant)
    for cursor in world.acks:
        taken = cursor
        if not variant.acks_are_cursors:
            taken = cursor._replace(tag=tag_in(world, cursor.seq) or world.inbox.floor_tag)
        answer = acknowledge(world.inbox, taken, tag_in(world, cursor.seq))
        acked = max(world.acked, answer.upto) if isinstance(answer, Acked) else world.acked
        yield world._replace(acks=world.acks - {cursor}, acked=acked)


def without_tail(world: World) -> World:
    """The store loses the last two entries; only the later one is owed again, behind the next."""
    kept = world.log[:-2]
    back = kept[-1][1] if kept else first_tag(BOB)
    inbox = world.inbox._replace(seq=InboxSeq(len(kept)), tag=back)
    todo = (*world.todo[:1], world.log[-1][0], *world.todo[1:])
    return world._replace(inbox=inbox, log=kept, todo=todo, tail_losses=0, acked=min(world.acked, len(kept)))


def trimmed(world: World, upto: int) -> World:
    tag = tag_in(world, upto)
    assert tag is not None
    return world._replace(inbox=trim(world.inbox, upto, tag).state)


def device_steps(world: World, variant: Variant) -> Iterator[World]:
    cursor = world.cursor
    asked = cursor
    if cursor is not None and not variant.tags:
        in_log = world.inbox.floor_tag if cursor.seq == world.inbox.floor else tag_in(world, cursor.seq)
        asked = cursor._replace(tag=in_log or cursor.tag)
    answer = compare(world.inbox, asked, tag_in(world, cursor.seq) if cursor else None)
    if not isinstance(answer, Delta):
        at_ = answer.floor if variant.snapshot_is_floor else world.inbox.head_cursor
        gone = frozenset(number for number, _ in world.log[: world.inbox.floor])
        yield world._replace(cursor=at_, excused=world.excused | gone)
        return
    assert cursor is not None
    if answer.after < answer.upto:
        number, tag = world.log[answer.after]
        is_repeat = variant.drops_repeats and number in world.applied
        applied = world.applied if is_repeat else (*world.applied, number)
        yield world._replace(cursor=Cursor(1, InboxSeq(answer.after + 1), tag), applied=applied)
    if cursor.seq > world.acked and not world.acks:
        yield world._replace(acks=frozenset((cursor,)))


def is_broken(world: World) -> bool:
    owed = {number for number, _ in world.log[: world.acked]} - world.excused
    return len(set(world.applied)) < len(world.applied) or not owed <= set(world.applied)


def holds(variant: Variant) -> bool:
    """Walk every interleaving."""
    start = World((1, 2, 3, 4), opened())
    seen, todo = {start}, [start]
    while todo:
        world = todo.pop()
        if is_broken(world):
            return False
        new = set(steps(world, variant)) - seen
        seen |= new
        todo += new
    return True


@pytest.mark.parametrize(
    ("variant", "is_right"),
    [
        (Variant(), True),
        (Variant(tags=False), False),  # "no tag, tail lost, number reused"
        (Variant(acks_are_cursors=False), False),  # "chain tag, but ACK carries a bare number"
        (Variant(snapshot_is_floor=False), False),  # "snapshot's cursor is the head"
        (Variant(drops_repeats=False), False),  # "after a fork the device does not drop by message id"
    ],
)
def test_m03_in_every_interleaving_nothing_acknowledged_is_missed(variant: Variant, is_right: bool) -> None:
    """Model 3 cursor: a log that loses its tail, is trimmed by age, and goes on; an ACK that arrives late."""
    assert holds(variant) is is_right


# ---- two who finish, and one who posts fused ------------------------------------------------------------------------

OTHER: Final = ConversationId("other")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([CHAT, OTHER]), st.integers(0, 6), st.integers(1, 4)), max_size=12))
def test_whoever_finishes_from_wherever_each_row_is_there_once_and_in_order(
    runs: list[tuple[ConversationId, int, int]],
) -> None:
    inbox = opened()
    rows: dict[bytes, bytes] = {}
    reached = {CHAT: 0, OTHER: 0}
    got: dict[ConversationId, list[int]] = {CHAT: [], OTHER: []}
    for conv, back, size in runs:
        begin = max(0, reached[conv] - back)  # a stale fanned_out: never ahead
        items = [item(number) for number in range(begin + 1, begin + size + 1)]
        known = rows.get(last_seq_key(conv))
        step = append(inbox, items, conv=conv, last_seq=None if known is None else decode_last_seq(known))
        assert isinstance(step.answer, Appended)
        got[conv] += [added.conv_seq for added in step.answer.items]
        reached[conv] = max(reached[conv], begin + size)
        rows.update(step.put)
        inbox = step.state

    assert got == {conv: list(range(1, upto + 1)) for conv, upto in reached.items()}
    assert entry_key(inbox.seq + 1) not in rows
    assert inbox.seq == sum(reached.values())


# ---- bytes ----------------------------------------------------------------------------------------------------------


def test_the_head_survives_its_bytes_at_the_limits() -> None:
    most = InboxSeq(2**63 - 1)
    largest = Inbox(2**63 - 1, most, b"\xff" * 8, most, b"\xff" * 8, True, 2**63 - 1)

    for inbox in (NEW_INBOX, filled(1, 2), largest):
        assert decode(encode(inbox)) == inbox
        assert len(encode(inbox)) <= 64 < MAX_STATE_BYTES
    assert decode(b"") is NEW_INBOX


@pytest.mark.parametrize("data", [b"\x01", encode(NEW_INBOX)[:-1], b"\x02" + encode(NEW_INBOX)[1:]])
def test_other_bytes_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptStateError):
        decode(data)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x01",
        b"\x01" + bytes(21),
        b"\x02" + bytes(16),
        b"\x03" + bytes(40),
        b"\x02" + bytes(16) + b"!",
        b"\x02" + bytes(16) + b"\xff",
    ],
)
def test_a_row_that_is_no_entry_is_corrupt(value: bytes) -> None:
    with pytest.raises(CorruptStateError):
        decode_value(value)


def test_rows_have_their_keys_and_bounds() -> None:
    longest = ConversationId("x" * 48)

    assert partition(BOB) == f"inbox/{BOB}"
    assert entry_span(2, 5) == seq_span(b"e/", 2, 5)
    assert len(last_seq_key(longest)) <= 64
    assert decode_value(encode_shared(bytes(8), longest, 2**63)) == SharedValue(
        bytes(8), longest, ConversationSeq(2**63)
    )
    assert decode_last_seq(encode_last_seq(7)) == 7
    with pytest.raises(CorruptStateError):
        decode_last_seq(b"7")
    assert Row(last_seq_key(CHAT), encode_last_seq(7)).key == b"c/chat"
