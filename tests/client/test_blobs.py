"""Attachments: never whole in memory, kept alive while a message names them, and given up when they are gone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from whisperkit import BlobId, ConversationId
from whisperkit.client import Client
from whisperkit.client.blobs import KEEP_MS, ReadAt, Uploads
from whisperkit.client.content import Attachment
from whisperkit.errors import AttachmentError, BlobGoneError, TransportError, UsageError
from whisperkit.receipts import MessageStatus
from whisperkit.testing.sim_phone import ChatNet, SimPhone

CAT = bytes(range(256)) * 700  # several chunks


class Carrier:
    """A server of attachments in memory."""

    def __init__(self) -> None:
        self.blobs: dict[BlobId, bytes] = {}
        self.kept: dict[BlobId, list[int]] = {}
        self.is_away = False

    async def put(self, blob: BlobId, size: int, read_at: ReadAt) -> None:
        data = b""
        while piece := await read_at(len(data), 1_000):
            data += piece
        assert len(data) == size
        self.blobs[blob] = data

    async def get(self, blob: BlobId) -> AsyncIterator[bytes]:
        data = self.blobs[blob]
        for at in range(0, len(data), 999):
            yield data[at : at + 999]

    async def keep(self, blob: BlobId, *, until_ms: int) -> None:
        if self.is_away:
            raise TransportError("the attachments' server is away")
        if blob not in self.blobs:
            raise BlobGoneError(blob=blob)
        self.kept.setdefault(blob, []).append(until_ms)


class MemorySpool:
    """Encrypted bytes on their way."""

    def __init__(self) -> None:
        self.data = b""

    async def write(self, data: bytes) -> None:
        self.data += data

    async def read_at(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]


async def pieces() -> AsyncIterator[bytes]:
    for at in range(0, len(CAT), 5_000):
        yield CAT[at : at + 5_000]


async def upload(client: Client) -> Attachment:
    return await client.uploads.upload(
        pieces, name="cat.jpg", media_type="image/jpeg", caption="a cat", spool=MemorySpool()
    )


def download(attachment: Attachment) -> Callable[[Client], Awaitable[bytes]]:
    async def run(client: Client) -> bytes:
        found = b""
        async for piece in client.uploads.download(attachment.blob, attachment.pointer):
            found += piece
        return found

    return run


def pair(net: ChatNet) -> tuple[Carrier, SimPhone, SimPhone, ConversationId]:
    carrier = Carrier()
    alice, bob = net.phone("alice", blobs=carrier), net.phone("bob", blobs=carrier)
    return carrier, alice, bob, alice.direct(bob)


def test_a_file_arrives_as_it_was_and_the_server_saw_only_ciphertext(net: ChatNet) -> None:
    carrier, alice, bob, chat = pair(net)
    attachment = alice.do(upload)

    alice.do(lambda client: client.send_attachment(chat, attachment))
    net.until(lambda: bob.texts(chat) == ["cat.jpg"])
    what = bob.records(chat)[-1].what
    assert isinstance(what, Attachment)

    assert bob.do(download(what)) == CAT
    assert CAT[:64] not in carrier.blobs[attachment.blob]
    assert what.caption == "a cat"


def test_what_was_altered_on_the_way_is_noticed(net: ChatNet) -> None:
    carrier, alice, bob, _ = pair(net)
    attachment = alice.do(upload)
    carrier.blobs[attachment.blob] = carrier.blobs[attachment.blob][:-1] + b"\x00"

    with pytest.raises(AttachmentError):
        bob.do(download(attachment))


def test_an_attachment_is_kept_alive_before_every_attempt_to_send(net: ChatNet) -> None:
    carrier, alice, bob, chat = pair(net)
    alice.send(chat, "first")
    net.until(lambda: bob.texts(chat) == ["first"])
    attachment = alice.do(upload)
    alice.wire_fates.arm("up", "lost")

    sent = alice.do(lambda client: client.send_attachment(chat, attachment))
    net.until(lambda: alice.status(chat, sent) is MessageStatus.DELIVERED)

    assert len(carrier.kept[attachment.blob]) >= 2
    assert all(until >= KEEP_MS for until in carrier.kept[attachment.blob])


def test_a_message_whose_attachment_is_gone_fails_and_says_why(net: ChatNet) -> None:
    carrier, alice, bob, chat = pair(net)
    alice.send(chat, "before")
    attachment = alice.do(upload)
    carrier.blobs.clear()

    sent = alice.do(lambda client: client.send_attachment(chat, attachment))
    alice.send(chat, "after")
    net.until(lambda: bob.texts(chat) == ["before", "after"])

    assert alice.status(chat, sent) is MessageStatus.FAILED
    assert [record.failed for record in alice.records(chat) if record.failed] == ["the attachment is gone"]


def test_only_messages_with_attachments_wait_for_their_server(net: ChatNet) -> None:
    carrier, alice, bob, chat = pair(net)
    carol = net.phone("carol")
    attachment = alice.do(upload)
    carrier.is_away = True

    alice.do(lambda client: client.send_attachment(chat, attachment))
    other = alice.direct(carol)
    alice.send(other, "hello carol")
    net.until(lambda: carol.texts(other) == ["hello carol"])
    assert bob.texts(chat) == []

    carrier.is_away = False
    net.until(lambda: bob.texts(chat) == ["cat.jpg"])


def test_without_a_carrier_there_are_no_attachments(net: ChatNet) -> None:
    _, alice, bob, _ = pair(net)
    attachment = alice.do(upload)
    carol = net.phone("carol")
    assert isinstance(carol.client.uploads, Uploads)

    with pytest.raises(UsageError, match="carrier"):
        carol.do(upload)
    chat = carol.direct(bob)
    with pytest.raises(UsageError, match="carrier"):
        carol.do(lambda client: client.send_attachment(chat, attachment))

    assert carol.texts(chat) == []


def test_an_attachment_that_cannot_be_carried_any_more_holds_up_nothing_else(net: ChatNet) -> None:
    carrier, alice, bob, chat = pair(net)
    carol = net.phone("carol")
    attachment = alice.do(upload)
    carrier.is_away = True
    alice.do(lambda client: client.send_attachment(chat, attachment))
    net.wait(2.0)

    alice.blobs = None
    alice.restart()
    other = alice.direct(carol)
    alice.send(other, "hello carol")
    net.until(lambda: carol.texts(other) == ["hello carol"])

    alice.blobs, carrier.is_away = carrier, False
    alice.restart()
    net.until(lambda: bob.texts(chat) == ["cat.jpg"])
