"""Marks of this gateway: raised in memory at once, in the store soon, and told to others only then.

A mark is a register that only rises, so any number of raises between two writes are one write. `MarkBoard`
gathers them, writes them in one call, and only then tells who wants to know (model m06: "published, then
saved" shows a tick that a crash takes back). Reading sees both what is stored and what is on its way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final

from whisperkit.errors import StoreError
from whisperkit.partitions import Partition
from whisperkit.runtime import Mailbox, Runtime
from whisperkit.stores import Mark, MarkStore

__all__ = ["MarkBoard"]

log = logging.getLogger("whisperkit.service")

# How long raises gather before they are written together. A first one is written at once.
GATHER_S: Final = 0.05
# Where there are many they gather for longer, so that of what rises with each message one write a second is left: so
# often others are told of it.
MANY_MARKS: Final = 100
MAX_GATHER_S: Final = 1.0
RETRY_S: Final = 1.0
# Whoever waits so long for the store to take marks is told that it is away, instead of waiting with ever more others.
FLUSH_S: Final = 10.0

Key = tuple[Partition, str]


class MarkBoard:
    """Raises marks in groups.

    Args:
        store: Where they are durable.
        runtime: Time and tasks.
        publish: Told of each group once it is durable.
        max_pending: Marks that may wait while the store is away: whoever asks for more is refused (`check_room`).
    """

    def __init__(
        self,
        store: MarkStore,
        runtime: Runtime,
        *,
        publish: Callable[[Mapping[Key, int]], None],
        max_pending: int,
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._publish = publish
        self._max_pending = max_pending
        self._pending: dict[Key, int] = {}
        self._writing: dict[Key, int] = {}
        self._wake: Mailbox[None] = runtime.mailbox()
        self._hurry: Mailbox[None] = runtime.mailbox()
        self._waiting: dict[Mailbox[bool], None] = {}
        runtime.spawn(self._serve, name="marks")

    def raise_mark(self, partition: Partition, name: str, value: int) -> None:
        """Raise a mark; durable soon."""
        key = partition, name
        if value > self._pending.get(key, 0):
            if not self._pending:
                self._wake.put(None)
            self._pending[key] = value

    async def flush(self) -> None:
        """Wait until all that was raised so far is durable and published; for nothing that is raised later.

        Raises:
            StoreError: It took longer than `FLUSH_S`. What was raised is still owed, and written when that is possible.
        """
        if not self._pending and not self._writing:
            return
        box: Mailbox[bool] = self._runtime.mailbox()
        self._waiting[box] = None
        if len(self._waiting) == 1:
            self._wake.put(None)
            self._hurry.put(None)
        if await box.get(timeout_s=FLUSH_S) is None:
            self._waiting.pop(box, None)
            raise StoreError(f"marks were not written within {FLUSH_S:g} s")

    async def read(self, partitions: Collection[Partition]) -> dict[Partition, dict[str, int]]:
        """All marks of partitions, those on their way included."""
        wanted = set(partitions)
        stored = await self._store.marks(partitions)
        found = {partition: dict(stored.get(partition, {})) for partition in wanted}
        for group in (self._writing, self._pending):
            for (partition, name), value in group.items():
                if partition in wanted and value > found[partition].get(name, 0):
                    found[partition][name] = value
        return found

    @property
    def is_full(self) -> bool:
        """Whether as many marks wait as may."""
        return len(self._pending) >= self._max_pending

    def check_room(self) -> None:
        """Refuse, if as many marks wait as may.

        Raises:
            StoreError: The store is away or too slow; come again.
        """
        if self.is_full:
            raise StoreError(f"{len(self._pending)} marks wait to be written; the limit is {self._max_pending}")

    async def _serve(self) -> None:
        while True:
            await self._wake.get()
            self._wake.take(1_000)
            while self._pending or self._waiting:
                await self._write()

    async def _write(self) -> None:
        self._writing, self._pending = self._pending, {}
        # All that they wait for is in this group, or was in one before: who raises a mark from here on is in the next.
        waiting, self._waiting = self._waiting, {}
        marks = [Mark(partition, name, value) for (partition, name), value in self._writing.items()]
        while marks:
            try:
                await self._store.raise_marks(marks)
            except Exception:
                # Raising again is harmless, and a mark is owed: there is nothing else to do but wait.
                log.warning("marks not written", extra={"count": len(marks)}, exc_info=True)
            else:
                break
            await self._runtime.sleep(RETRY_S)
        written, self._writing = self._writing, {}
        if written:
            self._publish(written)
        for box in waiting:
            box.put(True)
        if not self._waiting:
            await self._runtime.sleep(GATHER_S)
        if not self._waiting and len(written) >= MANY_MARKS:
            self._hurry.take(1_000)
            await self._hurry.get(timeout_s=MAX_GATHER_S - GATHER_S)
