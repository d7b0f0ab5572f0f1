"""Partitions and marks in one SQLite file: durable when a call returns, and fast because commits share an fsync.

How it works. One thread owns the connection. The event loop hands it batches: all calls of one turn of the
loop, and all that queued while the thread was busy. Of a batch the thread first answers the reads, then runs
every commit in one transaction, with a verdict for each: versions are checked in order, each commit seeing
those before it, and a conflict leaves no trace. One COMMIT, which syncs the write-ahead log, and one wake-up
of the loop answer them all.

Nothing is shared between the two sides but the batches. The thread remembers id and version of hot partitions,
the loop remembers their heads; both learn of a commit only after it is on disk, and the loop in the order of
the thread. So a head that is answered from memory is never older than a commit that returned, never newer than
the disk, and the heads of one answer belong together.

Rows lie in a table in the order in which they came, found by an index over (partition id, key): messages are
written to the tails of thousands of partitions, and so bodies are appended to the page that is hot (measured: a
table clustered by partition costs half as much again). A `drop` is only noted in its commit; the rows go in
pieces, one with each transaction and one after the other when there is nothing else to do.

The file is open in one process at a time, which SQLite's own lock sees to, also after a SIGKILL.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from os import PathLike, fspath
from queue import Empty, SimpleQueue
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

import anyio

from whisperkit.errors import (
    ConflictError,
    OutcomeUnknownError,
    StoreError,
    StoreLockedError,
    StoreVersionError,
    UsageError,
)
from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.stores import Mark

__all__ = ["MIGRATIONS", "SqliteStore", "migrate", "open_sqlite"]

# Step n leads from schema n to schema n + 1; `user_version` of the file counts the steps. Only ever append.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE head (id INTEGER PRIMARY KEY, partition TEXT NOT NULL UNIQUE,"
        " version INTEGER NOT NULL, state BLOB NOT NULL)",
        "CREATE TABLE row (partition INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL)",
        "CREATE UNIQUE INDEX row_by_key ON row (partition, key)",
        "CREATE TABLE mark (partition TEXT, name TEXT, value INTEGER NOT NULL,"
        " PRIMARY KEY (partition, name)) WITHOUT ROWID",
        "CREATE TABLE dropped (id INTEGER PRIMARY KEY, partition INTEGER NOT NULL,"
        " start BLOB NOT NULL, stop BLOB NOT NULL)",
        "CREATE TABLE generation (epoch INTEGER NOT NULL)",
        "INSERT INTO generation VALUES (1)",
    ),
)

_FIND: Final = "SELECT id, version FROM head WHERE partition = ?"
_HEAD: Final = "SELECT version, state FROM head WHERE partition = ?"
_CREATE: Final = "INSERT INTO head (version, state, partition, id) VALUES (?, ?, ?, ?)"
_UPDATE: Final = "UPDATE head SET version = ?, state = ? WHERE partition = ? AND id = ?"
_ROWS: Final = "SELECT key, value FROM row WHERE partition = ? AND key >= ? AND key < ? ORDER BY key {} LIMIT ?"
_FORWARDS, _BACKWARDS = _ROWS.format("ASC"), _ROWS.format("DESC")
_PUT: Final = "INSERT INTO row VALUES (?, ?, ?) ON CONFLICT (partition, key) DO UPDATE SET value = excluded.value"
_DELETE: Final = "DELETE FROM row WHERE partition = ? AND key = ?"
_DROPS: Final = "SELECT id, partition, start, stop FROM dropped ORDER BY id"
_NOTE_DROP: Final = "INSERT INTO dropped (partition, start, stop) VALUES (?, ?, ?)"
_FORGET_DROP: Final = "DELETE FROM dropped WHERE id = ?"
_REAP: Final = (
    "DELETE FROM row WHERE rowid IN"
    " (SELECT rowid FROM row WHERE partition = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?)"
)
_RAISE: Final = (
    "INSERT INTO mark VALUES (?, ?, ?)"
    " ON CONFLICT DO UPDATE SET value = excluded.value WHERE excluded.value > mark.value"
)
_MARKS: Final = "SELECT name, value FROM mark WHERE partition = ?"
_EPOCH: Final = "SELECT epoch FROM generation"
_NEW_EPOCH: Final = "UPDATE generation SET epoch = epoch + 1"

# How much of what was dropped goes with one transaction: about a millisecond of work.
_REAPED_AT_ONCE: Final = 256
# Heads are 1 to 3.5 KiB: at most some 50 MiB, and the working set of a busy server.
_HOT_HEADS: Final = 16_384
_NO_LIMIT: Final = -1

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class _Hot(OrderedDict[K, V]):
    """What was used last, at most `size` entries."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._limit = size

    def use(self, key: K) -> V:
        self.move_to_end(key)
        return self[key]

    def keep(self, key: K, value: V) -> None:
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._limit:
            self.popitem(last=False)


# ---- what the loop hands to the thread ------------------------------------------------------------------------------


class _Call:
    """One call, and the way back of its answer. Made on the loop, run in the thread, delivered on the loop."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.done = anyio.Event()

    def run(self, database: _Database) -> None:
        """Ask, outside of a transaction."""

    def learn(self) -> None:
        """Remember the answer, before anything that the thread did later."""


class _Read(_Call, Generic[T]):
    """A question, and who remembers the answer."""

    def __init__(self, ask: Callable[[_Database], T], *, remember: Callable[[T], None] | None = None) -> None:
        super().__init__()
        self._ask = ask
        self._remember = remember
        self._answers: list[T] = []

    def run(self, database: _Database) -> None:
        try:
            self._answers.append(self._ask(database))
        except Exception as error:
            self.error = error

    def learn(self) -> None:
        if self._remember is not None:
            self._remember(self.answer)

    @property
    def answer(self) -> T:
        if self.error is not None:
            raise self.error
        return self._answers[0]


class _Write(_Call):
    """Changes, marks or a statement, in the next transaction."""

    def __init__(
        self,
        *,
        changes: Sequence[Change] = (),
        marks: Sequence[Mark] = (),
        statement: str = "",
        remember: Callable[[Sequence[Change]], None] | None = None,
    ) -> None:
        super().__init__()
        self.changes = changes
        self.marks = marks
        self.statement = statement
        self._remember = remember

    def learn(self) -> None:
        if self._remember is not None:
            self._remember(self.changes)


class _Close(_Call):
    """The last call."""


# ---- in the thread --------------------------------------------------------------------------------------------------


class _Known(NamedTuple):
    """A partition as the thread knows it; version 0 if it was never written."""

    id: int
    version: int


class _Touched(NamedTuple):
    """A partition that the running transaction changes: only its last state is written, at the end."""

    known: _Known
    state: bytes
    is_new: bool


class _Drop(NamedTuple):
    """Rows that are to go."""

    id: int
    partition: int
    start: bytes
    stop: bytes

    def has(self, key: bytes) -> bool:
        return self.start <= key < self.stop


def migrate(db: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring a file to the newest schema, each step in a transaction of its own.

    Args:
        db: In autocommit mode.
        migrations: Steps, each a few statements.

    Raises:
        StoreVersionError: The file has more steps behind it than there are.
    """
    found: int = db.execute("PRAGMA user_version").fetchone()[0]
    if found > len(migrations):
        raise StoreVersionError(found=found, supported=len(migrations))
    for number, statements in enumerate(migrations[found:], start=found + 1):
        db.execute("BEGIN IMMEDIATE")
        for statement in statements:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {number}")
        db.execute("COMMIT")


def _connect(path: str, max_bytes: int | None) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        # Exclusive before the first access: one process only, and the index of the log is in its memory.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA cache_size = -32768")
        migrate(db)
        # Take the lock now and not at the first write.
        db.execute("BEGIN EXCLUSIVE")
        db.execute("COMMIT")
        if max_bytes is not None:
            page_bytes: int = db.execute("PRAGMA page_size").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {max_bytes // page_bytes}")
    except Exception as error:
        db.close()
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise StoreLockedError(path=path) from error
        raise
    return db


class _Database:
    """The connection and all that is done with it."""

    def __init__(self, path: str, *, hot: int, max_bytes: int | None) -> None:
        self._db = _connect(path, max_bytes)
        self._known: _Hot[Partition, _Known] = _Hot(hot)
        self._next_id: int = self._db.execute("SELECT ifnull(max(id), 0) + 1 FROM head").fetchone()[0]
        self._drops = self._read_drops()
        self._may_reap = True
        self.transactions = 0

    @property
    def has_work(self) -> bool:
        """Whether dropped rows are left. Not after a failure: the next write that succeeds tells that it is over."""
        return self._may_reap and bool(self._drops)

    def close(self) -> None:
        self._db.close()

    def epoch(self) -> int:
        found: int = self._db.execute(_EPOCH).fetchone()[0]
        return found

    def heads(self, partitions: Collection[Partition]) -> dict[Partition, Head]:
        found = ((name, self._db.execute(_HEAD, (name,)).fetchone()) for name in partitions)
        return {name: Head(*head) for name, head in found if head is not None}

    def rows(self, partition: Partition, spans: Sequence[Span], limit: int) -> list[Row]:
        known = self._find(partition)
        found: list[Row] = []
        if known is not None:
            for start, stop, reverse in spans:
                statement = _BACKWARDS if reverse else _FORWARDS
                page = self._db.execute(statement, (known.id, start, stop, limit - len(found)))
                found += [Row(key, value) for key, value in page]
        return found

    def marks(self, partitions: Collection[Partition]) -> dict[Partition, dict[str, int]]:
        return {name: dict(self._db.execute(_MARKS, (name,))) for name in partitions}

    def write(self, calls: Sequence[_Write]) -> None:
        """Run calls in one transaction. If that fails, one by one, so that each answers for itself alone."""
        try:
            self._write_together(calls)
            self._may_reap = True
        except Exception as error:
            self._may_reap = False
            self._roll_back()
            if len(calls) == 1:
                calls[0].error = OutcomeUnknownError("commit")
                calls[0].error.__cause__ = error
            elif calls:
                for call in calls:
                    self.write([call])

    def _write_together(self, calls: Sequence[_Write]) -> None:
        touched: dict[Partition, _Touched] = {}
        self._db.execute("BEGIN IMMEDIATE")
        for call in calls:
            call.error = self._conflict(call.changes, touched)
            if call.error is None:
                self._apply(call, touched)
        for name, (known, state, is_new) in touched.items():
            self._db.execute(_CREATE if is_new else _UPDATE, (known.version, state, name, known.id))
        if self.has_work:
            self._reap()
        self._db.execute("COMMIT")
        self.transactions += 1
        for name, entry in touched.items():
            self._known.keep(name, entry.known)

    def _conflict(self, changes: Sequence[Change], touched: Mapping[Partition, _Touched]) -> ConflictError | None:
        for change in changes:
            name = change.partition
            known = touched[name].known if name in touched else self._find(name)
            if change.expected != (known.version if known else 0):
                return ConflictError(name)
        return None

    def _apply(self, call: _Write, touched: dict[Partition, _Touched]) -> None:
        for change in call.changes:
            touched[change.partition] = entry = self._touch(change, touched)
            self._apply_rows(change, entry.known.id)
        if call.marks:
            self._db.executemany(_RAISE, call.marks)
        if call.statement:
            self._db.execute(call.statement)

    def _touch(self, change: Change, touched: Mapping[Partition, _Touched]) -> _Touched:
        before = touched.get(change.partition)
        known = before.known if before else self._find(change.partition)
        is_new = before.is_new if before else known is None
        if known is None:
            known = _Known(self._next_id, 0)
            self._next_id += 1
        return _Touched(_Known(known.id, change.expected + 1), change.state, is_new)

    def _apply_rows(self, change: Change, partition: int) -> None:
        if change.drop is not None:
            self._note_drop(partition, change.drop)
        if change.delete:
            self._db.executemany(_DELETE, [(partition, key) for key in change.delete])
        if change.put:
            self._finish_drops(partition, change.put)
            self._db.executemany(_PUT, [(partition, key, value) for key, value in change.put])

    def _find(self, partition: Partition) -> _Known | None:
        if partition in self._known:
            return self._known.use(partition)
        found = self._db.execute(_FIND, (partition,)).fetchone()
        if found is None:
            return None
        known = _Known(*found)
        self._known.keep(partition, known)
        return known

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._drops = self._read_drops()
        except sqlite3.Error:
            # What is half done must not be read: from here on every call fails, and says so.
            self._db.close()

    def _read_drops(self) -> dict[int, list[_Drop]]:
        drops: dict[int, list[_Drop]] = {}
        for found in self._db.execute(_DROPS):
            drop = _Drop(*found)
            drops.setdefault(drop.partition, []).append(drop)
        return drops

    def _note_drop(self, partition: int, span: Span) -> None:
        number = self._db.execute(_NOTE_DROP, (partition, span.start, span.stop)).lastrowid or 0
        self._drops.setdefault(partition, []).append(_Drop(number, partition, span.start, span.stop))

    def _finish_drops(self, partition: int, put: Sequence[Row]) -> None:
        """A row that is put where others are to go must stay, so they go first."""
        for drop in [d for d in self._drops.get(partition, ()) if any(d.has(key) for key, _ in put)]:
            self._reap_one(drop, _NO_LIMIT)
            self._forget(drop)

    def _reap(self) -> None:
        """Delete one piece of what was dropped."""
        left = _REAPED_AT_ONCE
        while self._drops and left > 0:
            drop = next(iter(self._drops.values()))[0]
            reaped = self._reap_one(drop, left)
            if reaped < left:
                self._forget(drop)
            # A drop that holds nothing is work too, or a thousand of them would make one long transaction.
            left -= reaped + 1

    def _reap_one(self, drop: _Drop, limit: int) -> int:
        return self._db.execute(_REAP, (drop.partition, drop.start, drop.stop, limit)).rowcount

    def _forget(self, drop: _Drop) -> None:
        self._db.execute(_FORGET_DROP, (drop.id,))
        self._drops[drop.partition].remove(drop)
        if not self._drops[drop.partition]:
            del self._drops[drop.partition]


# ---- on the loop ----------------------------------------------------------------------------------------------------


class SqliteStore:
    """A `PartitionStore` and a `MarkStore` in one file; `open_sqlite` makes it."""

    spans_partitions = True

    def __init__(self, *, hot: int) -> None:
        self._batch: list[_Call] = []
        self._batches: SimpleQueue[list[_Call]] = SimpleQueue()
        self._heads: _Hot[Partition, Head | None] = _Hot(hot)
        self._is_closed = False
        self._epoch = 0
        self._transactions = 0
        self._soon, self._soon_from_thread = _schedulers()

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
        await self._write(_Write(statement=_NEW_EPOCH))
        self._epoch = await self._read(_Read(_Database.epoch))
        return self._epoch

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        """Read heads, from memory if all of them are hot; see `PartitionStore.heads`."""
        names = tuple(partitions)
        hot = self._hot_heads(names)
        if hot is not None:
            return hot

        def remember(found: Mapping[Partition, Head]) -> None:
            for name in names:
                self._heads.keep(name, found.get(name))

        return await self._read(_Read(lambda database: database.heads(names), remember=remember))

    def _hot_heads(self, partitions: Sequence[Partition]) -> Mapping[Partition, Head] | None:
        if self._is_closed or any(name not in self._heads for name in partitions):
            return None
        found = ((name, self._heads.use(name)) for name in partitions)
        return {name: head for name, head in found if head is not None}

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        """Read rows; see `PartitionStore.rows`."""
        wanted = tuple(spans)
        return await self._read(_Read(lambda database: database.rows(partition, wanted, limit)))

    async def commit(self, changes: Sequence[Change]) -> None:
        """Apply changes; on disk when it returns. See `PartitionStore.commit`."""
        await self._write(_Write(changes=tuple(changes), remember=self._remember))

    def _remember(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._heads.keep(change.partition, Head(change.expected + 1, change.state))

    async def raise_marks(self, marks: Sequence[Mark]) -> None:
        """Raise marks, in the same transaction as the commits of the moment; see `MarkStore.raise_marks`."""
        await self._write(_Write(marks=tuple(marks)))

    async def marks(self, partitions: Collection[Partition]) -> Mapping[Partition, Mapping[str, int]]:
        """Read marks; see `MarkStore.marks`."""
        names = tuple(partitions)
        return await self._read(_Read(lambda database: database.marks(names)))

    async def start(self, path: str, *, hot: int, max_bytes: int | None) -> None:
        """Start the thread and wait until it has the file open."""
        opened: _Read[int] = _Read(_Database.epoch)
        threading.Thread(target=self._serve, args=(opened, path, hot, max_bytes), name="sqlite", daemon=True).start()
        await opened.done.wait()
        self._epoch = opened.answer

    async def close(self) -> None:
        """Wait for all that was accepted, then close the file; calls that come later are refused."""
        if not self._is_closed:
            last = _Close()
            self._accept(last)
            self._is_closed = True
            with anyio.CancelScope(shield=True):
                await last.done.wait()

    async def _read(self, call: _Read[T]) -> T:
        self._accept(call)
        await call.done.wait()
        return call.answer

    async def _write(self, call: _Write) -> None:
        self._accept(call)
        await call.done.wait()
        if call.error is not None:
            raise call.error

    def _accept(self, call: _Call) -> None:
        if self._is_closed:
            raise UsageError("the store is closed")
        if not self._batch:
            self._soon(self._hand_over)
        self._batch.append(call)

    def _hand_over(self) -> None:
        self._batches.put(self._batch)
        self._batch = []

    def _deliver(self, calls: Sequence[_Call]) -> None:
        for call in calls:
            if call.error is None:
                call.learn()
            call.done.set()

    # ---- in the thread

    def _serve(self, opened: _Read[int], path: str, hot: int, max_bytes: int | None) -> None:
        try:
            database = _Database(path, hot=hot, max_bytes=max_bytes)
        except Exception as error:
            opened.error = error
            self._wake([opened])
            return
        opened.run(database)
        self._wake([opened])
        while self._serve_batch(database, self._next_batch(database)):
            pass

    def _next_batch(self, database: _Database) -> list[_Call]:
        """All that is queued; waits for something unless there are dropped rows to delete meanwhile."""
        batch: list[_Call] = []
        with suppress(Empty):
            batch += self._batches.get(block=not database.has_work)
            while True:
                batch += self._batches.get_nowait()
        return batch

    def _serve_batch(self, database: _Database, batch: list[_Call]) -> bool:
        writes = [call for call in batch if isinstance(call, _Write)]
        last = [call for call in batch if isinstance(call, _Close)]
        reads = [call for call in batch if not isinstance(call, _Write | _Close)]
        for read in reads:
            read.run(database)
        self._wake(reads)
        if writes or database.has_work:
            database.write(writes)
            self._transactions = database.transactions
        if last:
            database.close()
        self._wake([*writes, *last])
        return not last

    def _wake(self, calls: Sequence[_Call]) -> None:
        if calls:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                self._soon_from_thread(lambda: self._deliver(calls))


_Soon: TypeAlias = Callable[[Callable[[], None]], object]


def _schedulers() -> tuple[_Soon, _Soon]:
    """How to run something soon on the running loop: from itself, and from a thread."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio

        token = trio.lowlevel.current_trio_token()
        return token.run_sync_soon, token.run_sync_soon
    return loop.call_soon, loop.call_soon_threadsafe


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
