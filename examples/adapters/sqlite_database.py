"""The side of the SQLite store that runs in its thread: the connection, and the calls that reach it.

Rows lie in a table in the order in which they came, found by an index over (partition id, key): messages are
written to the tails of thousands of partitions, and so bodies are appended to the page that is hot (measured: a
table clustered by partition costs half as much again). A `drop` is only noted in its commit; the rows go in
pieces, one with each transaction and one after the other when there is nothing else to do.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

import anyio

from examples.adapters.sqlite_schema import connect
from whisperkit.errors import ConflictError, OutcomeUnknownError
from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.stores import Mark

__all__ = ["Call", "Close", "Database", "Hot", "Read", "Write"]

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

# How much of what was dropped goes with one transaction: about a millisecond of work.
_REAPED_AT_ONCE: Final = 256
_NO_LIMIT: Final = -1

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class Hot(OrderedDict[K, V]):
    """What was used last, at most `size` entries: ids in the thread, heads on the loop."""

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


# ---- what the loop hands over ---------------------------------------------------------------------------------------


class Call:
    """One call, and the way back of its answer. Made on the loop, run in the thread, delivered on the loop."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.done = anyio.Event()

    def run(self, database: Database) -> None:
        """Ask, outside of a transaction."""

    def learn(self) -> None:
        """Remember the answer, before anything that the thread did later."""


class Read(Call, Generic[T]):
    """A question, and who remembers the answer."""

    def __init__(self, ask: Callable[[Database], T], *, remember: Callable[[T], None] | None = None) -> None:
        super().__init__()
        self._ask = ask
        self._remember = remember
        self._answers: list[T] = []

    def run(self, database: Database) -> None:
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


class Write(Call):
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


class Close(Call):
    """The last call."""


# ---- what the thread does with it -----------------------------------------------------------------------------------


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


class Database:
    """The connection and all that is done with it."""

    def __init__(self, path: str, *, hot: int, max_bytes: int | None) -> None:
        self._db = connect(path, max_bytes)
        self._known: Hot[Partition, _Known] = Hot(hot)
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

    def write(self, calls: Sequence[Write]) -> None:
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

    def _write_together(self, calls: Sequence[Write]) -> None:
        touched: dict[Partition, _Touched] = {}
        self._puts.clear()
        self._db.execute("BEGIN IMMEDIATE")
        for call in calls:
            call.error = self._conflict(call.changes, touched)
            if call.error is None:
                self._apply(call, touched)
        self._put()
        for statement, is_new in ((_CREATE, True), (_UPDATE, False)):
            heads = [(t.known.version, t.state, name, t.known.id) for name, t in touched.items() if t.is_new is is_new]
            if heads:
                self._db.executemany(statement, heads)
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

    def _apply(self, call: Write, touched: dict[Partition, _Touched]) -> None:
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
            self._put()  # what earlier calls of the transaction put goes with it
            self._note_drop(partition, change.drop)
        if change.delete:
            self._put()
            self._db.executemany(_DELETE, [(partition, key) for key in change.delete])
        if change.put:
            self._finish_drops(partition, change.put)
            self._puts += [(partition, key, value) for key, value in change.put]

    def _put(self) -> None:
        """Write the rows that were put since the last deletion: many at once cost less than one by one."""
        if self._puts:
            self._db.executemany(_PUT, self._puts)
            self._puts.clear()

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
