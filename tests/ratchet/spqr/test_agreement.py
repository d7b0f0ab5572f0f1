"""The key agreement, held to its table."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from whisperkit.errors import AuthenticationError, InvalidMessageError, PeerError
from whisperkit.ratchet.spqr import ML_KEM_768, SHAPES, TRANSITIONS, Event, SpqrState, State
from whisperkit.ratchet.spqr import agreement as agreements
from whisperkit.ratchet.spqr.agreement import Agreement, Step
from whisperkit.ratchet.spqr.erasure import NOTHING, Collected, Encoder
from whisperkit.ratchet.spqr.wire import Message, MessageType
from whisperkit.testing.ratchet import seeded_bytes

Samples = Mapping[State, SpqrState]

FIELDS = ("seed", "ek", "header", "signed_header", "half", "ct1", "signed_ct2")
CHUNK = bytes(32)
OBJECTS = {Event.HEADER: 3, Event.EK: 36, Event.EK_CT1_ACK: 36, Event.CT1: 30, Event.CT2: 5}


def take(agreement: Agreement, type_: MessageType, *, epoch: int | None = None, had: Collected = NOTHING) -> Step:
    message = Message(agreement.epoch if epoch is None else epoch, 1, type_, 50_000, CHUNK)
    return agreements.receive(agreement, had, message, kem=ML_KEM_768)


def test_the_table_has_all_states_and_a_way_from_each_to_each() -> None:
    assert {state for state, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(State)
    for state in State:
        reached = {state}
        for _ in State:
            reached |= {after for (before, _), after in TRANSITIONS.items() if before in reached}
        # KEYS_UNSAMPLED and NO_HEADER_RECEIVED swap roles, so nothing is out of reach.
        assert reached >= {State.NO_HEADER_RECEIVED, State.CT2_SAMPLED} or state is State.KEYS_UNSAMPLED


@pytest.mark.parametrize("state", State)
def test_a_state_holds_what_its_shape_says(state: State, samples: Samples) -> None:
    agreement = samples[state].agreement

    assert {name for name in FIELDS if getattr(agreement, name)} == set(SHAPES[state].holds)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("type_", MessageType)
def test_a_message_of_the_present_epoch_does_what_the_table_says(
    state: State, type_: MessageType, samples: Samples
) -> None:
    agreement = samples[state].agreement
    event = Event.__members__.get(type_.name)

    step = take(agreement, type_)

    assert step.agreement.state is (TRANSITIONS.get((state, event), state) if event else state)
    assert step.secret is None
    has_effect = event is not None and (state, event) in TRANSITIONS
    takes_chunk = has_effect and SHAPES[state].collects > 0
    assert step.collected == (Collected((50_000,), CHUNK) if takes_chunk else NOTHING)
    if not has_effect:
        assert step.agreement is agreement


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("type_", MessageType)
def test_only_the_side_that_waits_for_the_next_epoch_takes_it(
    state: State, type_: MessageType, samples: Samples
) -> None:
    agreement = samples[state].agreement

    if state is State.CT2_SAMPLED:
        step = take(agreement, type_, epoch=agreement.epoch + 1, had=Collected((1,), CHUNK))
        assert step.agreement == Agreement(State.KEYS_UNSAMPLED, agreement.epoch + 1, agreement.authenticator)
        assert step.collected == NOTHING
    else:
        with pytest.raises(InvalidMessageError):
            take(agreement, type_, epoch=agreement.epoch + 1)
    with pytest.raises(InvalidMessageError):
        take(agreement, type_, epoch=agreement.epoch + 2)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("type_", MessageType)
def test_a_message_of_an_earlier_epoch_changes_nothing(state: State, type_: MessageType, samples: Samples) -> None:
    later = samples[state].agreement._replace(epoch=9)

    step = take(later, type_, epoch=8)

    assert step.agreement is later
    assert step.collected is NOTHING


@pytest.mark.parametrize(("state", "event"), [pair for pair in TRANSITIONS if pair[1].name.endswith("_COMPLETE")])
def test_an_object_that_is_not_the_peers_is_refused_when_complete(state: State, event: Event, samples: Samples) -> None:
    type_ = MessageType[event.name.removesuffix("_COMPLETE")]
    missing_one = OBJECTS[Event[type_.name]] - 1
    had = Collected(tuple(range(missing_one)), bytes(32 * missing_one))

    if event is Event.CT1_COMPLETE:  # nothing to check: the MAC comes with ct2
        assert take(samples[state].agreement, type_, had=had).agreement.state is State.CT1_RECEIVED
    else:
        with pytest.raises(PeerError) as caught:
            take(samples[state].agreement, type_, had=had)
        assert type(caught.value) is (InvalidMessageError if "EK" in event.name else AuthenticationError)


class Side:
    """An agreement alone, without chains."""

    def __init__(self, *, is_initiator: bool) -> None:
        self.agreement = agreements.start(bytes(32), is_initiator=is_initiator)
        self.collected = NOTHING
        self.chunks_sent = 0
        self.random_bytes = seeded_bytes(is_initiator)

    def send(self) -> Message:
        agreement, _ = agreements.send(self.agreement, random_bytes=self.random_bytes, kem=ML_KEM_768)
        self.chunks_sent += 1
        self.agreement = agreement
        type_ = SHAPES[agreement.state].sends
        assert type_ is not None
        if agreement.carried is None:
            return Message(agreement.epoch, 1, type_)
        chunk = Encoder(agreement.carried).chunk(self.chunks_sent)
        return Message(agreement.epoch, 1, type_, self.chunks_sent, chunk)

    def receive(self, message: Message) -> None:
        step = agreements.receive(self.agreement, self.collected, message, kem=ML_KEM_768)
        self.agreement, self.collected = step.agreement, step.collected


def test_every_change_of_state_in_the_table_happens_and_no_other() -> None:
    seen: set[tuple[State, State]] = set()
    # Who says how much decides what is complete first. With 5 to 4, what acknowledges ct1 completes the key.
    for pattern in ((5, 1), (1, 1), (5, 4)):
        sides = (Side(is_initiator=True), Side(is_initiator=False))
        while sides[0].agreement.epoch < 4:
            for sender, messages in enumerate(pattern):
                for _ in range(messages):
                    before = [side.agreement.state for side in sides]
                    message = sides[sender].send()
                    between = sides[sender].agreement.state
                    sides[1 - sender].receive(message)
                    seen |= {(before[sender], between), (before[1 - sender], sides[1 - sender].agreement.state)}

    changes = {(before, after) for (before, _), after in TRANSITIONS.items() if before is not after}
    assert {(before, after) for before, after in seen if before is not after} == changes
