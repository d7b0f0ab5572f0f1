"""A process that commits to a SQLite file as fast as it can, prints what was acknowledged, and waits to be killed.

Usage: write_until_killed.py FILE. Each writer appends numbered rows to a partition of its own and raises a
counter that all share, in one commit; after it returned, it prints ``<partition> <version>``.
"""

from __future__ import annotations

import sys

import anyio
import anyio.lowlevel

from examples.adapters.sqlite import SqliteStore, open_sqlite
from whisperkit.errors import ConflictError
from whisperkit.partitions import Change, Head, Partition, Row, seq_key

WRITERS = 20


async def write(store: SqliteStore, own: Partition) -> None:
    shared = Partition(f"shared/{own[-1]}")
    while True:
        heads = await store.heads([own, shared])
        mine, ours = (heads.get(name, Head(0, b"")) for name in (own, shared))
        number = mine.version + 1
        row = Row(seq_key(b"e/", number), b"%d" % number * 50)
        try:
            await store.commit(
                [Change(own, mine.version, b"%d" % number, (row,)), Change(shared, ours.version, own.encode())]
            )
        except ConflictError:
            continue
        print(own, number, flush=True)
        # Who won waits a turn; without that the same one of two contenders would win every time.
        await anyio.lowlevel.checkpoint()


async def main(path: str) -> None:
    async with open_sqlite(path) as store, anyio.create_task_group() as group:
        for number in range(WRITERS):
            group.start_soon(write, store, Partition(f"own/{number:02}"))


anyio.run(main, sys.argv[1])
