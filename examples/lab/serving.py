"""The server of the lab, in its own process: the reference server as it is, and a second door to look at its rows.

    python -m examples.lab.serving       settings from the environment, as for `python -m examples serve`

The second door is a socket in the server's folder, which nobody but its owner may enter. A line of JSON asks, a line
answers. Whoever started the server holds the other end of its standard input: when that is gone, so is the server.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from examples.adapters.sqlite import SqliteStore
from examples.config import ConfigError, load_config
from examples.exits import EXIT_CONFIG, EXIT_OK, EXIT_UNAVAILABLE
from examples.lab.view import Seen, look
from examples.logs import set_up_logging
from examples.server.app import ChatServer, open_server
from whisperkit.accounts import Linked
from whisperkit.errors import StoreError, WhisperError
from whisperkit.ids import ConversationId, DeviceId
from whisperkit.stores import PartitionStore

__all__ = ["COMMAND", "DOOR", "main"]

COMMAND: Final = (sys.executable, "-m", "examples.lab.serving")
DOOR: Final = "look.sock"
_MAX_LINE: Final = 1 << 20
# Takes the place of the only device of a user while that is exchanged; no person has so many.
_STAND_IN: Final = 127


class Door:
    """Answers whoever looks.

    Args:
        server: The server.
        seen: Its store.
    """

    def __init__(self, server: ChatServer, seen: Seen) -> None:
        self._server = server
        self._seen = seen

    async def answer(self, asked: Mapping[str, Any]) -> object:  # Any: whatever JSON holds
        """Answer one line."""
        match asked:
            case {"look": str(conv), "devices": str(devices)}:
                return await look(self._seen, ConversationId(conv), [DeviceId.parse(one) for one in devices.split()])
            case {"replace": str(device), "identity_key": str(key), "registration_id": int(registration_id)}:
                await self._replace(DeviceId.parse(device), bytes.fromhex(key), registration_id)
                return {}
            case _:
                return {"problem": "nobody knows what that asks"}

    async def _replace(self, device: DeviceId, key: bytes, registration_id: int) -> None:
        """Let a phone take the place of another one under its number: the shop vouches for the person."""
        people = self._server.service.gateway.people
        stand_in = DeviceId(device.user, _STAND_IN)
        await people.link(stand_in, by=None, identity_key=key, registration_id=registration_id)
        await people.unlink(device, by=stand_in)
        linked = await people.link(device, by=None, identity_key=key, registration_id=registration_id)
        if isinstance(linked, Linked):
            await people.unlink(stand_in, by=device)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer line after line."""
        try:
            while line := await reader.readline():
                try:
                    answer = await self.answer(json.loads(line))
                except WhisperError as error:
                    answer = {"problem": str(error)}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


async def _serve() -> int:
    config = load_config(None, environ=os.environ)
    stores: list[Seen] = []

    def keep(store: SqliteStore) -> PartitionStore:
        stores.append(Seen(store, store))
        return store

    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with open_server(config, wrap=keep) as server:
        door = Path(config.server.sqlite_path).with_name(DOOR)
        door.unlink(missing_ok=True)  # of a server that was killed
        listening = await asyncio.start_unix_server(Door(server, stores[0]).serve, door, limit=_MAX_LINE)
        print(f"listening on {server.url.removesuffix('/ws')} ({config.server.profile})", flush=True)
        left = asyncio.create_task(_left_alone(over))
        await over.wait()
        left.cancel()
        listening.close()
    return EXIT_OK


async def _left_alone(over: asyncio.Event) -> None:
    """Wait until the other end of the standard input is gone."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        pass
    over.set()


def main() -> int:
    """Serve until SIGTERM comes, or nobody is left who started it; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal; whoever started it sees to it
    set_up_logging()
    try:
        return asyncio.run(_serve())
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except (StoreError, OSError) as error:
        print(f"cannot serve: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE


if __name__ == "__main__":
    sys.exit(main())
