from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import CorruptStateError, MalformedFrameError
from whisperkit.ids import ConversationSeq, DeviceId, MessageId, UserId
from whisperkit.packing import pack
from whisperkit.partitions import MAX_VALUE_BYTES, seq_span
from whisperkit.strategy import Strategy
from whisperkit.sync.codec import decode_change
from whisperkit.sync.frames import MAX_CHANGE_USERS, EntryKind, RosterChange
from whisperkit.sync.rows import (
    MAX_POST_BYTES,
    PostRow,
    as_row,
    check_bodies,
    decode_row,
    encode_row,
    post_key,
    post_span,
)

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)
BODIES = st.none() | st.binary(max_size=20)
OWN = st.none() | st.dictionaries(st.sampled_from([ALICE, BOB]), st.binary(max_size=20))


def row(kind: EntryKind = EntryKind.MESSAGE, **bodies: object) -> PostRow:
    made = PostRow(ConversationSeq(7), MessageId(bytes(16)), kind, Strategy.MID, ALICE, 5, 3)
    return made._replace(**bodies)  # type: ignore[arg-type]  # whichever of its bodies


@given(BODIES, OWN, st.none() | st.just(ALICE), st.sampled_from([EntryKind.MESSAGE, EntryKind.MODE]))
def test_a_row_survives_its_bytes(
    shared: bytes | None, own: Mapping[DeviceId, bytes] | None, sender: DeviceId | None, kind: EntryKind
) -> None:
    made = row(kind, shared=shared, own=own, sender=sender)

    assert decode_row(encode_row(made)) == made
    assert decode_row(as_row(made).value).own == own


def test_a_roster_row_carries_its_change_as_its_body() -> None:
    change = RosterChange((ALICE.user,), (BOB.user,))
    made = row(EntryKind.ROSTER, change=change, own={BOB: b"key"})

    assert decode_row(encode_row(made)) == made
    assert made.body is not None
    assert decode_change(made.body) == change
    assert not made.is_own_only


def test_a_row_is_own_only_without_anything_for_all() -> None:
    assert row(own={BOB: b"copy"}).is_own_only
    assert not row(own={BOB: b"copy"}, shared=b"text").is_own_only
    assert not row().is_own_only


def test_rows_lie_in_the_order_of_their_numbers() -> None:
    assert as_row(row()).key == post_key(7)
    assert post_span(2, 7) == seq_span(b"e/", 2, 7)


def test_the_largest_post_fits_into_a_row_and_none_larger_is_taken() -> None:
    copies = {DeviceId.named(str(number), 127): bytes(936) for number in range(1_000)}
    room = MAX_POST_BYTES - 1_000 * 1_000
    check_bodies(bytes(room), copies)
    everybody = RosterChange(tuple(UserId.named(str(number)) for number in range(MAX_CHANGE_USERS)))

    assert len(encode_row(row(shared=bytes(room), own=copies))) <= MAX_VALUE_BYTES
    assert len(encode_row(row(EntryKind.ROSTER, change=everybody))) <= MAX_VALUE_BYTES
    with pytest.raises(MalformedFrameError):
        check_bodies(bytes(room + 1), copies)
    with pytest.raises(MalformedFrameError):
        check_bodies(bytes(MAX_POST_BYTES + 1), None)


GOOD = (7, bytes(16), 1, 2, ALICE, 5, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        encode_row(row())[:-1],
        pack(*GOOD, (1, 2)),
        pack(*GOOD, (b"text", {"nobody": b""})),
        pack(*GOOD, (b"text", {ALICE: 7})),
        pack(*GOOD, (b"text",)),
        pack(*GOOD, (b"text", 0.5)),  # found by the fuzzer
        pack(*GOOD, (b"text", [ALICE])),
        pack(7, bytes(16), 1, 9, ALICE, 5, 3, (None, None)),
        pack(7, bytes(15), 1, 2, ALICE, 5, 3, (None, None)),
        pack(7, bytes(16), 99, 2, ALICE, 5, 3, (None, None)),
        pack(7, bytes(16), EntryKind.ROSTER, 2, ALICE, 5, 3, (b"no change", None)),
        pack(7, bytes(16), EntryKind.ROSTER, 2, ALICE, 5, 3, (None, None)),
    ],
)
def test_other_bytes_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptStateError):
        decode_row(data)
