"""What the tests against the official library share: devices of both kinds, one seed, and what a failure shows.

`make interop` runs them; `SEED=n make interop` makes the same choices again. The official library draws its own
randomness, so the bytes differ from run to run: those of a failed test are written to build/interop.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from random import Random, SystemRandom
from typing import NamedTuple

import pytest

from tests.interop.install import FOLDER, PACKAGE, VERSION, is_installed, node
from tests.interop.peer import Peer
from tests.interop.sides import Ours, Side, Theirs, Transcript
from tests.missing import do_without
from whisperkit.ids import DeviceId
from whisperkit.ratchet import CiphertextMessage

MakeOurs = Callable[[DeviceId], Ours]
MakeTheirs = Callable[[DeviceId], Theirs]

_TRANSCRIPTS = Path(__file__).parents[2] / "build" / "interop"
_SHOWN_EVENTS = 6


def pytest_configure(config: pytest.Config) -> None:
    # In the environment, because the workers that run the tests are processes of their own.
    os.environ.setdefault("SEED", str(SystemRandom().randrange(1_000_000)))


def pytest_report_header(config: pytest.Config) -> str:
    return f"interop: SEED={os.environ['SEED']}, against {PACKAGE} {VERSION}"


@pytest.fixture(scope="session")
def official() -> str:
    """The version of the official library, which is there; or the test is skipped, and on CI it fails."""
    if not is_installed():
        do_without(f"{PACKAGE} is not installed in {FOLDER}; `make interop` installs it")
    peer = Peer()
    version = peer.ask("about")["version"]
    peer.close()
    assert version == VERSION
    return VERSION


@pytest.fixture(scope="session")
def nodejs() -> Path:
    """The program `node`, which is there; or the test is skipped, and on CI it fails."""
    try:
        return node()
    except ImportError:
        do_without("Node.js is not installed; `make interop` installs it")


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> Random:
    """The choices of one test: the same for one seed, whatever other tests run."""
    return Random(f"{os.environ['SEED']} {request.node.nodeid}")


@pytest.fixture
def transcript(request: pytest.FixtureRequest) -> Transcript:
    made = Transcript()
    request.node.stash[_TRANSCRIPT] = made
    return made


@pytest.fixture
def make_ours(rng: Random, transcript: Transcript) -> MakeOurs:
    return lambda device_id: Ours(device_id, rng=rng, transcript=transcript)


@pytest.fixture
def make_theirs(official: str, rng: Random, transcript: Transcript) -> Iterator[MakeTheirs]:
    made: list[Theirs] = []

    def make(device_id: DeviceId) -> Theirs:
        made.append(Theirs(device_id, registration_id=rng.randint(1, 16_380), transcript=transcript))
        return made[-1]

    yield make
    for theirs in made:
        theirs.close()


@pytest.fixture
def ours(make_ours: MakeOurs, rng: Random) -> Ours:
    return make_ours(DeviceId.named("ours", rng.randint(1, 127)))


@pytest.fixture
def theirs(make_theirs: MakeTheirs, rng: Random) -> Theirs:
    return make_theirs(DeviceId.named("theirs", rng.randint(1, 127)))


class Sides(NamedTuple):
    """Two devices, one of either library, each in its role: Alice begins, Bob answers."""

    alice: Side
    bob: Side


@pytest.fixture(params=["ours begins", "theirs begins"])
def sides(request: pytest.FixtureRequest, ours: Ours, theirs: Theirs) -> Sides:
    return Sides(ours, theirs) if request.param == "ours begins" else Sides(theirs, ours)


def begin(alice: Side, bob: Side, *, one_time: bool = True) -> None:
    """Begin a session from a fresh bundle."""
    alice.begin(bob.bundle(one_time=one_time), remote=bob.id)


def converse(alice: Side, bob: Side) -> None:
    """Begin a session, and let both be heard in it."""
    begin(alice, bob)
    tell(alice, bob, b"hello")
    tell(bob, alice, b"hi")


def tell(sender: Side, receiver: Side, plaintext: bytes) -> CiphertextMessage:
    """Write a message, and let it arrive."""
    message = sender.encrypt(plaintext, remote=receiver.id)
    assert receiver.decrypt(message, sender=sender.id) == plaintext
    return message


# ---- what is shown when they differ ---------------------------------------------------------------------------------

_TRANSCRIPT = pytest.StashKey[Transcript]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    transcript = item.stash.get(_TRANSCRIPT, None)
    if report.when == "call" and report.failed and transcript is not None:
        path = _TRANSCRIPTS / (re.sub(r"[^A-Za-z0-9_]+", "-", item.name) + ".jsonl")
        transcript.write(path)
        last = "\n".join(map(str, transcript.events[-_SHOWN_EVENTS:]))
        report.sections.append(("interop", f"SEED={os.environ['SEED']}\nall events: {path}\n{last}"))
    return report
