"""The benchmark of the server: that its table is whole, that its load checks what it counts, and that it runs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import msgpack
import pytest

from tests.bench.server.contestants import EDGE, OURS, RELAY
from tests.bench.server.device import BenchDevice, faults
from tests.bench.server.rows import ROWS, Figure, Measured, Row, Step, scaled
from tests.bench.server.run import FailedError, run
from tests.bench.server.table import render
from whisperkit.ids import ConversationId, ConversationSeq, InboxSeq, MessageId
from whisperkit.sync import codec, frames
from whisperkit.sync.cursor import Cursor, first_tag, next_tag
from whisperkit.sync.frames import Answer, EntryKind


def test_each_row_has_a_name_of_its_own_and_something_to_hold() -> None:
    assert len({row.key for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert any(figure.least is not None for figure in row.figures), row.key


def test_where_there_is_a_goal_it_asks_for_more_than_the_limit() -> None:
    for row in ROWS:
        for figure in row.figures:
            if figure.least is not None and figure.goal is not None:
                assert (figure.goal > figure.least) is figure.more_is_better, figure.label


def test_a_trial_measures_the_same_things() -> None:
    for row in ROWS:
        small = scaled(row)
        assert [step.name for step in small.steps] == [step.name for step in row.steps]
        assert small.figures == row.figures


def play(steps: Sequence[Step], figures: Sequence[Figure], folder: Path) -> dict[str, Any]:
    return run([Row("some", "some row", steps, figures)], rounds=1, folder=folder, say=lambda _line: None)


def _items(who: str) -> Callable[[Measured], float]:
    return lambda measured: float(measured[who]["items"])


def test_messages_go_through_the_server_and_both_relays(tmp_path: Path) -> None:
    given = {"count": 2, "in_flight": 2, "window": (0.1, 0.3)}
    steps = [
        Step(OURS, "pairs", given, OURS),
        Step(RELAY, "relay_pairs", given, RELAY),
        Step(EDGE, "relay_pairs", given, EDGE),
    ]
    figures = [Figure(who, "messages", _items(who), least=1) for who in (OURS, RELAY, EDGE)]

    report = play(steps, figures, tmp_path)

    assert all(figure["is_kept"] for figure in report["rows"][0]["figures"])
    assert "met" in render(report)


def test_a_group_gets_every_copy(tmp_path: Path) -> None:
    given = {"members": 5, "in_flight": 2, "window": (0.1, 0.3)}
    steps = [Step(OURS, "group", given, OURS), Step(RELAY, "relay_group", given, RELAY)]

    report = play(steps, [Figure("copies", "copies", _items(OURS), least=4)], tmp_path)

    assert report["rows"][0]["figures"][0]["is_kept"]


@pytest.mark.parametrize(
    "step",
    [
        Step(OURS, "logins", {"count": 5, "rounds": 1}, OURS),
        Step(OURS, "catch_up", {"messages": 20, "rounds": 1}, OURS),
        Step(OURS, "door", {"senders": 5, "posts": 50}),
        Step(OURS, "mirror", {"entries": 640}),
    ],
    ids=lambda step: step.measure,
)
def test_it_measures(step: Step, tmp_path: Path) -> None:
    def first(measured: Measured) -> float:
        found: Any = measured[OURS]
        while not isinstance(found, float | int):
            some = cast("dict[str, Any] | list[Any]", found)
            found = next(iter(some.values() if isinstance(some, dict) else some))
        return float(found)

    report = play([step], [Figure("something", "", first)], tmp_path)

    assert report["rows"][0]["figures"][0]["median"] > 0


def test_what_fails_is_said(tmp_path: Path) -> None:
    with pytest.raises(FailedError, match="planner") as failed:
        play([Step("planner", "planner", {"members": "many"})], [], tmp_path)

    assert isinstance(failed.value.__cause__, subprocess.CalledProcessError)


class Served:
    """A device to which a server talks that does what it must not."""

    def __init__(self) -> None:
        faults.clear()
        self.device = BenchDevice("bob")
        self.device.acknowledges = False
        self.tag = first_tag(self.device.id)
        self.hear(frames.Welcome(Answer.DELTA, Cursor(1, InboxSeq(0), self.tag), Cursor(1, InboxSeq(0), self.tag)))

    def hear(self, *some: frames.Frame) -> None:
        for data in codec.encode_many(some):
            self.device._receive(data)  # pyright: ignore[reportPrivateUsage]

    def entry(self, number: int) -> frames.Entry:
        message = MessageId(number.to_bytes(16, "big"))
        self.tag = next_tag(self.tag, message)
        conv, seq = ConversationId("chat"), ConversationSeq(number)
        return frames.Entry(
            InboxSeq(number), self.tag, message, EntryKind.MESSAGE, conv, seq, ConversationSeq(0), None, 0, b"", None
        )


def test_entries_in_order_are_counted() -> None:
    served = Served()

    served.hear(served.entry(1), served.entry(2))
    served.hear(served.entry(3))

    assert served.device.came == 3
    assert not faults


def test_an_entry_that_is_left_out_is_found() -> None:
    served = Served()
    first, _, third = (served.entry(n) for n in (1, 2, 3))

    served.hear(first)
    served.hear(third)

    assert "came after 1" in faults[0]


def test_an_entry_that_comes_twice_is_found() -> None:
    served = Served()
    first = served.entry(1)

    served.hear(first, first)

    assert "came after 1" in faults[0]


def test_an_entry_of_another_chain_is_found() -> None:
    served = Served()

    served.hear(served.entry(1)._replace(tag=b"12345678"))

    assert "no link of the chain" in faults[0]


def test_a_prepared_post_is_the_frame_that_it_stands_for() -> None:
    alice, bob, conv = BenchDevice("alice"), BenchDevice("bob"), ConversationId("chat")
    alice.prepare(conv, own={bob.id: b"body"}, shared=None)
    said: list[bytes] = []

    class Socket:
        send = staticmethod(said.append)

    alice._socket = Socket()  # type: ignore[assignment]  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    alice.post(conv)
    alice.post(conv)

    sends = [codec.decode(data, direction=frames.Direction.TO_SERVER)[0] for data in said]
    assert [send.outbox_seq for send in sends if isinstance(send, frames.Send)] == [1, 2]
    assert all(isinstance(send, frames.Send) and send.own == {bob.id: b"body"} for send in sends)
    assert msgpack.unpackb(said[0])[4] != msgpack.unpackb(said[1])[4]
