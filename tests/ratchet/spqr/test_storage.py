"""States as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import CorruptStateError, PeerError
from whisperkit.ratchet import spqr
from whisperkit.ratchet.spqr import MAX_ENCODED_BYTES, MAX_HEAD_BYTES, MAX_SKIPPED_BYTES, SHAPES, SpqrState, State
from whisperkit.ratchet.spqr import chain as chains
from whisperkit.ratchet.spqr.erasure import Collected
from whisperkit.testing.ratchet import seeded_bytes

Samples = Mapping[State, SpqrState]

AUTH_KEY = bytes(range(32))


def with_skipped(state: SpqrState, keys: int) -> SpqrState:
    """The state after a jump in each chain to receive in, which skipped so many keys."""
    chain = state.chain
    for place in range(len(chain.receiving)):
        first = chain.epoch + 1 - len(chain.receiving)
        target = chain.receiving[place].counter + keys + 1
        chain, _ = chains.receive_key(chain, first + place, target, max_jump=None)
    return state._replace(chain=chain)


@pytest.mark.parametrize("state", State)
def test_a_state_is_read_as_it_was_written(state: State, samples: Samples) -> None:
    for sample in (samples[state], with_skipped(samples[state], 3)):
        assert spqr.decode(spqr.encode(sample)) == sample


def slow_encode(state: SpqrState) -> bytes:
    """The layout, field by field, as the module has it written down."""
    agreement, chain = state.agreement, state.chain
    out = bytes([1, chain.is_initiator, agreement.state]) + agreement.epoch.to_bytes(8, "big")
    out += state.chunks_sent.to_bytes(2, "big") + agreement.authenticator.root_key + agreement.authenticator.mac_key
    for name in SHAPES[agreement.state].holds:
        out += getattr(agreement, name)
    out += bytes([len(state.collected.indices)])
    for index in state.collected.indices:
        out += index.to_bytes(2, "big")
    out += state.collected.data + chain.root + bytes([len(chain.sending)])
    for sending in chain.sending:
        out += sending.counter.to_bytes(4, "big") + sending.key
    out += bytes([len(chain.receiving)])
    for receiving in chain.receiving:
        out += receiving.counter.to_bytes(4, "big") + receiving.key + len(receiving.skipped).to_bytes(2, "big")
    for receiving in chain.receiving:
        for index, key in receiving.skipped.items():
            out += index.to_bytes(4, "big") + key
    return out


@pytest.mark.parametrize("state", State)
def test_the_layout_is_the_one_that_is_written_down(state: State, samples: Samples) -> None:
    for sample in (samples[state], with_skipped(samples[state], 3)):
        assert spqr.encode(sample) == slow_encode(sample)


@pytest.mark.parametrize("state", State)
def test_skipped_keys_can_be_stored_apart(state: State, samples: Samples) -> None:
    sample = with_skipped(samples[state], 3)

    rows = {epoch: spqr.encode_skipped(keys) for epoch, keys in spqr.skipped_keys(sample).items()}

    assert spqr.decode_head(spqr.encode_head(sample), rows.get) == sample
    assert spqr.encode(sample) == spqr.encode_head(sample) + b"".join(rows.values())
    with pytest.raises(CorruptStateError):
        spqr.decode_head(spqr.encode_head(sample), lambda _: None)


def test_the_fullest_state_is_of_the_size_of_the_bound(samples: Samples) -> None:
    most = 0
    for sample in samples.values():
        full = with_skipped(sample, 5000)
        collects = SHAPES[sample.state].collects
        if sample.collected.indices:
            full = full._replace(collected=Collected(tuple(range(collects - 1)), bytes(32 * (collects - 1))))
        assert len(spqr.encode_head(full)) <= MAX_HEAD_BYTES
        assert max(len(spqr.encode_skipped(keys)) for keys in spqr.skipped_keys(full).values()) <= MAX_SKIPPED_BYTES
        assert len(spqr.encode(full)) <= MAX_ENCODED_BYTES
        most = max(most, len(spqr.encode_head(full)))

    assert most > MAX_HEAD_BYTES - 100


def test_the_bounds_are_small() -> None:
    assert MAX_HEAD_BYTES < 2_700
    assert MAX_SKIPPED_BYTES == 79_200


@pytest.mark.parametrize("state", State)
def test_what_is_cut_short_or_goes_on_is_corrupt(state: State, samples: Samples) -> None:
    data = spqr.encode(samples[state])

    for wrong in (b"", data[:1], data[:60], data[:-1], data + b"\0"):
        with pytest.raises(CorruptStateError):
            spqr.decode(wrong)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        pytest.param(0, 2, id="another layout"),
        pytest.param(1, 2, id="an unknown flag"),
        pytest.param(2, 11, id="an unknown state"),
        pytest.param(3, 0x80, id="an epoch out of range"),
        pytest.param(10, 0, id="epoch 0"),
        pytest.param(77, 3, id="more chunks than can be"),
        pytest.param(110, 0, id="no chain to send in"),
        pytest.param(110, 3, id="too many chains to send in"),
        pytest.param(110, 2, id="chains to send in from before the first epoch"),
        pytest.param(147, 2, id="other chains to receive in than belong to the epoch"),
    ],
)
def test_a_state_that_cannot_be_is_corrupt(place: int, value: int) -> None:
    data = bytearray(spqr.encode(spqr.initial_state(AUTH_KEY, is_initiator=False)))
    data[place] = value

    with pytest.raises(CorruptStateError):
        spqr.decode(bytes(data))


def test_a_chunk_that_is_there_twice_is_corrupt() -> None:
    state = spqr.initial_state(AUTH_KEY, is_initiator=False)

    with pytest.raises(CorruptStateError):
        spqr.decode(spqr.encode(state._replace(collected=Collected((1, 1), bytes(64)))))


@pytest.mark.parametrize("indices", [(2, 1), (1, 1), (0, 1), (1, 9)], ids=str)
def test_skipped_keys_that_cannot_be_are_corrupt(indices: tuple[int, int]) -> None:
    state = with_skipped(spqr.initial_state(AUTH_KEY, is_initiator=False), 2)
    rows = {0: b"".join(index.to_bytes(4, "big") + bytes(32) for index in indices)}

    with pytest.raises(CorruptStateError):
        spqr.decode_head(spqr.encode_head(state), rows.get)


@pytest.mark.fuzz
@given(st.sampled_from(State), st.data())
def test_damaged_bytes_are_corrupt_or_a_state_that_works(
    samples: dict[State, SpqrState], state: State, data: st.DataObject
) -> None:
    stored = bytearray(spqr.encode(samples[state]))
    for place in data.draw(st.lists(st.integers(0, len(stored) - 1), min_size=1, max_size=4)):
        stored[place] = data.draw(st.integers(0, 255))

    with suppress(CorruptStateError):
        damaged = spqr.decode(bytes(stored))
        sent = spqr.send(damaged, random_bytes=seeded_bytes(0))
        with suppress(PeerError):
            spqr.receive(damaged, sent.message, max_jump=10)
