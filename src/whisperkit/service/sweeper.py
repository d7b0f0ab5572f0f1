"""Sweeping: what nobody will read again goes, in small pieces, and never faster than what refers to it.

Acknowledged entries of an inbox
    go at once, 64 or more together; looked at when acknowledgements are saved and at HELLO.
Other entries
    go when they are older than `inbox_days`: who lacks them takes a snapshot. Looked at at HELLO, and when a bot
    receives.
Finished rows of a conversation
    go when they are older than `conversation_days` and a day; looked at at a post there, once an hour.
Who took prekeys of a device
    goes after an hour; looked at when the device publishes prekeys.
Attachments
    go when their time is over; looked at every hour (`attachments`).

A store of partitions cannot list them, so each is swept where it is touched anyway; one that nobody touches stays as
it is. Therefore an entry may outlive the row of the conversation that it refers to: the inbox of a device that was
away for two months is looked at by nobody meanwhile. Rows go by age only, so an entry whose row is gone is old, and at
HELLO old entries go before the device is told where it stands. The floor is raised with the tag of the last entry
that goes; the chain outlives the rows.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from whisperkit import keys
from whisperkit.errors import UsageError
from whisperkit.ids import ConversationId, DeviceId
from whisperkit.partitions import Partition, Row, Step, seq_of
from whisperkit.runtime import Mailbox
from whisperkit.service.attachments import DAY_MS, Attachments
from whisperkit.service.catchup import CatchUp
from whisperkit.service.codecs import CONVERSATION, INBOX, KEYS
from whisperkit.service.core import Core
from whisperkit.service.finishing import FANNED_OUT
from whisperkit.service.marks import MarkBoard
from whisperkit.service.working_set import Cold, Load, WorkingSet
from whisperkit.sync import conversation as conversations
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.codec import decode
from whisperkit.sync.frames import Direction, Entry
from whisperkit.sync.inbox import OwnValue
from whisperkit.sync.rows import PostRow, decode_row, post_span

__all__ = ["TRIM_ENTRIES", "Sweeper"]

log = logging.getLogger("whisperkit.service")

# Fewer acknowledged entries than this are no burden, and not worth a commit.
TRIM_ENTRIES: Final = 64
# Entries that go in one commit, and that are looked at in one read.
PIECE_ENTRIES: Final = 256
# Rows of a conversation that are looked at in one read: each may be a mebibyte.
PIECE_ROWS: Final = 16
HOUR_S: Final = 3_600.0
# A conversation keeps its rows for so much longer than told: an inbox that is swept at this moment still reads them.
MARGIN_MS: Final = DAY_MS
# What waits to be swept, and conversations that were swept lately; beyond it somebody is forgotten until touched again.
MAX_WAITING: Final = 10_000

Work = tuple[Callable[..., Awaitable[None]], DeviceId | ConversationId]


class Sweeper:
    """Sweeps partitions that were touched, one after the other.

    Args:
        core: The gateway.
        catchup: Reads rows.
        board: Where marks are on their way.
        attachments: Swept every hour.
    """

    def __init__(self, core: Core, catchup: CatchUp, board: MarkBoard, attachments: Attachments) -> None:
        self._core = core
        self._catchup = catchup
        self._board = board
        self._attachments = attachments
        self._waiting: dict[Work, None] = {}
        self._wake: Mailbox[bool] = core.runtime.mailbox()
        self._swept_at: dict[ConversationId, float] = {}

    # ---- what was touched ----

    def acknowledged(self, device: DeviceId) -> None:
        """A device acknowledged many entries, and that is saved or on its way."""
        self._want((self._trim_acknowledged, device))

    def posted(self, conv: ConversationId) -> None:
        """Something was posted to a conversation."""
        now = self._core.runtime.now()
        if now - self._swept_at.get(conv, -HOUR_S) < HOUR_S:
            return
        self._swept_at.pop(conv, None)
        self._swept_at[conv] = now
        if len(self._swept_at) > MAX_WAITING:
            del self._swept_at[next(iter(self._swept_at))]
        self._want((self._drop_old_rows, conv))

    def published(self, device: DeviceId) -> None:
        """A device published prekeys."""
        self._want((self._forget_requests, device))

    def _want(self, work: Work) -> None:
        if len(self._waiting) >= MAX_WAITING:
            return
        if not self._waiting:
            self._wake.put(True)
        self._waiting[work] = None

    async def serve(self) -> None:
        """Sweep, until the end."""
        runtime = self._core.runtime
        due = runtime.now()  # at once: a process that never lives for an hour would sweep no attachment
        while True:
            await self._wake.get(timeout_s=max(0.01, due - runtime.now()))
            while self._waiting:
                sweep, what = next(iter(self._waiting))
                del self._waiting[sweep, what]
                await self._patiently(partial(sweep, what))
            if runtime.now() >= due:
                due = runtime.now() + HOUR_S
                await self._patiently(self._attachments.sweep)

    async def _patiently(self, sweep: Callable[[], Awaitable[object]]) -> None:
        try:
            await sweep()
        except Exception:
            # Nothing rests on it: whatever is touched again is swept again.
            log.warning("not swept", exc_info=True)

    # ---- inboxes ----

    async def _trim_acknowledged(self, device: DeviceId) -> None:
        await self._board.flush()
        inbox = await self._catchup.inbox(device)
        name = inboxes.partition(device)
        # As the store has it: *delivered* is durable before an acknowledgement is, and the floor comes after both.
        marks = (await self._core.stores.marks.marks([name])).get(name, {})
        await self._trim(device, inbox.floor, min(marks.get(inboxes.acked_mark(inbox.epoch), 0), inbox.seq))

    async def drop_old_entries(self, device: DeviceId) -> None:
        """Let entries older than `inbox_days` go, acknowledged or not."""
        before_ms = self._core.runtime.wall_ms() - self._core.config.inbox_days * DAY_MS
        inbox = await self._catchup.inbox(device)
        floor, limit = int(inbox.floor), 1  # mostly the first one is young
        while floor < inbox.seq:
            old = await self._old_upto(device, floor, limit, before_ms)
            await self._trim(device, floor, old)
            if old < floor + limit:
                return
            floor, limit = old, PIECE_ENTRIES

    async def _old_upto(self, device: DeviceId, after: int, limit: int, before_ms: int) -> int:
        """The last of the next entries before which all are old."""
        span = inboxes.entry_span(after, after + limit)
        rows = await self._core.stores.partitions.rows(inboxes.partition(device), [span], limit=limit)
        upto = after
        for row in rows:
            at_ms = await self._written_at(row)
            if at_ms is not None and at_ms >= before_ms:
                break
            upto = seq_of(row.key)
        return upto

    async def _written_at(self, row: Row) -> int | None:
        """When an entry was posted; `None` if the row that it refers to is gone."""
        value = inboxes.decode_value(row.value)
        if isinstance(value, OwnValue):
            entry = decode(value.frame, direction=Direction.TO_CLIENT)[0]
            return entry.at_ms if isinstance(entry, Entry) else None
        posts = await self._catchup.posts(value.conv, [post_span(value.conv_seq - 1, value.conv_seq)], limit=1)
        return posts[0].at_ms if posts else None

    async def _trim(self, device: DeviceId, floor: int, upto: int) -> None:
        while floor < upto:
            floor = min(floor + PIECE_ENTRIES, upto)
            await self._core.executor.run(_Trim(device, floor))

    # ---- conversations ----

    async def _drop_old_rows(self, conv: ConversationId) -> None:
        before_ms = self._core.runtime.wall_ms() - self._core.config.conversation_days * DAY_MS - MARGIN_MS
        after, limit = 0, 1
        while rows := await self._next_rows(conv, after, limit):
            old = self._old_rows(rows, before_ms)
            if old:
                await self._core.executor.run(_DropRows(conv, old[-1].seq, await self._finished_upto(conv)))
            if len(old) < limit:
                return
            after, limit = old[-1].seq, PIECE_ROWS

    async def _next_rows(self, conv: ConversationId, after: int, limit: int) -> list[PostRow]:
        name = conversations.partition(conv)
        head = (await self._core.stores.partitions.heads([name])).get(name)
        seq = 0 if head is None else conversations.decode(head.state).seq
        rows = await self._core.stores.partitions.rows(name, [post_span(after, seq)], limit=limit)
        return [decode_row(row.value) for row in rows]

    @staticmethod
    def _old_rows(rows: Sequence[PostRow], before_ms: int) -> list[PostRow]:
        old: list[PostRow] = []
        for row in rows:
            if row.at_ms >= before_ms:
                break
            old.append(row)
        return old

    async def _finished_upto(self, conv: ConversationId) -> int:
        """What the mark says; the head may say more."""
        name = conversations.partition(conv)
        return (await self._core.stores.marks.marks([name])).get(name, {}).get(FANNED_OUT, 0)

    # ---- prekeys ----

    async def _forget_requests(self, device: DeviceId) -> None:
        name = keys.partition(device)
        page: list[bytes] = []
        async for row in self._catchup.scan(name, keys.requests_span()):
            page.append(row.key)
            if len(page) == PIECE_ENTRIES:
                await self._core.executor.run(_ForgetRequests(self._core, name, page))
                page = []
        if page:
            await self._core.executor.run(_ForgetRequests(self._core, name, page))


# ---- operations -----------------------------------------------------------------------------------------------------


class _Trim:
    """Raises the floor of an inbox."""

    def __init__(self, device: DeviceId, upto: int) -> None:
        self.lane: Partition = inboxes.partition(device)
        self._upto = upto

    def run(self, work: WorkingSet) -> None:
        state = work.state(self.lane, INBOX)
        if not state.floor < self._upto <= state.seq:
            return  # somebody else did it
        tag = state.tag
        if self._upto < state.seq:
            value = work.row(self.lane, INBOX, inboxes.entry_key(self._upto))
            if value is None:
                raise UsageError(f"entry {self._upto} of an inbox is above its floor and not there")
            tag = inboxes.decode_value(value).tag
        work.apply(self.lane, inboxes.trim(state, self._upto, tag))


class _DropRows:
    """Lets rows of a conversation go, if they are finished."""

    def __init__(self, conv: ConversationId, upto: int, finished_upto: int) -> None:
        self.lane: Partition = conversations.partition(conv)
        self._upto = upto
        self._finished_upto = finished_upto

    def run(self, work: WorkingSet) -> None:
        state = work.state(self.lane, CONVERSATION)
        upto = min(self._upto, max(state.fanned_out, self._finished_upto))
        if upto:
            work.apply(self.lane, Step(None, state, drop=post_span(0, upto)))


class _ForgetRequests:
    """Forgets who took prekeys long ago."""

    def __init__(self, core: Core, name: Partition, rows: list[bytes]) -> None:
        self.lane = name
        self._core = core
        self._rows = tuple(rows)

    def run(self, work: WorkingSet) -> None:
        state = work.state(self.lane, KEYS)
        missing = work.missing_keys(self.lane, KEYS, self._rows)
        if missing:
            raise Cold(Load(self.lane, KEYS, keys=missing))
        found = [(key, work.row(self.lane, KEYS, key)) for key in self._rows]
        rows = [Row(key, value) for key, value in found if value is not None]
        step = keys.forget_requests(state, rows, wall_ms=self._core.runtime.wall_ms())
        if step.changes(state):
            work.apply(self.lane, step)
