"""Real clients and the real service on one simulated clock, for tests of what a person sees.

A `ChatNet` has one gateway and phones. Each phone keeps its device in a store that outlives its crashes; its network
comes and goes, loses and doubles; and the next call of its store may fail or kill it. Nothing sleeps, and one seed
owns the order of everything, so a run repeats itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import TypeVar

import attrs

from whisperkit import accounts, keys
from whisperkit.client import Client
from whisperkit.client.blobs import BlobTransfer
from whisperkit.client.content import Attachment, Text
from whisperkit.client.events import ConnectionState, Event
from whisperkit.client.history import Note, Record
from whisperkit.errors import LinkClosedError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq, MessageId, UserId
from whisperkit.partitions import EVERYTHING, Change, Partition, Row
from whisperkit.ratchet import verify
from whisperkit.receipts import MessageStatus
from whisperkit.runtime import Mailbox
from whisperkit.service import MessageService, ServiceConfig
from whisperkit.stores import MemoryPartitions, Stores
from whisperkit.sync import codec
from whisperkit.sync.cursor import next_tag
from whisperkit.sync.frames import Direction, Entry, EntryKind, Frame
from whisperkit.testing.lossy_wire import LossyWire, WireFates
from whisperkit.testing.sim_doors import Fates, ObservedPartitions, SimPartitions
from whisperkit.testing.sim_runtime import SimWorld, run_now
from whisperkit.testing.stepwise import Stepwise

__all__ = ["ChatNet", "SimLink", "SimPhone", "SimServer"]

T = TypeVar("T")

# Long enough for all that is to happen by itself: a lost frame is found 30 s later, a tick within a minute.
LONG_S = 400.0
_NO_SEQ = ConversationSeq(0)


class SimLink:
    """The device's end of a wire, as a `Link`."""

    def __init__(self, phone: SimPhone, server: SimServer) -> None:
        self._came: Mailbox[bytes] = phone.runtime.mailbox()
        self._phone = phone
        self._wire = LossyWire(
            phone.runtime,
            server.runtime,
            phone.wire_fates,
            attach=lambda send, close: server.service.attach(None, send=send, close=close),
            came=self._hear,
            ended=lambda: self._came.put(b""),
        )
        self._wire.open()

    def _hear(self, data: bytes) -> None:
        for frame in codec.decode(data, direction=Direction.TO_CLIENT):
            self._phone.heard.append(frame)
        self._came.put(data)

    async def send(self, data: bytes) -> None:
        for frame in codec.decode(data, direction=Direction.TO_SERVER):
            self._phone.said.append(frame)
            self._phone.is_saying(frame)
        self._wire.up(data)

    async def receive(self) -> bytes:
        data = await self._came.get()
        if not data:
            raise LinkClosedError(reason="LOST", retry_after_s=None)
        return data

    async def close(self) -> None:
        self._wire.hang_up()
        self._came.put(b"")

    def cut(self) -> None:
        """The network is gone, as both ends soon notice."""
        self._wire.cut(gateway_hears_s=0.1, device_hears_s=0.1)

    def forge(self, *forged: Frame) -> None:
        """Let the device hear, in one read, frames that the server never sent."""
        (data,) = codec.encode_many(forged)
        self._came.put(data)


class SimServer:
    """One gateway over a store in memory.

    Args:
        world: Where it is.
        config: How it behaves.
        is_stepwise: Whether its store takes one change in a commit.
    """

    def __init__(self, world: SimWorld, config: ServiceConfig, *, is_stepwise: bool = False) -> None:
        self._world = world
        self._config = config
        self._is_stepwise = is_stepwise
        self._life = 0
        self._epoch = 1
        self._committed: list[bytes] = []
        self.partitions = self._backup = MemoryPartitions()
        self.start()

    def start(self) -> None:
        """Begin, or begin again on the same store."""
        self._life += 1
        self.runtime = self._world.runtime("server", life=self._life)
        config = attrs.evolve(self._config, epoch=self._epoch)
        observed = ObservedPartitions(self.partitions, self._observe)
        stores = Stores.over(Stepwise(observed) if self._is_stepwise else observed)
        self.service = MessageService(stores, config=config, verify=verify, runtime=self.runtime)
        self.runtime.spawn(self.service.start, name="start")
        self._world.run(upto_s=self._world.now + 1.0)

    def crash(self) -> None:
        """Die as by SIGKILL; the store stays."""
        self.runtime.crash()

    def replace(self, device: DeviceId, identity_key: bytes, registration_id: int) -> None:
        """Give a device other keys, as a service does for a user who lost everything; its old prekeys are gone."""
        name = accounts.partition(device.user)
        head = run_now(self.partitions.heads([name]))[name]
        account = accounts.decode(head.state)
        devices = tuple(
            one._replace(identity_key=identity_key, registration_id=registration_id)
            if one.number == device.number
            else one
            for one in account.devices
        )
        state = accounts.encode(account._replace(devices=devices, version=account.version + 1))
        run_now(self.partitions.commit([Change(name, head.version, state)]))
        prekeys = keys.partition(device)
        head = run_now(self.partitions.heads([prekeys]))[prekeys]
        run_now(self.partitions.commit([Change(prekeys, head.version, keys.encode(keys.Keys()))]))
        self.crash()
        self.start()

    def back_up(self) -> None:
        """Keep a copy of its store."""
        self._backup = deepcopy(self.partitions)

    def restore(self) -> None:
        """Die, and come back from the copy under a higher epoch; every link is gone."""
        self.crash()
        self.partitions = deepcopy(self._backup)
        self._epoch += 1
        self.start()

    def everything(self) -> bytes:
        """All that was ever committed, in one string."""
        return b"".join(self._committed)

    def _observe(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._committed += [change.state, *(value for _, value in change.put)]


class SimPhone:
    """One device, with a store that outlives its crashes."""

    def __init__(
        self,
        net: ChatNet,
        device: DeviceId,
        *,
        is_linked: bool = False,
        blobs: BlobTransfer | None = None,
        is_bot: bool = False,
    ) -> None:
        self.device = device
        self.store = MemoryPartitions()
        self.fates = Fates()
        self.wire_fates = WireFates()
        self.is_online = True
        self.heard: list[Frame] = []
        self.said: list[Frame] = []
        self.is_saying: Callable[[Frame], None] = lambda _frame: None
        self.events: list[Event] = []
        self.link: SimLink | None = None
        self.blobs = blobs
        self._is_bot = is_bot
        self.deaths = 0
        self._net = net
        self._is_linked = is_linked
        self._life = 1_000 * len(net.phones)  # no two phones draw the same keys, though they say they are the same
        self.start()

    def start(self) -> None:
        """Switch on."""
        self._life += 1
        self.runtime = self._net.world.runtime(f"{self.device}", life=self._life)
        self.runtime.killed = self._died
        store = SimPartitions(self.runtime, self.fates, self.store)
        self.client = Client(
            store,
            self.device,
            connect=self._connect,
            name="a user",
            is_linked=self._is_linked,
            blobs=self.blobs,
            keeps_unhandled=self._is_bot,
            runtime=self.runtime,
        )
        self.runtime.spawn(self._run, name="phone")

    async def _run(self) -> None:
        self.runtime.spawn(partial(self._listen, self.client.events()), name="listener")
        await self.client.start()

    async def _listen(self, events: AsyncIterable[Event]) -> None:
        async for event in events:
            self.events.append(event)

    async def _connect(self) -> SimLink:
        if not self.is_online:
            raise LinkClosedError(reason="OFFLINE", retry_after_s=None)
        self.link = SimLink(self, self._net.server)
        return self.link

    def _died(self) -> None:
        self.deaths += 1

    def crash(self) -> None:
        """Die as by SIGKILL; the store stays."""
        self.runtime.crash()

    def restart(self) -> None:
        """Die and come back."""
        self.crash()
        if self.link is not None:
            self.link.cut()
        self.start()

    def back_up(self) -> MemoryPartitions:
        """A copy of its store as it is now."""
        return deepcopy(self.store)

    def restore(self, backup: MemoryPartitions) -> None:
        """Come back from a copy of its store."""
        self.store = deepcopy(backup)
        self.restart()

    def edit(self, change: Callable[[Mapping[bytes, bytes]], Mapping[bytes, bytes | None]]) -> None:
        """Die, and come back with other rows in its store.

        Args:
            change: Is given all rows, and says which to write; `None` deletes.
        """
        self.crash()
        name = Partition(f"device/{self.device}")
        written = change(self.rows())
        put = tuple(Row(key, value) for key, value in written.items() if value is not None)
        delete = tuple(key for key, value in written.items() if value is None)
        head = run_now(self.store.heads([name]))[name]
        run_now(self.store.commit([Change(name, head.version, head.state, put, delete)]))
        self.restart()

    def fly(self) -> None:
        """Lose the network."""
        self.is_online = False
        if self.link is not None:
            self.link.cut()

    def land(self) -> None:
        """Have it again."""
        self.is_online = True

    # ---- asking ----

    def do(self, call: Callable[[Client], Awaitable[T]]) -> T:
        """Run a call of the client to its end."""
        answers: list[T] = []
        failures: list[Exception] = []

        async def run() -> None:
            try:
                answers.append(await call(self.client))
            except Exception as error:
                failures.append(error)

        self.runtime.spawn(run, name="person")
        world = self._net.world
        assert world.run(until=lambda: bool(answers or failures), upto_s=world.now + LONG_S), "the call never ended"
        if failures:
            raise failures[0]
        return answers[0]

    def send(self, conv: ConversationId, text: str) -> MessageId:
        return self.do(lambda client: client.send(conv, text))

    def direct(self, other: SimPhone) -> ConversationId:
        return self.do(lambda client: client.direct(other.device.user))

    def group(self, *others: SimPhone) -> ConversationId:
        return self.do(lambda client: client.create_group([other.device.user for other in others]))

    def records(self, conv: ConversationId) -> list[Record]:
        return self.do(lambda client: client.history(conv, limit=1_000))

    def texts(self, conv: ConversationId) -> list[str]:
        """What is on screen: texts, and a question mark for what could not be read."""
        shown: list[str] = []
        for record in self.records(conv):
            what = record.what
            if record.note is Note.UNREADABLE:
                shown.append("?")
            elif isinstance(what, Text):
                shown.append(what.text)
            elif isinstance(what, Attachment):
                shown.append(what.pointer.name)
        return shown

    def status(self, conv: ConversationId, message_id: MessageId) -> MessageStatus:
        return self.do(lambda client: client.status(conv, message_id))

    def hand_over(
        self,
        kind: EntryKind,
        message_id: MessageId,
        conv: ConversationId,
        seq: int,
        sender: DeviceId,
        *,
        own: bytes | None,
        shared: bytes | None,
    ) -> None:
        """Let the device find an entry that nobody sent, where its next one would be, as a bad server can."""
        cursor = self.client.cursor
        assert self.link is not None
        assert cursor is not None
        number, tag = InboxSeq(cursor.seq + 1), next_tag(cursor.tag, message_id)
        self.link.forge(
            Entry(number, tag, message_id, kind, conv, ConversationSeq(seq), _NO_SEQ, sender, 1, own, shared)
        )
        world = self._net.world
        world.run(
            until=lambda: self.client.cursor is not None and self.client.cursor.seq >= number, upto_s=world.now + 5
        )

    def members(self, conv: ConversationId) -> frozenset[UserId]:
        """Who is in, as this phone knows it; nobody once it is out."""
        membership = self.do(lambda client: client.chat(conv)).membership
        return frozenset(membership.members if membership is not None else ())

    def badge(self, conv: ConversationId) -> int:
        """How many messages wait to be read."""
        return self.do(lambda client: client.chat(conv)).badge

    def rows(self) -> dict[bytes, bytes]:
        """All rows of the device's partition."""
        name = Partition(f"device/{self.device}")
        return dict(run_now(self.store.rows(name, [EVERYTHING], limit=1_000_000)))

    @property
    def is_live(self) -> bool:
        return self.client.state is ConnectionState.LIVE


class ChatNet:
    """A server and phones."""

    def __init__(self, *, seed: int = 0, config: ServiceConfig | None = None, is_stepwise: bool = False) -> None:
        self.world = SimWorld(seed)
        self.server = SimServer(self.world, config or ServiceConfig(), is_stepwise=is_stepwise)
        self.phones: list[SimPhone] = []

    def phone(
        self,
        name: str,
        number: int = 1,
        *,
        is_linked: bool = False,
        blobs: BlobTransfer | None = None,
        is_bot: bool = False,
    ) -> SimPhone:
        """A device; a first one is up and has caught up."""
        phone = self.add(DeviceId.named(name, number), is_linked=is_linked, blobs=blobs, is_bot=is_bot)
        if number == 1:
            self.until(lambda: phone.is_live)
            self.wait(2.0)
        return phone

    def add(
        self, device: DeviceId, *, is_linked: bool = False, blobs: BlobTransfer | None = None, is_bot: bool = False
    ) -> SimPhone:
        """A device, whatever becomes of it."""
        phone = SimPhone(self, device, is_linked=is_linked, blobs=blobs, is_bot=is_bot)
        self.phones.append(phone)
        return phone

    def linked(self, old: SimPhone, number: int = 2, *, name: str) -> SimPhone:
        """A second device of the user of `old`, linked by it."""
        new = self.phone(name, number, is_linked=True)
        self.wait(1.0)
        key, registration_id = new.do(lambda client: client.identity())
        self.wait(10.0)
        old.do(lambda client: client.link_device(number, identity_key=key, registration_id=registration_id))
        self.until(lambda: new.is_live)
        self.wait(12.0)  # lists of devices that gateways have may be ten seconds old
        return new

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.world.run(upto_s=self.world.now + seconds)

    def until(self, holds: Callable[[], bool], within_s: float = LONG_S) -> None:
        """Let things happen until a condition holds; it is looked at ten times a second."""
        end = self.world.now + within_s
        while not holds():
            assert self.world.now < end, f"it did not happen within {within_s:.0f} s"
            self.world.run(upto_s=min(end, self.world.now + 0.1))

    def close(self) -> None:
        self.world.close()
