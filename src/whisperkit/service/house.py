"""Keeping house: the gateway's lease, dead sockets, and what the dead left unfinished.

Adopting is fence, finish, settle (models m01): without the fence a gateway that was only taken for dead could post
behind the one that finishes for it. A false suspicion costs time only: a fenced gateway goes on as a new incarnation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from whisperkit.ids import ConversationId, Owner
from whisperkit.partitions import Partition
from whisperkit.service import owners
from whisperkit.service.catchup import CatchUp
from whisperkit.service.codecs import CONVERSATION
from whisperkit.service.core import Core
from whisperkit.service.delivery import LinkTable
from whisperkit.service.finishing import Finisher
from whisperkit.service.hello import binding_of
from whisperkit.service.link import DeviceLink
from whisperkit.service.poster import Poster, settle
from whisperkit.service.working_set import WorkingSet
from whisperkit.stores import Absent, Kept, Newer
from whisperkit.sync import conversation as conversations
from whisperkit.sync.conversation import Fenced
from whisperkit.sync.frames import ByeCode

__all__ = ["House"]

log = logging.getLogger("whisperkit.service")


class House:
    """Looks after everything that nobody asks for.

    Args:
        core: The gateway.
        links: The established links.
        open_links: All links, those before HELLO too.
        catchup: Reads notes.
        finisher: Finishes what was left.
        poster: Knows what this gateway noted.
    """

    def __init__(
        self,
        core: Core,
        links: LinkTable,
        open_links: Callable[[], Collection[DeviceLink]],
        catchup: CatchUp,
        finisher: Finisher,
        poster: Poster,
    ) -> None:
        self._core = core
        self._links = links
        self._open_links = open_links
        self._catchup = catchup
        self._finisher = finisher
        self._poster = poster
        self._gone_since: dict[Owner, float] = {}

    async def serve(self) -> None:
        """Keep house, until the end."""
        config = self._core.config
        settled_at = self._core.runtime.now()
        while True:
            try:
                await self._beat_directory()
                await self._adopt_gone()
                if self._core.runtime.now() - settled_at >= config.note_s:
                    settled_at = self._core.runtime.now()
                    await self.settle_notes()
            except Exception:
                log.warning("house keeping failed", exc_info=True)
            self._core.hook.owed(*self._finisher.owed())
            await self._sleep_watchfully(config.beat_s)

    async def _sleep_watchfully(self, seconds: float) -> None:
        """Sleep, and look at the sockets every second."""
        until = self._core.runtime.now() + seconds
        while (now := self._core.runtime.now()) < until:
            await self._core.runtime.sleep(min(1.0, until - now))
            self._close_dead()

    def _close_dead(self) -> None:
        now = self._core.runtime.now()
        config = self._core.config
        for link in list(self._open_links()):
            if link.outlet.stuck_s(now) > config.dead_socket_s:
                link.bye(ByeCode.RESYNC)
            elif not link.is_known and now - link.opened_at > config.hello_s:
                # Late or lost, a HELLO was not refused: UNAUTHORISED would keep the client away for good.
                link.bye(ByeCode.TRY_LATER, retry_after_s=1)
            elif link.is_known and now - link.beaten_at > 3 * config.presence_ttl_s:
                link.bye(ByeCode.RESYNC)

    async def _beat_directory(self) -> None:
        directory = self._core.stores.directory
        await directory.alive(self._core.owner, self._core.config.lease_s)
        links = [link for link in self._links.all() if isinstance(link, DeviceLink)]
        if not links:
            return
        results = await directory.keep([binding_of(self._core, link) for link in links])
        again = [link for link, result in zip(links, results, strict=True) if self._must_bind(result)]
        if again:
            await directory.bind([binding_of(self._core, link) for link in again])
        for link, result in zip(links, results, strict=True):
            if isinstance(result, Newer):
                link.bye(ByeCode.SUPERSEDED)

    def _must_bind(self, result: Kept | Absent | Newer) -> bool:
        """Whether the directory lost a binding, or has it under an incarnation that was fenced and has no lease."""
        return isinstance(result, Absent) or (isinstance(result, Kept) and result.binding.owner != self._core.owner)

    async def adopt_own(self) -> None:
        """Finish what earlier lives of this gateway noted; they are over, because this one has begun."""
        while True:
            try:
                await self.adopt(Owner(self._core.owner.gateway, self._core.owner.incarnation - 1))
            except Exception:
                log.warning("adoption of own notes failed", exc_info=True)
                await self._core.runtime.sleep(1.0)
            else:
                return

    async def _adopt_gone(self) -> None:
        """Adopt owners whose lease has been absent for a while."""
        now = self._core.runtime.now()
        gone = [owner for owner in await self._core.stores.directory.gone() if owner != self._core.owner]
        self._gone_since = {owner: self._gone_since.get(owner, now) for owner in gone}
        for owner, since in list(self._gone_since.items()):
            if now - since >= self._core.config.adopt_after_s:
                await self.adopt(owner)

    async def adopt(self, owner: Owner) -> int:
        """Fence, finish and settle each conversation that an owner or an earlier life of it noted; returns how many."""
        name = owners.partition(owner.gateway)
        adopted = 0
        async for row in self._catchup.scan(name, owners.note_span(below=owner.incarnation + 1)):
            noted, conv = owners.owner_of_note(owner.gateway, row.key)
            await self._core.executor.run(_Fence(conv, noted))
            await settle(self._core, self._finisher, noted, conv)
            adopted += 1
        return adopted

    async def settle_notes(self) -> None:
        """Take away notes about conversations in which nothing is unfinished."""
        for conv in self._poster.noted():
            await self._poster.settle(conv)


class _Fence:
    """Refuses posts by an owner from now on."""

    def __init__(self, conv: ConversationId, owner: Owner) -> None:
        self.lane: Partition = conversations.partition(conv)
        self._owner = owner

    def run(self, work: WorkingSet) -> Fenced:
        state = work.state(self.lane, CONVERSATION)
        step = conversations.fence(state, self._owner)
        return work.apply(self.lane, step) if step.changes(state) else step.answer
