"""How the demo speaks, and that no claim is more than a word."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator, Callable

import pytest
from rich.console import Console

from examples.demo.narrator import Claim, ClaimFailedError, Narrator


async def nobody() -> AsyncGenerator[str]:
    """Keys that are never pressed, because the input has ended."""
    lines: tuple[str, ...] = ()
    for line in lines:
        yield line


class Told:
    """A narrator and what it wrote."""

    def __init__(
        self,
        *,
        is_terminal: bool = False,
        is_stepped: bool = False,
        keys: Callable[[], AsyncIterator[str]] = nobody,
    ) -> None:
        self.out = io.StringIO()
        console = Console(file=self.out, force_terminal=is_terminal, highlight=False, width=120)
        self.narrator = Narrator(console, is_fast=True, is_stepped=is_stepped, keys=keys)

    @property
    def text(self) -> str:
        return self.out.getvalue()


def test_a_claim_that_holds_is_told_with_its_evidence_and_counted() -> None:
    told = Told()

    told.narrator.claim("nothing is lost", expected=[1, 2], found=[1, 2], evidence="two of two")

    assert told.text == "    ✓ nothing is lost  (two of two)\n"
    assert told.narrator.claims == [Claim("nothing is lost", "two of two")]


@pytest.mark.parametrize(
    ("expected", "found"),
    [([1, 2], [2, 1]), ([1, 2], [1]), ([1, 2], [1, 2, 2]), (True, False), (0, 1), ("", None), ((0, True), (0, False))],
)
def test_a_claim_that_does_not_hold_ends_the_story_and_is_not_counted(expected: object, found: object) -> None:
    told = Told()

    with pytest.raises(ClaimFailedError) as failed:
        told.narrator.claim("nothing is lost", expected=expected, found=found, evidence="two of two")

    assert (failed.value.text, failed.value.expected, failed.value.found) == ("nothing is lost", expected, found)
    assert told.narrator.claims == []
    assert "✓" not in told.text
    assert "two of two" not in told.text
    assert told.text.splitlines() == ["    ✗ nothing is lost", f"      expected {expected}", f"      found    {found}"]


def test_a_claim_is_told_by_a_glyph_and_not_by_its_colour_alone() -> None:
    coloured, plain = Told(is_terminal=True), Told()
    for told in (coloured, plain):
        told.narrator.claim("it holds", expected=1, found=1, evidence="one")

    assert "\x1b[32m✓ it holds" in coloured.text
    assert "\x1b" not in plain.text
    assert "✓ it holds" in plain.text


def test_no_colour_is_drawn_when_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    told = Told(is_terminal=True)

    told.narrator.claim("it holds", expected=1, found=1, evidence="one")

    assert "\x1b[32m" not in told.text


def test_what_looks_like_markup_is_shown_as_it_is() -> None:
    told = Told()

    told.narrator.event("bob.1", "found [boarding] at [bold]ten[/bold]", "[x]")
    told.narrator.claim("[red]it[/red] holds", expected=1, found=1, evidence="[boarding]")
    told.narrator.panel("the [title]", ["a [line]"])

    for text in ("found [boarding] at [bold]ten[/bold]", "[x]", "[red]it[/red] holds", "([boarding])", "the [title]"):
        assert text in told.text


def test_chapters_are_numbered_and_say_when_they_began() -> None:
    told = Told()

    told.narrator.chapter("Two phones")
    told.narrator.chapter("Bob flies")

    first, second = [line for line in told.text.splitlines() if line]
    assert first.split() == ["1", "Two", "phones", "t+00:00"]
    assert second.split() == ["2", "Bob", "flies", "t+00:00"]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_story_in_steps_waits_for_a_key_until_nobody_can_press_one_and_the_phones_go_on() -> None:
    typed: asyncio.Queue[str | None] = asyncio.Queue()

    async def keys() -> AsyncGenerator[str]:
        while (line := await typed.get()) is not None:
            yield line

    told = Told(is_stepped=True, keys=keys)
    waiting = asyncio.create_task(told.narrator.pause())
    for _ in range(5):
        await asyncio.sleep(0)  # the others have their turn
    assert told.text == "Enter: next chapter "
    assert not waiting.done()

    typed.put_nowait("")
    await waiting
    typed.put_nowait(None)  # the input has ended
    await told.narrator.pause()
    await told.narrator.pause()

    assert told.text.count("Enter: next chapter") == 2


def test_a_bar_leaves_nothing_in_a_pipe_but_its_end() -> None:
    told = Told()

    with told.narrator.progress() as progress:
        bar = progress.add_task("a photo", total=100)
        for done in range(0, 101, 10):
            progress.update(bar, completed=done)

    assert "\x1b" not in told.text
    assert told.text.count("a photo") <= 1


# ---- what takes long ------------------------------------------------------------------------------------------------


async def watched(told: Told, *, silent_s: float) -> str:
    """Wait for something that is there when a bar was drawn, or at once where none is."""
    counted = asyncio.Event()

    def count() -> int:
        counted.set()
        return 7

    async def work() -> str:
        if told.narrator.console.is_terminal and not silent_s:
            await counted.wait()
        return "there"

    return await told.narrator.watch("members [connect]", work(), count=count, total=30, silent_s=silent_s)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_takes_long_has_a_bar_with_how_much_is_there() -> None:
    told = Told(is_terminal=True)

    assert await watched(told, silent_s=0.0) == "there"

    assert "members [connect] 7 of 30" in told.text
    assert "━" in told.text


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(("is_terminal", "silent_s"), [(True, 60.0), (False, 0.0)])
async def test_what_is_quick_has_no_bar_and_a_pipe_has_none(is_terminal: bool, silent_s: float) -> None:
    told = Told(is_terminal=is_terminal)

    assert await watched(told, silent_s=silent_s) == "there"

    assert told.text == ""


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_fails_or_is_given_up_while_it_is_waited_for_goes_on_no_longer() -> None:
    told = Told(is_terminal=True)
    ended = asyncio.Event()

    async def fail() -> None:
        raise ValueError("no")

    async def stay() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(ValueError, match="no"):
        await told.narrator.watch("it", fail(), silent_s=0.0)
    waiting = asyncio.create_task(told.narrator.watch("it", stay(), silent_s=0.0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await ended.wait()
