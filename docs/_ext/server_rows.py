"""What `make bench` found, as rows of the tables in the documentation; the first row of each is its head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

__all__ = [
    "CHANGES",
    "Json",
    "Miss",
    "Row",
    "figure_rows",
    "function_rows",
    "include_rows",
    "machine_rows",
    "misses",
    "number",
    "part_rows",
    "peer_rows",
    "player_rows",
    "trials",
]

# Any: JSON, as tests/bench/server writes it.
Json = Mapping[str, Any]
Row = tuple[str, ...]

_VERDICTS: Final = {True: "held", False: "missed"}
_BOUND: Final = "the load was the limit"
# A part of less is not named where it is told what a row costs.
_LEAST_SHARE: Final = 0.05

# What would change a row that is missed. It stands on the page only while it is.
_PYTHON: Final = (
    "It is the work of one core for one message: it falls with the work, and with nothing else. The rules and the "
    "service are compiled, and so are msgpack, the mask of a frame, the hash of the chain, SQLite and the event loop. "
    "What is not is the edge of the reference server: its sockets, its adapter of SQLite and its metrics, which are "
    "examples to be read. More cores are used by more gateways, not by one."
)
CHANGES: Final[Mapping[str, str]] = {
    "pairs-50": _PYTHON,
    "pairs-500": _PYTHON
    + " With one post on its way in each pair there is little to gather: a read and a write of a socket and a wake-up "
    "for each message and each acknowledgement, as the relay has them too.",
    "group-10": "Each copy is a row and a head of its own inbox, so that a device can be told what it lacks without "
    "asking for anything else: a row that all share would take most of the storage away, and the order of one device "
    "with it.",
    "group-1": "One post is a turn of its own: what a turn and a commit cost, and the time of a sync of the disk, is "
    "paid for 198 copies instead of 1,980. A disk that syncs faster changes it.",
    "group-1000": "The copies are made behind the post, in batches, by the same core that pushes them; posts that wait "
    "meanwhile go together. Another gateway over the same store can work the jobs off.",
    "door": "Beside the rows that the floor writes as well, rules are decided, states encoded and versions checked, "
    "and whoever waits for a commit is woken, in the adapter and on the loop: time that SQLite does not take.",
    "idle": "A connection is the socket's own objects, a parser of WebSocket frames and its buffers, a link and its "
    "windows.",
    "catch-up": "Pages are read, framed and acknowledged in turn: larger pages, and more of them on their way, trade "
    "memory for it.",
    "logins": "A login is a handshake in HTTP, two signatures of which the server checks one, and reads of what the "
    "device needs. The load signs as often as the server checks.",
    "latency": "The pace is a part of what the server does when ten posts of a pair go together. Here they come one by "
    "one: a read and a write of a socket for each message and for each acknowledgement, where ten together need a few "
    "for all. A message costs far more so, at the relay as well, as the rows of 50 and of 500 pairs show, and a core "
    "that is busy for most of the time lets messages wait in line. It falls with what a read of a socket costs, and "
    "with more gateways, each on a core of its own.",
    "mirror": "Each entry is checked against the chain, placed in its conversation, and noted in rows: work of Python.",
    "planner": "The roster is read member by member, because it may be longer than memory.",
    "presence": "Each beat moves a device in a dictionary that is in order of time.",
    "inbox": "A row is appended to a table and its key to an index, which grows by a level about every hundredfold.",
    "conversations": "With more conversations than are remembered, heads are read again, and each commit touches pages "
    "of its own.",
    "long-run": "What grows with messages and not with devices would be a leak.",
}


class Miss(NamedTuple):
    """A row that does not hold all that it has to.

    Attributes:
        title: What was measured.
        figures: Each that misses its limit or its goal, in words.
        costs: Where the time goes, by the largest parts of the profile; empty where there is none.
        change: What would change it.
    """

    title: str
    figures: tuple[str, ...]
    costs: str
    change: str


def trials(reports: Mapping[str, Json]) -> str:
    """What there is to say of reports, by their names, that come of a trial; nothing if none does."""
    some = [name for name, report in reports.items() if report["is_trial"]]
    return f"A trial, whose figures say nothing about speed: {', '.join(some)}." if some else ""


def machine_rows(report: Json) -> Iterator[Row]:
    """The machine, its disk, and the load while it was measured."""
    rounds = [each for row in report["rows"] for each in row["rounds"]]
    yield ("measured", report["made_at"][:10])
    yield from report["machine"].items()
    yield ("until 4 KiB are synced, medians of all rounds", _span([each["sync_ms"] for each in rounds], "ms"))
    yield ("load average", _span([each["load_average"] for each in rounds], ""))


def include_rows(report: Json) -> Iterator[Row]:
    """Each row in words."""
    yield ("row", "what is done while it is measured")
    for row in report["rows"]:
        yield (row["title"], row["includes"])


def figure_rows(report: Json) -> Iterator[Row]:
    """A row for each figure; the first one of a measurement is headed by what was measured."""
    yield ("", "median", "rounds", "has to be", "", "goal", "")
    for row in report["rows"]:
        yield (row["title"], *[""] * 6)
        for figure in row["figures"]:
            spread = f"{number(figure['low'])} to {number(figure['high'])}" if len(row["rounds"]) > 1 else ""
            limits = [cell for name in ("least", "goal") for cell in _limit(figure, name)]
            yield (f"– {figure['label']}", _with_unit(figure["median"], figure["unit"]), spread, *limits)


def _limit(figure: Json, name: str) -> tuple[str, str]:
    limit, holds = figure[name], figure[_HOLDS[name]]
    if limit is None:
        return "", ""
    sign = "≥ " if figure["more_is_better"] else "≤ "
    return sign + number(limit), _BOUND if holds is None else _VERDICTS[holds]


_HOLDS: Final = {"least": "is_kept", "goal": "is_reached"}


def misses(report: Json, profile: Json) -> Iterator[Miss]:
    """What is missed, and what it costs."""
    for row in report["rows"]:
        found = [words for figure in row["figures"] for words in _missed(figure)]
        if found:
            yield Miss(row["title"], tuple(found), _costs(profile["loads"].get(row["key"])), CHANGES[row["key"]])


def _missed(figure: Json) -> Iterator[str]:
    words = "at least" if figure["more_is_better"] else "at most"
    is_ = f"{figure['label']}: {_with_unit(figure['median'], figure['unit'])}"
    if figure["is_kept"] is False:
        yield f"{is_}, has to be {words} {number(figure['least'])}"
    elif figure["is_reached"] is False:
        yield f"{is_}, the goal is {words} {number(figure['goal'])}"


def _costs(load: Json | None) -> str:
    if load is None:
        return ""
    large = sorted(((us, name) for name, us in load["parts"] if us >= _LEAST_SHARE * load["us"]), reverse=True)
    return ", ".join(f"{name} {100 * us / load['us']:.0f} %" for us, name in large)


def part_rows(profile: Json) -> Iterator[Row]:
    """Each part with what it takes of a message, by load."""
    loads = [*profile["loads"].values()]
    yield ("part", *(each["title"] for each in loads))
    for n, (name, _) in enumerate(loads[0]["parts"]):
        yield (name, *(_part(each["parts"][n][1], each["us"]) for each in loads))
    yield ("all of it", *(f"{number(each['us'])} µs" for each in loads))
    yield ("the same while it was looked at", *(f"{number(each['watched_us'])} µs" for each in loads))
    yield ("samples", *(f"{each['samples']:,}" for each in loads))


def _part(us: float, whole: float) -> str:
    return f"{us:.1f} µs, {100 * us / whole:.1f} %"


def function_rows(load: Json) -> Iterator[Row]:
    """The functions in which most of the time goes, with what they call in C."""
    yield ("function", "part", "µs")
    for name, part, us in load["functions"]:
        yield (name, part, f"{us:.1f}")


def player_rows(report: Json) -> Iterator[Row]:
    """Who else was measured, and what each has stored when it says that it has a message."""
    yield ("server", "how it runs", "what is stored before it says so")
    for peer in report["peers"].values():
        name = f"{peer['title']} {peer['version']}".strip()
        yield (name, (peer["missing"] and f"not measured: {peer['missing']}") or peer["about"], peer["stored"])


def peer_rows(report: Json) -> Iterator[Row]:
    """A row for each server, a column for each load."""
    rows = report["rows"]
    yield ("", *(row["title"] for row in rows))
    for key, peer in report["peers"].items():
        if any(key in row["results"] for row in rows):
            yield (peer["title"], *(_cell(row, row["results"].get(key)) for row in rows))


def _cell(row: Json, found: Json | None) -> str:
    if found is None:
        return ""
    if row["unit"] == "bytes":
        return f"{number(found['kib']['median'])} KiB"
    bound = f"; {_BOUND}" if found["is_load_bound"] else ""
    return f"{number(found['rate']['median'])}/s ({number(found['us']['median'])} µs){bound}"


def _with_unit(value: float, unit: str) -> str:
    return f"{number(value)} {_UNITS.get(unit, unit)}".strip()


_UNITS: Final = {"1/s": "/s", "us": "µs", "ratio": ""}


def _span(values: list[float], unit: str) -> str:
    return f"{number(min(values))} to {number(max(values))} {unit}".strip()


def number(value: float) -> str:
    """Write a number with three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
