"""`python -m examples demo`: play the story, and say how many of its claims held."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

from examples.demo.narrator import ClaimFailedError, Narrator
from examples.demo.processes import ServerProcess
from examples.demo.story import CLAIMS, Story
from examples.exits import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK

__all__ = ["EXIT_FAILED", "EXIT_INTERRUPTED", "EXIT_OK", "Play", "run_demo", "whole_story"]

Play: TypeAlias = Callable[[Path, Narrator], Awaitable[None]]


async def whole_story(folder: Path, narrator: Narrator) -> None:
    """Start the server and tell all chapters."""
    server = ServerProcess(folder / "server")
    server.folder.mkdir()
    try:
        await server.start()
        narrator.console.print(
            f"[bold]whisperkit demo[/bold]   one server (pid {server.pid}) on SQLite, "
            "real clients over WebSockets, everything on this machine"
        )
        await Story(folder, server, narrator).tell()
    finally:
        await server.stop()


def run_demo(
    *,
    is_fast: bool,
    is_stepped: bool,
    keep: bool,
    is_json: bool = False,
    play: Play = whole_story,
    claims: int = CLAIMS,
) -> int:
    """Play; returns the exit code: 0 only if as many claims held as there are.

    Args:
        is_fast: Without pauses.
        is_stepped: Wait for a key after each chapter.
        keep: Keep the data also when all went well.
        is_json: Tell the claims to programs, as one JSON object on standard output; the story goes to standard error.
        play: What is played.
        claims: How many claims are in it.
    """
    folder = Path(tempfile.mkdtemp(prefix="whisperkit-demo-"))
    console = Console(highlight=False, soft_wrap=True, stderr=is_json)
    narrator = Narrator(console, is_fast=is_fast, is_stepped=is_stepped)
    code = _play(play, folder, narrator, claims)
    if keep or code == EXIT_FAILED:
        narrator.console.print(f"the data is kept in {folder}")
    else:
        shutil.rmtree(folder)
    if is_json:
        print(json.dumps(_summary(narrator, code, claims), indent=2))
    return code


def _summary(narrator: Narrator, code: int, claims: int) -> dict[str, object]:
    failed = narrator.failed
    return {
        "ok": code == EXIT_OK,
        "expected": claims,
        "held": len(narrator.claims),
        "seconds": round(narrator.seconds, 1),
        "claims": [claim._asdict() for claim in narrator.claims],
        "failed": None
        if failed is None
        else {**vars(failed), "expected": f"{failed.expected}", "found": f"{failed.found}"},
    }


def _play(play: Play, folder: Path, narrator: Narrator, claims: int) -> int:
    say = narrator.console.print
    try:
        asyncio.run(_awaited(play, folder, narrator))
    except ClaimFailedError as failed:
        say("\na claim failed: ", style="bold red", end="", markup=False)
        say(failed.text, style="bold red", markup=False)
        return EXIT_FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):  # the second where a scope was cancelled at the same time
        say("\nstopped")
        return EXIT_INTERRUPTED
    except SystemExit:  # with which rich ends where nobody reads any more
        return EXIT_INTERRUPTED
    except Exception:
        narrator.console.print_exception()
        say("\n[bold red]the story could not be told to its end[/bold red]")
        return EXIT_FAILED
    held = len(narrator.claims)
    say(f"\n[bold]{held} of {claims} claims held in {narrator.seconds:.0f} s[/bold]")
    if held != claims:
        say(f"[bold red]the story should have come to {claims} claims[/bold red]")
        return EXIT_FAILED
    return EXIT_OK


async def _awaited(play: Play, folder: Path, narrator: Narrator) -> None:
    await play(folder, narrator)
