"""The loaded part of a conversation, while more of it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from examples.tui.room import Room
from tests.examples.tui.test_timeline import ALICE, CHAT, record
from whisperkit.client import Client
from whisperkit.client.history import Record
from whisperkit.ids import DeviceId
from whisperkit.sync.chat import Chat, Progress

pytestmark = pytest.mark.anyio


class Device:
    """A client whose history takes a while to be read."""

    def __init__(self, records: list[Record]) -> None:
        self.device: DeviceId = ALICE
        self.records = records
        self.meanwhile: Callable[[], None] = lambda: None

    async def chat(self, _: object) -> Chat:
        return Chat(CHAT, Progress(), None)

    async def history(self, _: object, *, before: Record | None = None, limit: int) -> list[Record]:
        found = [one for one in self.records if before is None or one.seq < before.seq][-limit:]
        self.meanwhile()
        return found


async def test_what_is_recorded_while_the_history_is_read_is_there_afterwards() -> None:
    device = Device([record(1, 1), record(2, 2)])
    room = Room(cast("Client", device), CHAT)
    device.meanwhile = lambda: room.take(record(3, 3))

    await room.open()
    assert [one.seq for one in room.records] == [1, 2, 3]

    device.meanwhile = lambda: room.take(record(4, 4))
    await room.reload()
    assert [one.seq for one in room.records] == [1, 2, 4]  # the third is not in this history


async def test_what_is_above_what_is_loaded_waits_until_it_is_loaded() -> None:
    device = Device([record(n, n) for n in range(1, 101)])
    room = Room(cast("Client", device), CHAT)
    await room.open()
    assert [one.seq for one in room.records] == [*range(41, 101)]

    room.take(record(7, 7, at_ms=1))
    assert len(room.records) == 60
    await room.load_earlier()
    assert [one.seq for one in room.records] == [*range(1, 101)]
    assert not room.has_earlier
