"""Members who make up the numbers: devices that are connected, get everything and acknowledge it, but hold no keys.

They are what a group costs the server: an account, an inbox and a connection each. What comes to them they cannot
read, and do not need to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from examples.load.device import FrameDevice
from whisperkit.ids import ConversationId, UserId

__all__ = ["Crowd"]

AT_ONCE = 16


class Crowd:
    """A number of members.

    Args:
        url: Where the server is now.
    """

    def __init__(self, url: Callable[[], str]) -> None:
        self.devices: list[FrameDevice] = []
        self._url = url
        self._tasks: list[asyncio.Task[None]] = []

    async def grow(self, count: int, *, patience_s: float = 60.0) -> None:
        """Let so many members connect, counting those there are."""
        async with asyncio.timeout(patience_s):
            while len(self.devices) < count:
                new = [FrameDevice(f"member-{len(self.devices) + n}", self._url) for n in range(AT_ONCE)]
                new = new[: count - len(self.devices)]
                self.devices += new
                self._tasks += [asyncio.create_task(device.run()) for device in new]
                await self._until_live(new)

    async def _until_live(self, devices: list[FrameDevice]) -> None:
        for device in devices:
            while not device.is_live:  # noqa: ASYNC110  # a device has no event for it
                await asyncio.sleep(0.01)

    @property
    def users(self) -> list[UserId]:
        """Who they are."""
        return [device.id.user for device in self.devices]

    def have(self, conv: ConversationId, count: int) -> int:
        """How many of them have so many messages of a conversation, in order and once each."""
        return sum(_messages(device, conv) == count for device in self.devices)

    @property
    def faults(self) -> list[str]:
        """What any of them saw go wrong."""
        return [fault for device in self.devices for fault in device.faults]

    async def leave(self) -> None:
        """Disconnect all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _messages(device: FrameDevice, conv: ConversationId) -> int:
    return sum(entry.conv == conv and entry.kind == 1 for entry in device.entries)
