"""Saving acknowledgements: lazily, because HELLO's cursor is one too, and never before *delivered* is durable.

The order matters (model m06): an acknowledgement saved first, and the gateway gone, would leave a message that
everybody has without its second tick for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from whisperkit.errors import StoreError
from whisperkit.ids import DeviceId
from whisperkit.runtime import Mailbox
from whisperkit.service.catchup import MAX_PAGE, CatchUp
from whisperkit.service.core import Core
from whisperkit.service.link import DeviceLink
from whisperkit.service.sweeper import TRIM_ENTRIES, Sweeper
from whisperkit.service.ticks import Ticks
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.cursor import Cursor

__all__ = ["AckSaver"]

log = logging.getLogger("whisperkit.service")


class AckSaver:
    """Saves what devices acknowledged.

    Args:
        core: The gateway.
        ticks: *Delivered* comes first.
        catchup: Reads what a cursor acknowledges that no window knows.
        links: The open links.
        sweeper: Lets acknowledged entries go.
    """

    def __init__(
        self,
        core: Core,
        ticks: Ticks,
        catchup: CatchUp,
        links: Callable[[], Collection[DeviceLink]],
        sweeper: Sweeper,
    ) -> None:
        self._core = core
        self._ticks = ticks
        self._board = ticks.board
        self._catchup = catchup
        self._links = links
        self._sweeper = sweeper
        # The last link of each device that is to be saved: those that have ended, too, and never two of one device.
        self._due: dict[DeviceId, DeviceLink] = {}
        self._wake: Mailbox[bool] = core.runtime.mailbox()

    @property
    def waiting(self) -> int:
        """How many devices are to be saved soon."""
        return len(self._due)

    def soon(self, link: DeviceLink) -> None:
        """Save what the link acknowledged."""
        if not self._due:
            self._wake.put(True)
        self._due[link.device] = link

    async def save(self, links: Collection[DeviceLink]) -> None:
        """Save what the links have acknowledged by now, once all that they were delivered is durable.

        Raises:
            StoreError: The marks cannot be written now; nothing is forgotten.
        """
        # The cursors are taken before the wait: *delivered* of what is acknowledged during it may not be durable after.
        taken = [
            (link, link.window.acked, link.unsaved_acks)
            for link in links
            if link.window is not None and link.unsaved_acks
        ]
        for link, _, _ in taken:
            link.unsaved_acks = 0
        try:
            await self._board.flush()
        except StoreError:
            for link, _, count in taken:
                link.unsaved_acks += count
            raise
        for link, acked, _ in taken:
            self._raise(link, acked)

    async def save_now(self, links: Collection[DeviceLink]) -> None:
        """As `save`, and durable when this returns."""
        await self.save(links)
        await self._board.flush()

    async def take_cursor(self, device: DeviceId, cursor: Cursor) -> None:
        """Take the cursor of a HELLO or a PULL, which is an ACK: raise *delivered* for what it is ahead, then save it.

        Raises:
            StoreError: The store is away; the device comes again with the same cursor.
        """
        name = inboxes.partition(device)
        mark = inboxes.acked_mark(cursor.epoch)
        inbox = await self._catchup.inbox(device)
        stored = (await self._core.stores.marks.marks([name])).get(name, {}).get(mark, 0)
        after = max(stored, inbox.floor)
        while after < cursor.seq:
            self._board.check_room()
            page = await self._catchup.page(device, after, limit=min(MAX_PAGE, cursor.seq - after))
            if not page.deliveries:
                break
            self._ticks.delivered(device.user, page.deliveries)
            after = page.deliveries[-1].seq
        if after > stored:
            await self._board.flush()
            self._board.raise_mark(name, mark, cursor.seq)

    async def serve(self) -> None:
        """Save acknowledgements that lie far enough ahead, and all of them after a while."""
        now, wait_s = self._core.runtime.now, self._core.config.ack_after_s
        due = now() + wait_s
        while True:
            await self._wake.get(timeout_s=max(0.01, due - now()))
            links = dict.fromkeys(self._due.values())
            self._due = {}
            if now() >= due:
                due = now() + wait_s
                links.update(dict.fromkeys(link for link in self._links() if link.unsaved_acks))
            if links:
                await self._save_patiently(links)

    async def _save_patiently(self, links: Collection[DeviceLink]) -> None:
        try:
            await self.save(links)
        except StoreError:
            log.warning("acknowledgements not saved", extra={"count": len(links)}, exc_info=True)
            # Nobody else remembers those that have ended; a link that came after one says where its device stands.
            for link in links:
                if not link.is_open:
                    self._due.setdefault(link.device, link)

    def _raise(self, link: DeviceLink, acked: Cursor) -> None:
        self._board.raise_mark(inboxes.partition(link.device), inboxes.acked_mark(acked.epoch), acked.seq)
        if acked.seq - link.floor_seq >= TRIM_ENTRIES:
            link.floor_seq = acked.seq
            self._sweeper.acknowledged(link.device)
