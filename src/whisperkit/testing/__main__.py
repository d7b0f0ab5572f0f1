"""The simulator from a shell: ``python -m whisperkit.testing simulate --seed 8812`` and ``replay FILE``."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Final, cast

from whisperkit.errors import UsageError
from whisperkit.stores import MemoryPartitions, PartitionStore
from whisperkit.testing.conformance import LawBrokenError, Maker, name_of, run_conformance
from whisperkit.testing.conformance_partitions import PARTITION_CHECKS
from whisperkit.testing.decisions import Plan, generate, shrink
from whisperkit.testing.ledger import Violation
from whisperkit.testing.sim_stores import opened
from whisperkit.testing.simulator import Outcome, simulate
from whisperkit.testing.waiting import waiting

__all__ = ["main"]

Run = Callable[[Plan], Outcome]

_ADVICE: Final = "put it in tests/regressions/ to keep it"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run seeds or a kept run; 0 if all promises were kept, 1 if one broke, 2 for wrong usage, 130 for Ctrl-C."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return _main(parser, options)
    except KeyboardInterrupt:
        return 130


def _main(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    try:
        maker = _maker(options.stores)
        kept = Plan.parse(Path(options.file).read_text()) if options.command == "replay" else None
    except (OSError, UnicodeError, UsageError) as error:
        parser.error(str(error))
    run: Run = partial(_run, maker)
    if kept is not None:
        with waiting(_clock(f"replaying {options.file}")):
            outcome = run(kept)
        return _report(outcome)
    of_all = f" of {options.seeds}" if options.seeds > 1 else ""
    for number, seed in enumerate(range(options.seed, options.seed + options.seeds), start=1):
        plan = generate(seed, messages=options.messages, faults=options.faults, over_s=options.seconds)
        with waiting(_clock(f"run {number}{of_all}, seed {seed}")):
            outcome = run(plan)
        if outcome.violation is not None:
            _report(outcome)
            if maker is not None:
                with waiting(_clock("asking the conformance kit of the store")):
                    suspect = _suspect(maker)
                print(f"  {'likely':<8} {suspect}")
            _keep(outcome, outcome.violation, run, Path(options.keep), stores=options.stores)
            return 1
        print(_summary("held", outcome))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m whisperkit.testing", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("simulate", help="make up runs from seeds, and shorten the first one that fails")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--seeds", type=_count, default=1, help="how many, from there on")
    one.add_argument("--messages", type=_count, default=40)
    one.add_argument("--faults", type=_count, default=20, help="at most")
    one.add_argument("--seconds", type=_seconds, default=120.0, help="over which they are spread")
    one.add_argument("--keep", type=_folder, default=".", help="the folder for the .run file")
    again = commands.add_parser("replay", help="run a .run file")
    again.add_argument("file")
    for command in (one, again):
        command.add_argument("--stores", help="module:maker of a PartitionStore, as for the conformance kit")
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"a number from 0 on is needed, got {text}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"a number of seconds above 0 is needed, got {text}")
    return seconds


def _folder(text: str) -> str:
    if not Path(text).is_dir():  # found out now, and not when there is something to keep
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return text


def _maker(name: str | None) -> Maker[PartitionStore] | None:
    if name is None:
        return None
    module, _, attribute = name.partition(":")
    sys.path.insert(0, ".")
    try:
        maker: Maker[PartitionStore] = getattr(import_module(module), attribute)
    except (ValueError, ModuleNotFoundError, AttributeError) as error:
        raise UsageError(f"--stores takes module:maker, got {name}: {error}") from error
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


def _clock(what: str) -> Callable[[], str]:
    """Say what is done, and for how long."""
    began = time.monotonic()
    return lambda: f"{what}, {time.monotonic() - began:.0f} s"


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


def _suspect(maker: Maker[PartitionStore]) -> str:
    """The first law that the kit finds broken, as what a store breaks there shows up as something else here."""
    for check in PARTITION_CHECKS:
        try:
            run_conformance(maker, [check], print_line=lambda _: None)
        except Exception as error:
            found = _first_of(error)
            if isinstance(found, LawBrokenError):
                return (
                    f'the store: in the conformance kit, "{str(found).partition(": expected ")[0]}" does not hold on it'
                )
            return f'the store: in the conformance kit, "{name_of(check)}" ends with {found!r}'
    return "unknown: all laws of the conformance kit hold on this store"


def _first_of(error: Exception) -> Exception:
    """What was raised, of several the first: what tasks raise that run side by side comes in a group."""
    while isinstance(error, ExceptionGroup):
        error = cast("Exception", error.exceptions[0])  # `isinstance` cannot say of what the group is
    return error


def _keep(outcome: Outcome, violation: Violation, run: Run, folder: Path, *, stores: str | None) -> None:
    """Keep the shortest run that shows a violation, and say how to replay it."""
    tried, left = 0, outcome.plan.faults

    def still_fails(plan: Plan) -> bool:
        nonlocal tried, left
        found = run(plan).violation
        is_same = found is not None and found.kind == violation.kind
        tried, left = tried + 1, min(left, plan.faults) if is_same else left
        return is_same

    with waiting(lambda: f"shortening: {outcome.plan.faults} faults -> {left}, {tried} runs tried"):
        short = shrink(outcome.plan, still_fails)
    path = folder / f"{violation.kind.replace(' ', '-')}-{outcome.plan.seed}.run"
    path.write_text(f"# {violation}\n{short.dump()}")
    with_stores = "" if stores is None else f" --stores {stores}"
    print(f"  {'shrunk':<8} {outcome.plan.faults} faults -> {short.faults}, kept in {path}")
    print(f"{'replay':<10} python -m whisperkit.testing replay {path}{with_stores}        ({_ADVICE})")


if __name__ == "__main__":
    sys.exit(main())
