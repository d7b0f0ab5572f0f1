"""Gateways over one PostgreSQL: the directory's kit, hints by NOTIFY, and names."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio
import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.adapters.postgres import Pool, migrate
from examples.adapters.postgres_gateways import (
    MAX_PAYLOAD_CHARS,
    PostgresDirectory,
    open_bus,
    payloads,
    read_payload,
)
from whisperkit.ids import DeviceId, GatewayId, Owner
from whisperkit.stores import Binding, Bound, Token, Unbound
from whisperkit.stores.memory import FORGET_S, YOUNG_S
from whisperkit.testing import DirectoryConformance, DirectoryInTime
from whisperkit.transport import Hint

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)

# Found before the server's own, where the path says so: a clock that the test moves on.
CLOCK = """
    CREATE SCHEMA IF NOT EXISTS test_clock;
    CREATE TABLE IF NOT EXISTS test_clock.ahead (seconds double precision NOT NULL);
    CREATE OR REPLACE FUNCTION test_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
        'SELECT pg_catalog.clock_timestamp() + make_interval(secs => (SELECT sum(seconds) FROM test_clock.ahead))';
    TRUNCATE test_clock.ahead, wk_binding, wk_lease, wk_young;
    INSERT INTO test_clock.ahead VALUES (0)"""


@asynccontextmanager
async def in_time(url: str) -> AsyncGenerator[tuple[Pool, DirectoryInTime]]:
    path = {"search_path": "test_clock, public, pg_catalog"}
    async with asyncpg.create_pool(url, min_size=1, server_settings=path) as pool:
        await migrate(pool)
        await pool.execute(CLOCK)

        async def wait(seconds: float) -> None:
            await pool.execute("INSERT INTO test_clock.ahead VALUES ($1)", seconds)

        directory = PostgresDirectory(pool)
        await directory.alive(Owner(GatewayId("whoever-is-first"), 1), 1.0)
        yield pool, DirectoryInTime(directory, wait, YOUNG_S)


class TestPostgresDirectory(DirectoryConformance):
    backends = ("asyncio",)

    @pytest.fixture(autouse=True)
    def _database(self, database: str) -> None:
        self.url = database

    @asynccontextmanager
    async def make_store(self) -> AsyncGenerator[DirectoryInTime]:
        async with in_time(self.url) as (_, made):
            yield made


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def pooled(url: str) -> AsyncGenerator[Pool]:
    async with asyncpg.create_pool(url, min_size=1) as pool:
        await migrate(pool)
        yield pool


# ---- the directory --------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_what_gateways_left_that_never_came_back_is_forgotten(database: str) -> None:
    old, new = Owner(GatewayId("old"), 1), Owner(GatewayId("new"), 1)
    async with in_time(database) as (pool, (directory, wait, _)):
        await directory.alive(old, 30)
        await directory.bind([Binding(ALICE, 1, old, Token(b"a")), Binding(BOB, 1, new, Token(b"b"))])
        await wait(FORGET_S + 40)
        await directory.alive(new, 30)
        await directory.alive(new, 30)

        assert await pool.fetchval("SELECT count(*) FROM wk_lease") == 1
        assert dict(await directory.lookup([ALICE, BOB])) == {
            ALICE: Unbound(ALICE),
            BOB: Bound(Binding(BOB, 1, new, Token(b"b"))),
        }


@pytest.mark.anyio
async def test_after_a_crash_of_the_server_the_directory_is_young_again(database: str) -> None:
    owner = Owner(GatewayId("g"), 1)
    async with in_time(database) as (pool, (directory, wait, young_s)):
        await wait(young_s + 1)
        grown_up = await directory.gone([owner])
        await pool.execute("TRUNCATE wk_binding, wk_lease, wk_young")  # what recovery does to unlogged tables

        assert grown_up == {owner}
        assert await directory.gone([owner]) == frozenset()


# ---- the bus --------------------------------------------------------------------------------------------------------


class Heard:
    """What a gateway heard."""

    def __init__(self) -> None:
        self.hints: list[Hint] = []
        self._some = anyio.Event()

    def take(self, hints: Sequence[Hint]) -> None:
        self.hints += hints
        self._some.set()

    async def until(self, count: int) -> None:
        with anyio.fail_after(30):
            while len(self.hints) < count:
                await self._some.wait()
                self._some = anyio.Event()


@pytest.mark.anyio
async def test_a_hint_reaches_the_gateway_it_is_for_and_no_other(database: str) -> None:
    news = [Hint(ALICE, 7, b"\x00\xff"), Hint(BOB, 8, bytes(9_000))]
    one, other = Heard(), Heard()
    async with pooled(database) as pool, open_bus(pool) as here, open_bus(pool) as there:
        here.join(one.take)
        there.join(other.take)
        answers = await here.hint(there.gateway, news)
        await here.hint(GatewayId("nobody"), news)
        await other.until(2)
        await there.hint(here.gateway, news[:1])
        await one.until(1)

    assert answers == [None, None]
    assert other.hints == [news[0], Hint(BOB, 8, None)]
    assert one.hints == news[:1]


@pytest.mark.anyio
async def test_a_gateway_that_comes_back_has_the_name_that_is_free(database: str) -> None:
    async with pooled(database) as pool, open_bus(pool) as first:
        async with open_bus(pool) as second:
            names = [first.gateway, second.gateway]
        async with open_bus(pool) as again:
            names.append(again.gateway)

    assert names == ["worker-1", "worker-2", "worker-2"]


@pytest.mark.anyio
async def test_a_connection_that_is_lost_is_made_again_under_the_same_name(database: str) -> None:
    heard = Heard()
    listening = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
    async with pooled(database) as pool, open_bus(pool, retry_s=0) as bus:
        bus.join(heard.take)
        pid = await pool.fetchval(listening)
        await pool.execute("SELECT pg_terminate_backend($1)", pid)
        with anyio.fail_after(30):
            while await pool.fetchval(listening) in (None, pid):
                await anyio.lowlevel.checkpoint()
        await bus.hint(bus.gateway, [Hint(ALICE, 1, None)])
        await heard.until(1)

        assert bus.gateway == "worker-1"


@pytest.mark.anyio
async def test_what_others_notify_is_passed_over(database: str) -> None:
    heard = Heard()
    async with pooled(database) as pool, open_bus(pool) as bus:
        for text in ("", "news", f"{ALICE} x", f"{ALICE} 1 =", f"{ALICE} 1 AA== more", "alice 1"):
            await pool.execute("SELECT pg_notify($1, $2)", f"wk_{bus.gateway}", text)
        await bus.hint(bus.gateway, [Hint(ALICE, 1, None)])  # nobody is there yet to take it
        bus.join(heard.take)
        await bus.hint(bus.gateway, [Hint(ALICE, 2, None)])
        await heard.until(1)

    assert heard.hints[-1] == Hint(ALICE, 2, None)


@pytest.mark.anyio
async def test_a_bus_over_a_pool_that_is_closed_says_so(database: str) -> None:
    async with pooled(database) as pool:
        pass

    with pytest.raises(asyncpg.InterfaceError, match="closed"):
        async with open_bus(pool):
            pass


HINTS = st.lists(
    st.builds(Hint, st.sampled_from([ALICE, BOB]), st.integers(0, 2**63), st.none() | st.integers(0, 7_000).map(bytes)),
    max_size=12,
)


@given(HINTS)
def test_payloads_are_short_enough_and_hold_every_hint(hints: list[Hint]) -> None:
    sent = list(payloads(hints))
    read = [hint for payload in sent for hint in read_payload(payload)]

    assert all(payload.isascii() and 0 < len(payload) <= MAX_PAYLOAD_CHARS for payload in sent)
    assert [(hint.device, hint.head) for hint in read] == [(hint.device, hint.head) for hint in hints]
    for found, hint in zip(read, hints, strict=True):
        fits = hint.entry is not None and len(hint.entry) < 5_900
        assert found.entry == (hint.entry if fits or found.entry is not None else None)
