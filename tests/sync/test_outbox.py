"""The outbox against a conversation of a dozen lines, with lost answers, late copies, crashes and restored backups.

The broken variants are the rows of the outbox model in which something gets stuck or is called what it is not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperkit.errors import CorruptStateError, OutboxFullError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, MessageId
from whisperkit.partitions import Row, Step
from whisperkit.sync import codec, frames
from whisperkit.sync import outbox as rules
from whisperkit.sync.frames import EntryKind, RefusalReason, Refused, Send, Sent
from whisperkit.sync.outbox import Answered, EncryptAgain, GaveUp, Ignored, Outbox, OutboxStatus, Renumbered, SendAgain
from whisperkit.sync.window import MAX_RECENT

CONV = ConversationId("chat")
BOB = DeviceId.named("bob", 1)


def message(number: int, text: bytes = b"x") -> Send:
    return Send(CONV, 1, 1, MessageId(bytes([number] * 16)), EntryKind.MESSAGE, None, (BOB,), None, text, None)


def sent(send: Send, seq: int) -> Sent:
    return Sent(send.conv, send.outbox_epoch, send.outbox_seq, send.message_id, ConversationSeq(seq), 5)


def refused(send: Send, reason: RefusalReason, number: int = 0) -> Refused:
    return Refused(send.conv, send.outbox_epoch, send.outbox_seq, send.message_id, reason, number, (), ())


class Disk:
    """The device's rows, and the outbox that is read from them."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def commit(self, step: Step[Any, Outbox]) -> None:  # whatever the rule answered
        assert not {row.key for row in step.put} & set(step.delete)
        self.rows.update(step.put)
        for key in step.delete:
            del self.rows[key]

    def load(self) -> Outbox:
        rows = [Row(key, self.rows[key]) for key in sorted(self.rows)]
        return rules.load_outboxes(rows).get(CONV, Outbox(CONV))


def filled(count: int) -> Outbox:
    outbox = Outbox(CONV)
    for number in range(1, count + 1):
        outbox = rules.enqueue(outbox, message(number)).state
    return outbox


def numbers(sends: tuple[Send, ...]) -> list[tuple[int, int]]:
    return [(send.outbox_epoch, send.outbox_seq) for send in sends]


# ---- examples


def test_messages_are_numbered_in_order_and_saved_before_they_are_sent() -> None:
    step = rules.enqueue(filled(1), message(2))

    assert (step.answer.outbox_epoch, step.answer.outbox_seq) == (1, 2)
    assert [row.key for row in step.put] == [b"o/chat", b"p/chat/" + bytes(7) + b"\x02"]


def test_a_message_that_is_pending_keeps_its_number() -> None:
    outbox = filled(2)

    step = rules.enqueue(outbox, message(1, b"again"))

    assert step.answer.outbox_seq == 1
    assert not step.changes(outbox)


def test_an_outbox_has_a_bound() -> None:
    outbox = Outbox(CONV, pending=(message(1),) * rules.MAX_PENDING)

    with pytest.raises(OutboxFullError) as caught:
        rules.enqueue(outbox, message(2))

    assert (caught.value.conversation, caught.value.limit) == (CONV, rules.MAX_PENDING)


def test_at_most_sixteen_are_in_flight_and_each_answer_lets_one_more_go() -> None:
    first = rules.next_to_send(filled(20))
    again = rules.next_to_send(first.state)
    after = rules.answered(first.state, sent(first.answer[3], 9)).state

    assert [send.outbox_seq for send in first.answer] == list(range(1, 17))
    assert again.answer == ()
    assert numbers(rules.next_to_send(after).answer) == [(1, 17)]


def test_a_message_whose_answers_are_lost_stays_within_what_the_conversation_remembers() -> None:
    outbox = filled(100)
    posted: list[int] = []
    step = rules.next_to_send(outbox)
    for _ in range(100):  # connections, each of which loses the answer to the first message
        step = rules.next_to_send(rules.disconnected(outbox))
        posted += [send.outbox_seq for send in step.answer if send.outbox_seq not in posted]
        outbox = step.state
        for send in step.answer[1:]:
            outbox = rules.answered(outbox, sent(send, send.outbox_seq)).state

    assert [send.outbox_seq for send in step.answer] == [1]
    assert posted == list(range(1, MAX_RECENT + 1))


def test_a_sent_message_is_done() -> None:
    step = rules.next_to_send(filled(1))

    done = rules.answered(step.state, sent(step.answer[0], 7))

    assert done.answer == Answered(message(1).message_id, OutboxStatus.SENT, ConversationSeq(7), 5)
    assert (done.state.pending, done.state.next_seq) == ((), 2)
    assert done.delete == (b"p/chat/" + bytes(7) + b"\x01",)


def test_an_answer_that_comes_twice_changes_nothing() -> None:
    step = rules.next_to_send(filled(1))
    done = rules.answered(step.state, sent(step.answer[0], 7)).state

    assert rules.answered(done, sent(step.answer[0], 7)) == Step(Ignored(), done)
    assert rules.refused(done, refused(step.answer[0], RefusalReason.NOT_MEMBER)) == Step(Ignored(), done)


def test_a_stale_outbox_opens_a_higher_epoch_and_numbers_from_one() -> None:
    outbox = filled(3)
    step = rules.next_to_send(rules.answered(outbox, sent(outbox.pending[0], 1)).state)

    after = rules.refused(step.state, refused(step.answer[0], RefusalReason.STALE_OUTBOX, 4))

    assert after.answer == Renumbered(5)
    assert numbers(after.state.pending) == [(5, 1), (5, 2)]
    assert after.state.next_seq == 3
    assert after.delete == (b"p/chat/" + bytes(7) + b"\x03",)
    assert numbers(rules.next_to_send(after.state).answer) == [(5, 1), (5, 2)]


def test_send_first_goes_back_once_everything_in_flight_is_answered() -> None:
    one, two, three = (step := rules.next_to_send(filled(3))).answer

    first = rules.refused(step.state, refused(three, RefusalReason.SEND_FIRST, 1))
    waiting = rules.next_to_send(first.state)
    second = rules.refused(first.state, refused(two, RefusalReason.SEND_FIRST, 1))

    assert first.answer == SendAgain(1)
    assert waiting.answer == ()
    assert rules.next_to_send(second.state).answer == ()
    assert rules.next_to_send(rules.disconnected(second.state)).answer == (one, two, three)


def test_send_first_for_a_number_that_was_answered_opens_a_new_epoch() -> None:
    step = rules.next_to_send(filled(2))
    one, two = step.answer
    after = rules.answered(step.state, sent(one, 1)).state

    done = rules.refused(after, refused(two, RefusalReason.SEND_FIRST, 1))

    assert done.answer == Renumbered(2)
    assert numbers(done.state.pending) == [(2, 1)]


@pytest.mark.parametrize("reason", [RefusalReason.ROSTER_MOVED, RefusalReason.STALE_DEVICES])
def test_what_was_encrypted_for_others_is_encrypted_again_under_the_same_number(reason: RefusalReason) -> None:
    step = rules.next_to_send(filled(2))
    one, two = step.answer

    held = rules.refused(step.state, refused(one, reason, 9))
    drained = rules.refused(held.state, refused(two, RefusalReason.SEND_FIRST, 1)).state
    fresh = rules.encrypted_again(drained, message(1, b"fresh"))

    assert held.answer == EncryptAgain(one, refused(one, reason, 9))
    assert rules.next_to_send(drained).answer == ()
    assert rules.next_to_send(fresh.state).answer == (one._replace(shared=b"fresh"), two)
    assert [row.key for row in fresh.put] == [b"p/chat/" + bytes(7) + b"\x01"]
    assert not rules.encrypted_again(fresh.state, message(1, b"fresh")).changes(fresh.state)


@pytest.mark.parametrize("reason", [RefusalReason.NOT_MEMBER, RefusalReason.TOO_LARGE, RefusalReason.INVALID])
def test_a_message_that_is_given_up_becomes_a_void_and_fails_when_that_is_taken(reason: RefusalReason) -> None:
    step = rules.next_to_send(filled(1))

    gone = rules.refused(step.state, refused(step.answer[0], reason))
    void = rules.next_to_send(gone.state)
    failed = rules.answered(void.state, sent(void.answer[0], 0))

    assert gone.answer == GaveUp(message(1).message_id, reason)
    assert void.answer == (step.answer[0]._replace(kind=EntryKind.VOID, shared=None, devices=()),)
    assert isinstance(failed.answer, Answered)
    assert failed.answer.status is OutboxStatus.FAILED


def test_a_void_that_finds_its_message_posted_is_sent_after_all() -> None:
    step = rules.next_to_send(filled(1))
    void = rules.next_to_send(rules.disconnected(rules.give_up(step.state, message(1).message_id).state))

    done = rules.answered(void.state, sent(void.answer[0], 3))

    assert isinstance(done.answer, Answered)
    assert done.answer.status is OutboxStatus.SENT


def test_a_void_is_never_encrypted_or_given_up_again() -> None:
    void = rules.give_up(filled(1), message(1).message_id).state

    assert rules.give_up(void, message(1).message_id) == Step(None, void)
    assert rules.encrypted_again(void, message(1, b"fresh")) == Step(None, void)
    assert rules.give_up(void, message(2).message_id) == Step(None, void)
    for reason in (RefusalReason.ROSTER_MOVED, RefusalReason.NOT_MEMBER):
        after = rules.refused(void, refused(void.pending[0], reason)).state
        assert after.pending == void.pending


def test_a_busy_server_is_asked_again_later() -> None:
    step = rules.next_to_send(filled(1))

    waiting = rules.refused(step.state, refused(step.answer[0], RefusalReason.TRY_LATER, 250))

    assert waiting.answer == rules.Wait(250)
    assert rules.next_to_send(waiting.state).answer == step.answer


def test_a_refusal_under_an_earlier_epoch_is_ignored() -> None:
    step = rules.next_to_send(filled(1))
    late = refused(step.answer[0], RefusalReason.NOT_MEMBER)
    after = rules.refused(step.state, refused(step.answer[0], RefusalReason.STALE_OUTBOX, 1)).state

    assert rules.refused(after, late) == Step(Ignored(), after)


def test_the_outboxes_of_all_conversations_are_read_together() -> None:
    other = ConversationId("chat-2")
    disk = Disk()
    disk.commit(rules.enqueue(Outbox(CONV), message(1)))
    disk.commit(rules.enqueue(Outbox(other), message(2)))
    every, one = rules.outbox_spans(), rules.outbox_spans(CONV)

    found = rules.load_outboxes(
        [Row(key, disk.rows[key]) for span in every for key in sorted(disk.rows) if span.start <= key < span.stop]
    )
    named = {key for key in disk.rows if any(span.start <= key < span.stop for span in one)}

    assert {conv: [send.conv for send in box.pending] for conv, box in found.items()} == {CONV: [CONV], other: [other]}
    assert named == {b"o/chat", b"p/chat/" + bytes(7) + b"\x01"}


@pytest.mark.parametrize(
    "row",
    [
        Row(b"o/chat", b""),
        Row(b"o/chat", msgpack.packb((1, "2"))),
        Row(b"o/!", msgpack.packb((1, 2))),
        Row(b"p/chat/1", b"\xc1"),
        Row(b"p/chat/1", codec.encode(frames.Beat())),
        Row(b"p/chat/1", codec.encode(message(1))),
    ],
)
def test_rows_that_the_rules_did_not_write_are_corrupt(row: Row) -> None:
    with pytest.raises(CorruptStateError):
        rules.load_outboxes([row])


# ---- a device, a conversation and a bad wire between them


class Conversation:
    """What a conversation knows of one device: its window, and the log."""

    def __init__(self, refuses: frozenset[MessageId]) -> None:
        self.refuses = refuses
        self.epoch, self.last = 0, 0
        self.window: dict[MessageId, int] = {}
        self.log: list[MessageId] = []

    def take(self, send: Send) -> Sent | Refused:
        if send.message_id in self.window:
            return sent(send, self.window[send.message_id])
        last = self.last if send.outbox_epoch == self.epoch else 0
        if send.outbox_epoch < self.epoch or send.outbox_seq <= last:
            return refused(send, RefusalReason.STALE_OUTBOX, self.epoch)
        if send.outbox_seq > last + 1:
            return refused(send, RefusalReason.SEND_FIRST, last + 1)
        is_void = send.kind is EntryKind.VOID
        if send.message_id in self.refuses and not is_void:
            return refused(send, RefusalReason.NOT_MEMBER)
        if send.shared == b"stale":
            return refused(send, RefusalReason.ROSTER_MOVED, 2)
        self.log += [] if is_void else [send.message_id]
        self.epoch, self.last = send.outbox_epoch, send.outbox_seq
        self.window = dict([*self.window.items(), (send.message_id, 0 if is_void else len(self.log))][-32:])
        return sent(send, self.window[send.message_id])


class World:
    """A device that sends to a conversation, until faults stop and everything has to be answered."""

    def __init__(self, rng: random.Random, *, count: int = 6) -> None:
        self.rng = rng
        self.todo = [message(n, rng.choice((b"x", b"stale"))) for n in range(1, count + 1)]
        self.order = [send.message_id for send in self.todo]
        self.refused = frozenset(send.message_id for send in self.todo if rng.random() < 0.2)
        self.server = Conversation(self.refused)
        self.disk = Disk()
        self.outbox = Outbox(CONV)
        self.wire: list[Send] = []
        self.answers: list[Sent | Refused] = []
        self.late: list[Send] = []
        self.said: dict[MessageId, OutboxStatus] = {}
        kinds = [self.cut, self.crash, self.copy, self.late_copy, self.give_up]
        restores = [[], [self.back_up, self.restore], [self.server_back_up, self.server_restore]]
        self.faults: list[Callable[[], None]] = [*kinds, *rng.choice(restores)]
        self.backup: tuple[dict[bytes, bytes], list[Send]] | None = None
        self.server_backup: tuple[Any, ...] | None = None
        self.was_restored = False
        self.lost_by_server: set[MessageId] = set()

    def save(self, step: Step[Any, Outbox]) -> None:
        self.disk.commit(step)
        self.outbox = step.state

    def step(self, *, faults: bool) -> None:
        moves: list[Callable[[], None]] = [self.write, self.transmit, self.arrive, self.answer]
        self.rng.choice([*moves, *self.faults] if faults else moves)()

    def write(self) -> None:
        if self.todo:
            self.save(rules.enqueue(self.outbox, self.todo.pop(0)))

    def transmit(self) -> None:
        step = rules.next_to_send(self.outbox)
        self.save(step)
        self.wire += step.answer

    def arrive(self) -> None:
        if self.wire:
            self.answers.append(self.server.take(self.wire.pop(0)))

    def answer(self) -> None:
        if not self.answers:
            return
        match self.answers.pop(0):
            case Sent() as answer:
                step = rules.answered(self.outbox, answer)
                self.save(step)
                if isinstance(step.answer, Answered):
                    self.said[step.answer.message_id] = step.answer.status
            case refusal:
                refusal_step = rules.refused(self.outbox, refusal)
                self.save(refusal_step)
                if isinstance(refusal_step.answer, EncryptAgain):
                    fresh = refusal_step.answer.send._replace(shared=b"fresh")
                    self.save(rules.encrypted_again(self.outbox, fresh))

    def cut(self) -> None:
        self.wire, self.answers = [], []
        self.outbox = rules.disconnected(self.outbox)

    def crash(self) -> None:
        self.cut()
        self.outbox = self.disk.load()

    def copy(self) -> None:
        if self.wire:
            self.late.append(self.rng.choice(self.wire))

    def late_copy(self) -> None:
        if self.late:
            self.server.take(self.late.pop())

    def back_up(self) -> None:
        if self.backup is None:
            self.backup = (dict(self.disk.rows), list(self.todo))

    def restore(self) -> None:
        if self.backup is not None and not self.was_restored:
            self.was_restored = True
            # Copies of what the lost device sent must not outlive it in this model: they would be posts of nobody.
            self.late = []
            self.disk.rows = dict(self.backup[0])
            self.crash()

    def give_up(self) -> None:
        """A person loses patience, now and then."""
        if self.outbox.pending and self.rng.random() < 0.3:
            self.save(rules.give_up(self.outbox, self.rng.choice(self.outbox.pending).message_id))

    def server_back_up(self) -> None:
        if self.server_backup is None:
            self.server_backup = (self.server.epoch, self.server.last, dict(self.server.window), list(self.server.log))

    def server_restore(self) -> None:
        if self.server_backup and not self.lost_by_server:
            old = self.server.log
            self.server.epoch, self.server.last, self.server.window, self.server.log = self.server_backup
            self.server_backup = ()
            self.lost_by_server = set(old) - set(self.server.log)
            self.late = []
            self.cut()

    def heal(self) -> None:
        """Let all that is owed be answered, or fail."""
        self.late = []
        self.cut()
        for _ in range(2_000):
            if not (self.todo or self.outbox.pending):
                return
            self.step(faults=False)
        raise AssertionError(f"stuck with {len(self.outbox.pending)} pending")

    def check(self) -> None:
        posted = list(dict.fromkeys(self.server.log))  # receivers drop repeats by message id
        if not self.was_restored:
            assert set(self.said) == set(self.order), "not all were answered"
            if not self.lost_by_server:
                assert len(posted) == len(self.server.log), "posted twice"
                assert posted == sorted(posted, key=self.order.index), "out of order"
        for message_id, status in self.said.items():
            is_posted = message_id in posted
            if status is OutboxStatus.FAILED:
                assert not is_posted, "called failed, and is posted"
            else:
                assert is_posted or message_id in self.lost_by_server, "has its tick, and was never posted"


def play(seed: int, *, steps: int = 120) -> None:
    world = World(random.Random(seed))
    for _ in range(steps):
        world.step(faults=True)
    world.heal()
    world.check()
    assert world.disk.load().pending == ()


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32))
def test_whatever_happens_each_message_is_answered_truly(seed: int) -> None:
    play(seed)


@given(rng=st.randoms(use_true_random=False))
def test_every_rule_changes_nothing_when_applied_to_its_own_result(rng: random.Random) -> None:
    step = rules.next_to_send(filled(4))
    send = rng.choice(step.answer)
    reason = rng.choice(list(RefusalReason))
    apply: list[Callable[[Outbox], Step[Any, Outbox]]] = [
        lambda box: rules.enqueue(box, message(9)),
        lambda box: rules.answered(box, sent(send, rng.choice((0, 3)))),
        lambda box: rules.refused(box, refused(send, reason, 3)),
        lambda box: rules.give_up(box, send.message_id),
        lambda box: rules.encrypted_again(box, send._replace(shared=b"fresh")),
        rules.next_to_send,
    ]
    rule = rng.choice(apply)

    once = rule(step.state)
    twice = rule(once.state)

    assert twice.state == once.state
    assert not twice.delete


# ---- broken variants: each is caught


@contextmanager
def broken(monkeypatch: pytest.MonkeyPatch, name: str) -> Generator[None]:
    refused_well, answered_well, enqueue_well = rules.refused, rules.answered, rules.enqueue

    def forgetful(outbox: Outbox, refusal: Refused) -> Step[Any, Outbox]:
        """A refused message is dropped and leaves its number open."""
        send = outbox.find(refusal.message_id)
        if send is None or refusal.reason is not RefusalReason.NOT_MEMBER:
            return refused_well(outbox, refusal)
        rest = tuple(one for one in outbox.pending if one is not send)
        key = b"p/chat/" + send.outbox_seq.to_bytes(8, "big")
        return Step(Ignored(), outbox._replace(pending=rest), delete=(key,))

    def stubborn(outbox: Outbox, refusal: Refused) -> Step[Any, Outbox]:
        """SendFirst(n) never opens a new epoch, even if n is gone."""
        if refusal.reason is RefusalReason.SEND_FIRST:
            return Step(SendAgain(refusal.number), rules.disconnected(outbox))
        return refused_well(outbox, refusal)

    def deaf(outbox: Outbox, refusal: Refused) -> Step[Any, Outbox]:
        """StaleOutbox opens no new epoch."""
        if refusal.reason is RefusalReason.STALE_OUTBOX:
            return Step(Ignored(), rules.disconnected(outbox))
        return refused_well(outbox, refusal)

    def reusing(outbox: Outbox, send: Send) -> Step[Any, Outbox]:
        """The number of a message is given to the next one while it is pending."""
        return enqueue_well(outbox._replace(next_seq=max(1, outbox.next_seq - len(outbox.pending))), send)

    def blind(outbox: Outbox, answer: Sent) -> Step[Any, Outbox]:
        """What a VOID was answered with is not looked at: it counts as failed."""
        send = outbox.find(answer.message_id)
        is_void = send is not None and send.kind is EntryKind.VOID
        return answered_well(outbox, answer._replace(conv_seq=ConversationSeq(0)) if is_void else answer)

    variant = {
        "a refused message leaves its number open": ("refused", forgetful),
        "SendFirst(n), the client has forgotten n": ("refused", stubborn),
        "restored client, StaleOutbox opens no epoch": ("refused", deaf),
        "a pending number is given to the next message": ("enqueue", reusing),
        "a VOID always means failed": ("answered", blind),
    }[name]
    with monkeypatch.context() as patch:
        patch.setattr(rules, *variant)
        yield


@pytest.mark.parametrize(
    "name",
    [
        "a refused message leaves its number open",
        "SendFirst(n), the client has forgotten n",
        "restored client, StaleOutbox opens no epoch",
        "a pending number is given to the next message",
        "a VOID always means failed",
    ],
)
def test_a_broken_variant_is_caught(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def runs() -> None:
        for seed in range(100):
            play(seed)

    with broken(monkeypatch, name), pytest.raises((AssertionError, KeyError, IndexError)):
        runs()
