"""A bar on standard error while something takes longer than a second, and no word of what does not.

There is none in a pipe, nor where rich is missing, as where `doctor` may run. Rich heeds `NO_COLOR`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Lock, Timer
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["SILENT_S", "waiting"]

SILENT_S: Final = 1.0


@contextmanager
def waiting(
    what: str,
    *,
    total: int | None = None,
    is_plain: bool = False,
    console: Console | None = None,
    silent_s: float = SILENT_S,
) -> Generator[Callable[[int], None]]:
    """Show that the block goes on, if it does so for long.

    Args:
        what: Is waited for.
        total: How much there will be; `None` for a bar that only says that it goes on.
        is_plain: One whole line in place of a bar: for screen readers.
        console: Where to; standard error if none is named.
        silent_s: How long nothing is shown.

    Yields:
        A function that takes how much of it is there.
    """
    sign = _Sign(what, total, console, is_plain=is_plain)
    timer = Timer(silent_s, sign.show)
    timer.daemon = True
    timer.start()
    try:
        yield sign.advance
    finally:
        timer.cancel()
        sign.hide()


class _Sign:
    """What is shown, perhaps; the timer shows it in a thread of its own, when the block may be over."""

    def __init__(self, what: str, total: int | None, console: Console | None, *, is_plain: bool) -> None:
        self._what = what
        self._total = total
        self._console = console
        self._is_plain = is_plain
        self._count = 0
        self._lock = Lock()
        self._is_over = False
        self._bar: Progress | None = None

    def show(self) -> None:
        """It takes long."""
        try:
            from rich.console import Console  # only now: most blocks are short, and the import is not
        except ImportError:
            return
        console = self._console or Console(stderr=True)
        with self._lock:
            if self._is_over or not console.is_terminal:
                return
            if self._is_plain or console.is_dumb_terminal:
                console.print(f"{self._what} ...", markup=False, highlight=False, soft_wrap=True)
            else:
                self._bar = _bar(console, self._what, self._total)
                self._bar.start()
        self.advance(self._count)

    def advance(self, count: int) -> None:
        """So much of it is there."""
        self._count = count
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=count)

    def hide(self) -> None:
        """It is over."""
        with self._lock:
            self._is_over = True
            if self._bar is not None:
                self._bar.stop()


def _bar(console: Console, what: str, total: int | None) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    how_much = [] if total is None else [MofNCompleteColumn()]
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *how_much, TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
    bar.add_task(what, total=total)
    return bar
