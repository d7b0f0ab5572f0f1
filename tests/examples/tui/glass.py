"""The client in a terminal of a certain size, which is tmux: what a person has before them."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.examples.processes import PATIENCE_S, environment

__all__ = ["Glass"]

# How often somebody looks, and how many times at least: a machine that stood still for a while may go on first.
_LOOK_S: Final = 0.05
_LOOKS: Final = 200
# No line of tmux's own, and what a program has left stays to be read.
_SETTINGS: Final = [
    ["set-option", "-g", "status", "off"],
    ["set-option", "-wg", "remain-on-exit", "on"],
    ["set-option", "-wgq", "remain-on-exit-format", ""],
]
# What the client ends with. That tmux says it, too, cannot be relied on: while it strikes the terminal off the list of
# those in use, by a program of its own, it hears of the end of no other. The trap is for the shell alone.
_RUN: Final = 'trap : INT; "$@"; echo $? >"$0"'


class Glass:
    """A terminal with the client in it.

    Args:
        arguments: Of ``python -m examples``.
        folder: Where it runs.
        columns: How wide it is.
        lines: How high it is.
        settings: Variables of its environment.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        columns: int = 100,
        lines: int = 30,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = dict(settings or {})
        # Not in a folder of pytest's: the path of a socket may not be long.
        self._home = tempfile.TemporaryDirectory(prefix="glass-")
        first = [word for setting in _SETTINGS for word in (*setting, ";")]
        size = [f"-x{columns}", f"-y{lines}"]
        self._ended_with = Path(self._home.name, "exit-code")
        client = ["sh", "-c", _RUN, str(self._ended_with), sys.executable, "-m", "examples", *arguments]
        self._tmux("start-server", ";", *first, "new-session", "-d", *size, "-c", str(folder), "--", *client)
        self._group = int(self._ask("#{pane_pid}"))

    @property
    def screen(self) -> str:
        """What is on it now."""
        return "\n".join(line.rstrip() for line in self._tmux("capture-pane", "-p").splitlines())

    def press(self, keys: str) -> None:
        """Press keys, as the bytes that a terminal sends for them."""
        self._tmux("send-keys", "-H", *(f"{byte:02x}" for byte in keys.encode()))

    def shows(self, *texts: str) -> None:
        """Wait until all of these are on the screen."""
        self.until(lambda: all(text in self.screen for text in texts), f"{texts}")

    def shows_no(self, text: str) -> None:
        """Wait until this is not on the screen any more."""
        self.until(lambda: text not in self.screen, f"no {text!r}")

    def until(self, holds: Callable[[], bool], what: str = "") -> None:
        """Look until something holds."""
        deadline = time.monotonic() + PATIENCE_S
        for look in itertools.count():
            # Before it is looked at for the last time.
            is_over = self._is_dark or (look >= _LOOKS and time.monotonic() > deadline)
            if holds():
                return
            if is_over:
                raise AssertionError(f"{what} was not shown:\n{self.screen}")
            time.sleep(_LOOK_S)

    def line(self, text: str) -> str:
        """The only line with a text."""
        (found,) = [line for line in self.screen.splitlines() if text in line]
        return found

    def become(self, columns: int, lines: int) -> None:
        """Have another size."""
        self._tmux("resize-window", f"-x{columns}", f"-y{lines}")

    def interrupt(self) -> None:
        """Interrupt it from outside."""
        os.killpg(self._group, signal.SIGINT)

    def end(self) -> int:
        """Look to the end; returns the exit code."""
        self.until(lambda: self._is_dark, "the end")
        return int(self._ended_with.read_text())

    def close(self) -> None:
        """End it, whatever it does."""
        if not self._is_dark:
            os.killpg(self._group, signal.SIGKILL)
        self._tmux("kill-server")
        self._home.cleanup()

    @property
    def _is_dark(self) -> bool:
        """Whether it has ended, and all that it wrote is here."""
        return self._ask("#{pane_dead}") == "1"

    def _ask(self, what: str) -> str:
        return self._tmux("display-message", "-p", what).strip()

    def _tmux(self, *arguments: str) -> str:
        """Do something with a server of one's own, which knows no settings of whoever runs this."""
        own = environment({"COLORTERM": "truecolor", "TZ": "UTC", **self._settings})
        own.pop("TMUX", None)
        done = subprocess.run(
            ["tmux", "-u", "-f", os.devnull, "-S", str(Path(self._home.name, "socket")), *arguments],
            env=own,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, f"tmux {arguments[0]}: {done.stderr}"
        return done.stdout
