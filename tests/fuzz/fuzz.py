"""Throw random and damaged bytes at everything that reads bytes, for as long as you like.

    python -m tests.fuzz.fuzz --inputs 1000000 --seed 1
    python -m tests.fuzz.fuzz --inputs 1000000 --only frames,spqr

Each input must be taken, or refused in the one way that is due: as the fault of a peer, or of a store. An input that
does anything else is printed, with how to repeat it, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Final, NamedTuple

from tests.fuzz.damage import damage
from tests.fuzz.sealed_targets import SEALED_TARGETS
from tests.fuzz.stored_targets import STORED_TARGETS
from tests.fuzz.target import Target, verdict
from tests.fuzz.wire_targets import WIRE_TARGETS

__all__ = ["TARGETS", "Report", "chosen", "fuzz", "main"]

TARGETS: Final = (*WIRE_TARGETS, *SEALED_TARGETS, *STORED_TARGETS)


class Report(NamedTuple):
    """What came of one target.

    Attributes:
        name: Which.
        taken: How many inputs it took.
        refused: How many it refused.
        seconds: How long that was.
        find: The input at which it failed, and where it stopped; `None` for none.
        error: How it failed.
    """

    name: str
    taken: int
    refused: int
    seconds: float
    find: bytes | None = None
    error: str = ""

    def __str__(self) -> str:
        if self.find is not None:
            return f"FAIL {self.name}: {self.error}\n  input: {self.find.hex()}"
        return f"{self.name:24} {self.taken:>9,} taken {self.refused:>9,} refused {self.seconds:7.1f} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="how many for each target")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same inputs")
    parser.add_argument("--only", default="", help="names of targets, with commas; without it all of them")
    parser.add_argument("--workers", type=int, default=1, help="how many processes")
    options = parser.parse_args(arguments)
    names = [target.name for target in chosen(options.only)]
    has_failed = False
    with ProcessPoolExecutor(options.workers) as pool:
        for report in pool.map(partial(_fuzz_named, count=options.inputs, seed=options.seed), names):
            print(report, flush=True)
            has_failed |= report.find is not None
    return int(has_failed)


def chosen(names: str) -> Sequence[Target]:
    """The targets of these names, separated by commas; all of them for an empty string."""
    known = {target.name: target for target in TARGETS}
    for name in filter(None, names.split(",")):
        if name not in known:
            raise SystemExit(f"no target is called {name}; there are {', '.join(known)}")
    return [known[name] for name in names.split(",")] if names else TARGETS


def _fuzz_named(name: str, *, count: int, seed: int) -> Report:
    (target,) = chosen(name)
    return fuzz(target, count, seed=seed)


def fuzz(target: Target, count: int, *, seed: int) -> Report:
    """Try one target, until an input is neither taken nor refused."""
    rng = random.Random(f"{target.name} {seed}")
    outcomes: Counter[str] = Counter()
    start = time.perf_counter()
    for _ in range(count):
        data = damage(target.sample(rng), rng)
        try:
            outcomes[verdict(target, data)] += 1
        except Exception as error:  # which ones they are is what we want to know
            return Report(target.name, *_counts(outcomes, start), data, f"{type(error).__name__}: {error}")
    return Report(target.name, *_counts(outcomes, start))


def _counts(outcomes: Counter[str], start: float) -> tuple[int, int, float]:
    return outcomes["taken"], outcomes["refused"], time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
