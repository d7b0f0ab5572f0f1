"""Receipts over a bad network: a state machine against a model that knows who really has what.

Alice posts and watches her ticks. Bob has a phone and links a laptop late; Carol comes and goes. Gateways turn
acknowledgements into marks and may crash between any two steps; what they publish may be lost, doubled and late.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from whisperkit import ConversationId, ConversationSeq, DeviceId, UserId
from whisperkit.receipts import (
    MarkKind,
    MarkMoved,
    Membership,
    MessageStatus,
    Receipts,
    Received,
    clamp_read,
    delivered_upto,
    mark_name,
    moves,
    reached,
)

CHAT = ConversationId("chat")
ALICE, PHONE, LAPTOP, CAROL = (
    DeviceId.named("alice", 1),
    DeviceId.named("bob", 1),
    DeviceId.named("bob", 2),
    DeviceId.named("carol", 1),
)
BOB = PHONE.user
READERS = (ALICE, PHONE, LAPTOP, CAROL)


class Row(NamedTuple):
    """A message, or `None` for a change of the members."""

    sender: UserId | None
    audience: frozenset[UserId]


class Wrong(NamedTuple):
    """Readings of the design that a good developer could have built, each off unless named."""

    acks_first: bool = False
    publishes_first: bool = False
    links_undrained: bool = False
    keeps_the_last: bool = False
    delivers_to_the_head: bool = False
    believes_readers: bool = False
    never_pulls: bool = False


class Network(RuleBasedStateMachine):
    wrong = Wrong()

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.members = frozenset((ALICE.user, BOB, CAROL.user))
        self.stays = [Membership(user) for user in sorted(self.members)]
        self.applied = {ALICE: 0, PHONE: 0, CAROL: 0}
        self.acked = dict(self.applied)
        self.has: dict[UserId, set[int]] = {user: set() for user in self.members}
        self.has_read: dict[UserId, int] = dict.fromkeys(self.members, 0)
        self.durable: dict[str, int] = {}
        self.flying: list[MarkMoved] = []
        self.shown: dict[int, MessageStatus] = {}
        self.screen = Receipts(members=self.members)

    # -- what people and devices do

    @rule(sender=st.sampled_from((ALICE, PHONE, CAROL)))
    def post(self, sender: DeviceId) -> None:
        if sender.user in self.members:
            self.rows.append(Row(sender.user, self.members))
            self.screen.posted(seq=len(self.rows), sender=sender)

    @rule()
    def carol_comes_or_goes(self) -> None:
        seq = len(self.rows) + 1
        if CAROL.user in self.members:
            self.rows.append(Row(None, self.members))
            self.members -= {CAROL.user}
            self.stays = [s._replace(leave=seq) if s.user == CAROL.user and s.leave is None else s for s in self.stays]
            self.screen.left(user=CAROL.user, seq=seq)
        else:
            self.members |= {CAROL.user}
            self.rows.append(Row(None, self.members))
            self.stays.append(Membership(CAROL.user, seq))
            self.screen.joined(user=CAROL.user, seq=seq)

    @rule()
    def link_the_laptop(self) -> None:
        is_drained = self.acked[PHONE] == len(self.rows)
        if LAPTOP not in self.applied and (is_drained or self.wrong.links_undrained):
            self.applied[LAPTOP] = self.acked[LAPTOP] = len(self.rows)

    @rule(device=st.sampled_from(READERS), rows=st.integers(1, 3))
    def apply(self, device: DeviceId, rows: int) -> None:
        if device in self.applied:
            for seq in range(self.applied[device] + 1, min(self.applied[device] + rows, len(self.rows)) + 1):
                if device.user in self.rows[seq - 1].audience:
                    self.has[device.user].add(seq)
                self.applied[device] = seq

    # -- what gateways do; each may crash on the way

    @rule(device=st.sampled_from(READERS), lives_for=st.integers(0, 3))
    def acknowledge(self, device: DeviceId, lives_for: int) -> None:
        if device not in self.applied:
            return
        upto = self.applied[device]
        raised = [
            move
            for seq in delivered_upto(self.unacknowledged(device), user=device.user).values()
            for move in moves(self.durable, user=device.user, kind=MarkKind.DELIVERED, upto=seq)
        ]
        if self.wrong.delivers_to_the_head and self.rows:
            raised = list(moves(self.durable, user=device.user, kind=MarkKind.DELIVERED, upto=len(self.rows)))

        def save_ack() -> None:
            self.acked[device] = max(self.acked[device], upto)

        steps = self.steps_of(raised)
        for step in ([save_ack, *steps] if self.wrong.acks_first else [*steps, save_ack])[:lives_for]:
            step()

    @rule(device=st.sampled_from(READERS), claim=st.integers(1, 20), lives_for=st.integers(0, 2))
    def read(self, device: DeviceId, claim: int, lives_for: int) -> None:
        if device in self.applied:
            # Whoever says so has read what is there; a claim beyond that is a lie or a fault.
            self.has_read[device.user] = max(self.has_read[device.user], min(claim, self.acked[device]))
            limit = claim if self.wrong.believes_readers else self.acked[device]
            upto = clamp_read(claim, acked=limit, head=len(self.rows))
            raised = list(moves(self.durable, user=device.user, kind=MarkKind.READ, upto=upto))
            if self.wrong.keeps_the_last and upto:
                before = reached(self.durable, device.user, MarkKind.READ)
                raised = [MarkMoved(device.user, MarkKind.READ, before, upto)]
            for step in self.steps_of(raised)[:lives_for]:
                step()

    # -- what the network does

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), stays_in_flight=st.booleans())
    def mark_arrives(self, data: st.DataObject, stays_in_flight: bool) -> None:
        at = data.draw(st.integers(0, len(self.flying) - 1))
        move = self.flying[at] if stays_in_flight else self.flying.pop(at)
        self.screen.marked(user=move.user, kind=move.kind, upto=move.upto)

    @precondition(lambda self: self.flying)
    @rule()
    def marks_are_lost(self) -> None:
        self.flying.clear()

    @rule()
    def alice_restarts_and_pulls_marks(self) -> None:
        marks = dict(self.screen.marks) if self.wrong.never_pulls else self.durable
        self.screen = Receipts(members=self.stays, marks=marks)
        for seq, row in enumerate(self.rows, start=1):
            if row.sender is not None:
                self.screen.posted(seq=seq, sender=DeviceId(row.sender, 1))

    # -- what must hold

    @invariant()
    def no_tick_says_more_than_is_true(self) -> None:
        for seq, row in self.messages():
            others = row.audience - {row.sender}
            if self.screen.status(seq) >= MessageStatus.DELIVERED:
                assert all(seq in self.has[user] for user in others), f"{seq} shows two ticks, somebody lacks it"
            if self.screen.status(seq) is MessageStatus.READ:
                assert all(seq <= self.has_read[user] for user in others), f"{seq} is blue, somebody has not read it"

    @invariant()
    def no_tick_moves_back(self) -> None:
        for seq, _ in self.messages():
            status = self.screen.status(seq)
            assert status >= self.shown.get(seq, MessageStatus.SENT), f"the tick of {seq} moved back"
            self.shown[seq] = status

    @invariant()
    def a_badge_is_what_is_unread(self) -> None:
        for user in self.has:
            read = reached(self.screen.marks, user, MarkKind.READ)
            unread = [seq for seq, row in self.messages() if seq > read and row.sender != user and user in row.audience]
            assert self.screen.unread(user) == len(unread)

    def teardown(self) -> None:
        """When faults stop, each tick comes to what is true."""
        for device in tuple(self.applied):
            self.apply(device, len(self.rows) or 1)
            self.acknowledge(device, 3)
        self.alice_restarts_and_pulls_marks()
        self.no_tick_says_more_than_is_true()
        for seq, row in self.messages():
            assert self.screen.tally(seq).delivered == len(row.audience) - 1, f"the tick of {seq} is stuck"

    # -- how it is done

    def messages(self) -> list[tuple[int, Row]]:
        return [(seq, row) for seq, row in enumerate(self.rows, start=1) if row.sender is not None]

    def unacknowledged(self, device: DeviceId) -> list[Received]:
        return [
            Received(CHAT, ConversationSeq(seq), row.sender)
            for seq, row in self.messages()
            if row.sender is not None
            and self.acked[device] < seq <= self.applied[device]
            and device.user in row.audience
        ]

    def steps_of(self, raised: list[MarkMoved]) -> list[Callable[[], None]]:
        def save() -> None:
            for move in raised:
                self.durable[mark_name(move.kind, move.user)] = move.upto

        def publish() -> None:
            self.flying += raised

        def show() -> None:
            publish()
            for move in raised:
                self.screen.marked(user=move.user, kind=move.kind, upto=move.upto)

        return [show, save] if self.wrong.publishes_first else [save, publish]


TestNetwork = Network.TestCase
TestNetwork.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# ---- the counterexamples, as short as the models found them: the design survives each, a wrong reading does not ------


def crash_between_the_two_saves(net: Network) -> None:
    net.post(ALICE)
    net.apply(PHONE, 1)
    net.acknowledge(PHONE, 1)
    net.alice_restarts_and_pulls_marks()


def crash_after_the_first_of_save_and_publish(net: Network) -> None:
    net.carol_comes_or_goes()
    net.post(ALICE)
    net.apply(PHONE, 2)
    net.acknowledge(PHONE, 1)
    net.no_tick_moves_back()
    net.alice_restarts_and_pulls_marks()


def link_while_the_phone_is_behind(net: Network) -> None:
    net.carol_comes_or_goes()
    net.post(ALICE)
    net.link_the_laptop()
    net.post(ALICE)
    net.apply(LAPTOP, 1)
    net.acknowledge(LAPTOP, 3)
    net.alice_restarts_and_pulls_marks()


def a_late_and_lower_read_receipt(net: Network) -> None:
    net.carol_comes_or_goes()
    net.post(ALICE)
    net.apply(PHONE, 2)
    net.acknowledge(PHONE, 3)
    net.read(PHONE, 2, 2)
    net.alice_restarts_and_pulls_marks()
    net.no_tick_moves_back()
    net.read(PHONE, 1, 2)
    net.alice_restarts_and_pulls_marks()


def an_acknowledgement_of_less_than_there_is(net: Network) -> None:
    net.carol_comes_or_goes()
    net.post(ALICE)
    net.acknowledge(PHONE, 3)
    net.alice_restarts_and_pulls_marks()


def a_claim_to_have_read_what_never_came(net: Network) -> None:
    net.carol_comes_or_goes()
    net.post(ALICE)
    net.read(PHONE, 2, 2)
    net.alice_restarts_and_pulls_marks()


def a_mark_lost_on_its_way(net: Network) -> None:
    net.post(ALICE)
    net.apply(PHONE, 1)
    net.acknowledge(PHONE, 3)
    net.marks_are_lost()


COUNTEREXAMPLES: Mapping[str, Callable[[Network], None]] = {
    "acks_first": crash_between_the_two_saves,
    "publishes_first": crash_after_the_first_of_save_and_publish,
    "links_undrained": link_while_the_phone_is_behind,
    "keeps_the_last": a_late_and_lower_read_receipt,
    "delivers_to_the_head": an_acknowledgement_of_less_than_there_is,
    "believes_readers": a_claim_to_have_read_what_never_came,
    "never_pulls": a_mark_lost_on_its_way,
}


def holds(net: Network, history: Callable[[Network], None]) -> bool:
    try:
        history(net)
        net.no_tick_says_more_than_is_true()
        net.no_tick_moves_back()
        net.a_badge_is_what_is_unread()
        net.teardown()
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("name", Wrong._fields)
def test_the_design_survives_where_a_wrong_reading_of_it_does_not(name: str) -> None:
    class Broken(Network):
        wrong = Wrong()._replace(**{name: True})

    assert holds(Network(), COUNTEREXAMPLES[name])
    assert not holds(Broken(), COUNTEREXAMPLES[name])
