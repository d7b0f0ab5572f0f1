"""One connection between a simulated device and a gateway: in order and whole, unless somebody decides otherwise.

Messages of one direction arrive in the order they left, each after a while, until the wire is cut. `WireFates` says
which of them are lost, come twice or come late. Each end hears of the end of the other in its own time, or never.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from whisperkit.testing.sim_runtime import SimRuntime

__all__ = ["Attach", "LinkEnd", "LossyWire", "WireFates"]

LATE_S = 0.5


class LinkEnd(Protocol):
    """The gateway's end: `whisperkit.service.AttachedLink`."""

    def receive(self, data: bytes | str) -> None:
        """A message came."""

    def detach(self) -> None:
        """The connection is gone."""


Attach = Callable[[Callable[[bytes], None], Callable[[int, str], None]], LinkEnd]
"""Makes the gateway's end, given what sends and what closes."""


class WireFates:
    """What is to happen to the next messages of one device, by direction."""

    def __init__(self) -> None:
        self._armed: dict[str, deque[str]] = {"up": deque(), "down": deque()}

    def arm(self, way: str, fate: str) -> None:
        """Let the next message that way be ``lost``, ``doubled`` or ``late``."""
        self._armed[way].append(fate)

    def next(self, way: str) -> str | None:
        """The fate of the message that leaves now."""
        return self._armed[way].popleft() if self._armed[way] else None

    def disarm(self) -> None:
        """Let all messages arrive from now on."""
        for armed in self._armed.values():
            armed.clear()


class LossyWire:
    """A connection.

    Args:
        device: The device's node.
        gateway: The gateway's node.
        fates: Of the device's messages.
        attach: Makes the gateway's end.
        came: Told of each message that reaches the device.
        ended: Told when the device learns that the connection is gone.
    """

    def __init__(
        self,
        device: SimRuntime,
        gateway: SimRuntime,
        fates: WireFates,
        *,
        attach: Attach,
        came: Callable[[bytes], None],
        ended: Callable[[], None],
    ) -> None:
        self.gateway = gateway
        self.is_damaged = False
        self._device = device
        self._fates = fates
        self._attach = attach
        self._came = came
        self._ended = ended
        self._link: LinkEnd | None = None
        self._is_cut = False
        self._arrives = {"up": 0.0, "down": 0.0}

    def open(self) -> None:
        """Connect: the gateway attaches a link as soon as it hears of it."""
        self._carry("up", self._accept, gateway=True)

    def _accept(self) -> None:
        if not self._is_cut:
            self._link = self._attach(self._down, self._close)

    # ---- messages ----

    def up(self, data: bytes) -> None:
        """The device sends."""
        self._send("up", partial(self._receive, data))

    def _receive(self, data: bytes) -> None:
        if self._link is not None and not self._is_cut:
            self._link.receive(data)

    def _down(self, data: bytes) -> None:
        self._send("down", partial(self._came, data))

    def _send(self, way: str, arrive: Callable[[], None]) -> None:
        fate = self._fates.next(way)
        self.is_damaged = self.is_damaged or fate is not None
        if fate == "late":
            self._after(self._latency_s() + LATE_S, way, arrive)
            return
        for _ in range({"lost": 0, "doubled": 2}.get(fate or "", 1)):
            self._carry(way, arrive, gateway=way == "up")

    def _carry(self, way: str, arrive: Callable[[], None], *, gateway: bool) -> None:
        """Let something arrive behind all that left before it."""
        at = max(self._device.now() + self._latency_s(), self._arrives[way] + 1e-6)
        self._arrives[way] = at
        self._after(at - self._device.now(), way, arrive)

    def _after(self, delay_s: float, way: str, arrive: Callable[[], None]) -> None:
        node = self.gateway if way == "up" else self._device

        def unless_cut() -> None:
            if not self._is_cut:
                node.do(arrive)

        self._device.world.at(delay_s, unless_cut, label=f"{self._device.name} {way}")

    def _latency_s(self) -> float:
        return 4 * self._device.latency_s()

    # ---- ends ----

    def _close(self, _code: int, _reason: str) -> None:
        """The gateway closes; the device learns of it behind what was sent."""
        self._carry("down", self._end, gateway=False)

    def _end(self) -> None:
        self._is_cut = True
        self._ended()

    def cut(self, *, gateway_hears_s: float, device_hears_s: float) -> None:
        """The connection is gone; what is under way is lost. Each end hears of it after a while."""
        if self._is_cut:
            return
        self._is_cut = True
        world = self._device.world
        world.at(device_hears_s, partial(self._device.do, self._ended), label=f"{self._device.name} cut")
        world.at(gateway_hears_s, partial(self.gateway.do, self._detach), label=f"{self.gateway.name} cut")

    def _detach(self) -> None:
        if self._link is not None:
            self._link.detach()

    def hang_up(self) -> None:
        """The device closes; the gateway hears of it soon."""
        if not self._is_cut:
            self._is_cut = True
            bye = partial(self.gateway.do, self._detach)
            self._device.world.at(self._latency_s(), bye, label=f"{self.gateway.name} hung up")
