"""The same client on real event loops, and what it never prints."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from whisperkit import DeviceId
from whisperkit.anyio_runtime import AnyioRuntime
from whisperkit.client import Client
from whisperkit.client.content import Attachment, Bound, KeyGift, Resend, Text, encode_content
from whisperkit.client.drafts import Draft, DraftKind
from whisperkit.client.history import Note, Record
from whisperkit.client.records import DeviceRecords
from whisperkit.errors import LinkClosedError
from whisperkit.ids import BlobId, ConversationId, ConversationSeq, MessageId
from whisperkit.ratchet import AttachmentPointer, verify
from whisperkit.runtime import Mailbox
from whisperkit.service import MessageService
from whisperkit.stores import MemoryPartitions, Stores


class MemoryLink:
    """A connection within one process."""

    def __init__(self, service: MessageService, runtime: AnyioRuntime) -> None:
        self._came: Mailbox[bytes] = runtime.mailbox()
        self._link = service.attach(None, send=self._came.put, close=lambda _code, _reason: self._came.put(b""))

    async def send(self, data: bytes) -> None:
        self._link.receive(data)

    async def receive(self) -> bytes:
        data = await self._came.get()
        if not data:
            raise LinkClosedError(reason="LOST", retry_after_s=None)
        return data

    async def close(self) -> None:
        self._link.detach()
        self._came.put(b"")


@asynccontextmanager
async def people(*names: str) -> AsyncGenerator[list[Client]]:
    async with AnyioRuntime() as runtime, MessageService(Stores.memory(), verify=verify, runtime=runtime) as service:

        async def connect() -> MemoryLink:
            return MemoryLink(service, runtime)

        async with anyio.create_task_group():
            clients = [
                Client(MemoryPartitions(), DeviceId.named(name, 1), connect=connect, name=name, keeps_unhandled=True)
                for name in names
            ]
            for client in clients:
                await client.__aenter__()
            for client in clients:
                assert await client.wait_live(timeout_s=10.0)
            yield clients
            for client in reversed(clients):
                await client.__aexit__(None, None, None)


@pytest.mark.anyio
async def test_two_people_talk_on_a_real_loop() -> None:
    async with people("alice", "bob") as (alice, bob):
        chat = await alice.direct(bob.device.user)
        await alice.send(chat, "ping")

        with anyio.fail_after(10):
            async for message in bob.messages():
                async with message:
                    await message.reply("pong")
                break
            async for message in alice.messages():
                assert message.text == "pong"
                break
            async for event in alice.events():
                assert event is not None
                break


@pytest.mark.anyio
async def test_a_client_is_a_context_manager_with_a_world_of_its_own() -> None:
    async def nowhere() -> MemoryLink:
        raise LinkClosedError(reason="OFFLINE", retry_after_s=None)

    store = MemoryPartitions()
    async with Client(store, DeviceId.named("alice", 1), connect=nowhere) as alice:
        chat = await alice.direct(DeviceId.named("bob", 1).user)
        await alice.send(chat, "for later")
    async with Client(store, DeviceId.named("alice", 1), connect=nowhere) as alice:
        (record,) = await alice.history(chat)

    assert record.what == Text("for later")


@pytest.mark.anyio
async def test_whoever_is_cancelled_while_waiting_for_a_turn_passes_it_on() -> None:
    records = DeviceRecords(MemoryPartitions(), DeviceId.named("alice", 1), AnyioRuntime())
    order: list[str] = []

    async def hold() -> None:
        await records.run(lambda _turn: anyio.sleep(0.01))
        order.append("held")

    async def wait(scope: anyio.CancelScope) -> None:
        with scope:
            await records.run(lambda _turn: anyio.lowlevel.checkpoint())
            order.append("cancelled")

    async def last() -> None:
        await records.run(lambda _turn: anyio.lowlevel.checkpoint())
        order.append("last")

    scope = anyio.CancelScope()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(hold)
            await anyio.lowlevel.checkpoint()
            group.start_soon(wait, scope)
            await anyio.lowlevel.checkpoint()
            group.start_soon(last)
            await anyio.lowlevel.checkpoint()
            scope.cancel()

    assert order == ["held", "last"]


def test_nothing_that_is_printed_tells_what_was_written() -> None:
    secret = "a plain secret"
    conv, one = ConversationId("chat"), MessageId(bytes(16))
    alice = DeviceId.named("alice", 1)
    data = encode_content(Text(secret))
    values: list[object] = [
        Text(secret),
        Attachment(BlobId("0" * 32), AttachmentPointer(bytes(32), bytes(32), 1, secret, "text/plain"), secret),
        Resend(conv, one, data),
        Bound(conv, one, data),
        Record(conv, one, alice, ConversationSeq(1), 1, Note.MESSAGE, data),
        Draft(1, DraftKind.ASIDE, conv, one, alice, data),
        KeyGift(conv, secret.encode()),
    ]

    assert not any(secret in repr(value) for value in values)
