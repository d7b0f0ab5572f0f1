"""Finishing: whatever a conversation owes its members goes into their inboxes, in order, by whoever comes along.

Any gateway or worker may finish any conversation at any time, any number of them at once. Everybody begins behind
`fanned_out` and goes row by row, each by its own audience and strategy; therefore the last row of a conversation in
an inbox is all the dedupe that the inbox needs, for ever. Rows that follow each other and have one audience go together
(`_runs`): an inbox is written once for all of them, and its device told once. Where posts are fused, an append here
carries the conversation in its commit, so that a row is appended only while it is unfinished (model m11).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import NamedTuple, TypeAlias

from whisperkit import accounts
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq, UserId
from whisperkit.partitions import Partition
from whisperkit.service.audience import Members
from whisperkit.service.codecs import ACCOUNT, CONVERSATION, INBOX
from whisperkit.service.copies import Copies
from whisperkit.service.core import Core
from whisperkit.service.delivery import Deliverer
from whisperkit.service.executor import MAX_TURN_ROWS
from whisperkit.service.window import Delivery
from whisperkit.service.working_set import Cold, Load, WorkingSet
from whisperkit.stores import Mark
from whisperkit.sync import conversation as conversations
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.codec import encode_item
from whisperkit.sync.conversation import Conversation
from whisperkit.sync.frames import SnapshotItem
from whisperkit.sync.inbox import Appended, Item
from whisperkit.sync.rows import PostRow, decode_row, post_span

__all__ = ["FANNED_OUT", "Finisher", "Wanted", "owed_of"]

log = logging.getLogger("whisperkit.service")

# The mark of a conversation up to which all rows are finished; the head may know a lower one.
FANNED_OUT = "fanned_out"
# Rows that are read at once; each may be a mebibyte.
MAX_ROWS = 64
# Inboxes that are written side by side where each is a commit of its own.
MAX_AT_ONCE = 32
# Rows that go into the inboxes together.
MAX_RUN = 16
RETRY_S = 1.0
# Members named in welcomes, all newcomers of a row together: 4 MB. Beyond it they learn the list from a snapshot.
MAX_WELCOME = 100_000

Done = Callable[[], None]


class Wanted(NamedTuple):
    """Somebody waits until a conversation is finished.

    Attributes:
        upto: Up to this row.
        since: Since then, on the runtime's clock.
        done: Called when it is.
    """

    upto: int
    since: float
    done: Done


class Finisher:
    """Finishes conversations: each by one task at a time in this gateway, however many ask for it.

    Args:
        core: The gateway.
        deliver: Told of what was appended.
    """

    def __init__(self, core: Core, deliver: Deliverer) -> None:
        self._core = core
        self._deliver = deliver
        self._wanted: dict[ConversationId, list[Wanted]] = {}
        # Of conversations finished lately, as many as there are heads: what is forgotten costs work and nothing else.
        self._known: dict[ConversationId, tuple[int, bool]] = {}

    def want(self, conv: ConversationId, upto: int, done: Done) -> None:
        """Finish a conversation; `done` is called when all rows up to `upto` are."""
        wanted = Wanted(upto, self._core.runtime.now(), done)
        waiting = self._wanted.get(conv)
        if waiting is not None:
            waiting.append(wanted)
            return
        self._wanted[conv] = [wanted]
        self._core.runtime.spawn(lambda: self._serve(conv), name=f"finish {conv}")

    def is_busy(self, conv: ConversationId) -> bool:
        """Whether the conversation is being finished here."""
        return conv in self._wanted

    def known(self, conv: ConversationId) -> tuple[int, bool]:
        """Up to where a mark says that all is finished, and whether those rows were own copies only."""
        return self._known.get(conv, (0, False))

    def owed(self) -> tuple[int, float]:
        """For how many posts or jobs something is being finished here, and for how long the oldest, in seconds."""
        return owed_of(self._wanted.values(), now=self._core.runtime.now())

    async def finish(self, conv: ConversationId) -> int:
        """Finish what is unfinished now; returns up to where."""
        while True:
            fanned_out, head, failed = await self._pass(conv)
            if fanned_out >= head and not failed:
                return fanned_out

    async def _serve(self, conv: ConversationId) -> None:
        waiting = self._wanted[conv]
        while waiting:
            try:
                fanned_out = await self.finish(conv)
            except Exception:
                # The store is away, or a fault of ours: what is owed stays owed, and the note about it stays.
                log.exception("finish failed", extra={"conversation": conv})
            else:
                for wanted in [wanted for wanted in waiting if wanted.upto <= fanned_out]:
                    waiting.remove(wanted)
                    wanted.done()
                continue
            await self._core.runtime.sleep(RETRY_S)
        del self._wanted[conv]

    async def _pass(self, conv: ConversationId) -> tuple[int, int, bool]:
        """Finish one page of rows. Returns where it got to, the head, and whether somebody came between."""
        marks = {} if self._core.spans_partitions else await self._marks(conv)
        page: _Page = await self._core.executor.run(_ReadUnfinished(self._core, conv, marks.get(FANNED_OUT, 0)))
        for run in _runs(page.rows):
            if not await self._finish_run(conv, page, run):
                return run[0].seq - 1, page.head, True
        if not page.rows or page.rows[-1].seq < page.upto:
            await self._skip(conv, page.upto)
        return page.upto, page.head, False

    async def _skip(self, conv: ConversationId, upto: int) -> None:
        """Pass by rows that are not there: they were finished and dropped."""
        if self._core.spans_partitions:
            await self._core.executor.run(_Skip(conv, upto))
        else:
            await self._core.stores.marks.raise_marks([Mark(conversations.partition(conv), FANNED_OUT, upto)])

    async def _marks(self, conv: ConversationId) -> dict[str, int]:
        name = conversations.partition(conv)
        return dict((await self._core.stores.marks.marks([name])).get(name, {}))

    async def _finish_run(self, conv: ConversationId, page: _Page, rows: Sequence[PostRow]) -> bool:
        """Give rows to their audience and raise `fanned_out` over them. False: the conversation moved meanwhile."""
        if rows[0].change is not None:
            await self._tell_members(conv, rows[0])
        users = _audience(page.members, rows[0])
        lists = self._core.device_lists
        while missing := lists.missing(users):  # again, if one was forgotten while others were read
            await lists.fetch(missing)
        devices = lists.devices(users)
        run = [Copies(conv, _with_welcome(conv, page.members, row, devices)) for row in rows]
        if self._core.spans_partitions:
            return await self._append_together(run, devices)
        await self._append_apart(run, devices, dropped_upto=page.fanned_out)
        return True

    async def _tell_members(self, conv: ConversationId, row: PostRow) -> None:
        """Write down with each user concerned that they came or went."""
        change = row.change
        assert change is not None  # of a ROSTER row only
        calls = [_Membership(user, conv, row.seq, is_member=True) for user in change.added]
        calls += [_Membership(user, conv, row.seq, is_member=False) for user in change.removed]
        run = self._core.executor.run
        await self._core.runtime.gather([partial(run, call) for call in calls], limit=MAX_AT_ONCE)

    async def _append_together(self, run: Sequence[Copies], devices: list[DeviceId]) -> bool:
        """Batch after batch, each in one commit with the conversation; the last one raises `fanned_out`."""
        batches = list(self._batches(run, devices)) or [[]]
        for number, batch in enumerate(batches, 1):
            batched = await self._core.executor.run(_AppendBatch(run, batch, is_last=number == len(batches)))
            if batched is None:  # the first row is finished, or all are
                self._core.hook.repeated("inbox", len(batch))
                return False
            self._tell(batched)
        return True

    def _tell(self, batch: _Batch) -> None:
        self._deliver.push(batch.deliveries)
        self._core.hook.appended(len(batch.deliveries))
        if batch.repeats:
            self._core.hook.repeated("inbox", batch.repeats)

    async def _append_apart(self, run: Sequence[Copies], devices: list[DeviceId], *, dropped_upto: int) -> None:
        """Each inbox in a commit of its own; then the mark."""
        conv, before, upto = run[0].conv, run[0].row.seq - 1, run[-1].row.seq

        async def append(device: DeviceId, owed: Owed) -> None:
            self._tell(await self._core.executor.run(_AppendOne(device, owed)))

        appends = [partial(append, device, owed) for device in devices if (owed := _owed(run, device))]
        await self._core.runtime.gather(appends, limit=MAX_AT_ONCE)
        await self._core.stores.marks.raise_marks([Mark(conversations.partition(conv), FANNED_OUT, upto)])
        known, were_own = self._known.get(conv, (0, False))
        if upto > known:
            # Rows between the head's `fanned_out` and these that somebody else finished may have to stay.
            is_next = before <= dropped_upto or (were_own and before == known)
            self._known.pop(conv, None)
            self._known[conv] = upto, is_next and all(copies.row.is_own_only for copies in run)
            if len(self._known) > self._core.config.max_cached_heads:
                del self._known[next(iter(self._known))]

    def _batches(self, run: Sequence[Copies], devices: Sequence[DeviceId]) -> Iterator[list[tuple[DeviceId, Owed]]]:
        limits = self._core.config.fanout
        batch: list[tuple[DeviceId, Owed]] = []
        entries = size = 0
        for device in devices:
            owed = _owed(run, device)
            if not owed:
                continue  # it sent all of them
            cost = sum([64 if item.is_shared else len(item.tail) for _, item in owed])
            is_full = len(batch) >= limits.batch_devices or entries + len(owed) > MAX_TURN_ROWS
            if batch and (is_full or size + cost > limits.batch_bytes):
                yield batch
                batch, entries, size = [], 0, 0
            batch.append((device, owed))
            entries += len(owed)
            size += cost
        if batch:
            yield batch


Owed: TypeAlias = Sequence[tuple[Copies, Item]]
"""What one inbox is owed of a run, in order."""


def _owed(run: Sequence[Copies], device: DeviceId) -> Owed:
    """What the device did not send itself."""
    return [(copies, copies.item(device)) for copies in run if copies.row.sender != device]


def _runs(rows: Sequence[PostRow]) -> Iterator[Sequence[PostRow]]:
    """Rows without a hole, and with one audience: a change of members stands alone, and so do pulled rows."""
    run: list[PostRow] = []
    for row in rows:
        if run and not (_is_plain(run[-1]) and _is_plain(row) and row.seq == run[-1].seq + 1 and len(run) < MAX_RUN):
            yield run
            run = []
        run.append(row)
    if run:
        yield run


def _is_plain(row: PostRow) -> bool:
    return row.change is None and row.strategy.is_pushed


def owed_of(waiting: Iterable[Sequence[Wanted]], *, now: float) -> tuple[int, float]:
    """How many there are in lists of which each has its oldest first, and the age of the oldest."""
    count, since = 0, now
    for some in waiting:
        if some:
            count += len(some)
            since = min(since, some[0].since)
    return count, now - since


def _audience(members: Members, row: PostRow) -> list[UserId]:
    """Whom a row is pushed to."""
    if row.strategy.is_pushed:
        return members.audience(row.seq)
    # Members of a pulled conversation fetch its rows; only those whom a change concerns are told of it.
    return [*row.change.added, *row.change.removed] if row.change is not None else []


def _with_welcome(conv: ConversationId, members: Members, row: PostRow, devices: Sequence[DeviceId]) -> PostRow:
    """For those whom a ROSTER row brings in: the conversation as of the row, as their own part of the entry.

    Nothing of it is needed where the row names all members there are, as when a group is made.
    """
    if row.change is None or not row.change.added:
        return row
    added = frozenset(row.change.added)
    there = members.members_at(row.seq) if row.strategy.is_pushed else []
    newcomers = [device for device in devices if device.user in added and device != row.sender]
    if row.strategy.is_pushed and (len(there) <= len(added) or len(newcomers) * len(there) > MAX_WELCOME):
        return row
    item = encode_item(SnapshotItem(conv, row.seq, row.seq, row.strategy, tuple(there), ConversationSeq(0)))
    return row._replace(own=dict.fromkeys(newcomers, item))


class _Page(NamedTuple):
    """Rows to finish, in order.

    Attributes:
        head: The conversation's last seq at the head that gave `fanned_out`.
        fanned_out: What that head itself says; a mark may say more.
        upto: The last row that was looked for.
        rows: The rows above `fanned_out`, up to `upto`.
        members: Enough to tell the audience of each.
    """

    head: ConversationSeq
    fanned_out: ConversationSeq
    upto: int
    rows: tuple[PostRow, ...]
    members: Members


class _ReadUnfinished:
    """Reads what is unfinished, up to the very head that gave `fanned_out`: behind it may be rows that are fused."""

    def __init__(self, core: Core, conv: ConversationId, mark: int) -> None:
        self.lane: Partition = conversations.partition(conv)
        self._core = core
        self._conv = conv
        self._mark = mark

    def run(self, work: WorkingSet) -> _Page:
        state = work.state(self.lane, CONVERSATION)
        after = max(state.fanned_out, self._mark)
        upto = min(state.seq, after + MAX_ROWS)
        if after >= state.seq:
            return _Page(state.seq, state.fanned_out, state.seq, (), Members({}))
        rows = [decode_row(row.value) for row in work.rows(self.lane, CONVERSATION, post_span(after, upto))]
        return _Page(state.seq, state.fanned_out, upto, tuple(rows), self._members(work, state, rows))

    def _members(self, work: WorkingSet, state: Conversation, rows: Sequence[PostRow]) -> Members:
        if not any(row.strategy.is_pushed for row in rows):
            return Members({})
        return self._core.rosters.members(work, self._conv, state.roster_seq)


class _Skip:
    """Raises `fanned_out` over rows that are not there any more."""

    def __init__(self, conv: ConversationId, upto: int) -> None:
        self.lane: Partition = conversations.partition(conv)
        self._upto = upto

    def run(self, work: WorkingSet) -> None:
        state = work.state(self.lane, CONVERSATION)
        work.apply(self.lane, conversations.raise_fanned_out(state, self._upto))


class _Batch:
    """Inboxes that a run was given to: what is new in them, and how many entries they had."""

    def __init__(self) -> None:
        self.deliveries: list[tuple[DeviceId, Delivery]] = []
        self.repeats = 0

    def append(self, work: WorkingSet, device: DeviceId, name: Partition, owed: Owed) -> None:
        """Append to an inbox what is not there yet; one that is closed counts as done."""
        conv = owed[0][0].conv
        last = work.row(name, INBOX, inboxes.last_seq_key(conv))
        last_seq = None if last is None else inboxes.decode_last_seq(last)
        state = work.state(name, INBOX)
        step = inboxes.append(state, [item for _, item in owed], conv=conv, last_seq=last_seq)
        appended = step.answer
        if not isinstance(appended, Appended):
            return
        there = len(owed) - len(appended.items)  # the first of them: rows come in order
        self.repeats += there
        if not appended.items:
            return
        work.apply(name, step)
        for seq, (copies, item), tag in zip(count(appended.after + 1), owed[there:], appended.tags, strict=False):
            self.deliveries.append((device, copies.delivery(item, InboxSeq(seq), tag)))


class _AppendBatch:
    """Appends a run to many inboxes in one commit, on condition that none of it is finished."""

    def __init__(self, run: Sequence[Copies], batch: list[tuple[DeviceId, Owed]], *, is_last: bool) -> None:
        self.lane: Partition = conversations.partition(run[0].conv)
        self._conv = run[0].conv
        self._rows = [copies.row for copies in run]
        self._batch = [(device, inboxes.partition(device), owed) for device, owed in batch]
        self._is_last = is_last

    def run(self, work: WorkingSet) -> _Batch | None:
        state = work.state(self.lane, CONVERSATION)
        if state.fanned_out >= self._rows[0].seq:
            return None
        key = inboxes.last_seq_key(self._conv)
        cold = [Load(name, INBOX, keys=(key,)) for _, name, _ in self._batch if work.missing_keys(name, INBOX, [key])]
        if cold:
            raise Cold(*cold)
        batch = _Batch()
        for device, name, owed in self._batch:
            batch.append(work, device, name, owed)
        if self._is_last:
            is_own_only = all(row.is_own_only for row in self._rows)
            step = conversations.raise_fanned_out(state, self._rows[-1].seq, is_own_only=is_own_only)
            work.apply(self.lane, step)
        else:
            work.touch(self.lane)
        return batch


class _AppendOne:
    """Appends a run to one inbox."""

    def __init__(self, device: DeviceId, owed: Owed) -> None:
        self.lane: Partition = inboxes.partition(device)
        self._device = device
        self._owed = owed

    def run(self, work: WorkingSet) -> _Batch:
        work.state(self.lane, INBOX)
        batch = _Batch()
        batch.append(work, self._device, self.lane, self._owed)
        return batch


class _Membership:
    """Writes down with a user that they came into a conversation, or went."""

    def __init__(self, user: UserId, conv: ConversationId, seq: ConversationSeq, *, is_member: bool) -> None:
        self.lane: Partition = accounts.partition(user)
        self._conv = conv
        self._seq = seq
        self._is_member = is_member

    def run(self, work: WorkingSet) -> None:
        account = work.state(self.lane, ACCOUNT)
        value = work.row(self.lane, ACCOUNT, accounts.membership_key(self._conv))
        known = None if value is None else accounts.decode_membership(value)
        change = accounts.join if self._is_member else accounts.leave
        step = change(account, self._conv, known, seq=self._seq)
        if step.changes(account):
            work.apply(self.lane, step)
