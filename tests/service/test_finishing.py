"""Finishing: what is remembered of it is bounded, and forgetting costs work only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.service.conftest import MakeLab
from tests.service.lab import ALICE, BOB, EVE, EVERYBODY, FRANK, LIMITS, TEAM, Lab
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, MessageId, UserId
from whisperkit.service import ServiceConfig, finishing
from whisperkit.service.workers import Worker
from whisperkit.strategy import Strategy
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.frames import EntryKind, RosterChange
from whisperkit.sync.rows import PostRow
from whisperkit.testing.sim_runtime import run_now

ID = MessageId(bytes(16))


@pytest.fixture
def stepwise() -> Lab:
    """Posts are finished after their commit, and three conversations are remembered."""
    return Lab(spans=False, config=ServiceConfig(fanout=LIMITS, max_cached_heads=3))


def made(lab: Lab, count: int) -> list[ConversationId]:
    return [lab.group(ALICE, BOB, conv=ConversationId(f"chat-{number}")) for number in range(count)]


def known(lab: Lab, convs: list[ConversationId]) -> list[int]:
    """Up to where each conversation is remembered as finished; 0 for one that is forgotten."""
    return [lab.g1.gateway.finisher.known(conv)[0] for conv in convs]


def test_what_is_known_of_finished_conversations_is_bounded(stepwise: Lab) -> None:
    convs = made(stepwise, 5)

    assert known(stepwise, convs) == [0, 0, 1, 1, 1]


def test_a_conversation_that_goes_on_is_remembered_before_those_that_rest(stepwise: Lab) -> None:
    convs = made(stepwise, 3)

    stepwise.run(stepwise.g1.service.send(ALICE, convs[0], b"goes on"))
    convs.append(stepwise.group(ALICE, BOB))

    assert known(stepwise, convs) == [2, 0, 1, 1]


def test_a_conversation_that_was_forgotten_goes_on_in_order(stepwise: Lab) -> None:
    convs = made(stepwise, 5)

    for _ in range(2):
        for conv in convs:
            stepwise.run(stepwise.g1.service.send(ALICE, conv, b"text"))

    assert [stepwise.received(BOB, conv) for conv in convs] == [[1, 2, 3]] * 5
    assert [stepwise.fanned_out(conv) for conv in convs] == [3] * 5


# ---- runs -----------------------------------------------------------------------------------------------------------


def users(*devices: DeviceId) -> list[UserId]:
    return [device.user for device in devices]


def with_unfinished_rows(make_lab: MakeLab) -> Lab:
    """A group of five, and behind the row that made it: a text, one of Bob's, Eve goes, Frank comes, two texts more."""
    lab = make_lab(config=ServiceConfig(fanout=LIMITS, works_jobs=False))
    lab.group(*EVERYBODY[:5])
    lab.run(lab.g1.gateway.finisher.finish(TEAM))
    service = lab.g1.service
    lab.run(service.send(ALICE, TEAM, b"two"))
    lab.run(service.send(BOB, TEAM, b"three"))
    lab.run(service.change_members(TEAM, removed=users(EVE)))
    lab.run(service.change_members(TEAM, added=users(FRANK)))
    lab.run(service.send(ALICE, TEAM, b"six"))
    lab.run(service.send(ALICE, TEAM, b"seven"))
    assert lab.fanned_out(TEAM) == 1
    lab.run(lab.g1.gateway.finisher.finish(TEAM))
    return lab


def version(lab: Lab, device: DeviceId) -> int:
    """How often an inbox was written."""
    name = inboxes.partition(device)
    return run_now(lab.memory.heads([name]))[name].version


def everybody_received(lab: Lab) -> list[list[int]]:
    return [lab.received(device, TEAM) for device in EVERYBODY]


RECEIVED = [
    [1, 3, 4, 5],  # Alice sent the others
    [1, 2, 4, 5, 6, 7],
    [1, 2, 3, 4, 5, 6, 7],
    [1, 2, 3, 4, 5, 6, 7],
    [1, 2, 3, 4],  # Eve learns that she is out, and no more
    [5, 6, 7],
]


def test_rows_that_go_together_reach_whom_each_alone_would_reach(make_lab: MakeLab) -> None:
    assert everybody_received(with_unfinished_rows(make_lab)) == RECEIVED


def test_one_by_one_they_reach_the_same(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finishing, "MAX_RUN", 1)

    assert everybody_received(with_unfinished_rows(make_lab)) == RECEIVED


def test_a_run_that_goes_on_over_a_change_of_members_is_caught(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_plain(row: PostRow) -> bool:
        return row.strategy.is_pushed

    monkeypatch.setattr(finishing, "_is_plain", is_plain)

    assert everybody_received(with_unfinished_rows(make_lab)) != RECEIVED


@given(
    st.lists(st.tuples(st.integers(1, 2), st.booleans(), st.sampled_from(Strategy)), max_size=60),
)
def test_runs_are_all_rows_in_order_without_a_hole_and_with_one_audience(
    drawn: list[tuple[int, bool, Strategy]],
) -> None:
    rows: list[PostRow] = []
    seq = 0
    for step, has_change, strategy in drawn:
        seq += step
        change = RosterChange() if has_change else None
        rows.append(PostRow(ConversationSeq(seq), ID, EntryKind.MESSAGE, strategy, ALICE, 0, 0, change))

    runs = list(finishing._runs(rows))  # pyright: ignore[reportPrivateUsage]

    assert [row for run in runs for row in run] == rows
    for run in runs:
        assert 1 <= len(run) <= finishing.MAX_RUN
        if len(run) > 1:
            assert all(row.change is None and row.strategy.is_pushed for row in run)
            assert [row.seq for row in run] == list(range(run[0].seq, run[-1].seq + 1))


def test_an_inbox_is_written_once_for_a_run(make_lab: MakeLab) -> None:
    lab = make_lab(config=ServiceConfig(fanout=LIMITS, works_jobs=False))
    lab.group(*EVERYBODY[:5])
    lab.run(lab.g1.gateway.finisher.finish(TEAM))
    before = version(lab, BOB)
    for _ in range(5):
        lab.run(lab.g1.service.send(ALICE, TEAM, b"text"))

    lab.run(lab.g1.gateway.finisher.finish(TEAM))

    assert lab.received(BOB, TEAM) == [1, 2, 3, 4, 5, 6]
    assert version(lab, BOB) == before + 1


# ---- workers --------------------------------------------------------------------------------------------------------


def test_a_worker_is_woken_once_however_many_jobs_were_put(lab: Lab) -> None:
    worker = Worker(lab.g1.gateway.core, lab.g1.gateway.finisher)

    for _ in range(1_000):
        worker.wake()

    assert worker.waiting == 1


def test_a_gateway_that_takes_no_jobs_does_not_gather_them(make_lab: MakeLab) -> None:
    lab = make_lab(config=ServiceConfig(fanout=LIMITS, works_jobs=False))
    lab.group(*EVERYBODY[:5])

    for _ in range(3):
        lab.run(lab.g1.service.send(ALICE, TEAM, b"text"))

    assert lab.g1.gateway.worker.waiting == 1
