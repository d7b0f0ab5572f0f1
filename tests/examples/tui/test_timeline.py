"""Records in the order in which they are shown, whatever the order in which they come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from examples.tui.timeline import Timeline, key_of
from whisperkit.client.history import Note, Record
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, MessageId

ALICE = DeviceId.named("alice", 1)
CHAT = ConversationId.direct(ALICE.user, DeviceId.named("bob", 1).user)


def record(name: int, seq: int = 0, *, at_ms: int = 0, failed: str = "") -> Record:
    message_id = MessageId(name.to_bytes(16, "big"))
    return Record(CHAT, message_id, ALICE, ConversationSeq(seq), at_ms, Note.MESSAGE, b"", failed)


def expected(taken: list[Record]) -> list[Record]:
    """The same by sorting all of them."""
    last = {key_of(one): one for one in taken}
    shown = sorted((one for one in last.values() if one.seq), key=lambda one: one.seq)
    for failed in (one for one in last.values() if one.failed and not one.seq):
        after = [place for place, one in enumerate(shown) if one.at_ms <= failed.at_ms]
        shown.insert(after[-1] + 1 if after else 0, failed)
    return shown + [one for one in last.values() if not one.seq and not one.failed]


def test_what_has_a_number_is_in_order_what_waits_is_behind_it_and_what_failed_where_it_was_written() -> None:
    first, second, waits = record(1, 1, at_ms=10), record(2, 2, at_ms=30), record(3, at_ms=5)
    failed = record(4, at_ms=20, failed="too big")

    assert Timeline([waits, second, failed, first]).records == [first, failed, second, waits]


def test_a_record_goes_to_its_place_when_it_gets_a_number_or_fails() -> None:
    timeline = Timeline([record(1, 1), record(2), record(3)])

    timeline.take(record(3, 2))
    timeline.take(record(2, failed="too big"))

    assert [one.seq for one in timeline.records] == [1, 2, 0]
    assert [key_of(one) for one in timeline.failed] == [key_of(record(2))]
    assert timeline.waiting == []


def test_what_was_dropped_is_gone_and_what_is_not_there_can_be_dropped() -> None:
    timeline = Timeline([record(1, 1), record(2), record(3, failed="too big")])

    for name in (1, 2, 3, 4):
        timeline.drop(record(name))

    assert timeline.records == []
    assert len(timeline) == 0


def test_the_last_are_kept_and_what_waits_or_failed_with_them() -> None:
    timeline = Timeline([*(record(n, n, at_ms=n) for n in range(1, 9)), record(9), record(10, failed="x", at_ms=8)])

    timeline.trim(3)

    assert [one.seq for one in timeline.records] == [6, 7, 8, 0, 0]
    assert key_of(record(1)) not in timeline


RECORDS = st.builds(
    record,
    st.integers(0, 12),
    st.just(0) | st.integers(1, 8),
    at_ms=st.integers(0, 5),
    failed=st.sampled_from(["", "", "too big"]),
)


@given(st.lists(RECORDS, max_size=30))
def test_it_is_as_if_all_were_sorted_each_time(taken: list[Record]) -> None:
    timeline = Timeline()
    seen: list[Record] = []
    used: dict[int, Record] = {}
    for one in taken:
        if one.seq and key_of(used.setdefault(one.seq, one)) != key_of(one):
            continue  # a conversation gives each number once
        if not one.seq and any(key_of(other) == key_of(one) for other in used.values()):
            continue  # and takes none away
        if one.seq and any(key_of(other) == key_of(one) and other.seq != one.seq for other in used.values()):
            del used[one.seq]
            continue  # nor changes it
        timeline.take(one)
        if not one.seq:  # what failed, or waits again, is behind those that did or do
            seen = [other for other in seen if key_of(other) != key_of(one) or bool(other.failed) == bool(one.failed)]
        seen.append(one)

        assert timeline.records == expected(seen)
