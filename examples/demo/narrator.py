"""How the demo speaks: one line for each event, and at the end of a chapter its claim with the evidence.

Rich draws the lines where there is a terminal; with `NO_COLOR` or in a pipe they are plain text. A state is always a
glyph and a word too, never a colour alone.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, NamedTuple, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from examples.chat.typed import TypedLines

__all__ = ["Claim", "ClaimFailedError", "Narrator"]

PAUSE_S = 0.6
# What takes longer has a bar.
SILENT_S = 1.0
REFRESH_S = 0.1

T = TypeVar("T")


class Claim(NamedTuple):
    """Something that the demo says and has checked.

    Attributes:
        text: What is claimed.
        evidence: What was seen.
    """

    text: str
    evidence: str


class ClaimFailedError(Exception):
    """A claim does not hold: the demo ends with exit code 1."""

    def __init__(self, text: str, *, expected: object, found: object) -> None:
        super().__init__(f"{text}: expected {expected}, found {found}")
        self.text = text
        self.expected = expected
        self.found = found


class Narrator:
    """Tells the story and keeps the claims.

    Args:
        console: Where to.
        is_fast: Without pauses.
        is_stepped: Wait for a key after each chapter.
        keys: Brings a line for each Enter.

    Attributes:
        console: Where to.
        claims: Those that held.
        failed: The one that did not.
    """

    def __init__(
        self,
        console: Console,
        *,
        is_fast: bool,
        is_stepped: bool,
        keys: Callable[[], AsyncIterator[str]] = lambda: aiter(TypedLines(sys.stdin.fileno())),
    ) -> None:
        self.console = console
        self.claims: list[Claim] = []
        self.failed: ClaimFailedError | None = None
        self._is_fast = is_fast
        self._is_stepped = is_stepped
        self._open_keys = keys
        self._keys: AsyncIterator[str] | None = None
        self._began = time.monotonic()
        self._chapter = 0

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self._chapter += 1
        minutes, seconds = divmod(int(self.seconds), 60)
        head = f"{self._chapter:>2}  {title}"
        self.console.print(f"\n[bold]{escape(head):<60}[/bold][dim]t+{minutes:02}:{seconds:02}[/dim]")

    async def pause(self) -> None:
        """Let the reader read, or wait for a key, while the phones go on; where the input has ended, for nothing."""
        if not self._is_stepped:
            await asyncio.sleep(0.0 if self._is_fast else PAUSE_S)
            return
        self.console.print("[dim]Enter: next chapter[/dim] ", end="")
        self._keys = self._keys or self._open_keys()
        if await anext(self._keys, None) is None:
            self._is_stepped = False
            self.console.print()

    def event(self, who: str, what: str, aside: str = "") -> None:
        """One line: who, what, and what it looks like from behind."""
        self.console.print(f"    [cyan]{escape(who):<11}[/cyan]{escape(what):<44} [dim]{escape(aside)}[/dim]")

    def claim(self, text: str, *, expected: object, found: object, evidence: str) -> None:
        """Check a claim and say it.

        Raises:
            ClaimFailedError: It does not hold.
        """
        if expected != found:
            self.console.print(f"    [bold red]✗ {escape(text)}[/bold red]")
            self.console.print(f"      expected {escape(str(expected))}")
            self.console.print(f"      found    {escape(str(found))}")
            self.failed = ClaimFailedError(text, expected=expected, found=found)
            raise self.failed
        self.claims.append(Claim(text, evidence))
        self.console.print(f"    [green]✓ {escape(text)}[/green]  [dim]({escape(evidence)})[/dim]")

    def panel(self, title: str, lines: Iterable[str]) -> None:
        """A box that stays for the reader; without a terminal just the lines."""
        if not self.console.is_terminal:
            for line in (title, *lines):
                self.console.print(f"    {escape(line)}")
            return
        body = "\n".join(escape(line) for line in lines)
        self.console.print(Panel(body, title=escape(title), title_align="left", expand=False))

    async def watch(
        self,
        what: str,
        work: Coroutine[Any, Any, T],  # Any: nothing is sent into it
        *,
        count: Callable[[], int] = lambda: 0,
        total: int | None = None,
        silent_s: float = SILENT_S,
    ) -> T:
        """Wait for something; a bar comes up when it takes long, and goes with it. In a pipe nothing is drawn.

        Args:
            what: Is waited for.
            work: Brings it.
            count: How much of it is there.
            total: How much there will be; `None` for a bar that only says that it goes on.
            silent_s: How long it takes without a bar.
        """
        task = asyncio.ensure_future(work)
        try:
            if (await asyncio.wait({task}, timeout=silent_s))[0] or not self.console.is_terminal:
                return await task
            columns = (TextColumn("    [dim]{task.description}[/dim]"), BarColumn(), TimeElapsedColumn())
            with Progress(*columns, console=self.console, transient=True) as progress:
                bar = progress.add_task(escape(what), total=total)
                while not task.done():
                    of_them = "" if total is None else f" {count()} of {total}"
                    progress.update(bar, completed=count(), description=escape(f"{what}{of_them}"))
                    await asyncio.wait({task}, timeout=REFRESH_S)
            return await task
        finally:
            task.cancel()

    def progress(self) -> Progress:
        """A bar for something that takes a while; in a pipe nothing is drawn."""
        columns = (TextColumn("    {task.description}"), BarColumn(), DownloadColumn())
        return Progress(*columns, console=self.console, disable=not self.console.is_terminal)
