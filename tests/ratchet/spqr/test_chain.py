"""The epoch chain: its keys, its limits, and how long it remembers."""

from __future__ import annotations

import pytest

from whisperkit.errors import InvalidMessageError, SkippedTooFarError, UsageError
from whisperkit.ratchet.spqr import chain as chains
from whisperkit.ratchet.spqr.chain import (
    MAX_JUMP,
    MAX_SKIPPED_KEYS,
    MAX_SKIPPED_SPAN,
    EpochChain,
    SendingChain,
    add_epoch,
    receive_key,
    send_key,
)
from whisperkit.ratchet.spqr.derivation import EpochSecret, MessageKey

AUTH_KEY = bytes(32)
ALICE = chains.start(AUTH_KEY, is_initiator=True)
BOB = chains.start(AUTH_KEY, is_initiator=False)


def secret(epoch: int) -> EpochSecret:
    return EpochSecret(bytes([epoch]) * 32)


def keys_of(chain: EpochChain, count: int, epoch: int = 0) -> dict[int, MessageKey]:
    keys: dict[int, MessageKey] = {}
    for _ in range(count):
        chain, index, key = send_key(chain, epoch)
        keys[index] = key
    return keys


def receive_all(chain: EpochChain, *indices: int) -> EpochChain:
    for index in indices:
        chain, _ = receive_key(chain, 0, index)
    return chain


def test_both_sides_have_the_same_keys_in_each_direction() -> None:
    sent = keys_of(ALICE, 3)
    answered = keys_of(BOB, 3)

    assert list(sent) == [1, 2, 3]
    assert len({*sent.values(), *answered.values()}) == 6
    for index in (2, 1, 3):
        assert receive_key(BOB, 0, index)[1] == sent[index]
        assert receive_key(ALICE, 0, index)[1] == answered[index]


def test_a_key_is_given_out_once() -> None:
    bob = receive_all(BOB, 3, 1)

    for index in (1, 3, 0):
        with pytest.raises(InvalidMessageError):
            receive_key(bob, 0, index)
    receive_all(bob, 2)


def test_a_jump_to_the_limit_is_taken_and_one_further_is_refused() -> None:
    bob = receive_all(BOB, 1)

    receive_key(bob, 0, 1 + MAX_JUMP)
    with pytest.raises(SkippedTooFarError) as caught:
        receive_key(bob, 0, 2 + MAX_JUMP)
    assert (caught.value.gap, caught.value.limit) == (MAX_JUMP + 1, MAX_JUMP)


def test_without_a_limit_it_goes_as_far_as_it_takes() -> None:
    receive_key(BOB, 0, MAX_JUMP + 2, max_jump=None)


def test_after_a_long_jump_the_last_keys_before_it_can_be_had() -> None:
    bob = receive_all(BOB, 2, 5000)

    receive_all(bob, 5000 - MAX_SKIPPED_SPAN)
    for index in (5000 - MAX_SKIPPED_SPAN - 1, 1):
        with pytest.raises(InvalidMessageError):
            receive_key(bob, 0, index)


def test_a_key_too_far_behind_is_given_up_though_it_is_still_held() -> None:
    bob = receive_all(BOB, 2, MAX_SKIPPED_SPAN + 1)
    receive_all(bob, 1)

    bob = receive_all(bob, MAX_SKIPPED_SPAN + 2)

    assert 1 in bob.receiving[0].skipped
    with pytest.raises(InvalidMessageError):
        receive_key(bob, 0, 1)


def test_no_way_to_skip_holds_more_keys_than_the_bound() -> None:
    bob, most = BOB, 0
    for index in range(2, 3 * MAX_SKIPPED_SPAN, 37):
        bob = receive_all(bob, index)
        most = max(most, len(bob.receiving[0].skipped))

    assert MAX_SKIPPED_SPAN <= most <= MAX_SKIPPED_KEYS
    receive_all(bob, bob.receiving[0].counter - MAX_SKIPPED_SPAN)


def test_an_epoch_that_has_not_begun_is_refused() -> None:
    with pytest.raises(InvalidMessageError):
        receive_key(BOB, 1, 1)


def test_sending_in_an_epoch_gives_up_those_before_the_last() -> None:
    alice, bob = ALICE, BOB
    for epoch in (1, 2):
        alice, bob = add_epoch(alice, secret(epoch)), add_epoch(bob, secret(epoch))
        alice, _, key = send_key(alice, epoch)
        bob, received = receive_key(bob, epoch, 1)
        assert received == key

    assert (len(alice.sending), len(alice.receiving)) == (1, 2)
    assert (len(bob.sending), len(bob.receiving)) == (3, 3)
    with pytest.raises(InvalidMessageError):
        receive_key(alice, 0, 1)
    receive_key(alice, 1, 1)


def test_the_keys_of_a_new_epoch_follow_from_its_secret() -> None:
    alice = add_epoch(ALICE, secret(1))
    other = add_epoch(ALICE, secret(2))

    assert send_key(alice, 1)[2] != send_key(other, 1)[2]
    assert send_key(alice, 0)[2] == send_key(ALICE, 0)[2]


def test_a_chain_ends_before_its_index_would_not_fit() -> None:
    full = ALICE._replace(sending=(SendingChain((1 << 32) - 1, ALICE.sending[0].key),))

    with pytest.raises(UsageError):
        send_key(full, 0)


def test_keys_are_not_printed() -> None:
    assert [repr(each) for each in (ALICE, *ALICE.sending, *ALICE.receiving)] == [
        "<EpochChain>",
        "<SendingChain>",
        "<ReceivingChain>",
    ]
