"""What is durable: partitions, each a small versioned head and ordered rows, changed by pure rules.

A rule takes decoded state and an input and returns a `Step`: the answer, the next state, and the rows to
put and delete. It never meets a store. `whisperkit.stores.transact` and the gateway's turn load what a
rule needs, turn its step into a `Change`, commit it, and start again on a conflict; therefore every rule
is idempotent: applied to its own result it changes nothing, and its answer leads to the same end.

These types are shared by the rules, which know nothing else, and by the doors to storage. They print how
much they hold, and not what: rows of a device hold its private keys.
"""

from __future__ import annotations

from typing import Final, Generic, NamedTuple, NewType, TypeVar

__all__ = [
    "EVERYTHING",
    "MAX_KEY_BYTES",
    "MAX_PARTITION_CHARS",
    "MAX_STATE_BYTES",
    "MAX_VALUE_BYTES",
    "Change",
    "Head",
    "Partition",
    "Row",
    "Span",
    "Step",
    "prefix",
    "seq_key",
    "seq_of",
    "seq_span",
]

# A head of more than about 4,000 bytes spills into a second page in SQLite (measured).
MAX_STATE_BYTES: Final = 3_584
MAX_KEY_BYTES: Final = 64
MAX_VALUE_BYTES: Final = 1 << 20
MAX_PARTITION_CHARS: Final = 128

Partition = NewType("Partition", str)
"""The name of a partition, such as ``conv/<id>``: at most `MAX_PARTITION_CHARS` ASCII characters."""

S = TypeVar("S")
A = TypeVar("A")


class Head(NamedTuple):
    """The head of a partition.

    Attributes:
        version: Raised by one by each commit; 1 after the first. A partition never written has no head.
        state: What is small and hot, encoded; at most `MAX_STATE_BYTES`.
    """

    version: int
    state: bytes

    def __repr__(self) -> str:
        return f"Head(version={self.version}, state=<{len(self.state)} bytes>)"


class Row(NamedTuple):
    """One row; rows of a partition are ordered by key, bytewise.

    Attributes:
        key: 1 to `MAX_KEY_BYTES` bytes.
        value: At most `MAX_VALUE_BYTES` bytes.
    """

    key: bytes
    value: bytes

    def __repr__(self) -> str:
        return f"Row(key={self.key!r}, value=<{len(self.value)} bytes>)"


class Span(NamedTuple):
    """The keys from `start`, included, to `stop`, excluded; read from the end if `reverse`."""

    start: bytes
    stop: bytes
    reverse: bool = False


# No key begins with 0xff: keys are ASCII prefixes followed by at most ids and big-endian numbers.
EVERYTHING: Final = Span(b"", b"\xff" * MAX_KEY_BYTES)


class Change(NamedTuple):
    """What one commit does to one partition.

    Attributes:
        partition: Which one.
        expected: The version at which the change applies; 0 if the partition was never written.
        state: The next state of the head. The version becomes `expected` + 1.
        put: Rows to write, replacing those with the same key.
        delete: Keys to delete; a key that is not there is no error. No key is both put and deleted.
        drop: Rows that nobody will read again; they may vanish now or later.
    """

    partition: Partition
    expected: int
    state: bytes
    put: tuple[Row, ...] = ()
    delete: tuple[bytes, ...] = ()
    drop: Span | None = None

    def __repr__(self) -> str:
        state = f"<{len(self.state)} bytes>"
        return (
            f"Change(partition={self.partition!r}, expected={self.expected}, state={state}, put={self.put!r},"
            f" delete={self.delete!r}, drop={self.drop!r})"
        )


class Step(NamedTuple, Generic[A, S]):
    """What a rule decided about one partition.

    Attributes:
        answer: What to tell who asked.
        state: The next decoded state: the very same object if the head does not change.
        put: Rows to write.
        delete: Keys to delete.
        drop: Rows that nobody will read again.
    """

    answer: A
    state: S
    put: tuple[Row, ...] = ()
    delete: tuple[bytes, ...] = ()
    drop: Span | None = None

    def changes(self, before: S) -> bool:
        """Whether there is anything to commit, given the state that the rule was handed."""
        return self.state is not before or bool(self.put or self.delete) or self.drop is not None


def seq_key(prefix: bytes, seq: int) -> bytes:
    """The key of row number `seq` under a prefix such as ``b"e/"``: eight bytes big-endian, so keys sort by number."""
    return prefix + seq.to_bytes(8, "big")


def seq_of(key: bytes) -> int:
    """The number in a key made by `seq_key`."""
    return int.from_bytes(key[-8:], "big")


def seq_span(prefix: bytes, after: int, upto: int, *, reverse: bool = False) -> Span:
    """The rows with numbers above `after`, up to and including `upto`."""
    return Span(seq_key(prefix, after + 1), seq_key(prefix, upto + 1), reverse)


def prefix(start: bytes) -> Span:
    """All rows whose key begins with `start`, such as ``b"m/"``."""
    return Span(start, start + b"\xff" * (MAX_KEY_BYTES - len(start)))
