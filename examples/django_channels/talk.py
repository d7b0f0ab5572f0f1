"""`python -m examples.django_channels.talk NAME ROOM [URL]`: a person in a room, as a page of the site would have it.

What is typed is posted as a form, what the others write comes over a WebSocket. Nothing is kept here: each start posts
under an epoch of its own, and shows again what the server still has for this device.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import httpx

from examples.load.device import FrameDevice
from examples.net.websocket_link import connect
from examples.talking import run_talk, typed_lines
from whisperkit.errors import TransportError
from whisperkit.ids import DeviceId
from whisperkit.sync.frames import Entry, EntryKind
from whisperkit.transport import Link

__all__ = ["URL", "Person", "main"]

URL: Final = "http://127.0.0.1:8091"
_RETRY_S: Final = 0.2


class Person:
    """A user of the site; an async context manager, which logs in.

    Attributes:
        epoch: Of what this person posts; the numbers begin at 1 in each.

    Args:
        name: The user's.
        password: The user's.
        url: Of the site.
    """

    def __init__(self, name: str, password: str, *, url: str = URL) -> None:
        self.epoch = int(time.time())
        self._account = {"name": name, "password": password}
        self._url = url
        self._http = httpx.AsyncClient(base_url=url, headers={"Origin": url}, trust_env=False)
        self._device: DeviceId | None = None

    async def __aenter__(self) -> Self:
        try:
            await self.ask("GET", "/login")  # sets the cookie against forged requests
            self._device = DeviceId.parse((await self.ask("POST", "/login", self._account))["device"])
        except TransportError:
            await self._http.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    @property
    def device(self) -> DeviceId:
        """The device of this person."""
        assert self._device is not None  # logged in
        return self._device

    @property
    def headers(self) -> dict[str, str]:
        """What a browser sends along to the site."""
        cookies = "; ".join(f"{name}={value}" for name, value in self._http.cookies.items())
        return {"Origin": self._url, "Cookie": cookies}

    async def dial(self) -> Link:
        """Connect; whose link it is, the cookie says.

        Raises:
            TransportError: The site cannot be reached.
        """
        return await connect(f"{self._url.replace('http', 'ws', 1)}/ws", headers=self.headers)()

    async def add(self, room: str, name: str) -> dict[str, str]:
        """Add somebody to a room; returns the names of the devices in it.

        Raises:
            TransportError: This person is not in it, others are; or the site cannot be reached.
        """
        await self.ask("PUT", f"/rooms/{room}/members/{name}")
        names: dict[str, str] = await self.ask("GET", f"/rooms/{room}")
        return names

    async def post(self, room: str, number: int, text: str) -> int:
        """Post a form; repeating it is harmless. Returns the number of the message in the room.

        Raises:
            TransportError: This person is not in it; or the site cannot be reached.
        """
        form = {"epoch": str(self.epoch), "number": str(number), "text": text}
        seq: int = (await self.ask("POST", f"/rooms/{room}/messages", form))["seq"]
        return seq

    async def post_until_answered(self, room: str, number: int, text: str) -> int:
        """Post again while the site is away: whether the one before came through need not be known.

        Raises:
            TransportError: The site says no.
        """
        while True:
            try:
                return await self.post(room, number, text)
            except TransportError as error:
                if not isinstance(error.__cause__, httpx.TransportError):
                    raise
            await asyncio.sleep(_RETRY_S)

    # Any: what the site says.
    async def ask(self, method: str, path: str, form: Mapping[str, str] | None = None) -> Any:
        """Ask the site for something.

        Raises:
            TransportError: It says no; or it cannot be reached.
        """
        token = self._http.cookies.get("csrftoken") or ""
        try:
            answer = await self._http.request(method, path, data=form, headers={"X-CSRFToken": token})
            answer.raise_for_status()
        except httpx.HTTPStatusError as error:
            raise TransportError(f"{method} {path}: {error.response.status_code} {error.response.text}") from error
        except httpx.HTTPError as error:
            raise TransportError(f"{method} {self._url}{path}: {error}") from error
        return answer.json()


# ---- the program ----------------------------------------------------------------------------------------------------


class _Screen(FrameDevice):
    """The person's device, which prints what it hears."""

    names: Mapping[str, str]

    def _apply(self, entry: Entry) -> None:
        super()._apply(entry)
        if entry.kind is EntryKind.MESSAGE and entry.shared is not None:
            print(f"{self.names.get(str(entry.sender), entry.sender)}: {entry.shared.decode()}", flush=True)


async def _talk(name: str, room: str, url: str) -> None:
    # An example's password: a real page would ask for it.
    async with Person(name, f"password of {name}", url=url) as person:
        screen = _Screen(name, lambda: url, vouched=(person.device, person.dial))
        screen.names = await person.add(room, name)
        print(f"{name} is in {room}: {', '.join(sorted(screen.names.values()))}", flush=True)
        hearing = asyncio.create_task(screen.run())
        number = 1
        async for line in typed_lines():
            if line.startswith("/add "):
                screen.names = await person.add(room, line[5:].strip())
                print(f"in {room}: {', '.join(sorted(screen.names.values()))}", flush=True)
            else:
                await person.post_until_answered(room, number, line)
                number += 1
        hearing.cancel()


def main(arguments: Sequence[str]) -> int:
    """Talk until the input ends; returns the exit code."""
    return run_talk(_talk, arguments, program="examples.django_channels.talk", place="ROOM", url=URL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
