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

import pytest

from tests.interop.install import FOLDER, PACKAGE, VERSION
from tests.interop.peer import Peer
from tests.interop.sides import Ours, Theirs, Transcript
from whisperkit.ids import DeviceId

MakeOurs = Callable[[str], Ours]
MakeTheirs = Callable[[str], Theirs]

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
    if not (FOLDER / "node_modules" / PACKAGE).is_dir():
        reason = f"{PACKAGE} is not installed in {FOLDER}; `make interop` installs it"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    peer = Peer()
    version = peer.ask("about")["version"]
    peer.close()
    assert version == VERSION
    return VERSION


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
    return lambda name: Ours(DeviceId.named(name, rng.randint(1, 127)), rng=rng, transcript=transcript)


@pytest.fixture
def make_theirs(official: str, rng: Random, transcript: Transcript) -> Iterator[MakeTheirs]:
    made: list[Theirs] = []

    def make(name: str) -> Theirs:
        device_id = DeviceId.named(name, rng.randint(1, 127))
        made.append(Theirs(device_id, registration_id=rng.randint(1, 16_380), transcript=transcript))
        return made[-1]

    yield make
    for theirs in made:
        theirs.close()


@pytest.fixture
def ours(make_ours: MakeOurs) -> Ours:
    return make_ours("ours")


@pytest.fixture
def theirs(make_theirs: MakeTheirs) -> Theirs:
    return make_theirs("theirs")


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
