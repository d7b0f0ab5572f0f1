"""What becomes of frames between a phone and a server, both played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random

import httpx
import pytest

from examples.lab.fates import Fate, Fates
from examples.lab.wire import Carried, Queue, Wire
from examples.net.http import Request, Response, Route
from examples.net.loopback import Edge, Recorder, serving
from examples.net.websocket_link import connect
from tests.examples.lab.test_fates import BEAT, CHALLENGE, ENTRY, READ, SEND
from whisperkit.errors import TransportError
from whisperkit.sync.codec import encode, encode_many
from whisperkit.sync.frames import Frame
from whisperkit.transport import Link

pytestmark = pytest.mark.anyio

UP_1, UP_2, UP_3 = encode(SEND), encode(READ), encode(BEAT)
DOWN_1, DOWN_2 = encode(ENTRY), encode(CHALLENGE)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def _echo(request: Request) -> Response:
    return Response(body=await request.read(1 << 20))


class Between:
    """A wire, with a server at one end."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.fates = Fates(Random(1), speed=3)
        self.queue = Queue()
        self.carried: list[Carried] = []
        self.wire = Wire(0, self.fates, self.queue, server=lambda: self.url, observe=self._observe)
        self.url = edge.ws_url
        self._news = asyncio.Event()

    def _observe(self, carried: Carried) -> None:
        self.carried.append(carried)
        self._news.set()

    async def until_carried(self, count: int) -> None:
        """Wait until so much has left."""
        while len(self.carried) < count:
            self._news.clear()
            await self._news.wait()

    async def phone(self) -> Link:
        return await connect(self.wire.url)()

    async def both(self) -> tuple[Link, Recorder]:
        """A phone, and the server's end of its connection."""
        before = len(self.edge.receivers)
        link = await self.phone()
        # The connection to the server is made behind the phone's.
        while len(self.edge.receivers) == before:  # noqa: ASYNC110  # an edge has no event for it
            await asyncio.sleep(0)
        return link, self.edge.receivers[-1]

    @property
    def fate_of(self) -> list[tuple[str, str, Fate | None]]:
        return [(one.way, one.name, one.fate) for one in self.carried]


@asynccontextmanager
async def between() -> AsyncGenerator[Between]:
    async with serving([Route("POST", "/echo", _echo)]) as edge:
        made = Between(edge)
        await made.wire.open()
        try:
            yield made
        finally:
            await made.wire.close()


async def ask(recorder: Recorder, count: int) -> list[bytes | str]:
    """What came to the server, once so much of it is there."""
    await recorder.until(lambda: len(recorder.messages) >= count)
    return recorder.messages


async def test_what_passes_arrives_in_order_both_ways() -> None:
    async with between() as made:
        phone, server = await made.both()
        for data in (UP_1, UP_2, UP_3):
            await phone.send(data)
        server.channel.send(DOWN_1)
        server.channel.send(DOWN_2)

        assert await ask(server, 3) == [UP_1, UP_2, UP_3]
        assert [await phone.receive(), await phone.receive()] == [DOWN_1, DOWN_2]
        assert {name: fate for _, name, fate in made.fate_of} == dict.fromkeys(
            ("SEND", "READ", "BEAT", "ENTRY", "CHALLENGE"), Fate.PASSED
        )
        assert [one.size for one in made.carried if one.name == "SEND"] == [len(UP_1)]


async def test_what_is_lost_is_lost_on_a_connection_that_stands() -> None:
    async with between() as made:
        phone, server = await made.both()
        made.fates.arm(0, "up", Fate.LOST)
        made.fates.arm(0, "down", Fate.LOST)
        for data in (UP_1, UP_2):
            await phone.send(data)
        server.channel.send(DOWN_1)
        server.channel.send(DOWN_2)

        assert await ask(server, 1) == [UP_2]
        assert await phone.receive() == DOWN_2
        assert server.happened == []


async def test_what_is_doubled_comes_twice() -> None:
    async with between() as made:
        phone, server = await made.both()
        made.fates.arm(0, "up", Fate.DOUBLED)
        await phone.send(UP_1)
        await phone.send(UP_2)

        assert await ask(server, 3) == [UP_1, UP_1, UP_2]


async def test_what_is_late_is_overtaken() -> None:
    async with between() as made:
        phone, server = await made.both()
        made.fates.arm(0, "up", Fate.LATE)
        await phone.send(UP_1)
        await phone.send(UP_2)

        assert await ask(server, 2) == [UP_2, UP_1]


async def test_what_waits_keeps_what_is_behind_it_in_its_lane_and_nothing_else() -> None:
    async with between() as made:
        phone, server = await made.both()
        made.fates.step = True
        for data in (UP_3, UP_1, UP_3, UP_2):
            await phone.send(data)
        server.channel.send(DOWN_2)
        came = await phone.receive()
        await made.until_carried(5)
        before = list(server.messages)
        steps = [made.queue.step(), made.queue.step()]
        await ask(server, 3)
        made.queue.release()

        assert came == DOWN_2
        assert before == [UP_3]
        assert steps == [True, True]
        assert await ask(server, 4) == [UP_3, UP_1, UP_3, UP_2]
        assert not made.queue.step()
        assert [fate for _, name, fate in made.fate_of if name == "SEND"] == [None, Fate.PASSED]


async def test_what_waits_is_lost_with_its_connection() -> None:
    async with between() as made:
        phone, server = await made.both()
        made.fates.step = True
        await phone.send(UP_1)
        await made.until_carried(1)
        await phone.close()
        await server.until(lambda: server.happened == ["closed"])

        assert not made.queue.step()
        assert made.fate_of == [("up", "SEND", None), ("up", "SEND", Fate.LOST)]


async def test_what_is_under_way_when_a_connection_ends_is_lost() -> None:
    async with between() as made:
        phone, server = await made.both()
        made.fates.speed = 1
        await phone.send(UP_1)
        await made.until_carried(1)
        made.wire.take_down()
        await server.until(lambda: server.happened == ["closed"])

        assert server.messages == []


async def test_what_is_no_frame_is_for_the_other_end_to_judge() -> None:
    async with between() as made:
        phone, server = await made.both()
        await phone.send(b"\xc1")

        assert await ask(server, 1) == [b"\xc1"]
        assert made.fate_of == [("up", "", Fate.PASSED)]


async def test_many_frames_in_one_message_have_one_fate() -> None:
    async with between() as made:
        phone, server = await made.both()
        several: list[Frame] = [SEND, READ]
        (data,) = encode_many(several)
        await phone.send(data)
        await ask(server, 1)

        assert made.fate_of == [("up", "SEND READ", Fate.PASSED)]


async def test_in_the_air_there_is_no_connection_and_on_the_ground_there_is() -> None:
    async with between() as made:
        phone, server = await made.both()
        made.wire.take_down()
        with pytest.raises(TransportError):
            await phone.receive()
        await server.until(lambda: server.happened == ["closed"])
        in_the_air = await made.phone()
        with pytest.raises(TransportError):
            await in_the_air.receive()
        made.wire.put_up()
        again, _ = await made.both()

        assert made.wire.is_down is False
        await again.close()


async def test_a_phone_whose_server_is_away_is_told_so() -> None:
    async with between() as made:
        made.url = "ws://127.0.0.1:1/ws"
        phone = await made.phone()
        with pytest.raises(TransportError, match="the server cannot be reached"):
            await phone.receive()


async def test_a_phone_hears_of_the_end_of_its_server_behind_what_that_said() -> None:
    async with between() as made:
        phone, server = await made.both()
        server.channel.send(DOWN_1)
        server.channel.close(1001, "bye")

        assert await phone.receive() == DOWN_1
        with pytest.raises(TransportError, match="the server is gone"):
            await phone.receive()


@pytest.mark.parametrize("slow", [False, True])
async def test_files_have_a_road_of_their_own(slow: bool) -> None:
    data = bytes(40_000)
    async with between() as made:
        made.fates.slow = slow
        async with httpx.AsyncClient(base_url=made.wire.files_url, trust_env=False) as http:
            answer = await http.post("/echo", content=data)

        assert answer.content == data


async def test_the_road_of_files_is_closed_in_the_air_and_where_there_is_no_server() -> None:
    async with between() as made:
        made.wire.take_down()
        async with httpx.AsyncClient(base_url=made.wire.files_url, trust_env=False) as http:
            with pytest.raises(httpx.TransportError):
                await http.post("/echo")
        made.wire.put_up()
        made.url = "ws://127.0.0.1:1/ws"
        async with httpx.AsyncClient(base_url=made.wire.files_url, trust_env=False) as http:
            with pytest.raises(httpx.TransportError):
                await http.post("/echo")


async def test_a_wire_that_was_never_opened_can_be_closed() -> None:
    async with serving() as edge:
        await Between(edge).wire.close()
