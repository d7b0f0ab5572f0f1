"""The code on the page about frameworks, in the frameworks themselves: a device connects and is welcomed."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast

import anyio
import pytest
import socketio
from asgiref.testing import ApplicationCommunicator
from code_blocks import Namespace, blocks
from django.conf import settings

from whisperkit import DeviceId
from whisperkit.service import MessageService
from whisperkit.stores import Stores
from whisperkit.sync.codec import MAX_MESSAGE_BYTES, decode, encode_json, encode_many
from whisperkit.sync.frames import PROTOCOL_VERSION, Bye, ByeCode, Challenge, Direction, Frame, Hello, Welcome

PAGE: Final = Path(__file__).parents[2] / "docs" / "how-to" / "framework.md"
ALICE: Final = DeviceId.named("alice", 1)
PATIENCE_S: Final = 10
# Any: what ASGI passes on.
Scope = dict[str, Any]
SCOPE: Final[Scope] = {"type": "websocket", "path": "/", "headers": [], "query_string": b"", "subprotocols": []}
SOCKETIO: Final[Scope] = {
    "path": "/socket.io/",
    "query_string": b"transport=websocket&EIO=4",
    "headers": [(b"connection", b"upgrade"), (b"upgrade", b"websocket")],
}
FASTAPI: Final[Scope] = {"path": "/ws", "query_string": b"user=alice"}

F = TypeVar("F", bound=Frame)


@pytest.fixture(scope="module", autouse=True)
def django_settings() -> None:
    """Channels looks into the settings of a site for its layers, of which the page needs none."""
    if not settings.configured:
        settings.configure()


def adapter(imports: str, messages: MessageService, *, change: tuple[str, str] = ("", "")) -> Namespace:
    """What the block of the page defines that imports this; `device_of` is in the first of them.

    Args:
        imports: A pattern.
        messages: The service.
        change: A text of the page and what to put in its place, to see that it matters.
    """
    found: Namespace = {"__name__": "page", "messages": messages, "DeviceId": DeviceId}
    texts = [block.text for block in blocks(PAGE.read_text(encoding="utf-8"))]
    for text in (text.replace(*change) for text in texts):
        if "def device_of" in text or re.search(imports, text, re.MULTILINE):
            exec(text, found)
    return found


class Socket:
    """A WebSocket at an application, which has not seen a network.

    Args:
        app: The application.
        scope: What is special about the connection.
    """

    def __init__(self, app: object, scope: Scope) -> None:
        # Any: asgiref has no types here.
        self._app = cast("Any", ApplicationCommunicator)(app, {**SCOPE, **scope})

    async def open(self) -> None:
        await self._app.send_input({"type": "websocket.connect"})
        assert (await self._app.receive_output(PATIENCE_S))["type"] == "websocket.accept"

    async def send(self, data: bytes | str) -> None:
        kind = "text" if isinstance(data, str) else "bytes"
        await self._app.send_input({"type": "websocket.receive", kind: data})

    async def receive(self) -> bytes | str:
        message: dict[str, Any] = await self._app.receive_output(PATIENCE_S)
        assert message["type"] == "websocket.send", message
        data: bytes | str = message.get("text") or message["bytes"]
        return data

    async def closed(self) -> tuple[int, str]:
        """Wait until the application closes it; returns code and reason."""
        message: dict[str, Any] = await self._app.receive_output(PATIENCE_S)
        assert message["type"] == "websocket.close", message
        return message["code"], message.get("reason", "")

    async def leave(self) -> None:
        """Go away, and wait until the application has noticed."""
        await self._app.send_input({"type": "websocket.disconnect", "code": 1000})
        await self._app.wait(PATIENCE_S)


class Wire(Protocol):
    """Carries frames, whatever they are wrapped in."""

    async def send(self, data: bytes | str) -> None: ...

    async def receive(self) -> bytes | str: ...


class SocketIo:
    """Socket.IO, as far as frames need it, over a WebSocket."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    async def open(self, auth: object) -> None:
        await self._socket.open()
        assert str(await self._socket.receive()).startswith("0")  # Engine.IO is open
        await self._socket.send("40" + json.dumps(auth))
        assert str(await self._socket.receive()).startswith("40")  # Socket.IO is, and before any frame

    async def send(self, data: bytes | str) -> None:
        if isinstance(data, str):
            await self._socket.send("42" + json.dumps(["frame", data]))
        else:
            await self._socket.send('451-["frame",{"_placeholder":true,"num":0}]')
            await self._socket.send(data)

    async def receive(self) -> bytes | str:
        head = str(await self._socket.receive())
        if head.startswith("42"):
            text: str = json.loads(head[2:])[1]
            return text
        assert head == '451-["frame",{"_placeholder":true,"num":0}]'
        return await self._socket.receive()

    async def closed(self) -> None:
        """Wait until the server says that this is over."""
        assert await self._socket.receive() == "41"


async def hear(kind: type[F], wire: Wire) -> F:
    """The first frame of a kind."""
    while True:
        for frame in decode(await wire.receive(), direction=Direction.TO_CLIENT):
            if isinstance(frame, kind):
                return frame


HELLO: Final = Hello(PROTOCOL_VERSION, ALICE, connection_no=1, cursor=None, proof=None)


async def greet(wire: Wire) -> None:
    """Say who this is, and be welcomed."""
    await hear(Challenge, wire)
    await wire.send(encode_many([HELLO])[0])
    await hear(Welcome, wire)


async def greet_as_a_browser(wire: Wire) -> None:
    """The same in JSON: what a page in a browser can read is text."""
    await hear(Challenge, wire)
    await wire.send(encode_json([HELLO])[0])
    answer = await wire.receive()
    assert isinstance(answer, str)
    assert any(isinstance(frame, Welcome) for frame in decode(answer, direction=Direction.TO_CLIENT))


async def end(wire: Wire, junk: bytes = b"no frame at all") -> None:
    """Say what is no frame, and be told that this ends the link."""
    await wire.send(junk)
    assert (await hear(Bye, wire)).code is ByeCode.PROTOCOL


def run(work: Callable[[MessageService], Awaitable[None]]) -> None:
    async def serve() -> None:
        async with MessageService(Stores.memory()) as messages:
            await messages.register(ALICE)
            await work(messages)
            with anyio.fail_after(PATIENCE_S):
                while messages.gateway.open_links:
                    await anyio.lowlevel.checkpoint()

    anyio.run(serve)


Open = Callable[[MessageService, tuple[str, str]], Awaitable[tuple[Wire, Socket]]]


async def through_channels(messages: MessageService, change: tuple[str, str] = ("", "")) -> tuple[Wire, Socket]:
    consumer = adapter("^from channels", messages, change=change)["ChatConsumer"]
    socket = Socket(consumer.as_asgi(), {"user": "alice"})
    await socket.open()
    return socket, socket


async def through_socketio(messages: MessageService, change: tuple[str, str] = ("", "")) -> tuple[Wire, Socket]:
    socket = Socket(socketio.ASGIApp(adapter("^import socketio", messages, change=change)["sio"]), SOCKETIO)
    wire = SocketIo(socket)
    await wire.open({"user": "alice"})
    return wire, socket


async def through_fastapi(messages: MessageService, change: tuple[str, str] = ("", "")) -> tuple[Wire, Socket]:
    socket = Socket(adapter("^from fastapi", messages, change=change)["app"], FASTAPI)
    await socket.open()
    return socket, socket


def test_a_device_is_welcomed_through_channels_and_may_leave() -> None:
    async def work(messages: MessageService) -> None:
        wire, socket = await through_channels(messages)
        await greet(wire)
        await socket.leave()

    run(work)


def test_a_link_through_channels_ends_with_a_code_and_a_reason() -> None:
    async def work(messages: MessageService) -> None:
        wire, socket = await through_channels(messages)
        await greet(wire)
        await end(wire)
        assert await socket.closed() == (1002, "PROTOCOL")
        await socket.leave()

    run(work)


def test_a_device_is_welcomed_through_socketio_and_may_leave() -> None:
    async def work(messages: MessageService) -> None:
        found = adapter("^import socketio", messages)
        socket = Socket(socketio.ASGIApp(found["sio"]), SOCKETIO)
        wire = SocketIo(socket)
        await wire.open({"user": "alice"})
        await greet(wire)
        assert len(found["links"]) == 1
        await socket.leave()
        assert found["links"] == {}

    run(work)


def test_a_link_through_socketio_ends_with_a_disconnect() -> None:
    async def work(messages: MessageService) -> None:
        found = adapter("^import socketio", messages)
        socket = Socket(socketio.ASGIApp(found["sio"]), SOCKETIO)
        wire = SocketIo(socket)
        await wire.open({"user": "alice"})
        await greet(wire)
        await end(wire)
        await wire.closed()
        assert found["links"] == {}
        await socket.leave()

    run(work)


def test_a_message_as_large_as_one_may_be_reaches_the_link_through_socketio() -> None:
    async def work(messages: MessageService) -> None:
        found = adapter("^import socketio", messages)
        socket = Socket(socketio.ASGIApp(found["sio"]), SOCKETIO)
        wire = SocketIo(socket)
        await wire.open({"user": "alice"})
        await greet(wire)
        await end(wire, bytes(MAX_MESSAGE_BYTES))
        await socket.leave()

    run(work)


def test_behind_attach_nothing_may_be_awaited_in_socketio() -> None:
    async def work(messages: MessageService) -> None:
        late = "close=close)\n    import asyncio\n    await asyncio.sleep(0.01)"
        found = adapter("^import socketio", messages, change=("close=close)", late))
        socket = Socket(socketio.ASGIApp(found["sio"]), SOCKETIO)
        with pytest.raises(AssertionError):  # the challenge comes before Socket.IO is open
            await SocketIo(socket).open({"user": "alice"})
        await socket.leave()

    run(work)


def test_a_device_is_welcomed_through_fastapi_and_may_leave() -> None:
    async def work(messages: MessageService) -> None:
        wire, socket = await through_fastapi(messages)
        await greet(wire)
        await socket.leave()

    run(work)


def test_a_link_through_fastapi_ends_with_a_code_and_a_reason() -> None:
    async def work(messages: MessageService) -> None:
        wire, socket = await through_fastapi(messages)
        await greet(wire)
        await end(wire)
        assert await socket.closed() == (1002, "PROTOCOL")
        await socket.leave()

    run(work)


def test_bytes_that_are_no_frame_end_the_link_and_not_the_server() -> None:
    async def work(messages: MessageService) -> None:
        link = messages.attach(ALICE, send=lambda data: None)

        link.receive(b"no frame at all")
        with anyio.fail_after(PATIENCE_S):
            while link.is_open:
                await anyio.lowlevel.checkpoint()

        await messages.create_conversation([ALICE.user])

    run(work)


@pytest.mark.parametrize("through", [through_channels, through_socketio, through_fastapi])
def test_a_page_in_a_browser_is_answered_in_text(through: Open) -> None:
    async def work(messages: MessageService) -> None:
        wire, socket = await through(messages, ("", ""))
        await greet_as_a_browser(wire)
        await socket.leave()

    run(work)


@pytest.mark.parametrize("through", [through_channels, through_socketio, through_fastapi])
def test_an_adapter_that_sends_json_as_bytes_is_noticed(through: Open) -> None:
    async def work(messages: MessageService) -> None:
        wire, socket = await through(messages, ("is_json(data)", "False"))
        with pytest.raises(AssertionError):
            await greet_as_a_browser(wire)
        await socket.leave()

    run(work)
