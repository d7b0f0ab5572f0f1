"""The client in a pseudo-terminal of a certain size, seen through an emulator: what a person has before them."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Condition, Thread
from typing import Final, Protocol, cast

import pyte

from tests.examples.processes import PATIENCE_S, environment

__all__ = ["Glass"]

_TAKE_TERMINAL: Final = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class _Screen(Protocol):
    """What is used of a screen of pyte, which has no types."""

    display: list[str]

    def resize(self, lines: int, columns: int) -> None: ...


class _Stream(Protocol):
    def feed(self, data: bytes) -> None: ...


class Glass:
    """A terminal with the client in it.

    Args:
        arguments: Of ``python -m examples``.
        folder: Where it runs.
        columns: How wide it is.
        lines: How high it is.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, *, columns: int = 100, lines: int = 30) -> None:
        # The calls into pyte: it has no annotations, and `_Screen` and `_Stream` say what is relied on.
        make_screen = cast("Callable[[int, int], _Screen]", pyte.Screen)
        make_stream = cast("Callable[[_Screen], _Stream]", pyte.ByteStream)
        self._screen = make_screen(columns, lines)
        self._stream = make_stream(self._screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, sys.executable, "-m", "examples", *arguments],
            cwd=folder,
            env=environment({"TERM": "xterm-256color", "COLORTERM": "truecolor", "TZ": "UTC"}),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._seen = Condition()
        self._is_dark = False
        self._reader = Thread(target=self._read, name="glass", daemon=True)
        self._reader.start()

    @property
    def screen(self) -> str:
        """What is on it now."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    def press(self, keys: str) -> None:
        """Press keys, as the bytes that a terminal sends for them."""
        os.write(self._master, keys.encode())

    def shows(self, *texts: str) -> None:
        """Wait until all of these are on the screen."""
        self.until(lambda: all(text in self.screen for text in texts), f"{texts}")

    def shows_no(self, text: str) -> None:
        """Wait until this is not on the screen any more."""
        self.until(lambda: text not in self.screen, f"no {text!r}")

    def until(self, holds: Callable[[], bool], what: str = "") -> None:
        """Look until something holds."""
        deadline = time.monotonic() + PATIENCE_S
        with self._seen:
            while not holds():
                left = deadline - time.monotonic()
                if left <= 0 or self._is_dark:
                    raise AssertionError(f"{what} was not shown:\n{self.screen}")
                self._seen.wait(left)

    def line(self, text: str) -> str:
        """The only line with a text."""
        (found,) = [line for line in self.screen.splitlines() if text in line]
        return found

    def become(self, columns: int, lines: int) -> None:
        """Have another size."""
        with self._seen:  # and nobody writes on it meanwhile
            self._screen.resize(lines, columns)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def interrupt(self) -> None:
        """Interrupt it from outside."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Look to the end; returns the exit code."""
        self.until(lambda: self._is_dark, "the end")
        return self._process.wait(timeout=PATIENCE_S)

    def close(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        os.close(self._master)

    def _read(self) -> None:
        """A program whose terminal is not read comes to a stop, also while somebody looks at another one."""
        while True:
            try:
                data = os.read(self._master, 65_536)
            except OSError:  # nobody has the other end any more
                data = b""
            with self._seen:
                self._stream.feed(data)
                self._is_dark = not data
                self._seen.notify_all()
            if not data:
                return
