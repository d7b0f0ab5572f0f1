"""What is done with a contestant in one round, and the stretches of work that come of it.

`official.mjs` does the same with the official library, inside Node.js.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from time import process_time
from typing import Final, NamedTuple, TypeVar

from tests.bench.ratchet.contestant import EPOCH_MESSAGES, EPOCH_SLICES, Channel, Contestant, Conversation, Sizes, texts
from tests.bench.ratchet.measure import Stretch, Yardstick, timed

__all__ = ["Round", "WrongAnswerError", "play"]

T = TypeVar("T")
R = TypeVar("R")
W = TypeVar("W")
S = TypeVar("S")

# Items in a slice, which is about a millisecond: short enough for many to pass undisturbed. The sizes divide those of
# the stretches, and that of the ping-pong an epoch.
_BURST_SLICE: Final = 20
_PING_PONG_SLICE: Final = EPOCH_MESSAGES // EPOCH_SLICES
_SET_UP_SLICE: Final = 1
_GROUP_SLICE: Final = 10
_RECORDS_SLICE: Final = 50


class WrongAnswerError(Exception):
    """What was decrypted is not what was encrypted, or a message is of another kind than the case is about."""


class Round(NamedTuple):
    """What came of one round.

    Attributes:
        stretches: By the key of a case; without those that the contestant cannot play.
        saved_bytes: The sizes of a saved session, one after each message of whole epochs.
        once_ms: How much longer a warm-up took than the same again: tables that a process makes once.
    """

    stretches: dict[str, list[Stretch]]
    saved_bytes: list[int]
    once_ms: float


def play(contestant: Contestant[W, S], sizes: Sizes, *, collect: Callable[[], object] = gc.collect) -> Round:
    """Play one round.

    Args:
        contestant: Who plays.
        sizes: How much is done.
        collect: Collects garbage before each stretch.

    Raises:
        WrongAnswerError: It did not do what it was asked.
    """
    cold_ms, warm_ms = (_warm_up(_Clock(collect), contestant, sizes) for _ in range(2))
    clock = _Clock(collect)
    for point in sizes.points:
        _burst(clock, _spoken(contestant, point), "short", sizes.short, sizes)
    for point in sizes.long_points:
        _burst(clock, _spoken(contestant, point), "long", sizes.long, sizes)
    saved: list[int] = []
    for _ in range(sizes.repeats):
        _first(clock, contestant.meet(), sizes)
        _ping_pong(clock, contestant.meet(), sizes)
        _set_up(clock, contestant, sizes)
        _group(clock, contestant, sizes)
        saved = _records(clock, contestant, sizes)
    return Round(clock.stretches, saved, round(max(0.0, cold_ms - warm_ms), 1))


def _warm_up(clock: _Clock, contestant: Contestant[W, S], sizes: Sizes) -> float:
    began = process_time()
    _burst(clock, _spoken(contestant, sizes.warm_up), "warm-up", sizes.warm_up, sizes)
    return 1_000 * (process_time() - began)


class _Clock:
    def __init__(self, collect: Callable[[], object]) -> None:
        self._collect = collect
        self._yardstick = Yardstick()
        self.stretches: dict[str, list[Stretch]] = {}

    def run(self, case: str, work: Callable[[Sequence[T]], list[R]], items: Sequence[T], slice_items: int) -> list[R]:
        stretch, made = timed(work, items, slice_items=slice_items, yardstick=self._yardstick, collect=self._collect)
        self.stretches.setdefault(case, []).append(stretch)
        return made


def _burst(clock: _Clock, conversation: Conversation[W], name: str, count: int, sizes: Sizes) -> None:
    sent = _one_way(clock, conversation, name, count, sizes)
    if conversation.repeats_handshake(sent[0]):
        raise WrongAnswerError(f"{name}: the conversation is not answered yet")


def _first(clock: _Clock, conversation: Conversation[W], sizes: Sizes) -> None:
    (probe,) = conversation.send([b"hello?"])
    _expect("first", conversation.receive([probe]), [b"hello?"])
    if not conversation.repeats_handshake(probe):
        return  # it has no such messages
    sent = _one_way(clock, conversation, "first", sizes.short, sizes)
    if not conversation.repeats_handshake(sent[-1]):
        raise WrongAnswerError("first: the handshake was given up before an answer came")


def _ping_pong(clock: _Clock, conversation: Conversation[W], sizes: Sizes) -> None:
    plaintexts = texts(sizes.ping_pong, sizes.text_bytes, mark="ping-pong")
    read = clock.run("ping_pong", conversation.ping_pong, plaintexts, _PING_PONG_SLICE)
    _expect("ping_pong", read, plaintexts)


def _set_up(clock: _Clock, contestant: Contestant[W, S], sizes: Sizes) -> None:
    devices = contestant.set_ups(sizes.set_ups)
    if devices is None:
        return
    plaintexts = texts(sizes.set_ups, sizes.text_bytes, mark="set-up")
    sent = clock.run("initiate", devices.initiate, plaintexts, _SET_UP_SLICE)
    _expect("respond", clock.run("respond", devices.respond, sent, _SET_UP_SLICE), plaintexts)


def _group(clock: _Clock, contestant: Contestant[W, S], sizes: Sizes) -> None:
    channel = contestant.group()
    if channel is not None:
        _one_way(clock, channel, "group", sizes.short, sizes, _GROUP_SLICE)


def _records(clock: _Clock, contestant: Contestant[W, S], sizes: Sizes) -> list[int]:
    records = contestant.records(texts(sizes.ping_pong, sizes.text_bytes, mark="records"))
    if records is None:
        return []
    saved = clock.run("save", records.save, records.states, _RECORDS_SLICE)
    loaded = clock.run("load", records.load, saved, _RECORDS_SLICE)
    if records.save(loaded) != saved:
        raise WrongAnswerError("load: what was loaded is not what was saved")
    return [len(each) for each in saved]


def _one_way(
    clock: _Clock, channel: Channel[W], name: str, count: int, sizes: Sizes, slice_items: int = _BURST_SLICE
) -> list[W]:
    plaintexts = texts(count, sizes.text_bytes, mark=name)
    sent = clock.run(f"{name}_encrypt", channel.send, plaintexts, slice_items)
    _expect(name, clock.run(f"{name}_decrypt", channel.receive, sent, slice_items), plaintexts)
    return sent


def _spoken(contestant: Contestant[W, S], messages: int) -> Conversation[W]:
    conversation = contestant.meet()
    plaintexts = texts(messages, 100, mark="before")
    _expect("before", conversation.ping_pong(plaintexts), plaintexts)
    return conversation


def _expect(case: str, found: Sequence[bytes], expected: Sequence[bytes]) -> None:
    if list(found) != list(expected):
        raise WrongAnswerError(f"{case}: what was decrypted is not what was encrypted")
