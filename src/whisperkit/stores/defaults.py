"""Marks and jobs over a `PartitionStore`: what an application gets that implements only that one door.

Both are correct with any number of processes. Their partitions are their own (``marks/<partition>``,
``jobs/<shard>``), so that a receipt never conflicts with a post.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from whisperkit.errors import CorruptStateError
from whisperkit.ids import ConversationId, ConversationSeq
from whisperkit.partitions import EVERYTHING, Change, Partition, Row, Span
from whisperkit.runtime import Runtime
from whisperkit.stores.doors import Claim, Job, Mark, PartitionStore
from whisperkit.stores.memory import CLAIM_S
from whisperkit.stores.transact import Load, Loaded, Outcome, load, transact

__all__ = ["JOB_SHARDS", "PartitionJobs", "PartitionMarks", "Pending"]

# Jobs of different conversations rarely meet in one of sixteen heads, and looking through all of them for
# work is one call. Fixed for the life of a store: a conversation must keep its shard.
JOB_SHARDS: Final = 16
_PAGE_ROWS: Final = 1_000
_MARKED_AT_ONCE: Final = 256
_CLAIM_MS: Final = int(CLAIM_S * 1_000)


def _only(key: bytes) -> Span:
    return Span(key, key + b"\0")


# ---- marks ----------------------------------------------------------------------------------------------------------


class PartitionMarks:
    """A `MarkStore` over partitions: one row for each mark, in a partition beside the one that it belongs to.

    Args:
        store: Where the marks go.
        runtime: Waits between attempts of a commit that conflicts; see `transact`.
    """

    def __init__(self, store: PartitionStore, *, runtime: Runtime | None = None) -> None:
        self._store = store
        self._runtime = runtime

    async def raise_marks(self, marks: Sequence[Mark]) -> None:
        """Raise marks; see `MarkStore.raise_marks`. One commit for many partitions, where the store spans them."""
        wanted: defaultdict[Partition, dict[bytes, int]] = defaultdict(dict)
        for partition, name, value in marks:
            there = wanted[_marks_of(partition)]
            there[name.encode()] = max(value, there.get(name.encode(), 0))
        at_once = _MARKED_AT_ONCE if self._store.spans_partitions else 1
        remaining = iter(sorted(wanted.items()))
        while batch := dict(islice(remaining, at_once)):
            loads = [Load(name, tuple(map(_only, sorted(there))), len(there)) for name, there in batch.items()]

            def rule(
                loaded: Mapping[Partition, Loaded], batch: Mapping[Partition, dict[bytes, int]] = batch
            ) -> Outcome[None]:
                changes = [_raised(name, loaded[name], there) for name, there in batch.items()]
                return Outcome(None, tuple(change for change in changes if change is not None))

            await transact(self._store, loads, rule, runtime=self._runtime)

    async def marks(self, partitions: Collection[Partition]) -> Mapping[Partition, Mapping[str, int]]:
        """Read marks; see `MarkStore.marks`.

        Pages may come from different versions: each register only rises, so any mixture was, is or will be true.
        """
        found: dict[Partition, dict[str, int]] = {name: {} for name in partitions}
        unread = dict.fromkeys(found, EVERYTHING)
        while unread:
            loaded = await load(
                self._store, [Load(_marks_of(name), (span,), _PAGE_ROWS) for name, span in unread.items()]
            )
            for name, span in list(unread.items()):
                page = loaded[_marks_of(name)].rows
                found[name] |= {key.decode(): int.from_bytes(value, "big") for key, value in page.items()}
                if len(page) < _PAGE_ROWS:
                    del unread[name]
                else:
                    unread[name] = Span(max(page) + b"\0", span.stop)
        return found


def _marks_of(partition: Partition) -> Partition:
    return Partition(f"marks/{partition}")


def _raised(partition: Partition, loaded: Loaded, wanted: Mapping[bytes, int]) -> Change | None:
    there = {key: int.from_bytes(value, "big") for key, value in loaded.rows.items()}
    put = tuple(Row(key, value.to_bytes(8, "big")) for key, value in wanted.items() if value > there.get(key, -1))
    return Change(partition, loaded.version, b"", put) if put else None


# ---- jobs -----------------------------------------------------------------------------------------------------------


_ENTRY: Final = Struct(">QQ8sQ")


class _Entry(NamedTuple):
    """The row of one conversation: how far it is to be finished, since when, and who has said to do it until when."""

    upto: int
    since_ms: int
    claim: bytes = bytes(8)
    until_ms: int = 0

    @classmethod
    def decode(cls, value: bytes) -> _Entry:
        if len(value) != _ENTRY.size:
            raise CorruptStateError(kind="job", reason=f"{_ENTRY.size} bytes expected, got {len(value)}")
        return cls(*_ENTRY.unpack(value))

    def row(self, conversation: ConversationId) -> Row:
        return Row(conversation.encode(), _ENTRY.pack(*self))

    def free(self) -> _Entry:
        """Claimed by nobody."""
        return _Entry(self.upto, self.since_ms)


class _Claimed(NamedTuple):
    """One call of `take`: its name, and when it was."""

    claim: bytes
    now_ms: int


class Pending(NamedTuple):
    """Jobs that are not done.

    Attributes:
        jobs: How many, those that somebody works on included.
        oldest_s: Since when the one that waits longest has waited, in seconds.
    """

    jobs: int
    oldest_s: float


class PartitionJobs:
    """A `JobLog` over partitions: one row for each conversation, up to the highest number put.

    A claim is a time in the row, so that workers in several processes do not do the same work; a worker that
    dies delays its jobs by `CLAIM_S`. The times are of wall clocks: clocks that disagree cause work done twice or
    late, never work not done. While a conversation is claimed, higher numbers wait for that claim.

    Args:
        store: Where the jobs go.
        runtime: Its clock, and waits between attempts; without one the system's clock.
    """

    def __init__(self, store: PartitionStore, *, runtime: Runtime | None = None) -> None:
        self._store = store
        self._runtime = runtime
        self._wall_ms: Callable[[], int] = runtime.wall_ms if runtime else _system_wall_ms
        self._random: Callable[[int], bytes] = runtime.random if runtime else os.urandom
        self._first_shard = 0

    @staticmethod
    def load_for(conversation: ConversationId) -> Load:
        """What `change_for` needs, for who puts a job into a commit of its own."""
        return Load(_shard_of(conversation), (_only(conversation.encode()),), 1)

    @staticmethod
    def change_for(loaded: Loaded, conversation: ConversationId, upto: ConversationSeq, *, at_ms: int) -> Change | None:
        """The change that puts a job; `None` if it is there already. A rule: pure and idempotent."""
        key = conversation.encode()
        there = _Entry.decode(loaded.rows[key]) if key in loaded.rows else _Entry(0, at_ms)
        if there.upto >= upto:
            return None
        row = there._replace(upto=upto).row(conversation)
        return Change(_shard_of(conversation), loaded.version, b"", (row,))

    async def put(self, conversation: ConversationId, upto: ConversationSeq) -> None:
        """Add a job; see `JobLog.put`."""
        wanted = self.load_for(conversation)
        at_ms = self._wall_ms()

        def rule(loaded: Mapping[Partition, Loaded]) -> Outcome[None]:
            change = self.change_for(loaded[wanted.partition], conversation, upto, at_ms=at_ms)
            return Outcome(None, (change,) if change else ())

        await transact(self._store, [wanted], rule, runtime=self._runtime)

    async def take(self, limit: int) -> Claim:
        """Take jobs; see `JobLog.take`. Begins at another shard each time, so that none waits for ever."""
        mine = _Claimed(self._random(8), now_ms=self._wall_ms())
        heads = await load(self._store, [Load(shard) for shard in _SHARDS])
        self._first_shard = (self._first_shard + 1) % JOB_SHARDS
        jobs: list[Job] = []
        for shard in _SHARDS[self._first_shard :] + _SHARDS[: self._first_shard]:
            if heads[shard].version and len(jobs) < limit:
                jobs += await self._take_from(shard, limit - len(jobs), mine)
        return Claim(tuple(jobs), mine.claim)

    async def _take_from(self, shard: Partition, limit: int, mine: _Claimed) -> Sequence[Job]:
        def rule(loaded: Mapping[Partition, Loaded]) -> Outcome[Sequence[Job]]:
            return _taken(shard, loaded[shard], limit, mine)

        return await transact(self._store, [Load(shard, (EVERYTHING,), _PAGE_ROWS)], rule, runtime=self._runtime)

    async def pending(self, *, limit: int = 20_000) -> Pending:
        """How many jobs there are and how old the oldest is, of all processes: for who watches.

        Args:
            limit: How many are counted at most; where there are more, an older one may not be seen.
        """
        heads = await load(self._store, [Load(shard) for shard in _SHARDS])
        now_ms = self._wall_ms()
        jobs, since_ms = 0, now_ms
        for shard in _SHARDS:
            rest: Span | None = EVERYTHING if heads[shard].version else None
            while rest is not None and jobs < limit:
                page = await self._store.rows(shard, [rest], limit=min(_PAGE_ROWS, limit - jobs))
                jobs += len(page)
                since_ms = min((since_ms, *(_Entry.decode(row.value).since_ms for row in page)))
                rest = Span(page[-1].key + b"\0", rest.stop) if len(page) == _PAGE_ROWS else None
        return Pending(jobs, (now_ms - since_ms) / 1_000)

    async def release(self) -> None:
        """Give up every claim: for who knows that no worker is alive, such as the only process on a file at its start.

        Without it what a process had claimed when it was killed would wait for `CLAIM_S`.
        """
        heads = await load(self._store, [Load(shard) for shard in _SHARDS])
        for shard in _SHARDS:
            if heads[shard].version:
                await self._release(shard)

    async def _release(self, shard: Partition) -> None:
        def rule(loaded: Mapping[Partition, Loaded]) -> Outcome[None]:
            return _released(shard, loaded[shard])

        await transact(self._store, [Load(shard, (EVERYTHING,), _PAGE_ROWS)], rule, runtime=self._runtime)

    async def done(self, claim: Claim) -> None:
        """Forget jobs; see `JobLog.done`."""
        by_shard: defaultdict[Partition, list[Job]] = defaultdict(list)
        for job in claim.jobs:
            by_shard[_shard_of(job.conversation)].append(job)
        for shard, jobs in by_shard.items():
            spans = tuple(_only(job.conversation.encode()) for job in jobs)

            def rule(
                loaded: Mapping[Partition, Loaded], shard: Partition = shard, jobs: Sequence[Job] = jobs
            ) -> Outcome[None]:
                return _settled(shard, loaded[shard], jobs, claim.token)

            await transact(self._store, [Load(shard, spans, len(spans))], rule, runtime=self._runtime)


_SHARDS: Final = tuple(Partition(f"jobs/{number:02}") for number in range(JOB_SHARDS))


def _shard_of(conversation: ConversationId) -> Partition:
    return _SHARDS[crc32(conversation.encode()) % JOB_SHARDS]


def _system_wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _taken(shard: Partition, loaded: Loaded, limit: int, mine: _Claimed) -> Outcome[Sequence[Job]]:
    """Claim what nobody holds. After a lost reply the claim finds what it had taken, and takes no more."""
    there = {ConversationId(key.decode()): _Entry.decode(value) for key, value in loaded.rows.items()}
    ours = {name: entry for name, entry in there.items() if entry.claim == mine.claim}
    free = {name: entry for name, entry in there.items() if entry.until_ms <= mine.now_ms}
    chosen = ours or dict(islice(free.items(), limit))
    jobs = [Job(name, ConversationSeq(entry.upto)) for name, entry in chosen.items()]
    if ours or not chosen:
        return Outcome(jobs)
    until_ms = mine.now_ms + _CLAIM_MS
    put = tuple(entry._replace(claim=mine.claim, until_ms=until_ms).row(name) for name, entry in chosen.items())
    return Outcome(jobs, (Change(shard, loaded.version, b"", put),))


def _released(shard: Partition, loaded: Loaded) -> Outcome[None]:
    there = {ConversationId(key.decode()): _Entry.decode(value) for key, value in loaded.rows.items()}
    put = tuple(entry.free().row(name) for name, entry in there.items() if entry.until_ms)
    return Outcome(None, (Change(shard, loaded.version, b"", put),) if put else ())


def _settled(shard: Partition, loaded: Loaded, jobs: Sequence[Job], claim: bytes) -> Outcome[None]:
    """Delete what is finished; of what has grown since, give the claim up if it is still this one."""
    put: list[Row] = []
    delete: list[bytes] = []
    for conversation, upto in jobs:
        value = loaded.rows.get(conversation.encode())
        if value is None:
            continue
        entry = _Entry.decode(value)
        if entry.upto <= upto:
            delete.append(conversation.encode())
        elif entry.claim == claim:
            # What is left was put after this claim was made.
            left = entry._replace(since_ms=entry.until_ms - _CLAIM_MS)
            put.append(left.free().row(conversation))
    if not put and not delete:
        return Outcome(None)
    return Outcome(None, (Change(shard, loaded.version, b"", tuple(put), tuple(delete)),))
