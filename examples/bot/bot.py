"""`python -m examples bot NAME`: a bot that answers whoever writes to it.

All that it keeps is in one SQLite file: its keys, its history, what it has to send and which messages it has not
handled yet. It may be killed at any moment, and goes on from there. Nobody is there to type a passphrase, so the file
is in clear: keep it where only the bot can read.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from examples.adapters.sqlite import open_sqlite
from examples.config import ConfigError, load_config
from examples.exits import EXIT_CONFIG, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNAVAILABLE
from examples.logs import set_up_logging
from examples.net.signals import stop_signals
from examples.net.websocket_link import connect
from examples.server.app import open_server
from examples.waiting import waiting
from whisperkit.client import Client
from whisperkit.client.events import ConnectionState
from whisperkit.errors import StoreError, TransportError
from whisperkit.ids import DeviceId, UserId

__all__ = ["EXIT_SENT_AWAY", "GREETING", "answer", "answer_to", "greet", "run_bot"]

EXIT_SENT_AWAY: Final = 1
GREETING: Final = "hello, say something"

_REASONS: Final = {
    ConnectionState.REFUSED: "the name is somebody else's",
    ConnectionState.REPLACED: "another process of it took over",
}
# Nobody can be written to before they have a device.
_LOOK_S: Final = 1.0
# An answer repeats what was said, and has to fit into a message, too.
_QUOTED_CHARS: Final = 1_000


def answer_to(text: str) -> str:
    """What the bot says."""
    return "pong" if text == "ping" else f"you said: {text[:_QUOTED_CHARS]}"


async def answer(client: Client) -> None:
    """Answer each message once, for ever."""
    async for message in client.messages():  # decrypted, in order, also those that came while the bot was away
        async with message:  # handled when the block ends well, in one commit with the answer
            await message.reply(answer_to(message.text))


async def greet(client: Client, name: str) -> None:
    """Write to somebody first, if nothing was said yet: what is sent is in the history at once, also after a crash."""
    user = UserId.named(name)
    chat = await client.direct(user)
    while not await client.history(chat, limit=1):
        if await _is_there(client, user):
            await client.send(chat, GREETING)
        else:
            await asyncio.sleep(_LOOK_S)


async def _is_there(client: Client, user: UserId) -> bool:
    try:
        return bool(await client.devices_of([user]))
    except TransportError:
        return False


async def _announce(client: Client, line: str) -> None:
    while not await client.wait_live(timeout_s=60.0):
        pass
    print(line, flush=True)


async def _work(client: Client, friends: Sequence[str], line: str) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_announce(client, line))
        tasks.create_task(answer(client))
        for friend in friends:
            tasks.create_task(greet(client, friend))


async def _sent_away(client: Client) -> ConnectionState:
    news = client.events()
    while client.state not in _REASONS:
        await news.get()
    return client.state


# ---- the program ----------------------------------------------------------------------------------------------------


def run_bot(name: str, *, url: str, folder: Path, friends: Sequence[str] = (), is_serving: bool = False) -> int:
    """Answer until told to stop; returns the exit code.

    Args:
        name: What the bot is called.
        url: Of the server.
        folder: Where its file is.
        friends: To whom it writes first.
        is_serving: Run the reference server, too, with its own settings, and be on that.
    """
    set_up_logging("warning")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return asyncio.run(_run(name, url, folder, friends, is_serving=is_serving))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (StoreError, OSError) as error:
        print(f"{name} cannot begin: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE


async def _run(name: str, url: str, folder: Path, friends: Sequence[str], *, is_serving: bool) -> int:
    with stop_signals() as stop:
        async with AsyncExitStack() as stack:
            with waiting(f"opening {name}"):
                if is_serving:
                    server = await stack.enter_async_context(open_server(load_config(environ=os.environ)))
                    url = server.url
                store = await stack.enter_async_context(open_sqlite(folder / f"{name}.bot.db"))
                client = await stack.enter_async_context(
                    Client(store, DeviceId.named(name, 1), connect=connect(url), name=name, keeps_unhandled=True)
                )
            working = asyncio.create_task(_work(client, friends, f"{name} answers at {url}"))
            leaving = asyncio.create_task(_sent_away(client))
            await asyncio.wait((stop, working, leaving), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working  # it never ends well
            working.cancel()
            if not leaving.done():
                leaving.cancel()
                return EXIT_INTERRUPTED if stop.result() is signal.SIGINT else EXIT_OK
            print(f"{name} is sent away: {_REASONS[leaving.result()]}", file=sys.stderr)
            return EXIT_SENT_AWAY
