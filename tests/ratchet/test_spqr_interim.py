"""The symmetric half of SPQR; that its keys are the official ones is proved by the conversations in `test_device`."""

from __future__ import annotations

import pytest

from whisperkit.errors import CorruptStateError, InvalidMessageError
from whisperkit.ratchet.spqr_interim import (
    MAX_JUMP,
    MAX_SKIPPED,
    SpqrState,
    decode,
    encode,
    initial_state,
    receive,
    send,
)

AUTH = b"a" * 32


def message(index: int) -> bytes:
    state = initial_state(AUTH, is_initiator=True)._replace(sent=index - 1)
    return send(state, random_bytes=bytes).message


def test_both_directions_agree_in_any_order_and_after_storage() -> None:
    alice, bob = (initial_state(AUTH, is_initiator=side) for side in (True, False))
    keys: list[bytes | None] = []
    for _ in range(4):
        sent = send(alice, random_bytes=bytes)
        keys.append(sent.key)
        alice = decode(encode(sent.state))

    for index in (3, 1, 4, 2):
        received = receive(bob, message(index))
        assert received.key == keys[index - 1]
        bob = decode(encode(received.state))
    answer = send(bob, random_bytes=bytes)

    assert receive(alice, answer.message).key == answer.key
    assert not bob.skipped


def test_a_key_is_given_once() -> None:
    bob = receive(initial_state(AUTH, is_initiator=False), message(1)).state

    with pytest.raises(InvalidMessageError, match="used or given up"):
        receive(bob, message(1))


def test_a_jump_is_bounded_and_so_are_the_keys_that_are_kept() -> None:
    bob = initial_state(AUTH, is_initiator=False)
    with pytest.raises(InvalidMessageError, match="too far ahead"):
        receive(bob, message(MAX_JUMP + 1))

    far = receive(bob, message(MAX_SKIPPED + 10)).state
    further = receive(far, message(MAX_SKIPPED + 11)).state

    assert list(far.skipped) == list(range(10, MAX_SKIPPED + 10))
    assert list(further.skipped) == list(range(11, MAX_SKIPPED + 10))


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x02\x01\x01\x00", b"\x01", b"\x01\x02\x01\x00", b"\x01\x01\x00\x00"])
def test_what_is_no_message_of_this_epoch_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidMessageError):
        receive(initial_state(AUTH, is_initiator=False), data)


@pytest.mark.parametrize("data", [b"", b"\x05", b"\xc1", b"\x95\x01\x02\x03\x04\x05"])
def test_a_stored_state_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptStateError):
        decode(data)


def test_no_key_is_printed() -> None:
    state = initial_state(AUTH, is_initiator=True)
    sent = send(state, random_bytes=bytes)

    assert repr(state) == "<SpqrState>"
    assert (repr(sent), repr(receive(state, sent.message))) == ("<Sent>", "<Received>")
    assert isinstance(state, SpqrState)
