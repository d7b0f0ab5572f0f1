"""A back end on FastAPI and PostgreSQL from the outside: real workers, real clients, and a worker that is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio
import asyncpg
import pytest

from examples.fastapi_postgres.talk import Person
from examples.net.websocket_link import connect
from tests.examples.processes import PATIENCE_S
from tests.examples.sites import Site, answer_in_json, talk
from whisperkit.client.content import Text
from whisperkit.client.events import Recorded
from whisperkit.errors import TransportError
from whisperkit.ids import ConversationId
from whisperkit.stores import MemoryPartitions
from whisperkit.sync.codec import decode
from whisperkit.sync.frames import Direction, Welcome

APP = Path(__file__).parents[2] / "examples" / "fastapi_postgres" / "app.py"


def worker(database: str) -> Site:
    """One worker, as `uvicorn --workers` would have several."""
    program = ["-m", "uvicorn", "examples.fastapi_postgres.app:app", "--no-access-log", "--no-use-colors", "--port"]
    return Site(*program, settings={"DATABASE_URL": database})


class BackEnd(NamedTuple):
    """Two workers, and the database under them."""

    one: Site
    other: Site
    database: str


@pytest.fixture(scope="module")
def back_end(postgres: str) -> Generator[BackEnd]:
    """One for all tests, each of which has a room and people of its own."""
    two = worker(postgres), worker(postgres)
    try:
        for one in two:
            one.launch()
        for one in two:
            one.wait()
        yield BackEnd(*two, postgres)
    finally:
        for one in two:
            one.kill()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Reader:
    """What a person has read in the room."""

    def __init__(self, person: Person, room: str) -> None:
        self.room = ConversationId(room)
        self.person = person
        self.client = person.client
        self._events = person.client.events()
        self._heard: list[str] = []

    async def say(self, text: str) -> None:
        """Write to the room; it is durable on the device when this returns, wherever the workers are."""
        await self.client.send(self.room, text)

    async def until(self, *texts: str) -> None:
        """Read until all of these have come from others."""
        with anyio.fail_after(PATIENCE_S):
            while not set(texts) <= set(self._heard):
                event = await self._events.get()
                if isinstance(event, Recorded) and isinstance(event.record.what, Text):
                    self._heard.append(event.record.what.text)

    async def settled(self, count: int) -> None:
        """Wait until so many messages have their number, those of this person, too."""
        with anyio.fail_after(PATIENCE_S):
            while sum(seq > 0 for seq, _ in await self.page()) < count:
                await self._events.get()

    async def page(self) -> list[tuple[int, str]]:
        """Number and text of all that is in the history, oldest first."""
        records = await self.client.history(self.room, limit=1_000)
        return [(record.seq, record.what.text) for record in records if isinstance(record.what, Text)]


@asynccontextmanager
async def online(name: str, room: str, *workers: Site) -> AsyncGenerator[Reader]:
    """A person in a room, connected to the first of these workers, and to the next when that is gone."""
    person = Person(MemoryPartitions(), name, f"password of {name}", urls=[worker.url for worker in workers])
    async with person.client as client:
        reader = Reader(person, room)
        assert await client.wait_live(timeout_s=PATIENCE_S)
        yield reader


def test_what_is_added_to_an_application_is_under_eighty_lines() -> None:
    assert len(APP.read_text(encoding="utf-8").splitlines()) < 80


@pytest.mark.anyio
async def test_nothing_is_lost_or_doubled_when_workers_are_killed(back_end: BackEnd) -> None:
    one, other, _ = back_end
    said: list[str] = []
    async with online("alice", "airport", one, other) as alice, online("bob", "airport", other, one) as bob:
        await alice.person.enter("airport")
        await alice.person.add("airport", "bob")

        async def say(count: int) -> None:
            for number in range(count):
                for speaker in (alice, bob):
                    said.append(f"{len(said)}, number {number} of {count}")
                    await speaker.say(said[-1])

        await alice.say("hello")
        await bob.until("hello")
        for killed in (one, other):
            await say(10)
            await bob.until(said[-14])  # some are there, others on their way
            killed.kill()
            await say(10)
            await bob.until(*said[::2])  # at the worker that is left
            await asyncio.to_thread(killed.start)
            await say(5)
        await bob.until(*said[::2])
        await alice.until(*said[1::2])
        await alice.settled(len(said) + 1)
        await bob.settled(len(said) + 1)

        assert sorted(text for _, text in await alice.page()) == sorted(["hello", *said])
        assert await alice.page() == await bob.page()


@pytest.mark.anyio
async def test_a_change_of_members_in_the_application_s_own_table_counts_from_the_next_message(
    back_end: BackEnd,
) -> None:
    one, other, database = back_end
    db = await asyncpg.connect(database)
    leave = "DELETE FROM member WHERE room = 'kitchen' AND name = 'erik'"
    come_back = "INSERT INTO member VALUES ('kitchen', 'erik')"
    async with (
        online("dora", "kitchen", one) as dora,
        online("erik", "kitchen", other) as erik,
        online("fay", "kitchen", other) as fay,
    ):
        await dora.person.enter("kitchen")
        for name in ("erik", "fay"):
            await dora.person.add("kitchen", name)
        await dora.say("for all")
        await erik.until("for all")

        await db.execute(f"{leave}; UPDATE room SET version = version + 1 WHERE id = 'kitchen'")
        await dora.say("without erik")
        await fay.until("for all", "without erik")
        await db.execute(f"{come_back}; UPDATE room SET version = version + 1 WHERE id = 'kitchen'")
        await dora.say("for all again")
        await erik.until("for all again")
        await fay.until("for all again")

        assert [text for _, text in await fay.page()] == ["for all", "without erik", "for all again"]
        assert [text for _, text in await erik.page()] == ["for all", "for all again"]
    await db.close()


@pytest.mark.anyio
async def test_the_application_s_own_login_decides_who_gets_in(back_end: BackEnd) -> None:
    one, other, _ = back_end
    async with online("gil", "garden", one) as gil, online("hana", "garden", other) as hana:
        await gil.person.enter("garden")
        thief = Person(MemoryPartitions(), "gil", "some other password", urls=[other.url])
        again = Person(MemoryPartitions(), "gil", "password of gil", urls=[other.url])

        with pytest.raises(TransportError, match="the password is not its own"):
            await thief.enter("garden")
        with pytest.raises(TransportError, match="garden/members/hana: you are not in that room"):
            await hana.person.enter("garden")
        with pytest.raises(TransportError, match="cannot be linked"):  # another key than the device has
            async with again.client:
                await again.register(other.url)
        with pytest.raises(TransportError, match="cannot be reached"):
            await connect(f"{one.url.replace('http', 'ws')}/ws", headers={"Authorization": "Bearer guessed"})()


@pytest.mark.anyio
async def test_a_page_in_a_browser_speaks_json_in_text(back_end: BackEnd) -> None:
    kim = Person(MemoryPartitions(), "kim", "password of kim")
    async with kim.client:
        headers = await kim.register(back_end.one.url)

    answer = await answer_in_json(back_end.one.url, kim.client.device, headers=headers)

    assert isinstance(answer, str)
    assert isinstance(decode(answer, direction=Direction.TO_CLIENT)[0], Welcome)


def test_its_two_commands_start_it_and_talk(database: str, tmp_path: Path) -> None:
    back_end = Site("-m", "examples.fastapi_postgres", settings={"DATABASE_URL": database})
    try:
        back_end.start()
        program = partial(talk, "examples.fastapi_postgres.talk", folder=tmp_path)
        one, again = (program("ivy", "lobby", back_end.url, typed="hello\n") for _ in range(2))
        stranger = program("jan", "lobby", back_end.url, typed="")
        code, _ = back_end.stop()
    finally:
        back_end.kill()

    assert (one.stdout, one.stderr) == ("ivy is in lobby: ivy\n", "")
    assert (again.stdout, again.stderr) == (one.stdout, "")
    assert (stranger.returncode, stranger.stderr) == (69, "lobby/members/jan: you are not in that room\n")
    assert code == 0
