"""How fast the ratchet is, beside others: `make bench-ratchet`, or `python -m tests.bench.ratchet`.

Prints a table, and keeps everything in `build/bench/ratchet.json`. A limit that is missed is shown and is no error;
wrong plaintexts are one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench.ratchet.contestant import FULL, QUICK
from tests.bench.ratchet.peers import OURS, PEERS
from tests.bench.ratchet.run import FailedError, run
from tests.bench.ratchet.table import render

__all__ = ["main"]

_OUT: Final = Path(__file__).parents[3] / "build" / "bench" / "ratchet.json"
_ROUNDS: Final = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and keep."""
    keys = [peer.key for peer in PEERS if peer.key != OURS]
    parser = argparse.ArgumentParser(prog="make bench-ratchet", description="How fast the ratchet is, beside others.")
    parser.add_argument("--quick", action="store_true", help="one small round, to see that everything runs")
    parser.add_argument("--rounds", type=int, help=f"how many; {_ROUNDS} by default, 1 with --quick")
    parser.add_argument("--only", help=f"who plays beside this library, of {','.join(keys)}; '' for nobody")
    parser.add_argument("--install", action="store_true", help="install the peers that are not there")
    parser.add_argument("--out", type=Path, default=_OUT, help="where all rounds are kept")
    options = parser.parse_args(arguments)
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
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report) + "\n", encoding="utf-8")
    print(render(report))
    print(f"all rounds: {options.out}")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
