"""Adopting: whatever gateways noted and cannot finish any more is finished by others.

Adopting a note is fence, finish, settle (model m01): without the fence a gateway that was only taken for dead could
post behind the one that finishes for it. A false suspicion costs time only: a fenced gateway goes on as a new
incarnation.

Whom to adopt is told by two memories. The list of gateways is durable, and names everybody who may have left a note
(`owners`). The directory says who of them has no lease; it is ephemeral, and all that it may forget is who is alive,
which they say again within a beat. So one that has lost its memory delays an adoption, and never prevents it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable

from whisperkit.ids import ConversationId, GatewayId, Owner
from whisperkit.partitions import Partition, prefix
from whisperkit.service import owners
from whisperkit.service.catchup import CatchUp
from whisperkit.service.codecs import CONVERSATION
from whisperkit.service.core import Core
from whisperkit.service.finishing import Finisher
from whisperkit.service.poster import Poster, settle
from whisperkit.service.working_set import WorkingSet
from whisperkit.sync import conversation as conversations
from whisperkit.sync.conversation import Conversation

__all__ = ["Adopter"]

log = logging.getLogger("whisperkit.service")


class Adopter:
    """Finishes what the dead left, and what earlier lives of this gateway left.

    Args:
        core: The gateway.
        catchup: Reads the list of gateways, and notes.
        finisher: Finishes what was left.
        poster: Changes a strategy that was left behind.
    """

    def __init__(self, core: Core, catchup: CatchUp, finisher: Finisher, poster: Poster) -> None:
        self._core = core
        self._catchup = catchup
        self._finisher = finisher
        self._poster = poster
        self._gone_since: dict[Owner, float] = {}
        self._heir: Owner | None = None  # the life of this gateway that has adopted all before it

    async def serve(self) -> None:
        """Adopt, until the end."""
        while True:
            try:
                await self._adopt_own()
                await self._adopt_gone()
            except Exception:
                log.warning("adoption failed", exc_info=True)
            await self._core.runtime.sleep(self._core.config.beat_s)

    async def _adopt_own(self) -> None:
        """Finish what earlier lives of this gateway noted; they are over, because this one has begun."""
        owner = self._core.owner
        if owner != self._heir and await self.adopt(Owner(owner.gateway, owner.incarnation - 1)):
            self._heir = owner

    async def _adopt_gone(self) -> None:
        """Adopt those on the list whose lease has not been there for a while."""
        now = self._core.runtime.now()
        listed = [owner async for owner in self._listed()]
        gone = await self._core.stores.directory.gone(listed)
        self._gone_since = {owner: self._gone_since.get(owner, now) for owner in listed if owner in gone}
        living = {self._core.owner.gateway, *(owner.gateway for owner in listed if owner not in gone)}
        for owner, since in list(self._gone_since.items()):
            patience = 1 + self._place(owner.gateway, living)
            if now - since >= patience * self._core.config.adopt_after_s:
                await self._bury(owner)

    async def _listed(self) -> AsyncIterator[Owner]:
        """The other gateways that may have left notes."""
        async for row in self._catchup.scan(owners.GATEWAYS, prefix(owners.LISTED_KEYS)):
            owner = owners.listed_owner(row)
            if owner.gateway != self._core.owner.gateway:
                yield owner

    def _place(self, dead: GatewayId, living: Iterable[GatewayId]) -> int:
        """How many of the living are asked before this gateway: from the dead one's name onwards, in a ring.

        Hundreds could do it, and two at once are harmless; but all of them would do the same work. So the next one
        does it, the one behind it if it was not done, and so on: many dead are spread over many living.
        """
        ring = sorted(living, key=lambda name: (name < dead, name))
        return ring.index(self._core.owner.gateway)

    async def _bury(self, owner: Owner) -> None:
        """Adopt all that a gateway noted, and take it off the list."""
        try:
            if await self.adopt(owner) and await self._core.executor.run(_End(owner)):
                await self._core.executor.run(_Delist(owner))
                log.info("adopted", extra={"gateway": owner.gateway, "incarnation": owner.incarnation})
        except Exception:
            # It stays listed, and is tried again; the others that are gone do not wait for it.
            log.warning("not adopted", extra={"gateway": owner.gateway}, exc_info=True)

    async def adopt(self, owner: Owner) -> bool:
        """Fence, finish and settle each conversation that an owner or an earlier life of it noted.

        Returns:
            Whether all of them were settled.
        """
        is_all = True
        async for row in self._catchup.scan(
            owners.partition(owner.gateway), owners.note_span(below=owner.incarnation + 1)
        ):
            noted, conv = owners.owner_of_note(owner.gateway, row.key)
            try:
                head = await self._core.executor.run(_Fence(conv, noted))
                is_settled = await settle(self._core, self._finisher, noted, conv)
                # Who changes the members sees to the strategy afterwards, and may have died between.
                self._poster.fit_strategy(conv, head)
            except Exception:
                # One conversation that cannot be finished must not keep the others waiting.
                log.warning("note not adopted", extra={"conversation": conv}, exc_info=True)
                is_settled = False
            is_all = is_all and is_settled
        return is_all


class _Fence:
    """Refuses posts by an owner from now on, and answers the head."""

    def __init__(self, conv: ConversationId, owner: Owner) -> None:
        self.lane: Partition = conversations.partition(conv)
        self._owner = owner

    def run(self, work: WorkingSet) -> Conversation:
        state = work.state(self.lane, CONVERSATION)
        step = conversations.fence(state, self._owner)
        if step.changes(state):
            work.apply(self.lane, step)
        return step.state


class _End:
    """Ends an incarnation of which no note is left: from now on it notes nothing."""

    def __init__(self, owner: Owner) -> None:
        self.lane = owners.partition(owner.gateway)
        self._owner = owner

    def run(self, work: WorkingSet) -> bool:
        left = work.rows(self.lane, owners.OWNERS, owners.note_span(below=self._owner.incarnation + 1))
        return work.apply(self.lane, owners.end(work.state(self.lane, owners.OWNERS), self._owner, left))


class _Delist:
    """Takes an incarnation that has ended off the list of gateways."""

    lane = owners.GATEWAYS

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def run(self, work: WorkingSet) -> None:
        there = work.row(self.lane, owners.LISTED, owners.listed_key(self._owner.gateway))
        work.apply(self.lane, owners.delist(self._owner, there))
