"""Rooms that the application keeps: when its devices hear of a change of members."""

from __future__ import annotations

import pytest

from whisperkit import ConversationId, DeviceId
from whisperkit.service import MessageService
from whisperkit.stores import MemoryPartitions, Roster, Stores
from whisperkit.sync.frames import EntryKind

pytestmark = pytest.mark.anyio

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)
ROOM, OTHER = ConversationId("room"), ConversationId("other")


class Rooms:
    """Rooms that change while the service runs."""

    def __init__(self) -> None:
        self.rosters: dict[ConversationId, Roster] = {}

    async def roster(self, conversation: ConversationId) -> Roster | None:
        return self.rosters.get(conversation)


async def kinds(service: MessageService, device: DeviceId) -> list[EntryKind]:
    page = await service.gateway.catchup.page(device, 0, limit=100)
    return [delivery.kind for delivery in page.deliveries]


async def test_devices_hear_of_a_change_of_members_once_it_is_said() -> None:
    rooms = Rooms()
    async with MessageService(Stores.over(MemoryPartitions(), rosters=rooms)) as service:
        await service.register(ALICE, BOB)
        rooms.rosters[ROOM] = Roster(1, frozenset([ALICE.user, BOB.user]))
        before = await kinds(service, BOB)
        await service.sync_members(ROOM)
        await service.sync_members(ROOM)
        made = await kinds(service, BOB)
        rooms.rosters[ROOM] = Roster(2, frozenset([ALICE.user]))
        await service.sync_members(ROOM)

        assert (before, made) == ([], [EntryKind.ROSTER])
        assert await kinds(service, BOB) == [EntryKind.ROSTER, EntryKind.ROSTER]
        assert await service.gateway.membership.members(ROOM) == {ALICE.user}


async def test_a_conversation_that_is_no_room_keeps_its_members() -> None:
    async with MessageService(Stores.over(MemoryPartitions(), rosters=Rooms())) as service:
        await service.register(ALICE, BOB)
        await service.create_conversation([ALICE.user, BOB.user], conversation=OTHER)
        await service.sync_members(OTHER)

        assert await kinds(service, BOB) == [EntryKind.ROSTER]
        assert await service.gateway.membership.members(OTHER) == {ALICE.user, BOB.user}
