"""The ledger sees each broken promise; what keeps them all, it lets pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from whisperkit import accounts
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, GatewayId, InboxSeq, MessageId, Owner, UserId
from whisperkit.partitions import Change, Partition, Row, seq_key
from whisperkit.service import owners
from whisperkit.stores import Mark
from whisperkit.strategy import Strategy
from whisperkit.sync import conversation as conversations
from whisperkit.sync import frames, mirror
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.codec import entry_tail
from whisperkit.sync.conversation import Conversation
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import Answer, EntryKind, MarkKind, RosterChange
from whisperkit.sync.inbox import Inbox, Item
from whisperkit.sync.mirror import Mirror
from whisperkit.sync.rows import PostRow, as_row
from whisperkit.testing.ledger import Ledger, Violation
from whisperkit.testing.sim_device import HISTORY

CONV = ConversationId("team")
WHERE = conversations.partition(CONV)
ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)
BOX = inboxes.partition(BOB)


def message_id(number: int) -> MessageId:
    return MessageId(bytes([number]) * 16)


class Chat:
    """A ledger, and what there is to tell it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ledger = Ledger(lambda: self.now, str)
        step = inboxes.open_inbox(Inbox(), BOB, epoch=1, link=1)
        self.inbox = step.state
        self.ledger.committed([Change(BOX, 0, inboxes.encode(self.inbox))])
        self.history = 0

    def post(
        self,
        seq: int,
        number: int | None = None,
        *,
        head: int | None = None,
        finished: int = 0,
        strategy: Strategy = Strategy.SMALL,
        change: RosterChange | None = None,
    ) -> None:
        """Row `seq` of the conversation is committed."""
        kind = EntryKind.MESSAGE if change is None else EntryKind.ROSTER
        sender = ALICE if change is None else None
        row = PostRow(ConversationSeq(seq), message_id(number or seq), kind, strategy, sender, 0, 0, change, b"x")
        state = Conversation(seq=ConversationSeq(head or seq), fanned_out=ConversationSeq(finished))
        self.ledger.committed([Change(WHERE, 0, conversations.encode(state), (as_row(row),))])

    def append(self, seq: int, *, spoil: Callable[[Change], Change] = lambda change: change) -> None:
        """A reference to row `seq` comes into Bob's inbox."""
        item = Item(message_id(seq), ConversationSeq(seq), b"", True)
        step = inboxes.append(self.inbox, [item], conv=CONV, fused=True)
        self.inbox = step.state
        self.ledger.committed([spoil(Change(BOX, 0, inboxes.encode(step.state), step.put))])

    def save(self, *seqs: int, cursor: int) -> None:
        """Bob's device saves rows, and its cursor."""
        rows: list[Row] = []
        for seq in seqs:
            self.history += 1
            value = seq.to_bytes(8, "big") + message_id(seq) + bytes([EntryKind.MESSAGE]) + CONV.encode()
            rows.append(Row(seq_key(HISTORY, self.history), value))
        state = Mirror(BOB, Cursor(1, InboxSeq(cursor), bytes(8)))
        self.ledger.saved(BOB, [Change(Partition(f"device/{BOB}"), 0, mirror.encode_mirror(state), tuple(rows))])

    def raise_mark(self, partition: Partition, name: str, value: int) -> None:
        """A mark becomes durable."""
        self.ledger.raised([Mark(partition, name, value)])

    def hear(self, frame: frames.Frame) -> None:
        """A frame reaches a device that has a cursor."""
        self.ledger.heard(ALICE, frame, has_cursor=True)

    def owed(self) -> list[str]:
        """What is missing for Bob."""
        return [violation.kind for violation in self.ledger.owed([BOB])]


def sent(seq: int) -> frames.Sent:
    return frames.Sent(CONV, 1, 1, message_id(seq), ConversationSeq(seq), 0)


def members(chat: Chat) -> None:
    """Alice and Bob are in; Bob has learned it."""
    chat.post(1, change=RosterChange((ALICE.user, BOB.user)), finished=1)
    chat.append(1)
    chat.save(1, cursor=1)


def test_a_chat_that_keeps_its_promises_passes() -> None:
    chat = Chat()
    members(chat)
    chat.post(2)
    chat.append(2)
    chat.raise_mark(WHERE, "fanned_out", 2)
    chat.hear(sent(2))
    chat.save(2, cursor=2)
    chat.raise_mark(WHERE, f"delivered/{BOB.user}", 2)
    chat.raise_mark(WHERE, f"delivered/{BOB.user}", 1)
    chat.raise_mark(BOX, "acked/1", 2)
    chat.hear(frames.Mark(CONV, BOB.user, MarkKind.DELIVERED, ConversationSeq(2)))
    chat.hear(frames.Welcome(Answer.DELTA, Cursor(1, InboxSeq(0), bytes(8)), Cursor(1, InboxSeq(0), bytes(8))))

    assert chat.owed() == []
    assert chat.ledger.deliveries == 2
    assert list(chat.ledger.acknowledged) == [message_id(2)]


def _number_given_twice(chat: Chat) -> None:
    chat.post(1, 1)
    chat.post(1, 2)


def _posted_twice(chat: Chat) -> None:
    chat.post(1, 1)
    chat.post(2, 1)


def _went_back(chat: Chat) -> None:
    chat.post(2)
    chat.post(1)


def _finished_too_much(chat: Chat) -> None:
    chat.post(1, finished=2)


def _doubled(chat: Chat) -> None:
    chat.post(1)
    chat.append(1)
    chat.append(1)


def _out_of_order(chat: Chat) -> None:
    chat.post(1)
    chat.post(2)
    chat.append(2)
    chat.append(1)


def _dangling(chat: Chat) -> None:
    chat.append(1)


def _hole(chat: Chat) -> None:
    chat.post(1)
    chat.inbox = chat.inbox._replace(seq=InboxSeq(4))
    chat.append(1)


def _head_without_entry(chat: Chat) -> None:
    chat.post(1)
    chat.append(1, spoil=lambda change: change._replace(put=()))


def _broken_chain(chat: Chat) -> None:
    chat.post(1)
    chat.inbox = chat.inbox._replace(tag=bytes(8))
    chat.append(1)


def _broken_head(chat: Chat) -> None:
    chat.ledger.committed([Change(BOX, 1, inboxes.encode(chat.inbox._replace(tag=b"otherwas")))])


def _tick_too_early(chat: Chat) -> None:
    chat.post(1)
    chat.raise_mark(WHERE, f"delivered/{BOB.user}", 1)


def _acked_too_much(chat: Chat) -> None:
    chat.post(1)
    chat.append(1)
    chat.raise_mark(BOX, "acked/1", 1)


def _tick_lost(chat: Chat) -> None:
    chat.post(1)
    chat.append(1)
    chat.save(1, cursor=1)
    chat.raise_mark(BOX, "acked/1", 1)


def _applied_twice(chat: Chat) -> None:
    chat.save(1, cursor=1)
    chat.save(1, cursor=2)


def _order(chat: Chat) -> None:
    chat.save(2, 1, cursor=2)


def _tick_moved_back(chat: Chat) -> None:
    chat.hear(frames.Mark(CONV, BOB.user, MarkKind.READ, ConversationSeq(1)))


def _fork(chat: Chat) -> None:
    nowhere = Cursor(1, InboxSeq(0), bytes(8))
    chat.hear(frames.Welcome(Answer.FORKED, nowhere, nowhere))


def _sent_too_early(chat: Chat) -> None:
    chat.post(1)
    chat.hear(sent(1))


def _sent_without_a_job(chat: Chat) -> None:
    chat.post(1, strategy=Strategy.MID)
    chat.ledger.job_put(CONV, 0)
    chat.hear(sent(1))


def _lost(chat: Chat) -> None:
    chat.hear(sent(1))


def _leaked(chat: Chat) -> None:
    chat.post(1)
    chat.append(1)
    chat.owed()


@pytest.mark.parametrize(
    ("kind", "break_it"),
    [
        ("number given twice", _number_given_twice),
        ("posted twice", _posted_twice),
        ("went back", _went_back),
        ("finished too much", _finished_too_much),
        ("doubled", _doubled),
        ("out of order", _out_of_order),
        ("dangling", _dangling),
        ("inbox", _hole),
        ("inbox", _head_without_entry),
        ("chain", _broken_chain),
        ("chain", _broken_head),
        ("tick too early", _tick_too_early),
        ("acked too much", _acked_too_much),
        ("tick lost", _tick_lost),
        ("applied twice", _applied_twice),
        ("order", _order),
        ("tick moved back", _tick_moved_back),
        ("fork", _fork),
        ("SENT too early", _sent_too_early),
        ("SENT too early", _sent_without_a_job),
        ("lost", _lost),
        ("leaked", _leaked),
    ],
)
def test_a_broken_promise_is_seen_when_it_breaks(kind: str, break_it: Callable[[Chat], None]) -> None:
    with pytest.raises(Violation) as broken:
        break_it(Chat())

    assert broken.value.kind == kind


def test_what_is_missing_at_quiet_is_named() -> None:
    chat = Chat()
    members(chat)
    chat.post(2, finished=1)
    assert chat.owed() == ["unfinished", "lost"]

    chat.append(2)
    chat.raise_mark(WHERE, "fanned_out", 2)
    assert chat.owed() == ["lost"]

    chat.save(2, cursor=2)
    assert chat.owed() == []


def test_a_note_is_owed_until_it_is_taken_away() -> None:
    chat = Chat()
    owner = Owner(GatewayId("g1"), 7)
    noted = owners.note(owners.Notes(7), owner, CONV)
    settled = owners.settle(owners.Notes(7), owner, CONV)
    where = owners.partition(owner.gateway)
    chat.ledger.committed([Change(owners.GATEWAYS, 0, b"", owners.enlist(owner, None).put)])

    chat.ledger.committed([Change(where, 0, b"", noted.put)])
    assert chat.owed() == ["note left"]

    chat.ledger.committed([Change(where, 1, b"", delete=settled.delete)])
    assert chat.owed() == []


def test_who_has_a_note_must_be_listed() -> None:
    chat = Chat()
    owner = Owner(GatewayId("g1"), 7)
    noted = Change(owners.partition(owner.gateway), 0, b"", owners.note(owners.Notes(7), owner, CONV).put)
    before = Change(owners.GATEWAYS, 0, b"", owners.enlist(Owner(owner.gateway, 6), None).put)
    listed = Change(owners.GATEWAYS, 1, b"", owners.enlist(owner, None).put)
    delisted = Change(owners.GATEWAYS, 2, b"", delete=(owners.listed_key(owner.gateway),))

    chat.ledger.committed([before])
    with pytest.raises(Violation, match="not listed"):
        chat.ledger.committed([noted])
    chat.ledger.committed([listed])
    chat.ledger.committed([noted])
    with pytest.raises(Violation, match="not listed"):
        chat.ledger.committed([delisted])


def test_a_job_that_is_durable_is_enough_for_a_worker() -> None:
    chat = Chat()
    chat.post(1, strategy=Strategy.MID)
    chat.ledger.committed([Change(Partition("jobs/03"), 0, b"", (Row(CONV.encode(), bytes(7) + b"\x01" + bytes(16)),))])

    chat.hear(sent(1))

    assert message_id(1) in chat.ledger.acknowledged


def test_marks_in_partitions_count_as_marks() -> None:
    chat = Chat()
    chat.post(1)

    chat.ledger.committed([Change(Partition(f"marks/{WHERE}"), 0, b"", (Row(b"fanned_out", bytes(7) + b"\x01"),))])

    assert chat.ledger.fanned_out[CONV] == 1


def test_what_is_pulled_is_owed_to_who_was_there_and_still_is() -> None:
    chat = Chat()
    members(chat)
    chat.post(2, strategy=Strategy.MEGA, finished=2)
    assert chat.owed() == ["lost"]

    chat.now = 5.0
    chat.post(3, strategy=Strategy.MEGA, finished=3, change=RosterChange((), (BOB.user,)))
    chat.append(3)
    chat.save(3, cursor=2)
    assert chat.owed() == []


def test_who_is_linked_has_an_inbox_and_is_owed_nothing_from_before() -> None:
    chat = Chat()
    members(chat)
    step = inboxes.close_inbox(chat.inbox, link=1)
    chat.ledger.committed([Change(BOX, 2, inboxes.encode(step.state))])
    assert chat.owed() == ["no inbox"]

    chat.post(2, finished=2)
    chat.now = 100.0
    again = inboxes.open_inbox(step.state, BOB, epoch=1, link=2)
    chat.ledger.committed([Change(BOX, 3, inboxes.encode(again.state))])
    assert chat.owed() == []


def test_a_copy_and_a_placeholder_tell_what_was_posted() -> None:
    chat = Chat()
    members(chat)
    tail = entry_tail(
        message_id=message_id(2),
        kind=EntryKind.PLACEHOLDER,
        conv=CONV,
        conv_seq=ConversationSeq(2),
        pull_upto=ConversationSeq(0),
        sender=ALICE,
        at_ms=0,
        own=None,
        shared=None,
    )
    step = inboxes.append(chat.inbox, [Item(message_id(2), ConversationSeq(2), tail, False)], conv=CONV, fused=True)
    chat.ledger.committed([Change(BOX, 0, inboxes.encode(step.state), step.put)])

    with pytest.raises(Violation, match="number given twice"):
        chat.post(2, 3)


def test_accounts_say_who_is_linked() -> None:
    chat = Chat()
    new = accounts.NewDevice(1, b"", 0)
    step = accounts.register(accounts.NEW_ACCOUNT, new, at_ms=0)

    chat.ledger.committed([Change(accounts.partition(BOB.user), 0, accounts.encode(step.state))])

    assert chat.ledger.linked == {UserId(BOB.user): {BOB: 1}}
