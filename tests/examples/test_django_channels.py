"""A Django site with a chat in it, from the outside: a real server, real sockets, and the server killed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from examples.django_channels.talk import Person
from examples.load.device import FrameDevice
from examples.net.websocket_link import connect
from tests.examples.sites import Site, answer_in_json, connected, talk, until
from whisperkit.errors import TransportError
from whisperkit.ids import ConversationId
from whisperkit.sync.codec import decode
from whisperkit.sync.frames import Direction, EntryKind, MarkKind, Welcome

MODULE = "examples.django_channels"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    """One for all tests, each of which has a room and people of its own."""
    site = Site("-m", MODULE, folder=tmp_path_factory.mktemp("django"))
    try:
        site.start()
        yield site
        code, log = site.stop()
    finally:
        site.kill()
    assert code == -signal.SIGTERM  # as uvicorn ends, after all was closed
    assert "Traceback" not in log


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def people(site: Site, room: str, *names: str) -> AsyncGenerator[list[Person]]:
    """People who are logged in, all of them in the room."""
    async with AsyncExitStack() as stack:
        found = [Person(name, f"password of {name}", url=site.url) for name in names]
        for person in found:
            await stack.enter_async_context(person)
        for name in names:
            await found[0].add(room, name)
        yield found


def device_of(person: Person, site: Site) -> FrameDevice:
    return FrameDevice("a device", lambda: site.url, vouched=(person.device, person.dial))


def texts(device: FrameDevice) -> list[bytes | None]:
    return [entry.shared for entry in device.entries if entry.kind is EntryKind.MESSAGE]


@pytest.mark.anyio
async def test_messages_wait_for_who_is_away_and_come_in_order_and_once_and_are_ticked(site: Site) -> None:
    room = ConversationId("airport")
    async with people(site, room, "alice", "bob", "carol") as (alice, bob, carol):
        writer, reader = device_of(alice, site), device_of(bob, site)
        async with connected(writer):
            for number in range(1, 6):
                sending = await writer.send(room, b"from a socket, %d" % number)
                await sending.done.wait()
                await carol.post(room, number, f"from a page, {number}")
            async with connected(reader):
                await until(lambda: len(texts(reader)) == 10)
            async with connected(reader):  # once more, in which nothing comes again
                last = reader.entries[-1].conv_seq
                await until(lambda: writer.marks.get((room, bob.device.user, MarkKind.READ), 0) == last)
                await until(lambda: writer.marks.get((room, bob.device.user, MarkKind.DELIVERED), 0) == last)

    pairs = [(b"from a socket, %d" % number, b"from a page, %d" % number) for number in range(1, 6)]
    assert texts(reader) == [text for pair in pairs for text in pair]
    assert [*reader.faults, *writer.faults] == []


@pytest.mark.anyio
async def test_nothing_that_was_acknowledged_is_lost_when_the_server_is_killed(site: Site) -> None:
    room = ConversationId("harbour")
    async with people(site, room, "dora", "erik", "fay") as (dora, erik, fay):
        one, other = device_of(dora, site), device_of(erik, site)

        async with connected(one, other):
            posting = asyncio.create_task(fay.post_until_answered(room, 1, "fay 1"))
            for number in range(1, 11):
                await one.send(room, b"dora %d" % number)
                await other.send(room, b"erik %d" % number)
            await until(lambda: one.unanswered < 8)  # some are answered, others on their way
            site.kill()
            for number in range(11, 16):
                await one.send(room, b"dora %d" % number)
            again = asyncio.create_task(fay.post_until_answered(room, 2, "fay 2"))
            await asyncio.to_thread(site.start)
            await asyncio.gather(posting, again)
            await until(lambda: not one.unanswered and not other.unanswered)
            await until(lambda: len(texts(other)) >= 17 and len(texts(one)) >= 12)

    fays = [b"fay 1", b"fay 2"]
    dora_s = [b"dora %d" % number for number in range(1, 16)]
    erik_s = [b"erik %d" % number for number in range(1, 11)]
    assert [text for text in texts(other) if text not in fays] == dora_s
    assert [text for text in texts(one) if text not in fays] == erik_s
    assert [text for text in texts(one) if text in fays] == [text for text in texts(other) if text in fays] == fays
    assert [*one.faults, *other.faults] == []


@pytest.mark.anyio
async def test_the_page_posts_once_however_often_it_is_sent(site: Site) -> None:
    room = ConversationId("kitchen")
    async with people(site, room, "gil", "hana") as (gil, hana):
        reader = device_of(hana, site)
        async with connected(reader):
            seqs = [await gil.post(room, number, text) for number, text in [(1, "A"), (1, "A"), (2, "B"), (1, "A")]]
            with pytest.raises(TransportError, match=r'409.*"expected": 3'):
                await gil.post(room, 5, "three are missing")
            with pytest.raises(TransportError, match=r'409.*"epoch"'):
                await gil.post(room, 2, "not B")
            await until(lambda: len(texts(reader)) >= 2)
            await gil.post(room, 3, "C")
            await until(lambda: len(texts(reader)) >= 3)

    assert seqs == [seqs[0], seqs[0], seqs[0] + 1, seqs[0]]
    assert texts(reader) == [b"A", b"B", b"C"]
    assert reader.faults == []


@pytest.mark.anyio
async def test_who_has_not_logged_in_is_sent_away_and_told_why(site: Site) -> None:
    async with people(site, "garden", "ivy") as (ivy,):
        url = f"{site.url.replace('http', 'ws')}/ws"
        link = await connect(url, headers={"Origin": site.url, "Cookie": "sessionid=guessed"})()
        with pytest.raises(TransportError, match="4003 log in first"):
            await link.receive()
        with pytest.raises(TransportError, match="cannot be reached"):  # a page of somebody else's
            await connect(url, headers={"Origin": "http://elsewhere.example"})()
        with pytest.raises(TransportError, match="401"):
            async with Person("ivy", "some other password", url=site.url):
                pass
        with pytest.raises(TransportError, match="400"):
            async with Person("jo", "short", url=site.url):
                pass
        async with Person("kim", "password of kim", url=site.url) as kim:
            with pytest.raises(TransportError, match="404"):
                await kim.post("garden", 1, "let me in")
            with pytest.raises(TransportError, match="403"):
                await kim.add("garden", "kim")
        assert list((await ivy.add("garden", "ivy")).values()) == ["ivy"]


@pytest.mark.anyio
async def test_who_is_put_out_of_a_room_hears_no_more(site: Site) -> None:
    room = ConversationId("cellar")
    async with people(site, room, "lea", "max", "noa") as (lea, max_, noa):
        gone, stays = device_of(max_, site), device_of(noa, site)
        async with connected(gone, stays):
            await lea.post(room, 1, "for all")
            await until(lambda: bool(texts(gone)))
            await lea.ask("DELETE", f"/rooms/{room}/members/max")
            await lea.post(room, 2, "without max")
            await until(lambda: len(texts(stays)) == 2)
            await lea.add(room, "max")
            await lea.post(room, 3, "for all again")
            await until(lambda: b"for all again" in texts(gone))

    assert texts(gone) == [b"for all", b"for all again"]


@pytest.mark.anyio
async def test_a_page_in_a_browser_speaks_json_in_text(site: Site) -> None:
    async with people(site, "office", "quinn") as (quinn,):
        answer = await answer_in_json(site.url, quinn.device, headers=quinn.headers)

    assert isinstance(answer, str)
    assert isinstance(decode(answer, direction=Direction.TO_CLIENT)[0], Welcome)


def test_its_second_command_talks(site: Site, tmp_path: Path) -> None:
    one, other = (
        talk(f"{MODULE}.talk", name, "lobby", site.url, typed="hello\n/add olga\n", folder=tmp_path)
        for name in ("olga", "paul")
    )

    assert (one.stdout, one.stderr) == ("olga is in lobby: olga\nin lobby: olga\n", "")
    assert (other.returncode, other.stdout) == (69, "")
    assert "you are not in that room" in other.stderr
