"""How fast the ratchet is, beside others: `make bench-ratchet`, or `python -m tests.bench.ratchet`.

Prints a table, and keeps everything in `build/bench`. A limit that is missed is shown and is no error; wrong plaintexts
are one, and on CI a peer that cannot play. With `--profile` it says instead where the time of each operation goes; how
that distorts is said in sampling.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench.machine import facts
from tests.bench.ratchet.contestant import FULL, QUICK
from tests.bench.ratchet.entries import without_slices
from tests.bench.ratchet.peers import OURS, PEERS
from tests.bench.ratchet.profiling import profile, render_profile
from tests.bench.ratchet.run import FailedError, run
from tests.bench.ratchet.sampling import is_available
from tests.bench.ratchet.table import render

__all__ = ["main"]

_ROOT: Final = Path(__file__).parents[3]
_OUT: Final = _ROOT / "build" / "bench" / "ratchet.json"
_PUBLISHED: Final = _ROOT / "docs" / "_data" / "bench"
_TRIAL: Final = _OUT.with_name("ratchet-quick.json")
_PROFILE: Final = _OUT.with_name("ratchet-profile.json")
_ROUNDS: Final = 3
_PROFILE_SECONDS: Final = 8.0
_QUICK_PROFILE_SECONDS: Final = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and keep."""
    keys = [peer.key for peer in PEERS if peer.key != OURS]
    parser = argparse.ArgumentParser(prog="make bench-ratchet", description="How fast the ratchet is, beside others.")
    parser.add_argument("--quick", action="store_true", help="one small round, to see that everything runs")
    parser.add_argument("--rounds", type=int, help=f"how many; {_ROUNDS} by default, 1 with --quick")
    parser.add_argument("--only", help=f"who plays beside this library, of {','.join(keys)}; '' for nobody")
    parser.add_argument("--install", action="store_true", help="install the peers that are not there")
    parser.add_argument("--out", type=Path, help="where all rounds are kept: in build/bench, if not said")
    parser.add_argument("--publish", action="store_true", help="put what the documentation shows into docs/_data/bench")
    parser.add_argument("--profile", action="store_true", help="instead: where the time of each operation goes")
    options = parser.parse_args(arguments)
    if options.profile:
        return _show_profile(_QUICK_PROFILE_SECONDS if options.quick else _PROFILE_SECONDS, publish=options.publish)
    only = keys if options.only is None else [key for key in options.only.split(",") if key]
    if unknown := set(only) - set(keys):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    peers = [peer for peer in PEERS if peer.key in (OURS, *only)]
    rounds = options.rounds or (1 if options.quick else _ROUNDS)
    try:
        report = run(peers, QUICK if options.quick else FULL, rounds=rounds, install=options.install, say=_say)
    except FailedError as error:
        print(error, file=sys.stderr)
        return 1
    out = options.out or (_TRIAL if options.quick else _OUT)
    _keep(out, report)
    if options.publish:
        _keep(_PUBLISHED / _OUT.name, without_slices(report))
    print(render(report))
    if options.quick:
        print("This was a trial: everything runs, and the figures say nothing about speed.")
    print(f"all rounds: {out}")
    # On CI everybody can be had, so who does not play has broken.
    return int(bool(os.environ.get("CI")) and any(peer["missing"] for peer in report["peers"].values()))


def _show_profile(seconds: float, *, publish: bool) -> int:
    if not is_available():
        print("this system has no timers of CPU time, so there is no profile", file=sys.stderr)
        return 1
    found = profile(seconds=seconds)
    kept = {"machine": facts(), "operations": found}
    _keep(_PROFILE, kept)
    if publish:
        _keep(_PUBLISHED / _PROFILE.name, kept)
    print(render_profile(found))
    print(f"kept in {_PROFILE}")
    return 0


def _keep(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
