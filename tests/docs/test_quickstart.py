"""The quickstart, played as its reader would: a server, two clients, and what each of them prints."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tutorials" / "quickstart.md").read_text(encoding="utf-8")
PATIENCE_S = 20

SESSION = re.compile(r"^```\{code-block\} none\n:caption: ([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Part(NamedTuple):
    """What happens in one terminal, and where on the page."""

    terminal: str
    lines: list[str]
    at: int


PARTS = [Part(m[1], m[2].splitlines(), m.start()) for m in SESSION.finditer(PAGE)]


class Terminal:
    """A program, what it prints, and somebody who types."""

    def __init__(self, program: subprocess.Popen[str]) -> None:
        self._program = program
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(_pipe(program.stdout),))
        self._reader.start()

    def _read(self, output: IO[str]) -> None:
        for line in output:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def play(self, lines: list[str]) -> None:
        """Type what is to be typed, and wait for what is to be printed; other lines may come in between."""
        for line in lines:
            if line.startswith("> "):
                _pipe(self._program.stdin).write(line[2:] + "\n")
                _pipe(self._program.stdin).flush()
            else:
                self.await_line(line)

    def await_line(self, expected: str) -> str:
        pattern = re.sub(r"^\d\d:\d\d", r"\\d\\d:\\d\\d", re.escape(expected)).replace(re.escape("..."), ".*")
        seen: list[str | None] = []
        while None not in seen:
            try:
                seen.append(self._lines.get(timeout=PATIENCE_S))
            except queue.Empty:
                break
            if re.fullmatch(pattern, line := seen[-1] or ""):
                return line
        raise AssertionError(f"{expected!r} did not come, but {seen}")

    def end(self) -> None:
        """Say that nothing more is typed, press Ctrl-C, and wait."""
        _pipe(self._program.stdin).close()
        self._program.send_signal(signal.SIGINT)
        try:
            self._program.wait(PATIENCE_S)
        finally:
            self._program.kill()
            self._reader.join()
            _pipe(self._program.stdout).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@contextmanager
def terminal(folder: Path, *arguments: str, bind: str = "127.0.0.1:0") -> Generator[Terminal]:
    """Run a command of the examples in a terminal of its own."""
    with (folder / "log").open("ab") as log:
        program = subprocess.Popen(
            [sys.executable, "-m", "examples", *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "WHISPERKIT_SERVER__BIND": bind, "WHISPERKIT_KEY": "5e" * 32},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
        )
    running = Terminal(program)
    try:
        yield running
    finally:
        running.end()


@contextmanager
def server(folder: Path, *, bind: str = "127.0.0.1:0") -> Generator[str]:
    """Run the server, until it says where it listens; returns that."""
    with terminal(folder, "serve", bind=bind) as running:
        line = running.await_line(PARTS[0].lines[0].replace("127.0.0.1:8080", "..."))
        yield line.removeprefix("listening on ws://").partition(" ")[0]


def test_every_session_of_the_page_is_played() -> None:
    assert len(PARTS) == PAGE.count("```{code-block}")
    assert {part.terminal for part in PARTS} == {"The server", "Bob", "Alice"}


def test_the_quickstart_goes_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    stopped_at, restarted_at = PAGE.index("Press Ctrl-C"), PAGE.index("Start it again")
    chat = ("--plain", "--url")
    with ExitStack() as first, ExitStack() as clients:
        host = first.enter_context(server(tmp_path))
        terminals = {
            name: clients.enter_context(terminal(tmp_path, "chat", name.lower(), *chat, f"ws://{host}/ws"))
            for name in ("Bob", "Alice")
        }

        def play(start: int, stop: int) -> None:
            for part in PARTS[1:]:
                if start <= part.at < stop:
                    terminals[part.terminal].play(part.lines)

        play(0, stopped_at)
        first.close()
        play(stopped_at, restarted_at)
        with server(tmp_path, bind=host):
            play(restarted_at, len(PAGE))
