"""Two devices and a wire that loses, repeats, reorders and alters: a Hypothesis state machine.

The model is a list of what was sent. Every message opens once, with the text that was sent, however late and
in whatever order; a second time it is a duplicate; an altered one is refused and leaves the records equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from whisperkit.errors import DuplicateMessageError, NoSessionError, PeerError
from whisperkit.ids import DeviceId
from whisperkit.ratchet import MAX_RECEIVING_CHAINS, CiphertextMessage, MessageType
from whisperkit.ratchet.messages import PreKeySignalMessage, SignalMessage
from whisperkit.testing.ratchet import Party, seeded_bytes


@dataclass
class InFlight:
    """A message on the wire.

    Attributes:
        text: What it says.
        message: The ciphertext.
        chain: The sender's ratchet key, which tells how late it may come.
        is_read: Whether it was delivered.
    """

    text: bytes
    message: CiphertextMessage
    chain: bytes
    is_read: bool = False


@dataclass
class Side:
    """One device, what it sent, and the peer's chains in the order in which it met them."""

    party: Party
    sent: list[InFlight] = field(default_factory=list[InFlight])
    chains_met: list[bytes] = field(default_factory=list[bytes])


def chain_of(message: CiphertextMessage) -> bytes:
    body = message.body
    if message.type is MessageType.PREKEY:
        body = PreKeySignalMessage.decode(body).message
    return SignalMessage.decode(body).ratchet_key


class Conversation(RuleBasedStateMachine):
    """Alice, Bob, and a wire."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.sides = [
            Side(Party(DeviceId.named(name, 1), random_bytes=seeded_bytes(seed + i)))
            for i, name in enumerate(("alice", "bob"))
        ]
        self.sides[0].party.meet(self.sides[1].party)
        self.renewals = 0

    @rule(who=st.integers(0, 1), text=st.binary(max_size=40))
    def send(self, who: int, text: bytes) -> None:
        sender, receiver = self.sides[who], self.sides[1 - who]
        try:
            message = sender.party.encrypt(text, to=receiver.party)
        except NoSessionError:
            assert not sender.party.device.has_session(sender.party.records, remote=receiver.party.id, wall_ms=0)
            return
        sender.sent.append(InFlight(text, message, chain_of(message)))

    @precondition(lambda self: self.has_sent())
    @rule(who=st.integers(0, 1), pick=st.integers(0))
    def deliver(self, who: int, pick: int) -> None:
        sender, receiver = self.sides[who], self.sides[1 - who]
        if not sender.sent:
            return
        each = sender.sent[pick % len(sender.sent)]
        before = dict(receiver.party.records)
        try:
            text = receiver.party.decrypt(each.message, sender=sender.party)
        except DuplicateMessageError:
            assert each.is_read
            assert receiver.party.records == before
        except PeerError:
            assert each.is_read or self.is_too_late(receiver, each)
            assert receiver.party.records == before
        else:
            assert not each.is_read
            assert text == each.text
            each.is_read = True
            if each.chain not in receiver.chains_met:
                receiver.chains_met.append(each.chain)

    @precondition(lambda self: self.has_sent())
    @rule(who=st.integers(0, 1), pick=st.integers(0), place=st.integers(0), bit=st.integers(0, 7))
    def alter(self, who: int, pick: int, place: int, bit: int) -> None:
        sender, receiver = self.sides[who], self.sides[1 - who]
        if not sender.sent:
            return
        kind, body = sender.sent[pick % len(sender.sent)].message
        # In a first message only the inner one is authenticated: what is around it names keys.
        start = body.index(PreKeySignalMessage.decode(body).message) if kind is MessageType.PREKEY else 0
        size = len(PreKeySignalMessage.decode(body).message) if kind is MessageType.PREKEY else len(body)
        position = start + place % size
        altered = body[:position] + bytes([body[position] ^ 1 << bit]) + body[position + 1 :]
        before = dict(receiver.party.records)

        with pytest.raises((PeerError, NoSessionError)):
            receiver.party.decrypt(CiphertextMessage(kind, altered), sender=sender.party)

        assert receiver.party.records == before

    @rule(who=st.integers(0, 1))
    def meet_again(self, who: int) -> None:
        # Within the limit of archived sessions: past it messages are lost by design, and tested by example.
        if self.renewals < 10:
            self.renewals += 1
            self.sides[who].party.meet(self.sides[1 - who].party)

    @rule(who=st.integers(0, 1))
    def archive(self, who: int) -> None:
        party, remote = self.sides[who].party, self.sides[1 - who].party.id
        party.save(party.device.archive_session(party.records, remote=remote).save)

    @invariant()
    def every_row_fits_the_store(self) -> None:
        for side in getattr(self, "sides", []):
            assert all(len(key) <= 64 and len(value) <= 1 << 20 for key, value in side.party.records.items())

    def has_sent(self) -> bool:
        return any(side.sent for side in self.sides)

    @staticmethod
    def is_too_late(receiver: Side, each: InFlight) -> bool:
        """Whether so many chains came since the message's one that it may have been dropped.

        A chain that was never met is never too late: the sender cannot have gone on to the next one, because
        that takes an answer under a ratchet key that the receiver makes only when it meets this one.
        """
        if each.chain not in receiver.chains_met:
            return False
        since = len(receiver.chains_met) - 1 - receiver.chains_met.index(each.chain)
        return since >= MAX_RECEIVING_CHAINS


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
