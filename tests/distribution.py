"""What is given to users: the wheel and the sdist, built from this tree, and environments that hold nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from typing import Final

__all__ = ["UNREACHABLE", "build_sdist", "build_wheel", "install", "new_environment", "unpack"]

ROOT: Final = Path(__file__).parent.parent
UNREACHABLE: Final = "pip cannot reach a registry, from which the dependencies of the wheel would come"

_PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check")
# Something small that pip can find if it can find anything; it is not installed.
_PROBE: Final = ("install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--no-cache-dir", "attrs")


def build_wheel(folder: Path, *, source: Path = ROOT) -> Path:
    """Build the wheel into a folder, and tell where it is."""
    return _build("wheel", folder, source)


def build_sdist(folder: Path) -> Path:
    """Build the source distribution into a folder, and tell where it is."""
    return _build("sdist", folder, ROOT)


def _build(kind: str, folder: Path, source: Path) -> Path:
    program = f"from hatchling.build import build_{kind}; print(build_{kind}({str(folder)!r}))"
    run = subprocess.run([sys.executable, "-c", program], cwd=source, check=True, stdout=subprocess.PIPE, text=True)
    return folder / run.stdout.split()[-1]


def unpack(sdist: Path, folder: Path) -> Path:
    """Unpack a source distribution into a folder, and tell where its tree is."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return folder / sdist.name.removesuffix(".tar.gz")


def new_environment(folder: Path) -> Path:
    """Make a virtual environment in which nothing is installed; returns its interpreter."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install(requirement: str, python: Path) -> bool:
    """Install something, with its dependencies, where an interpreter finds it.

    Args:
        requirement: As pip takes it: the path of a wheel, with extras in brackets if wanted.
        python: The interpreter.

    Returns:
        `False` if that failed and pip cannot reach a registry at all.

    Raises:
        AssertionError: It failed for another reason.
    """
    command = [*_PIP, "--python", str(python), "install", "--quiet", requirement]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode == 0:
        return True
    is_reachable = subprocess.run([*_PIP, *_PROBE], capture_output=True, check=False).returncode == 0
    assert not is_reachable, run.stderr
    return False
