"""A service under test: gateways on a simulated clock over shared doors in memory, and devices that speak frames.

Nothing waits in real time. `Lab.settle` lets seconds pass on the simulated clock; a `Door` holds calls of one gateway
before the store until a test lets them through, so that two gateways can be driven step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from hashlib import blake2b
from random import Random
from typing import Final, NamedTuple, TypeVar, cast

from whisperkit.errors import InvalidSignatureError
from whisperkit.fanout import Limits
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, GatewayId, MessageId, UserId
from whisperkit.partitions import EVERYTHING, Change, Head, Partition, Row, Span
from whisperkit.runtime import Mailbox, Runtime
from whisperkit.service import Hook, MessageService, ServiceConfig
from whisperkit.service.gateway import Gateway
from whisperkit.stores import (
    LocalBus,
    Mark,
    MemoryBlobs,
    MemoryDirectory,
    MemoryJobs,
    MemoryMarks,
    MemoryPartitions,
    PartitionStore,
    RosterSource,
    Stores,
)
from whisperkit.sync import conversation as conversations
from whisperkit.sync import frames
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.connection import ClientConnection, challenge_message
from whisperkit.sync.conversation import Conversation
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import EntryKind, Frame, RosterChange
from whisperkit.sync.inbox import Inbox
from whisperkit.testing import Fault, FaultyPartitions, Stepwise, StoreCall
from whisperkit.testing.sim_runtime import SimRuntime, SimWorld, run_now
from whisperkit.transport import Hint, HintResult

T = TypeVar("T")
F = TypeVar("F", bound=tuple[object, ...])

DAY_MS: Final = 24 * 3_600_000
NAMES: Final = ("alice", "bob", "carol", "dave", "eve", "frank")
ALICE, BOB, CAROL, DAVE, EVE, FRANK = (DeviceId.named(name, 1) for name in NAMES)
EVERYBODY: Final = (ALICE, BOB, CAROL, DAVE, EVE, FRANK)
CHAT: Final = ConversationId.direct(ALICE.user, BOB.user)
TEAM: Final = ConversationId("team")
# Six users are enough for every strategy: up to 3 small, to 5 mid, 6 mega.
LIMITS: Final = Limits(
    direct_below=4, direct_again_at=3, queued_upto=5, queued_again_at=4, batch_devices=2, batch_bytes=4_096
)


# ---- doors ----------------------------------------------------------------------------------------------------------


class Held(NamedTuple):
    """A call that waits before the store."""

    call: StoreCall
    box: Mailbox[bool]


Wanted = Callable[[StoreCall], bool]


def commit_to(prefix: str) -> Wanted:
    """A commit that touches a partition whose name begins so."""
    return lambda call: call.operation == "commit" and any(name.startswith(prefix) for name in call.partitions)


def read_of(operation: str, prefix: str) -> Wanted:
    """A read (``heads``, ``rows``) of a partition whose name begins so."""
    return lambda call: call.operation == operation and any(name.startswith(prefix) for name in call.partitions)


class Door:
    """A gateway's way to the store: counts calls, holds some, lets some fail.

    Args:
        store: What all gateways share.
        runtime: The gateway's.
        away: While ``"partitions"`` is in it all calls fail with an error that is the database's own.
    """

    def __init__(self, store: PartitionStore, runtime: Runtime, away: Collection[str]) -> None:
        self.calls: list[StoreCall] = []
        self.changes: list[Change] = []
        self.rows_read = 0
        self.held: list[Held] = []
        self._runtime = runtime
        self._store = FaultyPartitions(store, self._fate)
        self._away = away
        self._hold: Wanted = lambda _call: False
        self._faults: list[tuple[Wanted, Fault]] = []

    @property
    def spans_partitions(self) -> bool:
        return self._store.spans_partitions

    def hold(self, wanted: Wanted) -> None:
        """From now on such calls wait."""
        self._hold = wanted

    def let_go(self) -> None:
        """Hold nothing any more, and let go on what waits."""
        self._hold = lambda _call: False
        held, self.held = self.held, []
        for _, box in held:
            box.put(True)

    def release(self) -> None:
        """Let go on what waits; such calls that come later wait again."""
        held, self.held = self.held, []
        for _, box in held:
            box.put(True)

    def fail(self, wanted: Wanted, *faults: Fault) -> None:
        """Let the next such calls meet these faults, one each."""
        self._faults += [(wanted, fault) for fault in faults]

    def fail_nothing(self) -> None:
        """Let all calls work from now on."""
        self._faults.clear()

    def count(self, operation: str) -> int:
        return sum(call.operation == operation for call in self.calls)

    def forget(self) -> None:
        """Count from zero."""
        self.calls.clear()
        self.changes.clear()
        self.rows_read = 0

    def _fate(self, call: StoreCall) -> Fault:
        for place, (wanted, fault) in enumerate(self._faults):
            if wanted(call):
                del self._faults[place]
                return fault
        return Fault.NONE

    async def _pass(self, call: StoreCall) -> None:
        self.calls.append(call)
        if "partitions" in self._away:
            raise OSError("the database is away")
        if self._hold(call):
            box: Mailbox[bool] = self._runtime.mailbox()
            self.held.append(Held(call, box))
            await box.get()

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        await self._pass(StoreCall("heads", tuple(partitions)))
        return await self._store.heads(partitions)

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        await self._pass(StoreCall("rows", (partition,)))
        found = await self._store.rows(partition, spans, limit=limit)
        self.rows_read += len(found)
        return found

    async def commit(self, changes: Sequence[Change]) -> None:
        await self._pass(StoreCall("commit", tuple(change.partition for change in changes)))
        await self._store.commit(changes)
        self.changes += changes


class CountedMarks(MemoryMarks):
    """Marks in memory that say how often they were written, and can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[Sequence[Mark]] = []
        self.failures = 0
        self.hold: Callable[[], Coroutine[object, object, None]] | None = None

    async def raise_marks(self, marks: Sequence[Mark]) -> None:
        if self.hold is not None:
            await self.hold()
        if self.failures:
            self.failures -= 1
            raise OSError("the store of marks is away")
        self.writes.append(marks)
        await super().raise_marks(marks)


class FlakyBus(LocalBus):
    """A bus that can be away."""

    def __init__(self, away: Collection[str]) -> None:
        super().__init__()
        self._away = away

    async def hint(self, gateway: GatewayId, hints: Sequence[Hint]) -> Sequence[HintResult | None]:
        if "bus" in self._away:
            raise OSError("the bus is away")
        return await super().hint(gateway, hints)


class _Flaky:
    """A door whose calls fail with an error of its own kind, while its name is among those away."""

    def __init__(self, door: object, name: str, away: Collection[str]) -> None:
        self._door = door
        self._name = name
        self._away = away

    def __getattr__(self, method: str) -> Callable[..., Coroutine[object, object, object]]:
        async def call(*arguments: object, **options: object) -> object:
            if self._name in self._away:
                raise OSError(f"{self._name} is away")
            return await getattr(self._door, method)(*arguments, **options)

        return call


def flaky(door: T, name: str, away: Collection[str]) -> T:
    """The door, which fails while its name is in `away`."""
    return cast("T", _Flaky(door, name, away))  # it hands all on, so it has whatever methods the door has


class World(SimWorld):
    """A world whose wall clocks can be put forward by days, in which nothing else happens."""

    days = 0.0

    def runtime(self, name: str, *, life: int = 0) -> SimRuntime:
        made = _Clock(self, name, Random(f"{name}/{life}"))
        self._runtimes.append(made)
        return made


class _Clock(SimRuntime):
    def wall_ms(self) -> int:
        assert isinstance(self.world, World)  # that made it
        return super().wall_ms() + int(self.world.days * DAY_MS)


# ---- the lab --------------------------------------------------------------------------------------------------------


class Node(NamedTuple):
    """A gateway."""

    runtime: SimRuntime
    door: Door
    service: MessageService

    @property
    def gateway(self) -> Gateway:
        return self.service.gateway


def identity_key(device: DeviceId) -> bytes:
    """A device's identity key, as far as the fake signatures of these tests need one."""
    return b"\x05" + blake2b(device.encode(), digest_size=32).digest()


def sign(key: bytes, message: bytes) -> bytes:
    return blake2b(message, key=key[:32], digest_size=64).digest()


def verify(key: bytes, message: bytes, signature: bytes) -> None:
    if sign(key, message) != signature:
        raise InvalidSignatureError("not signed by this key")


class Lab:
    """Gateways over shared doors.

    Args:
        spans: Whether the store spans partitions.
        config: Of all gateways.
        hook: Of all gateways.
        rosters: Rooms that the application keeps.

    Attributes:
        away: Names of doors, as `Stores` has them, whose calls fail for now.
    """

    def __init__(
        self,
        *,
        spans: bool,
        config: ServiceConfig | None = None,
        hook: Hook | None = None,
        rosters: RosterSource | None = None,
    ) -> None:
        self.spans = spans
        self.config = config or ServiceConfig(fanout=LIMITS)
        self.world = World(1)
        self.memory = MemoryPartitions()
        self.marks = CountedMarks()
        self.directory = MemoryDirectory(now=lambda: self.world.now)
        self.jobs = MemoryJobs(now=lambda: self.world.now)
        self.blobs = MemoryBlobs()
        self.away: set[str] = set()
        self.bus = FlakyBus(self.away)
        self._hook = hook
        self._rosters = rosters
        self._store: PartitionStore = self.memory if spans else Stepwise(self.memory)
        self._lives: dict[str, int] = {}
        self._person = self.world.runtime("person")
        self.g1 = self.start("g1")
        self.run(self.g1.service.register(*EVERYBODY, identity_keys={d: identity_key(d) for d in EVERYBODY}))
        self.settle()

    # ---- gateways ----

    def start(self, name: str, *, config: ServiceConfig | None = None) -> Node:
        """Start a gateway, or a later life of one that crashed."""
        life = self._lives[name] = self._lives.get(name, 0) + 1
        runtime = self.world.runtime(name, life=life)
        door = Door(self._store, runtime, self.away)
        stores = Stores(
            partitions=door,
            marks=flaky(self.marks, "marks", self.away),
            directory=flaky(self.directory, "directory", self.away),
            jobs=flaky(self.jobs, "jobs", self.away),
            blobs=flaky(self.blobs, "blobs", self.away),
            rosters=self._rosters,
            bus=self.bus,
        )
        service = MessageService(
            stores, gateway=name, runtime=runtime, config=config or self.config, hook=self._hook, verify=verify
        )
        node = Node(runtime, door, service)
        self.run(service.start(), on=runtime)
        return node

    def crash(self, node: Node) -> None:
        """Kill a gateway where it stands."""
        node.runtime.crash()
        self.bus.leave(node.gateway.core.owner.gateway)

    # ---- time ----

    def run(self, call: Coroutine[object, object, T], *, on: SimRuntime | None = None, within_s: float = 600.0) -> T:
        """Run a call to its end, and answer what it does."""
        results: list[T] = []
        errors: list[Exception] = []

        async def work() -> None:
            try:
                results.append(await call)
            except Exception as error:
                errors.append(error)

        (on or self._person).spawn(work, name="call")
        self.world.run(until=lambda: bool(results or errors), upto_s=self.world.now + within_s)
        if errors:
            raise errors[0]
        assert results, "the call did not end"
        return results[0]

    def begin(self, call: Coroutine[object, object, T], *, on: SimRuntime | None = None) -> list[T | Exception]:
        """Begin a call; its answer will be in the list."""
        results: list[T | Exception] = []

        async def work() -> None:
            try:
                results.append(await call)
            except Exception as error:
                results.append(error)

        (on or self._person).spawn(work, name="call")
        return results

    def settle(self, seconds: float = 0.3) -> None:
        """Let time pass."""
        self.world.run(upto_s=self.world.now + seconds)

    # ---- people ----

    def phone(
        self,
        device: DeviceId,
        *,
        at: Node | None = None,
        cursor: Cursor | None = None,
        number: int = 1,
        acks: bool = True,
        says_hello: bool = True,
    ) -> Phone:
        """Connect a device that the application vouches for, and wait until it is welcome."""
        phone = Phone(at or self.g1, device, cursor=cursor, number=number, acks=acks, says_hello=says_hello)
        self.settle()
        return phone

    def group(self, *devices: DeviceId, conv: ConversationId = TEAM, at: Node | None = None) -> ConversationId:
        """Make a group of the users of these devices."""
        users = [device.user for device in devices]
        made = self.run((at or self.g1).service.create_conversation(users, conversation=conv))
        self.settle(1.0)
        return made

    def chat(self) -> ConversationId:
        """The conversation of Alice and Bob."""
        return self.group(ALICE, BOB, conv=CHAT)

    # ---- what the store holds ----

    def head(self, conv: ConversationId) -> Conversation:
        name = conversations.partition(conv)
        return conversations.decode(run_now(self.memory.heads([name]))[name].state)

    def inbox(self, device: DeviceId) -> Inbox:
        name = inboxes.partition(device)
        found = run_now(self.memory.heads([name])).get(name)
        return inboxes.decode(found.state if found is not None else b"")

    def rows(self, partition: Partition, span: Span = EVERYTHING) -> list[Row]:
        return list(run_now(self.memory.rows(partition, [span], limit=10_000)))

    def received(self, device: DeviceId, conv: ConversationId | None = None, *, at: Node | None = None) -> list[int]:
        """The conversation's numbers in a device's inbox, in the order of the inbox."""
        node = at or self.g1
        inbox = self.inbox(device)
        page = self.run(node.service.entries(device, inbox.floor_cursor))
        return [entry.conversation_seq for entry in page if conv is None or entry.conversation == conv]

    def mark(self, conv: ConversationId, kind: str, device: DeviceId) -> int:
        name = conversations.partition(conv)
        return run_now(self.marks.marks([name])).get(name, {}).get(f"{kind}/{device.user}", 0)

    def fanned_out(self, conv: ConversationId) -> int:
        """As the head and the mark say."""
        name = conversations.partition(conv)
        return max(self.head(conv).fanned_out, run_now(self.marks.marks([name])).get(name, {}).get("fanned_out", 0))

    def notes(self, gateway: str) -> list[Row]:
        return self.rows(Partition(f"owner/{gateway}"))


class Phone:
    """A device on an in-memory link. It acknowledges what comes, unless told not to.

    Args:
        node: The gateway it connects to.
        device: Who it says it is.
        cursor: What it has.
        number: Of the connection.
        acks: Whether it acknowledges entries at once.
        says_hello: Whether it answers the challenge by itself.
        is_trusted: Whether the application vouches for it; otherwise HELLO carries a proof.
        key: What it signs with.
    """

    def __init__(
        self,
        node: Node,
        device: DeviceId,
        *,
        cursor: Cursor | None = None,
        number: int = 1,
        acks: bool = True,
        says_hello: bool = True,
        is_trusted: bool = True,
        key: bytes | None = None,
        speaks_json: bool = False,
        backlog: Callable[[], int] | None = None,
    ) -> None:
        self.device = device
        self.cursor = cursor
        self.number = number
        self.acks = acks
        self.got: list[Frame] = []
        self.messages: list[bytes] = []
        self.closed: list[tuple[int, str]] = []
        self.nonce = b""
        self._says_hello = says_hello
        self._is_trusted = is_trusted
        self._key = key or identity_key(device)
        self._sent: dict[ConversationId, int] = {}
        self._connection = ClientConnection(speaks_json=speaks_json)
        self.link = node.service.attach(
            device if is_trusted else None,
            send=self._take,
            close=self._close,
            backlog=backlog,
            speaks_json=speaks_json,
        )

    # ---- the wire ----

    def _close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))

    def _take(self, data: bytes) -> None:
        self.messages.append(data)
        for frame in self._connection.receive(data):
            self.got.append(frame)
            match frame:
                case frames.Challenge(_, nonce):
                    self.nonce = nonce
                    if self._says_hello:
                        self.say(self.hello())
                case frames.Welcome(answer, _, floor):
                    if answer is not frames.Answer.DELTA:
                        self.cursor = floor
                case frames.Entry() if self.cursor is not None:
                    if frame.seq == self.cursor.seq + 1:
                        self.cursor = Cursor(self.cursor.epoch, frame.seq, frame.tag)
                    if self.acks:
                        self.ack()
                case _:
                    pass

    def hello(self) -> frames.Hello:
        proof = None
        if not self._is_trusted:
            proof = sign(self._key, challenge_message(self.nonce, self.device, self.number))
        return frames.Hello(frames.PROTOCOL_VERSION, self.device, self.number, self.cursor, proof)

    def say(self, *what: Frame) -> None:
        """Send frames in one message."""
        for message in self._connection.encode(what):
            self.link.receive(message)

    def ack(self) -> None:
        assert self.cursor is not None
        self.say(frames.Ack(self.cursor))

    # ---- sending ----

    def send(
        self,
        conv: ConversationId,
        text: bytes = b"text",
        *,
        own: Mapping[DeviceId, bytes] | None = None,
        seq: int | None = None,
        epoch: int = 1,
        if_roster: int | None = None,
        devices: Sequence[DeviceId] = (),
        change: RosterChange | None = None,
        kind: EntryKind = EntryKind.MESSAGE,
    ) -> frames.Send:
        """Send a message; with `own` copies for single devices, otherwise one text for all."""
        number = seq or self._sent.get(conv, 0) + 1
        self._sent[conv] = max(number, self._sent.get(conv, 0))
        message_id = MessageId.derive(f"{self.device} {conv} {epoch} {number}".encode())
        has_text = own is None and kind is EntryKind.MESSAGE
        version = None if if_roster is None else ConversationSeq(if_roster)
        send = frames.Send(
            conv,
            epoch,
            number,
            message_id,
            kind,
            version,
            tuple(devices),
            change,
            text if has_text else None,
            own,
        )
        self.say(send)
        return send

    # ---- what came ----

    def all(self, kind: type[F]) -> list[F]:
        """The frames of a type that came, in order."""
        return [frame for frame in self.got if isinstance(frame, kind)]

    def last(self, kind: type[F]) -> F:
        return self.all(kind)[-1]

    def entries(self, conv: ConversationId | None = None) -> list[frames.Entry]:
        return [entry for entry in self.all(frames.Entry) if conv is None or entry.conv == conv]

    def texts(self, conv: ConversationId | None = None) -> list[bytes | None]:
        """What messages said, own copies first."""
        found = [entry for entry in self.entries(conv) if entry.kind is EntryKind.MESSAGE]
        return [entry.own if entry.own is not None else entry.shared for entry in found]

    @property
    def bye(self) -> frames.ByeCode | None:
        """Why the link ended, if it did."""
        byes = self.all(frames.Bye)
        return byes[0].code if byes else None

    @property
    def sent(self) -> list[int]:
        """The conversation's numbers of what was sent, as SENT told them."""
        return [frame.conv_seq for frame in self.all(frames.Sent)]

    @property
    def refusals(self) -> list[frames.RefusalReason]:
        return [frame.reason for frame in self.all(frames.Refused)]


def request(number: int) -> MessageId:
    """The name of a request."""
    return MessageId.derive(f"request {number}".encode())


def users(*devices: DeviceId) -> tuple[UserId, ...]:
    return tuple(device.user for device in devices)


def span_of(conv: ConversationId, after: int, upto: int, limit: int = 100) -> frames.Range:
    """Ask for rows of a conversation."""
    return frames.Range(conv, ConversationSeq(after), ConversationSeq(upto), limit)


def read(conv: ConversationId, upto: int) -> frames.Read:
    return frames.Read(conv, ConversationSeq(upto))
