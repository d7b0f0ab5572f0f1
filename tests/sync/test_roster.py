from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import CorruptStateError, MalformedFrameError
from whisperkit.ids import ConversationSeq, UserId
from whisperkit.packing import pack
from whisperkit.partitions import Row
from whisperkit.sync.frames import MAX_CHANGE_USERS, RosterChange
from whisperkit.sync.roster import (
    EMPTY_ROSTER,
    MAX_STAYS,
    Interval,
    Intervals,
    Roster,
    apply_change,
    audience_of,
    check_change,
    decode_intervals,
    encode_intervals,
    is_in_audience,
    is_member_at,
    member_key,
    member_of,
    members_at,
)

ALICE, BOB, CAROL = (UserId.named(name) for name in ("alice", "bob", "carol"))
STAYS: Intervals = (Interval(3, 5), Interval(8))


@pytest.mark.parametrize(
    ("seq", "is_member", "gets"),
    [(2, False, False), (3, True, True), (4, True, True), (5, False, True), (6, False, False), (8, True, True)],
)
def test_who_leaves_by_a_row_gets_it_and_is_no_member_after_it(seq: int, is_member: bool, gets: bool) -> None:
    assert is_member_at(STAYS, seq) is is_member
    assert is_in_audience(STAYS, seq) is gets


def of_the_row(stays: Intervals, seq: int, newest: int) -> bool:
    return is_in_audience(stays, seq)


def of_today(stays: Intervals, seq: int, newest: int) -> bool:
    return is_member_at(stays, newest)


@pytest.mark.parametrize(("audience", "is_right"), [(of_the_row, True), (of_today, False)])
def test_m04b_a_row_is_finished_for_its_own_audience(
    audience: Callable[[Intervals, int, int], bool], is_right: bool
) -> None:
    """Model 4b repair, "fan out to the roster of today": msg, out, msg, in, msg, out; finished only at the end."""
    script: Final = ("msg", "out", "msg", "in", "msg", "out")
    stays: Intervals = (Interval(0),)
    for seq, row in enumerate(script, 1):
        change = {"out": RosterChange((), (CAROL,)), "in": RosterChange((CAROL,))}.get(row, RosterChange())
        _, rows = apply_change({CAROL: stays}, change, seq=seq)
        stays = member_of(rows[0])[1] if rows else stays

    got = [seq for seq in range(1, 7) if audience(stays, seq, 6)]

    assert (got == [1, 2, 4, 5, 6]) is is_right


def test_a_change_without_effect_changes_nothing() -> None:
    known = {ALICE: (Interval(1),), BOB: (Interval(1, 2),)}

    effective, rows = apply_change(known, RosterChange((ALICE,), (BOB, CAROL)), seq=9)

    assert effective == RosterChange()
    assert rows == ()


def test_a_change_is_worked_into_the_rows_of_those_it_concerns() -> None:
    known = {ALICE: (Interval(1),), BOB: (Interval(1, 2),)}

    effective, rows = apply_change(known, RosterChange((BOB, CAROL), (ALICE,)), seq=9)

    assert effective == RosterChange((BOB, CAROL), (ALICE,))
    assert dict(map(member_of, rows)) == {
        BOB: (Interval(1, 2), Interval(9)),
        CAROL: (Interval(9),),
        ALICE: (Interval(1, 9),),
    }


def test_whoever_is_both_added_and_removed_is_out() -> None:
    effective, rows = apply_change({}, RosterChange((ALICE, BOB), (ALICE,)), seq=1)

    assert effective == RosterChange((BOB,))
    assert [member_of(row)[0] for row in rows] == [BOB]


def toggled(times: int, *, finished: bool) -> Intervals:
    stays: Intervals = ()
    for seq in range(1, 2 * times + 1):
        change = RosterChange((ALICE,)) if seq % 2 else RosterChange((), (ALICE,))
        _, rows = apply_change({ALICE: stays}, change, seq=seq, finished=seq - 1 if finished else 0)
        stays = member_of(rows[0])[1]
    return stays


def test_stays_that_are_finished_are_kept_up_to_a_bound() -> None:
    stays = toggled(MAX_STAYS * 3, finished=True)

    assert len(stays) == MAX_STAYS
    assert stays[-1] == Interval(MAX_STAYS * 6 - 1, MAX_STAYS * 6)


def test_stays_that_somebody_still_has_to_finish_by_are_kept() -> None:
    assert len(toggled(MAX_STAYS * 2, finished=False)) == MAX_STAYS * 2


@given(st.lists(st.integers(1, 1000), unique=True, max_size=12).map(sorted))
def test_stays_survive_their_row(ends: list[int]) -> None:
    pairs = [ends[at : at + 2] for at in range(0, len(ends), 2)]
    stays = tuple(Interval(*pair) for pair in pairs)

    assert decode_intervals(encode_intervals(stays)) == stays


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        pack(7),
        pack([(1, 2, 3)]),
        pack([(5, 3)]),
        pack([(1, 0), (2, 0)]),
        pack([("a", 0)]),
        pack([7]),
        pack([(3, 3)]),
        pack([(1, 1e22)]),  # found by the fuzzer: as a number of its own it did not fit into bytes
    ],
)
def test_a_row_that_is_no_member_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptStateError):
        decode_intervals(data)


def test_a_key_that_names_no_user_is_corrupt() -> None:
    with pytest.raises(CorruptStateError):
        member_of(Row(b"m/nobody", encode_intervals(STAYS)))


def test_members_and_audience_stream_from_rows() -> None:
    rows = [
        Row(member_key(ALICE), encode_intervals((Interval(1),))),
        Row(member_key(BOB), encode_intervals((Interval(1, 4),))),
        Row(member_key(CAROL), encode_intervals((Interval(5),))),
    ]

    assert list(members_at(iter(rows), 4)) == [ALICE]
    assert list(audience_of(iter(rows), 4)) == [ALICE, BOB]


def test_a_roster_follows_the_rows_in_order_and_takes_none_twice() -> None:
    first = EMPTY_ROSTER.after(ConversationSeq(1), RosterChange((ALICE, BOB)))
    second = first.after(ConversationSeq(4), RosterChange((CAROL,), (BOB,)))

    assert second == Roster(ConversationSeq(4), frozenset((ALICE, CAROL)))
    assert second.after(ConversationSeq(1), RosterChange((BOB,))) is second


def test_a_change_is_bounded_and_names_nobody_twice() -> None:
    users = tuple(UserId.named(str(number)) for number in range(MAX_CHANGE_USERS + 1))

    check_change(RosterChange(users[:-2], users[-2:-1]))
    with pytest.raises(MalformedFrameError):
        check_change(RosterChange(users))
    with pytest.raises(MalformedFrameError):
        check_change(RosterChange((ALICE,), (ALICE,)))
