"""What benchmarks need and nobody else does, installed one by one: what cannot be had keeps nothing else away.

Python packages are in the dependency group `bench` of `pyproject.toml`.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

__all__ = ["missing", "requirements", "tried"]

_ROOT: Final = Path(__file__).parents[2]
_TIMEOUT_S: Final = 300
_NAME: Final = re.compile(r"[\w.-]+")


def requirements() -> dict[str, str]:
    """What the group `bench` asks for, by the name of the package."""
    groups = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    return {_NAME.findall(requirement)[0]: requirement for requirement in groups["bench"]}


def missing(package: str, *, install: bool, target: str) -> str | None:
    """Why a package of the group is not there, or `None`.

    Args:
        package: Its name.
        install: Whether to install it if it is not.
        target: The target of make that would.
    """
    requirement = requirements()[package]
    if _is_there(requirement):
        return None
    return _pip(requirement) if install else f"{requirement} is not installed; `make {target}` installs it"


def tried(what: str, arguments: Sequence[str], *, environ: Mapping[str, str] | None = None) -> str | None:
    """Run a command, and say why it failed; `None` if it did not.

    Args:
        what: What could not be done then.
        arguments: The command.
        environ: Its environment, if it is another one.
    """
    try:
        subprocess.run(
            arguments,
            cwd=_ROOT,
            env=environ,
            check=True,
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    except subprocess.CalledProcessError as error:
        lines = [line for line in str(error.stderr).splitlines() if line.strip()]
        return f"{what}: {lines[-1] if lines else error}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{what}: {error}"
    importlib.invalidate_caches()  # this process has looked for it before
    return None


def _is_there(requirement: str) -> bool:
    _, _, fixed = requirement.partition("==")
    try:
        found = version(_NAME.findall(requirement)[0])
    except PackageNotFoundError:
        return False
    return found == (fixed or found)


def _pip(requirement: str) -> str | None:
    # Wheels only: a peer that had to be compiled would be another one on each machine.
    options = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    return tried(f"{requirement} cannot be installed", [sys.executable, "-m", "pip", "install", *options, requirement])
