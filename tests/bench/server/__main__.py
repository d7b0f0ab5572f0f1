"""How fast the reference server is, beside a bare relay: `make bench`, or `python -m tests.bench.server`.

The server has one core for itself, the load another one. Prints a table, and keeps everything in `build/bench`. A
limit that is missed is shown and is no error; a message that is lost or out of order is one. With `--profile` it says
instead where the time of a message goes; how that distorts is said in profiling.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench.packages import missing
from tests.bench.server.peers import PEERS
from tests.bench.server.peers_run import PEER_ROWS, render_peers, run_peers, short
from tests.bench.server.profiling import profile, render_profile
from tests.bench.server.rows import ROWS, scaled
from tests.bench.server.run import FailedError, run
from tests.bench.server.table import render

__all__ = ["main"]

_ROOT: Final = Path(__file__).parents[3]
_FOLDER: Final = _ROOT / "build" / "bench"
_PUBLISHED: Final = _ROOT / "docs" / "_data" / "bench"
_NAME: Final = "server.json"
_TRIAL: Final = "server-quick.json"
_PARTIAL: Final = "server-partial.json"  # where some rows failed
_PROFILE: Final = "server-profile.json"
_PEERS: Final = "server-peers.json"
_ROUNDS: Final = 3
_PROFILE_SECONDS: Final = 40.0
_QUICK_PROFILE_SECONDS: Final = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and keep."""
    keys = [row.key for row in ROWS]
    parser = argparse.ArgumentParser(prog="make bench", description="How fast the server is, beside a bare relay.")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that everything runs")
    parser.add_argument("--rounds", type=int, help=f"how many; {_ROUNDS} by default, 1 with --quick")
    parser.add_argument("--only", help=f"rows, of {','.join(keys)}")
    parser.add_argument("--out", type=Path, help="where all of it is kept: in build/bench, if not said")
    parser.add_argument("--publish", action="store_true", help="put what the documentation shows into docs/_data/bench")
    parser.add_argument("--profile", action="store_true", help="instead: where the time of a message goes")
    parser.add_argument("--peers", action="store_true", help="instead: other servers beside it, and the relay")
    parser.add_argument("--install", action="store_true", help="install what it takes and is not there")
    options = parser.parse_args(arguments)
    only = keys if options.only is None else options.only.split(",")
    if unknown := set(only) - set(keys):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    if options.publish and options.only is not None:
        parser.error("what is published has all rows, so --only cannot stand beside --publish")
    try:
        if options.profile:
            seconds = _QUICK_PROFILE_SECONDS if options.quick else _PROFILE_SECONDS
            if (reason := missing("py-spy", install=options.install, target="bench")) is not None:
                raise FailedError(reason)
            report = profile(seconds=seconds, folder=_FOLDER, say=_say)
            name, text = _PROFILE, render_profile(report)
        elif options.peers:
            wide = [short(row) if options.quick else row for row in PEER_ROWS if row.key in only]
            rounds = options.rounds or (1 if options.quick else _ROUNDS)
            report = run_peers(PEERS, wide, rounds=rounds, install=options.install, folder=_FOLDER, say=_say)
            name, text = _PEERS, render_peers(report)
        else:
            rows = [scaled(row) if options.quick else row for row in ROWS if row.key in only]
            rounds = options.rounds or (1 if options.quick else _ROUNDS)
            report = run(rows, rounds=rounds, folder=_FOLDER, say=_say)
            name, text = _NAME, render(report)
    except FailedError as error:
        print(error, file=sys.stderr)
        if error.report is not None:
            _keep(_FOLDER / _PARTIAL, error.report)
            print(f"{render(error.report)}\nkept in {(_FOLDER / _PARTIAL).relative_to(_ROOT)}, and not published")
        return 1
    report["is_trial"] = options.quick
    out = options.out or _FOLDER / (_TRIAL if options.quick and name == _NAME else name)
    _keep(out, report)
    if options.publish:
        _keep(_PUBLISHED / name, report)
    print(text)
    if options.quick:
        print("This was a trial: everything runs, and the figures say nothing about speed.")
    print(f"kept in {out.relative_to(_ROOT) if out.is_relative_to(_ROOT) else out}")
    return 0


def _keep(path: Path, report: object) -> None:
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
