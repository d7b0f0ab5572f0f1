"""How long it takes to import the library: `python -m tests.bench.imports`, or `make bench-imports`.

Each import is that of a fresh interpreter, whose modules have been compiled before, as pip compiles what it installs.
Medians are of all runs. What the limit is for is the processor time of the fastest run: whoever else is at work on the
machine only ever makes a run slower. With `--parts`, the modules that an import loads, the dearest first, each with the
time that is its own; being timed one by one makes all of them dearer.

The numbers are those of one machine, so that no test asks for them: the command ends with 1 if the ratchet takes longer
than the limit.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

__all__ = ["Cost", "main", "own_times_us"]

_ROOT: Final = Path(__file__).parents[2]
_RUNS: Final = 15
_LIMIT_MS: Final = 100.0
# The first is held to the limit.
_MODULES: Final = ("whisperkit.ratchet", "whisperkit", "whisperkit.sync", "whisperkit.service", "whisperkit.client")
_SHOWN_PARTS: Final = 20
_PROGRAM: Final = """\
import time
began, used = time.perf_counter(), time.process_time()
import {module}
print(time.perf_counter() - began, time.process_time() - used)
"""


class Cost(NamedTuple):
    """What it costs to import a module.

    Attributes:
        clock_ms: Time on the clock, the median of all runs.
        cpu_ms: Processor time, the median of all runs.
        fastest_ms: Processor time of the fastest run.
    """

    clock_ms: float
    cpu_ms: float
    fastest_ms: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench-imports", description="How long the imports take.")
    parser.add_argument("--runs", type=int, default=_RUNS, help=f"of each import; {_RUNS} by default")
    parser.add_argument(
        "--limit-ms", type=float, default=_LIMIT_MS, help=f"for {_MODULES[0]}; {_LIMIT_MS:g} by default"
    )
    parser.add_argument("--parts", metavar="MODULE", help="instead: what the time of this import is made of")
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as compiled:
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environ["PYTHONPYCACHEPREFIX"] = compiled
        if options.parts:
            return _show_parts(options.parts, environ, runs=options.runs)
        return _show_costs(environ, runs=options.runs, limit_ms=options.limit_ms)


def _show_costs(environ: Mapping[str, str], *, runs: int, limit_ms: float) -> int:
    print(f"{runs} runs of each, milliseconds\n")
    print(
        f"{'':<20}{'clock':>8}{'processor':>11}{'processor':>11}\n{'import':<20}{'median':>8}{'median':>11}{'fastest':>11}"
    )
    costs = {module: _cost(module, environ, runs=runs) for module in _MODULES}
    for module, cost in costs.items():
        print(f"{module:<20}{cost.clock_ms:>8.0f}{cost.cpu_ms:>11.0f}{cost.fastest_ms:>11.0f}")
    found_ms = costs[_MODULES[0]].fastest_ms
    is_kept = found_ms <= limit_ms
    print(f"\n{_MODULES[0]}: {found_ms:.0f} ms, {'within' if is_kept else 'over'} the limit of {limit_ms:g} ms")
    return 0 if is_kept else 1


def _cost(module: str, environ: Mapping[str, str], *, runs: int) -> Cost:
    timings = list[tuple[float, float]]()
    for _ in range(1 + runs):
        clock, cpu = _python(["-c", _PROGRAM.format(module=module)], environ).stdout.split()
        timings.append((float(clock) * 1000, float(cpu) * 1000))
    clocks, cpus = zip(*timings[1:], strict=True)  # the first has compiled
    return Cost(clock_ms=median(clocks), cpu_ms=median(cpus), fastest_ms=min(cpus))


def _show_parts(module: str, environ: Mapping[str, str], *, runs: int) -> int:
    command = ["-X", "importtime", "-c", f"import {module}"]
    _python(command, environ)  # compiles
    reports = [own_times_us(_python(command, environ).stderr) for _ in range(runs)]
    bare = own_times_us(_python(["-X", "importtime", "-c", "pass"], environ).stderr)
    parts = {name: median(report.get(name, 0) for report in reports) for name in reports[0] if name not in bare}
    total_ms = sum(parts.values()) / 1000
    print(f"{module}: {len(parts)} modules, {total_ms:.0f} ms; each the median of {runs} runs, milliseconds\n")
    for name, own_us in sorted(parts.items(), key=lambda part: -part[1])[:_SHOWN_PARTS]:
        print(f"{own_us / 1000:>7.1f}  {name}")
    return 0


def own_times_us(report: str) -> dict[str, int]:
    """What `-X importtime` printed: the microseconds of each module without those of the modules that it imports."""
    times = dict[str, int]()
    for line in report.splitlines():
        fields = line.removeprefix("import time:").split("|")
        if len(fields) == 3 and fields[0].strip().isdecimal():
            times[fields[2].strip()] = int(fields[0])
    return times


def _python(arguments: Sequence[str], environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=_ROOT, env=environ, capture_output=True, text=True, check=True
    )


if __name__ == "__main__":
    sys.exit(main())
