"""The programs of examples/bot as processes: typed to, read line by line, and killed."""

from __future__ import annotations

import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.examples.processes import PATIENCE_S, environment
from tests.interop.install import FOLDER, node

__all__ = ["Program", "bot", "node_client"]

_EXAMPLES: Final = (sys.executable, "-m", "examples")


class Program:
    """A program that can be started again.

    Args:
        command: What it is.
        folder: Where it runs.
        settings: Variables of its environment.
        patience_s: How long what is waited for may take.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        folder: Path,
        *,
        settings: Mapping[str, str] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.lines: list[str] = []
        self._command = command
        self._folder = folder
        self._settings = settings
        self._patience_s = patience_s
        self._errors = folder / "errors.log"
        self._came: queue.Queue[str | None] = queue.Queue()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start it; what it said before it was killed is forgotten."""
        folder = self._folder
        folder.mkdir(parents=True, exist_ok=True)
        self.lines = []
        self._came = queue.Queue()
        with self._errors.open("a") as errors:
            self._process = subprocess.Popen(
                self._command,
                cwd=folder,
                env=environment(self._settings),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding="utf-8",
            )
        self._reader = threading.Thread(target=self._read, args=(self._process, self._came), daemon=True)
        self._reader.start()

    @staticmethod
    def _read(process: subprocess.Popen[str], came: queue.Queue[str | None]) -> None:
        assert process.stdout is not None  # a pipe was asked for
        for line in process.stdout:
            came.put(line.rstrip("\n"))
        came.put(None)

    def type(self, *lines: str) -> None:
        """Type lines, each with Enter."""
        assert self._process is not None, "it was not started"
        assert self._process.stdin is not None  # a pipe was asked for
        self._process.stdin.write("".join(f"{line}\n" for line in lines))
        self._process.stdin.flush()

    def until(self, line: str) -> None:
        """Read until it has said a line."""
        self.until_like(re.escape(line))

    def until_like(self, pattern: str) -> str:
        """Read until it has said a line of a pattern; returns the line."""
        expected = re.compile(pattern)
        deadline = time.monotonic() + self._patience_s
        while (line := next(filter(expected.fullmatch, self.lines), None)) is None:
            came = None
            if (left_s := deadline - time.monotonic()) > 0:  # also for one that never stops talking
                with suppress(queue.Empty):
                    came = self._came.get(timeout=left_s)
            said = "\n".join(self.lines[-20:])
            assert came is not None, f"{pattern!r} was not said; the last was\n{said}\n{self._errors.read_text()}"
            self.lines.append(came)
        return line

    def kill(self) -> None:
        """End it, whatever it does, as by a power cut."""
        if self._process is not None:
            self._process.kill()
            self._end()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and read the rest of what it says; returns the exit code."""
        assert self._process is not None, "it was not started"
        self._process.send_signal(number)
        return self._end()

    def wait(self) -> int:
        """Wait until it ends by itself; returns the exit code."""
        return self._end()

    def finish(self) -> int:
        """End its input, and read the rest of what it says; returns the exit code."""
        assert self._process is not None, "it was not started"
        assert self._process.stdin is not None  # a pipe was asked for
        self._process.stdin.close()
        return self._end()

    def _end(self) -> int:
        process, self._process = self._process, None
        assert process is not None  # who calls has looked
        assert self._reader is not None  # made with it
        code = process.wait(timeout=PATIENCE_S)
        self._reader.join()
        while not self._came.empty():  # nobody puts anything into it any more
            self.lines += filter(None, [self._came.get()])
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None  # both were asked for
            pipe.close()
        return code


def bot(folder: Path, url: str, *arguments: str, settings: Mapping[str, str] | None = None) -> Program:
    """`python -m examples bot pingbot`."""
    command = [*_EXAMPLES, "bot", "pingbot", f"--url={url}", "--data=.", *arguments]
    return Program(command, folder, settings=settings)


def node_client(folder: Path, url: str, *, source: Path = FOLDER, patience_s: float = PATIENCE_S) -> Program:
    """`node main.mjs alice pingbot`.

    Args:
        folder: Where it keeps everything.
        url: Of the server.
        source: Where the program is.
        patience_s: See `Program`.
    """
    command: list[str | Path] = [node(), source / "main.mjs", "alice", "pingbot", f"--url={url}", "--data=."]
    return Program(command, folder, patience_s=patience_s)
