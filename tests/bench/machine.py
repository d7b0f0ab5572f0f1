"""What a run stands on: the machine, the interpreter, the revision."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["facts", "load_average"]

_ROOT: Final = Path(__file__).parents[2]
_CPUINFO: Final = Path("/proc/cpuinfo")


def facts() -> dict[str, str]:
    """The machine in words, for the table and for whoever compares two of them."""
    return {
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}, {_whose_python()}",
        "revision": revision(),
    }


def _whose_python() -> str:
    """Distributions build theirs with profile-guided optimisation; whoever builds one, often without."""
    return "the distribution's" if sys.base_prefix == "/usr" else "not the distribution's"


def load_average() -> float | None:
    """How many processes wanted to run in the last minute; `None` where the system does not say."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def processor() -> str:
    """The model of the processor."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown"


def revision() -> str:
    """The commit that is checked out, and whether the source differs from it."""
    head = _git("rev-parse", "--short", "HEAD")
    if head is None:
        return "unknown"
    return f"{head} with changes" if _git("status", "--porcelain", "--", "src") else head


def _git(*arguments: str) -> str | None:
    try:
        run = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()
