"""Long conversations with the official library over a bad wire, through many epochs of the post-quantum ratchet."""

from __future__ import annotations

from random import Random

import pytest

from tests.interop.conftest import Sides, begin
from tests.interop.conversation import Conversation
from tests.interop.sides import Ours, Theirs

pytestmark = pytest.mark.interop

MESSAGES = 5_000
MIN_EPOCHS = 20
ONE_TIME = pytest.mark.parametrize("one_time", [True, False], ids=["one-time prekey", "no one-time prekey"])


@ONE_TIME
def test_thousands_of_messages_over_a_bad_wire_open_once_through_many_epochs(
    sides: Sides, ours: Ours, theirs: Theirs, rng: Random, one_time: bool
) -> None:
    begin(*sides, one_time=one_time)
    conversation = Conversation(*sides, rng=rng)
    conversation.first_contact()

    conversation.run(MESSAGES)
    conversation.settle()

    epochs = ours.epochs(theirs.id)
    print(f"epochs completed: {epochs}; {dict(conversation.counts)}")
    assert conversation.counts["sent"] >= MESSAGES
    assert epochs >= MIN_EPOCHS
    # The same as its own messages say, each of which was opened by the other side.
    assert min(conversation.epochs.values()) - 1 >= MIN_EPOCHS
