"""A line on standard error that says how far something is, if it takes longer than a second and a person looks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Final, TextIO

__all__ = ["SILENT_S", "waiting"]

SILENT_S: Final = 1.0
_EVERY_S: Final = 0.5


@contextmanager
def waiting(
    say: Callable[[], str], *, stream: TextIO | None = None, silent_s: float = SILENT_S, every_s: float = _EVERY_S
) -> Generator[None]:
    """Say how far the block is, anew and anew in one line, which is gone when the block is over.

    Args:
        say: What stands there; asked in another thread.
        stream: Where to; standard error if none is named. Nothing is written where it is no terminal.
        silent_s: How long nothing is said.
        every_s: How long something stands.
    """
    where = sys.stderr if stream is None else stream
    if not where.isatty():
        yield
        return
    over = Event()
    thread = Thread(target=_show, args=(say, where, over, silent_s, every_s), name="waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _show(say: Callable[[], str], where: TextIO, over: Event, silent_s: float, every_s: float) -> None:
    width, pause = 0, silent_s
    while not over.wait(pause):
        text = say()
        where.write(f"\r{text:<{width}}")
        where.flush()
        width, pause = len(text), every_s
    if width:
        where.write(f"\r{' ' * width}\r")
        where.flush()
