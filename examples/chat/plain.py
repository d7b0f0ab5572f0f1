"""`chat NAME --plain`: whole lines, no boxes, no redraw: for pipes, screen readers and scripts.

    14:07 bob: where are you?
    14:08 you, sent: at the gate
    14:09 you, not sent: see you  (not member; /retry sends it again)

What is typed is sent to the open conversation; lines that begin with ``/`` are commands (`examples.chat.commands`).
Input that ends is a script: the program ends when what has come is shown and all is sent, with 0 if all of it could be
done, with 1 if not, and with 69 if some of it is not sent yet or there was no connection.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

from examples.adapters.sealed_lock import Lock
from examples.chat.commands import Commands
from examples.chat.exits import EXIT_REFUSED, NAME_TAKEN, exit_code
from examples.chat.names import Names
from examples.chat.qr import room_for_qr
from examples.chat.screen import Screen
from examples.chat.trust import invitation
from examples.chat.typed import TypedLines
from examples.device import Phone, open_phone
from examples.exits import EXIT_OK, EXIT_UNAVAILABLE
from examples.logs import set_up_logging
from examples.waiting import waiting
from whisperkit.client.events import ConnectionState

__all__ = ["chat"]

_LOOK_S: Final = 0.05


def chat(name: str, *, url: str, folder: Path, number: int, lock: Lock, wait_s: float) -> int:
    """Chat; returns the exit code.

    Args:
        name: Who.
        url: Of the server.
        folder: Where devices are kept.
        number: Which of the user's devices this is.
        lock: What opens the device.
        wait_s: How long the end waits for what is on its way.
    """
    set_up_logging("error")
    run = partial(_run, name, url, folder, number, lock, wait_s)
    return exit_code(lambda: asyncio.run(run()), f"{name}.{number}", folder)


async def _run(name: str, url: str, folder: Path, number: int, lock: Lock, wait_s: float) -> int:
    async with AsyncExitStack() as stack:
        with waiting(f"opening {name}.{number}", is_plain=True):
            opening = open_phone(folder, name, url=url, lock=lock, number=number, is_linked=number > 1)
            phone = await stack.enter_async_context(opening)
            names = Names(name, phone.store)
            await names.load()
        columns = partial(room_for_qr, sys.stdout)
        screen = Screen(phone.client, names, say=_say, wall_ms=_wall_ms, columns=columns)
        commands = Commands(phone, names, screen, folder=Path())
        await _greet(phone, name, screen, commands)
        listening = asyncio.create_task(screen.listen())
        reading = asyncio.create_task(_read(commands))
        try:
            await asyncio.wait((listening, reading), return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                listening.result()
                print(f"{name} {NAME_TAKEN}", file=sys.stderr)
                return EXIT_REFUSED
            is_script = not reading.result()
            return await _finish(phone, screen, commands, is_script=is_script, wait_s=wait_s)
        finally:
            listening.cancel()
            reading.cancel()


async def _greet(phone: Phone, name: str, screen: Screen, commands: Commands) -> None:
    _say(f"{name}.{phone.client.device.number}; /help lists the commands")
    if screen.is_waiting_for_link:
        _say(f"this device is not linked yet; on another device of {name} type: /link {await invitation(phone.client)}")
    elif await phone.client.chats():
        await commands.take("/chats")


async def _read(commands: Commands) -> bool:
    """Do what is typed; true if it was ended by a command, and not by the end of the input."""
    async for line in TypedLines(sys.stdin.fileno()):
        if line:
            await commands.take(line)
        if commands.is_over:
            return True
    return False


async def _finish(phone: Phone, screen: Screen, commands: Commands, *, is_script: bool, wait_s: float) -> int:
    """Let the last lines go out, and say what has not; where nobody looks on, also show what has come."""
    deadline = time.monotonic() + wait_s
    is_live = sys.stdin.isatty() or not is_script or await phone.client.wait_live(timeout_s=wait_s)
    while is_script and (screen.is_hearing or screen.is_showing):  # noqa: ASYNC110  # it is shown by a task that tells nobody
        await asyncio.sleep(_LOOK_S)
    with waiting(f"sending what is left, for at most {wait_s:g} s", is_plain=True):
        while (unsent := await commands.unsent()) and time.monotonic() < deadline:
            if not is_script and phone.client.state is not ConnectionState.LIVE:
                break
            await asyncio.sleep(_LOOK_S)
    if unsent:
        print(f"{unsent} not sent yet; they go out the next time", file=sys.stderr)
    elif not is_live:
        print(f"no connection within {wait_s:g} s, so nothing came", file=sys.stderr)
    if not is_script:
        return EXIT_OK
    return EXIT_UNAVAILABLE if unsent or not is_live else EXIT_REFUSED if commands.refusals else EXIT_OK


def _say(line: str) -> None:
    print(line, flush=True)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
