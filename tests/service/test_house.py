"""A link is given up when nothing comes from its device for long, and only then."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.service.lab import ALICE, BOB, CHAT, Lab, Phone
from whisperkit.sync import frames


def write(phone: Phone) -> None:
    phone.send(CHAT, own={BOB: b"text"})


def beat(phone: Phone) -> None:
    phone.say(frames.Beat())


def type_on(phone: Phone) -> None:
    phone.say(frames.Typing(CHAT, ALICE.user))


def ask(phone: Phone) -> None:
    phone.say(frames.Marks((CHAT,)))


def say_nothing(phone: Phone) -> None: ...


@pytest.mark.parametrize(
    ("does", "is_kept"), [(write, True), (beat, True), (type_on, True), (ask, True), (say_nothing, False)]
)
def test_whoever_says_anything_is_not_silent(lab: Lab, does: Callable[[Phone], None], *, is_kept: bool) -> None:
    lab.chat()
    alice = lab.phone(ALICE, acks=False)

    for _ in range(5):
        lab.settle(60.0)
        if not alice.closed:
            does(alice)

    assert (alice.closed == []) == is_kept
