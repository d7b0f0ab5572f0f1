"""What is swept, when, and what never: on a simulated clock, over stores of both kinds.

The broken variants at the end are caught by the same checks.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from random import Random
from typing import Any

import pytest

from whisperkit import ConversationId, DeviceId, MessageId
from whisperkit.fanout import Limits
from whisperkit.ids import BlobId, InboxSeq
from whisperkit.partitions import Partition, Row, prefix
from whisperkit.service import MessageService, ServiceConfig, sweeper
from whisperkit.service.sweeper import PIECE_ENTRIES, TRIM_ENTRIES, Sweeper
from whisperkit.stores import MemoryPartitions, Stores
from whisperkit.sync import conversation as conversations
from whisperkit.sync import frames
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.connection import ClientConnection
from whisperkit.sync.cursor import Cursor, first_tag
from whisperkit.sync.frames import Answer, Frame
from whisperkit.sync.inbox import Inbox, SharedValue
from whisperkit.testing import Stepwise
from whisperkit.testing.sim_runtime import SimRuntime, SimWorld, run_now

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)
CHAT = ConversationId("chat")
DAY_MS = 24 * 3_600_000
HOUR_S = 20.0


class Clock(SimRuntime):
    """A runtime whose wall clock can be put forward by days, in which nothing else happens."""

    days = 0.0

    def wall_ms(self) -> int:
        return super().wall_ms() + int(self.days * DAY_MS)


class House:
    """A service with two users and a conversation."""

    def __init__(self, *, is_stepwise: bool, limits: Limits | None = None) -> None:
        self.world = SimWorld(1)
        self.clock = Clock(self.world, "gateway", Random(1))
        self.partitions = MemoryPartitions()
        store = Stepwise(self.partitions) if is_stepwise else self.partitions
        self.stores = Stores.over(store, runtime=self.clock)
        config = ServiceConfig(fanout=limits or Limits())
        self.service = MessageService(self.stores, runtime=self.clock, config=config)
        self.run(self.service.start)
        self.run(lambda: self.service.register(ALICE, BOB))
        self.run(lambda: self.service.create_conversation([ALICE.user, BOB.user], conversation=CHAT))

    def run(self, do: Callable[[], Awaitable[Any]]) -> Any:  # Any: whatever it answers
        found: list[Any] = []

        async def doing() -> None:
            found.append(await do())

        self.clock.spawn(doing, name="test")
        assert self.world.run(until=lambda: bool(found), upto_s=self.world.now + 60)
        return found[0]

    def rest(self, seconds: float = 1.0) -> None:
        self.world.run(upto_s=self.world.now + seconds)

    def post(self, count: int, *, text: bytes = b"text") -> None:
        for _ in range(count):
            self.run(lambda: self.service.send(ALICE, CHAT, text))

    def receive(self, limit: int = 256) -> int:
        """Let Bob be a bot that takes what there is; returns how many messages."""

        async def take() -> int:
            async with self.service.receive(BOB, limit=limit) as entries:
                return len(entries)

        count: int = self.run(take)
        self.rest()
        return count

    def inbox(self, device: DeviceId = BOB) -> Inbox:
        name = inboxes.partition(device)
        return inboxes.decode(run_now(self.partitions.heads([name]))[name].state)

    def rows(self, name: Partition, start: bytes = b"e/") -> list[Row]:
        return list(run_now(self.partitions.rows(name, [prefix(start)], limit=10_000)))

    def entries(self) -> list[Row]:
        return self.rows(inboxes.partition(BOB))

    def posts(self) -> list[Row]:
        return self.rows(conversations.partition(CHAT))

    def hello(self, cursor: Cursor | None, device: DeviceId = BOB) -> Phone:
        phone = Phone(self, device, cursor)
        self.rest()
        return phone


class Phone:
    """A device that acknowledges whatever comes."""

    def __init__(self, house: House, device: DeviceId, cursor: Cursor | None) -> None:
        self.came: list[Frame] = []
        self.cursor = cursor
        self._device = device
        self._connection = ClientConnection()
        self._link = house.service.attach(device, send=self._take)

    @property
    def answer(self) -> Answer:
        return next(frame.answer for frame in self.came if isinstance(frame, frames.Welcome))

    @property
    def entries(self) -> list[frames.Entry]:
        return [frame for frame in self.came if isinstance(frame, frames.Entry)]

    def say(self, *what: Frame) -> None:
        for message in self._connection.encode(what):
            self._link.receive(message)

    def _take(self, data: bytes) -> None:
        before = self.cursor
        for frame in self._connection.receive(data):
            self.came.append(frame)
            match frame:
                case frames.Challenge():
                    self.say(frames.Hello(frames.PROTOCOL_VERSION, self._device, len(self.came), self.cursor, None))
                case frames.Snapshot(cursor, _, True, _):
                    self.cursor = cursor
                case frames.Entry(seq, tag):
                    self.cursor = Cursor(1, seq, tag)
                case _:
                    pass
        if self.cursor is not None and self.cursor != before and self.entries:
            self.say(frames.Ack(self.cursor))


@pytest.fixture(autouse=True)
def _short_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "HOUR_S", HOUR_S)


@pytest.fixture(params=[False, True], ids=["spanning", "stepwise"])
def house(request: pytest.FixtureRequest) -> Generator[House]:
    house = House(is_stepwise=request.param)
    yield house
    house.clock.bury()
    house.world.close()


# ---- inboxes --------------------------------------------------------------------------------------------------------


def test_acknowledged_entries_go_and_the_device_goes_on_where_it_was(house: House) -> None:
    house.post(TRIM_ENTRIES)
    phone = house.hello(None)
    house.rest(10)
    first = house.inbox()
    again = house.hello(phone.cursor)
    house.post(1)
    house.rest()

    assert (first.floor, first.floor_tag) == (first.seq, first.tag)
    assert first.floor_cursor == phone.cursor
    assert again.answer is Answer.DELTA
    assert [entry.seq for entry in again.entries] == [first.seq + 1]
    assert len(house.entries()) == 1


def test_a_few_acknowledged_entries_are_not_worth_a_commit(house: House) -> None:
    house.post(TRIM_ENTRIES - 2)
    house.hello(None)
    house.rest(10)

    assert house.inbox().floor == 0
    assert len(house.entries()) == TRIM_ENTRIES - 1  # and the change of members


def test_what_was_acknowledged_in_many_connections_goes_at_a_hello(house: House) -> None:
    cursor = None
    for _ in range(3):
        house.post(TRIM_ENTRIES // 2)
        phone = house.hello(cursor)
        house.rest(10)
        cursor = phone.cursor
        phone.say(frames.Beat())

    assert house.inbox().floor >= TRIM_ENTRIES


def test_entries_that_a_bot_acknowledged_go_in_pieces(house: House) -> None:
    house.post(PIECE_ENTRIES + 10)

    taken = house.receive(limit=200) + house.receive(limit=200)

    assert taken == PIECE_ENTRIES + 10
    assert house.inbox().floor == house.inbox().seq
    assert house.entries() == []


def test_entries_above_the_acknowledged_stay(house: House) -> None:
    house.post(TRIM_ENTRIES + 10)

    house.receive(limit=TRIM_ENTRIES)
    left = house.receive()

    assert house.inbox().floor == TRIM_ENTRIES
    assert left == 11


def test_who_was_away_for_longer_than_entries_live_takes_a_snapshot(house: House) -> None:
    house.post(PIECE_ENTRIES + 2)
    house.clock.days = 10
    house.post(3)
    house.clock.days = 31
    known = house.hello(Cursor(1, InboxSeq(0), first_tag(BOB)))

    assert known.answer is Answer.SNAPSHOT
    assert [entry.conv_seq for entry in known.entries] == [PIECE_ENTRIES + 4, PIECE_ENTRIES + 5, PIECE_ENTRIES + 6]
    assert [row.key for row in house.entries()] == [inboxes.entry_key(entry.seq) for entry in known.entries]


def test_who_comes_a_day_before_gets_everything(house: House) -> None:
    house.post(3)
    house.clock.days = 29

    phone = house.hello(Cursor(1, InboxSeq(0), first_tag(BOB)))

    assert phone.answer is Answer.DELTA
    assert len(phone.entries) == 4


def test_entries_whose_rows_are_gone_are_old_and_end_no_connection(house: House) -> None:
    house.post(5)
    house.clock.days = 60
    house.rest(2 * HOUR_S)
    house.post(1)
    house.rest()

    phone = house.hello(Cursor(1, InboxSeq(0), first_tag(BOB)))

    assert len(house.posts()) == 1
    assert phone.answer is Answer.SNAPSHOT
    assert [entry.conv_seq for entry in phone.entries] == [7]
    assert not any(isinstance(frame, frames.Bye) for frame in phone.came)


def test_copies_for_single_devices_get_old_as_others_do(house: House) -> None:
    sender = house.hello(None, ALICE)
    message_id = MessageId(bytes(16))
    sender.say(frames.Send(CHAT, 1, 1, message_id, frames.EntryKind.MESSAGE, None, (), None, None, {BOB: b"own"}))
    house.rest()
    house.clock.days = 31

    assert house.receive() == 0
    assert house.inbox().floor == house.inbox().seq == 2


def test_a_bot_and_a_device_that_asks_are_told_after_old_entries_went(house: House) -> None:
    house.post(2)
    house.clock.days = 31
    cursor = Cursor(1, InboxSeq(1), house_tag(house, 1))

    answer = house.run(lambda: house.service.sync(BOB, cursor))

    assert isinstance(answer, inboxes.Snapshot)


def house_tag(house: House, seq: int) -> bytes:
    return inboxes.decode_value(house.entries()[seq - 1].value).tag


# ---- conversations --------------------------------------------------------------------------------------------------


def test_rows_of_a_conversation_go_a_day_after_the_entries_that_refer_to_them(house: House) -> None:
    house.post(40)
    house.clock.days = 30.5
    house.rest(2 * HOUR_S)
    house.post(1)
    house.rest()
    during = len(house.posts())
    house.clock.days = 31.1
    house.rest(2 * HOUR_S)
    house.post(1)
    house.rest()

    assert during == 42
    assert len(house.posts()) == 2
    references = [inboxes.decode_value(row.value) for row in house.entries()]
    assert all(isinstance(reference, SharedValue) for reference in references)


def test_a_conversation_is_looked_at_once_an_hour(house: House) -> None:
    house.post(2)
    house.clock.days = 40
    house.post(1)
    house.rest()
    before = len(house.posts())
    house.rest(2 * HOUR_S)
    house.post(1)
    house.rest()

    assert before == 4
    assert len(house.posts()) == 2


def test_old_rows_that_are_not_finished_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(is_stepwise=True)
    house.post(2)
    house.rest(2 * HOUR_S)
    house.clock.days = 40

    async def nothing(*_: object) -> None:
        await house.clock.sleep(10**6)

    monkeypatch.setattr(house.service.gateway.finisher, "_append_apart", nothing)
    gateway = house.service.gateway
    house.clock.spawn(lambda: ignore(house.service.send(ALICE, CHAT, b"late")), name="late")
    house.rest()
    house.clock.days = 80
    house.rest(2 * HOUR_S)
    gateway.sweeper.posted(CHAT)
    house.rest()

    assert [row.key for row in house.posts()] == [b"e/" + (4).to_bytes(8, "big")]
    house.clock.bury()


async def ignore(awaited: Awaitable[object]) -> None:
    await awaited


# ---- prekeys, attachments -------------------------------------------------------------------------------------------


def publish(number: int) -> frames.Publish:
    signed = frames.SignedKey(number, bytes(33), bytes(64))
    last_resort = frames.KyberKey(number, bytes(1569), bytes(64))
    return frames.Publish(MessageId(number.to_bytes(16, "big")), signed, last_resort, (), ())


def test_who_took_prekeys_is_forgotten_when_there_are_new_ones(house: House) -> None:
    bob, alice = house.hello(None), house.hello(None, ALICE)
    bob.say(publish(1))
    house.rest()
    alice.say(frames.Take(MessageId(bytes(16)), BOB))
    house.rest()
    remembered = len(house.rows(Partition(f"keys/{BOB}"), b"r/"))
    house.clock.days = 1
    bob.say(publish(2))
    house.rest()

    assert remembered == 1
    assert house.rows(Partition(f"keys/{BOB}"), b"r/") == []


def test_many_who_took_prekeys_are_forgotten_in_pieces(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "PIECE_ENTRIES", 2)
    house.hello(None).say(publish(1))
    house.rest()
    for number in range(3):
        taking = house.service.gateway.people.take
        requester, request = DeviceId.named(f"u{number}", 1), MessageId(bytes(16))
        house.run(partial(taking, BOB, requester=requester, request=request))
    house.clock.days = 1
    house.service.gateway.sweeper.published(BOB)
    house.rest()

    assert house.rows(Partition(f"keys/{BOB}"), b"r/") == []


def test_attachments_are_swept_every_hour(house: House) -> None:
    attachments, blob = house.service.gateway.attachments, BlobId("0" * 32)
    house.rest(2 * HOUR_S)
    house.run(lambda: attachments.reserve(blob, owner=ALICE.user, size=3))
    house.run(lambda: house.stores.blobs.put(blob, 0, b"abc"))
    there = house.run(lambda: house.stores.blobs.read(blob, 0, 3))
    house.clock.days = 3
    house.rest(4 * HOUR_S)

    assert there == b"abc"
    assert house.run(lambda: house.stores.blobs.read(blob, 0, 3)) == b""


# ---- the sweeper itself ---------------------------------------------------------------------------------------------


def test_what_cannot_be_swept_now_harms_nobody_and_is_swept_later(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house.post(TRIM_ENTRIES)
    with monkeypatch.context() as broken:
        broken.setattr(house.stores.marks, "marks", fail)
        house.service.gateway.sweeper.acknowledged(BOB)
        house.rest()
    house.receive()

    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == ["not swept"]
    assert house.inbox().floor >= TRIM_ENTRIES


async def fail(*_: object) -> None:
    raise OSError("away")


def test_what_waits_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "MAX_WAITING", 2)
    sweeping = house.service.gateway.sweeper
    for number in range(5):
        sweeping.posted(ConversationId(f"c{number}"))
        sweeping.acknowledged(DeviceId.named(f"u{number}", 1))

    house.rest()
    sweeping.posted(ConversationId("c9"))
    house.rest()

    assert house.posts() != []


def test_an_inbox_that_was_trimmed_meanwhile_is_left_as_it_is(house: House) -> None:
    house.post(TRIM_ENTRIES)
    house.receive()
    floor = house.inbox().floor

    house.run(lambda: house.service.gateway.core.executor.run(sweeper._Trim(BOB, 5)))  # pyright: ignore[reportPrivateUsage]

    assert house.inbox().floor == floor


# ---- broken variants ------------------------------------------------------------------------------------------------


async def trim_to_the_head(self: Sweeper, device: DeviceId) -> None:
    inbox = await self._catchup.inbox(device)  # pyright: ignore[reportPrivateUsage]
    await self._trim(device, inbox.floor, inbox.seq)  # pyright: ignore[reportPrivateUsage]


async def drop_nothing(_self: Sweeper, _device: DeviceId) -> None:
    return


BROKEN: dict[str, tuple[str, Any, Callable[[House], None]]] = {  # Any: what is put in the place of something
    "what is not acknowledged goes": ("_trim_acknowledged", trim_to_the_head, test_entries_above_the_acknowledged_stay),
    "old entries stay at HELLO": (
        "drop_old_entries",
        drop_nothing,
        test_entries_whose_rows_are_gone_are_old_and_end_no_connection,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_variant_is_caught(house: House, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    what, variant, test = BROKEN[name]
    monkeypatch.setattr(Sweeper, what, variant)

    with pytest.raises(AssertionError):
        test(house)


def test_without_a_margin_rows_go_before_the_entries(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "MARGIN_MS", 0)

    with pytest.raises(AssertionError):
        test_rows_of_a_conversation_go_a_day_after_the_entries_that_refer_to_them(house)
