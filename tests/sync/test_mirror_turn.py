"""What a mirror does with many messages at once, beside the same one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq, MessageId
from whisperkit.partitions import Row
from whisperkit.sync import frames
from whisperkit.sync.chat import MAX_UNREAD, Chat, Progress
from whisperkit.sync.codec import encode_change
from whisperkit.sync.cursor import Cursor, first_tag, next_tag
from whisperkit.sync.frames import Answer, EntryKind, Frame, MarkKind, RosterChange, StoredRow
from whisperkit.sync.mirror import Mirror, attach, receive
from whisperkit.sync.mirror_turn import with_messages

ALICE, BOB, TABLET = DeviceId.named("alice", 1), DeviceId.named("bob", 1), DeviceId.named("bob", 2)
CONVS = (ConversationId("one"), ConversationId("two"))
START = Cursor(1, InboxSeq(0), first_tag(BOB))

Messages = Sequence[tuple[ConversationSeq, bool]]
WorksIn = Callable[[Chat, Messages], Chat]


def one_by_one(chat: Chat, messages: Messages) -> Chat:
    """The oracle."""
    for seq, is_counted in messages:
        sender = ALICE if is_counted else TABLET
        row = StoredRow(MessageId(bytes(16)), EntryKind.MESSAGE, seq, sender, 0, None, None)
        chat = chat.with_row(row, device=BOB, is_new=True)
    return chat


def check(works_in: WorksIn, progress: Progress, messages: Messages) -> None:
    chat = Chat(CONVS[0], progress)
    assert works_in(chat, messages) == one_by_one(chat, messages)


seqs = st.integers(0, 40).map(ConversationSeq)
progresses = st.builds(Progress, seqs, seqs, seqs, st.lists(seqs, max_size=4).map(tuple))


@given(progresses, st.lists(st.tuples(seqs, st.booleans()), min_size=1, max_size=9))
def test_messages_are_worked_in_as_if_they_came_one_by_one(progress: Progress, messages: Messages) -> None:
    check(with_messages, progress, messages)


def counts_what_was_read(chat: Chat, messages: Messages) -> Chat:
    after = with_messages(chat._replace(progress=chat.progress._replace(read_upto=ConversationSeq(0))), messages)
    return after._replace(progress=after.progress._replace(read_upto=chat.progress.read_upto))


def counts_all(chat: Chat, messages: Messages) -> Chat:
    return with_messages(chat, [(seq, True) for seq, _ in messages])


def without_a_bound(chat: Chat, messages: Messages) -> Chat:
    after = with_messages(chat, messages)
    unread = chat.progress.unread + tuple(seq for seq, is_counted in messages if is_counted)
    return after._replace(progress=after.progress._replace(unread=unread))


def believes_the_last(chat: Chat, messages: Messages) -> Chat:
    after = with_messages(chat, messages)
    return after._replace(progress=after.progress._replace(head=messages[-1][0]))


BADGE = tuple(map(ConversationSeq, range(1, MAX_UNREAD + 1)))
AT_ITS_BOUND = Progress(ConversationSeq(MAX_UNREAD), ConversationSeq(MAX_UNREAD), ConversationSeq(0), BADGE)
READ = Progress(ConversationSeq(2), ConversationSeq(9), ConversationSeq(5))
NEXT = ConversationSeq(MAX_UNREAD + 1)


@pytest.mark.parametrize(
    ("broken", "progress", "messages"),
    [
        (counts_what_was_read, READ, [(ConversationSeq(3), True), (ConversationSeq(6), True)]),
        (counts_all, READ, [(ConversationSeq(6), False)]),
        (without_a_bound, AT_ITS_BOUND, [(NEXT, True)]),
        (believes_the_last, READ, [(ConversationSeq(3), True)]),
    ],
)
def test_a_wrong_way_of_working_them_in_is_caught(broken: WorksIn, progress: Progress, messages: Messages) -> None:
    check(with_messages, progress, messages)

    with pytest.raises(AssertionError):
        check(broken, progress, messages)


# ---- a batch --------------------------------------------------------------------------------------------------------

KINDS = (EntryKind.MESSAGE, EntryKind.PLACEHOLDER, EntryKind.ROSTER, EntryKind.MODE, EntryKind.ASIDE)


def entries(drawn: Sequence[tuple[int, EntryKind, DeviceId, int]]) -> list[Frame]:
    """Entries in order, some of them with the id of an earlier one, and a mark behind each fifth."""
    tag, last = START.tag, dict.fromkeys(CONVS, 0)
    out: list[Frame] = [frames.Welcome(Answer.DELTA, START, START)]
    for place, (which, kind, sender, number) in enumerate(drawn, start=1):
        conv = CONVS[which]
        last[conv] += 1
        message_id = MessageId(number.to_bytes(16, "big"))
        tag = next_tag(tag, message_id)
        shared = {EntryKind.ROSTER: encode_change(RosterChange((BOB.user, ALICE.user))), EntryKind.MODE: b"\x01"}
        seq, none = ConversationSeq(last[conv]), ConversationSeq(0)
        where = conv if kind is not EntryKind.ASIDE else frames.ASIDES
        out.append(
            frames.Entry(InboxSeq(place), tag, message_id, kind, where, seq, none, sender, 0, b"own", shared.get(kind))
        )
        if place % 5 == 0:
            out.append(frames.Mark(conv, BOB.user, MarkKind.READ, ConversationSeq(max(last[conv] - 1, 0))))
    return out


def taken(batches: Sequence[Sequence[Frame]]) -> tuple[Mirror, dict[bytes, bytes], list[object], list[Frame]]:
    """The mirror, its rows, what arrived and what was said, acknowledgements aside, of which a batch has one."""
    mirror = attach(Mirror(BOB, START), now=0.0)
    rows: dict[bytes, bytes] = {}
    arrived: list[object] = []
    said: list[Frame] = []
    for batch in batches:
        synced = receive(mirror, batch, rows, now=0.0)
        mirror = synced.state
        rows = {key: value for key, value in rows.items() if key not in synced.delete}
        rows |= dict[bytes, bytes](map(_pair, synced.put))
        arrived += synced.arrived
        said += [frame for frame in synced.send if not isinstance(frame, frames.Ack)]
    return mirror, rows, arrived, said


def _pair(row: Row) -> tuple[bytes, bytes]:
    return row.key, row.value


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from(KINDS), st.sampled_from((ALICE, TABLET)), st.integers(0, 9)),
        max_size=20,
    )
)
def test_a_batch_comes_to_what_its_frames_come_to(drawn: list[tuple[int, EntryKind, DeviceId, int]]) -> None:
    found = entries(drawn)

    assert taken([found]) == taken([[frame] for frame in found])
