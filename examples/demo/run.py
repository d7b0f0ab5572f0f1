"""`python -m examples demo`: play the story, and say how many of its claims held."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from rich.console import Console

from examples.demo.narrator import ClaimFailedError, Narrator
from examples.demo.processes import ServerProcess
from examples.demo.story import Story

__all__ = ["run_demo"]


def run_demo(*, is_fast: bool, is_stepped: bool, keep: bool) -> int:
    """Play; returns the exit code: 0, or 1 if a claim failed."""
    folder = Path(tempfile.mkdtemp(prefix="whisperkit-demo-"))
    narrator = Narrator(Console(highlight=False), is_fast=is_fast, is_stepped=is_stepped)
    try:
        asyncio.run(_play(folder, narrator))
    except ClaimFailedError as failed:
        narrator.console.print(f"\n[bold red]a claim failed: {failed.text}[/bold red]")
        narrator.console.print(f"the data is kept in {folder}")
        return 1
    except KeyboardInterrupt:
        narrator.console.print("\nstopped")
        return 130
    count = len(narrator.claims)
    narrator.console.print(f"\n[bold]{count} of {count} claims held in {narrator.seconds:.0f} s[/bold]")
    if keep:
        narrator.console.print(f"the data is kept in {folder}")
    else:
        shutil.rmtree(folder)
    return 0


async def _play(folder: Path, narrator: Narrator) -> None:
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
