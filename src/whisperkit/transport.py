"""The doors to the network: `Link` between a device and a gateway, `Bus` between gateways.

Both may lose, double and delay: what they carry is a hint or is repeated until answered. The server side of a link
is three plain functions (`whisperkit.service`: attach, receive, detach), so that any framework fits;
`Link` is what a client holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

from whisperkit.ids import DeviceId, GatewayId

__all__ = ["Bus", "Connect", "Hint", "HintResult", "Link", "NotHere", "Took"]


class Link(Protocol):
    """One connection of a device to a gateway: ordered messages of bytes, until it ends."""

    async def send(self, data: bytes) -> None:
        """Hand a message to the network. That it was written says nothing about its arrival.

        Raises:
            TransportError: The link is gone.
        """
        ...

    async def receive(self) -> bytes:
        """Wait for the next message.

        Raises:
            TransportError: The link is gone.
        """
        ...

    async def close(self) -> None:
        """End the connection; harmless when it has ended."""
        ...


class Connect(Protocol):
    """Opens links to one gateway, again and again."""

    async def __call__(self) -> Link:
        """Connect.

        Raises:
            TransportError: The gateway cannot be reached.
        """
        ...


class Hint(NamedTuple):
    """Says that there is news in an inbox, from one gateway to another.

    Attributes:
        device: Whose inbox.
        head: The inbox's head as the sender of the hint knows it.
        entry: The ENTRY frame of the head itself, if it is the next one and small; else `None`.
    """

    device: DeviceId
    head: int
    entry: bytes | None

    def __repr__(self) -> str:
        entry = None if self.entry is None else f"<{len(self.entry)} bytes>"
        return f"Hint(device={self.device!r}, head={self.head}, entry={entry})"


class Took(NamedTuple):
    """The gateway holds the device and told it."""

    device: DeviceId


class NotHere(NamedTuple):
    """The gateway does not hold the device."""

    device: DeviceId


HintResult: TypeAlias = Took | NotHere | None


class Bus(Protocol):
    """Carries hints between gateways, at best effort. `None` in an answer means that nothing is known."""

    async def hint(self, gateway: GatewayId, hints: Sequence[Hint]) -> Sequence[HintResult]:
        """Tell another gateway of news; one answer for each hint, in order."""
        ...
