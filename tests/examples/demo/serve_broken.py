"""The reference server with a fault, for the demo to find: `serve` otherwise.

Usage: serve_broken.py FAULT, with settings in the environment:

    loses    forgets an entry for somebody who is away, after it has said that it is durable
    tells    writes the sentence in BROKEN_SENTENCE into a file of its own, as a server that could read might
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from examples.config import load_config
from examples.logs import set_up_logging
from examples.net.signals import stop_signals
from examples.server.app import open_server
from whisperkit.ids import DeviceId
from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.stores import PartitionStore
from whisperkit.sync import inbox

VICTIM = inbox.partition(DeviceId.named("bob", 1))
# Of the entries that come while Bob is away, one of the last.
THE_ONE = int(os.environ.get("BROKEN_ENTRY", "9"))


class LosingStore:
    """Forgets the change to one inbox of one commit, and says that all of it is done."""

    spans_partitions = True

    def __init__(self, store: PartitionStore) -> None:
        self._store = store
        self._seen = 0

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        return await self._store.heads(partitions)

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        return await self._store.rows(partition, spans, limit=limit)

    async def commit(self, changes: Sequence[Change]) -> None:
        await self._store.commit([change for change in changes if not self._is_the_one(change)])

    def _is_the_one(self, change: Change) -> bool:
        entries = sum(row.key.startswith(b"e/") for row in change.put)
        before, self._seen = self._seen, self._seen + (entries if change.partition == VICTIM else 0)
        return change.partition == VICTIM and before < THE_ONE <= self._seen


async def main(fault: str) -> None:
    config = load_config(None, environ=os.environ)
    set_up_logging()
    if fault == "tells":
        Path(config.server.sqlite_path).with_name("notes.txt").write_text(f"he said: {os.environ['BROKEN_SENTENCE']}\n")
    with stop_signals() as stop:
        async with open_server(config, wrap=LosingStore if fault == "loses" else None) as server:
            print(f"listening on ws://{server.host}:{server.port} ({fault})", flush=True)
            await stop


asyncio.run(main(sys.argv[1]))
