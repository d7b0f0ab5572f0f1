"""All rounds of all peers: `make bench-peers`. In each round everybody once, and who begins is another one in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from tests.bench.machine import load_average
from tests.bench.server.contestants import OURS, RELAY
from tests.bench.server.facts import server_facts, sync_ms
from tests.bench.server.peers import Peer
from tests.bench.server.run import LOAD_BOUND, FailedError, played
from tests.bench.server.table import grid, number

__all__ = ["PEER_ROWS", "SCHEMA", "PeerRow", "render_peers", "run_peers", "short"]

SCHEMA: Final = 1

# Any: JSON.
Json = dict[str, Any]


class PeerRow(NamedTuple):
    """A load that everybody plays.

    Attributes:
        key: Its name.
        title: In words.
        measure: Of `worker.py`, behind what the peer has in front.
        arguments: Of the measurement.
        unit: What is read off it: `items` in some time, or `bytes`.
    """

    key: str
    title: str
    measure: str
    arguments: Mapping[str, Any]
    unit: str


_OTHERS: Final = ("us", "server_share", "load_share")
_WINDOW: Final = (2.0, 5.0)
_SHORT: Final = (0.5, 2.0)

PEER_ROWS: Final = (
    PeerRow("pairs-50", "50 pairs, window 10", "pairs", {"count": 50, "in_flight": 10, "window": _WINDOW}, "items"),
    PeerRow("pairs-500", "500 pairs, window 1", "pairs", {"count": 500, "in_flight": 1, "window": _WINDOW}, "items"),
    PeerRow(
        "group-10", "a group of 199, deliveries", "group", {"members": 199, "in_flight": 10, "window": _WINDOW}, "items"
    ),
    PeerRow("idle", "an idle connection", "idle", {"count": 1_000}, "bytes"),
)


def short(row: PeerRow) -> PeerRow:
    """A row for a trial."""
    return row._replace(arguments={**row.arguments, **({"window": _SHORT} if "window" in row.arguments else {})})


def run_peers(
    peers: Sequence[Peer],
    rows: Sequence[PeerRow],
    *,
    rounds: int,
    install: bool,
    folder: Path,
    say: Callable[[str], None] = print,
) -> Json:
    """Measure.

    Args:
        peers: Who plays.
        rows: What.
        rounds: How often.
        install: Whether to install who is not there.
        folder: On a disk.
        say: Where the progress goes.

    Raises:
        FailedError: One of ours failed. A peer's failure is noted instead, and its cells stay empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown: Json = {}
    for peer in peers:
        reason = peer.missing(install)
        told = {"title": peer.title, "about": peer.about, "stored": peer.stored}
        shown[peer.key] = {**told, "version": "" if reason else peer.version(), "missing": reason}
        if reason is not None:
            say(f"{peer.title}: not measured: {reason}")
    kept: list[Json] = []
    for row in rows:
        played_rounds: list[Json] = []
        for n in range(rounds):
            ready = [
                peer for peer in peers if shown[peer.key]["missing"] is None and row.key in (peer.only or [row.key])
            ]
            turn = n % len(ready)
            found: Json = {"load_average": load_average(), "sync_ms": sync_ms(folder), "results": {}}
            for peer in [*ready[turn:], *ready[:turn]]:
                say(f"{row.title}: round {n + 1} of {rounds}: {peer.title}")
                _play(peer, row, found["results"], shown[peer.key], folder, say)
            played_rounds.append(found)
        results = {peer.key: _summary(row, peer.key, played_rounds) for peer in peers}
        kept.append(
            {
                "key": row.key,
                "title": row.title,
                "unit": row.unit,
                "results": {key: each for key, each in results.items() if each is not None},
                "rounds": played_rounds,
            }
        )
    return {
        "schema": SCHEMA,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": server_facts(),
        "peers": shown,
        "rows": kept,
    }


def _play(peer: Peer, row: PeerRow, results: Json, shown: Json, folder: Path, say: Callable[[str], None]) -> None:
    try:
        with TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as place, peer.running(Path(place)) as server:
            arguments = {**row.arguments, **({} if peer.window is None else {"window": peer.window})}
            results[peer.key] = played(f"{peer.measures}{row.measure}", arguments, server)
    except (FailedError, RuntimeError) as error:
        if peer.key in (OURS, RELAY):
            raise FailedError(f"{peer.title}: {error}") from error
        lines = [line for line in str(error).splitlines() if line.strip()]
        shown["missing"] = f"it failed at {row.title}: {lines[-1] if lines else error}"
        say(f"{peer.title}: {error}")


def _summary(row: PeerRow, key: str, rounds: Sequence[Json]) -> Json | None:
    found = [each["results"][key] for each in rounds if key in each["results"]]
    if len(found) < len(rounds):
        return None
    if row.unit == "bytes":
        return {"kib": _span([each / 1024 for each in found])}
    return {
        "rate": _span([each["items"] / each["seconds"] for each in found]),
        "us": _span([each["server_us"] for each in found]),
        "server_share": _span([each["server_share"] for each in found]),
        "load_share": _span([each["load_share"] for each in found]),
        "is_load_bound": median(each["load_share"] for each in found) >= LOAD_BOUND,
    }


def _span(values: Sequence[float]) -> Json:
    return {"median": median(values), "low": min(values), "high": max(values)}


def render_peers(report: Json) -> str:
    """Write a report as text: who, and a line for each of them in each row."""
    lines = [f"{name}: {value}" for name, value in report["machine"].items()]
    for peer in report["peers"].values():
        about = f"not measured: {peer['missing']}" if peer["missing"] else peer["stored"]
        lines.append(f"{peer['title']} {peer['version']}: {about}")
    for row in report["rows"]:
        table = [["", "median", "lowest", "highest", "", "us", "server", "load"]]
        for key, found in row["results"].items():
            name, unit = ("kib", "KiB") if row["unit"] == "bytes" else ("rate", "1/s")
            cells = [number(found[name][each]) for each in ("median", "low", "high")]
            others = [number(found[each]["median"]) if each in found else "" for each in _OTHERS]
            table.append([report["peers"][key]["title"], *cells, unit, *others])
        lines += ["", row["title"], *grid(table)]
    return "\n".join(lines) + "\n"
