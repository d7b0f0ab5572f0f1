"""One link: what waits, what does not, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine

import anyio
import pytest

from whisperkit import ConversationId, DeviceId, MessageId
from whisperkit.anyio_runtime import AnyioRuntime
from whisperkit.ids import ConversationSeq, InboxSeq, UserId
from whisperkit.service import Hook, MessageService
from whisperkit.service.frame_counts import FrameCounts
from whisperkit.service.link import DeviceLink
from whisperkit.service.outlet import Outlet
from whisperkit.service.window import DeliveryWindow
from whisperkit.stores import MemoryPartitions, Roster, Stores
from whisperkit.sync import frames
from whisperkit.sync.codec import encode_many
from whisperkit.sync.connection import ClientConnection
from whisperkit.sync.cursor import Cursor, first_tag
from whisperkit.sync.frames import EntryKind, Frame

pytestmark = pytest.mark.anyio

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)
CHAT = ConversationId("chat")
HELLO = frames.Hello(frames.PROTOCOL_VERSION, ALICE, 1, None, None)


def send(number: int) -> frames.Send:
    message_id = MessageId.derive(b"%d" % number)
    return frames.Send(CHAT, 1, number, message_id, EntryKind.MESSAGE, None, (), None, b"text", None)


class Owner:
    """A service that takes its time over requests."""

    def __init__(self) -> None:
        self.handled: list[int] = []
        self.hello = anyio.Event()
        self.marks = anyio.Event()
        self.serving: Callable[[], Coroutine[object, object, None]] | None = None

    def flush_soon(self, link: DeviceLink) -> None:
        raise AssertionError("nothing is sent here")

    def read_on(self, link: DeviceLink) -> None:
        raise AssertionError("nothing is owed here")

    def handle(self, link: DeviceLink, frame: Frame) -> None:
        assert isinstance(frame, frames.Send)
        self.handled.append(frame.outbox_seq)

    async def answer(self, link: DeviceLink, frame: Frame) -> None:
        if isinstance(frame, frames.Hello):
            await self.hello.wait()
            link.begin(DeliveryWindow(Cursor(1, InboxSeq(0), first_tag(ALICE)), max_entries=1, max_bytes=1), 0)
        else:
            await self.marks.wait()

    def spawn_requests(self, link: DeviceLink) -> None:
        self.serving = link.serve_requests

    def closed(self, link: DeviceLink) -> None:
        raise AssertionError("nothing ends here")


async def test_what_came_during_hello_is_not_overtaken_by_what_comes_after_it() -> None:
    owner = Owner()
    outlet = Outlet(lambda _data: None, None, None, AnyioRuntime())
    link = DeviceLink(
        owner, outlet, hook=Hook(), counts=FrameCounts(Hook()), trusted=ALICE, nonce=bytes(32), max_requests=9, now=0.0
    )
    link.connection.encode([frames.Challenge(frames.PROTOCOL_VERSION, bytes(32))])
    device = ClientConnection()
    device.receive(challenge())

    def receive(*what: Frame) -> None:
        for message in device.encode(what):
            link.receive(message)

    receive(HELLO)
    receive(send(1), frames.Marks((CHAT,)))
    receive(send(2))
    async with anyio.create_task_group() as group:
        assert owner.serving is not None
        group.start_soon(owner.serving)
        owner.hello.set()
        await anyio.wait_all_tasks_blocked()
        receive(send(3))
        owner.marks.set()

    assert owner.handled == [1, 2, 3]


def challenge() -> bytes:
    return encode_many([frames.Challenge(frames.PROTOCOL_VERSION, bytes(32))])[0]


class Rooms:
    """Rooms that the application keeps."""

    async def roster(self, conversation: ConversationId) -> Roster | None:
        members: Collection[UserId] = (ALICE.user, BOB.user)
        return Roster(version=1, members=frozenset(members))


async def test_a_device_sends_to_a_room_that_the_application_keeps() -> None:
    stores = Stores.over(MemoryPartitions(), rosters=Rooms())
    came: list[Frame] = []
    answered = anyio.Event()
    device = ClientConnection()
    async with MessageService(stores) as service:
        await service.register(ALICE, BOB)

        def take(data: bytes) -> None:
            for frame in device.receive(data):
                came.append(frame)
                if isinstance(frame, frames.Challenge):
                    for message in device.encode([HELLO, send(1), send(2)]):
                        link.receive(message)
                elif isinstance(frame, frames.Sent | frames.Refused) and frame.outbox_seq == 2:
                    answered.set()

        link = service.attach(ALICE, send=take)
        with anyio.fail_after(5):
            await answered.wait()

    sent = [frame for frame in came if isinstance(frame, frames.Sent)]
    assert [frame.conv_seq for frame in sent] == [ConversationSeq(2), ConversationSeq(3)]
