"""The client's link, against the server of this package."""

from __future__ import annotations

import asyncio
import logging

import pytest

from examples.net.loopback import serving
from examples.net.websocket_link import connect, is_loopback
from whisperkit.errors import TransportError
from whisperkit.transport import Connect, Link

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_link_carries_messages_both_ways() -> None:
    async with serving() as edge:
        dial: Connect = connect(edge.ws_url)
        link: Link = await dial()
        await link.send(b"there")
        receiver = await edge.first()
        await receiver.until(lambda: bool(receiver.messages))
        receiver.channel.send(b"back")
        receiver.channel.send("t\u00e9xt")

        assert receiver.messages == [b"there"]
        assert [await link.receive(), await link.receive()] == [b"back", "t\u00e9xt".encode()]
        await link.close()
        await link.close()
        await receiver.until(lambda: "closed" in receiver.happened)


async def test_a_link_that_was_closed_says_why() -> None:
    async with serving() as edge:
        link = await connect(edge.ws_url)()
        (await edge.first()).channel.close(4001, "SUPERSEDED")

        with pytest.raises(TransportError, match="closed the link: 4001 SUPERSEDED"):
            await link.receive()
        with pytest.raises(TransportError, match="4001"):
            await link.send(b"x")


async def test_a_link_that_was_cut_is_a_transport_error() -> None:
    async with serving() as edge:
        link = await connect(edge.ws_url)()
        edge.later(1_000)

        with pytest.raises(TransportError, match="gone without a word"):
            await link.receive()


async def test_a_message_beyond_the_limit_of_the_wire_ends_the_link() -> None:
    async with serving() as edge:
        link = await connect(edge.ws_url)()
        (await edge.first()).channel.send(bytes(3 << 20))

        with pytest.raises(TransportError):
            await link.receive()


@pytest.mark.parametrize("path", ["/ws", "/elsewhere"], ids=["nobody listens", "no websocket there"])
async def test_a_gateway_that_cannot_be_reached_is_a_transport_error(path: str) -> None:
    async with serving() as edge:
        url = f"ws://{edge.host}:{edge.port}{path}"
        if path == "/ws":
            await edge.server.drain()

        with pytest.raises(TransportError, match="cannot be reached"):
            await connect(url)()


async def test_a_gateway_that_says_nothing_is_given_up() -> None:
    ended = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        host, port = silent.sockets[0].getsockname()

        with pytest.raises(TransportError, match="TimeoutError"):
            await connect(f"ws://{host}:{port}/ws", timeout_s=0.01)()
        await ended.wait()


async def test_content_is_never_logged_even_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving() as edge:
        link = await connect(edge.ws_url)()
        await link.send(b"geheim")
        receiver = await edge.first()
        receiver.channel.send(b"geheim")
        await link.receive()
        await link.close()

    assert "geheim" not in caplog.text


@pytest.mark.parametrize(
    ("url", "is_it"),
    [
        ("ws://127.0.0.1:8080/ws", True),
        ("ws://[::1]/ws", True),
        ("http://localhost:1", True),
        ("ws://chat.example/ws", False),
        ("ws://10.0.0.1/ws", False),
    ],
)
def test_only_this_machine_is_loopback(url: str, is_it: bool) -> None:
    assert is_loopback(url) is is_it
