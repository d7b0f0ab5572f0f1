"""Rows without a socket: the store behind its door, and the engines alone. Each runs in a process of its own.

What is measured is wall time where something waits for the disk, and CPU time of this process everywhere else.
"""

from __future__ import annotations

import os
import resource
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import anyio

from examples.adapters.sqlite import SqliteStore, open_sqlite
from whisperkit.fanout import Limits
from whisperkit.fanout.planner import iter_plan
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, GatewayId, InboxSeq, MessageId, Owner, UserId
from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.presence import PresenceTracker
from whisperkit.service import MessageService
from whisperkit.service.copies import Copies
from whisperkit.stores import Mark, Stores
from whisperkit.strategy import Strategy
from whisperkit.sync import conversation as conversations
from whisperkit.sync import frames, inbox
from whisperkit.sync.conversation import Draft, Posted
from whisperkit.sync.cursor import Cursor, first_tag, next_tag
from whisperkit.sync.frames import Answer, EntryKind
from whisperkit.sync.inbox import Item
from whisperkit.sync.mirror import attach, receive, rows_for
from whisperkit.sync.mirror_state import Mirror

__all__ = ["Posts", "Spent", "door", "inbox_read", "many_conversations", "mirror", "planner", "presence", "service"]

_BODY: Final = os.urandom(200)
_BATCH: Final = 64
_OWNER: Final = Owner(GatewayId("g1"), 1)


class Posts(NamedTuple):
    """Durable posts a second, and what raw sqlite3 does with the same rows in the same groups."""

    per_second: float
    raw_per_second: float


class Spent(NamedTuple):
    """What an engine took for so many items: CPU time, and how much more memory the process has had at most."""

    items: int
    cpu_s: float
    peak_bytes: int

    @property
    def per_second(self) -> float:
        return self.items / self.cpu_s


# ---- the store -----------------------------------------------------------------------------------------------------


class _Watched:
    """A store that notes what was committed together with what."""

    spans_partitions = True

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.commits: list[tuple[int, Sequence[Change]]] = []

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        return await self._store.heads(partitions)

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        return await self._store.rows(partition, spans, limit=limit)

    async def commit(self, changes: Sequence[Change]) -> None:
        await self._store.commit(changes)
        self.commits.append((self._store.transactions, changes))

    def groups(self) -> list[list[Change]]:
        """What was in each transaction; of several states of one head the store writes the last."""
        found: dict[int, list[Change]] = {}
        for number, changes in self.commits:
            found.setdefault(number, []).extend(changes)
        return list(found.values())

    async def raise_marks(self, marks: Sequence[Mark]) -> None:
        await self._store.raise_marks(marks)

    async def marks(self, partitions: Collection[Partition]) -> Mapping[Partition, Mapping[str, int]]:
        return await self._store.marks(partitions)


async def door(folder: Path, *, senders: int, posts: int) -> Posts:
    """Rules and store alone: each sender posts, one message after the other, and commits it with its copy."""
    async with open_sqlite(folder / "door.db") as sqlite:
        store = _Watched(sqlite)

        async def write(number: int) -> None:
            alice, bob = DeviceId.named(f"alice{number}", 1), DeviceId.named(f"bob{number}", 1)
            conv = ConversationId.direct(alice.user, bob.user)
            here, there = conversations.partition(conv), inbox.partition(bob)
            chat = conversations.Conversation(roster_seq=ConversationSeq(1), members=2)
            box = inbox.open_inbox(inbox.NEW_INBOX, bob, epoch=1, link=1).state
            for n in range(1, each + 1):
                draft = Draft(alice, 1, n, _id(n), EntryKind.MESSAGE, _OWNER, n, True, own={bob: _BODY})
                posted = conversations.post(chat, draft, fused=True, keep_row=False)
                assert isinstance(posted.answer, Posted)
                item = Copies(conv, posted.answer.row).item(bob)
                appended = inbox.append(box, (item,), conv=conv, fused=True)
                changes = [
                    Change(here, n - 1, conversations.encode(posted.state), posted.put),
                    Change(there, n - 1, inbox.encode(appended.state), appended.put),
                ]
                await store.commit(changes)
                chat, box = posted.state, appended.state

        each = posts // senders
        began = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for number in range(senders):
                tasks.start_soon(write, number)
        seconds = time.perf_counter() - began
    raw = _raw(folder / "raw.db", store.groups())
    return Posts(each * senders / seconds, each * senders / raw)


async def service(folder: Path, *, senders: int, posts: int) -> Posts:
    """The same through `MessageService.send`, with all that it looks at."""
    async with open_sqlite(folder / "service.db") as sqlite:
        store = _Watched(sqlite)
        async with MessageService(Stores.over(store, marks=sqlite)) as service:
            pairs = await _pairs(service, senders)
            for n in (1, 2):  # what is read once for each conversation is there
                for alice, conv in pairs:
                    await service.send(alice, conv, _BODY, outbox_seq=n)
            store.commits.clear()
            each = posts // senders

            async def write(alice: DeviceId, conv: ConversationId) -> None:
                for n in range(3, 3 + each):
                    await service.send(alice, conv, _BODY, outbox_seq=n)

            began = time.perf_counter()
            async with anyio.create_task_group() as tasks:
                for alice, conv in pairs:
                    tasks.start_soon(write, alice, conv)
            seconds = time.perf_counter() - began
    raw = _raw(folder / "raw-service.db", store.groups())
    return Posts(each * senders / seconds, each * senders / raw)


async def _pairs(service: MessageService, count: int) -> list[tuple[DeviceId, ConversationId]]:
    pairs: list[tuple[DeviceId, ConversationId]] = []
    for n in range(count):
        alice, bob = DeviceId.named(f"alice{n}", 1), DeviceId.named(f"bob{n}", 1)
        await service.register(alice, bob)
        pairs.append((alice, await service.create_conversation([alice.user, bob.user])))
    return pairs


def _raw(path: Path, groups: Sequence[Sequence[Change]]) -> float:
    """Seconds for the same states and rows in the same transactions, through sqlite3 alone."""
    db = sqlite3.connect(path, isolation_level=None)
    for statement in (
        "PRAGMA locking_mode = EXCLUSIVE",
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "CREATE TABLE head (id INTEGER PRIMARY KEY, version INTEGER, state BLOB)",
        "CREATE TABLE row (partition INTEGER, key BLOB, value BLOB)",
        "CREATE UNIQUE INDEX row_key ON row (partition, key)",
    ):
        db.execute(statement)
    ids: dict[Partition, int] = {}
    for changes in groups:
        for change in changes:
            ids.setdefault(change.partition, len(ids))
    db.executemany("INSERT INTO head VALUES (?, 0, x'')", [(number,) for number in ids.values()])
    ready = [
        (
            [
                (change.expected + 1, change.state, ids[change.partition])
                for change in {change.partition: change for change in changes}.values()
            ],
            [(ids[change.partition], row.key, row.value) for change in changes for row in change.put],
        )
        for changes in groups
    ]
    began = time.perf_counter()
    for heads, rows in ready:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("UPDATE head SET version = ?, state = ? WHERE id = ?", heads)
        db.executemany("INSERT INTO row VALUES (?, ?, ?)", rows)
        db.execute("COMMIT")
    seconds = time.perf_counter() - began
    db.close()
    return seconds


async def inbox_read(folder: Path, *, entries: int) -> tuple[float, float]:
    """CPU microseconds for one entry: appended to an inbox that has so many, and read behind a cursor in its middle."""
    async with open_sqlite(folder / f"inbox-{entries}.db") as store:
        name = inbox.partition(DeviceId.named("bob", 1))
        conv = ConversationId("chat")
        state = inbox.open_inbox(inbox.NEW_INBOX, DeviceId.named("bob", 1), epoch=1, link=1).state
        version = 0

        async def grow(count: int) -> float:
            nonlocal state, version
            began = time.process_time()
            for first in range(0, count, _BATCH):
                many = min(_BATCH, count - first)
                items = [
                    Item(_id(state.seq + n), ConversationSeq(state.seq + n + 1), _BODY, False) for n in range(many)
                ]
                step = inbox.append(state, items, conv=conv, fused=True)
                await store.commit([Change(name, version, inbox.encode(step.state), step.put)])
                state, version = step.state, version + 1
            return 1e6 * (time.process_time() - began) / count

        await grow(entries)
        appended = await grow(_BATCH * 50)
        began = time.process_time()
        for n in range(50):
            after = entries // 2 + n
            rows = await store.rows(name, [inbox.entry_span(after, after + _BATCH)], limit=_BATCH)
            assert len(rows) == _BATCH
        return appended, 1e6 * (time.process_time() - began) / (50 * _BATCH)


async def many_conversations(folder: Path, *, count: int, posts: int) -> float:
    """CPU microseconds for one post, where posts go to so many conversations in turn."""
    async with (
        open_sqlite(folder / f"many-{count}.db") as sqlite,
        MessageService(Stores.over(sqlite, marks=sqlite)) as service,
    ):
        pairs = await _pairs(service, count)
        numbers = dict.fromkeys(range(count), 0)

        async def write(n: int) -> None:
            numbers[n] += 1
            alice, conv = pairs[n]
            await service.send(alice, conv, _BODY, outbox_seq=numbers[n])

        async def some(first: int, many: int) -> None:
            for start in range(first, first + many, 100):
                async with anyio.create_task_group() as tasks:
                    for place in range(start, start + 100):
                        tasks.start_soon(write, place % count)

        await some(0, 2 * count)
        began = time.process_time()
        await some(0, posts)
        return 1e6 * (time.process_time() - began) / posts


def _id(number: int) -> MessageId:
    return MessageId(number.to_bytes(16, "big"))


# ---- engines -------------------------------------------------------------------------------------------------------


def mirror(*, entries: int) -> Spent:
    """Apply entries as they come, 64 in one read of the link; nothing is decrypted."""
    bob, alice, conv = DeviceId.named("bob", 1), DeviceId.named("alice", 1), ConversationId("chat")
    tag = first_tag(bob)
    start = Cursor(1, InboxSeq(0), tag)
    batches: list[list[frames.Frame]] = []
    for first in range(1, entries + 1, _BATCH):
        batch: list[frames.Frame] = []
        for n in range(first, first + _BATCH):
            tag = next_tag(tag, _id(n))
            seq = ConversationSeq(n)
            kind = EntryKind.MESSAGE
            batch.append(
                frames.Entry(InboxSeq(n), tag, _id(n), kind, conv, seq, ConversationSeq(0), alice, n, _BODY, None)
            )
        batches.append(batch)
    state = attach(Mirror(bob, cursor=start), now=0.0)
    rows: dict[bytes, bytes] = {}
    welcome = frames.Welcome(Answer.DELTA, Cursor(1, InboxSeq(entries), tag), start)
    before, began, applied = _peak(), time.process_time(), 0
    arriving: list[list[frames.Frame]] = [[welcome], *batches]
    for batch in arriving:
        known = {key: rows[key] for start, stop, _ in rows_for(state, batch) for key in _within(rows, start, stop)}
        synced = receive(state, batch, known, now=1.0)
        applied += len(synced.arrived)
        state = synced.state
        rows.update(synced.put)
    spent = time.process_time() - began
    assert applied == len(batches) * _BATCH, f"{applied} entries were applied"
    return Spent(applied, spent, _peak() - before)


def _within(rows: Mapping[bytes, bytes], start: bytes, stop: bytes) -> list[bytes]:
    """The keys of a span: of one key alone, as nearly all are, without looking at the others."""
    if stop == start + b"\0":
        return [start] if start in rows else []
    return [key for key in rows if start <= key < stop]


def planner(*, members: int) -> Spent:
    """Plan a post to so many members, by way of the job log and by pulling, as the roster streams by."""
    limits = Limits()
    sender = DeviceId.named("sender", 1)
    online = {DeviceId(UserId.named(f"{n}"), 1): GatewayId(f"g{n % 64}") for n in range(1_000)}
    name = UserId.named("member")

    roster: list[tuple[UserId, list[DeviceId]]] = []
    for n in range(members):
        user = UserId(f"{name[:-12]}{n:012x}")
        roster.append((user, [DeviceId(user, 1)]))
    before, began, planned = _peak(), time.process_time(), 0
    for step in iter_plan(sender=sender, roster=iter(roster), online=online, limits=limits, strategy=Strategy.MID):
        planned += len(getattr(step, "devices", ()))
    spent = time.process_time() - began
    assert planned == members
    return Spent(members, spent, _peak() - before)


def presence(*, devices: int) -> Spent:
    """Let so many devices come online, and beat once more each; the memory is the tracker's, without the ids."""
    name = UserId.named("somebody")
    ids = [DeviceId(UserId(f"{name[:-12]}{n:012x}"), 1) for n in range(devices)]
    before = _peak()
    tracker = PresenceTracker()
    for device in ids:
        tracker.beat(device, now=0.0)
    grown = _peak() - before
    began = time.process_time()
    for device in ids:
        tracker.beat(device, now=30.0)
    tracker.handle_timer(now=30.0)
    spent = time.process_time() - began
    assert tracker.devices == devices
    return Spent(devices, spent, grown)


def _peak() -> int:
    """The most bytes that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_folder() -> TemporaryDirectory[str]:
    """A folder on the disk that is here, and not in memory: what is synced has to be synced."""
    Path("build/bench").mkdir(parents=True, exist_ok=True)
    return TemporaryDirectory(dir="build/bench")
