"""`python -m examples.fastapi_postgres.talk NAME ROOM [URL]`: a person in a room, encrypted on this device.

What is typed is sent to the room, what the others write is printed. The device is a file in `chat-data`, in clear.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx

from examples.adapters.sqlite import open_sqlite
from examples.net.websocket_link import connect
from examples.talking import run_talk, sent, typed_lines
from examples.waiting import waiting
from whisperkit.client import Client
from whisperkit.client.content import Text
from whisperkit.client.events import Recorded
from whisperkit.errors import TransportError
from whisperkit.ids import ConversationId, DeviceId, MessageId, UserId
from whisperkit.stores import PartitionStore
from whisperkit.transport import Link

__all__ = ["URL", "Person", "main"]

URL: Final = "http://127.0.0.1:8090"
_FOLDER: Final = Path("chat-data")


class Person:
    """A user of the back end, and their device.

    Attributes:
        client: The device.
        names: The names of users who are in the rooms that this person has looked into.

    Args:
        store: Where the device is kept.
        name: The user's.
        password: The user's.
        urls: Workers; tried in turn, as a load balancer would.
    """

    def __init__(self, store: PartitionStore, name: str, password: str, *, urls: Sequence[str] = (URL,)) -> None:
        self.client = Client(store, DeviceId.named(name, 1), connect=self._dial, is_linked=True)
        self._account = {"name": name, "password": password}
        self._urls = urls
        self._attempts = count()
        self.names: dict[UserId, str] = {}

    async def enter(self, room: str) -> list[str]:
        """Enter a room that nobody is in yet; whoever is in is told who else is. Returns who is in it.

        Raises:
            TransportError: Others are in it, and this person is not; or the back end cannot be reached.
        """
        return await self.add(room, self._account["name"])

    async def add(self, room: str, name: str) -> list[str]:
        """Add somebody to a room; returns who is in it.

        Raises:
            TransportError: This person is not in it; or the back end cannot be reached.
        """
        url = f"{self._urls[0]}/rooms/{room}"
        headers = await self._log_in(self._urls[0])
        await _ask("PUT", f"{url}/members/{name}", headers=headers)
        names: list[str] = await _ask("GET", url, headers=headers)
        self.names |= {UserId.named(name): name for name in names}
        return names

    async def register(self, url: str) -> dict[str, str]:
        """Log in at a worker and let this device in; returns the headers that prove it.

        Raises:
            TransportError: The user has another device already; or the back end cannot be reached.
        """
        headers = await self._log_in(url)
        key, _ = await self.client.identity()
        await _ask("PUT", f"{url}/device", json={"identity_key": key.hex()}, headers=headers)
        return headers

    async def _dial(self) -> Link:
        url = self._urls[next(self._attempts) % len(self._urls)]
        headers = await self.register(url)
        return await connect(f"{url.replace('http', 'ws', 1)}/ws", headers=headers)()

    async def _log_in(self, url: str) -> dict[str, str]:
        answer = await _ask("POST", f"{url}/login", json=self._account)
        return {"Authorization": f"Bearer {answer['token']}"}


# Any: what the back end says.
async def _ask(method: str, url: str, *, json: object = None, headers: dict[str, str] | None = None) -> Any:
    async with httpx.AsyncClient(trust_env=False) as http:
        try:
            answer = await http.request(method, url, json=json, headers=headers)
        except httpx.HTTPError as error:
            raise TransportError(f"{method} {url}: {error}") from error
    if answer.is_error:
        raise TransportError(f"{url.rpartition('/rooms/')[2]}: {_detail(answer)}")
    return answer.json()


def _detail(answer: httpx.Response) -> str:
    """What the back end says is wrong; a proxy in front of it may have answered something else."""
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.reason_phrase}"


# ---- the program ----------------------------------------------------------------------------------------------------


async def _hear(client: Client, names: dict[UserId, str]) -> None:
    async for event in client.events():
        if isinstance(event, Recorded) and isinstance(event.record.what, Text) and event.record.sender:
            sender = event.record.sender.user
            if sender != client.device.user:
                print(f"{names.get(sender, sender)}: {event.record.what.text}", flush=True)


async def _talk(name: str, room: str, url: str) -> None:
    _FOLDER.mkdir(exist_ok=True)
    async with open_sqlite(_FOLDER / f"{name}.fastapi.db") as store:
        # An example's password: a real client would ask for it.
        person = Person(store, name, f"password of {name}", urls=[url])
        async with person.client as client:
            with waiting(f"connecting to {url}"):
                if not await client.wait_live(timeout_s=10.0):
                    await person.register(url)  # says why
            print(f"{name} is in {room}: {', '.join(await person.enter(room))}", flush=True)
            hearing = asyncio.create_task(_hear(client, person.names))
            last: MessageId | None = None
            async for line in typed_lines():
                if line.startswith("/add "):
                    print(f"in {room}: {', '.join(await person.add(room, line[5:].strip()))}", flush=True)
                else:
                    last = await client.send(ConversationId(room), line)
            await sent(client, ConversationId(room), last)
            hearing.cancel()


def main(arguments: Sequence[str]) -> int:
    """Talk until the input ends; returns the exit code."""
    return run_talk(_talk, arguments, program="examples.fastapi_postgres.talk", place="ROOM", url=URL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
