"""Two sides that talk, and a sample of each state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random

import pytest

from whisperkit.ratchet import spqr
from whisperkit.testing.ratchet import seeded_bytes

AUTH_KEY = bytes(range(32))


def _lossy_talk(seed: int, *, initiator_says: float) -> Iterator[spqr.SpqrState]:
    """Both sides' states, again and again; one sends to the other at a time, which gets four messages in five."""
    choose, random_bytes = Random(seed), seeded_bytes(seed)
    states = [spqr.initial_state(AUTH_KEY, is_initiator=True), spqr.initial_state(AUTH_KEY, is_initiator=False)]
    while True:
        yield from states
        sender = int(choose.random() >= initiator_says)
        sent = spqr.send(states[sender], random_bytes=random_bytes)
        states[sender] = sent.state
        if choose.random() >= 0.2:
            states[1 - sender] = spqr.receive(states[1 - sender], sent.message).state


@pytest.fixture(scope="session")
def samples() -> Mapping[spqr.State, spqr.SpqrState]:
    """The fullest example of each state, by its stored size, out of a long conversation."""
    found: dict[spqr.State, spqr.SpqrState] = {}
    for seed, initiator_says in ((1, 0.5), (2, 0.85)):
        for state, _ in zip(_lossy_talk(seed, initiator_says=initiator_says), range(2000), strict=False):
            if state.state not in found or len(spqr.encode(state)) > len(spqr.encode(found[state.state])):
                found[state.state] = state
    assert set(found) == set(spqr.State)
    return found
