"""A store for PostgreSQL as short as a user would write it keeps all laws, beside tables that the application has."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import pytest

from examples.adapters.postgres import Pool
from whisperkit import ConversationId, DeviceId, UserId
from whisperkit.errors import ConflictError
from whisperkit.service import MessageService
from whisperkit.stores import Change, Head, Partition, Roster, Row, Span, Stores
from whisperkit.testing import PartitionStoreConformance

SCHEMA = """
CREATE TABLE IF NOT EXISTS wk_head (partition text PRIMARY KEY, version bigint NOT NULL, state bytea NOT NULL);
CREATE TABLE IF NOT EXISTS wk_row (partition text, key bytea, value bytea NOT NULL, PRIMARY KEY (partition, key))"""
HEADS = "SELECT partition, version, state FROM wk_head WHERE partition = ANY($1)"
ROWS = "SELECT key, value FROM wk_row WHERE partition = $1 AND key >= $2 AND key < $3 ORDER BY key {} LIMIT $4"
CREATE = "INSERT INTO wk_head VALUES ($1, $2 + 1, $3) ON CONFLICT DO NOTHING"
UPDATE = "UPDATE wk_head SET version = $2 + 1, state = $3 WHERE partition = $1 AND version = $2"
PUT = "INSERT INTO wk_row VALUES ($1, $2, $3) ON CONFLICT (partition, key) DO UPDATE SET value = $3"
DELETE = "DELETE FROM wk_row WHERE partition = $1 AND key = $2"
DROP = "DELETE FROM wk_row WHERE partition = $1 AND key >= $2 AND key < $3"


class PostgresPartitions:  # a PartitionStore: three methods
    spans_partitions = True

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def heads(self, partitions: Collection[Partition]) -> dict[Partition, Head]:
        found = await self._pool.fetch(HEADS, list(partitions))
        return {Partition(r["partition"]): Head(version=r["version"], state=r["state"]) for r in found}

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> list[Row]:
        rows: list[Row] = []
        for span in spans:
            sql = ROWS.format("DESC" if span.reverse else "ASC")
            found = await self._pool.fetch(sql, partition, span.start, span.stop, limit - len(rows))
            rows += [Row(key=r["key"], value=r["value"]) for r in found]
        return rows

    async def commit(self, changes: Sequence[Change]) -> None:
        async with self._pool.acquire() as db, db.transaction():
            for change in changes:  # sorted by partition: two commits cannot deadlock
                sql = UPDATE if change.expected else CREATE
                if (await db.execute(sql, change.partition, change.expected, change.state)).endswith(" 0"):
                    raise ConflictError(change.partition)
                if change.drop:
                    await db.execute(DROP, change.partition, change.drop.start, change.drop.stop)
                await db.executemany(PUT, [(change.partition, row.key, row.value) for row in change.put])
                await db.executemany(DELETE, [(change.partition, key) for key in change.delete])


class RoomRosters:  # a RosterSource: the tables that are there
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def roster(self, conversation: ConversationId) -> Roster | None:
        version = await self._pool.fetchval("SELECT member_version FROM room WHERE id = $1", conversation)
        if version is None:
            return None
        rows = await self._pool.fetch("SELECT user_id FROM room_member WHERE room_id = $1", conversation)
        return Roster(version=version, members=frozenset(UserId(row["user_id"]) for row in rows))


@asynccontextmanager
async def open_store(url: str) -> AsyncGenerator[PostgresPartitions]:
    async with asyncpg.create_pool(url, min_size=1) as pool:
        await pool.execute(SCHEMA)
        yield PostgresPartitions(pool)


class TestPostgresPartitions(PartitionStoreConformance):
    backends = ("asyncio",)  # capabilities are declared; what is skipped is printed
    survives_restart = True

    @pytest.fixture(autouse=True)
    def _database(self, database: str) -> None:
        self.url = database

    def make_store(self) -> AbstractAsyncContextManager[PostgresPartitions]:
        return open_store(self.url)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_rooms_stay_where_they_are(database: str) -> None:
    alice, bob, room = DeviceId.named("alice", 1), DeviceId.named("bob", 1), ConversationId("lobby")
    async with asyncpg.create_pool(database, min_size=1) as pool:
        await pool.execute(SCHEMA)
        await pool.execute("CREATE TABLE room (id text PRIMARY KEY, member_version bigint NOT NULL)")
        await pool.execute("CREATE TABLE room_member (room_id text, user_id text)")
        await pool.execute("INSERT INTO room VALUES ($1, 1)", room)
        for device in (alice, bob):
            await pool.execute("INSERT INTO room_member VALUES ($1, $2)", room, device.user)
        stores = Stores.over(PostgresPartitions(pool), rosters=RoomRosters(pool))
        async with MessageService(stores) as service:
            await service.register(alice, bob)
            await service.send(alice, room, b"hello, room", outbox_seq=1)
            async with service.receive(bob) as entries:
                bodies = [entry.body for entry in entries if entry.body is not None]

    assert bodies[-1] == b"hello, room"
