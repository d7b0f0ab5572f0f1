"""What `make bench-ratchet` found, as rows of the tables in the documentation; the first row of each is its head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = [
    "Json",
    "Row",
    "figure_rows",
    "include_rows",
    "limit_rows",
    "machine_rows",
    "part_rows",
    "quiet_rows",
    "size_rows",
]

# Any: JSON, as tests/bench/ratchet writes it.
Json = Mapping[str, Any]
Row = tuple[str, ...]

_LIMITS: Final = {
    "MOST_US": "at most {} µs",
    "MOST_X25519": "at most {} agreements",
    "TIMES_FASTER": "at least {} times faster than the official library",
    "LESS_BYTES": "less than {} bytes",
}
_VERDICTS: Final = {True: "met", False: "missed", None: "not measured"}


def machine_rows(report: Json) -> Iterator[Row]:
    """The machine, the versions and the load."""
    versions = {name: version for peer in report["peers"].values() for name, version in peer["versions"].items()}
    loads = (f"{each['load_average']['before']} to {each['load_average']['after']}" for each in report["rounds"])
    yield ("measured", report["made_at"][:10])
    yield from report["machine"].items()
    yield from versions.items()
    yield ("tables, once in a process", f"{report['once_ms']:.0f} ms")
    yield ("rounds", f"{len(report['rounds'])}")
    yield ("load average in each", ", ".join(loads))


def include_rows(report: Json) -> Iterator[Row]:
    """Each figure in words."""
    yield ("figure", "what is done while the clock runs")
    for entry in report["summary"]:
        yield (entry["label"], entry["includes"])


def figure_rows(report: Json) -> Iterator[Row]:
    """A row for each case with a time, and a column for each who plays."""
    peers = report["peers"]
    ours, *others = peers
    yield ("µs", peers[ours]["title"], "in X25519", *(peers[key]["title"] for key in others))
    for entry in report["summary"]:
        figures = entry["figures"]
        if entry["unit"] == "us":
            mine = figures[ours]
            medians = (_number(figures[key]["median"]) if key in figures else "" for key in others)
            yield (entry["label"], _with_range(mine), _number(mine["x25519"]), *medians)


def quiet_rows(report: Json) -> Iterator[Row]:
    """The same from quiet slices."""
    peers = report["peers"]
    ours, *others = peers
    yield ("µs", peers[ours]["title"], "in X25519", *(peers[key]["title"] for key in others))
    for entry in report["summary"]:
        quiet = {key: figure["quiet"] for key, figure in entry["figures"].items() if figure["quiet"]}
        if entry["unit"] == "us" and quiet:
            mine = [_number(quiet[ours][unit]) if ours in quiet else "" for unit in ("us", "x25519")]
            yield (entry["label"], *mine, *(_number(quiet[key]["us"]) if key in quiet else "" for key in others))


def limit_rows(report: Json) -> Iterator[Row]:
    """A row for each limit, by the medians and by what quiet slices say."""
    yield ("figure", "has to be", "is", "", "when it is quiet", "")
    for entry in report["summary"]:
        for number, each in enumerate(entry["limits"]):
            measure, value = each["limit"]
            quiet = each["quiet_found"]
            yield (
                "" if number else entry["label"],
                _LIMITS[measure].format(f"{value:,g}"),
                _number(each["found"]),
                _VERDICTS[each["is_kept"]],
                _number(quiet),
                "" if quiet is None else _VERDICTS[each["is_quiet_kept"]],
            )


def size_rows(report: Json) -> Iterator[Row]:
    """The smallest, the median and the largest session of each who saves any."""
    yield ("bytes", "smallest", "median", "largest")
    for entry in report["summary"]:
        if entry["unit"] == "bytes":
            for key, each in entry["figures"].items():
                yield (report["peers"][key]["title"], *(f"{each[name]:,.0f}" for name in ("low", "median", "high")))


def part_rows(operation: Json) -> Iterator[Row]:
    """Each part of an operation with its share."""
    yield ("part", "share")
    for name, share in operation["parts"]:
        yield (name, f"{100 * share:.1f} %")


def _with_range(figure: Json) -> str:
    return f"{_number(figure['median'])} ({_number(figure['low'])} to {_number(figure['high'])})"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
