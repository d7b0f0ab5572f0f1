"""Saving acknowledgements: lazily, because HELLO's cursor is one too, and never before *delivered* is durable.

The order matters (model m06): an acknowledgement saved first, and the gateway gone, would leave a message that
everybody has without its second tick for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from whisperkit.runtime import Mailbox
from whisperkit.service.core import Core
from whisperkit.service.link import DeviceLink
from whisperkit.service.marks import MarkBoard
from whisperkit.service.sweeper import TRIM_ENTRIES, Sweeper
from whisperkit.sync import inbox as inboxes

__all__ = ["AckSaver"]


class AckSaver:
    """Saves what devices acknowledged.

    Args:
        core: The gateway.
        board: Where marks are raised.
        links: The open links.
        sweeper: Lets acknowledged entries go.
    """

    def __init__(
        self, core: Core, board: MarkBoard, links: Callable[[], Collection[DeviceLink]], sweeper: Sweeper
    ) -> None:
        self._core = core
        self._board = board
        self._links = links
        self._sweeper = sweeper
        self._due: Mailbox[DeviceLink] = core.runtime.mailbox()

    def soon(self, link: DeviceLink) -> None:
        """Save what the link acknowledged."""
        self._due.put(link)

    async def save(self, links: Collection[DeviceLink]) -> None:
        """Save what the links acknowledged, once all that they were delivered is durable; wait for neither twice."""
        await self._board.flush()
        for link in links:
            self._raise(link)

    async def save_now(self, links: Collection[DeviceLink]) -> None:
        """As `save`, and durable when this returns."""
        await self.save(links)
        await self._board.flush()

    async def serve(self) -> None:
        """Save acknowledgements that lie far enough ahead, and all of them after a while."""
        now, wait_s = self._core.runtime.now, self._core.config.ack_after_s
        due = now() + wait_s
        while True:
            first = await self._due.get(timeout_s=max(0.01, due - now()))
            links = dict.fromkeys([first] if first is not None else [])
            links.update(dict.fromkeys(self._due.take(1_000)))
            if now() >= due:
                due = now() + wait_s
                links.update(dict.fromkeys(link for link in self._links() if link.unsaved_acks))
            if links:
                await self.save(links)

    def _raise(self, link: DeviceLink) -> None:
        if link.window is None or not link.unsaved_acks:
            return
        link.unsaved_acks = 0
        acked = link.window.acked
        self._board.raise_mark(inboxes.partition(link.device), inboxes.acked_mark(acked.epoch), acked.seq)
        if acked.seq - link.floor_seq >= TRIM_ENTRIES:
            link.floor_seq = acked.seq
            self._sweeper.acknowledged(link.device)
