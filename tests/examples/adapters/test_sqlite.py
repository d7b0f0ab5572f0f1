"""The SQLite adapter: the kits, group commit, what survives, and what is refused."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from examples.adapters.sqlite import MIGRATIONS, SqliteStore, migrate, open_sqlite
from whisperkit.anyio_runtime import AnyioRuntime
from whisperkit.errors import (
    ConflictError,
    OutcomeUnknownError,
    StoreError,
    StoreLockedError,
    StoreVersionError,
    UsageError,
)
from whisperkit.ids import ConversationId, ConversationSeq
from whisperkit.partitions import EVERYTHING, Change, Head, Partition, Row, prefix, seq_key, seq_of
from whisperkit.stores import Job, Mark, MarkStore, PartitionJobs, PartitionStore, Stores
from whisperkit.stores.memory import CLAIM_S
from whisperkit.testing import (
    MarkStoreConformance,
    PartitionStoreConformance,
    Stepwise,
)

ONE, OTHER = Partition("conv/1"), Partition("conv/2")


class _OnDisk:
    """A file for each test; the kit opens it as often as it likes."""

    path: Path

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "chat.db"


class TestSqlitePartitions(_OnDisk, PartitionStoreConformance):
    survives_restart = True

    def make_store(self) -> AbstractAsyncContextManager[PartitionStore]:
        return open_sqlite(self.path)


class TestStepwiseSqlitePartitions(_OnDisk, PartitionStoreConformance):
    survives_restart = True

    @asynccontextmanager
    async def make_store(self) -> AsyncGenerator[PartitionStore]:
        async with open_sqlite(self.path) as store:
            yield Stepwise(store)


class TestSqlitePartitionsWithTwoHotHeads(_OnDisk, PartitionStoreConformance):
    survives_restart = True

    def make_store(self) -> AbstractAsyncContextManager[PartitionStore]:
        return open_sqlite(self.path, hot_heads=2)


class TestSqliteMarks(_OnDisk, MarkStoreConformance):
    survives_restart = True

    def make_store(self) -> AbstractAsyncContextManager[MarkStore]:
        return open_sqlite(self.path)


WRITER = [sys.executable, str(Path(__file__).with_name("write_until_killed.py"))]
WRITER_ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}


def change(partition: Partition, expected: int, *numbers: int, size: int = 1) -> Change:
    return Change(
        partition, expected, b"%d" % (expected + 1), tuple(Row(seq_key(b"e/", n), b"x" * size) for n in numbers)
    )


async def try_commit(store: SqliteStore, failures: list[Exception], *changes: Change) -> None:
    try:
        await store.commit(changes)
    except (ConflictError, OutcomeUnknownError) as error:
        failures.append(error)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat.db"


# ---- group commit ---------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_commits_and_marks_of_one_turn_share_a_transaction(path: Path) -> None:
    names = [Partition(f"conv/{number:03}") for number in range(100)]
    async with open_sqlite(path) as store:
        before = store.transactions
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(store.commit, [change(name, 0, 1)])
                group.start_soon(store.raise_marks, [Mark(name, "read/x", 1)])

        assert store.transactions == before + 1
        assert len(await store.heads(names)) == 100
        assert await store.marks(names) == {name: {"read/x": 1} for name in names}


@pytest.mark.anyio
async def test_each_commit_of_a_group_has_its_own_verdict(path: Path) -> None:
    failures: list[Exception] = []
    async with open_sqlite(path) as store:
        before = store.transactions
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(try_commit, store, failures, change(ONE, 0, number))
            group.start_soon(try_commit, store, failures, change(ONE, 0, 9), change(OTHER, 0, 9))
            group.start_soon(try_commit, store, failures, change(Partition("conv/3"), 0, 1))

        assert store.transactions == before + 1
        assert {type(error) for error in failures} == {ConflictError}
        assert len(failures) == 3
        heads = await store.heads([ONE, OTHER, Partition("conv/3")])
        rows = [row for name in (ONE, OTHER) for row in await store.rows(name, [EVERYTHING], limit=9)]
        assert sum(head.version for head in heads.values()) - (OTHER in heads) == 2
        assert len(rows) == 1 + (OTHER in heads)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio starts tasks in any order, on purpose
async def test_a_commit_sees_the_one_before_it_in_its_group(path: Path) -> None:
    async with open_sqlite(path) as store:
        before = store.transactions
        async with anyio.create_task_group() as group:
            for version in range(5):
                group.start_soon(store.commit, [change(ONE, version, version)])

        assert store.transactions == before + 1
        assert await store.heads([ONE]) == {ONE: Head(5, b"5")}
        assert len(await store.rows(ONE, [EVERYTHING], limit=9)) == 5


@pytest.mark.anyio
async def test_hot_heads_are_answered_without_a_turn_of_the_loop(path: Path) -> None:
    async with open_sqlite(path) as store:
        await store.commit([change(ONE, 0)])
        await store.heads([OTHER])

        with pytest.raises(StopIteration) as answer:
            store.heads([ONE, OTHER]).send(None)

        assert answer.value.value == {ONE: Head(1, b"1")}


@pytest.mark.anyio
async def test_heads_and_rows_have_names_for_their_fields_whether_written_or_read(path: Path) -> None:
    async with open_sqlite(path) as store:
        await store.commit([change(ONE, 0, 7)])
        written = (await store.heads([ONE]))[ONE]

    async with open_sqlite(path) as store:
        read = (await store.heads([ONE]))[ONE]
        row = (await store.rows(ONE, [EVERYTHING], limit=9))[0]
    assert (type(row), row.key, row.value) == (Row, seq_key(b"e/", 7), b"x")
    assert (type(written), written.version, written.state) == (Head, 1, b"1")
    assert (type(read), read) == (Head, written)


@pytest.mark.anyio
async def test_what_was_never_there_is_remembered_until_it_is(path: Path) -> None:
    async with open_sqlite(path) as store:
        assert await store.heads([ONE]) == {}
        assert await store.rows(ONE, [EVERYTHING], limit=9) == []
        await store.commit([change(ONE, 0, 1)])

        assert await store.heads([ONE]) == {ONE: Head(1, b"1")}
        assert len(await store.rows(ONE, [EVERYTHING], limit=9)) == 1
        with pytest.raises(ConflictError):
            await store.commit([change(ONE, 0, 2)])


# ---- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_on_a_full_disk_commits_fail_and_what_was_acknowledged_stays(path: Path) -> None:
    acknowledged = 0

    async def fill(store: SqliteStore) -> None:
        nonlocal acknowledged
        while True:
            await store.commit([change(ONE, acknowledged, acknowledged + 1, size=20_000)])
            acknowledged += 1

    async with open_sqlite(path, max_bytes=400_000) as store:
        with pytest.raises(OutcomeUnknownError) as caught:
            await fill(store)

        assert "full" in str(caught.value.__cause__)
        assert await store.heads([ONE]) == {ONE: Head(acknowledged, b"%d" % acknowledged)}
        await store.commit([Change(ONE, acknowledged, b"", (), (seq_key(b"e/", 1), seq_key(b"e/", 2)))])
        await store.commit([change(ONE, acknowledged + 1, 1, size=10_000)])

    async with open_sqlite(path) as store:
        await store.commit([change(ONE, acknowledged + 2, 500, size=20_000)])
        rows = await store.rows(ONE, [EVERYTHING], limit=1_000)
        assert [seq_of(row.key) for row in rows] == [1, *range(3, acknowledged + 1), 500]


@pytest.mark.anyio
async def test_a_commit_that_fails_takes_no_other_of_its_group_with_it(path: Path) -> None:
    failures: list[Exception] = []
    names = [Partition(f"conv/{number}") for number in range(10)]
    async with open_sqlite(path, max_bytes=400_000) as store:
        async with anyio.create_task_group() as group:
            for number, name in enumerate(names):
                size = 1_000_000 if number == 4 else 100
                group.start_soon(try_commit, store, failures, change(name, 0, 1, size=size))

        assert [type(error) for error in failures] == [OutcomeUnknownError]
        assert set(await store.heads(names)) == set(names) - {names[4]}
        assert await store.rows(names[4], [EVERYTHING], limit=9) == []


@pytest.mark.anyio
async def test_a_read_that_fails_says_why_and_the_store_goes_on(path: Path) -> None:
    async with open_sqlite(path) as store:
        await store.commit([change(ONE, 0, 1)])
        with pytest.raises(OverflowError):
            await store.rows(ONE, [EVERYTHING], limit=2**70)

        assert len(await store.rows(ONE, [EVERYTHING], limit=9)) == 1


# ---- opening and closing --------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_file_that_is_open_is_refused_to_others(path: Path) -> None:
    async with open_sqlite(path) as store:
        with pytest.raises(StoreLockedError, match="in use"):
            async with open_sqlite(path):
                pass
        other = await anyio.run_process([*WRITER, str(path)], env=WRITER_ENVIRONMENT, check=False)

        assert b"StoreLockedError" in other.stderr
        await store.commit([change(ONE, 0)])

    async with open_sqlite(path) as store:
        assert len(await store.heads([ONE])) == 1


@pytest.mark.anyio
async def test_a_file_of_a_newer_program_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(StoreVersionError, match=f"schema 99; this program knows schemas up to {len(MIGRATIONS)}"):
        async with open_sqlite(path):
            pass

    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    db.close()


@pytest.mark.anyio
@pytest.mark.parametrize("where", ["missing/chat.db", "text.db"])
async def test_what_is_no_such_file_is_refused(tmp_path: Path, where: str) -> None:
    (tmp_path / "text.db").write_text("This is a letter and not a database, however long it may be." * 20)

    with pytest.raises(StoreError, match="cannot be opened"):
        async with open_sqlite(tmp_path / where):
            pass


def test_an_older_file_is_brought_to_the_newest_schema_step_by_step(path: Path) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    migrate(db)
    db.execute("INSERT INTO head VALUES (1, 'conv/1', 3, x'00')")
    newer = (*MIGRATIONS, ("ALTER TABLE head ADD COLUMN colour TEXT",), ("CREATE TABLE later (x)", "DROP TABLE later"))

    migrate(db, newer)
    migrate(db, newer)

    assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 2,)
    assert db.execute("SELECT partition, version, colour FROM head").fetchall() == [("conv/1", 3, None)]
    with pytest.raises(StoreVersionError):
        migrate(db)
    db.close()


def test_a_step_that_fails_leaves_the_schema_before_it(path: Path) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.Error):
        migrate(db, (*MIGRATIONS, ("CREATE TABLE half (x)", "nonsense")))
    db.close()

    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)
    db.close()


@pytest.mark.anyio
async def test_a_new_generation_is_kept_in_the_file(path: Path) -> None:
    async with open_sqlite(path) as store:
        assert (store.epoch, await store.new_generation(), store.epoch) == (1, 2, 2)

    async with open_sqlite(path) as store:
        assert store.epoch == 2


@pytest.mark.anyio
async def test_closing_waits_for_what_was_accepted_and_refuses_the_rest(path: Path) -> None:
    failures: list[Exception] = []
    async with open_sqlite(path) as store, anyio.create_task_group() as group:
        await store.commit([change(OTHER, 0)])
        group.start_soon(try_commit, store, failures, change(ONE, 0, 1))
        await anyio.wait_all_tasks_blocked()
        await store.close()
        await store.close()
        for call in (store.heads([OTHER]), store.rows(ONE, [EVERYTHING], limit=1), store.commit([])):
            with pytest.raises(UsageError, match="closed"):
                await call

    async with open_sqlite(path) as store:
        assert set(await store.heads([ONE, OTHER])) == {ONE, OTHER}
    assert failures == []


@pytest.mark.anyio
async def test_a_caller_that_goes_away_leaves_all_or_nothing(path: Path) -> None:
    async with open_sqlite(path) as store:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await store.commit([change(ONE, 0, 1)])

    async with open_sqlite(path) as store:
        assert await store.heads([ONE]) == {ONE: Head(1, b"1")}
        assert len(await store.rows(ONE, [EVERYTHING], limit=9)) == 1


# ---- dropped rows ---------------------------------------------------------------------------------------------------


def counts(path: Path) -> tuple[int, int]:
    """Rows in the file, and spans that are yet to be deleted."""
    db = sqlite3.connect(path)
    found = [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("row", "dropped")]
    db.close()
    return found[0], found[1]


@pytest.mark.anyio
async def test_dropped_rows_go_piece_by_piece_also_after_a_restart(path: Path) -> None:
    async with open_sqlite(path) as store:
        await store.commit([change(ONE, 0, *range(1, 2_001))])
        await store.commit([change(OTHER, 0, 1, 2, 3)])
        await store.commit([Change(ONE, 1, b"", (), (), prefix(b"e/"))])
    left, spans = counts(path)
    async with open_sqlite(path) as store:
        for _ in range(20):
            await store.heads([Partition("looking makes the thread turn")])
            if not await store.rows(ONE, [EVERYTHING], limit=1):
                break
        await store.rows(ONE, [EVERYTHING], limit=1)

    assert (spans, left > 3) == (1, True)
    assert counts(path) == (3, 0)


@pytest.mark.anyio
async def test_an_idle_store_deletes_dropped_rows_by_itself(path: Path) -> None:
    async with open_sqlite(path) as store:
        await store.commit([change(ONE, 0, *range(1, 1_001))])
        before = store.transactions
        await store.commit([Change(ONE, 1, b"", (), (), prefix(b"e/"))])
        # A piece goes with the commit itself, and three by themselves.
        while store.transactions < before + 4:
            await anyio.lowlevel.checkpoint()

    assert counts(path) == (0, 0)


# ---- SIGKILL --------------------------------------------------------------------------------------------------------


def test_what_was_acknowledged_survives_sigkill(path: Path) -> None:
    acknowledged: dict[Partition, int] = {}
    for _ in range(3):
        acknowledged |= kill_a_writer(path, after=400)

        anyio.run(check_all_there, path, acknowledged)

    assert len(acknowledged) == 20


def kill_a_writer(path: Path, *, after: int) -> dict[Partition, int]:
    """Start the writer, let it acknowledge so many commits, kill it where it stands."""
    acknowledged: dict[Partition, int] = {}
    command = [*WRITER, str(path)]
    with subprocess.Popen(command, env=WRITER_ENVIRONMENT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for count, line in enumerate(writer.stdout, start=1):
            name, version = line.split()
            acknowledged[Partition(name)] = int(version)
            if count == after:
                writer.kill()
    return acknowledged


async def check_all_there(path: Path, acknowledged: dict[Partition, int]) -> None:
    """Each acknowledged commit is there, each commit is whole, and the shared counters count them all."""
    async with open_sqlite(path) as store:
        names = [Partition(f"own/{number:02}") for number in range(20)]
        heads = await store.heads(names)
        for name, version in acknowledged.items():
            assert heads[name].version >= version
        for name, head in heads.items():
            rows = await store.rows(name, [EVERYTHING], limit=100_000)
            assert [seq_of(row.key) for row in rows] == list(range(1, head.version + 1))
            assert head.state == b"%d" % head.version
        shared = await store.heads([Partition(f"shared/{number}") for number in range(10)])
        assert sum(head.version for head in shared.values()) == sum(head.version for head in heads.values())


# ---- together with the defaults -------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_jobs_over_the_file_survive_a_restart(path: Path) -> None:
    class Later(AnyioRuntime):
        def wall_ms(self) -> int:
            return super().wall_ms() + int(CLAIM_S * 1_000) + 1

    job = Job(ConversationId("chat"), ConversationSeq(3))
    async with open_sqlite(path) as store:
        jobs = Stores.over(store, marks=store).jobs
        await jobs.put(*job)
        assert (await jobs.take(5)).jobs == (job,)

    async with open_sqlite(path) as store:
        assert (await PartitionJobs(store).take(5)).jobs == ()
        assert (await PartitionJobs(store, runtime=Later()).take(5)).jobs == (job,)
