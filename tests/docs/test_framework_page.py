"""The adapters on the page about frameworks, driven as the frameworks would: a device connects and is welcomed."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
from code_blocks import Namespace, blocks

from whisperkit import DeviceId
from whisperkit.service import MessageService
from whisperkit.stores import Stores
from whisperkit.sync.codec import decode, encode_many
from whisperkit.sync.frames import PROTOCOL_VERSION, Challenge, Direction, Frame, Hello, Welcome

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "framework.md"
ALICE = DeviceId.named("alice", 1)
LOGIN = {"user": "alice"}


def adapter(imports: str, messages: MessageService) -> Namespace:
    """What the block of the page defines that imports this; `device_of` is in the first of them."""
    found: Namespace = {"__name__": "page", "messages": messages, "DeviceId": DeviceId}
    texts = [block.text for block in blocks(PAGE.read_text(encoding="utf-8"))]
    for text in texts:
        if "def device_of" in text or re.search(imports, text, re.MULTILINE):
            exec(text, found)
    return found


def hello() -> bytes:
    return encode_many([Hello(PROTOCOL_VERSION, ALICE, connection_no=1, cursor=None, proof=None)])[0]


def frames_in(sent: list[bytes]) -> list[Frame]:
    return [frame for data in sent for frame in decode(data, direction=Direction.TO_CLIENT)]


async def until(kind: type[Frame], sent: Callable[[], list[bytes]]) -> None:
    with anyio.fail_after(10):
        while not any(isinstance(frame, kind) for frame in frames_in(sent())):
            await anyio.lowlevel.checkpoint()


def run(work: Callable[[MessageService], Awaitable[None]]) -> None:
    async def serve() -> None:
        async with MessageService(Stores.memory()) as messages:
            await messages.register(ALICE)
            await work(messages)

    anyio.run(serve)


def test_a_device_is_welcomed_through_channels() -> None:
    async def work(messages: MessageService) -> None:
        consumer: Any = adapter("^from channels", messages)["ChatConsumer"](LOGIN)  # Any: the page made the class
        await consumer.connect()
        await until(Challenge, lambda: consumer.sent)
        await consumer.receive(bytes_data=hello())
        await until(Welcome, lambda: consumer.sent)
        await consumer.disconnect(1000)

        assert consumer.accepted
        assert not consumer.link.is_open

    run(work)


def test_a_device_is_welcomed_through_socketio() -> None:
    async def work(messages: MessageService) -> None:
        found = adapter("^import socketio", messages)
        handlers = found["sio"].handlers
        await handlers["connect"]("s1", {}, LOGIN)
        await until(Challenge, lambda: [data for _, data, _ in found["sio"].sent])
        await handlers["frame"]("s1", hello())
        await until(Welcome, lambda: [data for _, data, _ in found["sio"].sent])
        await handlers["disconnect"]("s1", "client disconnect")

        assert {(event, to) for event, _, to in found["sio"].sent} == {("frame", "s1")}
        assert found["links"] == {}

    run(work)


def test_a_device_is_welcomed_through_fastapi() -> None:
    async def work(messages: MessageService) -> None:
        sent: list[bytes] = []
        waiting = [hello()]

        async def accept() -> None:
            sent.clear()

        async def receive_bytes() -> bytes:
            if waiting:
                await until(Challenge, lambda: sent)
                return waiting.pop()
            await until(Welcome, lambda: sent)
            raise ConnectionError("the device has gone")

        async def send_bytes(data: bytes) -> None:
            sent.append(data)

        async def close(code: int, reason: str) -> None:
            sent.append(b"closed")

        socket = SimpleNamespace(
            query_params=LOGIN, accept=accept, receive_bytes=receive_bytes, send_bytes=send_bytes, close=close
        )
        await adapter("^from fastapi", messages)["app"].routes["/ws"](socket)

        assert not messages.gateway.links.get(ALICE)

    run(work)


def test_bytes_that_are_no_frame_end_the_link_and_not_the_server() -> None:
    async def work(messages: MessageService) -> None:
        link = messages.attach(ALICE, send=lambda data: None)

        link.receive(b"no frame at all")
        with anyio.fail_after(10):
            while link.is_open:
                await anyio.lowlevel.checkpoint()

        await messages.create_conversation([ALICE.user])

    run(work)
