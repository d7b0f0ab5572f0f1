"""The Double Ratchet's steps and limits."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from whisperkit.errors import DuplicateMessageError, InvalidKeyError, SkippedTooFarError
from whisperkit.ratchet import spqr
from whisperkit.ratchet.chains import ChainKey, RootKey, next_chain_key, step
from whisperkit.ratchet.curve import PublicKey, generate
from whisperkit.ratchet.double_ratchet import (
    MAX_FORWARD_JUMP,
    MAX_RECEIVING_CHAINS,
    MAX_SKIPPED_KEYS,
    NO_SEEDS,
    RatchetState,
    ReceivingChain,
    SendingChain,
    Sent,
    has_chain,
    receive,
    send,
    skip,
    steps,
)
from whisperkit.testing.ratchet import seeded_bytes

RANDOM = seeded_bytes(8)
KEY = ChainKey(bytes(32))


class Said(NamedTuple):
    """A header."""

    ratchet_key: PublicKey
    counter: int
    pq_ratchet: bytes


def pair() -> tuple[RatchetState, RatchetState]:
    """Two sides, each of which knows the other's ratchet key."""
    alice, bob = generate(random_bytes=RANDOM), generate(random_bytes=RANDOM)
    a, b = ChainKey(b"a" * 32), ChainKey(b"b" * 32)
    root = RootKey(bytes(32))
    return (
        RatchetState(
            root,
            SendingChain(alice, a, 0),
            (ReceivingChain(0, bob.public, b, 0),),
            0,
            spqr.initial_state(bytes(32), is_initiator=True),
        ),
        RatchetState(
            root,
            SendingChain(bob, b, 0),
            (ReceivingChain(0, alice.public, a, 0),),
            0,
            spqr.initial_state(bytes(32), is_initiator=False),
        ),
    )


def take(state: RatchetState, sent: Sent) -> RatchetState:
    received = receive(state, sent, random_bytes=RANDOM)
    assert received.keys == sent.keys
    return received.state


def test_each_message_has_keys_of_its_own() -> None:
    alice, bob = pair()
    one = send(alice, random_bytes=RANDOM)
    two = send(one.state, random_bytes=RANDOM)

    bob = take(take(bob, one), two)

    assert len({one.keys, two.keys}) == 2
    assert (one.counter, two.counter) == (0, 1)


def test_a_late_message_uses_the_seed_that_was_kept_for_it_once() -> None:
    alice, bob = pair()
    one = send(alice, random_bytes=RANDOM)
    two = send(one.state, random_bytes=RANDOM)
    bob = take(bob, two)
    assert list(bob.receiving[0].skipped) == [0]

    bob = take(bob, one)

    assert not bob.receiving[0].skipped
    with pytest.raises(DuplicateMessageError) as caught:
        receive(bob, one, random_bytes=RANDOM)
    assert (caught.value.counter, caught.value.chain_index) == (0, 2)


def test_receiving_changes_nothing_in_the_state_it_was_given() -> None:
    alice, bob = pair()
    one = send(alice, random_bytes=RANDOM)
    two = send(one.state, random_bytes=RANDOM)
    bob = take(bob, two)
    before = dict(bob.receiving[0].skipped)

    receive(bob, one, random_bytes=RANDOM)

    assert bob.receiving[0].skipped == before


def turn(state: RatchetState, other: RatchetState) -> tuple[RatchetState, RatchetState]:
    """A message of `state` under a ratchet key that `other` has not seen."""
    fresh = generate(random_bytes=RANDOM)
    sent = send(state._replace(sending=SendingChain(fresh, KEY, 0)), random_bytes=RANDOM)
    return sent.state, receive(other, sent, random_bytes=RANDOM).state


def test_a_new_ratchet_key_opens_a_chain_and_a_fresh_one_to_answer_in() -> None:
    alice, bob = pair()
    for _ in range(3):
        bob = send(bob, random_bytes=RANDOM).state

    _, after = turn(alice, bob)

    assert after.root_key != bob.root_key
    assert after.sending.ratchet != bob.sending.ratchet
    assert after.sending.next_counter == 0
    assert after.previous_counter == 2
    assert [chain.number for chain in after.receiving] == [0, 1]


def test_the_previous_counter_is_never_below_zero() -> None:
    alice, bob = pair()

    _, after = turn(alice, bob)

    assert after.previous_counter == 0


def test_the_last_five_receiving_chains_stay() -> None:
    alice, bob = pair()

    for _ in range(MAX_RECEIVING_CHAINS + 1):
        alice, bob = turn(alice, bob)

    assert [chain.number for chain in bob.receiving] == [2, 3, 4, 5, 6]


def test_a_ratchet_key_of_low_order_is_refused() -> None:
    _, bob = pair()

    with pytest.raises(InvalidKeyError):
        receive(bob, Said(PublicKey(b"\x05" + bytes(32)), 0, b"\x01"), random_bytes=RANDOM)


def test_a_jump_beyond_the_limit_is_refused_before_anything_is_derived() -> None:
    _, bob = pair()
    header = Said(bob.receiving[0].ratchet_key, MAX_FORWARD_JUMP + 1, b"")

    with pytest.raises(SkippedTooFarError) as caught:
        receive(bob, header, random_bytes=RANDOM)

    assert (caught.value.gap, caught.value.limit) == (MAX_FORWARD_JUMP + 1, MAX_FORWARD_JUMP)


def test_what_a_message_costs_is_known_before_it_is_paid() -> None:
    alice, bob = pair()
    for _ in range(3):
        alice = send(alice, random_bytes=RANDOM).state
    header = send(alice, random_bytes=RANDOM)
    other = header._replace(ratchet_key=generate(random_bytes=RANDOM).public, counter=5)

    assert has_chain(bob, header.ratchet_key)
    assert not has_chain(bob, other.ratchet_key)
    assert steps(bob, header) == 3 + 4  # the post-quantum ratchet counts from 1
    assert steps(bob, other) == 5 + 4
    assert steps(bob, header, max_jump=3) == 3  # what is beyond the limit is refused before it costs anything
    assert steps(bob, header._replace(pq_ratchet=b"")) == 3
    assert steps(bob, header._replace(pq_ratchet=b"\x01\x09\x04\x00")) == 3  # of an epoch that is not open


def test_skipping_keeps_the_newest_seeds() -> None:
    key, skipped = skip(KEY, NO_SEEDS, 0, MAX_SKIPPED_KEYS + 3)

    assert list(skipped) == list(range(3, MAX_SKIPPED_KEYS + 3))
    expected = KEY
    for _ in range(3):
        expected = next_chain_key(expected)
    assert skipped[3] == step(expected)[0]

    _, more = skip(key, skipped, MAX_SKIPPED_KEYS + 5, MAX_SKIPPED_KEYS + 9)

    assert len(more) == MAX_SKIPPED_KEYS
    assert next(iter(more)) == 7
    assert list(more)[-1] == MAX_SKIPPED_KEYS + 8


def test_the_limits_are_those_of_the_official_library() -> None:
    assert (MAX_FORWARD_JUMP, MAX_SKIPPED_KEYS, MAX_RECEIVING_CHAINS) == (25_000, 2_000, 5)
