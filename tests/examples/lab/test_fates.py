"""One seed decides, people decide over it, and what nobody can afford to lose is let through."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from examples.lab.fates import GREETING, Fate, Fates, name_of
from whisperkit import ConversationId, MessageId
from whisperkit.ids import ConversationSeq, InboxSeq
from whisperkit.sync import frames
from whisperkit.sync.frames import EntryKind, Frame

CONV = ConversationId("chat")
ID = MessageId(bytes(16))
SEND = frames.Send(CONV, 1, 1, ID, EntryKind.MESSAGE, None, (), None, b"x", None)
ENTRY = frames.Entry(
    InboxSeq(1), bytes(8), ID, EntryKind.MESSAGE, CONV, ConversationSeq(1), ConversationSeq(0), None, 0, b"x", None
)
READ = frames.Read(CONV, ConversationSeq(1))
BEAT = frames.Beat()
CHALLENGE = frames.Challenge(1, bytes(32))


def fates(seed: int = 1, /, **buttons: object) -> Fates:
    made = Fates(Random(seed))
    for name, value in buttons.items():
        setattr(made, name, value)
    return made


def seen(of: Fates, frame: Frame, *, count: int = 1_000) -> Counter[Fate]:
    return Counter(of.decide(0, "up", [frame]) for _ in range(count))


def test_without_a_button_everything_passes() -> None:
    assert seen(fates(), SEND) == {Fate.PASSED: 1_000}


@pytest.mark.parametrize(
    ("buttons", "fate"),
    [({"lose": 30}, Fate.LOST), ({"double": True}, Fate.DOUBLED), ({"reorder": True}, Fate.LATE)],
)
def test_a_button_concerns_three_of_ten(buttons: dict[str, object], fate: Fate) -> None:
    found = seen(fates(**buttons), SEND)

    assert set(found) == {Fate.PASSED, fate}
    assert 250 < found[fate] < 350


def test_the_same_seed_decides_the_same() -> None:
    one, again, other = (
        [made.decide(0, "up", [SEND]) for _ in range(50)]
        for made in (fates(lose=30), fates(lose=30), fates(2, lose=30))
    )

    assert one == again
    assert one != other


def test_the_greeting_always_passes() -> None:
    assert seen(fates(lose=30, double=True, reorder=True), CHALLENGE) == {Fate.PASSED: 1_000}
    assert type(CHALLENGE) in GREETING


def test_what_is_armed_meets_the_next_message_of_that_phone_that_way_once() -> None:
    made = fates()
    made.arm(0, "up", Fate.LOST)
    made.arm(1, "down", Fate.DOUBLED)

    assert made.decide(0, "up", [BEAT]) is Fate.PASSED
    assert made.decide(1, "up", [SEND]) is Fate.PASSED
    assert made.decide(0, "down", [ENTRY]) is Fate.PASSED
    assert made.decide(0, "up", [READ, SEND]) is Fate.LOST
    assert made.decide(0, "up", [SEND]) is Fate.PASSED
    assert made.decide(1, "down", [ENTRY, ENTRY]) is Fate.DOUBLED


def test_in_steps_all_wait_but_the_greeting_and_what_goes_by_the_clock() -> None:
    made = fates(step=True)

    assert made.waits([SEND])
    assert made.waits([BEAT, ENTRY])
    assert not made.waits([BEAT])
    assert not made.waits([CHALLENGE])
    assert not fates().waits([SEND])


def test_a_slow_line_takes_longer_at_every_speed() -> None:
    for speed in (1, 2, 3):
        assert fates(speed=speed).latency_s < fates(speed=speed, slow=True).latency_s
    assert fates(speed=1).latency_s > fates(speed=2).latency_s > fates(speed=3).latency_s


def test_a_message_is_called_by_the_frames_in_it() -> None:
    assert name_of([SEND]) == "SEND"
    assert name_of([ENTRY, ENTRY, BEAT]) == "ENTRY ×2 BEAT"
    assert name_of([]) == ""
