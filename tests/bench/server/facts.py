"""What the figures of the server hang on, beside the machine: versions, and how long the disk takes to sync."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from typing import Final

from tests.bench.machine import facts
from tests.compiled import IS_COMPILED

__all__ = ["cpu_s", "cpu_s_of_threads", "memory", "server_facts", "sync_ms", "wanted_s"]

_LIBRARIES: Final = ("uvloop", "websockets", "msgpack")
_SYNCS: Final = 50
_BLOCK: Final = os.urandom(4096)
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def server_facts() -> dict[str, str]:
    """The machine in words, and all versions that matter."""
    libraries = {name: version(name) for name in _LIBRARIES}
    form = "compiled" if IS_COMPILED else "interpreted"
    return {**facts(), "whisperkit": form, "kernel": platform.release(), "SQLite": sqlite3.sqlite_version, **libraries}


def sync_ms(folder: Path) -> float:
    """Milliseconds until 4 KiB that were appended are on the disk of this folder: the median of some."""
    took: list[float] = []
    with TemporaryFile(dir=folder) as file:
        for _ in range(_SYNCS):
            began = time.perf_counter()
            os.write(file.fileno(), _BLOCK)
            os.fsync(file.fileno())
            took.append(1e3 * (time.perf_counter() - began))
    return round(median(took), 3)


def cpu_s(pid: int) -> float:
    """CPU time of a process so far: all its threads, in user mode and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def wanted_s() -> float:
    """Seconds in which this thread ran, or would have if it had been given the core: what others take counts."""
    ran, waited, _ = Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()
    return (int(ran) + int(waited)) / 1e9


def cpu_s_of_threads(pid: int) -> dict[int, float]:
    """CPU time of each thread that is there, by its number."""
    found: dict[int, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with _may_end():
            found[int(task.name)] = int((task / "schedstat").read_text(encoding="ascii").split()[0]) / 1e9
    return found


@contextmanager
def _may_end() -> Generator[None]:
    """A thread may end while it is looked at."""
    try:
        yield
    except (FileNotFoundError, ProcessLookupError):
        return


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE
