"""Partitions and marks in PostgreSQL, over the asyncpg pool that an application has already.

How it works. A commit is one transaction. Its first statement makes or raises the heads, in the order of their names,
so that two commits never wait for each other in a circle, and only those at their expected version; if one was not,
all is rolled back. From there on the transaction holds the heads, and nobody else writes their rows. Any number of
processes may use one database: nothing is remembered between calls.

What asyncpg raises is left as it is: the library takes it as "it may or may not have happened" and asks again, which is
right both for a connection that was lost before COMMIT and for one that was lost behind it.

It promises what the server promises: a commit that returned is on disk unless `synchronous_commit` is off.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Final, TypeAlias

import asyncpg

from whisperkit.errors import ConflictError, StoreVersionError
from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.stores import Mark

__all__ = ["MIGRATIONS", "Connection", "Pool", "PostgresStore", "migrate", "open_postgres"]

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

# Step n leads from schema n to schema n + 1; the table `wk_schema` counts the steps. Only ever append.
# Names are compared byte by byte, which is faster than by the rules of a language, and the same on every machine.
MIGRATIONS: Final = (
    """
    CREATE TABLE wk_head (
        partition text COLLATE "C" PRIMARY KEY, version bigint NOT NULL, state bytea NOT NULL);
    CREATE TABLE wk_row (
        partition text COLLATE "C", key bytea, value bytea NOT NULL, PRIMARY KEY (partition, key));
    CREATE TABLE wk_mark (
        partition text COLLATE "C", name text COLLATE "C", value bigint NOT NULL, PRIMARY KEY (partition, name));
    -- The directory, `postgres_gateways`: not in the log, and empty after a crash of the server.
    CREATE UNLOGGED TABLE wk_binding (
        device text COLLATE "C" PRIMARY KEY, connection_no bigint NOT NULL,
        gateway text NOT NULL, incarnation bigint NOT NULL, token bytea NOT NULL);
    CREATE UNLOGGED TABLE wk_lease (
        gateway text, incarnation bigint, until timestamptz NOT NULL, PRIMARY KEY (gateway, incarnation));
    CREATE UNLOGGED TABLE wk_young (is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one), until timestamptz NOT NULL);
    """,
)
# Any number that no other program locks in the same database.
_MIGRATING: Final = 0x776B_0001

_HEADS: Final = "SELECT partition, version, state FROM wk_head WHERE partition = ANY($1::text[])"
_ROWS: Final = """
    SELECT found.key, found.value
    FROM unnest($2::bytea[], $3::bytea[]) WITH ORDINALITY AS span (start, stop, number), LATERAL (
        SELECT key, value FROM wk_row
        WHERE partition = $1 AND key >= span.start AND key < span.stop ORDER BY key {order} LIMIT $4
    ) AS found
    ORDER BY span.number, found.key {order} LIMIT $4"""
_FORWARDS, _BACKWARDS = _ROWS.format(order="ASC"), _ROWS.format(order="DESC")
# Row after row in the order of the names, made or raised, if it is at the expected version: `excluded` is what would be
# made. A head that was read is there for good, so one that is expected and not there is a conflict, too.
_WRITE_HEADS: Final = """
    INSERT INTO wk_head
    SELECT partition, expected + 1, state
    FROM unnest($1::text[], $2::bigint[], $3::bytea[]) AS next (partition, expected, state)
    WHERE expected = 0 OR EXISTS (SELECT FROM wk_head WHERE wk_head.partition = next.partition)
    ORDER BY partition COLLATE "C"
    ON CONFLICT (partition) DO UPDATE SET version = excluded.version, state = excluded.state
    WHERE wk_head.version = excluded.version - 1
    RETURNING partition"""
_DROP: Final = """
    DELETE FROM wk_row USING unnest($1::text[], $2::bytea[], $3::bytea[]) AS gone (partition, start, stop)
    WHERE wk_row.partition = gone.partition AND key >= gone.start AND key < gone.stop"""
_DELETE: Final = """
    DELETE FROM wk_row USING unnest($1::text[], $2::bytea[]) AS gone (partition, key)
    WHERE wk_row.partition = gone.partition AND wk_row.key = gone.key"""
_PUT: Final = """
    INSERT INTO wk_row SELECT * FROM unnest($1::text[], $2::bytea[], $3::bytea[])
    ON CONFLICT (partition, key) DO UPDATE SET value = excluded.value"""
# Sorted, so that two calls which raise the same marks never wait for each other in a circle.
_RAISE: Final = """
    INSERT INTO wk_mark SELECT partition, name, max(value)
    FROM unnest($1::text[], $2::text[], $3::bigint[]) AS raised (partition, name, value)
    GROUP BY partition, name ORDER BY partition COLLATE "C", name COLLATE "C"
    ON CONFLICT (partition, name) DO UPDATE SET value = excluded.value WHERE wk_mark.value < excluded.value"""
_MARKS: Final = "SELECT partition, name, value FROM wk_mark WHERE partition = ANY($1::text[])"


class PostgresStore:
    """A `PartitionStore` and a `MarkStore`; its tables are there once `migrate` has run.

    Args:
        pool: The application's; its tables begin with ``wk_``.
    """

    spans_partitions = True

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        """Read heads; see `PartitionStore.heads`."""
        found = await self._pool.fetch(_HEADS, list(partitions))
        return {Partition(name): Head(version, state) for name, version, state in found}

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        """Read rows, in one statement for all spans of one direction; see `PartitionStore.rows`."""
        rows: list[Row] = []
        for reverse, some in groupby(spans, key=lambda span: span.reverse):
            starts, stops = _columns([(span.start, span.stop) for span in some])
            statement = _BACKWARDS if reverse else _FORWARDS
            found = await self._pool.fetch(statement, partition, starts, stops, limit - len(rows))
            rows += [Row(key, value) for key, value in found]
        return rows

    async def commit(self, changes: Sequence[Change]) -> None:
        """Apply changes in one transaction; see `PartitionStore.commit`."""
        # By name, whatever the database's default is: behind a wait for a lock the newest version must be seen.
        async with self._pool.acquire() as db, db.transaction(isolation="read_committed"):
            heads = [(change.partition, change.expected, change.state) for change in changes]
            written = {name for (name,) in await db.fetch(_WRITE_HEADS, *_columns(heads))}
            for change in changes:
                if change.partition not in written:
                    raise ConflictError(change.partition)
            await _write_rows(db, changes)

    async def raise_marks(self, marks: Sequence[Mark]) -> None:
        """Raise marks in one statement; see `MarkStore.raise_marks`."""
        if marks:
            await self._pool.execute(_RAISE, *_columns(marks))

    async def marks(self, partitions: Collection[Partition]) -> Mapping[Partition, Mapping[str, int]]:
        """Read marks; see `MarkStore.marks`."""
        found: dict[Partition, dict[str, int]] = {name: {} for name in partitions}
        for partition, name, value in await self._pool.fetch(_MARKS, list(found)):
            found[partition][name] = value
        return found


def _columns(rows: Sequence[Sequence[object]]) -> Sequence[Sequence[object]]:
    """One array for each column, as `unnest` wants them."""
    return list(zip(*rows, strict=True))


async def _write_rows(db: Connection, changes: Sequence[Change]) -> None:
    """Drop, then delete, then put: what is put stays."""
    dropped = [(c.partition, c.drop.start, c.drop.stop) for c in changes if c.drop is not None]
    deleted = [(c.partition, key) for c in changes for key in c.delete]
    put = [(c.partition, row.key, row.value) for c in changes for row in c.put]
    for statement, rows in ((_DROP, dropped), (_DELETE, deleted), (_PUT, put)):
        if rows:
            await db.execute(statement, *_columns(rows))


async def migrate(pool: Pool, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Bring a database to the newest schema; of processes that start together, one does it and the others wait.

    Args:
        pool: Of a user who may create tables.
        migrations: Steps, each a few statements.

    Raises:
        StoreVersionError: The database has more steps behind it than there are.
    """
    async with pool.acquire() as db, db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATING)
        await db.execute("CREATE TABLE IF NOT EXISTS wk_schema (steps integer NOT NULL)")
        steps: int = await db.fetchval("SELECT steps FROM wk_schema") or 0
        if steps > len(migrations):
            raise StoreVersionError(found=steps, supported=len(migrations))
        for statements in migrations[steps:]:
            await db.execute(statements)
        if steps < len(migrations):
            await db.execute("DELETE FROM wk_schema")
            await db.execute("INSERT INTO wk_schema VALUES ($1)", len(migrations))


@asynccontextmanager
async def open_postgres(url: str) -> AsyncGenerator[PostgresStore]:
    """Open a database of which nothing else is wanted, with a pool of its own.

    Args:
        url: Such as ``postgresql://user:password@host/database``.

    Raises:
        StoreVersionError: A newer program has written it.
    """
    async with asyncpg.create_pool(url, min_size=1) as pool:
        await migrate(pool)
        yield PostgresStore(pool)
