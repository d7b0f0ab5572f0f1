"""The PostgreSQL adapter: the kits, several processes at once, connections that are lost, and its schema."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random

import anyio
import asyncpg
import pytest

from examples.adapters.postgres import MIGRATIONS, Pool, PostgresStore, migrate, open_postgres
from whisperkit.errors import ConflictError, OutcomeUnknownError, StoreVersionError
from whisperkit.partitions import EVERYTHING, Change, Head, Partition, Row, seq_key
from whisperkit.stores import Load, Mark, Outcome, transact
from whisperkit.stores.transact import commit_changes
from whisperkit.testing import MarkStoreConformance, PartitionStoreConformance


class TestPostgres(PartitionStoreConformance):
    backends = ("asyncio",)  # asyncpg knows no other
    survives_restart = True  # what was written is there when the maker is called again

    @pytest.fixture(autouse=True)
    def _database(self, postgres: str) -> None:
        self.url = postgres

    def make_store(self) -> AbstractAsyncContextManager[PostgresStore]:
        return open_postgres(self.url)


class TestPostgresMarks(MarkStoreConformance):
    backends = ("asyncio",)
    survives_restart = True

    @pytest.fixture(autouse=True)
    def _database(self, postgres: str) -> None:
        self.url = postgres

    def make_store(self) -> AbstractAsyncContextManager[PostgresStore]:
        return open_postgres(self.url)


ONE, OTHER = Partition("conv/1"), Partition("conv/2")


def change(partition: Partition, expected: int, *numbers: int) -> Change:
    return Change(partition, expected, b"%d" % (expected + 1), tuple(Row(seq_key(b"e/", n), b"x") for n in numbers))


@asynccontextmanager
async def pooled(url: str, **settings: str) -> AsyncGenerator[tuple[Pool, PostgresStore]]:
    async with asyncpg.create_pool(url, min_size=1, server_settings=settings) as pool:
        await migrate(pool)
        yield pool, PostgresStore(pool)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# ---- commits --------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
async def test_a_commit_that_waited_for_another_conflicts_whatever_the_default_isolation(
    database: str, isolation: str
) -> None:
    verdicts: list[str] = []

    async def commit(store: PostgresStore) -> None:
        try:
            await store.commit([change(ONE, 1, 1), change(OTHER, 0)])
        except ConflictError as error:
            verdicts.append(error.partition)

    async with pooled(database, default_transaction_isolation=isolation) as (pool, store):
        await store.commit([change(ONE, 0)])
        async with anyio.create_task_group() as group, pool.acquire() as db, db.transaction():
            await db.execute("UPDATE wk_head SET version = 2, state = 'moved'")
            group.start_soon(commit, store)
            await blocked(pool)

        assert verdicts == [ONE]
        assert set(await store.heads([ONE, OTHER])) == {ONE}


async def blocked(pool: Pool, sessions: int = 1) -> None:
    """Return once so many sessions wait for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with anyio.fail_after(30):
        while await pool.fetchval(waiting) < sessions:
            await anyio.lowlevel.checkpoint()


@pytest.mark.anyio
async def test_of_two_commits_that_make_one_partition_the_second_conflicts(database: str) -> None:
    verdicts: list[str] = []

    async def commit(store: PostgresStore) -> None:
        with pytest.raises(ConflictError):
            await store.commit([change(ONE, 0, 1)])
        verdicts.append("conflict")

    async with pooled(database) as (pool, store):
        async with anyio.create_task_group() as group, pool.acquire() as db, db.transaction():
            await db.execute("INSERT INTO wk_head VALUES ($1, 1, '')", ONE)
            group.start_soon(commit, store)
            await blocked(pool)

        assert verdicts == ["conflict"]


@pytest.mark.anyio
async def test_commits_over_the_same_partitions_never_wait_in_a_circle(database: str) -> None:
    names = [Partition(f"p/{number}") for number in range(6)]
    done = 0

    async def commit_some(store: PostgresStore, seed: int) -> None:
        nonlocal done
        random = Random(seed)
        for _ in range(12):
            chosen = sorted(random.sample(names, 3))

            while True:
                heads = await store.heads(chosen)
                versions = {name: heads[name].version if name in heads else 0 for name in chosen}
                try:
                    # Whatever is no conflict, a deadlock above all, fails the test.
                    await store.commit([change(name, versions[name]) for name in chosen])
                    break
                except ConflictError:
                    await anyio.lowlevel.checkpoint()
            done += 1

    async with pooled(database) as (_, store):
        async with anyio.create_task_group() as group:
            for seed in range(6):
                group.start_soon(commit_some, store, seed)

        assert sum(head.version for head in (await store.heads(names)).values()) == 3 * done == 3 * 6 * 12


# ---- connections that are lost --------------------------------------------------------------------------------------

CUT_THOSE_WHO_WAIT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND datname = current_database()"""


@pytest.mark.anyio
async def test_a_connection_that_is_lost_leaves_the_outcome_unknown_and_transact_asks_again(database: str) -> None:
    errors: list[Exception] = []
    answers: list[int] = []

    async def commit(store: PostgresStore) -> None:
        try:
            await commit_changes(store, [change(ONE, 1, 1)])
        except OutcomeUnknownError as error:
            errors.append(error)

    async def repeat(store: PostgresStore) -> None:
        answers.append(
            await transact(
                store, [Load(ONE)], lambda there: Outcome(there[ONE].version, (change(ONE, there[ONE].version, 2),))
            )
        )

    async with pooled(database) as (pool, store):
        await store.commit([change(ONE, 0)])
        async with anyio.create_task_group() as group, pool.acquire() as db, db.transaction():
            await db.execute("SELECT * FROM wk_head FOR UPDATE")
            group.start_soon(commit, store)
            group.start_soon(repeat, store)
            await blocked(pool, sessions=2)
            await pool.execute(CUT_THOSE_WHO_WAIT)
        head, rows = (await store.heads([ONE]))[ONE], await store.rows(ONE, [EVERYTHING], limit=9)

    assert [type(error) for error in errors] == [OutcomeUnknownError]
    assert isinstance(errors[0].__cause__, asyncpg.PostgresError | asyncpg.InterfaceError)
    assert answers == [1]
    assert (head, rows) == (Head(2, b"2"), [Row(seq_key(b"e/", 2), b"x")])


@pytest.mark.anyio
async def test_a_caller_that_goes_away_leaves_nothing_half_done(database: str) -> None:
    async with pooled(database) as (pool, store):
        await store.commit([change(OTHER, 0)])
        async with anyio.create_task_group() as group, pool.acquire() as db, db.transaction():
            await db.execute("SELECT * FROM wk_head FOR UPDATE")
            group.start_soon(store.commit, [change(ONE, 0, 1), change(OTHER, 1)])
            await blocked(pool)
            group.cancel_scope.cancel()

        assert await store.heads([ONE, OTHER]) == {OTHER: Head(1, b"1")}
        assert await store.rows(ONE, [EVERYTHING], limit=9) == []
        await store.commit([change(ONE, 0, 1), change(OTHER, 1)])


# ---- the schema -----------------------------------------------------------------------------------------------------


async def rows_of(pool: Pool, statement: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await pool.fetch(statement)]


@pytest.mark.anyio
async def test_of_processes_that_start_together_one_makes_the_tables(database: str) -> None:
    async with asyncpg.create_pool(database, min_size=1) as pool:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(migrate, pool)

        assert await rows_of(pool, "SELECT steps FROM wk_schema") == [(len(MIGRATIONS),)]


@pytest.mark.anyio
async def test_an_older_database_is_brought_to_the_newest_schema_and_a_newer_one_refused(database: str) -> None:
    newer = (*MIGRATIONS, "ALTER TABLE wk_head ADD COLUMN colour text", "CREATE TABLE later (x int); DROP TABLE later")
    async with pooled(database) as (pool, store):
        await store.commit([change(ONE, 0)])
        await store.raise_marks([Mark(ONE, "read/a", 1)])

        await migrate(pool, newer)
        await migrate(pool, newer)

        assert await rows_of(pool, "SELECT partition, version, colour FROM wk_head") == [(ONE, 1, None)]
        with pytest.raises(StoreVersionError, match=f"schema {len(newer)}; .* up to {len(MIGRATIONS)}"):
            async with open_postgres(database):
                pass


@pytest.mark.anyio
async def test_a_step_that_fails_leaves_the_schema_before_it(database: str) -> None:
    async with pooled(database) as (pool, _):
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await migrate(pool, (*MIGRATIONS, "CREATE TABLE half (x int)", "nonsense"))

        assert await pool.fetchval("SELECT steps FROM wk_schema") == len(MIGRATIONS)
        assert await pool.fetchval("SELECT to_regclass('half')") is None
