"""The status of one message: the table is walked, not described again."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import UsageError
from whisperkit.receipts import TRANSITIONS, MessageStatus, Progress, advance

STATUS_OF_PROGRESS = {
    Progress.POSTED: MessageStatus.SENT,
    Progress.DELIVERED: MessageStatus.DELIVERED,
    Progress.READ: MessageStatus.READ,
}


@pytest.mark.parametrize(("status", "progress"), list(product(MessageStatus, Progress)))
def test_a_step_is_taken_if_and_only_if_it_is_in_the_table(status: MessageStatus, progress: Progress) -> None:
    after = TRANSITIONS.get((status, progress))

    if after is None:
        with pytest.raises(UsageError, match=f"{status} cannot become {progress.value}"):
            advance(status, progress)
    else:
        assert advance(status, progress) is after


def test_failed_is_reached_from_pending_only() -> None:
    before = {status for (status, _), after in TRANSITIONS.items() if after is MessageStatus.FAILED}

    assert before == {MessageStatus.PENDING, MessageStatus.FAILED}


def test_a_failed_message_never_becomes_anything_else() -> None:
    after = {after for (status, _), after in TRANSITIONS.items() if status is MessageStatus.FAILED}

    assert after == {MessageStatus.FAILED}


def test_no_step_moves_a_tick_back() -> None:
    for (before, _), after in TRANSITIONS.items():
        assert after is MessageStatus.FAILED or after >= before


@given(st.lists(st.sampled_from(sorted(STATUS_OF_PROGRESS, key=lambda progress: progress.value)), min_size=1))
def test_what_is_known_in_the_end_does_not_depend_on_the_order_in_which_it_became_known(news: list[Progress]) -> None:
    status = MessageStatus.PENDING

    for progress in news:
        status = advance(status, progress)

    assert status is max(STATUS_OF_PROGRESS[progress] for progress in news)


def test_a_status_reads_as_its_name_everywhere() -> None:
    status = MessageStatus.DELIVERED

    assert (repr(status), str(status), f"{status:>10}") == ("DELIVERED", "DELIVERED", " DELIVERED")
