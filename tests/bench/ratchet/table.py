"""The report as text: all figures, then our limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from tests.bench.ratchet.entries import Json
from tests.bench.ratchet.peers import OFFICIAL, OURS

__all__ = ["limit_words", "render"]

_LIMITS: Final = {
    "MOST_US": "at most {} us",
    "MOST_X25519": "at most {} X25519",
    "TIMES_FASTER": "at least {} x as fast as the official library",
    "LESS_BYTES": "under {} bytes",
}
# For these it is said how many times faster this library is; below 1 it is slower.
_BESIDE: Final = (OFFICIAL, "vodozemac")
_VERDICTS: Final = {True: "met", False: "MISSED", None: "not measured"}


def render(report: Json) -> str:
    """Write a report as lines of at most some 120 characters."""
    peers, entries = report["peers"], report["summary"]
    present = [key for key, peer in peers.items() if peer["missing"] is None]
    lines = [f"{name}: {value}" for name, value in report["machine"].items()]
    lines += [f"load average: {', '.join(_load(played) for played in report['rounds'])}", ""]
    lines += [f"{peers[key]['title']}: {peers[key]['about']}{_versions(peers[key])}" for key in present]
    lines += [f"{peer['title']}: not measured: {peer['missing']}" for peer in peers.values() if peer["missing"]]
    lines += [
        "",
        f"Microseconds of process CPU time, messages of {report['sizes']['text_bytes']} bytes; rounds in each of which "
        f"all play: {len(report['rounds'])}, medians of them. x: so many times faster is this library.",
        *_grid(_head(peers), (_row(entry, peers, _median) for entry in entries)),
        "",
        "The same from quiet slices: X25519 is fast before and after, and nobody else gets the core. Empty: none.",
        *_grid(_head(peers), (_row(entry, peers, _quiet) for entry in entries)),
        "",
        "Saved sessions, in bytes: smallest, median, largest.",
        *_grid(["", "", "", ""], _sizes(entries, peers)),
        "",
        f"Not in these figures: {report['once_ms']:.0f} ms of tables, made by each process that needs them, once.",
        "",
        "What this library has to hold: the median, and what quiet slices say (how many).",
        *_grid(["", "limit", "median", "", "quiet", "", ""], _limits(entries), left=2),
    ]
    return "\n".join(lines) + "\n"


def limit_words(limit: Sequence[Any]) -> str:
    """A limit in words."""
    measure, value = limit
    return _LIMITS[measure].format(f"{value:,g}")


def _head(peers: Json) -> list[str]:
    ours, *others = (peer["title"] for peer in peers.values())
    return ["", ours, "in X25519", "x official", "x vodozemac", *others]


def _row(entry: Json, peers: Json, read: Callable[[Json], tuple[float, float] | None]) -> list[str]:
    if entry["unit"] == "bytes":
        return []
    found = {key: value for key, figure in entry["figures"].items() if (value := read(figure)) is not None}
    us, in_x25519 = found.get(OURS, (None, None))
    faster = (found[key][0] / us if us and key in found else None for key in _BESIDE)
    others = (found[key][0] if key in found else None for key in peers if key != OURS)
    return [entry["label"], *map(_number, (us, in_x25519, *faster, *others))]


def _median(figure: Json) -> tuple[float, float]:
    return figure["median"], figure["x25519"]


def _quiet(figure: Json) -> tuple[float, float] | None:
    quiet = figure["quiet"]
    return quiet and (quiet["us"], quiet["x25519"])


def _sizes(entries: Iterable[Json], peers: Json) -> Iterable[list[str]]:
    for entry in entries:
        if entry["unit"] == "bytes":
            for key, each in entry["figures"].items():
                yield [peers[key]["title"], *(f"{each[name]:,.0f}" for name in ("low", "median", "high"))]


def _limits(entries: Iterable[Json]) -> Iterable[list[str]]:
    for entry in entries:
        for n, each in enumerate(entry["limits"]):
            quiet = entry["figures"][OURS]["quiet"]
            seen = each["quiet_found"] is not None
            yield [
                "" if n else entry["label"],
                limit_words(each["limit"]),
                _number(each["found"]),
                _VERDICTS[each["is_kept"]],
                _number(each["quiet_found"]),
                _VERDICTS[each["is_quiet_kept"]] if seen else "",
                f"({quiet['slices']})" if seen else "",
            ]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _versions(peer: Json) -> str:
    named = ", ".join(f"{name} {version}" for name, version in peer["versions"].items())
    return f" ({named})" if named else ""


def _load(played: Json) -> str:
    before, after = (played["load_average"][name] for name in ("before", "after"))
    return f"{before} to {after}"


def _grid(head: list[str], rows: Iterable[list[str]], *, left: int = 1) -> list[str]:
    """Columns, the first ones of which begin below one another, and the others end there."""
    table = [head, *(row for row in rows if row)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(_cells(row, widths, left)).rstrip() for row in table]


def _cells(row: list[str], widths: list[int], left: int) -> Iterable[str]:
    for n, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.ljust(width) if n < left else cell.rjust(width)
