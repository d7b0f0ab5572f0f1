"""The table: what is measured, how, and what it has to hold.

A figure is one number of a row: what is read off a measurement of the reference server, or off it and one of the
relay's in the same round. Limits are of two kinds: what it has to hold at least, and the goal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from tests.bench.server.contestants import EDGE, INTERPRETED, OURS, RELAY

__all__ = ["ROWS", "Figure", "Measured", "Row", "Step", "scaled"]

# What the steps of a row gave in one round, by name. Any: JSON.
Measured = Mapping[str, Any]
Read = Callable[[Measured], float]


class Step(NamedTuple):
    """One measurement.

    Attributes:
        name: By which figures find it.
        measure: Of `worker.py`.
        arguments: Of the measurement.
        against: Which server is started for it; `None` for none.
        paced_by: The step of the same round that says what full steam is: this one goes at 30 % of that.
    """

    name: str
    measure: str
    arguments: Mapping[str, Any]
    against: str | None = None
    paced_by: str | None = None


class Figure(NamedTuple):
    """One number.

    Attributes:
        label: What it is.
        unit: In what.
        read: Takes it from what was measured.
        least: What it has to hold; `None` for a number that is only told.
        goal: What it aims at.
        more_is_better: Whether the limits are lower bounds.
        hangs_on: The steps whose load must not have been what was measured: if it was, a limit that is missed is not
            missed by the server.
    """

    label: str
    unit: str
    read: Read
    least: float | None = None
    goal: float | None = None
    more_is_better: bool = True
    hangs_on: Sequence[str] = ()


class Row(NamedTuple):
    """Something to measure.

    Attributes:
        key: Its name on the command line.
        title: In words.
        includes: What is done while it is measured.
        steps: What is measured in each round, one after the other; who begins is turned from round to round.
        figures: What is read off it.
        rounds: How many of them, at most; `None` for as many as are asked for.
    """

    key: str
    title: str
    includes: str
    steps: Sequence[Step]
    figures: Sequence[Figure]
    rounds: int | None = None


_WINDOW: Final = (1.5, 4.0)


def _flow(measure: str, arguments: Mapping[str, Any]) -> list[Step]:
    """The same load against the relay, us, the relay on our edge, and us where nothing is compiled, in turn."""
    given = {**arguments, "window": _WINDOW}
    return [
        Step(RELAY, f"relay_{measure}", given, RELAY),
        Step(OURS, measure, given, OURS),
        Step(EDGE, f"relay_{measure}", given, EDGE),
        Step(INTERPRETED, measure, given, INTERPRETED),
    ]


def _of(*path: str | int, per: float = 1.0) -> Read:
    """Reads a number that lies so deep in what was measured."""

    def read(measured: Measured) -> float:
        value: Any = measured
        for name in path:
            value = value[name]
        return float(value) / per

    return read


def _per(above: Read, below: Read) -> Read:
    return lambda measured: above(measured) / below(measured)


def _us(who: str) -> Read:
    return _of(who, "server_us")


_RATE: Final = _per(_of(OURS, "items"), _of(OURS, "seconds"))
_NONE: Final = (None, None)
Limits = tuple[float | None, float | None]


def _less(label: str, unit: str, read: Read, least: float | None = None, goal: float | None = None) -> Figure:
    """A number that had better be small."""
    return Figure(label, unit, read, least, goal, more_is_better=False)


def _flow_figures(what: str, *, rate: Limits, us: Limits = _NONE, ratio: Limits = _NONE) -> list[Figure]:
    both = (OURS, RELAY)
    return [
        Figure(f"{what} a second", "1/s", _RATE, *rate, hangs_on=(OURS,)),
        _less("CPU time of the server for each", "us", _us(OURS), *us),
        _less("of what the relay takes", "ratio", _per(_us(OURS), _us(RELAY)), *ratio)._replace(hangs_on=both),
        _less("of what the relay on our edge takes", "ratio", _per(_us(OURS), _us(EDGE))),
        _less("CPU time of the server for each, where nothing is compiled", "us", _us(INTERPRETED)),
        Figure(f"{what} a second, the relay", "1/s", _per(_of(RELAY, "items"), _of(RELAY, "seconds"))),
        _less("CPU time of the relay for each", "us", _us(RELAY)),
        _less("CPU time of the relay on our edge for each", "us", _us(EDGE)),
        *_shares("the server", OURS),
        *_shares("the relay", RELAY),
    ]


def _shares(who: str, step: str) -> list[Figure]:
    return [
        Figure(f"share of its core that {who} used", "ratio", _of(step, "server_share")),
        Figure(f"share of the time in which the load of {who} was busy", "ratio", _of(step, "load_share")),
    ]


def _delays(who: str, name: str) -> list[Figure]:
    """What is only told of the delays."""
    return [
        _less(f"p50{name} until SENT", "ms", _of(who, "sent_p50_ms")),
        _less(f"p99{name} until SENT", "ms", _of(who, "sent_p99_ms")),
        Figure(f"messages a second{name}", "1/s", _of(who, "per_second")),
        _less(f"share of its core that is busy meanwhile{name}", "ratio", _of(who, "server_share")),
        _less(f"p99 of how late a post{name} left the load", "ms", _of(who, "late_p99_ms")),
    ]


_FULL_STEAM: Final = {"count": 50, "in_flight": 10, "window": _WINDOW}
_PACED: Final = {"count": 50, "window": (2.0, 6.0)}
_SIZES: Final = (1_000, 100_000, 1_000_000)

ROWS: Final[Sequence[Row]] = (
    Row(
        "pairs-50",
        "1:1, 50 pairs, window 10: durable, delivered, acknowledged",
        (
            "A post is decoded, judged, stored, synced, answered, pushed to the other device and acknowledged by it. "
            "In each pair one writes, with ten posts on their way; bodies of 200 bytes."
        ),
        _flow("pairs", {"count": 50, "in_flight": 10}),
        _flow_figures("messages", rate=(8_000, 11_000), us=(120, 80), ratio=(1.0, 0.8)),
    ),
    Row(
        "pairs-500",
        "1:1, 500 pairs, window 1",
        "The same with one post on its way in each pair: nothing to gather but what others do.",
        _flow("pairs", {"count": 500, "in_flight": 1}),
        _flow_figures("messages", rate=(4_000, 5_000), ratio=(1.2, 1.0)),
    ),
    Row(
        "group-10",
        "a group of 199 online, window 10",
        (
            "One member writes, with ten posts on their way, and 198 others are online. Each gets a copy in its "
            "inbox, stored and synced with the post, and acknowledges it. A delivery is one copy."
        ),
        _flow("group", {"members": 199, "in_flight": 10}),
        _flow_figures("deliveries", rate=(21_000, 24_000)),
    ),
    Row(
        "group-1",
        "a group of 199 online, window 1",
        "The same with one post on its way.",
        _flow("group", {"members": 199, "in_flight": 1}),
        _flow_figures("deliveries", rate=(8_000, 10_000)),
    ),
    Row(
        "group-1000",
        "a group of 1,000 online, through the job log",
        "As above, but the post is stored alone with a job, and the copies are made behind it.",
        [Step(OURS, "group", {"members": 1_000, "in_flight": 10, "window": _WINDOW}, OURS)],
        [
            Figure("deliveries a second", "1/s", _RATE, 15_000, 24_000, hangs_on=(OURS,)),
            _less("CPU time of the server for each", "us", _us(OURS)),
            *_shares("the server", OURS),
        ],
    ),
    Row(
        "door",
        "durable posts through the SQLite door, 100 senders",
        (
            "The rules and the store in one process, and no socket: each post is decided, encoded and committed with "
            "its copy. The floor is sqlite3 with the same rows in the same transactions."
        ),
        [
            Step("door", "door", {"senders": 100, "posts": 20_000}),
            Step("service", "service", {"senders": 100, "posts": 10_000}),
        ],
        [
            Figure(
                "of raw sqlite3 with the same rows",
                "ratio",
                _per(_of("door", "per_second"), _of("door", "raw_per_second")),
                0.5,
                0.8,
            ),
            Figure("posts a second", "1/s", _of("door", "per_second")),
            Figure(
                "the same through the whole service",
                "ratio",
                _per(_of("service", "per_second"), _of("service", "raw_per_second")),
            ),
            Figure("posts a second through the service", "1/s", _of("service", "per_second")),
        ],
    ),
    Row(
        "idle",
        "idle connections",
        "Devices log in and say nothing. Counted is how much the server's resident memory grows.",
        [Step(OURS, "idle", {"count": 2_000}, OURS)],
        [_less("memory for each", "KiB", _of(OURS, per=1024), 16, 10)],
    ),
    Row(
        "catch-up",
        "catch-up of 1,000 messages",
        ("A device that was away says HELLO, and has all messages; its acknowledgements open the window for the next."),
        [Step(OURS, "catch_up", {"messages": 1_000, "rounds": 5}, OURS)],
        [_less("from HELLO to the last", "ms", _of(OURS), 40, 20)],
    ),
    Row(
        "logins",
        "logins with the signed challenge",
        "TCP, WebSocket handshake, challenge, its signature checked, HELLO, WELCOME.",
        [Step(OURS, "logins", {"count": 1_000, "rounds": 3}, OURS)],
        [
            Figure("logins a second", "1/s", _of(OURS, "per_second"), 974, 2_000, hangs_on=(OURS,)),
            Figure("share of the time in which the load was busy", "ratio", _of(OURS, "load_share")),
        ],
    ),
    Row(
        "latency",
        "1:1 at 30 % of full steam, 50 pairs",
        (
            "As with 50 pairs, but posts leave at an even pace, at 30 % of what the same server did at full steam "
            "just before. The floor is the relay at 30 % of what it did."
        ),
        [
            Step("relay's full steam", "relay_pairs", _FULL_STEAM, RELAY),
            Step(RELAY, "relay_paced", _PACED, RELAY, paced_by="relay's full steam"),
            Step("full steam", "pairs", _FULL_STEAM, OURS),
            Step(OURS, "paced", _PACED, OURS, paced_by="full steam"),
        ],
        [
            _less("p50 until it is there", "ms", _of(OURS, "p50_ms"), 3, 1.5)._replace(hangs_on=(OURS,)),
            _less("p99 until it is there", "ms", _of(OURS, "p99_ms"), 15, 12)._replace(hangs_on=(OURS,)),
            _less("p50 of the relay", "ms", _of(RELAY, "p50_ms")),
            _less("p99 of the relay", "ms", _of(RELAY, "p99_ms")),
            *_delays(OURS, ""),
            *_delays(RELAY, " of the relay"),
        ],
    ),
    Row(
        "mirror",
        "the mirror on a device, without decryption",
        "Entries as a device applies them, 64 in each read of the socket, over a dictionary.",
        [Step("mirror", "mirror", {"entries": 64_000})],
        [
            Figure(
                "entries applied a second",
                "1/s",
                _per(_of("mirror", "items"), _of("mirror", "cpu_s")),
                20_000,
                50_000,
            )
        ],
    ),
    Row(
        "planner",
        "the planner, a roster of a million",
        "A post to a roster that streams by is planned: who is online, who has to pull.",
        [Step("planner", "planner", {"members": 1_000_000})],
        [
            _less("CPU time", "s", _of("planner", "cpu_s"), 1.0),
            _less("memory", "MiB", _of("planner", "peak_bytes", per=2**20), 64),
        ],
    ),
    Row(
        "presence",
        "presence, a million devices",
        "All devices come, beat once more, and time passes. Memory is the tracker's, without the ids.",
        [Step("presence", "presence", {"devices": 1_000_000})],
        [
            _less("beats of all", "s", _of("presence", "cpu_s"), 30),
            _less(
                "memory for each",
                "bytes",
                _per(_of("presence", "peak_bytes"), _of("presence", "items")),
                200,
            ),
        ],
    ),
    Row(
        "inbox",
        "an inbox of 1,000, 100,000 and 1,000,000 entries",
        (
            "Appends of 64 entries, each committed, to an inbox of that size; then pages of 64 behind cursors in its "
            "middle."
        ),
        [Step(f"{n}", "inbox_read", {"entries": n}) for n in _SIZES],
        [
            _less(
                "append at 1,000,000 to that at 1,000",
                "ratio",
                _per(_of("1000000", 0), _of("1000", 0)),
                1.25,
            ),
            _less("read at 1,000,000 to that at 1,000", "ratio", _per(_of("1000000", 1), _of("1000", 1)), 1.25),
            *(_less(f"append at {n:,}", "us", _of(f"{n}", 0)) for n in _SIZES),
            *(_less(f"read at {n:,}", "us", _of(f"{n}", 1)) for n in _SIZES),
        ],
        rounds=1,
    ),
    Row(
        "conversations",
        "100 and 10,000 conversations in turn",
        ("Posts through the whole service and the store, to conversations in turn, so that none is twice in a commit."),
        [Step(f"{n}", "many_conversations", {"count": n, "posts": 20_000}) for n in (100, 10_000)],
        [
            _less("10,000 to 100", "ratio", _per(_of("10000"), _of("100")), 1.7),
            _less("a post to one of 100", "us", _of("100")),
            _less("a post to one of 10,000", "us", _of("10000")),
        ],
        rounds=1,
    ),
    Row(
        "long-run",
        "a million messages, 50 pairs",
        "As with 50 pairs, for long. The server's resident memory is read after each tenth.",
        [Step(OURS, "long_run", {"messages": 1_000_000}, OURS)],
        [
            _less("memory at the end to that at a tenth", "ratio", _per(_of(OURS, -1), _of(OURS, 0)), 1.25),
            _less("memory at the end", "MiB", _of(OURS, -1, per=2**20)),
        ],
        rounds=1,
    ),
)


# What a trial divides: it shows that everything runs, and its figures mean nothing.
_SCALED: Final = ("posts", "messages", "entries", "members", "devices")


def scaled(row: Row) -> Row:
    """A row for a trial: short, and small where that leaves its names alone."""

    def small(step: Step) -> Step:
        given = dict(step.arguments)
        if "window" in given:
            given["window"] = (0.3, 0.7)
        if "rounds" in given:
            given["rounds"] = 1
        for name in _SCALED:
            if given.get(name, 0) >= 10_000:
                given[name] //= 100
        if given.get("count", 0) >= 1_000:
            given["count"] //= 10
        return step._replace(arguments=given)

    return row._replace(steps=[small(step) for step in row.steps])
