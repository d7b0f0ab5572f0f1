"""What takes long shows that it goes on, where somebody looks; what does not, says nothing."""

from __future__ import annotations

import threading
from io import StringIO

import pytest
from rich.console import Console

from examples.waiting import waiting
from tests.examples.processes import PATIENCE_S


class Seen(StringIO):
    """A stream that tells when something is written."""

    def __init__(self) -> None:
        super().__init__()
        self.is_written = threading.Event()

    def write(self, text: str) -> int:
        self.is_written.set()
        return super().write(text)


def terminal(stream: StringIO, *, no_color: bool = False) -> Console:
    return Console(file=stream, force_terminal=True, width=60, no_color=no_color, _environ={"TERM": "xterm"})


def test_a_bar_says_what_is_waited_for_and_how_much_is_there_and_goes_with_it() -> None:
    stream = Seen()

    with waiting("sending [2]", total=5, console=terminal(stream), silent_s=0.0) as advance:
        advance(3)
        assert stream.is_written.wait(PATIENCE_S)

    assert "sending [2]" in stream.getvalue()
    assert "/5" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K"), "the line is empty again"


def test_what_is_plain_is_one_whole_line() -> None:
    stream = Seen()

    with waiting("opening alice.1", is_plain=True, console=terminal(stream), silent_s=0.0):
        assert stream.is_written.wait(PATIENCE_S)

    assert stream.getvalue() == "opening alice.1 ...\n"


def test_what_is_short_and_what_nobody_looks_at_say_nothing() -> None:
    stream = Seen()

    with waiting("opening", console=terminal(stream), silent_s=PATIENCE_S):
        pass
    with waiting("opening", console=Console(file=stream), silent_s=0.0):
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join()

    assert stream.getvalue() == ""


def test_without_colours_there_is_a_bar_all_the_same() -> None:
    stream = Seen()

    with waiting("opening", console=terminal(stream, no_color=True), silent_s=0.0):
        assert stream.is_written.wait(PATIENCE_S)

    assert "opening" in stream.getvalue()
    assert "\x1b[3" not in stream.getvalue()


def test_an_error_in_the_block_goes_on_and_takes_the_bar_with_it() -> None:
    stream = Seen()

    def fail() -> None:
        with waiting("opening", console=terminal(stream), silent_s=0.0):
            assert stream.is_written.wait(PATIENCE_S)
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        fail()

    assert stream.getvalue().endswith("\x1b[2K")
