"""The ratchet as a whole: two sides, a bad wire, and wrong variants that would go unnoticed without these tests."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from whisperkit.errors import InvalidMessageError, PeerError, SkippedTooFarError
from whisperkit.ratchet import spqr
from whisperkit.ratchet.spqr import MAX_ENCODED_BYTES, SpqrState, State, authenticator, erasure, wire
from whisperkit.ratchet.spqr import agreement as agreements
from whisperkit.ratchet.spqr import chain as chains
from whisperkit.ratchet.spqr.derivation import EpochSecret, MessageKey
from whisperkit.testing.ratchet import seeded_bytes

AUTH_KEY = bytes(range(32))


class Pair:
    """Two sides and the messages that have not arrived."""

    def __init__(self, seed: int = 0) -> None:
        self.random_bytes = seeded_bytes(seed)
        self.states = [spqr.initial_state(AUTH_KEY, is_initiator=each) for each in (True, False)]
        self.under_way: list[tuple[int, bytes, MessageKey]] = []

    def send(self, sender: int) -> None:
        sent = spqr.send(self.states[sender], random_bytes=self.random_bytes)
        self.states[sender] = sent.state
        self.under_way.append((1 - sender, sent.message, sent.key))

    def deliver(self, place: int = -1) -> None:
        receiver, message, key = self.under_way.pop(place)
        received = spqr.receive(self.states[receiver], message)
        assert received.key == key
        self.states[receiver] = received.state

    def talk(self, rounds: int) -> None:
        for _ in range(rounds):
            for sender in (0, 1):
                self.send(sender)
                self.deliver()


class Talk(RuleBasedStateMachine):
    """Loss, delay and disorder: keys agree, are given out once, and only what is two epochs late is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()
        self.done: list[tuple[int, bytes]] = []

    @rule(sender=st.integers(0, 1), messages=st.integers(1, 40))
    def send(self, sender: int, messages: int) -> None:
        for _ in range(messages):
            self.pair.send(sender)

    @precondition(lambda self: self.pair.under_way)
    @rule(data=st.data(), messages=st.integers(1, 40))
    def deliver(self, data: st.DataObject, messages: int) -> None:
        for _ in range(min(messages, len(self.pair.under_way))):
            place = data.draw(st.integers(0, len(self.pair.under_way) - 1))
            receiver, message, _ = self.pair.under_way[place]
            if self._is_given_up(receiver, message):
                del self.pair.under_way[place]
                continue
            self.pair.deliver(place)
            self.done.append((receiver, message))

    def _is_given_up(self, receiver: int, message: bytes) -> bool:
        state = self.pair.states[receiver]
        oldest_key_epoch = state.chain.epoch + 1 - len(state.chain.receiving)
        if message[1] - 1 >= oldest_key_epoch:
            return False
        with pytest.raises(InvalidMessageError):
            spqr.receive(state, message)
        return True

    @precondition(lambda self: self.pair.under_way)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        del self.pair.under_way[data.draw(st.integers(0, len(self.pair.under_way) - 1))]

    @rule(rounds=st.integers(1, 50))
    def talk(self, rounds: int) -> None:
        self.pair.talk(rounds)

    @precondition(lambda self: self.done)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        receiver, message = data.draw(st.sampled_from(self.done))
        before = self.pair.states[receiver]
        copy = spqr.decode(spqr.encode(before))

        with pytest.raises(InvalidMessageError):
            spqr.receive(before, message)

        assert before == copy

    @invariant()
    def can_be_stored(self) -> None:
        for state in self.pair.states:
            assert spqr.decode(spqr.encode(state)) == state


TestTalk = Talk.TestCase
TestTalk.settings = settings(max_examples=15, stateful_step_count=25)


@pytest.mark.fuzz
@given(st.binary(max_size=60), st.sampled_from(State))
def test_any_bytes_are_taken_or_the_fault_of_a_peer(samples: dict[State, SpqrState], data: bytes, state: State) -> None:
    before = samples[state]
    header = b"\x01" + before.agreement.epoch.to_bytes()  # below 128 in the samples: one byte of a varint

    for message in (data, header + data, header + b"\x7f" + data):
        with suppress(PeerError):
            spqr.receive(before, message, max_jump=200)


def test_without_loss_an_epoch_takes_about_forty_round_trips() -> None:
    pair = Pair()

    pair.talk(200)

    assert 4 <= pair.states[0].agreement.epoch <= 6


def test_the_first_message_carries_the_first_chunk_of_a_header() -> None:
    state = spqr.initial_state(AUTH_KEY, is_initiator=True)

    sent = spqr.send(state, random_bytes=seeded_bytes(0))

    assert sent.message[:5] == b"\x01\x01\x01\x01\x00"
    assert len(sent.message) == 37


def test_index_0_is_refused_though_the_reference_takes_it_without_a_key() -> None:
    with pytest.raises(InvalidMessageError):
        spqr.receive(spqr.initial_state(AUTH_KEY, is_initiator=False), b"\x01\x01\x00\x00")


def test_secrets_are_not_printed() -> None:
    state = spqr.initial_state(AUTH_KEY, is_initiator=True)
    sent = spqr.send(state, random_bytes=seeded_bytes(0))
    received = spqr.receive(spqr.initial_state(AUTH_KEY, is_initiator=False), sent.message)
    step = agreements.receive(state.agreement, state.collected, wire.decode(sent.message), kem=spqr.ML_KEM_768)

    assert repr((state, sent, received, step)) == "(<SpqrState>, <Sent>, <Received>, <Step>)"
    assert repr(state.agreement) == "<Agreement KEYS_UNSAMPLED, epoch 1>"


# ---- guarantees, and variants that break them -----------------------------------------------------------------------


def check_that_foreign_headers_are_refused() -> None:
    stranger = spqr.initial_state(bytes(32), is_initiator=True)
    bob = spqr.initial_state(AUTH_KEY, is_initiator=False)
    with suppress(PeerError):
        for _ in range(3):
            sent = spqr.send(stranger, random_bytes=seeded_bytes(1))
            stranger, bob = sent.state, spqr.receive(bob, sent.message).state
    assert bob.state is State.NO_HEADER_RECEIVED


def check_that_foreign_keys_are_refused() -> None:
    pair = Pair()
    pair.talk(10)
    bob = pair.states[1]
    assert bob.state is State.CT1_SAMPLED
    epoch, index = bytes([bob.agreement.epoch]), bob.chain.receiving[0].counter
    with suppress(PeerError):
        for place in range(36):
            index += 1
            message = b"\x01" + epoch + bytes([index, 2, place + 40]) + bytes(32)
            bob = spqr.receive(bob, message).state
    assert bob.state is State.CT1_SAMPLED


def check_that_a_key_is_given_out_once() -> None:
    pair = Pair()
    for _ in range(2):
        pair.send(0)
    (_, early, _), (_, late, _) = pair.under_way
    bob = spqr.receive(spqr.receive(pair.states[1], late).state, early).state
    for message in (early, late):
        with pytest.raises(InvalidMessageError):
            spqr.receive(bob, message)


def check_that_a_lost_chunk_is_made_up_for() -> None:
    pair = Pair()
    pair.send(0)
    pair.under_way.clear()
    with suppress(PeerError):
        for _ in range(3):
            pair.send(0)
            pair.deliver()
    assert pair.states[1].state is State.HEADER_RECEIVED


def check_that_new_epochs_have_new_secrets() -> None:
    keys: list[MessageKey] = []
    for seed in (1, 2):
        pair = Pair(seed)
        pair.talk(60)
        pair.send(0)
        keys.append(pair.under_way[0][2])
    assert keys[0] != keys[1]


def check_that_old_epochs_are_given_up() -> None:
    pair = Pair()
    pair.talk(200)
    assert max(len(state.chain.receiving) for state in pair.states) <= 3


def check_that_skipped_keys_are_bounded() -> None:
    chain = chains.start(AUTH_KEY, is_initiator=False)
    for index in range(2, 5000, 2):
        chain, _ = chains.receive_key(chain, 0, index)
    assert len(chain.receiving[0].skipped) <= spqr.MAX_SKIPPED_KEYS


def check_that_jumps_are_bounded() -> None:
    chain = chains.start(AUTH_KEY, is_initiator=False)
    with pytest.raises(SkippedTooFarError):
        chains.receive_key(chain, 0, spqr.MAX_JUMP + 1)


GUARANTEES = {
    name.removeprefix("check_that_"): check for name, check in list(globals().items()) if name.startswith("check_that_")
}


@pytest.mark.parametrize("name", GUARANTEES)
def test_it_is_guaranteed_that(name: str) -> None:
    check: Callable[[], None] = GUARANTEES[name]

    check()


def keep_all(chain: chains.EpochChain, epoch: int) -> Any:  # the result of the function it stands for
    after, index, key = SEND_KEY(chain, epoch)
    return after._replace(receiving=chain.receiving), index, key


def leave_in_place(chain: chains.ReceivingChain, index: int) -> Any:  # likewise
    return chain, chain.skipped.get(index, MessageKey(bytes(32)))


def forget_secret(chain: chains.EpochChain, secret: bytes) -> Any:  # likewise
    return ADD_EPOCH(chain, EpochSecret(bytes(32)))


def repeat_first(self: erasure.Encoder, index: int) -> bytes:
    return CHUNK(self, index % 3)


SEND_KEY, ADD_EPOCH, CHUNK = chains.send_key, chains.add_epoch, erasure.Encoder.chunk

BROKEN: list[tuple[str, object, str, object]] = [
    ("foreign_headers_are_refused", authenticator, "verify", lambda *_: None),  # pyright: ignore[reportUnknownLambdaType]
    ("foreign_keys_are_refused", agreements, "fits_header", lambda *_: True),  # pyright: ignore[reportUnknownLambdaType]
    ("a_key_is_given_out_once", chains, "_take_skipped", leave_in_place),
    ("a_lost_chunk_is_made_up_for", erasure.Encoder, "chunk", repeat_first),
    ("new_epochs_have_new_secrets", chains, "add_epoch", forget_secret),
    ("old_epochs_are_given_up", chains, "send_key", keep_all),
    ("skipped_keys_are_bounded", chains, "MAX_SKIPPED_KEYS", 1 << 32),
    ("jumps_are_bounded", chains.receive_key, "__kwdefaults__", {"max_jump": None}),
]


@pytest.mark.parametrize(("name", "target", "attribute", "broken"), BROKEN, ids=[name for name, *_ in BROKEN])
def test_a_variant_that_breaks_it_is_noticed(
    name: str, target: object, attribute: str, broken: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, attribute, broken)

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        GUARANTEES[name]()


def test_each_guarantee_has_a_variant_that_breaks_it() -> None:
    assert {name for name, *_ in BROKEN} == set(GUARANTEES)


def test_a_conversation_of_many_epochs_stays_within_the_bound() -> None:
    pair = Pair()

    for _ in range(10):
        pair.talk(43)
        assert max(len(spqr.encode(state)) for state in pair.states) <= MAX_ENCODED_BYTES
