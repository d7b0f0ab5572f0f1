"""Reading for links: entries as the window allows, rows of a conversation on request, heads for beats."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

from whisperkit.ids import ConversationId, ConversationSeq, DeviceId
from whisperkit.service.acks import AckSaver
from whisperkit.service.catchup import CatchUp
from whisperkit.service.core import Core
from whisperkit.service.hello import new_window
from whisperkit.service.link import DeviceLink
from whisperkit.service.members import Membership
from whisperkit.sync import conversation as conversations
from whisperkit.sync import frames
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.codec import MAX_MESSAGE_BYTES
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import ByeCode, EntryKind
from whisperkit.sync.roster import is_in_audience
from whisperkit.sync.rows import PostRow, post_span

__all__ = ["Reader"]

log = logging.getLogger("whisperkit.service")

# Rows of a conversation that are read at once: each may be a mebibyte.
PIECE_ROWS: Final = 64
# What one answer to RANGE holds, beside the names in it: so that it fits into a message.
MAX_ANSWER_BYTES: Final = MAX_MESSAGE_BYTES - 1_024
# A row without its bodies: its identity, its sender and numbers.
ROW_BYTES: Final = 256
# Pulled conversations that one link may follow.
MAX_FOLLOWED: Final = 1_024


class Reader:
    """Reads from the store for links.

    Args:
        core: The gateway.
        catchup: Reads pages.
        membership: Who may read a conversation.
        acks: Takes the cursor of a PULL, which is an ACK, too.
    """

    def __init__(self, core: Core, catchup: CatchUp, membership: Membership, acks: AckSaver) -> None:
        self._core = core
        self._catchup = catchup
        self._membership = membership
        self._acks = acks
        self._followers: dict[ConversationId, set[DeviceLink]] = {}

    def read_on(self, link: DeviceLink) -> None:
        """Read entries for a link until its window is full or all is sent."""
        self._core.runtime.spawn(partial(self._read_on, link), name="read on")

    async def _read_on(self, link: DeviceLink) -> None:
        window = link.window
        assert window is not None  # only known links read
        try:
            while link.is_open and window is link.window and window.room > 0 and link.head_seq > window.sent_seq:
                page = await self._catchup.page(link.device, window.sent_seq, limit=min(256, window.room))
                if window is not link.window:
                    break  # the device asked again from elsewhere: what was read is not what it lacks
                if page.is_hole:
                    link.bye(ByeCode.RESYNC, why="entries-gone")
                if not page.deliveries:
                    break
                for delivery in page.deliveries:
                    if not window.take(delivery):
                        break
                    link.send(delivery.frame)
        except Exception:
            log.warning("catch-up failed", extra={"device": link.device}, exc_info=True)
            link.bye(ByeCode.TRY_LATER, retry_after_s=1, why="catch-up-failed")
        # No await between the last look at `head_seq` and here, so nothing that came meanwhile is missed.
        link.is_reading = False
        if window is not link.window:
            link.read_on()

    async def pull(self, link: DeviceLink, cursor: Cursor) -> None:
        """The device lacks something that should have come: send again from its cursor."""
        standing = await self._catchup.compare(link.device, cursor)
        if not isinstance(standing.answer, inboxes.Delta):
            link.bye(ByeCode.RESYNC, why="another-log")
            return
        # What the window skips now would never be *delivered*, if the ACK for it was lost.
        await self._acks.take_cursor(link.device, cursor)
        link.begin(new_window(self._core, cursor), standing.inbox.seq)
        link.read_on()

    async def range(self, link: DeviceLink, wanted: frames.Range) -> None:
        """Rows of a conversation, for a member: those of its audience only."""
        head, stays = await self._membership.of(wanted.conv, link.device.user)
        visible: list[frames.StoredRow] = []
        upto, room = wanted.after, MAX_ANSWER_BYTES
        limit = min(wanted.limit, frames.MAX_ROWS)
        while limit and room > 0:
            piece = min(limit, PIECE_ROWS)
            rows = await self._catchup.posts(wanted.conv, [post_span(upto, wanted.upto)], limit=piece)
            for row in rows:
                if _is_pulled(row) and is_in_audience(stays, row.seq):
                    stored = _stored(row, link.device)
                    room -= ROW_BYTES + len(stored.own or b"") + len(stored.shared or b"")
                    if room < 0 and visible:
                        break  # the device asks again from here
                    visible.append(stored)
                upto = row.seq
            if len(rows) < piece and room >= 0:
                upto = ConversationSeq(max(upto, min(wanted.upto, head)))
                break
            limit -= piece
        link.send(frames.Rows(wanted.conv, wanted.after, upto, tuple(visible), head))

    # ---- heads, and followers of conversations that are pulled ----

    async def say_head(self, link: DeviceLink) -> None:
        """Answer a beat with how far the inbox goes, from the store: a lost hint costs one beat (S27)."""
        try:
            inbox = await self._catchup.inbox(link.device)
            heads = await self._heads(link.follows)
        except Exception:
            log.warning("no head for a beat", extra={"device": link.device}, exc_info=True)
            return
        link.send(frames.Head(inbox.head_cursor, heads))
        link.hear(inbox.seq)

    async def _heads(self, convs: Collection[ConversationId]) -> dict[ConversationId, ConversationSeq]:
        names = {conversations.partition(conv): conv for conv in convs}
        if not names:
            return {}
        found = await self._core.stores.partitions.heads(names)
        return {names[name]: conversations.decode(head.state).seq for name, head in found.items()}

    async def follow(self, link: DeviceLink, convs: Sequence[ConversationId]) -> None:
        try:
            mine = [conv for conv in convs[:MAX_FOLLOWED] if await self._membership.is_member(conv, link.device.user)]
        except Exception:
            # The device would wait for heads that nobody tells it of; whatever left this task would end the gateway.
            log.warning("nothing followed", extra={"device": link.device}, exc_info=True)
            link.bye(ByeCode.TRY_LATER, retry_after_s=1, why="follow-failed")
            return
        self.unfollow(link)
        if not link.is_open:
            return
        link.follows = frozenset(mine)
        for conv in mine:
            self._followers.setdefault(conv, set()).add(link)
        await self.say_head(link)

    def unfollow(self, link: DeviceLink) -> None:
        for conv in link.follows:
            followers = self._followers.get(conv)
            if followers is not None:
                followers.discard(link)
                if not followers:
                    del self._followers[conv]
        link.follows = frozenset()

    def pulled(self, conv: ConversationId, seq: ConversationSeq) -> None:
        """A pulled conversation has a new head: those who follow it here hear of it at once, others with a beat."""
        for link in self._followers.get(conv, ()):
            if link.window is not None:
                link.send(frames.Head(link.window.sent, {conv: seq}))


def _is_pulled(row: PostRow) -> bool:
    """Whether a member fetches the row.

    A pushed one comes by the inbox, with the copy for this very device: served here too, without it, it would be
    known by its id and the real one be dropped as a repeat.
    """
    return not row.strategy.is_pushed or row.kind is EntryKind.MODE


def _stored(row: PostRow, device: DeviceId) -> frames.StoredRow:
    """A row as RANGE shows it to one device."""
    own = None if row.own is None else row.own.get(device)
    is_hidden = own is None and row.body is None and row.kind is EntryKind.MESSAGE
    kind = EntryKind.PLACEHOLDER if is_hidden else row.kind
    return frames.StoredRow(row.message_id, kind, row.seq, row.sender, row.at_ms, own, row.body)
