"""Who is measured: the reference server and two forms of the bare relay, each a process on a core of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["EDGE", "LOAD_CORE", "OURS", "RELAY", "Running", "running"]

OURS: Final = "ours"
RELAY: Final = "relay"
EDGE: Final = "edge"

_ROOT: Final = Path(__file__).parents[3]
_LISTENING = re.compile(r"listening on (ws://127\.0\.0\.1:\d+)")
_CORES: Final = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
# The server has the first core for itself, and who plays against it the last one.
SERVER_CORE: Final = _CORES[0] if _CORES else None
LOAD_CORE: Final = _CORES[-1] if _CORES else None
_STOP_S: Final = 20.0


class Running(NamedTuple):
    """A server.

    Attributes:
        url: Where it listens.
        pid: Its process.
    """

    url: str
    pid: int


@contextmanager
def running(who: str, folder: Path) -> Generator[Running]:
    """Start one of them with its database in a folder, and stop it.

    Raises:
        RuntimeError: It did not start.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith("WHISPERKIT_")}
    environ |= {"PYTHONPATH": str(_ROOT), "WHISPERKIT_SERVER__BIND": "127.0.0.1:0"}
    log = folder / f"{who}.log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [*_pinned(SERVER_CORE), *_command(who, folder)],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None  # a pipe was asked for
    try:
        found = _LISTENING.match(process.stdout.readline())
        if found is None:
            raise RuntimeError(f"{who} did not start: {log.read_text(encoding='utf-8')}")
        yield Running(f"{found[1]}/ws", process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def on_load_core(command: Sequence[str]) -> list[str]:
    """A command, run on the core of the load."""
    return [*_pinned(LOAD_CORE), *command]


def _pinned(core: int | None) -> list[str]:
    """Where the system lets nobody choose a core, the scheduler does."""
    code = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execvp(sys.argv[2], sys.argv[2:])"
    return [] if core is None else [sys.executable, "-c", code, str(core)]


def _command(who: str, folder: Path) -> list[str]:
    if who == OURS:
        return [sys.executable, "-m", "examples", "serve"]
    edge = ["--edge"] if who == EDGE else []
    return [sys.executable, "-m", "tests.bench.server.relay", str(folder / "relay.db"), *edge]
