"""Writing to somebody who is not there: refused, because nobody would ever get it."""

from __future__ import annotations

import pytest

from tests.service.lab import ALICE, BOB, TEAM, Lab
from whisperkit.errors import NoSuchUserError
from whisperkit.ids import ConversationId, DeviceId
from whisperkit.sync.frames import RefusalReason

NOBODY = DeviceId.named("nobody", 1)
CHAT = ConversationId.direct(ALICE.user, NOBODY.user)
LAPTOP = DeviceId(ALICE.user, 2)


@pytest.fixture
def alone(lab: Lab) -> Lab:
    """Alice is in a conversation with somebody who has no account."""
    lab.group(ALICE, NOBODY, conv=CHAT)
    return lab


def test_copies_for_nobody_are_refused_and_take_no_number(alone: Lab) -> None:
    alice = alone.phone(ALICE)

    alice.send(CHAT, own={})
    alone.settle()

    assert alice.refusals == [RefusalReason.NO_SUCH_USER]
    assert alice.sent == []
    assert alone.head(CHAT).seq == 1
    alone.run(alone.g1.service.register(NOBODY))
    alice.send(CHAT, own={NOBODY: b"hello"}, seq=1)
    alone.settle()
    assert alice.sent == [2]
    assert alone.received(NOBODY, CHAT) == [2]


def test_a_text_for_nobody_is_refused(alone: Lab) -> None:
    alice = alone.phone(ALICE)

    alice.send(CHAT, b"hello")
    alone.settle()

    assert alice.refusals == [RefusalReason.NO_SUCH_USER]


def test_the_senders_other_device_does_not_make_it_arrive(alone: Lab) -> None:
    alone.run(alone.g1.service.register(LAPTOP))
    alice = alone.phone(ALICE)

    alice.send(CHAT, own={LAPTOP: b"I said hello"})
    alone.settle()

    assert alice.refusals == [RefusalReason.NO_SUCH_USER]
    assert alone.received(LAPTOP, CHAT) == []


def test_who_registered_a_moment_ago_at_another_gateway_is_there(alone: Lab) -> None:
    other = alone.start("g2")
    alice = alone.phone(ALICE)
    alice.send(CHAT, own={})
    alone.settle()

    alone.run(other.service.register(NOBODY))
    alice.send(CHAT, own={NOBODY: b"hello"}, seq=1)
    alone.settle()

    # The list that said that nobody is there is younger than ten seconds, and it must not be believed.
    assert alice.sent == [2]


def test_a_member_who_is_not_there_holds_up_no_group(lab: Lab) -> None:
    lab.group(ALICE, BOB, NOBODY)
    alice, bob = lab.phone(ALICE), lab.phone(BOB)

    alice.send(TEAM, b"hello", devices=[BOB])
    lab.settle()

    assert alice.sent == [2]
    assert bob.texts(TEAM) == [b"hello"]


def test_a_conversation_with_oneself_is_none_with_nobody(lab: Lab) -> None:
    lab.run(lab.g1.service.register(LAPTOP))
    lab.group(ALICE, conv=TEAM)
    alice = lab.phone(ALICE)

    alice.send(TEAM, own={LAPTOP: b"a note"})
    lab.settle()

    assert alice.sent == [2]


def test_the_application_is_told_whom_there_is_not(alone: Lab) -> None:
    with pytest.raises(NoSuchUserError) as caught:
        alone.run(alone.g1.service.send(ALICE, CHAT, b"hello"))

    assert caught.value.user == NOBODY.user
    assert caught.value.code == "accounts.no-such-user"


def test_a_repeat_of_what_was_sent_before_is_answered_as_before(lab: Lab) -> None:
    lab.group(ALICE, BOB, NOBODY)
    alice = lab.phone(ALICE)
    send = alice.send(TEAM, b"hello")
    lab.settle()
    lab.run(lab.g1.service.change_members(TEAM, removed=[BOB.user]))

    alice.say(send)
    lab.settle()

    assert alice.sent == [2, 2]
