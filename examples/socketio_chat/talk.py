"""`python -m examples.socketio_chat.talk NAME OTHER [URL]`: a chat of two, encrypted on this device.

The device is a file in `chat-data`, in clear.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import aiohttp
import socketio
from socketio.exceptions import SocketIOError

from examples.adapters.sqlite import open_sqlite
from examples.talking import run_talk, sent, typed_lines
from examples.waiting import waiting
from whisperkit.client import Client
from whisperkit.errors import TransportError
from whisperkit.ids import DeviceId, MessageId, UserId
from whisperkit.stores import PartitionStore
from whisperkit.transport import Link

__all__ = ["URL", "Person", "SocketIoLink", "dial", "main"]

URL: Final = "http://127.0.0.1:8092"
_FOLDER: Final = Path("chat-data")
_LOOK_S: Final = 1.0
# A password takes a busy server longer to check than the second that python-socketio gives it.
_LOGIN_S: Final = 30.0


class SocketIoLink:
    """One connection over Socket.IO; see `Link`.

    Args:
        sio: A client that is not connected yet.
        http: What it connects with; closed with the link.
    """

    def __init__(self, sio: socketio.AsyncClient, http: aiohttp.ClientSession) -> None:
        self._sio = sio
        self._http = http
        self._came: asyncio.Queue[bytes | None] = asyncio.Queue()
        sio.on("frame", self._came.put_nowait)
        sio.on("disconnect", self._gone)

    def _gone(self, reason: str) -> None:
        self._came.put_nowait(None)

    async def send(self, data: bytes) -> None:
        """See `Link.send`."""
        try:
            await self._sio.emit("frame", data)
        except SocketIOError as error:
            raise TransportError(f"the server is gone: {error}") from error

    async def receive(self) -> bytes:
        """See `Link.receive`."""
        data = await self._came.get()
        if data is None:
            self._came.put_nowait(None)  # it stays so
            raise TransportError("the server is gone")
        return data

    async def close(self) -> None:
        """See `Link.close`."""
        await self._sio.disconnect()
        await self._http.close()


async def dial(url: str, auth: object) -> Link:
    """Connect and log in.

    Raises:
        TransportError: The server says no, and why; or it cannot be reached.
    """
    http = aiohttp.ClientSession()
    sio = socketio.AsyncClient(reconnection=False, http_session=http)  # the client of the messages comes back itself
    link = SocketIoLink(sio, http)
    said: list[object] = []
    sio.on("connect_error", said.append)
    try:
        await sio.connect(url, auth=auth, transports=["websocket"], wait_timeout=_LOGIN_S)
    except SocketIOError as error:
        await link.close()
        raise TransportError(f"{url}: {said[0] if said else error}") from error
    return link


class Person:
    """A user of the server, and their device.

    Attributes:
        client: The device; it connects, and comes back, by itself.

    Args:
        store: Where the device is kept.
        name: The user's.
        password: The user's.
        url: Of the server; asked at every attempt.
    """

    def __init__(self, store: PartitionStore, name: str, password: str, *, url: Callable[[], str]) -> None:
        self.client = Client(store, DeviceId.named(name, 1), connect=self.dial, is_linked=True, keeps_unhandled=True)
        self._account = {"name": name, "password": password}
        self._url = url

    async def dial(self) -> Link:
        """Connect and log in.

        Raises:
            TransportError: The server says no, and why; or it cannot be reached.
        """
        key, _ = await self.client.identity()
        return await dial(self._url(), {**self._account, "identity_key": key.hex()})


# ---- the program ----------------------------------------------------------------------------------------------------


async def _hear(client: Client, other: str) -> None:
    async for message in client.messages():  # those that came while nobody looked, too
        async with message:  # shown once, also when this program is killed
            is_theirs = message.sender is not None and message.sender.user == UserId.named(other)
            print(f"{other if is_theirs else message.sender}: {message.text}", flush=True)


async def _wait_for(client: Client, other: str) -> None:
    """Nobody can be written to before they have a device."""
    user, is_told = UserId.named(other), False
    while not (await client.devices_of([user])):
        if not is_told:
            print(f"{other} has not been here yet", flush=True)
            is_told = True
        await asyncio.sleep(_LOOK_S)


async def _talk(name: str, other: str, url: str) -> None:
    _FOLDER.mkdir(exist_ok=True)
    async with open_sqlite(_FOLDER / f"{name}.socketio.db") as store:
        # An example's password: a real client would ask for it.
        person = Person(store, name, f"password of {name}", url=lambda: url)
        async with person.client as client:
            with waiting(f"connecting to {url}"):
                if not await client.wait_live(timeout_s=10.0):
                    await (await person.dial()).close()  # says why
            hearing = asyncio.create_task(_hear(client, other))
            await _wait_for(client, other)
            chat = await client.direct(UserId.named(other))
            print(f"{name} talks with {other}", flush=True)
            last: MessageId | None = None
            async for line in typed_lines():
                last = await client.send(chat, line)
            await sent(client, chat, last)
            hearing.cancel()


def main(arguments: Sequence[str]) -> int:
    """Talk until the input ends; returns the exit code."""
    return run_talk(_talk, arguments, program="examples.socketio_chat.talk", place="OTHER", url=URL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
