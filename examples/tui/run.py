"""`chat NAME` in a terminal: opens the device, shows the screen, and lets what was written go out."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Final

from examples.adapters.sealed_lock import Lock
from examples.chat.exits import EXIT_REFUSED, NAME_TAKEN, exit_code
from examples.chat.names import Names
from examples.chat.trust import invitation
from examples.device import open_phone
from examples.exits import EXIT_INTERRUPTED, EXIT_OK
from examples.logs import set_up_logging
from examples.tui.app import ChatApp
from examples.tui.glyphs import ASCII, GLYPHS, glyphs_for
from examples.tui.legacy_keys import understand_old_alt
from examples.tui.settings import Settings
from examples.waiting import waiting
from whisperkit.client.events import ConnectionState

__all__ = ["chat_on_screen"]

_LOOK_S: Final = 0.05


def chat_on_screen(
    name: str, *, url: str, folder: Path, number: int, lock: Lock, wait_s: float, settings: Settings
) -> int:
    """Chat; returns the exit code.

    Args:
        name: Who.
        url: Of the server.
        folder: Where devices are kept.
        number: Which of the user's devices this is.
        lock: What opens the device.
        wait_s: How long the end waits for what is on its way.
        settings: What the person has set.
    """
    run = partial(_run, name, url, folder, number, lock, wait_s, settings)
    folder.mkdir(parents=True, exist_ok=True)
    # Not on the screen; ids and numbers only, as all logs here.
    with (folder / f"{name}.{number}.log").open("a", encoding="utf-8") as log:
        set_up_logging("error", stream=log)
        return exit_code(lambda: asyncio.run(run()), f"{name}.{number}", folder)


async def _run(name: str, url: str, folder: Path, number: int, lock: Lock, wait_s: float, settings: Settings) -> int:
    understand_old_alt()
    _forget_former_size()
    chosen = {"ascii": ASCII, "unicode": GLYPHS}.get(settings.glyphs) or glyphs_for(sys.stdout.encoding)
    async with AsyncExitStack() as stack:
        with waiting(f"opening {name}.{number}"):
            opening = open_phone(folder, name, url=url, lock=lock, number=number, is_linked=number > 1)
            phone = await stack.enter_async_context(opening)
            names = Names(name, phone.store)
            await names.load()
        app = ChatApp(
            phone,
            names,
            folder=Path(),
            spools=folder / f"{name}.{number}.outgoing",
            wall_ms=_wall_ms,
            settings=settings,
            glyphs=chosen,
            # https://no-color.org: present, and not empty.
            has_no_color=bool(os.environ.get("NO_COLOR")),
        )
        if app.desk.is_waiting_for_link:
            app.first_words = [
                f"This device is not linked yet. On another device of {name} type:",
                f"/link {await invitation(phone.client)}",
            ]
        code = await app.run_async()
        # Textual ends well where it is cancelled, which is what becomes of a SIGINT from outside; Ctrl-C is a key here.
        if (task := asyncio.current_task()) is not None and task.cancelling():
            return EXIT_INTERRUPTED
        if code == EXIT_REFUSED:
            print(f"{name} {NAME_TAKEN}", file=sys.stderr)
            return EXIT_REFUSED
        deadline, at_first = time.monotonic() + wait_s, await app.commands.unsent()
        with waiting("sending", total=at_first) as advance:
            while (unsent := await app.commands.unsent()) and time.monotonic() < deadline:
                if phone.client.state is not ConnectionState.LIVE:
                    break
                advance(at_first - unsent)
                await asyncio.sleep(_LOOK_S)
        if unsent:
            print(f"{unsent} not sent yet; they go out the next time", file=sys.stderr)
        return EXIT_OK


def _forget_former_size() -> None:
    """Believe the terminal and not what was exported once, which would stay as it is when the window changes."""
    with suppress(OSError, ValueError):
        if all(os.get_terminal_size(sys.stdout.fileno())):
            for name in ("COLUMNS", "LINES"):
                os.environ.pop(name, None)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
