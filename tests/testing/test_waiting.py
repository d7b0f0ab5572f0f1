"""What is said while something takes long."""

from __future__ import annotations

from io import StringIO
from threading import Event

import pytest

from whisperkit.testing.waiting import waiting


class Terminal(StringIO):
    """Keeps what was written, and lets one wait for more."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.came = Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.lines.append(text)
        self.came.set()
        return len(text)

    def next(self) -> None:
        """Wait until something is written."""
        assert self.came.wait(60)
        self.came.clear()


def test_how_far_it_is_stands_in_one_line_until_it_is_over() -> None:
    terminal = Terminal()
    said = iter(["10 faults left", "9 faults left"])
    last = "9 faults left"

    with waiting(lambda: next(said, last), stream=terminal, silent_s=0.0, every_s=0.0):
        while len(terminal.lines) < 2:
            terminal.next()

    assert terminal.lines[0] == "\r10 faults left"
    assert terminal.lines[1] == "\r9 faults left ", "nothing of the longer line is left"
    assert terminal.lines[-1] == "\r             \r"


def test_nothing_is_said_of_what_is_over_at_once() -> None:
    terminal = Terminal()

    with waiting(lambda: "never", stream=terminal, silent_s=3_600.0):
        pass

    assert terminal.lines == []


def test_nothing_is_said_where_nobody_looks() -> None:
    pipe = StringIO()

    with waiting(lambda: "never", stream=pipe, silent_s=0.0, every_s=0.0):
        pass

    assert pipe.getvalue() == ""


def interrupted(terminal: Terminal) -> None:
    with waiting(lambda: "far", stream=terminal, silent_s=0.0, every_s=0.0):
        terminal.next()
        raise KeyboardInterrupt


def test_an_error_in_the_block_takes_the_line_away() -> None:
    terminal = Terminal()

    with pytest.raises(KeyboardInterrupt):
        interrupted(terminal)

    assert terminal.lines[-1] == "\r   \r"
