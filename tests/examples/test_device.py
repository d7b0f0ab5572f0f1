"""A device of the examples: what it leaves on the disk, what opens it, and what it finds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.adapters.sealed import NotSealedError
from examples.adapters.sealed_lock import KEY_BYTES, Cost, KeyLock, Passphrase, WrongPassphraseError
from examples.adapters.sqlite import open_sqlite
from examples.device import HttpBlobs, Phone, device_file, open_phone
from examples.device_search import Histories, SearchIndex
from whisperkit.client import Client
from whisperkit.client.content import Attachment, Text
from whisperkit.errors import TransportError, UsageError
from whisperkit.ids import BlobId, DeviceId, UserId
from whisperkit.partitions import Change, Partition
from whisperkit.ratchet import AttachmentEncryptor
from whisperkit.testing.sim_phone import ChatNet

pytestmark = pytest.mark.anyio

NOWHERE = "ws://127.0.0.1:9/ws"
LOCK = Passphrase("correct horse", Cost.MIN)
SENTENCE = "gate changed to B12"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def net() -> Iterator[ChatNet]:
    net = ChatNet()
    yield net
    net.close()


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_nothing_that_was_written_or_looked_for_is_on_the_disk_in_clear(tmp_path: Path) -> None:
    async with open_phone(tmp_path, "alice", url=NOWHERE, lock=LOCK) as phone:
        conv = await phone.client.direct(UserId.named("bob"))
        assert await phone.search("gate") == []
        await phone.client.send(conv, SENTENCE)
        assert await phone.search("gate") == ["[gate] changed to B12"]
        key, _ = await phone.client.identity()

        on_disk = files_in(tmp_path)
    assert set(on_disk) == {"alice.1.db", "alice.1.db-wal"}
    for words in (SENTENCE.encode(), b"gate", key, UserId.named("bob").encode(), conv.encode(), b"device/"):
        assert [name for name, data in on_disk.items() if words in data] == []


async def test_a_device_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    async with open_phone(tmp_path, "alice", url=NOWHERE, lock=LOCK) as phone:
        conv = await phone.client.direct(UserId.named("bob"))
        await phone.client.send(conv, SENTENCE)
    before = device_file(tmp_path, "alice").read_bytes()

    for wrong in (Passphrase("wrong horse", Cost.MIN), KeyLock(os.urandom(KEY_BYTES))):
        with pytest.raises(WrongPassphraseError):
            async with open_phone(tmp_path, "alice", url=NOWHERE, lock=wrong):
                pass

    assert device_file(tmp_path, "alice").read_bytes() == before
    async with open_phone(tmp_path, "alice", url=NOWHERE, lock=LOCK) as phone:
        assert [record.what for record in await phone.client.history(conv)] == [Text(SENTENCE)]


async def test_a_device_in_clear_is_refused(tmp_path: Path) -> None:
    async with open_sqlite(device_file(tmp_path, "alice")) as store:
        await store.commit([Change(Partition(f"device/{DeviceId.named('alice', 1)}"), 0, b"in clear")])

    with pytest.raises(NotSealedError):
        async with open_phone(tmp_path, "alice", url=NOWHERE, lock=LOCK):
            pass


async def test_a_download_that_fails_leaves_no_part_behind(tmp_path: Path) -> None:
    encryptor = AttachmentEncryptor(random_bytes=os.urandom)
    encryptor.finalize()
    pointer = encryptor.pointer(name="cat.jpg", media_type="image/jpeg")

    async with open_phone(tmp_path, "alice", url=NOWHERE, lock=LOCK) as phone:
        with pytest.raises(TransportError):
            await phone.save_file(Attachment(BlobId("b" * 32), pointer, ""), tmp_path / "cat.jpg")

    assert set(files_in(tmp_path)) == {"alice.1.db"}


class CountingIndex(SearchIndex):
    """Counts how often the whole history is read; the first reading may fail."""

    def __init__(self, *, fails: int = 0) -> None:
        super().__init__()
        self.fills = 0
        self._fails = fails

    async def fill(self, histories: Histories) -> int:
        self.fills += 1
        if self.fills <= self._fails:
            raise UsageError("interrupted")
        return await super().fill(histories)


def searching(client: Client, index: SearchIndex, net: ChatNet) -> Phone:
    return Phone(client, HttpBlobs("http://127.0.0.1:9", client.device), index, net.phone("store").store)


def test_the_history_is_read_once_and_what_comes_later_is_found_too(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "the first gate")
    net.until(lambda: len(bob.texts(chat)) == 1)
    with CountingIndex() as index:
        phone = searching(bob.client, index, net)
        assert bob.do(lambda _: phone.search("gate")) == ["the first [gate]"]

        alice.send(chat, "the second gate")
        net.until(lambda: len(bob.texts(chat)) == 2)

        assert bob.do(lambda _: phone.search("gate")) == ["the second [gate]", "the first [gate]"]
        assert index.fills == 1


def test_a_search_that_missed_events_reads_the_history_again(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    with CountingIndex() as index:
        phone = searching(bob.client, index, net)
        assert bob.do(lambda _: phone.search("gate")) == []

        for n in range(1_100):
            alice.send(chat, f"gate {n}")
        net.wait(300.0)

        assert len(bob.do(lambda _: phone.search("gate 5"))) == 20
        assert index.fills == 2


def test_a_first_search_that_was_interrupted_is_made_good_by_the_next(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "the gate")
    net.until(lambda: len(bob.texts(chat)) == 1)
    with CountingIndex(fails=1) as index:
        phone = searching(bob.client, index, net)
        with pytest.raises(UsageError):
            bob.do(lambda _: phone.search("gate"))

        assert bob.do(lambda _: phone.search("gate")) == ["the [gate]"]
