"""How fast the reference server is, beside a bare relay: `make bench`, or `python -m tests.bench.server`.

The server has one core for itself, the load another one. Prints a table, and keeps everything in `build/bench`. A
limit that is missed is shown and is no error; a message that is lost or out of order is one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench.server.rows import ROWS, scaled
from tests.bench.server.run import FailedError, run
from tests.bench.server.table import render

__all__ = ["main"]

_ROOT: Final = Path(__file__).parents[3]
_FOLDER: Final = _ROOT / "build" / "bench"
_OUT: Final = _FOLDER / "server.json"
_TRIAL: Final = _FOLDER / "server-quick.json"
_PUBLISHED: Final = _ROOT / "docs" / "_data" / "bench" / "server.json"
_ROUNDS: Final = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and keep."""
    keys = [row.key for row in ROWS]
    parser = argparse.ArgumentParser(prog="make bench", description="How fast the server is, beside a bare relay.")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that everything runs")
    parser.add_argument("--rounds", type=int, help=f"how many; {_ROUNDS} by default, 1 with --quick")
    parser.add_argument("--only", help=f"rows, of {','.join(keys)}")
    parser.add_argument("--out", type=Path, help="where all of it is kept: in build/bench, if not said")
    parser.add_argument("--publish", action="store_true", help="put what the documentation shows into docs/_data/bench")
    options = parser.parse_args(arguments)
    only = keys if options.only is None else options.only.split(",")
    if unknown := set(only) - set(keys):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    rows = [scaled(row) if options.quick else row for row in ROWS if row.key in only]
    try:
        report = run(rows, rounds=options.rounds or (1 if options.quick else _ROUNDS), folder=_FOLDER, say=_say)
    except FailedError as error:
        print(error, file=sys.stderr)
        return 1
    out = options.out or (_TRIAL if options.quick else _OUT)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.publish:
        _PUBLISHED.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(render(report))
    print(f"kept in {out.relative_to(_ROOT) if out.is_relative_to(_ROOT) else out}")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
