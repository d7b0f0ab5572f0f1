"""Where the server's time goes, by parts: `make bench ARGS=--profile`.

`py-spy` stops the server some dozen times a second and reads its stacks, Python's and those of C together. What is
compiled has no frames of Python, so the server is looked at as it is interpreted. How that distorts: while it is
stopped, more arrives, so batches are a little larger; reading takes some milliseconds on the load's core. So only
shares are taken from it. What they are shares of is the CPU time of each thread, which the kernel counts to the
nanosecond, less what an idle thread runs for to be stopped; and what a message costs is measured before, without
anybody looking. A sample in which a thread waits for the core or for Python's lock is left out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Final, TypeVar

from tests.bench.machine import load_average
from tests.bench.server.contestants import INTERPRETED, OURS, on_load_core, running
from tests.bench.server.facts import cpu_s_of_threads, server_facts
from tests.bench.server.loads import COUNTING
from tests.bench.server.parts import PARTS, UNCLASSIFIED, WAITS, Frame, Stack, function_of, parse, part_of
from tests.bench.server.rows import ROWS, Row, Step
from tests.bench.server.run import FailedError, measure

__all__ = ["PROFILED", "SCHEMA", "profile", "profiled", "render_profile", "sum_up"]

PROFILED: Final = ("pairs-50", "pairs-500", "group-10", "group-1", "group-1000")
SCHEMA: Final = 1

_ROOT: Final = Path(__file__).parents[3]
# Stopping and reading takes five to ten milliseconds.
_PER_SECOND: Final = 50
# What py-spy takes to read the symbols of all libraries, before the first sample.
_READING_S: Final = 5.0
_PATIENCE_S: Final = 120.0
_MOST: Final = 25

# Any: JSON.
Json = dict[str, Any]

K = TypeVar("K")


def profile(*, seconds: float, folder: Path, say: Callable[[str], None] = print) -> Json:
    """Look at the server under each load for so many seconds.

    Raises:
        FailedError: Something did not work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: Json = {}
    for row in ROWS:
        if row.key in PROFILED:
            say(f"{row.title}: without looking, then for {seconds:g} s")
            found[row.key] = {"title": row.title, "load_average": load_average(), **_look(row, seconds, folder)}
    return {"schema": SCHEMA, "machine": {**server_facts(), "whisperkit": "interpreted"}, "loads": found}


def profiled(row: Row) -> Step:
    """What is looked at of a row: its load against the server, as it is interpreted."""
    (step,) = (step for step in row.steps if step.name == OURS)
    return step._replace(against=INTERPRETED)


def _look(row: Row, seconds: float, folder: Path) -> Json:
    step = profiled(row)
    plain = measure(step, dict(step.arguments), folder)
    warm_up_s, _ = step.arguments["window"]
    given = {**step.arguments, "window": (warm_up_s, seconds + _READING_S)}
    with TemporaryDirectory(dir=folder) as place, running(INTERPRETED, Path(place)) as server:
        out = Path(place) / "stacks.txt"
        command = ["-m", "tests.bench.server.worker", step.measure]
        arguments = json.dumps({**given, "url": server.url, "pid": server.pid})
        with _started(on_load_core([sys.executable, *command, arguments])) as load:
            assert load.stderr is not None  # a pipe was asked for
            _wait_for(load.stderr, COUNTING)
            before = cpu_s_of_threads(server.pid)
            _record(server.pid, seconds, out)
            spent = {thread: cpu - before.get(thread, 0.0) for thread, cpu in cpu_s_of_threads(server.pid).items()}
            stdout, stderr = load.communicate(timeout=_PATIENCE_S)
            if load.returncode:
                raise FailedError(f"{step.measure}: {stderr}")
        watched = json.loads(stdout)
        stacks = [parse(line) for line in out.read_text(encoding="utf-8").splitlines()]
    return {"watched_us": watched["server_us"], **sum_up(stacks, spent, us=plain["server_us"])}


@contextmanager
def _started(command: Sequence[str]) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _wait_for(stream: IO[str], line: str) -> None:
    for each in stream:
        if each.strip() == line:
            return
    raise FailedError(f"the load ended before it was {line}")


def _record(pid: int, seconds: float, out: Path) -> None:
    program = shutil.which("py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        raise FailedError("py-spy is not installed; `make bench` installs it")
    options = ["--native", "--threads", "--format", "raw", "--rate", f"{_PER_SECOND}", "--duration", f"{seconds:.0f}"]
    command = on_load_core([program, "record", *options, "--output", str(out), "--pid", str(pid)])
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + _PATIENCE_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise FailedError(f"py-spy: {error}\n{getattr(error, 'stderr', '')}") from error


# ---- what was seen ---------------------------------------------------------------------------------------------------


def sum_up(stacks: Iterable[Stack], spent: Mapping[int, float], *, us: float) -> Json:
    """Share out what one item costs.

    Args:
        stacks: What was seen.
        spent: CPU time of each thread meanwhile.
        us: Of an item, all threads together.
    """
    seen: dict[int, Counter[tuple[Frame, ...]]] = {}
    waits = 0
    for stack in stacks:
        if part_of(stack.frames) == WAITS:
            waits += stack.times
        else:
            seen.setdefault(stack.thread, Counter())[tuple(stack.frames)] += stack.times
    # To be stopped and sent on again is what a thread runs for that does nothing else: it is no work of the server's.
    looking = min((cpu for thread, cpu in spent.items() if thread not in seen), default=0.0)
    ran = {thread: cpu - looking for thread, cpu in spent.items() if cpu > looking}
    total_s = sum(ran.values())
    parts: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    functions: dict[tuple[str, str], float] = {}
    calls: dict[str, float] = {}
    strays: dict[str, float] = {}
    for thread, cpu in ran.items():
        mine = us * cpu / total_s
        found = seen.get(thread, Counter())
        if not found:
            parts[UNCLASSIFIED] += mine  # it ran, and nobody saw it
        for frames, times in found.items():
            each = mine * times / found.total()
            part = part_of(frames)
            parts[part] += each
            place = _name(function_of(frames)), part
            functions[place] = functions.get(place, 0.0) + each
            if part == UNCLASSIFIED:
                strays[place[0]] = strays.get(place[0], 0.0) + each
            for name in {_name(frame) for frame in frames if frame.is_python and frame.is_ours}:
                calls[name] = calls.get(name, 0.0) + each
    return {
        "us": us,
        "samples": sum(each.total() for each in seen.values()),
        "waits": waits,
        "parts": [*parts.items()],
        "functions": [(name, part, each) for (name, part), each in _most(functions, _MOST)],
        "calls": _most(calls, 2 * _MOST),
        "unclassified": _most(strays, _MOST),
    }


def _most(found: Mapping[K, float], count: int) -> list[tuple[K, float]]:
    return sorted(found.items(), key=lambda item: -item[1])[:count]


def _name(frame: Frame) -> str:
    return f"{frame.file.removesuffix('.py').replace('/', '.')}:{frame.outer}"


def render_profile(found: Json) -> str:
    """Write it as text."""
    lines: list[str] = []
    for key, each in found["loads"].items():
        looks = f"{each['samples']} samples, {each['waits']} more of threads that waited"
        lines += [f"{key}: {each['us']:.1f} us, {each['watched_us']:.1f} us while it was looked at; {looks}"]
        lines += [_line(each, us, name) for name, us in each["parts"]]
        lines += ["  in no part that the table knows"]
        lines += [_line(each, us, name) for name, us in each["unclassified"]]
        lines += ["  by function, with what it calls in C"]
        lines += [_line(each, us, f"{name}  [{part}]") for name, part, us in each["functions"]]
        lines += ["  by function, with all that it calls"]
        lines += [*(_line(each, us, name) for name, us in each["calls"]), ""]
    return "\n".join(lines)


def _line(each: Json, us: float, name: str) -> str:
    return f"  {100 * us / each['us']:5.1f} %  {us:7.2f} us  {name}"
