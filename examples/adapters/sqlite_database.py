"""The side of the SQLite store that runs in its thread: the connection, and the calls that reach it.

Rows lie in a table in the order in which they came, found by an index over (partition id, key): messages are
written to the tails of thousands of partitions, and so bodies are appended to the page that is hot (measured: a
table clustered by partition costs half as much again). A `drop` is only noted in its commit; the rows go in
pieces, one with each transaction and one after the other when there is nothing else to do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from examples.adapters.sqlite_hot import Hot
from examples.adapters.sqlite_schema import connect
from whisperkit.errors import ConflictError, OutcomeUnknownError
from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.stores import Mark

__all__ = ["Batch", "Call", "Database", "Known", "Read", "Waiter", "Write"]

_FIND: Final = "SELECT id, version, state FROM head WHERE partition = ?"
_CREATE: Final = "INSERT INTO head (id, partition, version, state) VALUES (?, ?, ?, ?)"
_UPDATE: Final = "UPDATE head SET version = ?, state = ? WHERE id = ?"
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

# How much of what was dropped goes with one transaction: about a millisecond of work.
_REAPED_AT_ONCE: Final = 256
_NO_LIMIT: Final = -1

T = TypeVar("T")


# ---- what the loop hands over ---------------------------------------------------------------------------------------


class Waiter(Protocol):
    """What the caller of a call waits for: a future of asyncio, or what stands for one on trio."""

    def done(self) -> bool: ...
    def set_result(self, result: None, /) -> None: ...
    def __await__(self) -> Generator[Any, Any, None]: ...  # what it yields is between it and its loop


class Call:
    """One call, and the way back of its answer. Made on the loop, run in the thread, answered on the loop."""

    __slots__ = ("done", "error")

    def __init__(self, done: Waiter) -> None:
        self.done = done
        self.error: Exception | None = None

    def answered(self) -> None:
        """Wake the caller, unless it went away."""
        if not self.done.done():
            self.done.set_result(None)


class Read(Call, Generic[T]):
    """A question."""

    __slots__ = ("_answers", "_ask")

    def __init__(self, done: Waiter, ask: Callable[[Database], T]) -> None:
        super().__init__(done)
        self._ask = ask
        self._answers: list[T] = []

    def run(self, database: Database) -> None:
        """Ask, outside of a transaction."""
        try:
            self._answers.append(self._ask(database))
        except Exception as error:
            self.error = error

    @property
    def answer(self) -> T:
        if self.error is not None:
            raise self.error
        return self._answers[0]


class Write(Call):
    """Changes, marks or a statement, in the next transaction."""

    __slots__ = ("changes", "marks", "statement")

    def __init__(
        self, done: Waiter, *, changes: Sequence[Change] = (), marks: Sequence[Mark] = (), statement: str = ""
    ) -> None:
        self.done = done
        self.error = None
        self.changes = changes
        self.marks = marks
        self.statement = statement


class Batch:
    """Calls that were made before the thread was free for them, and whether they are the last."""

    __slots__ = ("heads", "last", "reads", "writes")

    def __init__(self) -> None:
        self.heads: list[Read[dict[Partition, Known]]] = []
        self.reads: list[Read[Any]] = []  # each knows what its own answer is
        self.writes: list[Write] = []
        self.last: Call | None = None

    def add(self, later: Batch) -> None:
        """Take over what was called after these."""
        self.heads += later.heads
        self.reads += later.reads
        self.writes += later.writes
        self.last = later.last


# ---- what the thread does with it -----------------------------------------------------------------------------------


Known: TypeAlias = tuple[int, Head]
"""A partition as the file has it: its id and its head, whose version is 0 with the id 0 if it was never written."""

_NEVER_WRITTEN: Final[Known] = (0, Head(0, b""))
# Made for each change and each row: what `Head(...)` and `Row(...)` make, without the function that such a class puts
# in front of it, which takes three quarters of the time.
_head: Final[Callable[[tuple[int, bytes]], Head]] = partial(tuple.__new__, Head)  # pyright: ignore[reportUnknownMemberType]
_row: Final[Callable[[tuple[bytes, bytes]], Row]] = partial(tuple.__new__, Row)  # pyright: ignore[reportUnknownMemberType]


class _Drop(NamedTuple):
    """Rows that are to go."""

    id: int
    partition: int
    start: bytes
    stop: bytes

    def has(self, key: bytes) -> bool:
        return self.start <= key < self.stop


class Database:
    """The connection and all that is done with it."""

    def __init__(self, path: str, *, hot: int, max_bytes: int | None) -> None:
        self._db = connect(path, max_bytes)
        self._known: Hot[Partition, Known] = Hot(hot)
        self._next_id: int = self._db.execute("SELECT ifnull(max(id), 0) + 1 FROM head").fetchone()[0]
        self._drops = self._read_drops()
        self._may_reap = True
        self._puts: list[tuple[int, bytes, bytes]] = []
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

    def heads(self, partitions: Collection[Partition]) -> dict[Partition, Known]:
        """What is known of each, also of those that were never written."""
        return {name: self._find(name) for name in partitions}

    def rows(self, partition: Partition, spans: Sequence[Span], limit: int) -> list[Row]:
        number, _ = self._find(partition)
        found: list[Row] = []
        if number:
            for start, stop, reverse in spans:
                statement = _BACKWARDS if reverse else _FORWARDS
                page = self._db.execute(statement, (number, start, stop, limit - len(found)))
                found += map(_row, page)
        return found

    def marks(self, partitions: Collection[Partition]) -> dict[Partition, dict[str, int]]:
        return {name: dict(self._db.execute(_MARKS, (name,))) for name in partitions}

    def write(self, calls: Sequence[Write]) -> dict[Partition, Known]:
        """Run calls in one transaction. If that fails, one by one, so that each answers for itself alone.

        Returns:
            The partitions that are on disk now as they were not before.
        """
        try:
            written = self._write_together(calls)
            self._may_reap = True
            return written
        except Exception as error:
            self._may_reap = False
            self._roll_back()
            if len(calls) == 1:
                calls[0].error = OutcomeUnknownError("commit")
                calls[0].error.__cause__ = error
                return {}
        one_by_one: dict[Partition, Known] = {}
        for call in calls:
            one_by_one |= self.write([call])
        return one_by_one

    def _write_together(self, calls: Sequence[Write]) -> dict[Partition, Known]:
        touched: dict[Partition, Known] = {}
        first_new = self._next_id
        self._puts.clear()
        self._db.execute("BEGIN IMMEDIATE")
        for call in calls:
            call.error = self._apply(call, touched)
        self._put()
        self._write_heads(touched, first_new)
        if self.has_work:
            self._reap()
        self._db.execute("COMMIT")
        self.transactions += 1
        self._known.keep_all(touched)
        return touched

    def _apply(self, call: Write, touched: dict[Partition, Known]) -> ConflictError | None:
        """All of a call, or nothing of it if one of its changes is not at its version."""
        ids: list[int] = []
        for change in call.changes:
            number, head = touched.get(change.partition) or self._find(change.partition)
            if head.version != change.expected:
                return ConflictError(change.partition)
            ids.append(number)
        for number, change in zip(ids, call.changes):  # noqa: B905  # counted
            partition, expected, state, put, delete, drop = change
            number = number or self._new_id()
            touched[partition] = (number, _head((expected + 1, state)))
            if delete or drop is not None:
                self._remove(number, delete, drop)
            if put:
                if self._drops:
                    self._finish_drops(number, put)
                self._puts += [(number, key, value) for key, value in put]
        if call.marks:
            self._db.executemany(_RAISE, call.marks)
        if call.statement:
            self._db.execute(call.statement)
        return None

    def _new_id(self) -> int:
        number = self._next_id
        self._next_id += 1
        return number

    def _write_heads(self, touched: Mapping[Partition, Known], first_new: int) -> None:
        """Of a partition that several calls changed only the last state is written."""
        changed = [(head.version, head.state, number) for number, head in touched.values() if number < first_new]
        self._db.executemany(_UPDATE, changed)
        if self._next_id > first_new:
            new = [(number, name, *head) for name, (number, head) in touched.items() if number >= first_new]
            self._db.executemany(_CREATE, new)

    def _remove(self, partition: int, delete: Sequence[bytes], drop: Span | None) -> None:
        self._put()  # what earlier calls of the transaction put goes with it
        if drop is not None:
            self._note_drop(partition, drop)
        if delete:
            self._db.executemany(_DELETE, [(partition, key) for key in delete])

    def _put(self) -> None:
        """Write the rows that were put since the last deletion: many at once cost less than one by one."""
        if self._puts:
            self._db.executemany(_PUT, self._puts)
            self._puts.clear()

    def _find(self, partition: Partition) -> Known:
        known = self._known.get(partition)
        if known is None:
            found = self._db.execute(_FIND, (partition,)).fetchone()
            known = _NEVER_WRITTEN if found is None else (found[0], Head(*found[1:]))
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
        drops = self._drops.get(partition)
        if not drops:
            return
        self._put()
        for drop in [d for d in drops if any(d.has(key) for key, _ in put)]:
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
