"""Somebody who types into a plain chat and reads what it shows, on a simulated phone."""

from __future__ import annotations

from pathlib import Path

from examples.chat.commands import Commands
from examples.chat.names import Names
from examples.chat.screen import Screen
from examples.device import HttpBlobs, Phone
from examples.device_search import SearchIndex
from whisperkit.client import Client
from whisperkit.testing.sim_phone import ChatNet, SimPhone
from whisperkit.testing.sim_runtime import run_now


class Person:
    """A person.

    Args:
        net: The world.
        name: Who.
        folder: Where files are saved.
        phone: The device; one is made if it is not given.
    """

    def __init__(self, net: ChatNet, name: str, folder: Path, phone: SimPhone | None = None) -> None:
        self.name = name
        self.sim = net.phone(name) if phone is None else phone
        self.lines: list[str] = []
        self._net = net
        self._folder = folder
        self.start()

    def start(self) -> None:
        """Begin a chat on the phone as it is now."""
        client = self.sim.client
        names = Names(self.name, self.sim.store)
        run_now(names.load())
        self.index = SearchIndex()
        phone = Phone(client, HttpBlobs("http://127.0.0.1:9", client.device), self.index, self.sim.store)
        self.screen = Screen(client, names, say=self.lines.append, wall_ms=self.sim.runtime.wall_ms)
        self.commands = Commands(phone, names, self.screen, folder=self._folder)
        self.sim.runtime.spawn(self.screen.listen, name="screen")

    def type(self, *lines: str) -> list[str]:
        """Type lines; returns what was shown meanwhile, and for a moment after."""
        before = len(self.lines)
        for line in lines:

            async def take(_: Client, line: str = line) -> None:
                await self.commands.take(line)

            self.sim.do(take)
            self._net.wait(1.0)
        return self.lines[before:]

    def said(self, *lines: str) -> list[str]:
        """Like `type`, without the times of day."""
        return [timeless(line) for line in self.type(*lines)]

    @property
    def shown(self) -> list[str]:
        """All lines, without the times of day."""
        return [timeless(line) for line in self.lines]


def timeless(line: str) -> str:
    """A line without its time."""
    head, _, rest = line.partition(" ")
    return rest if len(head) == 5 and head[2] == ":" else line
