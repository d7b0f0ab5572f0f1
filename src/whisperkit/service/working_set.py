"""A working set: decoded heads and rows that operations read and change together, before one commit carries it all.

An operation is a synchronous function on a working set. It reads first and then applies the steps that its
rules return. A read of something that is not there raises `Cold`: whoever runs the operation loads it and
runs the operation again. So an operation never waits, never meets a database, and several can run one
after another, each seeing what the one before left.

Every head that was read, changed or not, is part of what an answer rests on: the changed ones are conditions of the
commit, and `unverified` names the others, so that nothing is decided by a stale cache alone. No row changes without
its head, so small rows are remembered with it (`Cached`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from whisperkit._named_tuples import make
from whisperkit.errors import UsageError
from whisperkit.partitions import MAX_STATE_BYTES, Change, Head, Partition, Row, Span, Step
from whisperkit.stores import PartitionStore

__all__ = ["Codec", "Cold", "HeadCache", "Load", "Operation", "WorkingSet"]

S = TypeVar("S")
A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)


# So many rows of so many bytes are remembered with a head: how far an inbox has a conversation, mostly.
MAX_KEPT_ROWS: Final = 8
MAX_KEPT_BYTES: Final = 64

_NO_ROWS: Final[Mapping[bytes, bytes | None]] = {}
_NO_SPANS: Final[Mapping[Span, tuple[bytes, ...]]] = {}


class Codec(NamedTuple, Generic[S]):
    """How the head of one kind of partition is written. `decode` of ``b""`` is the state of one never written."""

    decode: Callable[[bytes], S]
    encode: Callable[[S], bytes]


class Load(NamedTuple):
    """What an operation needs to read: the head of a partition, and rows of it."""

    partition: Partition
    codec: Codec[Any]  # of whatever state that partition has
    keys: tuple[bytes, ...] = ()
    spans: tuple[Span, ...] = ()


class Cold(Exception):  # noqa: N818  # not a failure: it asks for what is missing
    """An operation needs what the working set does not hold yet.

    Args:
        loads: What to load into the working set.
        fetch: Or what to await first: something that other caches than the working set lack.
    """

    def __init__(self, *loads: Load, fetch: Callable[[], Awaitable[None]] | None = None) -> None:
        super().__init__(f"{len(loads)} to load")
        self.loads = loads
        self.fetch = fetch


class Operation(Protocol[A_co]):
    """Something to decide and commit."""

    @property
    def lane(self) -> Partition:
        """The partition whose operations must run in the order they came."""
        ...

    def run(self, work: WorkingSet) -> A_co:
        """Read, decide, apply, answer. Reads come first: after the first `apply` nothing may be `Cold`."""
        ...


class Cached(NamedTuple):
    """A partition as an earlier commit left it.

    Attributes:
        version: Of its head.
        state: The decoded head.
        rows: Rows that were asked for by their keys, at that version; `None`: there is none. No row changes without
            its head, so they are as good as the head is.
    """

    version: int
    state: Any  # which one, says the codec of the partition
    rows: Mapping[bytes, bytes | None]

    def __repr__(self) -> str:
        return f"Cached(version={self.version}, rows=<{len(self.rows)}>)"


class HeadCache:
    """Decoded heads of partitions, those used last. It may be stale: that costs a conflict, never a fault."""

    def __init__(self, *, max_heads: int) -> None:
        self._max_heads = max_heads
        self._heads: dict[Partition, Cached] = {}

    def get(self, partition: Partition) -> Cached | None:
        """What is known of a partition; counts as a use."""
        found = self._heads.pop(partition, None)
        if found is not None:
            self._heads[partition] = found
        return found

    def put(self, partition: Partition, found: Cached) -> None:
        """Remember a head; the least recently used one makes room."""
        self._heads.pop(partition, None)
        self._heads[partition] = found
        if len(self._heads) > self._max_heads:
            del self._heads[next(iter(self._heads))]

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Forget heads that turned out to be stale."""
        for partition in partitions:
            self._heads.pop(partition, None)

    def __len__(self) -> int:
        return len(self._heads)


class _Entry:
    """One partition in a working set."""

    __slots__ = (
        "cached",
        "codec",
        "deletes",
        "drop",
        "is_changed",
        "is_fresh",
        "kept",
        "known",
        "puts",
        "spans",
        "state",
        "version",
    )

    def __init__(
        self, version: int, state: Any, codec: Codec[Any], rows: Mapping[bytes, bytes | None], *, is_fresh: bool
    ) -> None:
        self.version = version
        self.state = state
        self.codec = codec
        self.is_changed = False
        self.is_fresh = is_fresh  # the head was read for this working set, and no rows after it
        # What is read and changed is replaced, not altered: most entries need none of it, and one is made per message.
        self.cached = rows
        self.known = rows  # rows read; None: there is none
        self.kept: tuple[bytes, ...] | None = None  # those that were asked for by their keys; None: as in `cached`
        self.spans: Mapping[Span, tuple[bytes, ...]] = _NO_SPANS  # spans read whole, with the keys found
        self.puts: dict[bytes, Row] = {}
        self.deletes: frozenset[bytes] = frozenset()
        self.drop: Span | None = None

    def keep(self, rows: Mapping[bytes, bytes | None]) -> None:
        """Take in rows that were asked for by their keys."""
        self.kept = (*(self.cached if self.kept is None else self.kept), *rows)
        self.known = {**self.known, **rows}

    def rows_after(self) -> Mapping[bytes, bytes | None]:
        """The rows that were asked for by their keys, as they are after the commit; the last ones, if small."""
        if self.drop is not None:
            return _NO_ROWS
        if self.kept is None and self.cached.keys().isdisjoint(self.puts) and not self.deletes:
            return self.cached  # as nearly always
        rows: dict[bytes, bytes | None] = {}
        for key in tuple(self.cached if self.kept is None else self.kept)[-MAX_KEPT_ROWS:]:
            put = self.puts.get(key)
            value = put.value if put is not None else None if key in self.deletes else self.known[key]
            if value is None or len(value) <= MAX_KEPT_BYTES:
                rows[key] = value
        return rows


class WorkingSet:
    """Heads and rows under change.

    Args:
        cache: Heads of earlier commits, to start from.
        spans_partitions: Whether one commit may change several partitions; operations plan by it.
    """

    def __init__(self, cache: HeadCache, *, spans_partitions: bool) -> None:
        self.spans_partitions = spans_partitions
        self.rows_put = 0
        self._cache = cache
        self._entries: dict[Partition, _Entry] = {}
        self._heads: dict[Partition, Head | None] = {}

    # ---- what operations do ----

    def state(self, partition: Partition, codec: Codec[S]) -> S:
        """The state of a partition as the operations so far left it.

        Raises:
            Cold: It is not loaded.
        """
        entry = self._entries.get(partition) or self._enter(partition, codec)
        if entry is None:
            raise Cold(Load(partition, codec))
        found: S = entry.state  # a partition has one codec, so its state is of that codec's type
        return found

    def has(self, partition: Partition, codec: Codec[Any]) -> bool:
        """Whether `state` would answer; to gather all that is cold before asking for it at once."""
        return (self._entries.get(partition) or self._enter(partition, codec)) is not None

    def cold(self, partitions: Iterable[Partition], codec: Codec[Any]) -> list[Load]:
        """What has to be loaded before `state` answers for all of these."""
        entries, enter = self._entries, self._enter
        return [Load(name, codec) for name in partitions if name not in entries and enter(name, codec) is None]

    def row(self, partition: Partition, codec: Codec[Any], key: bytes) -> bytes | None:
        """The value of a row; `None` if there is none.

        Raises:
            Cold: It is not loaded.
        """
        entry = self._entries.get(partition) or self._enter(partition, codec)
        if entry is None:
            raise Cold(Load(partition, codec, keys=(key,)))
        if key in entry.puts:
            return entry.puts[key].value
        if key in entry.deletes:
            return None
        if key not in entry.known:
            raise Cold(Load(partition, codec, keys=(key,)))
        return entry.known[key]

    def missing_keys(self, partition: Partition, codec: Codec[Any], keys: Iterable[bytes]) -> tuple[bytes, ...]:
        """Those of the keys that `row` would have to load."""
        entry = self._entries.get(partition) or self._enter(partition, codec)
        if entry is None:
            return tuple(keys)
        return tuple(k for k in keys if k not in entry.puts and k not in entry.deletes and k not in entry.known)

    def rows(self, partition: Partition, codec: Codec[Any], span: Span) -> list[Row]:
        """All rows of a span, in key order.

        Raises:
            Cold: The span is not loaded.
        """
        entry = self._entries.get(partition)
        if entry is None or span not in entry.spans:
            raise Cold(Load(partition, codec, spans=(span,)))
        found = {key: value for key in entry.spans[span] if (value := entry.known[key]) is not None}
        found.update((key, row.value) for key, row in entry.puts.items() if span.start <= key < span.stop)
        return [Row(key, found[key]) for key in sorted(found.keys() - entry.deletes)]

    def apply(self, partition: Partition, step: Step[A, Any]) -> A:
        """Take over what a rule decided about a partition whose `state` was read; returns its answer."""
        entry = self._entries[partition]
        answer, state, put, delete, drop = step
        if state is not entry.state:
            entry.state = state
            entry.is_changed = True
        if delete:
            entry.deletes = entry.deletes.union(delete)
            for key in delete:
                entry.puts.pop(key, None)
            entry.is_changed = True
        if put:
            for row in put:
                entry.puts[row.key] = row
            if entry.deletes:
                entry.deletes = entry.deletes.difference(entry.puts)
            self.rows_put += len(put)
            entry.is_changed = True
        if drop is not None:
            entry.drop = drop
            entry.is_changed = True
        return answer

    def is_changed(self, partition: Partition) -> bool:
        """Whether an operation of this working set changed a partition: what it says is not committed yet."""
        entry = self._entries.get(partition)
        return entry is not None and entry.is_changed

    def touch(self, partition: Partition) -> None:
        """Make the present version of a partition a condition of the commit, though nothing in it changes."""
        self._entries[partition].is_changed = True

    # ---- what the one who runs them does ----

    async def load_heads(self, store: PartitionStore, loads: Sequence[Load]) -> None:
        """Read the heads that are cold, all in one call."""
        cold = {load.partition: None for load in loads if not self.has(load.partition, load.codec)}
        if cold:
            heads = await store.heads(cold)
            self._heads.update((partition, heads.get(partition)) for partition in cold)

    async def load_rows(self, store: PartitionStore, load: Load) -> None:
        """Read rows of a partition whose head is loaded.

        They are read at the version of that head or a later one; if later, the commit conflicts, because the head is
        a condition.
        """
        entry = self._entries.get(load.partition) or self._enter(load.partition, load.codec)
        assert entry is not None  # its head was read before its rows
        entry.is_fresh = False
        if not entry.version:
            # Never written: it has no rows, and if it gets some, the commit conflicts.
            entry.keep(dict.fromkeys(load.keys))
            entry.spans = {**entry.spans, **dict.fromkeys(load.spans, ())}
            return
        for span in load.spans:
            found: list[Row] = []
            rest = span
            while page := await store.rows(load.partition, [rest], limit=PAGE_ROWS):
                found += page
                if len(page) < PAGE_ROWS:
                    break
                rest = Span(page[-1].key + b"\0", span.stop)
            entry.known = {**entry.known, **dict(found)}
            entry.spans = {**entry.spans, span: tuple(row.key for row in found)}
        if load.keys:
            spans = [Span(key, key + b"\0") for key in load.keys]
            got = dict(await store.rows(load.partition, spans, limit=len(spans)))
            entry.keep({key: got.get(key) for key in load.keys})

    def _enter(self, partition: Partition, codec: Codec[Any]) -> _Entry | None:
        if partition in self._heads:
            head = self._heads[partition]
            version, data = (head.version, head.state) if head is not None else (0, b"")
            entry = _Entry(version, codec.decode(data), codec, _NO_ROWS, is_fresh=True)
        elif (cached := self._cache.get(partition)) is not None:
            entry = _Entry(cached.version, cached.state, codec, cached.rows, is_fresh=False)
        else:
            return None
        self._entries[partition] = entry
        return entry

    def changes(self) -> list[Change]:
        """What to commit, sorted by partition.

        Raises:
            UsageError: A state grew over `MAX_STATE_BYTES`: a rule lacks a bound.
        """
        changes: list[Change] = []
        for partition in sorted(self._entries):
            entry = self._entries[partition]
            if not entry.is_changed:
                continue
            state = entry.codec.encode(entry.state)
            if len(state) > MAX_STATE_BYTES:
                raise UsageError(
                    f"the state of {partition} takes {len(state)} bytes; the limit is {MAX_STATE_BYTES}",
                    code="usage.too-large",
                )
            put, delete = tuple(entry.puts.values()), tuple(entry.deletes)
            changes.append(make(Change, (partition, entry.version, state, put, delete, entry.drop)))
        return changes

    def unverified(self) -> list[Partition]:
        """Partitions that were read, will not be in the commit, and may have been stale when they were read."""
        return [p for p, entry in self._entries.items() if not entry.is_changed and not entry.is_fresh]

    def agrees(self, heads: dict[Partition, Head]) -> list[Partition]:
        """Those of `unverified` that are not at the version they were read at, given their heads now."""
        moved: list[Partition] = []
        for partition in self.unverified():
            head = heads.get(partition)
            if (head.version if head is not None else 0) != self._entries[partition].version:
                moved.append(partition)
        return moved

    def remember(self) -> None:
        """After the commit: hand the heads to the cache."""
        for partition, entry in self._entries.items():
            after = entry.version + entry.is_changed
            self._cache.put(partition, make(Cached, (after, entry.state, entry.rows_after())))

    def forget(self) -> None:
        """After a conflict or an unknown outcome: no head that was used is trusted any more."""
        self._cache.drop(self._entries)


# How many rows one read of a span asks for at once.
PAGE_ROWS = 1_000
