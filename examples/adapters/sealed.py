"""A `PartitionStore` around another one, in which the other one sees names of random bytes and ciphertext.

Every row is sealed with XChaCha20-Poly1305 under a random nonce and kept under a label, a keyed hash of its partition
and its key. So neither keys nor their order can be seen; therefore which rows there are, and in which order, is held
in memory: it is read from the rows when a partition is first used, all of them, once.

    name of a partition   sealed/<label>                label = keyed BLAKE2b of the name, 16 bytes
    state of its head     nonce, sealed(digest, state)  bound to the name and to the version
    key of a row          r<label>                      label = keyed BLAKE2b of that name and the key, 16 bytes
    value of a row        nonce, sealed(key, value)     bound to the name and to the label
    digest                XOR over all rows of the keyed BLAKE2b of label and nonce, 32 bytes

The digest in the head says which rows belong to its version, each as it was written last: a nonce is drawn for each
writing, so it names that writing. Whoever moves, removes, repeats or brings back a row has a set with another digest,
and who does not have the key cannot find a set with the same one. What cannot be noticed from within is a partition
that was brought back as a whole, or is gone as a whole: its past is authentic.

What is in memory belongs to one head, byte for byte. Each call reads the head first; if it is not that one, then either
it is of a commit of our own whose answer is still under way or was lost, and is taken over, or another process has
written, and everything is read again. So it is correct with any number of writers, and fast with one.

The inner store has to take 80 bytes more in a state, and 112 more in a value, than the library asks for.
"""

from __future__ import annotations

import os
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from examples.adapters.sealed_lock import KEY_BYTES, DataKey, Lock, RandomBytes, lock_up, unlock
from examples.adapters.sealer import Label, Nonce, Sealer, altered, nonce_of
from whisperkit.errors import ConflictError, OutcomeUnknownError, StoreError, UsageError
from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.stores import PartitionStore

__all__ = ["NotSealedError", "SealedPartitions", "change_lock", "open_sealed"]

_HEADER: Final = Partition("sealed")
_ROWS: Final = Span(b"r", b"s")
_PAGE: Final = 1_000
# How often a read begins again because somebody else wrote meanwhile.
_ATTEMPTS: Final = 20
# Commits of one head whose outcome is open. One that is forgotten costs reading the partition anew, no more.
_MAX_UNDER_WAY: Final = 16


class NotSealedError(StoreError):
    """A store holds partitions that were written without encryption. Nothing was changed.

    Attributes:
        partition: One of them.
    """

    code = "sealed.clear"
    advice = "move it away and begin with an empty one; what is in it is not encrypted by opening it"

    def __init__(self, partition: Partition) -> None:
        super().__init__(f"{partition} is in the store without encryption")
        self.partition = partition


async def open_sealed(
    inner: PartitionStore, lock: Lock, *, clear: Collection[Partition] = (), random_bytes: RandomBytes = os.urandom
) -> SealedPartitions:
    """Open a sealed store, made if there is none.

    Args:
        inner: Where it is kept.
        lock: What opens it.
        clear: Partitions that whoever did not encrypt would have written here.
        random_bytes: Where keys and nonces come from.

    Raises:
        WrongPassphraseError: The lock is another one.
        NotSealedError: One of `clear` is there and no header.
        StoreVersionError: A newer program has made it.
        CorruptStateError: The header is none.
    """
    heads = await inner.heads([_HEADER, *clear])
    if _HEADER in heads:
        return SealedPartitions(inner, Sealer(await unlock(heads[_HEADER].state, lock), random_bytes))
    if heads:
        raise NotSealedError(min(heads))
    data_key = DataKey(random_bytes(KEY_BYTES))
    header = await lock_up(data_key, lock, random_bytes=random_bytes)
    await inner.commit([Change(_HEADER, 0, header)])
    return SealedPartitions(inner, Sealer(data_key, random_bytes))


async def change_lock(inner: PartitionStore, old: Lock, new: Lock, *, random_bytes: RandomBytes = os.urandom) -> None:
    """Let another passphrase or key open a store; no row is written anew. Also while it is open.

    Who has a copy of the old header and knows the old passphrase still gets the data key: after a theft, make a new
    store instead.

    Raises:
        WrongPassphraseError: The old lock is another one, and stays.
        ConflictError: Somebody else changed it just now.
        UsageError: There is no sealed store.
    """
    head = (await inner.heads([_HEADER])).get(_HEADER)
    if head is None:
        raise UsageError("there is no sealed store whose lock could be changed")
    header = await lock_up(await unlock(head.state, old), new, random_bytes=random_bytes)
    await inner.commit([Change(_HEADER, head.version, header)])


# ---- what is known --------------------------------------------------------------------------------------------------


class _Step(NamedTuple):
    """What a commit does to an index.

    Attributes:
        head: The sealed head that it leads to.
        put: Keys that are written, with the nonce of the writing.
        gone: Keys that are deleted.
        digest: Of the rows that are there then.
    """

    head: Head
    put: Mapping[bytes, Nonce]
    gone: frozenset[bytes]
    digest: int


class _Index:
    """Which rows a partition has at one head, and which writing of each.

    Attributes:
        head: The sealed head; `None` for a partition that was never written.
        digest: What the head says of the rows.
        writings: The keys of the rows, with the nonce of the last writing.
    """

    def __init__(self, head: Head | None, writings: dict[bytes, Nonce], digest: int) -> None:
        self.head = head
        self.digest = digest
        self.writings = writings
        self._keys = sorted(writings)
        self._under_way: deque[_Step] = deque(maxlen=_MAX_UNDER_WAY)

    @property
    def version(self) -> int:
        """The version of the head."""
        return 0 if self.head is None else self.head.version

    def keys_in(self, span: Span, limit: int) -> list[bytes]:
        """The keys of a span, in its direction."""
        start = bisect_left(self._keys, span.start)
        stop = max(start, bisect_left(self._keys, span.stop))
        if span.reverse:
            return self._keys[max(start, stop - limit) : stop][::-1]
        return self._keys[start : min(stop, start + limit)]

    def begin(self, step: _Step) -> None:
        """Remember a commit that is about to happen."""
        self._under_way.append(step)

    def follow(self, head: Head | None) -> bool:
        """Come to a head, if it is the present one or one that a commit under way leads to."""
        if head == self.head:
            return True
        for step in self._under_way:
            if step.head == head:
                self._take(step)
                return True
        return False

    def _take(self, step: _Step) -> None:
        for key in step.gone:
            del self.writings[key]
            del self._keys[bisect_left(self._keys, key)]
        for key in step.put:
            if key not in self.writings:
                insort(self._keys, key)
        self.writings |= step.put
        self.head, self.digest = step.head, step.digest
        # All of them were for the head before, and only one could be.
        self._under_way.clear()


# ---- the store ------------------------------------------------------------------------------------------------------


class SealedPartitions:
    """A `PartitionStore` that encrypts; `open_sealed` makes it.

    Args:
        inner: Where it is kept.
        sealer: Has the keys.
    """

    def __init__(self, inner: PartitionStore, sealer: Sealer) -> None:
        self._inner = inner
        self._sealer = sealer
        self._indexes: dict[Partition, _Index] = {}

    @property
    def spans_partitions(self) -> bool:
        """As the inner store."""
        return self._inner.spans_partitions

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        """Read heads; see `PartitionStore.heads`.

        Raises:
            CorruptStateError: One was altered.
        """
        names = {self._sealer.name(partition): partition for partition in partitions}
        found = await self._inner.heads(list(names))
        return self._opened(names, found)

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        """Read rows; see `PartitionStore.rows`. All of them are of one version.

        Raises:
            CorruptStateError: The rows are not those that belong to the head.
            OutcomeUnknownError: Others wrote the same rows all the time.
        """
        name = self._sealer.name(partition)
        found: Mapping[bytes, bytes] = {}
        before: Head | None = None
        for _ in range(_ATTEMPTS):
            index = await self._index(name)
            wanted = self._wanted(index, name, spans, limit)
            # What was read is compared with what there is by now: reads may wait behind a commit, each time.
            if all(nonce_of(found.get(label, b"")) == nonce for label, nonce in wanted):
                return [self._sealer.open_row(name, Row(label, found[label]))[0] for label, _ in wanted]
            if index.head == before:
                raise altered("row", "one is not the last that was written")
            before = index.head
            # Spans may overlap, and then a row is wanted twice and read once.
            exactly = [Span(label, label + b"\0") for label in dict.fromkeys(label for label, _ in wanted)]
            found = dict(await self._inner.rows(name, exactly, limit=len(exactly)))
        raise OutcomeUnknownError(f"rows of {partition}")

    async def commit(self, changes: Sequence[Change]) -> None:
        """Apply changes; see `PartitionStore.commit`.

        Raises:
            CorruptStateError: The rows are not those that belong to the head; nothing was done.
        """
        names = {self._sealer.name(change.partition): change.partition for change in changes}
        sealed: list[tuple[_Index, Change, _Step]] = []
        for change, name in zip(changes, names, strict=True):
            index = await self._index(name)
            if index.version != change.expected:
                raise ConflictError(change.partition)
            sealed.append((index, *self._sealed(index, name, change)))
        for index, _, step in sealed:
            index.begin(step)
        try:
            await self._inner.commit(sorted((change for _, change, _ in sealed), key=lambda change: change.partition))
        except ConflictError as error:
            raise ConflictError(names[error.partition], heads=self._opened(names, error.heads)) from error
        for index, _, step in sealed:
            index.follow(step.head)

    def _opened(self, names: Mapping[Partition, Partition], heads: Mapping[Partition, Head]) -> dict[Partition, Head]:
        return {names[name]: self._sealer.open_head(name, head)[0] for name, head in heads.items()}

    def _wanted(self, index: _Index, name: Partition, spans: Iterable[Span], limit: int) -> list[tuple[Label, Nonce]]:
        keys: list[bytes] = []
        for span in spans:
            keys += index.keys_in(span, limit - len(keys))
        return [(self._sealer.label(name, key), index.writings[key]) for key in keys]

    def _sealed(self, index: _Index, name: Partition, change: Change) -> tuple[Change, _Step]:
        put = [self._sealer.seal_row(name, row) for row in change.put]
        writings = {row.key: nonce for row, (_, _, nonce) in zip(change.put, put, strict=True)}
        # Dropped rows go at once: the digest of a head cannot say "perhaps".
        dropped = () if change.drop is None else index.keys_in(change.drop._replace(reverse=False), len(index.writings))
        gone = frozenset(index.writings.keys() & {*change.delete, *dropped} - writings.keys())
        digest = index.digest
        for key in (index.writings.keys() & writings.keys()) | gone:
            digest ^= self._sealer.mark(self._sealer.label(name, key), index.writings[key])
        for _, label, nonce in put:
            digest ^= self._sealer.mark(label, nonce)
        head = self._sealer.seal_head(name, change.expected + 1, change.state, digest)
        labels = tuple(self._sealer.label(name, key) for key in gone)
        sealed = Change(name, change.expected, head.state, tuple(row for row, _, _ in put), labels)
        return sealed, _Step(head, writings, gone, digest)

    # ---- reading a partition

    async def _index(self, name: Partition) -> _Index:
        """The index of a partition as it is now."""
        for _ in range(_ATTEMPTS):
            head = await self._head(name)
            index = self._indexes.get(name)
            if index is not None and index.follow(head):
                return index
            read = await self._read(name, head)
            if read is not None:
                self._indexes[name] = read
                return read
        raise OutcomeUnknownError(f"reading {name}")

    async def _read(self, name: Partition, head: Head | None) -> _Index | None:
        """Read a partition and check it; `None` if somebody wrote meanwhile."""
        if head is None:
            return _Index(None, {}, 0)
        writings: dict[bytes, Nonce] = {}
        found = 0
        rest = _ROWS
        while page := await self._inner.rows(name, [rest], limit=_PAGE):
            for sealed in page:
                row, label, nonce = self._sealer.open_row(name, sealed)
                writings[row.key] = nonce
                found ^= self._sealer.mark(label, nonce)
            rest = rest._replace(start=page[-1].key + b"\0")
        if await self._head(name) != head:
            return None
        _, digest = self._sealer.open_head(name, head)
        if digest != found:
            raise altered("rows", "they are not those that belong to the head")
        return _Index(head, writings, digest)

    async def _head(self, name: Partition) -> Head | None:
        return (await self._inner.heads([name])).get(name)
