"""The simulator from a shell: ``python -m whisperkit.testing simulate --seed 8812`` and ``replay FILE``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path

from whisperkit.stores import MemoryPartitions, PartitionStore
from whisperkit.testing.conformance import Maker
from whisperkit.testing.decisions import Plan, generate, shrink
from whisperkit.testing.sim_stores import opened
from whisperkit.testing.simulator import Outcome, simulate

__all__ = ["main"]

Run = Callable[[Plan], Outcome]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run seeds or a kept run; 0 if all promises were kept, 1 if one broke."""
    options = _parser().parse_args(arguments)
    run: Run = partial(_run, _maker(options.stores))
    if options.command == "replay":
        return _report(run(Plan.parse(Path(options.file).read_text())))
    for seed in range(options.seed, options.seed + options.seeds):
        plan = generate(seed, messages=options.messages, faults=options.faults, over_s=options.seconds)
        outcome = run(plan)
        if outcome.violation is not None:
            return _shrunk(outcome, run, Path(options.keep))
        print(_summary("held", outcome))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m whisperkit.testing", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("simulate", help="make up runs from seeds, and shorten the first one that fails")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--seeds", type=int, default=1, help="how many, from there on")
    one.add_argument("--messages", type=int, default=40)
    one.add_argument("--faults", type=int, default=20, help="at most")
    one.add_argument("--seconds", type=float, default=120.0, help="over which they are spread")
    one.add_argument("--keep", default=".", help="the folder for the .run file")
    again = commands.add_parser("replay", help="run a .run file")
    again.add_argument("file")
    for command in (one, again):
        command.add_argument("--stores", help="module:maker of a PartitionStore, as for the conformance kit")
    return parser


def _maker(name: str | None) -> Maker[PartitionStore] | None:
    if name is None:
        return None
    module, _, attribute = name.partition(":")
    sys.path.insert(0, ".")
    maker: Maker[PartitionStore] = getattr(import_module(module), attribute)
    return maker


@contextmanager
def _store(maker: Maker[PartitionStore] | None) -> Generator[PartitionStore]:
    if maker is None:
        yield MemoryPartitions()
    else:
        with opened(maker) as store:
            yield store


def _run(maker: Maker[PartitionStore] | None, plan: Plan) -> Outcome:
    with _store(maker) as store:
        return simulate(plan, store=store)


# ---- what is printed ------------------------------------------------------------------------------------------------


def _summary(word: str, outcome: Outcome) -> str:
    minutes, seconds = divmod(round(outcome.at_s), 60)
    return (
        f"{word:<10} seed {outcome.plan.seed}, after {outcome.deliveries:,} deliveries, {outcome.plan.faults} faults, "
        f"{minutes} min {seconds:02} s simulated; trace {outcome.trace}"
    )


def _report(outcome: Outcome) -> int:
    if outcome.violation is None:
        print(_summary("held", outcome))
        return 0
    print(_summary("VIOLATION", outcome))
    print(f"  {outcome.violation.kind:<8} {outcome.violation.detail}")
    return 1


def _shrunk(outcome: Outcome, run: Run, folder: Path) -> int:
    """Report a violation, and keep the shortest run that shows it."""
    _report(outcome)
    assert outcome.violation is not None  # that is why it is shrunk
    kind = outcome.violation.kind

    def still_fails(plan: Plan) -> bool:
        found = run(plan).violation
        return found is not None and found.kind == kind

    short = shrink(outcome.plan, still_fails)
    path = folder / f"{kind.replace(' ', '-')}-{outcome.plan.seed}.run"
    path.write_text(f"# {outcome.violation}\n{short.dump()}")
    print(f"  {'shrunk':<8} {outcome.plan.faults} faults -> {short.faults}, kept in {path}")
    print(f"{'replay':<10} python -m whisperkit.testing replay {path}        (put it in tests/regressions/ to keep it)")
    return 1


if __name__ == "__main__":
    sys.exit(main())
