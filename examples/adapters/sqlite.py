"""Partitions and marks in one SQLite file: durable when a call returns, and fast because commits share an fsync.

How it works. One thread owns the connection. The event loop hands it batches: all calls of one turn of the
loop, and all that queued while the thread was busy. Of a batch the thread first answers the reads, then runs
every commit in one transaction, with a verdict for each: versions are checked in order, each commit seeing
those before it, and a conflict leaves no trace. One COMMIT, which syncs the write-ahead log, and one wake-up
of the loop answer them all.

Nothing is shared between the two sides but the batches. Both remember the heads of hot partitions; both learn of a
commit only after it is on disk, and the loop in the order of the thread. So a head that is answered from memory is
never older than a commit that returned, never newer than the disk, and the heads of one answer belong together.

The file is open in one process at a time, which SQLite's own lock sees to, also after a SIGKILL.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from os import PathLike, fspath
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import anyio

from examples.adapters.sqlite_database import Batch, Call, Database, Known, Read, Waiter, Write
from examples.adapters.sqlite_hot import Hot
from examples.adapters.sqlite_schema import MIGRATIONS, migrate
from whisperkit.errors import StoreError, UsageError
from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.stores import Mark

__all__ = ["MIGRATIONS", "SqliteStore", "migrate", "open_sqlite"]

_NEW_EPOCH: Final = "UPDATE generation SET epoch = epoch + 1"
# Heads are 1 to 3.5 KiB: at most some 50 MiB, and the working set of a busy server.
_HOT_HEADS: Final = 16_384

T = TypeVar("T")


class SqliteStore:
    """A `PartitionStore` and a `MarkStore` in one file; `open_sqlite` makes it."""

    spans_partitions = True

    def __init__(self, *, hot: int) -> None:
        self._batch = Batch()
        self._is_batch_due = False
        self._batches: SimpleQueue[Batch] = SimpleQueue()
        self._heads: Hot[Partition, Known] = Hot(hot)
        self._is_closed = False
        self._epoch = 0
        self._transactions = 0
        self._soon, self._soon_from_thread, self._waiter = _loop()

    @property
    def epoch(self) -> int:
        """The generation of the file: the epoch of every cursor."""
        return self._epoch

    @property
    def transactions(self) -> int:
        """How many transactions were synced since the file was opened: far fewer than commits, under load."""
        return self._transactions

    async def new_generation(self) -> int:
        """Begin a new epoch, after a backup was restored, before any device is served. Returns it."""
        await self._write(Write(self._waiter(), statement=_NEW_EPOCH))
        self._epoch = await self._read(Database.epoch)
        return self._epoch

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        """Read heads, from memory if all of them are hot; see `PartitionStore.heads`."""
        names = tuple(partitions)
        known = self._hot_heads(names)
        if known is None:
            call = Read(self._waiter(), lambda database: database.heads(names))
            self._open_batch().heads.append(call)
            await call.done
            known = call.answer
        return {name: head for name, (number, head) in known.items() if number}

    def _hot_heads(self, partitions: Sequence[Partition]) -> dict[Partition, Known] | None:
        if self._is_closed:
            return None
        found: dict[Partition, Known] = {}
        for name in partitions:
            known = self._heads.get(name)
            if known is None:
                return None
            found[name] = known
        return found

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        """Read rows; see `PartitionStore.rows`."""
        wanted = tuple(spans)
        return await self._read(lambda database: database.rows(partition, wanted, limit))

    async def commit(self, changes: Sequence[Change]) -> None:
        """Apply changes; on disk when it returns. See `PartitionStore.commit`."""
        await self._write(Write(self._waiter(), changes=tuple(changes)))

    async def raise_marks(self, marks: Sequence[Mark]) -> None:
        """Raise marks, in the same transaction as the commits of the moment; see `MarkStore.raise_marks`."""
        await self._write(Write(self._waiter(), marks=tuple(marks)))

    async def marks(self, partitions: Collection[Partition]) -> Mapping[Partition, Mapping[str, int]]:
        """Read marks; see `MarkStore.marks`."""
        names = tuple(partitions)
        return await self._read(lambda database: database.marks(names))

    async def start(self, path: str, *, hot: int, max_bytes: int | None) -> None:
        """Start the thread and wait until it has the file open."""
        opened: Read[int] = Read(self._waiter(), Database.epoch)
        threading.Thread(target=self._serve, args=(opened, path, hot, max_bytes), name="sqlite", daemon=True).start()
        await opened.done
        self._epoch = opened.answer

    async def close(self) -> None:
        """Wait for all that was accepted, then close the file; calls that come later are refused."""
        if not self._is_closed:
            last = Call(self._waiter())
            self._open_batch().last = last
            self._is_closed = True
            with anyio.CancelScope(shield=True):
                await last.done

    async def _read(self, ask: Callable[[Database], T]) -> T:
        call = Read(self._waiter(), ask)
        self._open_batch().reads.append(call)
        await call.done
        return call.answer

    async def _write(self, call: Write) -> None:
        self._open_batch().writes.append(call)
        await call.done
        if call.error is not None:
            raise call.error

    def _open_batch(self) -> Batch:
        """The batch that is handed over at the end of this turn of the loop."""
        if self._is_closed:
            raise UsageError("the store is closed")
        if not self._is_batch_due:
            self._is_batch_due = True
            self._soon(self._hand_over)
        return self._batch

    def _hand_over(self) -> None:
        self._batches.put(self._batch)
        self._batch = Batch()
        self._is_batch_due = False

    def _deliver(self, calls: Sequence[Call], learned: Mapping[Partition, Known]) -> None:
        self._heads.keep_all(learned)
        for call in calls:
            call.answered()

    # ---- in the thread

    def _serve(self, opened: Read[int], path: str, hot: int, max_bytes: int | None) -> None:
        try:
            database = Database(path, hot=hot, max_bytes=max_bytes)
        except Exception as error:
            opened.error = error
            self._wake([opened])
            return
        opened.run(database)
        self._wake([opened])
        while self._serve_batch(database, self._next_batch(database)):
            pass

    def _next_batch(self, database: Database) -> Batch:
        """All that is queued; waits for something unless there are dropped rows to delete meanwhile."""
        batch = Batch()
        with suppress(Empty):
            batch.add(self._batches.get(block=not database.has_work))
            while True:
                batch.add(self._batches.get_nowait())
        return batch

    def _serve_batch(self, database: Database, batch: Batch) -> bool:
        reads = [*batch.heads, *batch.reads]
        for read in reads:
            read.run(database)
        shown = {name: known for read in batch.heads if read.error is None for name, known in read.answer.items()}
        self._wake(reads, shown)
        if batch.writes or database.has_work:
            written = database.write(batch.writes)
            self._transactions = database.transactions
            self._wake(batch.writes, written)
        if batch.last is not None:
            database.close()
            self._wake([batch.last])
        return batch.last is None

    def _wake(self, calls: Sequence[Call], learned: Mapping[Partition, Known] = {}) -> None:
        if calls:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                self._soon_from_thread(lambda: self._deliver(calls, learned))


class _TrioWaiter:
    """On trio what a future is on asyncio."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def done(self) -> bool:
        return self._event.is_set()

    def set_result(self, result: None, /) -> None:
        self._event.set()

    def __await__(self) -> Generator[Any, Any, None]:  # Any: between it and its loop
        return self._event.wait().__await__()


_Soon: TypeAlias = Callable[[Callable[[], None]], object]


class _Loop(NamedTuple):
    """How to run something soon on the running loop, from itself and from a thread; and what to wait for there."""

    soon: _Soon
    soon_from_thread: _Soon
    waiter: Callable[[], Waiter]


def _loop() -> _Loop:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio

        token = trio.lowlevel.current_trio_token()
        return _Loop(token.run_sync_soon, token.run_sync_soon, _TrioWaiter)
    # A future and not an event: one is made for each call, and costs a third.
    return _Loop(loop.call_soon, loop.call_soon_threadsafe, loop.create_future)


@asynccontextmanager
async def open_sqlite(
    path: str | PathLike[str], *, hot_heads: int = _HOT_HEADS, max_bytes: int | None = None
) -> AsyncGenerator[SqliteStore]:
    """Open a file, made if it is not there, on asyncio or trio.

    Args:
        path: The file; the write-ahead log lies beside it while it is open.
        hot_heads: How many heads stay in memory.
        max_bytes: Above this size writes fail with `OutcomeUnknownError`, as they do on a full disk.

    Raises:
        StoreLockedError: Another process has it open.
        StoreVersionError: A newer program has written it.
        StoreError: It cannot be opened or is no SQLite file.
    """
    store = SqliteStore(hot=hot_heads)
    try:
        await store.start(fspath(path), hot=hot_heads, max_bytes=max_bytes)
    except sqlite3.Error as error:
        raise StoreError(f"{fspath(path)} cannot be opened: {error}") from error
    try:
        yield store
    finally:
        await store.close()
