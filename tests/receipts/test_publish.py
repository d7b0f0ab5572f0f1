"""Published marks: the first at once, then at most one change per interval."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from whisperkit import ConversationId, UserId
from whisperkit.receipts import Publish, PublishThrottle

CHAT, ROOM = ConversationId("chat"), ConversationId("room")
ALICE, BOB = UserId.named("alice"), UserId.named("bob")


def test_the_first_change_is_published_at_once() -> None:
    throttle = PublishThrottle()

    effects = throttle.offer(CHAT, ALICE, {"read/bob": 3}, now=10.0)

    assert effects == [Publish(conversation=CHAT, observer=ALICE, marks={"read/bob": 3})]
    assert throttle.deadline == 11.0


def test_what_follows_is_published_together_when_the_interval_ends() -> None:
    throttle = PublishThrottle()
    throttle.offer(CHAT, ALICE, {"read/bob": 3}, now=10.0)

    held = throttle.offer(CHAT, ALICE, {"read/bob": 5}, now=10.2)
    held += throttle.offer(CHAT, ALICE, {"read/bob": 4, "read/carol": 1}, now=10.4)

    assert held == throttle.handle_timer(now=10.9) == []
    assert throttle.handle_timer(now=11.0) == [
        Publish(conversation=CHAT, observer=ALICE, marks={"read/bob": 5, "read/carol": 1})
    ]


def test_nothing_is_held_of_a_conversation_that_is_quiet() -> None:
    throttle = PublishThrottle()
    throttle.offer(CHAT, ALICE, {"read/bob": 3}, now=10.0)

    assert throttle.handle_timer(now=11.0) == []
    assert throttle.deadline is None
    assert throttle.offer(CHAT, ALICE, {"read/bob": 4}, now=11.5)


def test_conversations_and_observers_do_not_hold_each_other_back() -> None:
    throttle = PublishThrottle()
    throttle.offer(CHAT, ALICE, {"read/bob": 3}, now=10.0)

    assert throttle.offer(ROOM, ALICE, {"read/bob": 3}, now=10.1)
    assert throttle.offer(CHAT, BOB, {"read/bob": 3}, now=10.2)


@given(st.lists(st.tuples(st.floats(0.0, 2.0), st.integers(1, 9)), min_size=1, max_size=30))
def test_the_largest_value_gets_through_and_never_twice_within_an_interval(offers: list[tuple[float, int]]) -> None:
    throttle, now, published = PublishThrottle(), 0.0, list[tuple[float, int]]()

    def note(effects: list[Publish]) -> None:
        published.extend((now, effect.marks["read/bob"]) for effect in effects)

    for wait_s, value in offers:
        until = now + wait_s
        while (deadline := throttle.deadline) is not None and deadline <= until:
            now = deadline
            note(throttle.handle_timer(now=now))
        now = until
        note(throttle.offer(CHAT, ALICE, {"read/bob": value}, now=now))
    while (deadline := throttle.deadline) is not None:
        now = deadline
        note(throttle.handle_timer(now=now))

    assert max(value for _, value in published) == max(value for _, value in offers)
    assert all(later - earlier >= 0.999 for (earlier, _), (later, _) in pairwise(published))
