"""Rows for the page: what each says, where it belongs, and how far own messages have come, found with few looks."""

from __future__ import annotations

import pytest

from examples.lab.bubbles import Bubbles, message_name
from whisperkit import ConversationId, DeviceId, MessageId
from whisperkit.client import Client
from whisperkit.client.content import Text, encode_content
from whisperkit.client.history import Note, Record
from whisperkit.ids import BlobId, ConversationSeq
from whisperkit.receipts import MessageStatus
from whisperkit.runtime import Runtime
from whisperkit.stores import MemoryPartitions
from whisperkit.sync.codec import encode_change
from whisperkit.sync.frames import RosterChange
from whisperkit.transport import Link

pytestmark = pytest.mark.anyio

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)
CHAT = ConversationId("chat")
NOON_MS = 1_764_000_000_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def nowhere() -> Link:
    raise AssertionError("nobody connects")


class Told(Client):
    """A client that says of its messages what the test says."""

    def __init__(self, runtime: Runtime | None = None) -> None:
        super().__init__(MemoryPartitions(), ALICE, connect=nowhere, runtime=runtime)
        self.delivered = self.read = 0
        self.looks = 0

    async def status(self, conv: ConversationId, message_id: MessageId) -> MessageStatus:
        self.looks += 1
        seq = int.from_bytes(message_id[-4:], "big")
        return (
            MessageStatus.READ
            if seq <= self.read
            else MessageStatus.DELIVERED
            if seq <= self.delivered
            else MessageStatus.SENT
        )


class Desk:
    def __init__(self) -> None:
        self.client = Told()
        self.now_ms = NOON_MS
        self.bubbles = Bubbles(
            self.client,
            CHAT,
            phone=0,
            who=lambda user: "Bob" if user == BOB.user else "you",
            other="Bob",
            wall_ms=lambda: self.now_ms,
        )

    def take(self, record: Record) -> None:
        self.bubbles.take(record)

    def texts(self) -> list[str]:
        """What is shown, in order."""
        rows = [self.bubbles.row(record) for record in self.bubbles.records.values()]
        return [row["text"] for row in sorted((row for row in rows if row is not None), key=lambda row: row["order"])]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def record(number: int, *, seq: int = 0, sender: DeviceId = ALICE, text: str = "", failed: str = "") -> Record:
    content = encode_content(Text(text or f"message {number}"))
    message_id = MessageId(bytes(12) + number.to_bytes(4, "big"))
    return Record(CHAT, message_id, sender, ConversationSeq(seq), NOON_MS, Note.MESSAGE, content, failed)


def name(number: int) -> str:
    return message_name(MessageId(bytes(12) + number.to_bytes(4, "big")))


def test_what_waits_is_behind_everything_and_finds_its_place_when_it_is_sent(desk: Desk) -> None:
    desk.take(record(1))
    desk.take(record(2))
    desk.take(record(3, seq=1, sender=BOB))
    before = desk.texts()
    desk.take(record(2, seq=2))
    desk.take(record(1, seq=3))

    assert before == ["message 3", "message 1", "message 2"]
    assert desk.bubbles.waiting == 0
    assert desk.texts() == ["message 3", "message 2", "message 1"]


def test_what_failed_stays_where_it_was_written(desk: Desk) -> None:
    desk.take(record(1, seq=1))
    desk.take(record(2))
    desk.take(record(2, failed="not member"))
    desk.take(record(3, seq=2, sender=BOB))
    row = desk.bubbles.row(desk.bubbles.records[name(2)])

    assert desk.texts() == ["message 1", "message 2", "message 3"]
    assert row is not None
    assert (row["mark"], row["words"]) == ("failed", "not sent: not member")
    assert desk.bubbles.waiting == 0
    desk.bubbles.drop(name(2))
    assert desk.texts() == ["message 1", "message 3"]


async def test_a_tick_is_dated_when_it_was_noticed(desk: Desk) -> None:
    desk.take(record(1))
    desk.take(record(1, seq=1))
    desk.client.delivered = 1
    desk.now_ms += 120_000
    (delivered,) = await desk.bubbles.settle()
    desk.client.read = 1
    desk.now_ms += 120_000
    (read,) = await desk.bubbles.settle()

    assert delivered["words"][: len("delivered to Bob ")] == "delivered to Bob "
    assert read["words"].startswith("read by Bob ")
    assert delivered["words"][-5:] != read["words"][-5:]
    assert not desk.bubbles.is_unsettled
    assert await desk.bubbles.settle() == []


@pytest.mark.parametrize("read", [0, 1, 500, 999, 1_000])
@pytest.mark.parametrize("delivered", [1, 2, 700, 1_000])
async def test_the_last_that_has_come_so_far_is_found_with_few_looks(desk: Desk, read: int, delivered: int) -> None:
    for number in range(1, 1_001):
        desk.take(record(number, seq=number))
    desk.client.read, desk.client.delivered = read, max(read, delivered)
    rows = await desk.bubbles.settle()
    looks = desk.client.looks
    again = await desk.bubbles.settle()

    assert sum(row["mark"] == "read" for row in rows) == read
    assert sum(row["mark"] == "delivered" for row in rows) == max(0, delivered - read)
    assert again == []
    assert looks <= 50
    assert desk.client.looks - looks <= 2


async def test_whatever_nobody_gets_has_come_as_far_as_it_will(desk: Desk) -> None:
    desk.take(record(1, seq=1))
    desk.bubbles.settled(name(1))

    assert await desk.bubbles.settle() == []
    assert desk.client.looks == 0


def test_each_kind_of_record_has_its_words(desk: Desk) -> None:
    received = record(1, seq=1, sender=BOB, text="landed\u202e!")
    sealed = record(2, seq=2, sender=BOB)._replace(note=Note.UNREADABLE, content=b"")
    change = record(3, seq=3)._replace(note=Note.ROSTER, content=encode_change(RosterChange((BOB.user,))))
    no_change = change._replace(content=encode_change(RosterChange()))
    other_content = record(4, seq=4, sender=BOB)._replace(content=b"\xc1")
    rows = [desk.bubbles.row(one) for one in (received, sealed, change, no_change, other_content)]

    assert [(row["text"], row["mark"]) if row is not None else None for row in rows] == [
        ("landed\N{REPLACEMENT CHARACTER}!", "received"),
        ("waiting for this message", "unreadable"),
        ("you added Bob", "notice"),
        None,
        None,
    ]


def test_what_has_no_record_has_a_place_all_the_same(desk: Desk) -> None:
    desk.take(record(1, seq=1))
    notice = desk.bubbles.notice("changed-1", "⚠ Bob has a new safety number")
    blob = BlobId.mint(random_bytes=bytes)
    moving = desk.bubbles.sending(blob, NOON_MS, {"name": "cat.jpg", "state": "moving"}, "waiting to send")
    desk.take(record(2, seq=2))
    orders = [desk.bubbles.row(desk.bubbles.records[name(number)]) for number in (1, 2)]
    first, second = (row["order"] for row in orders if row is not None)

    assert first < notice["order"] < second < moving["order"]
    assert desk.bubbles.notice("changed-1", "again")["order"] == notice["order"]
