"""The mirror against a server of a few dozen lines, over a wire that drops, repeats, reorders and cuts.

The device crashes between commits. In the end everything owed was applied once, in the order of its conversation.
The broken variants are named after the counterexamples of the models, and each must be caught.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import count
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from whisperkit.errors import CorruptStateError, UsageError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq, MessageId, UserId
from whisperkit.packing import pack
from whisperkit.strategy import Strategy
from whisperkit.sync import codec, frames
from whisperkit.sync import mirror as sync
from whisperkit.sync import mirror_state as sync_state
from whisperkit.sync.chat import Chat, Membership, Progress, chat_of, chat_spans, rows_of
from whisperkit.sync.cursor import Cursor, first_tag, next_tag
from whisperkit.sync.frames import Answer, EntryKind, Frame, MarkKind, RosterChange, SnapshotItem, StoredRow
from whisperkit.sync.mirror import LostTail, Mirror, Phase, Synced
from whisperkit.sync.mirror_turn import Turn

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)
CAROL = UserId.named("carol")
CONVS = (ConversationId("one"), ConversationId("two"))
ONE = CONVS[0]
START = Cursor(1, InboxSeq(0), first_tag(BOB))


# ---- a server of a few dozen lines


class Row:
    """A row of a conversation, and whether it is pulled."""

    def __init__(self, row: StoredRow, *, is_pulled: bool, pull_upto: int) -> None:
        self.row, self.is_pulled, self.pull_upto = row, is_pulled, pull_upto


class Server:
    """Bob's inbox and two conversations; Alice posts."""

    def __init__(self) -> None:
        self.epoch = 1
        self.convs: dict[ConversationId, list[Row]] = {conv: [] for conv in CONVS}
        self.strategy = dict.fromkeys(CONVS, Strategy.SMALL)
        self.inbox: list[tuple[bytes, ConversationId, Row]] = []
        self.floor = 0
        self.acked = 0
        self.ids = 0
        for conv in CONVS:
            self.post(conv, EntryKind.ROSTER, codec.encode_change(RosterChange((ALICE.user, BOB.user))))

    def post(self, conv: ConversationId, kind: EntryKind, shared: bytes) -> StoredRow:
        rows, self.ids = self.convs[conv], self.ids + 1
        message_id = MessageId(self.ids.to_bytes(16, "big"))
        row = StoredRow(message_id, kind, ConversationSeq(len(rows) + 1), ALICE, 0, None, shared)
        is_pulled = not self.strategy[conv].is_pushed and kind is not EntryKind.MODE
        upto = max((one.row.conv_seq for one in rows if one.is_pulled), default=0)
        rows.append(Row(row, is_pulled=is_pulled, pull_upto=upto))
        if kind is EntryKind.MODE:
            self.strategy[conv] = Strategy(shared[0])
        if not is_pulled:
            self.append(conv, rows[-1])
        return row

    def append(self, conv: ConversationId, row: Row) -> None:
        self.inbox.append((next_tag(self.tag(len(self.inbox)), row.row.message_id), conv, row))

    def tag(self, seq: int) -> bytes:
        return self.inbox[seq - 1][0] if seq else first_tag(BOB)

    def cursor(self, seq: int) -> Cursor:
        return Cursor(self.epoch, InboxSeq(seq), self.tag(seq))

    @property
    def head(self) -> Cursor:
        return self.cursor(len(self.inbox))

    def heads(self) -> frames.Head:
        return frames.Head(self.head, {conv: ConversationSeq(len(rows)) for conv, rows in self.convs.items()})

    def entry(self, seq: int) -> frames.Entry:
        tag, conv, found = self.inbox[seq - 1]
        row = found.row
        pull_upto = ConversationSeq(found.pull_upto)
        where = (InboxSeq(seq), tag, row.message_id, row.kind, conv, row.conv_seq, pull_upto)
        return frames.Entry(*where, row.sender, row.at_ms, row.own, row.shared)

    def answer(self, cursor: Cursor | None) -> Answer:
        if cursor is None or (cursor.epoch == self.epoch and cursor.seq < self.floor):
            return Answer.SNAPSHOT
        if cursor.epoch != self.epoch:
            return Answer.FORKED
        if cursor.seq > len(self.inbox):
            return Answer.AHEAD
        return Answer.DELTA if self.tag(cursor.seq) == cursor.tag else Answer.FORKED

    def sync(self, cursor: Cursor | None) -> list[Frame]:
        """The answer to HELLO or PULL, and everything that follows."""
        answer, floor = self.answer(cursor), self.cursor(self.floor)
        out: list[Frame] = [frames.Welcome(answer, self.head, floor)]
        if answer is not Answer.DELTA or cursor is None:
            items = [self.item(conv) for conv in CONVS]
            out += [frames.Snapshot(floor, n, n == len(items) - 1, (item,)) for n, item in enumerate(items)]
            cursor = floor
        return out + [self.entry(seq) for seq in range(cursor.seq + 1, len(self.inbox) + 1)]

    def item(self, conv: ConversationId) -> SnapshotItem:
        seq, roster = ConversationSeq(len(self.convs[conv])), self.roster(conv)
        return SnapshotItem(conv, seq, roster[0], self.strategy[conv], roster[1], ConversationSeq(0))

    def roster(self, conv: ConversationId) -> tuple[ConversationSeq, tuple[UserId, ...]]:
        seq, members = 0, dict[UserId, None]()
        for row in self.convs[conv]:
            if row.row.kind is EntryKind.ROSTER:
                change, seq = codec.decode_change(row.row.shared or b""), row.row.conv_seq
                members = {user: None for user in (*members, *change.added) if user not in change.removed}
        return ConversationSeq(seq), tuple(members)

    def take(self, frame: Frame) -> list[Frame]:
        match frame:
            case frames.Pull(cursor):
                return self.sync(cursor)
            case frames.Ack(cursor):
                if self.answer(cursor) is Answer.DELTA:
                    self.acked = max(self.acked, cursor.seq)
                return []
            case frames.Range(conv, after, upto, limit):
                limit = min(limit, 2)
                span = [one for one in self.convs[conv] if after < one.row.conv_seq <= upto]
                rows = [one.row for one in span if one.is_pulled or one.row.kind is EntryKind.MODE]
                reach = rows[limit - 1].conv_seq if len(rows) > limit else upto
                return [frames.Rows(conv, after, reach, tuple(rows[:limit]), ConversationSeq(len(self.convs[conv])))]
            case _:
                return []


# ---- the device: everything that is saved, and a mirror in memory


class Device:
    """Bob's phone. `history` and `rows` change in one commit; a crash leaves what was committed."""

    # What is saved together, in this order; the model has only one right one.
    commits: ClassVar[tuple[str, ...]] = ("ratchet history rows",)

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.saved = sync.encode_mirror(Mirror(BOB))
        self.history: list[tuple[ConversationId, StoredRow]] = []
        self.opened_keys: set[bytes] = set()
        self.lost: list[LostTail] = []
        self.mirror = Mirror(BOB)

    def load(self, spans: Sequence[Any]) -> dict[bytes, bytes]:
        return {key: self.rows[key] for span in spans for key in self.rows if span.start <= key < span.stop}

    def commit(self, synced: Synced, crash_after: int | None) -> bool:
        """Save, and say whether the device is still alive."""
        for number, names in enumerate(self.commits):
            if crash_after == number:
                return False
            for name in names.split():
                getattr(self, f"save_{name}")(synced)
        if crash_after is not None:
            return False
        self.mirror = synced.state
        return True

    def save_ratchet(self, synced: Synced) -> None:
        """A message key opens one ciphertext once."""
        self.decrypted = [one for one in synced.arrived if one.row.message_id not in self.opened_keys]
        self.opened_keys |= {one.row.message_id for one in synced.arrived}

    def save_history(self, synced: Synced) -> None:
        self.history += [(one.conv, one.row) for one in self.decrypted]
        self.lost += synced.lost

    def save_rows(self, synced: Synced) -> None:
        self.rows.update(synced.put)
        for key in synced.delete:
            self.rows.pop(key, None)
        self.saved = sync.encode_mirror(synced.state)

    def restart(self) -> None:
        self.mirror = sync.decode_mirror(self.saved)

    def chat(self, conv: ConversationId) -> Chat:
        return chat_of(conv, self.load(chat_spans(conv)))

    def followed(self) -> list[ConversationId]:
        return [conv for conv in CONVS if self.chat(conv).is_pulled]


class World:
    """Both, and the wire between them."""

    def __init__(self, rng: random.Random, device: type[Device] = Device) -> None:
        self.rng = rng
        self.server, self.device = Server(), device()
        self.up: list[Frame] = []
        self.down: list[Frame] = []
        self.now = 0.0
        self.excused: set[MessageId] = set()

    # -- what happens

    def post(self) -> None:
        conv = self.rng.choice(CONVS)
        row = self.server.post(conv, EntryKind.MESSAGE, b"x")
        self.push(row)

    def switch(self) -> None:
        conv = self.rng.choice(CONVS)
        strategy = Strategy.SMALL if self.server.strategy[conv] is Strategy.MEGA else Strategy.MEGA
        self.push(self.server.post(conv, EntryKind.MODE, bytes([strategy])))

    def change_roster(self) -> None:
        conv = self.rng.choice(CONVS)
        is_in = CAROL in self.server.roster(conv)[1]
        change = RosterChange((), (CAROL,)) if is_in else RosterChange((CAROL,), ())
        self.push(self.server.post(conv, EntryKind.ROSTER, codec.encode_change(change)))

    def push(self, row: StoredRow) -> None:
        is_online = self.device.mirror.phase is not Phase.OFFLINE
        if is_online and self.server.inbox[-1][2].row is row:
            self.down.append(self.server.entry(len(self.server.inbox)))

    def connect(self) -> None:
        if self.device.mirror.phase is not Phase.OFFLINE:
            return
        self.device.mirror = sync.attach(self.device.mirror, followed=self.device.followed(), now=self.now)
        self.up, self.down = [], self.server.sync(self.device.mirror.cursor)

    def deliver(self, count: int | None = None, crash_after: int | None = None) -> None:
        """Let the device read from the link."""
        count = self.rng.randint(1, 4) if count is None else count
        batch, self.down = self.down[:count], self.down[count:]
        rows = self.device.load(sync.rows_for(self.device.mirror, batch))
        self.save(sync.receive(self.device.mirror, batch, rows, now=self.now), crash_after)

    def save(self, synced: Synced, crash_after: int | None = None) -> None:
        if not self.device.commit(synced, crash_after):
            self.crash()
        elif synced.reconnect:
            self.cut()
        else:
            self.up += synced.send

    def serve(self) -> None:
        batch, self.up = self.up, []
        for frame in batch:
            self.down += self.server.take(frame)

    def beat(self) -> None:
        if self.device.mirror.phase is not Phase.OFFLINE:
            self.down.append(self.server.heads())

    def wait(self) -> None:
        self.now += 6.0
        due = sync.deadline(self.device.mirror)
        if due is not None and due <= self.now:
            rows = self.device.load(sync.rows_for(self.device.mirror, []))
            self.save(sync.handle_timer(self.device.mirror, rows, now=self.now))

    def look(self) -> None:
        conv = self.rng.choice(CONVS)
        self.open(conv)

    def open(self, conv: ConversationId) -> None:
        rows = self.device.load(chat_spans(conv))
        self.save(sync.open_chat(self.device.mirror, conv, rows, now=self.now))

    # -- what goes wrong

    def drop(self) -> None:
        if self.down:
            self.down.pop(self.rng.randrange(len(self.down)))

    def repeat(self) -> None:
        if self.down:
            self.down.insert(self.rng.randrange(len(self.down)), self.rng.choice(self.down))

    def reorder(self) -> None:
        if len(self.down) > 1:
            self.down.insert(0, self.down.pop(self.rng.randrange(len(self.down))))

    def drop_up(self) -> None:
        self.up = self.up[: self.rng.randrange(len(self.up) + 1)]

    def cut(self) -> None:
        self.up, self.down = [], []
        self.device.mirror = sync.detach(self.device.mirror)

    def crash(self) -> None:
        self.up, self.down = [], []
        self.device.restart()

    def crash_in_commit(self) -> None:
        if self.down:
            self.deliver(crash_after=self.rng.randint(0, len(self.device.commits)))

    def trim(self) -> None:
        """By age: entries that the device may not have seen are gone, and it will be told."""
        upto = self.rng.randint(self.server.floor, len(self.server.inbox))
        gone = self.server.inbox[self.server.acked : upto]
        self.excused |= {row.row.message_id for _, _, row in gone}
        self.server.floor = upto

    def lose_tail(self) -> None:
        """The store loses the last entries; those that are still owed are appended again, behind newer ones."""
        inbox = self.server.inbox
        lost = inbox[max(len(inbox) - self.rng.randint(1, 3), self.server.floor) :]
        del inbox[len(inbox) - len(lost) :]
        self.server.acked = min(self.server.acked, len(inbox))
        if self.rng.random() < 0.5:
            self.server.post(self.rng.choice(CONVS), EntryKind.MESSAGE, b"x")
            # What was appended again may stand behind a newer row of its conversation, in this model only:
            # the service finishes in order. It is put back in front.
        for _, conv, row in lost:
            self.server.append(conv, row)

    # -- the end

    def heal(self) -> None:
        """No more faults: beats go on, and everything owed has to come."""
        for conv in CONVS:
            if conv not in self.device.mirror.opened:
                self.open(conv)
        for _ in range(200):
            self.connect()
            self.serve()
            self.deliver(count=len(self.down))
            self.beat()
            self.deliver(count=len(self.down))
            self.serve()
            self.wait()
            if self.is_settled():
                return
        raise AssertionError(f"stuck in {self.device.mirror.phase}: {self.device.mirror}")

    def is_settled(self) -> bool:
        mirror = self.device.mirror
        is_quiet = not (self.up or self.down or mirror.held or mirror.fetching)
        return mirror.phase is Phase.LIVE and mirror.cursor == self.server.head and is_quiet and not self.behind()

    def behind(self) -> bool:
        return any(
            self.server.strategy[conv] is Strategy.MEGA
            and self.device.chat(conv).progress.pulled_upto < len(self.server.convs[conv])
            for conv in CONVS
        )

    def check_always(self) -> None:
        ids = [row.message_id for _, row in self.device.history]
        assert len(ids) == len(set(ids)), "applied twice"
        for _, _, row in self.server.inbox[: self.server.acked]:
            is_here = row.row.message_id in ids
            assert is_here or row.row.message_id in self.excused, "acknowledged, and never seen"

    def check_order(self) -> None:
        for conv in CONVS:
            seqs = [row.conv_seq for where, row in self.device.history if where == conv]
            assert seqs == sorted(seqs), f"{conv} out of order: {seqs}"

    def check_all(self, *, is_whole: bool) -> None:
        for conv in CONVS:
            owed = {one.row.message_id for one in self.server.convs[conv]} - self.excused
            here = {row.message_id for where, row in self.device.history if where == conv}
            if is_whole:
                assert owed <= here, f"{conv} misses {len(owed - here)}"
            chat, (seq, members) = self.device.chat(conv), self.server.roster(conv)
            assert chat.membership is not None
            assert chat.membership.strategy is self.server.strategy[conv]
            if chat.membership.is_whole:
                assert set(chat.membership.members) == set(members)
                assert chat.membership.roster_seq == seq


# ---- examples


def entry(number: int, before: Cursor, conv: ConversationId = ONE, **changes: Any) -> frames.Entry:
    """A message of Alice that fits behind a cursor."""
    message_id = MessageId(number.to_bytes(16, "big"))
    found = frames.Entry(
        InboxSeq(before.seq + 1),
        next_tag(before.tag, message_id),
        message_id,
        EntryKind.MESSAGE,
        conv,
        ConversationSeq(number),
        ConversationSeq(0),
        ALICE,
        0,
        b"own",
        None,
    )
    return found._replace(**changes)


def behind(one: frames.Entry) -> Cursor:
    return Cursor(1, one.seq, one.tag)


def live(cursor: Cursor = START) -> Mirror:
    mirror = sync.attach(Mirror(BOB, cursor), now=0.0)
    return take(mirror, frames.Welcome(Answer.DELTA, cursor, cursor)).state


def take(mirror: Mirror, *batch: Frame, rows: dict[bytes, bytes] | None = None, now: float = 0.0) -> Synced:
    return sync.receive(mirror, batch, rows or {}, now=now)


def mega(upto: int) -> dict[bytes, bytes]:
    """The rows of a conversation that is pulled, fetched up to here."""
    membership = Membership(ConversationSeq(1), ConversationSeq(1), Strategy.MEGA, (ALICE.user, BOB.user))
    chat = Chat(ONE, Progress(ConversationSeq(upto), ConversationSeq(upto)), membership)
    return dict(rows_of(Chat(ONE), chat)[0])


def pulled(number: int, kind: EntryKind = EntryKind.MESSAGE, sender: DeviceId = ALICE) -> StoredRow:
    message_id = MessageId(number.to_bytes(16, "big"))
    return StoredRow(message_id, kind, ConversationSeq(number), sender, 0, None, b"x")


def item_of(conv: ConversationId, seq: int, strategy: Strategy, members: tuple[UserId, ...]) -> SnapshotItem:
    zero, one = ConversationSeq(0), ConversationSeq(1)
    return SnapshotItem(conv, ConversationSeq(seq), one, strategy, members, zero)


def rows_frame(after: int, upto: int, *found: StoredRow) -> frames.Rows:
    return frames.Rows(ONE, ConversationSeq(after), ConversationSeq(upto), found, ConversationSeq(upto))


def test_a_batch_is_applied_and_acknowledged_as_a_whole() -> None:
    one = entry(1, START)
    two = entry(2, behind(one))

    synced = take(live(), one, two)

    assert [arrived.row.message_id for arrived in synced.arrived] == [one.message_id, two.message_id]
    assert synced.send == (frames.Ack(behind(two)),)
    assert synced.state.cursor == behind(two)
    assert synced.must_save(live())


def test_a_batch_that_came_before_changes_nothing() -> None:
    once = take(live(), entry(1, START))

    twice = take(once.state, entry(1, START), rows=dict(once.put))

    assert twice == Synced(once.state)
    assert not twice.must_save(once.state)


def test_a_gap_is_asked_for_once() -> None:
    one = entry(1, START)
    two = entry(2, behind(one))

    synced = take(live(), two, two)

    assert synced.send == (frames.Pull(START),)
    assert take(synced.state, two).send == ()
    assert take(synced.state, one, two).state.cursor == behind(two)


def test_a_link_that_does_not_fit_is_not_applied() -> None:
    synced = take(live(), entry(1, START, tag=b"wrong!!!"))

    assert synced.send == (frames.Pull(START),)
    assert synced.arrived == ()


def test_the_same_number_with_another_past_is_asked_about_at_once() -> None:
    other = START._replace(tag=b"another!")

    synced = take(live(), frames.Head(other, {}))

    assert synced.send == (frames.Pull(START),)


def test_a_frontier_behind_the_head_for_five_seconds_sends_pull() -> None:
    head = START._replace(seq=InboxSeq(1), tag=b"12345678")
    waiting = take(live(), frames.Head(head, {}), now=100.0).state

    early = sync.handle_timer(waiting, {}, now=104.0)
    late = sync.handle_timer(waiting, {}, now=105.0)

    assert sync.deadline(waiting) == 105.0
    assert (early.send, late.send) == ((), (frames.Pull(START),))
    assert sync.deadline(late.state) == 110.0
    assert sync.deadline(live()) is None


def test_a_newer_entry_than_the_head_is_no_disagreement() -> None:
    assert sync.deadline(take(live(), entry(1, START)).state) is None


def test_a_link_without_a_welcome_is_given_up() -> None:
    mirror = sync.attach(Mirror(BOB), now=0.0)

    assert sync.deadline(mirror) == sync_state.STALLED_S
    assert sync.handle_timer(mirror, {}, now=30.0).reconnect


def test_a_link_is_attached_once_and_detached_at_any_time() -> None:
    with pytest.raises(UsageError):
        sync.attach(live(), now=0.0)

    assert sync.detach(sync.detach(live())) == Mirror(BOB, START)


def test_frames_without_a_place_are_dropped() -> None:
    offline = Mirror(BOB, START)
    part = frames.Snapshot(START, 0, True, ())

    assert take(offline, entry(1, START)) == Synced(offline)
    assert take(live(), part, frames.Bye(frames.ByeCode.NORMAL, None)) == Synced(live())


def test_entries_before_the_first_snapshot_are_dropped() -> None:
    mirror = sync.attach(Mirror(BOB), now=0.0)

    assert take(mirror, entry(1, START)).arrived == ()
    assert take(mirror, frames.Welcome(Answer.DELTA, START, START)).state.phase is Phase.CATCHING_UP


def test_a_snapshot_is_taken_part_by_part_and_its_cursor_last() -> None:
    items = [item_of(conv, 3, Strategy.SMALL, (BOB.user,))
             for conv in CONVS]  # fmt: skip
    head = START._replace(seq=InboxSeq(9), tag=b"12345678")
    mirror = take(sync.attach(Mirror(BOB), now=0.0), frames.Welcome(Answer.SNAPSHOT, head, START)).state

    first = take(mirror, frames.Snapshot(START, 0, False, (items[0],)))
    last = take(first.state, frames.Snapshot(START, 1, True, (items[1],)), rows=dict(first.put))

    assert (first.state.phase, first.state.cursor) == (Phase.SNAPSHOT, None)
    assert (last.state.phase, last.state.cursor) == (Phase.CATCHING_UP, START)
    assert last.send == (frames.Ack(START),)
    assert list(first.chats) == [CONVS[0]]
    assert last.lost == ()


def test_a_snapshot_with_a_missing_part_is_given_up() -> None:
    mirror = take(sync.attach(Mirror(BOB), now=0.0), frames.Welcome(Answer.SNAPSHOT, START, START)).state

    synced = take(mirror, frames.Snapshot(START, 1, True, ()))

    assert synced.reconnect
    assert synced.state.cursor is None


@pytest.mark.parametrize("answer", [Answer.FORKED, Answer.AHEAD])
def test_after_a_fork_own_messages_above_the_heads_are_sent_again_and_repeats_dropped(answer: Answer) -> None:
    one = entry(1, START)
    before = take(live(), one)
    item = item_of(ONE, 1, Strategy.SMALL, (BOB.user,))
    other = Cursor(2, InboxSeq(0), START.tag)
    snapshot = (frames.Welcome(answer, other, other), frames.Snapshot(other, 0, True, (item,)))

    synced = take(before.state, *snapshot, one, rows=dict(before.put))

    assert synced.lost == (LostTail(ONE, ConversationSeq(1)),)
    assert synced.arrived == ()
    assert synced.state.cursor == Cursor(2, one.seq, one.tag)


def test_who_is_in_no_item_of_a_snapshot_is_out() -> None:
    mirror = take(sync.attach(Mirror(BOB), now=0.0), frames.Welcome(Answer.SNAPSHOT, START, START)).state

    synced = take(mirror, frames.Snapshot(START, 0, True, ()), rows=mega(5))

    assert synced.delete == (b"r/one",)
    assert synced.chats[ONE].progress.pulled_upto == 5


def test_pulled_rows_are_fetched_before_the_entry_that_names_them() -> None:
    one = entry(9, START, pull_upto=ConversationSeq(8))
    two = entry(10, behind(one), CONVS[1])

    held = take(live()._replace(followed=frozenset({ONE}), told=frozenset({ONE})), one, two, two, rows=mega(5))
    half = take(held.state, rows_frame(5, 7, pulled(6), pulled(7)), rows=mega(5))
    done = take(half.state, rows_frame(7, 8, pulled(8), pulled(9)), rows=mega(7))

    assert held.send == (frames.Range(ONE, ConversationSeq(5), ConversationSeq(8), 256),)
    assert (held.arrived, held.state.cursor) == ((), START)
    assert half.send == (frames.Range(ONE, ConversationSeq(7), ConversationSeq(8), 256),)
    assert [arrived.row.conv_seq for arrived in done.arrived] == [8, 9, 10]
    assert done.state.cursor == behind(two)
    assert sync.rows_for(held.state, []) != ()


def test_what_is_held_has_a_bound() -> None:
    one = entry(9, START, pull_upto=ConversationSeq(8))
    batch = [one]
    for number in range(10, 300):
        batch.append(entry(number, behind(batch[-1])))

    assert len(take(live(), *batch, rows=mega(5)).state.held) == sync_state.MAX_HELD


def test_rows_nobody_asked_for_are_dropped() -> None:
    assert take(live(), rows_frame(5, 6, pulled(6)), rows=mega(5)).arrived == ()


def test_an_answer_that_says_nothing_is_waited_out() -> None:
    held = take(live(), entry(9, START, pull_upto=ConversationSeq(8)), rows=mega(5)).state

    synced = take(held, rows_frame(5, 5), rows=mega(5))

    assert synced.send == ()
    again = sync.handle_timer(synced.state, mega(5), now=5.0)
    assert again.send == (frames.Pull(START), frames.Range(ONE, ConversationSeq(5), ConversationSeq(8), 256))


def test_a_conversation_on_screen_is_fetched_as_its_head_moves() -> None:
    mirror = live()._replace(followed=frozenset(CONVS[:1]), told=frozenset(CONVS[:1]))
    heads = frames.Head(START, {ONE: ConversationSeq(7), CONVS[1]: ConversationSeq(9)})

    unseen = take(mirror, heads, rows=mega(5))
    opened = sync.open_chat(unseen.state, ONE, dict(unseen.put) | {b"r/one": mega(5)[b"r/one"]}, now=0.0)
    shown = take(opened.state, rows_frame(5, 7, pulled(6), pulled(7, sender=BOB)), rows=mega(5))

    assert (unseen.send, unseen.chats[ONE].badge) == ((), 2)
    assert opened.send == (frames.Range(ONE, ConversationSeq(5), ConversationSeq(7), 256),)
    assert [arrived.row.conv_seq for arrived in shown.arrived] == [6]
    assert take(shown.state, heads._replace(conversations={ONE: ConversationSeq(8)}), rows=mega(7)).send
    closed = sync.close_chat(shown.state, ONE)
    assert take(closed, heads._replace(conversations={ONE: ConversationSeq(8)}), rows=mega(7)).send == ()


def test_what_is_on_screen_is_fetched_in_one_order_whatever_texts_hash_to() -> None:
    convs = [ConversationId(f"room{n:02}") for n in range(20)]
    membership = Membership(ConversationSeq(1), ConversationSeq(1), Strategy.MEGA, (ALICE.user, BOB.user))
    progress = Progress(ConversationSeq(5), ConversationSeq(7))
    rows = dict(row for conv in convs for row in rows_of(Chat(conv), Chat(conv, progress, membership))[0])
    mirror = sync.attach(Mirror(BOB, START, opened=frozenset(convs)), now=0.0)

    synced = take(mirror, frames.Welcome(Answer.DELTA, START, START), rows=rows)

    assert [frame.conv for frame in synced.send if isinstance(frame, frames.Range)] == convs


def test_rows_behind_a_switch_that_the_inbox_has_not_brought_wait_for_it() -> None:
    mirror = live()._replace(fetching={ONE: ConversationSeq(8)})

    synced = take(mirror, rows_frame(5, 8, pulled(6), pulled(7, EntryKind.MODE), pulled(8)), rows=mega(5))

    assert [arrived.row.conv_seq for arrived in synced.arrived] == [6]
    assert synced.chats[ONE].progress.pulled_upto == 6


def test_conversations_that_are_pulled_are_followed() -> None:
    item = item_of(ONE, 3, Strategy.MEGA, ())
    mirror = take(sync.attach(Mirror(BOB), now=0.0), frames.Welcome(Answer.SNAPSHOT, START, START)).state

    synced = take(mirror, frames.Snapshot(START, 0, True, (item,)))
    again = sync.attach(sync.detach(synced.state), followed=[ONE], now=0.0)
    small = entry(4, START, kind=EntryKind.MODE, shared=bytes([Strategy.SMALL]))
    pushed = take(synced.state, small, rows=dict(synced.put))

    assert frames.Follow((ONE,)) in synced.send
    assert take(again, frames.Welcome(Answer.DELTA, START, START)).send == (frames.Follow((ONE,)),)
    assert frames.Follow(()) in pushed.send


def test_an_aside_belongs_to_no_conversation() -> None:
    aside = entry(1, START, frames.ASIDES, kind=EntryKind.ASIDE, conv_seq=ConversationSeq(0))

    synced = take(live(), aside)

    assert synced.chats == {}
    assert [(arrived.conv, arrived.row.kind) for arrived in synced.arrived] == [(frames.ASIDES, EntryKind.ASIDE)]
    assert take(synced.state, entry(1, behind(aside), frames.ASIDES), rows=dict(synced.put)).arrived == ()


def test_a_message_that_names_the_id_of_another_sender_is_not_kept_out() -> None:
    one = entry(1, START)
    before = take(live(), one)
    forged = entry(1, behind(one), sender=DeviceId.named("mallory", 1))

    assert take(before.state, forged, rows=dict(before.put)).arrived != ()


def test_reading_is_told_once_and_told_again_if_the_server_has_heard_less() -> None:
    one = take(live(), entry(1, START))
    read = sync.read(one.state, ONE, ConversationSeq(1), dict(one.put), now=0.0)
    rows = dict(one.put) | dict(read.put)
    mark = frames.Mark(ONE, BOB.user, MarkKind.READ, ConversationSeq(0))

    assert (one.chats[ONE].badge, read.chats[ONE].badge) == (1, 0)
    assert read.send == (frames.Read(ONE, ConversationSeq(1)),)
    assert sync.read(read.state, ONE, ConversationSeq(1), rows, now=0.0).send == ()
    assert take(read.state, mark, rows=rows).send == (frames.Read(ONE, ConversationSeq(1)),)


def test_what_was_read_on_another_device_is_read_here() -> None:
    one = take(live(), entry(1, START))
    mark = frames.Mark(ONE, BOB.user, MarkKind.READ, ConversationSeq(1))

    assert take(one.state, mark, rows=dict(one.put)).chats[ONE].badge == 0
    assert take(one.state, mark._replace(user=ALICE.user), rows=dict(one.put)).chats == {}
    assert take(one.state, mark._replace(kind=MarkKind.DELIVERED), rows=dict(one.put)).chats == {}


def test_a_roster_change_of_this_device_counts_when_its_sent_comes() -> None:
    change = RosterChange((BOB.user, CAROL))
    send = frames.Send(ONE, 1, 1, MessageId(bytes(16)), EntryKind.ROSTER, None, (), change, None, None)
    sent = frames.Sent(ONE, 1, 1, send.message_id, ConversationSeq(1), 0)

    membership = sync.posted(live(), send, sent, {}, now=0.0).chats[ONE].membership

    assert membership is not None
    assert membership.members == (BOB.user, CAROL)
    assert sync.posted(live(), send, sent._replace(conv_seq=ConversationSeq(0)), {}, now=0.0).put == ()


def test_who_comes_does_not_fetch_what_was_before() -> None:
    change = codec.encode_change(RosterChange((BOB.user,)))
    joined = entry(9, START, kind=EntryKind.ROSTER, shared=change, pull_upto=ConversationSeq(8))

    assert take(live(), joined).state.held == ()


@pytest.mark.parametrize("cursor", [None, START])
def test_a_mirror_comes_back_offline(cursor: Cursor | None) -> None:
    mirror = sync.attach(Mirror(BOB, cursor), now=0.0)

    assert sync.decode_mirror(sync.encode_mirror(mirror)) == Mirror(BOB, cursor)


@pytest.mark.parametrize("data", [b"", pack(BOB), pack("bob", ()), pack(BOB, (1, 2)), pack(BOB, ("1", 2, bytes(8)))])
def test_a_head_of_another_form_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptStateError):
        sync.decode_mirror(data)


def test_a_key_of_a_seen_message_fits_into_a_row() -> None:
    assert len(sync.seen_key(DeviceId.named("bob", 127), MessageId(bytes(16)))) <= 64


# ---- the whole, with everything that goes wrong

LIFE = ("post", "post", "deliver", "deliver", "serve", "connect", "beat", "wait", "switch", "change_roster", "look")
FAULTS = ("drop", "repeat", "reorder", "drop_up", "cut", "crash", "crash_in_commit")


def play(seed: int, *, extra: tuple[str, ...] = (), device: type[Device] = Device, steps: int = 100) -> None:
    rng = random.Random(seed)
    world = World(rng, device)
    world.connect()
    world.deliver(count=len(world.down))
    moves = (*LIFE, *rng.choice(((), FAULTS, ("crash_in_commit",))), *extra)
    for _ in range(steps):
        getattr(world, rng.choice(moves))()
        world.check_always()
    world.heal()
    world.check_always()
    if "lose_tail" not in extra:
        world.check_order()
    world.check_all(is_whole="trim" not in extra)


@pytest.mark.parametrize("first", range(0, 150, 50))
@pytest.mark.parametrize("extra", [(), ("trim",), ("lose_tail",)], ids=lambda names: "+".join(names) or "plain")
def test_everything_owed_is_applied_once_and_in_order(first: int, extra: tuple[str, ...]) -> None:
    for seed in range(first, first + 50):
        play(seed, extra=extra)


class Everything(RuleBasedStateMachine):
    """The same world, with Hypothesis as the one who decides."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(random.Random(1))
        self.world.connect()
        self.world.deliver(len(self.world.down))  # linked: what was pulled before is not owed to a new device

    @rule(conv=st.sampled_from(CONVS))
    def post(self, conv: ConversationId) -> None:
        self.world.push(self.world.server.post(conv, EntryKind.MESSAGE, b"x"))

    @rule()
    def switch(self) -> None:
        self.world.switch()

    @rule()
    def change_roster(self) -> None:
        self.world.change_roster()

    @rule(count=st.integers(1, 5))
    def deliver(self, count: int) -> None:
        self.world.deliver(count)

    @rule(count=st.integers(1, 5), crash_after=st.integers(0, 1))
    def crash_in_commit(self, count: int, crash_after: int) -> None:
        self.world.deliver(count, crash_after)

    @rule()
    def serve(self) -> None:
        self.world.serve()

    @rule()
    def connect(self) -> None:
        self.world.connect()

    @rule(at=st.integers(0, 8))
    def drop(self, at: int) -> None:
        del self.world.down[at : at + 1]

    @rule(at=st.integers(0, 8), to=st.integers(0, 8))
    def repeat(self, at: int, to: int) -> None:
        self.world.down[to:to] = self.world.down[at : at + 1]

    @rule(at=st.integers(1, 8))
    def reorder(self, at: int) -> None:
        self.world.down[0:0] = self.world.down[at : at + 1]

    @rule()
    def cut(self) -> None:
        self.world.cut()

    @rule()
    def beat_and_wait(self) -> None:
        self.world.beat()
        self.world.wait()

    @rule(conv=st.sampled_from(CONVS))
    def look(self, conv: ConversationId) -> None:
        self.world.open(conv)

    @invariant()
    def nothing_is_applied_twice_or_acknowledged_unseen(self) -> None:
        self.world.check_always()

    def teardown(self) -> None:
        self.world.heal()
        self.world.check_always()
        self.world.check_order()
        self.world.check_all(is_whole=True)


TestEverything = Everything.TestCase
TestEverything.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# ---- broken variants: each is caught


class RatchetFirst(Device):
    commits = ("ratchet", "history rows")


class CursorFirst(Device):
    commits = ("ratchet rows", "history")


class HistoryFirst(Device):
    """The plaintext is written, and the ciphertext can be opened again after a crash."""

    commits = ("history", "rows")

    def save_history(self, synced: Synced) -> None:
        self.history += [(one.conv, one.row) for one in synced.arrived]


class Anything:
    """A tag that fits every entry."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


TURN: Any = Turn  # the variants below replace single methods of it
ENTRY, HEAD, SNAPSHOT = TURN._entry, TURN._head, TURN._snapshot
UNIQUE = count()


def newest_seen(turn: Any, entry: frames.Entry) -> None:
    """The cursor is the newest thing seen, not the contiguous frontier."""
    cursor = turn.mirror.cursor
    if cursor is not None and entry.seq > cursor.seq and not turn.mirror.held:
        before = Cursor(cursor.epoch, InboxSeq(entry.seq - 1), cursor.tag)
        turn.mirror = turn.mirror._replace(cursor=before)
        tag = next_tag(cursor.tag, entry.message_id)
        ENTRY(turn, entry._replace(tag=tag))
        turn.mirror = turn.mirror._replace(cursor=Cursor(cursor.epoch, entry.seq, entry.tag))


def deaf_to_heads(turn: Any, head: frames.Head) -> None:
    HEAD(turn, head._replace(conversations={}))


def at_the_head(turn: Any, part: frames.Snapshot) -> None:
    SNAPSHOT(turn, part)
    if part.is_last and turn.mirror.phase is Phase.CATCHING_UP:
        turn.mirror = turn.mirror._replace(cursor=turn.mirror.head)


def nothing(*_: Any) -> None:
    return None


def never(*_: Any) -> bool:
    return False


def fits(*_: Any) -> Anything:
    return Anything()


def unlike_any(*_: Any) -> bytes:
    return next(UNIQUE).to_bytes(8, "big")


VARIANTS: dict[str, tuple[tuple[str, ...], type[Device], dict[str, Any]]] = {
    "3 mirror: ratchet saved, then history and cursor": ((), RatchetFirst, {}),
    "3 mirror: cursor saved, then history": ((), CursorFirst, {}),
    "3 mirror: history saved, then ratchet and cursor": ((), HistoryFirst, {}),
    "3 cursor: the newest thing seen": ((), Device, {"mirror_turn.Turn._entry": newest_seen}),
    "3 cursor: no tag, tail lost, number reused": (("lose_tail",), Device, {"mirror_turn.next_tag": fits}),
    "3 cursor: snapshot's cursor is the head": (("trim",), Device, {"mirror_turn.Turn._snapshot": at_the_head}),
    "3 cursor: after a fork the device does not drop by message id": (
        ("lose_tail",),
        Device,
        {"mirror_turn.seen_key": unlike_any},
    ),
    "1b mode: pulling members rely on hints": ((), Device, {"mirror_turn.Turn._head": deaf_to_heads}),
    "1b mode: the entry does not say what to pull first": ((), Device, {"mirror_turn.Turn._must_wait": never}),
    "10a wake: hint lost, silent heartbeat": (
        (),
        Device,
        {"mirror_turn.Turn._head": nothing, "mirror.deadline": nothing},
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_broken_variant_is_caught(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    extra, device, patches = VARIANTS[name]
    for target, patch in patches.items():
        monkeypatch.setattr(f"whisperkit.sync.{target}", patch)

    def runs() -> None:
        for seed in range(200):
            play(seed, extra=extra, device=device)

    with pytest.raises(AssertionError):
        runs()
