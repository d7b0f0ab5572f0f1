"""The driver, with a library that writes plaintext on the wire and can be told to do something wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from tests.bench.ratchet.applications import Devices, Managers
from tests.bench.ratchet.cases import CASES, SESSION_BYTES
from tests.bench.ratchet.contestant import EPOCH_MESSAGES, FULL, QUICK, Contestant, texts
from tests.bench.ratchet.driver import WrongAnswerError, play
from tests.bench.ratchet.ours import Sessions

TIMED: Final = {case.key for case in CASES} - {SESSION_BYTES}
SIZES: Final = QUICK._replace(ping_pong=6)


def nothing() -> None:
    """Garbage may lie about: collecting it takes long beside a test runner, and no test looks at the clock."""


class Echo:
    """A library that hides nothing.

    Args:
        fault: What it does wrong.
    """

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def versions(self) -> dict[str, str]:
        return {}

    def meet(self) -> EchoConversation:
        return EchoConversation(self.fault)

    def set_ups(self, count: int) -> EchoConversation:
        return EchoConversation(self.fault)

    def group(self) -> EchoConversation:
        return EchoConversation(self.fault)

    def records(self, plaintexts: Sequence[bytes]) -> EchoConversation:
        return EchoConversation(self.fault, list(plaintexts))

    def close(self) -> None: ...


class EchoConversation:
    def __init__(self, fault: str, states: list[bytes] | None = None) -> None:
        self.fault = fault
        self.states = states or []
        self._is_answered = False

    def send(self, plaintexts: Sequence[bytes]) -> list[tuple[bool, bytes]]:
        is_first = not self._is_answered
        if self.fault == "gives the handshake up":
            self._is_answered = True
        return [(is_first or self.fault == "never hears", each) for each in plaintexts]

    def receive(self, messages: Sequence[tuple[bool, bytes]]) -> list[bytes]:
        read = [each for _, each in messages]
        return [*read[:-1], b"?"] if self.fault == "reads the last wrong" else read

    def ping_pong(self, plaintexts: Sequence[bytes]) -> list[bytes]:
        self._is_answered = True
        return list(plaintexts)[:-1] if self.fault == "loses one" else list(plaintexts)

    def repeats_handshake(self, message: tuple[bool, bytes]) -> bool:
        return message[0]

    def initiate(self, plaintexts: Sequence[bytes]) -> list[tuple[bool, bytes]]:
        return self.send(plaintexts)

    def respond(self, messages: Sequence[tuple[bool, bytes]]) -> list[bytes]:
        return [each for _, each in messages][: -1 if self.fault == "does not respond" else None]

    def save(self, states: Sequence[bytes]) -> list[bytes]:
        return list(states)

    def load(self, saved: Sequence[bytes]) -> list[bytes]:
        return [each[1:] if self.fault == "loads half" else each for each in saved]


class Plain(Echo):
    """A library that has sessions, and nothing else."""

    def set_ups(self, count: int) -> None: ...  # type: ignore[override]

    def group(self) -> None: ...  # type: ignore[override]

    def records(self, plaintexts: Sequence[bytes]) -> None: ...  # type: ignore[override]


def test_a_round_has_a_stretch_for_each_conversation_and_each_repetition() -> None:
    sizes = SIZES._replace(points=(3, 5), repeats=4)

    found = play(Echo(), sizes, collect=nothing)

    assert {case: len(each) for case, each in found.stretches.items()} == {
        **dict.fromkeys(TIMED, 4),
        **dict.fromkeys(("short_encrypt", "short_decrypt"), 2),
        **dict.fromkeys(("long_encrypt", "long_decrypt"), 1),
    }
    assert found.saved_bytes == [100] * sizes.ping_pong


def test_what_a_library_does_not_have_is_left_out() -> None:
    found = play(Plain(), SIZES, collect=nothing)

    assert TIMED - set(found.stretches) == {"initiate", "respond", "group_encrypt", "group_decrypt", "save", "load"}
    assert found.saved_bytes == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("reads the last wrong", "what was decrypted"),
        ("loses one", "what was decrypted"),
        ("does not respond", "respond: what was decrypted"),
        ("never hears", "not answered yet"),
        ("gives the handshake up", "given up before an answer"),
        ("loads half", "what was loaded"),
    ],
)
def test_a_library_that_does_it_wrong_has_no_figures(fault: str, reason: str) -> None:
    with pytest.raises(WrongAnswerError, match=reason):
        play(Echo(fault), SIZES, collect=nothing)


@pytest.mark.parametrize(
    ("make", "left_out"), [(Sessions, set[str]()), (Devices, {"save", "load"}), (Managers, {"save", "load"})]
)
def test_this_library_plays_every_case(make: Callable[[], Contestant[Any, Any]], left_out: set[str]) -> None:
    player = make()
    try:
        found = play(player, SIZES, collect=nothing)
    finally:
        player.close()

    assert TIMED - set(found.stretches) == left_out


def test_the_ping_pong_of_a_full_run_takes_both_sides_through_five_epochs_and_more() -> None:
    conversation = Sessions().meet()
    begun = [each.ratchet.spqr.agreement.epoch for each in (conversation.writer, conversation.reader)]

    conversation.ping_pong(texts(2 * EPOCH_MESSAGES, 100, mark="epochs"))

    reached = [each.ratchet.spqr.agreement.epoch for each in (conversation.writer, conversation.reader)]
    assert [after - before for before, after in zip(sorted(begun), sorted(reached), strict=True)] == [2, 2]
    assert FULL.ping_pong % EPOCH_MESSAGES == 0
    assert FULL.ping_pong // EPOCH_MESSAGES >= 5
