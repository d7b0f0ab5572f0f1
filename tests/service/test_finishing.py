"""Finishing: what is remembered of it is bounded, and forgetting costs work only."""

from __future__ import annotations

import pytest

from tests.service.conftest import MakeLab
from tests.service.lab import ALICE, BOB, EVERYBODY, LIMITS, TEAM, Lab
from whisperkit.ids import ConversationId
from whisperkit.service import ServiceConfig
from whisperkit.service.workers import Worker


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
