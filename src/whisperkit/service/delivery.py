"""Pushing: a hint that there is news, to devices connected here and, through the bus, elsewhere.

A push may be lost; nothing rests on it. What is pushed is in the inbox already (append, then look up).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from whisperkit.ids import DeviceId, GatewayId, UserId
from whisperkit.runtime import Mailbox, Runtime
from whisperkit.service.hook import Hook
from whisperkit.service.window import Delivery
from whisperkit.stores import Bound, Stores
from whisperkit.transport import Hint, NotHere, Took

__all__ = ["Attached", "Deliverer", "LinkTable"]

log = logging.getLogger("whisperkit.service")

# An entry larger than this is not sent along with a hint to another gateway, which reads it from the inbox.
MAX_HINT_BYTES = 16 << 10
# Hints that wait to be sent; beyond it they are dropped, as hints may be.
MAX_WAITING_HINTS = 100_000


class Attached(Protocol):
    """A device that is connected here."""

    @property
    def device(self) -> DeviceId:
        """Which one."""
        ...

    def offer(self, delivery: Delivery) -> None:
        """Send an entry if it is the next one and there is room; otherwise remember that there is news."""
        ...

    def hear(self, head: int) -> None:
        """Remember that the inbox has come so far."""
        ...


class LinkTable:
    """The established links of this gateway, one for each device."""

    def __init__(self) -> None:
        self._by_device: dict[DeviceId, Attached] = {}
        self._by_user: dict[UserId, dict[DeviceId, Attached]] = {}

    def get(self, device: DeviceId) -> Attached | None:
        """The link of a device."""
        return self._by_device.get(device)

    def of_user(self, user: UserId) -> Sequence[Attached]:
        """The links of a user's devices."""
        return tuple(self._by_user.get(user, {}).values())

    def add(self, link: Attached) -> None:
        """Take a link in; it replaces another of the same device."""
        self._by_device[link.device] = link
        self._by_user.setdefault(link.device.user, {})[link.device] = link

    def remove(self, link: Attached) -> None:
        """Take a link out, unless another took its place."""
        if self._by_device.get(link.device) is not link:
            return
        del self._by_device[link.device]
        links = self._by_user[link.device.user]
        del links[link.device]
        if not links:
            del self._by_user[link.device.user]

    def all(self) -> Sequence[Attached]:
        """Every link."""
        return tuple(self._by_device.values())

    def __len__(self) -> int:
        return len(self._by_device)


class Deliverer:
    """Tells devices of news.

    Args:
        stores: The directory and the bus.
        runtime: For the task that speaks to other gateways.
        gateway: This one.
        links: Who is connected here.
        hook: Told how hints fared.
    """

    def __init__(self, stores: Stores, runtime: Runtime, gateway: GatewayId, links: LinkTable, hook: Hook) -> None:
        self._stores = stores
        self._runtime = runtime
        self._gateway = gateway
        self._links = links
        self._hook = hook
        self._far: Mailbox[Hint] = runtime.mailbox()
        runtime.spawn(self._serve, name="hints")

    def push(self, deliveries: Sequence[tuple[DeviceId, Delivery]]) -> None:
        """Tell the devices what was appended."""
        for device, delivery in deliveries:
            link = self._links.get(device)
            if link is not None:
                link.offer(delivery)
            elif len(self._far) < MAX_WAITING_HINTS:
                entry = delivery.frame if len(delivery.frame) <= MAX_HINT_BYTES else None
                self._far.put(Hint(device, delivery.seq, entry))
            else:
                self._hook.hinted("lost", 1)

    async def _serve(self) -> None:
        while True:
            first = await self._far.get()
            if first is None:
                continue
            hints = [first, *self._far.take(1_000)]
            try:
                found = await self._sort(hints)
            except Exception:
                # A hint may be lost; the head rides in the answer to every beat.
                log.warning("nobody found to hint at", extra={"count": len(hints)}, exc_info=True)
                self._hook.hinted("lost", len(hints))
                continue
            for gateway, batch in found.items():
                await self._send(gateway, batch)

    async def _sort(self, hints: Sequence[Hint]) -> dict[GatewayId, list[Hint]]:
        """The hints for each other gateway."""
        found = await self._stores.directory.lookup({hint.device for hint in hints})
        by_gateway: dict[GatewayId, list[Hint]] = {}
        for hint in hints:
            where = found.get(hint.device)
            if isinstance(where, Bound) and where.binding.owner.gateway != self._gateway:
                by_gateway.setdefault(where.binding.owner.gateway, []).append(hint)
        return by_gateway

    async def _send(self, gateway: GatewayId, hints: Sequence[Hint]) -> None:
        try:
            results = await self._stores.bus.hint(gateway, hints)
        except Exception:
            log.warning("hints lost", extra={"gateway": gateway, "count": len(hints)}, exc_info=True)
            self._hook.hinted("lost", len(hints))
            return
        for result in results:
            match result:
                case Took():
                    self._hook.hinted("took", 1)
                case NotHere():
                    self._hook.hinted("not_here", 1)
                case None:
                    self._hook.hinted("lost", 1)
