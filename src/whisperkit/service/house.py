"""Keeping house: the gateway's lease, dead sockets, and notes that are not needed any more.

Nothing that may take long is done between two beats: a lease that is renewed late looks like a death.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from whisperkit.service.core import Core
from whisperkit.service.delivery import LinkTable
from whisperkit.service.finishing import Finisher
from whisperkit.service.hello import binding_of
from whisperkit.service.link import DeviceLink
from whisperkit.service.poster import Poster
from whisperkit.stores import Absent, Kept, Newer
from whisperkit.sync.frames import ByeCode

__all__ = ["House"]

log = logging.getLogger("whisperkit.service")


class House:
    """Looks after everything that nobody asks for.

    Args:
        core: The gateway.
        links: The established links.
        open_links: All links, those before HELLO too.
        finisher: Says what is owed.
        poster: Knows what this gateway noted.
    """

    def __init__(
        self,
        core: Core,
        links: LinkTable,
        open_links: Callable[[], Collection[DeviceLink]],
        finisher: Finisher,
        poster: Poster,
    ) -> None:
        self._core = core
        self._links = links
        self._open_links = open_links
        self._finisher = finisher
        self._poster = poster

    async def serve(self) -> None:
        """Keep house, until the end."""
        while True:
            try:
                await self._beat_directory()
            except Exception:
                log.warning("lease not renewed", exc_info=True)
            await self._core.runtime.sleep(self._core.config.beat_s)

    async def settle_notes(self) -> None:
        """Take away notes about conversations in which nothing is unfinished, every `note_s`, until the end."""
        while True:
            await self._core.runtime.sleep(self._core.config.note_s)
            for conv in self._poster.noted():
                await self._poster.settle(conv)

    async def watch(self) -> None:
        """Look around every second, until the end: also while a directory keeps `serve` waiting."""
        while True:
            await self._core.runtime.sleep(1.0)
            self.look()

    def look(self) -> None:
        """Tell what waits, and close dead sockets."""
        now = self._core.runtime.now()
        (finishing, oldest_s), (unjobbed, waited_s) = self._finisher.owed(), self._poster.owed()
        self._core.hook.owed(finishing + unjobbed, max(oldest_s, waited_s))
        self._core.frame_counts.tell()
        for link in list(self._open_links()):
            pending = link.outlet.pending_bytes()
            if pending:
                self._core.hook.backlog(pending)
            self._close_if_dead(link, now)

    def _close_if_dead(self, link: DeviceLink, now: float) -> None:
        config = self._core.config
        if link.outlet.stuck_s(now) > config.dead_socket_s:
            link.bye(ByeCode.RESYNC, why="stuck")
        elif not link.is_known and now - link.opened_at > config.hello_s:
            # Late or lost, a HELLO was not refused: UNAUTHORISED would keep the client away for good.
            link.bye(ByeCode.TRY_LATER, retry_after_s=1, why="no-hello")
        elif link.is_known and now - link.heard_at > 3 * config.presence_ttl_s:
            link.bye(ByeCode.RESYNC, why="silent")

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
                link.bye(ByeCode.SUPERSEDED, why="newer-elsewhere")

    def _must_bind(self, result: Kept | Absent | Newer) -> bool:
        """Whether the directory lost a binding, or has it under an incarnation that was fenced and has no lease."""
        return isinstance(result, Absent) or (isinstance(result, Kept) and result.binding.owner != self._core.owner)
