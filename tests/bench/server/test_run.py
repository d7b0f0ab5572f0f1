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
from tests.bench.server.run import FailedError, judged, run, turned
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


def constantly(value: float) -> Callable[[Measured], float]:
    return lambda _measured: value


@pytest.mark.parametrize(
    ("share", "median", "is_kept"), [(0.5, 10.0, True), (0.5, 9.0, False), (0.95, 10.0, True), (0.95, 9.0, None)]
)
def test_a_rate_that_its_own_load_held_down_is_not_missed(share: float, median: float, is_kept: bool | None) -> None:
    rate = Figure("messages", "1/s", constantly(median), least=10.0, hangs_on=(OURS,))

    found = judged(rate, [{OURS: {"load_share": share}}])

    assert found["is_kept"] is is_kept
    assert found["is_reached"] is None


def test_a_ratio_to_a_relay_whose_load_held_it_down_is_neither_kept_nor_missed() -> None:
    ratio = Figure("of the relay", "ratio", constantly(0.5), least=1.0, more_is_better=False, hangs_on=(RELAY,))

    assert judged(ratio, [{RELAY: {"load_share": 0.95}}])["is_kept"] is None
    assert judged(ratio, [{RELAY: {"load_share": 0.5}}])["is_kept"] is True


def test_who_begins_is_another_one_in_each_round() -> None:
    steps = [Step(name, "pairs", {}) for name in "abc"]

    assert ["".join(step.name for step in turned(steps, n)) for n in range(4)] == ["abc", "bca", "cab", "abc"]


def test_what_is_paced_by_another_step_comes_behind_it_in_every_round() -> None:
    steps = [Step("full", "pairs", {}), Step("paced", "paced", {}, paced_by="full")]

    assert turned(steps, 1) == steps


def test_at_an_even_pace_messages_go_at_a_part_of_full_steam(tmp_path: Path) -> None:
    full = {"count": 2, "in_flight": 1, "window": (0.1, 0.3)}
    steps = [
        Step("full", "relay_pairs", full, RELAY),
        Step(RELAY, "relay_paced", {"count": 2, "window": (0.1, 0.5)}, RELAY, paced_by="full"),
        Step(OURS, "paced", {"count": 2, "window": (0.1, 0.5)}, OURS, paced_by="full"),
    ]

    report = play(steps, [Figure("pace", "1/s", constantly(1.0))], tmp_path)

    found = report["rows"][0]["rounds"][0]
    assert found[OURS]["per_second"] == pytest.approx(0.3 * found["full"]["items"] / found["full"]["seconds"])
    for who in (OURS, RELAY):
        assert 0 < found[who]["p50_ms"] <= found[who]["p99_ms"]
        assert found[who]["messages"] > 0


def play(steps: Sequence[Step], figures: Sequence[Figure], folder: Path) -> dict[str, Any]:
    return run(
        [Row("some", "some row", "something is done", steps, figures)], rounds=1, folder=folder, say=lambda _line: None
    )


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


def test_what_did_not_fail_is_not_lost(tmp_path: Path) -> None:
    def row(key: str, members: object) -> Row:
        return Row(key, key, "something is done", [Step(key, "planner", {"members": members})], [])

    with pytest.raises(FailedError, match="bad") as failed:
        run([row("bad", "many"), row("good", 10)], rounds=1, folder=tmp_path, say=lambda _line: None)

    assert failed.value.report is not None
    assert [each["key"] for each in failed.value.report["rows"]] == ["good"]


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


def test_an_entry_with_another_body_is_found() -> None:
    served = Served()
    served.device.body = b"what was sent"

    served.hear(served.entry(1)._replace(own=b"what was sent"))
    assert not faults
    served.hear(served.entry(2)._replace(own=b"something else"))

    assert "another body" in faults[0]


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
