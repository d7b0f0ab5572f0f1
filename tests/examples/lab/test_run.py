"""The command from outside: what it says, how it ends, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from examples.exits import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNAVAILABLE
from examples.lab import run as lab_run
from tests.examples.processes import PATIENCE_S, Terminal, environment

LINE: Final = re.compile(r"open (http://127\.0\.0\.1:(\d+)) \(two phones and the server between them\)\n")


@contextmanager
def running(folder: Path, arguments: Sequence[str] = ("--port", "0")) -> Generator[subprocess.Popen[str]]:
    """`python -m examples lab`, with its temporary folders in a folder of the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "examples", "lab", *arguments],
        env=environment({"TMPDIR": str(folder)}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def folder() -> Generator[Path]:
    """A short one: the path of a socket is."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        yield Path(folder)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None  # a pipe was asked for
    return process.stdout.readline()


def server_of(folder: Path) -> int:
    """The pid of the server that runs for a lab: that of whoever has its database open."""
    (database,) = folder.rglob("server.db")
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                opened = [str(one.readlink()) for one in (entry / "fd").iterdir()]
            except OSError:
                continue  # it has ended, or is somebody else's
            if str(database) in opened:
                return int(entry.name)
    raise AssertionError("no server runs")


def is_gone(pid: int) -> bool:
    """Whether a process ends in time, which nobody here is the parent of."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, EXIT_INTERRUPTED), (signal.SIGTERM, EXIT_OK)])
def test_it_says_where_the_page_is_and_leaves_nothing_behind(folder: Path, number: signal.Signals, code: int) -> None:
    with running(folder) as process:
        found = LINE.fullmatch(first_line(process))
        assert found is not None
        page = httpx.get(found[1], trust_env=False)
        server = server_of(folder)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)

        assert page.status_code == 200
        assert (process.returncode, out, err) == (code, "", "")
        assert is_gone(server)
        assert list(folder.iterdir()) == []


def test_ctrl_c_in_a_terminal_reaches_the_server_too_and_all_ends_well(folder: Path) -> None:
    terminal = Terminal(["lab", "--port", "0"], folder, {"TMPDIR": str(folder)})
    try:
        terminal.until(LINE.pattern.rstrip())
        server = server_of(folder)
        terminal.press(b"\x03")

        assert terminal.end() == EXIT_INTERRUPTED
        assert "Traceback" not in terminal.screen
        assert is_gone(server)
        assert list(folder.iterdir()) == []
    finally:
        terminal.close()


def test_a_lab_that_is_killed_takes_its_server_along(folder: Path) -> None:
    with running(folder) as process:
        assert LINE.fullmatch(first_line(process))
        server = server_of(folder)
        process.kill()

        assert is_gone(server)


def test_a_port_that_is_taken_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(folder, ["--port", f"{port}"]) as process:
            out, err = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == EXIT_UNAVAILABLE
    assert out == ""
    assert err.splitlines() == [
        f"cannot serve the lab: 127.0.0.1:{port}: Address already in use",
        "    note: --port takes another one, and 0 any that is free",
    ]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--port", "65536"], ["--port", "http"], ["--seed", "-1"], ["--seed", "1e9"]])
def test_what_is_no_port_or_seed_is_wrong_usage(arguments: list[str], folder: Path) -> None:
    with running(folder, arguments) as process:
        _, err = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 2
    assert arguments[0] in err


def test_a_lab_that_does_not_come_up_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("WHISPERKIT_SERVER__PROFILE", "clustered")

    assert lab_run.run_lab(port=0, seed=1) == EXIT_FAILED
    said, note = capsys.readouterr().err.splitlines()
    (kept,) = folder.iterdir()
    assert said == f"the lab did not come up: the server ended with code 78; see {kept}/server/server.log"
    assert note == f"    note: the logs are in {kept}"
    assert 'profile must be "embedded", got "clustered"' in (kept / "server" / "server.log").read_text()
