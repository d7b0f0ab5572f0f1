"""Real processes for tests from the outside: the server, and a client in a terminal of its own."""

from __future__ import annotations

import codecs
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["PATIENCE_S", "Server", "Terminal", "environment"]

# For tests that fail: nothing waits that long in one that passes.
PATIENCE_S: Final = 60.0
_NOT_PASSED_ON: Final = ("WHISPERKIT_", "COLUMNS", "LINES")
_ROOT: Final = Path(__file__).parents[2]
_EXAMPLES: Final = [sys.executable, "-m", "examples"]
# Ctrl-C reaches whoever has the terminal as its own, and does not ignore it, as what a script starts with "&" does.
_TAKE_TERMINAL: Final = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """That of a process that finds the examples from any folder, with these settings and no others.

    Devices open with a key, unless it is set to nothing: then a passphrase is asked for. The size of the terminal in
    which the tests run is not that of the ones which they open.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED_ON)}
    return {**kept, "PYTHONPATH": str(_ROOT), "PYTHONUTF8": "1", "WHISPERKIT_KEY": "5e" * 32, **(settings or {})}


class Server:
    """`python -m examples serve` in a folder of its own.

    Args:
        folder: Where it keeps everything.
        settings: Variables of its environment; the port is a free one if none is named.
        command: Another program.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, str] | None = None, command: Sequence[str] = ("serve",)
    ) -> None:
        self.folder = folder
        self.port = 0
        self.log = folder / "server.log"
        self._settings = dict(settings or {})
        self._command = command
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None, "the server was not started"
        return self._process

    def start(self) -> str:
        """Start on the port of before; returns the line that it says once it listens."""
        bind = {"WHISPERKIT_SERVER__BIND": f"127.0.0.1:{self.port}"}
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [*_EXAMPLES, *self._command],
                cwd=self.folder,
                env=environment({**bind, **self._settings}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None  # a pipe was asked for
        line = self._process.stdout.readline()
        found = re.match(r"listening on ws://127\.0\.0\.1:(\d+) ", line)
        assert found is not None, f"{line!r}\n{self.log.read_text()}"
        self.port = int(found[1])
        return line.strip()

    def ask_to_stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self) -> tuple[int, str]:
        """Wait for its end; returns the exit code and what it said since it listened."""
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out

    def stop(self) -> tuple[int, str]:
        self.ask_to_stop()
        return self.wait()

    def kill(self) -> None:
        """End it, whatever it does, as by a power cut."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None  # a pipe was asked for
            self._process.stdout.close()


class Terminal:
    """`python -m examples` in a pseudo-terminal: typed to, and read as a person would.

    Args:
        arguments: Of the program.
        folder: Where it runs.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self._master, slave = pty.openpty()
        self._text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._read_upto = 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *_EXAMPLES, *arguments],
            cwd=folder,
            env=environment(settings),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    @property
    def screen(self) -> str:
        """All that was on it."""
        return self._text

    def type(self, *lines: str) -> None:
        """Type lines, each with Enter."""
        for line in lines:
            os.write(self._master, f"{line}\n".encode())

    def press(self, key: bytes) -> None:
        """Press a key, such as Ctrl-C."""
        os.write(self._master, key)

    def until(self, pattern: str) -> re.Match[str]:
        """Read until a pattern is there, behind what was found before."""
        expected = re.compile(pattern)
        deadline = time.monotonic() + PATIENCE_S
        while (found := expected.search(self._text, self._read_upto)) is None:
            assert self._more(deadline), f"{pattern!r} was not shown:\n{self._text}"
        self._read_upto = found.end()
        return found

    def end(self) -> int:
        """Read to the end; returns the exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self._more(deadline):
            pass
        try:
            return self._process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the program did not end:\n{self._text}") from None

    def close(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def _more(self, deadline: float) -> bool:
        """Read some; false at the end, or when it took too long."""
        if not select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # nobody has the other end any more
            return False
        self._text += self._decoder.decode(data).replace("\r", "")
        return bool(data)
