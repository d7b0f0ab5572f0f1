"""Catching up: an inbox above a cursor, read in pages; and the snapshot for a device whose cursor leads nowhere.

Entries that refer to a text kept once in its conversation are completed here, with one read for each
conversation of a page. A snapshot's cursor is the floor, read first; what lies above it is still owed, and
entries are idempotent over newer state, so snapshot and delta together equal a replay (model m03).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from whisperkit import accounts
from whisperkit.errors import CorruptStateError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq, UserId
from whisperkit.partitions import Head, Partition, Row, Span, prefix, seq_of
from whisperkit.receipts import MarkKind, mark_name
from whisperkit.service.codecs import INBOX
from whisperkit.service.copies import Copies
from whisperkit.service.core import Core
from whisperkit.service.marks import MarkBoard
from whisperkit.service.window import Delivery
from whisperkit.strategy import Strategy
from whisperkit.sync import conversation as conversations
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.codec import decode
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import Direction, Entry, EntryKind, SnapshotItem
from whisperkit.sync.inbox import Inbox, OwnValue, SharedValue
from whisperkit.sync.roster import MEMBERS, members_at
from whisperkit.sync.rows import PostRow, decode_row, post_key

__all__ = ["MAX_PAGE", "CatchUp", "Page", "Standing"]

# Members listed in one part of a snapshot, all conversations together; keeps a part well below a mebibyte.
MAX_PART_MEMBERS = 5_000
MAX_PART_ITEMS = 64
# Entries in one read of an inbox, and rows in one page of a scan.
MAX_PAGE = 256


class Standing(NamedTuple):
    """Where a device stands: the comparison of its cursor, and the inbox it was compared with."""

    answer: inboxes.Comparison
    inbox: Inbox


class Page(NamedTuple):
    """Entries of an inbox, in order.

    Attributes:
        deliveries: Complete entries, without a hole from behind the asked number.
        is_hole: What should come next is gone: the floor passed it.
    """

    deliveries: tuple[Delivery, ...]
    is_hole: bool


class CatchUp:
    """Reads inboxes and snapshots.

    Args:
        core: The gateway.
        board: Where marks are read.
    """

    def __init__(self, core: Core, board: MarkBoard) -> None:
        self._core = core
        self._board = board

    async def inbox(self, device: DeviceId) -> Inbox:
        """The head of an inbox as it is in the store now."""
        name = inboxes.partition(device)
        head = (await self._core.stores.partitions.heads([name])).get(name)
        return INBOX.decode(head.state if head is not None else b"")

    async def compare(self, device: DeviceId, cursor: Cursor | None) -> Standing:
        """Tell where a device stands, from the store as it is now."""
        inbox = await self.inbox(device)
        tag_at = None
        if cursor is not None and (key := inboxes.tag_key(inbox, cursor)) is not None:
            rows = await self._core.stores.partitions.rows(inboxes.partition(device), [_only(key)], limit=1)
            tag_at = inboxes.decode_value(rows[0].value).tag if rows else None
        return Standing(inboxes.compare(inbox, cursor, tag_at), inbox)

    async def page(self, device: DeviceId, after: int, *, limit: int = MAX_PAGE) -> Page:
        """Entries above `after`, at most `limit`."""
        name = inboxes.partition(device)
        rows = await self._core.stores.partitions.rows(name, [inboxes.entry_span(after, after + limit)], limit=limit)
        if rows and seq_of(rows[0].key) != after + 1:
            return Page((), is_hole=True)
        values = [(InboxSeq(seq_of(row.key)), inboxes.decode_value(row.value)) for row in rows]
        posts = await self._posts([value for _, value in values if isinstance(value, SharedValue)])
        return Page(tuple(_delivery(seq, value, posts) for seq, value in values), is_hole=False)

    async def _posts(self, references: Sequence[SharedValue]) -> dict[tuple[ConversationId, int], Copies]:
        wanted: dict[ConversationId, list[int]] = {}
        for reference in references:
            wanted.setdefault(reference.conv, []).append(reference.conv_seq)
        found: dict[tuple[ConversationId, int], Copies] = {}
        for conv, seqs in wanted.items():
            for row in await self.posts(conv, [_only(post_key(seq)) for seq in seqs], limit=len(seqs)):
                found[conv, row.seq] = Copies(conv, row)
        return found

    async def posts(self, conv: ConversationId, spans: Sequence[Span], *, limit: int) -> list[PostRow]:
        """Rows of a conversation."""
        rows = await self._core.stores.partitions.rows(conversations.partition(conv), spans, limit=limit)
        return [decode_row(row.value) for row in rows]

    # ---- snapshots ----

    async def snapshot(self, device: DeviceId) -> tuple[Cursor, AsyncIterator[tuple[SnapshotItem, ...]]]:
        """The floor, read first, and then the parts of everything the device's user is in."""
        inbox = await self.inbox(device)
        return inbox.floor_cursor, self._parts(device.user)

    async def _parts(self, user: UserId) -> AsyncIterator[tuple[SnapshotItem, ...]]:
        part: list[SnapshotItem] = []
        members = 0
        async for conv in self._memberships(user):
            item = await self._item(conv, user)
            if item is None:
                continue
            if part and (len(part) == MAX_PART_ITEMS or members + len(item.members) > MAX_PART_MEMBERS):
                yield tuple(part)
                part, members = [], 0
            part.append(item)
            members += len(item.members)
        yield tuple(part)

    async def _memberships(self, user: UserId) -> AsyncIterator[ConversationId]:
        async for row in self.scan(accounts.partition(user), prefix(accounts.MEMBERSHIPS)):
            conv, membership = accounts.membership_of(row)
            if membership.is_member:
                yield conv

    async def scan(self, name: Partition, span: Span) -> AsyncIterator[Row]:
        """All rows of a span, read in pages."""
        while True:
            rows = await self._core.stores.partitions.rows(name, [span], limit=MAX_PAGE)
            for row in rows:
                yield row
            if len(rows) < MAX_PAGE:
                return
            span = Span(rows[-1].key + b"\0", span.stop)

    async def _item(self, conv: ConversationId, user: UserId) -> SnapshotItem | None:
        name = conversations.partition(conv)
        head: Head | None = (await self._core.stores.partitions.heads([name])).get(name)
        if head is None:
            return None
        state = conversations.decode(head.state)
        members: tuple[UserId, ...] = ()
        if state.strategy is not Strategy.MEGA:
            rows = [row async for row in self.scan(name, prefix(MEMBERS))]
            members = tuple(members_at(rows, state.seq))
        marks = (await self._board.read([name])).get(name, {})
        read = ConversationSeq(marks.get(mark_name(MarkKind.READ, user), 0))
        return SnapshotItem(conv, state.seq, state.roster_seq, state.strategy, members, read)


def _delivery(
    seq: InboxSeq, value: OwnValue | SharedValue, posts: dict[tuple[ConversationId, int], Copies]
) -> Delivery:
    if isinstance(value, OwnValue):
        entry = decode(value.frame, direction=Direction.TO_CLIENT)[0]
        if not isinstance(entry, Entry):
            raise CorruptStateError(kind="inbox entry", reason="another frame than ENTRY")
        kind = EntryKind(entry.kind)
        return Delivery(
            seq, value.tag, value.frame, entry.conv, entry.conv_seq, entry.sender, kind, entry.at_ms, strategy=None
        )
    copies = posts.get((value.conv, value.conv_seq))
    if copies is None:
        raise CorruptStateError(kind="inbox entry", reason=f"row {value.conv_seq} of its conversation is not there")
    return copies.delivery(copies.shared_item(), seq, value.tag)


def _only(key: bytes) -> Span:
    return Span(key, key + b"\0")
