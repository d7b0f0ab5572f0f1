"""One contestant, one round, one process: `python -m tests.bench.ratchet.worker NAME SIZES`.

A process of its own, so that nobody works in the memory that somebody else has left behind, and what a library keeps
for the whole process is made in each round again.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any, Final

from tests.bench.ratchet.contestant import Contestant, Sizes
from tests.bench.ratchet.driver import play

__all__ = ["WORKERS", "main"]

# Modules by name, because a peer that is not installed cannot be imported.
WORKERS: Final = {
    "ours": "tests.bench.ratchet.ours:Sessions",
    "device": "tests.bench.ratchet.applications:Devices",
    "manager": "tests.bench.ratchet.applications:Managers",
    "vodozemac": "tests.bench.ratchet.olm:Olm",
    "doubleratchet": "tests.bench.ratchet.double_ratchet:DoubleRatchetContestant",
}


def contestant(name: str) -> Contestant[Any, Any]:  # Any: what goes over its wire is its own affair
    """Make a contestant.

    Raises:
        ImportError: It is not installed.
    """
    module, _, made = WORKERS[name].partition(":")
    make: Callable[[], Contestant[Any, Any]] = getattr(importlib.import_module(module), made)
    return make()


def main() -> int:
    """Play, and write what came of it as JSON."""
    name, sizes = sys.argv[1:]
    player = contestant(name)
    try:
        found = play(player, Sizes(**json.loads(sizes)))
        versions = player.versions()
    finally:
        player.close()
    stretches = {case: [stretch._asdict() for stretch in each] for case, each in found.stretches.items()}
    json.dump({**found._asdict(), "versions": versions, "stretches": stretches}, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
