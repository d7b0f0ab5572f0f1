"""The library as its users write it, for type checkers: nothing here is run, and all of it has to be accepted.

What stands behind `# refused!` is a wrong use, which every checker has to refuse: tests/typing/check.py puts it in the
place of its comment. So a library that said `Any` would not pass.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import assert_never, assert_type

from whisperkit import ConversationId, ConversationSeq, DeviceId, GatewayId, InboxSeq, MessageId, UserId
from whisperkit.client import Client, SessionManager
from whisperkit.errors import ActionRequiredError, NoSessionError, PeerError, UsageError, WhisperError
from whisperkit.fanout import Append, Enqueue, Hint, Limits, Notify, Plan, plan
from whisperkit.presence import CameOnline, PresenceTracker, WentOffline
from whisperkit.ratchet import (
    AttachmentEncryptor,
    AttachmentPointer,
    CiphertextMessage,
    Device,
    PreKeyBundle,
    PreKeyUpload,
    Records,
    SafetyNumber,
    Sealed,
    SenderKeyDistributionMessage,
)
from whisperkit.receipts import MessageStatus, Receipts, StatusChanged
from whisperkit.service import MessageService, ReceivedEntry, SentMessage
from whisperkit.stores import Change, Head, MemoryPartitions, Partition, PartitionStore, Roster, Row, Span, Stores
from whisperkit.transport import Connect, Link

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)


# ---- a message that is delivered ------------------------------------------------------------------------------------


async def deliver() -> None:
    async with MessageService(Stores.memory()) as service:
        assert_type(service, MessageService)
        await service.register(ALICE, BOB)
        chat = await service.create_conversation([ALICE.user, BOB.user])
        assert_type(chat, ConversationId)
        sent = await service.send(ALICE, chat, b"A", outbox_seq=1)
        assert_type(sent, SentMessage)
        assert_type(sent.seq, ConversationSeq)
        async with service.receive(BOB) as entries:
            assert_type(entries, tuple[ReceivedEntry, ...])
            assert_type([entry.body for entry in entries], list[bytes | None])
            assert_type([entry.seq for entry in entries], list[InboxSeq])
        status = await service.status(chat, sent.seq)
        assert_type(status, MessageStatus)
        # refused! await service.send(ALICE, chat, "A", outbox_seq=2)
        # refused! await service.send(ALICE, "lobby", b"A", outbox_seq=2)
        # refused! await service.send(ALICE.user, chat, b"A", outbox_seq=2)
        # refused! await service.register("alice.1")
        # refused! MessageService(MemoryPartitions())
        # refused! service.send_all(ALICE)
        # refused! print(sent.sequence)
        # refused! inbox_seq: InboxSeq = sent.seq


# ---- a store of one's own -------------------------------------------------------------------------------------------


class OwnStore:
    """Three methods, over whatever database there is."""

    spans_partitions = True

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    async def heads(self, partitions: Collection[Partition]) -> dict[Partition, Head]:
        found = {name: self._db.execute("SELECT version, state FROM head WHERE p = ?", (name,)) for name in partitions}
        return {name: Head(version, state) for name, rows in found.items() for version, state in rows}

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> list[Row]:
        found = self._db.execute("SELECT key, value FROM row WHERE p = ? LIMIT ?", (partition, limit))
        return [Row(key, value) for key, value in found if any(span.start <= key < span.stop for span in spans)]

    async def commit(self, changes: Sequence[Change]) -> None:
        for change in changes:
            assert_type(change.expected, int)
            self._db.executemany("INSERT INTO row VALUES (?, ?)", [(row.key, row.value) for row in change.put])


class TextStore:
    """What a store is not: its heads are text."""

    spans_partitions = True

    async def heads(self, partitions: Collection[Partition]) -> dict[Partition, str]:
        return dict.fromkeys(partitions, "")

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> list[Row]:
        return []

    async def commit(self, changes: Sequence[Change]) -> None:
        return None


class Rooms:
    """A source of members: the tables that are there."""

    async def roster(self, conversation: ConversationId) -> Roster | None:
        return Roster(3, frozenset({ALICE.user})) if conversation == "lobby" else None


def over(db: sqlite3.Connection) -> Stores:
    store: PartitionStore = OwnStore(db)
    # refused! other: PartitionStore = TextStore()
    # refused! Stores.over(TextStore())
    # refused! Stores.over(store, rosters=store)
    return Stores.over(store, rosters=Rooms())


# ---- sessions -------------------------------------------------------------------------------------------------------


async def talk() -> None:
    alice = await SessionManager.create(MemoryPartitions(), ALICE)
    bob = await SessionManager.create(MemoryPartitions(), BOB)
    upload = await bob.generate_prekeys()
    assert_type(upload, PreKeyUpload)
    await alice.process_bundle(bob.device, PreKeyBundle.of(upload))
    first = await alice.encrypt(b"hello", to=bob.device)
    assert_type(first, CiphertextMessage)
    assert_type(await bob.decrypt(first, sender=alice.device), bytes)
    number = await alice.safety_number(bob.device)
    assert_type(number, SafetyNumber)
    assert_type(number.digits, str)
    await alice.mark_verified(number)
    group = ConversationId("group")
    distribution = await alice.create_distribution(group)
    assert_type(distribution, SenderKeyDistributionMessage)
    await bob.process_distribution(distribution, sender=alice.device)
    # refused! await alice.encrypt("hello", to=bob.device)
    # refused! await alice.encrypt(b"hello", bob.device)
    # refused! await alice.encrypt(b"hello", to=bob.device.user)
    # refused! await bob.decrypt(first.body, sender=alice.device)
    # refused! await bob.decrypt(first)
    # refused! await alice.process_bundle(bob.device, upload)
    # refused! text: str = await bob.decrypt(first, sender=alice.device)
    # refused! alice.encrypt(b"hello", to=bob.device).body
    # refused! await alice.group_encrypt(b"hello", group="group")


def talk_with_a_dictionary(records: Records) -> bytes:
    device = Device(ALICE, random_bytes=os.urandom)
    sealed = device.encrypt(records, b"hello", remote=BOB, wall_ms=1_700_000_000_000)
    assert_type(sealed, Sealed)
    assert_type(sealed.message, CiphertextMessage)
    opened = device.decrypt(records, sealed.message, sender=BOB, wall_ms=1_700_000_000_000)
    # refused! Device(ALICE)
    # refused! Device("alice", random_bytes=os.urandom)
    # refused! device.encrypt(records, b"hello", remote=BOB)
    # refused! sealed.message = sealed.message
    return opened.plaintext


def attach(data: bytes) -> AttachmentPointer:
    encryptor = AttachmentEncryptor(random_bytes=os.urandom)
    assert_type(encryptor.update(data) + encryptor.finalize(), bytes)
    # refused! encryptor.update("text")
    return encryptor.pointer(name="cat.jpg", media_type="image/jpeg")


# ---- one engine alone -----------------------------------------------------------------------------------------------


def tick() -> None:
    receipts = Receipts(members=[ALICE.user, BOB.user])
    receipts.posted(seq=3, sender=ALICE)
    assert_type(receipts.delivered(device=BOB, upto=3), list[StatusChanged])
    assert_type(receipts.status(3), MessageStatus)
    assert_type(receipts.unread(BOB.user), int)
    # refused! receipts.posted(3, ALICE)
    # refused! receipts.posted(seq=3, sender=ALICE.user)
    # refused! receipts.unread("bob")
    # refused! Receipts(members=["alice", "bob"])


def be_there() -> None:
    presence = PresenceTracker(ttl_s=40, grace_s=35)
    for effect in presence.beat(BOB, now=0.0):
        match effect:
            case CameOnline():
                print(effect.user)
            case WentOffline(last_seen_s=last_seen_s):
                assert_type(last_seen_s, float)
            case _:
                assert_never(effect)
    assert_type(presence.deadline, float | None)
    # refused! presence.beat(BOB)
    # refused! presence.handle_timer(now="now")
    # refused! print(presence.deadline + 1)


def copy(roster: Mapping[UserId, Collection[DeviceId]]) -> None:
    planned = plan(sender=ALICE, roster=roster, online={BOB: GatewayId("g1")}, limits=Limits())
    assert_type(planned, Plan)
    for step in planned.steps:
        match step:
            case Append(devices=devices) | Enqueue(devices=devices):
                assert_type(devices, tuple[DeviceId, ...])
            case Hint(gateway=gateway):
                assert_type(gateway, GatewayId)
            case Notify(gateways=gateways):
                assert_type(gateways, tuple[GatewayId, ...])
            case _:
                assert_never(step)
    # refused! plan(sender=ALICE, roster=roster, online={BOB: "g1"}, limits=Limits())
    # refused! plan(sender=ALICE, roster=roster, online={})
    # refused! Append(devices=[BOB.user])


# ---- a client -------------------------------------------------------------------------------------------------------


class OwnLink:
    """A connection of bytes."""

    async def send(self, data: bytes) -> None:
        print(len(data))

    async def receive(self) -> bytes:
        return b""

    async def close(self) -> None:
        return None


async def connect() -> OwnLink:
    link: Link = OwnLink()
    await link.close()
    return OwnLink()


@asynccontextmanager
async def bot(store: PartitionStore) -> AsyncGenerator[Client]:
    connects: Connect = connect
    async with Client(store, BOB, connect=connects, keeps_unhandled=True) as client:
        assert_type(client, Client)
        chat = await client.direct(ALICE.user)
        assert_type(await client.send(chat, "hello"), MessageId)
        async for message in client.messages():
            async with message:
                assert_type(message.text, str)
                assert_type(await message.reply("pong"), MessageId)
        # refused! await client.send(chat, b"hello")
        # refused! await client.direct(ALICE)
        # refused! Client(store, BOB)
        # refused! Client(store, BOB, connect=OwnLink)
        # refused! Client(store, BOB, connect=connect, keep_unhandled=True)
        yield client


# ---- errors ---------------------------------------------------------------------------------------------------------


def whose_turn(error: WhisperError) -> str | None:
    match error:
        case NoSessionError():
            assert_type(error.remote, DeviceId)
            assert_type(error.known, int)
        case ActionRequiredError() | PeerError() | UsageError():
            assert_type(error.code, str)
        case _:
            pass
    # refused! print(error.remote)
    # refused! raise NoSessionError(BOB)
    return error.advice
