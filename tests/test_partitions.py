from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit import ConversationId
from whisperkit.ids import MAX_CONVERSATION_ID_CHARS
from whisperkit.partitions import EVERYTHING, MAX_KEY_BYTES, Row, Span, Step, prefix, seq_key, seq_of, seq_span

seqs = st.integers(0, 2**63)
# Keys begin with an ASCII prefix; what follows are ids and big-endian numbers.
keys = st.tuples(st.sampled_from([b"e/", b"m/", b"c/"]), st.binary(max_size=MAX_KEY_BYTES - 2)).map(b"".join)


def within(span: Span, key: bytes) -> bool:
    return span.start <= key < span.stop


@given(seqs)
def test_a_key_of_a_number_gives_the_number_back(seq: int) -> None:
    assert seq_of(seq_key(b"e/", seq)) == seq


@given(seqs, seqs)
def test_keys_sort_as_their_numbers(one: int, other: int) -> None:
    assert (seq_key(b"e/", one) < seq_key(b"e/", other)) == (one < other)


@given(seqs, seqs, seqs)
def test_a_span_of_numbers_leaves_out_its_lower_end_and_has_its_upper(after: int, upto: int, seq: int) -> None:
    span = seq_span(b"e/", after, upto)

    assert within(span, seq_key(b"e/", seq)) == (after < seq <= upto)


def test_a_span_is_read_forwards_unless_it_says_otherwise() -> None:
    assert not seq_span(b"e/", 0, 9).reverse
    assert seq_span(b"e/", 0, 9, reverse=True).reverse


@given(keys)
def test_a_prefix_has_just_the_keys_that_begin_with_it(key: bytes) -> None:
    assert within(prefix(b"m/"), key) == key.startswith(b"m/")


@given(keys)
def test_everything_has_every_key(key: bytes) -> None:
    assert within(EVERYTHING, key)


def test_the_longest_conversation_id_fits_into_a_row_key() -> None:
    longest = ConversationId("x" * MAX_CONVERSATION_ID_CHARS)

    assert len(b"c/" + longest.encode()) <= MAX_KEY_BYTES


def test_a_step_that_keeps_the_very_state_changes_nothing() -> None:
    before = ("state",)

    assert not Step("repeat", before).changes(before)


@pytest.mark.parametrize(
    "step",
    [
        Step("posted", ("another",)),
        Step("posted", ("state",), put=(Row(b"e/1", b""),)),
        Step("posted", ("state",), delete=(b"e/1",)),
        Step("posted", ("state",), drop=EVERYTHING),
    ],
    ids=["state", "put", "delete", "drop"],
)
def test_a_step_that_writes_anything_is_a_change(step: Step[str, tuple[str]]) -> None:
    before = step.state if step.state == ("state",) else ("state",)

    assert step.changes(before)
