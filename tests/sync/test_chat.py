import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import CorruptStateError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, MessageId, UserId
from whisperkit.packing import pack
from whisperkit.strategy import Strategy
from whisperkit.sync import codec
from whisperkit.sync.chat import (
    FORK_REACH,
    MAX_UNREAD,
    Chat,
    Membership,
    Progress,
    chat_of,
    chat_spans,
    membership_key,
    rows_of,
)
from whisperkit.sync.frames import MAX_MEMBERS, EntryKind, RosterChange, SnapshotItem, StoredRow

CONV = ConversationId("chat")
ALICE, BOB, LAPTOP = DeviceId.named("alice", 1), DeviceId.named("bob", 1), DeviceId.named("bob", 2)
CAROL = UserId.named("carol")


def seq(number: int) -> ConversationSeq:
    return ConversationSeq(number)


def row(
    number: int, kind: EntryKind, shared: bytes | None = b"x", *, sender: DeviceId = ALICE, own: bytes | None = None
) -> StoredRow:
    return StoredRow(MessageId(bytes([number % 256]) * 16), kind, seq(number), sender, 0, own, shared)


def roster(number: int, *added: UserId, removed: tuple[UserId, ...] = (), own: bytes | None = None) -> StoredRow:
    return row(number, EntryKind.ROSTER, codec.encode_change(RosterChange(added, removed)), own=own)


def mode(number: int, strategy: int) -> StoredRow:
    return row(number, EntryKind.MODE, bytes([strategy]))


def after(*rows: StoredRow, chat: Chat | None = None) -> Chat:
    found = Chat(CONV) if chat is None else chat
    for one in rows:
        found = found.with_row(one, device=BOB, is_new=True)
    return found


def item(number: int, *members: UserId, strategy: Strategy = Strategy.SMALL, read_upto: int = 0) -> SnapshotItem:
    return SnapshotItem(CONV, seq(number), seq(number), strategy, members, seq(read_upto))


OTHER_ITEM = codec.encode_item(item(7)._replace(conv=ConversationId("other")))
GROUP = after(roster(1, ALICE.user, BOB.user))


def members(chat: Chat) -> tuple[UserId, ...]:
    assert chat.membership is not None
    return chat.membership.members


# ---- who is in


def test_members_come_and_go_by_roster_rows() -> None:
    chat = after(roster(2, CAROL), roster(3, removed=(ALICE.user,)), chat=GROUP)

    assert chat.membership is not None
    assert members(chat) == (BOB.user, CAROL)
    assert (chat.membership.roster_seq, chat.membership.is_whole) == (3, True)


def test_a_change_that_comes_twice_or_late_changes_nothing() -> None:
    chat = after(roster(2, CAROL), roster(3, removed=(CAROL,)), chat=GROUP)

    assert after(roster(2, CAROL), chat=chat) == chat


def test_who_is_removed_has_no_membership() -> None:
    assert after(roster(2, removed=(BOB.user,)), chat=GROUP).membership is None


def test_a_change_from_before_the_user_left_does_not_bring_them_back() -> None:
    left = GROUP.with_own_change(seq(7), RosterChange((), (BOB.user,)), BOB.user)

    late = after(roster(3, CAROL), chat=left)

    assert late.membership is None


def test_an_old_removal_does_not_end_a_newer_stay() -> None:
    chat = GROUP.with_item(item(9, BOB.user), is_fork=False)

    assert members(after(roster(5, removed=(BOB.user,)), chat=chat)) == (BOB.user,)


def test_who_comes_to_a_group_gets_its_state() -> None:
    state = codec.encode_item(item(7, ALICE.user, BOB.user, CAROL))

    chat = after(roster(7, BOB.user, own=state))

    assert members(chat) == (ALICE.user, BOB.user, CAROL)
    assert chat.progress.pulled_upto == 7


@pytest.mark.parametrize(
    "own",
    [
        None,
        b"\xc1",
        codec.encode_item(item(6, BOB.user)),
        OTHER_ITEM,
    ],
)
def test_who_comes_without_a_fitting_state_knows_that_somebody_is_missing(own: bytes | None) -> None:
    chat = after(roster(7, BOB.user, own=own))

    assert chat.membership is not None
    assert (members(chat), chat.membership.is_whole) == ((BOB.user,), False)


def test_a_change_that_cannot_be_read_does_not_stop_the_inbox() -> None:
    chat = after(row(2, EntryKind.ROSTER, b"\xc1"), row(3, EntryKind.MODE, b"\x09"), chat=GROUP)

    assert members(chat) == members(GROUP)
    assert not chat.is_pulled
    assert chat.progress.pulled_upto == 3


def test_a_list_beyond_the_limit_is_given_up() -> None:
    users = tuple(UserId.named(str(number)) for number in range(MAX_MEMBERS))
    full = Membership(seq(1), seq(1), Strategy.MEGA, users)

    after_one = full.after(seq(2), RosterChange((CAROL,)))

    assert (after_one.members, after_one.is_whole) == ((), False)


def test_own_changes_stand_above_those_of_others_that_arrive_later() -> None:
    chat = GROUP.with_own_change(seq(5), RosterChange((CAROL,)), BOB.user)

    late = after(roster(4, removed=(CAROL,)), chat=chat)
    newer = after(roster(6, UserId.named("dave")), chat=late)

    assert chat.membership is not None
    assert chat.membership.version == 5
    assert members(chat) == members(late) == (ALICE.user, BOB.user, CAROL)
    assert newer.membership is not None
    assert (newer.membership.own, newer.membership.version) == ((), 6)
    assert members(newer) == (ALICE.user, BOB.user, CAROL, UserId.named("dave"))


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), max_size=12))
def test_own_changes_may_be_worked_in_at_any_time_after_they_were_posted(
    script: list[tuple[bool, bool, int]],
) -> None:
    users = [UserId.named(str(number)) for number in range(4)]
    changes = [
        (is_own, seq(number), RosterChange((users[user],)) if is_added else RosterChange((), (users[user],)))
        for number, (is_own, is_added, user) in enumerate(script, start=2)
    ]
    straight = early = Membership(seq(1), seq(1), Strategy.SMALL, (ALICE.user,))

    for is_own, number, change in changes:
        straight = straight.after_own(number, change) if is_own else straight.after(number, change)
    for is_own, number, change in (*filter(lambda one: one[0], changes), *(one for one in changes if not one[0])):
        early = early.after_own(number, change) if is_own else early.after(number, change)

    assert set(early.members) == set(straight.members)


def test_an_own_change_is_worked_in_once() -> None:
    chat = GROUP.with_own_change(seq(5), RosterChange((CAROL,)), BOB.user)

    assert chat.with_own_change(seq(5), RosterChange((CAROL,)), BOB.user) == chat
    assert GROUP.with_own_change(seq(1), RosterChange((CAROL,)), BOB.user).membership == GROUP.membership


def test_creating_a_group_and_leaving_it_are_own_changes_too() -> None:
    made = Chat(CONV).with_own_change(seq(1), RosterChange((BOB.user, CAROL)), BOB.user)

    assert members(made) == (BOB.user, CAROL)
    assert made.with_own_change(seq(2), RosterChange((), (BOB.user,)), BOB.user).membership is None
    assert Chat(CONV).with_own_change(seq(9), RosterChange((CAROL,)), BOB.user) == Chat(CONV)


# ---- how rows travel, what is unread


def test_a_mode_row_says_how_later_rows_travel() -> None:
    mega = after(mode(2, Strategy.MEGA), chat=GROUP)

    assert mega.is_pulled
    assert not after(mode(3, Strategy.SMALL), chat=mega).is_pulled
    assert after(mode(1, Strategy.SMALL), chat=mega).is_pulled
    assert not after(mode(2, Strategy.MEGA)).is_pulled


def test_a_badge_counts_messages_of_others_that_were_not_read() -> None:
    chat = after(
        row(2, EntryKind.MESSAGE),
        row(3, EntryKind.MESSAGE, sender=LAPTOP),
        row(4, EntryKind.PLACEHOLDER),
        roster(5, CAROL),
        chat=GROUP,
    )

    assert chat.badge == 2
    assert chat.read(seq(2)).badge == 1
    assert chat.read(seq(9)).badge == 0
    assert chat.read(seq(9)).read(seq(2)) == chat.read(seq(9))
    assert after(row(8, EntryKind.MESSAGE), chat=chat.read(seq(9))).badge == 0
    assert chat.with_row(row(6, EntryKind.MESSAGE), device=BOB, is_new=False).badge == 2


def test_a_badge_counts_what_is_known_and_not_fetched_where_rows_are_pulled() -> None:
    chat = after(mode(2, Strategy.MEGA), chat=GROUP)
    chat = chat._replace(progress=chat.progress._replace(head=seq(12)))

    assert chat.badge == 10
    assert chat.read(seq(10)).badge == 2


def test_a_badge_has_a_bound() -> None:
    chat = after(*(row(number, EntryKind.MESSAGE) for number in range(2, MAX_UNREAD + 9)), chat=GROUP)

    assert chat.badge == len(chat.progress.unread) == MAX_UNREAD


# ---- snapshots


def test_a_snapshot_says_how_it_is_and_old_entries_change_nothing() -> None:
    chat = Chat(CONV).with_item(item(9, BOB.user, CAROL, read_upto=4), is_fork=False)

    assert (chat.progress.pulled_upto, chat.progress.head, chat.progress.read_upto) == (9, 9, 4)
    assert members(after(roster(5, ALICE.user), mode(6, Strategy.MEGA), chat=chat)) == (BOB.user, CAROL)
    assert not after(mode(6, Strategy.MEGA), chat=chat).is_pulled


def test_a_snapshot_older_than_what_is_here_changes_nobody() -> None:
    chat = after(roster(8, CAROL), chat=GROUP)

    assert chat.with_item(item(7, BOB.user), is_fork=False).membership == chat.membership


def test_a_snapshot_after_a_fork_is_believed_and_pulls_again() -> None:
    chat = GROUP._replace(progress=Progress(pulled_upto=seq(5_000), head=seq(5_000)))

    forked = chat.with_item(item(4_000, BOB.user, strategy=Strategy.MEGA), is_fork=True)

    assert forked.progress == Progress(pulled_upto=seq(4_000 - FORK_REACH), head=seq(4_000))
    assert members(forked) == (BOB.user,)
    assert forked.membership is not None
    assert not forked.membership.is_whole


def test_what_was_fetched_is_not_fetched_again_after_a_snapshot() -> None:
    chat = after(row(3, EntryKind.MESSAGE), chat=GROUP)

    assert chat.with_item(item(9, BOB.user), is_fork=False).progress.pulled_upto == 3


# ---- rows


def test_a_conversation_comes_back_from_its_rows() -> None:
    chat = after(row(2, EntryKind.MESSAGE), roster(3, CAROL), chat=GROUP)
    chat = chat.with_own_change(seq(5), RosterChange((), (CAROL,)), BOB.user)

    put, delete = rows_of(Chat(CONV), chat)

    assert delete == ()
    assert chat_of(CONV, dict(put)) == chat
    assert [one.key for one in put] == [span.start for span in chat_spans(CONV)]


def test_only_what_changed_is_written() -> None:
    message = after(row(2, EntryKind.MESSAGE), chat=GROUP)
    left = after(roster(3, removed=(BOB.user,)), chat=message)

    assert rows_of(GROUP, GROUP) == ((), ())
    assert [one.key for one in rows_of(GROUP, message)[0]] == [b"c/chat"]
    assert rows_of(message, left)[1] == (membership_key(CONV),)


@pytest.mark.parametrize(
    "rows",
    [
        {b"c/chat": b"\xc1"},
        {b"c/chat": pack(1, 2)},
        {b"r/chat": pack(1, 1, 9, (), True, ())},
        {b"r/chat": pack(1, 1, 1, ("nobody",), True, ())},
        {b"r/chat": pack(1, 1, 1, (), True, (1,))},
    ],
)
def test_rows_of_another_form_are_corrupt(rows: dict[bytes, bytes]) -> None:
    with pytest.raises(CorruptStateError):
        chat_of(CONV, rows)
