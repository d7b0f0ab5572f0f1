"""The same targets, steered by coverage: an input that reaches new lines is kept and changed further.

    python -m tests.fuzz.guided --inputs 1000000

It needs `atheris`, which comes with the dependency group `fuzz` on Linux with x86-64; elsewhere it says so and ends
well. Each target runs in a process of its own, as libFuzzer wants it; the first input that fails is printed by it and
makes the exit code 1.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["is_available", "main"]

_SEEDS = 64
# Above what samples have, and far below what would slow it down.
_MAX_BYTES = 4_096


def is_available() -> bool:
    """Whether there is an `atheris` to steer with."""
    return importlib.util.find_spec("atheris") is not None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every target, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="how many for each target")
    parser.add_argument("--only", default="", help="names of targets, with commas; without it all of them")
    parser.add_argument("--target", help=argparse.SUPPRESS)
    parser.add_argument("--corpus", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not is_available():
        print("not steered by coverage: atheris is not installed; it exists for Linux on x86-64")
        return 0
    if options.target:
        return _run(options.target, options.corpus, options.inputs)
    from tests.fuzz.fuzz import chosen

    names = [target.name for target in chosen(options.only)]
    return max(_spawn(name, options.inputs) for name in names)


def _spawn(name: str, inputs: int) -> int:
    with tempfile.TemporaryDirectory() as corpus:
        command = [sys.executable, "-m", "tests.fuzz.guided", "--target", name, "--corpus", corpus]
        ended = subprocess.run([*command, "--inputs", str(inputs)], capture_output=True, text=True, check=False)
    if ended.returncode:
        print(f"FAIL {name}\n{ended.stdout}{ended.stderr[-4_000:]}")
        return 1
    *_, last = [line for line in ended.stderr.splitlines() if "DONE" in line] or ["no line of libFuzzer"]
    print(f"{name:24} {' '.join(last.split()[2:8])}", flush=True)
    return 0


def _run(name: str, corpus: str, inputs: int) -> int:
    """One target in this process, which ends here."""
    atheris: Any = importlib.import_module("atheris")  # without types, and absent on most machines
    with atheris.instrument_imports(include=["whisperkit", "msgpack", "json"]):
        from tests.fuzz.fuzz import chosen
        from tests.fuzz.target import verdict
    (target,) = chosen(name)
    rng = random.Random(1)
    for number in range(_SEEDS):
        Path(corpus, str(number)).write_bytes(target.sample(rng))

    def one(data: bytes) -> None:
        verdict(target, data)

    options = [f"-runs={inputs}", "-seed=1", f"-max_len={_MAX_BYTES}", "-verbosity=1", "-print_final_stats=0"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={corpus}/", corpus], one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
