"""Who is measured: the reference server and two forms of the bare relay, each a process on a core of its own.

The server is as the package is installed here, which is compiled if `make bench` did it; and once more as it stands in
`src`, where nothing is.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["EDGE", "INTERPRETED", "LOAD_CORE", "OURS", "RELAY", "Running", "launched", "on_load_core", "running"]

OURS: Final = "ours"
INTERPRETED: Final = "interpreted"
RELAY: Final = "relay"
EDGE: Final = "edge"

_ROOT: Final = Path(__file__).parents[3]
_LISTENING = re.compile(r"listening on (ws://127\.0\.0\.1:\d+)")
_CORES: Final = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
# The server has the first core for itself, and who plays against it the last one.
SERVER_CORE: Final = _CORES[0] if _CORES else None
LOAD_CORE: Final = _CORES[-1] if _CORES else None
_STOP_S: Final = 20.0
_FILES: Final = 65_536


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
    found_first = [_ROOT / "src", _ROOT] if who == INTERPRETED else [_ROOT]
    environ = {"PYTHONPATH": os.pathsep.join(map(str, found_first)), "WHISPERKIT_SERVER__BIND": "127.0.0.1:0"}
    with launched(_command(who, folder), folder, environ) as (process, log):
        assert process.stdout is not None  # it is a pipe
        found = _LISTENING.match(process.stdout.readline())
        if found is None:
            raise RuntimeError(f"{who} did not start: {log.read_text(encoding='utf-8')}")
        yield Running(f"{found[1]}/ws", process.pid)


@contextmanager
def launched(
    command: Sequence[str], folder: Path, environ: Mapping[str, str]
) -> Generator[tuple[subprocess.Popen[str], Path]]:
    """Run a command on the server's core, and stop it; with the file that has what it says on standard error."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WHISPERKIT_")}
    log = folder / "server.log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [*_pinned(SERVER_CORE), *command],
            cwd=folder,
            env={**inherited, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield process, log
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
    """Where the system lets nobody choose a core, the scheduler does. It may have many files: connections are some."""
    code = (
        "import os, resource, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); "
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (min({_FILES}, hard), hard)); "
        "os.execvp(sys.argv[2], sys.argv[2:])"
    )
    return [] if core is None else [sys.executable, "-c", code, str(core)]


def _command(who: str, folder: Path) -> list[str]:
    if who in (OURS, INTERPRETED):
        return [sys.executable, "-m", "examples", "serve"]
    edge = ["--edge"] if who == EDGE else []
    return [sys.executable, "-m", "tests.bench.server.relay", str(folder / "relay.db"), *edge]
