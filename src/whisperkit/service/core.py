"""What all flows of one gateway share: its doors, its clock, its name, and what it remembers.

Everything remembered here may be stale or gone at any time: a stale head costs a conflict, for the rest see `audience`.
"""

from __future__ import annotations

import logging
from typing import Any

from whisperkit.ids import GatewayId, MessageId, Owner
from whisperkit.runtime import Runtime
from whisperkit.service import owners
from whisperkit.service.audience import DeviceLists, Rosters
from whisperkit.service.executor import Executor, make_executor
from whisperkit.service.frame_counts import FrameCounts
from whisperkit.service.hook import Hook
from whisperkit.service.limits import ServiceConfig
from whisperkit.service.working_set import HeadCache, WorkingSet
from whisperkit.stores import Stores

__all__ = ["Core"]

log = logging.getLogger("whisperkit.service")


class Core:
    """One gateway's share of everything.

    Args:
        stores: The doors.
        runtime: The world.
        config: Bounds and intervals.
        gateway: The name of this gateway, the same after a restart.
        hook: Told what happens, for metrics.
    """

    def __init__(
        self, stores: Stores, runtime: Runtime, *, config: ServiceConfig, gateway: GatewayId, hook: Hook
    ) -> None:
        self.stores = stores
        self.runtime = runtime
        self.config = config
        self.hook = hook
        self.frame_counts = FrameCounts(hook)
        self.owner = Owner(gateway, 0)
        self.cache = HeadCache(max_heads=config.max_cached_heads)
        self.executor: Executor[Any] = make_executor(  # Any: each operation has its own answer
            stores.partitions, runtime, cache=self.cache, observe=hook.committed
        )
        self.rosters = Rosters()
        self.submit = self.executor.submit
        self.device_lists = DeviceLists(stores, runtime, max_age_s=config.device_list_s)

    @property
    def spans_partitions(self) -> bool:
        """Whether one commit may carry changes to several partitions."""
        return self.stores.partitions.spans_partitions

    def mint(self) -> MessageId:
        """A message id of the service's own."""
        return MessageId.mint(wall_ms=self.runtime.wall_ms(), random_bytes=self.runtime.random)

    async def begin_incarnation(self, *, above: int = 0) -> None:
        """Open a new life of this gateway: at the start, and whenever the old one was fenced."""
        operation = _Begin(self, max(above + 1, self.runtime.wall_ms()))
        owner = Owner(self.owner.gateway, await self.executor.run(operation))
        # Before it posts anything: only who is listed is looked for.
        await self.executor.run(_Enlist(owner))
        self.owner = owner
        log.info("incarnation opened", extra={"gateway": self.owner.gateway, "incarnation": self.owner.incarnation})


class _Begin:
    """Opens an incarnation."""

    def __init__(self, core: Core, at_least: int) -> None:
        self.lane = owners.partition(core.owner.gateway)
        self._at_least = at_least

    def run(self, work: WorkingSet) -> int:
        notes = work.state(self.lane, owners.OWNERS)
        return work.apply(self.lane, owners.begin(notes, at_least=self._at_least))


class _Enlist:
    """Puts a gateway on the list of those that may leave notes."""

    lane = owners.GATEWAYS

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def run(self, work: WorkingSet) -> None:
        there = work.row(self.lane, owners.LISTED, owners.listed_key(self._owner.gateway))
        work.apply(self.lane, owners.enlist(self._owner, there))
