"""Holds the place of the post-quantum ratchet until it lands: a plain symmetric chain behind the same seam."""

from __future__ import annotations

from typing import NamedTuple

from whisperkit.errors import InvalidMessageError
from whisperkit.ratchet.curve import RandomBytes


class SpqrState(NamedTuple):
    auth_key: bytes


class Sent(NamedTuple):
    state: SpqrState
    message: bytes
    key: bytes | None


class Received(NamedTuple):
    state: SpqrState
    key: bytes | None


def initial_state(auth_key: bytes, *, is_initiator: bool) -> SpqrState:
    return SpqrState(auth_key)


def send(state: SpqrState, *, random_bytes: RandomBytes) -> Sent:
    return Sent(state, b"\x01", state.auth_key)


def receive(state: SpqrState, message: bytes) -> Received:
    if message[:1] != b"\x01":
        raise InvalidMessageError("post-quantum ratchet error")
    return Received(state, state.auth_key)


def encode(state: SpqrState) -> bytes:
    return state.auth_key


def decode(data: bytes) -> SpqrState:
    return SpqrState(data)
