"""One story on a whole server, in which everything happens once; and every metric that is promised has moved.

The table is what dashboards, alerts and people who run the server know: names, types, labels and their values.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from math import isnan
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from examples.config import load_config
from examples.net.blob_client import BlobClient
from examples.server.app import ChatServer, open_server
from tests.examples.server.talker import Talker, token_request
from whisperkit.anyio_runtime import AnyioRuntime
from whisperkit.errors import TransportError
from whisperkit.ids import BlobId, ConversationId, ConversationSeq, DeviceId, InboxSeq, MessageId
from whisperkit.service import AttachedLink, MessageService
from whisperkit.stores import PartitionStore
from whisperkit.sync import frames
from whisperkit.sync.connection import ClientConnection
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import Answer, ByeCode, EntryKind, FailureReason, RefusalReason, RosterChange
from whisperkit.testing import Fault, FaultyPartitions, StoreCall

pytestmark = pytest.mark.anyio

STRATEGY = {"strategy": {"direct", "queued", "notify"}}
DIRECTION = {"direction": {"in", "out"}}
STORE = {
    "store": {"sqlite", "files"},
    "operation": {"heads", "rows", "commit", "marks", "raise_marks", "put", "read", "drop", "settle"},
}
# As the operator's page has it, section "Metrics".
PROMISED: Mapping[str, tuple[str, Mapping[str, set[str]]]] = {
    "links": ("gauge", {}),
    "links_closed_total": (
        "counter",
        {"code": {"normal", "resync", "superseded", "try_later", "unauthorised", "protocol", "gone"}},
    ),
    "frames_total": ("counter", {**DIRECTION, "type": {spec.name for spec in frames.FRAMES}}),
    "frames_refused_total": (
        "counter",
        {
            "reason": {
                *{reason.name.lower() for reason in RefusalReason},
                *{"malformed", "oversized", "out_of_turn", "unauthorised", "other"},
            }
        },
    ),
    "link_queue_bytes": ("histogram", {}),
    "messages_accepted_total": ("counter", STRATEGY),
    "accept_duration_seconds": ("histogram", STRATEGY),
    "delivery_duration_seconds": ("histogram", STRATEGY),
    "owed_posts": ("gauge", {}),
    "owed_post_oldest_seconds": ("gauge", {}),
    "sync_answers_total": ("counter", {"answer": {"delta", "snapshot", "forked", "ahead"}}),
    "inbox_appends_total": ("counter", {}),
    "duplicates_total": ("counter", {"where": {"post", "inbox"}}),
    "store_duration_seconds": ("histogram", STORE),
    "store_operations_total": ("counter", {**STORE, "outcome": {"ok", "conflict", "unknown", "error"}}),
    "commit_group_rows": ("histogram", {}),
    "jobs_pending": ("gauge", {}),
    "job_oldest_seconds": ("gauge", {}),
    "jobs_fenced_total": ("counter", {}),
    "hints_total": ("counter", {"result": {"took", "not_here", "lost"}}),
    "receipts_total": ("counter", {"kind": {"delivered", "read"}, "result": {"raised", "stale", "ahead"}}),
    "presence_devices": ("gauge", {}),
    "presence_published_total": ("counter", {"change": {"online", "offline"}}),
    "prekeys_taken_total": ("counter", {"kind": {"one_time", "last_resort", "limited"}}),
    "blob_bytes_total": ("counter", DIRECTION),
    "blobs_orphaned": ("gauge", {}),
    "build_info": ("gauge", {"version": set(), "profile": {"embedded"}, "schema": set()}),
    "start_time_seconds": ("gauge", {}),
}

# Labels of which the story shows every value; of the others some.
SHOWN = [
    ("links_closed_total", "code"),
    ("frames_total", "direction"),
    ("messages_accepted_total", "strategy"),
    ("accept_duration_seconds", "strategy"),
    ("delivery_duration_seconds", "strategy"),
    ("sync_answers_total", "answer"),
    ("duplicates_total", "where"),
    ("store_operations_total", "store"),
    ("store_operations_total", "outcome"),
    ("receipts_total", "kind"),
    ("receipts_total", "result"),
    ("presence_published_total", "change"),
    ("prekeys_taken_total", "kind"),
    ("blob_bytes_total", "direction"),
]

NAMES = ("alice", "bob", "carol", "dave", "eve", "frank")
ALICE, BOB, CAROL, DAVE, EVE, FRANK = EVERYBODY = [DeviceId.named(name, 1) for name in NAMES]
CHAT = ConversationId.direct(ALICE.user, BOB.user)
QUEUE, HALL = ConversationId("team-of-five"), ConversationId("hall-of-all")
BLOB, ORPHAN = BlobId("0" * 31 + "1"), BlobId("0" * 31 + "2")
PATIENCE_S = 30.0


class Clock(AnyioRuntime):
    """Time that can be put forward."""

    ahead_ms = 0

    def wall_ms(self) -> int:
        return super().wall_ms() + self.ahead_ms


class Fate:
    """What happens to calls of the database: one fault after the other for the next commits or reads of a partition."""

    def __init__(self) -> None:
        self.next: list[tuple[str, str, Fault]] = []
        self.stuck = ""

    def decide(self, call: StoreCall) -> Fault:
        if self.stuck and call.operation == "commit" and any(p.startswith(self.stuck) for p in call.partitions):
            return Fault.UNKNOWN_BEFORE
        for place, (operation, prefix, fault) in enumerate(self.next):
            if call.operation == operation and any(p.startswith(prefix) for p in call.partitions):
                del self.next[place]
                return fault
        return Fault.NONE

    def wrap(self, store: PartitionStore) -> PartitionStore:
        return FaultyPartitions(store, self.decide)


class Story:
    """A server, what may go wrong with it, and all samples of its metrics that moved since it was told of first."""

    def __init__(self, server: ChatServer, http: httpx.AsyncClient, clock: Clock, fate: Fate) -> None:
        self.server = server
        self.http = http
        self.clock = clock
        self.fate = fate
        self.moved: defaultdict[str, set[tuple[tuple[str, str], ...]]] = defaultdict(set)
        self._first: dict[tuple[str, tuple[tuple[str, str], ...]], float] | None = None
        self._requests = 0
        self.text = ""

    def request(self) -> MessageId:
        self._requests += 1
        return MessageId.derive(f"request {self._requests}".encode())

    async def look(self) -> None:
        """Scrape, and note what has moved."""
        self.server.service.gateway.house.look()  # as it does every second
        self.text = (await self.http.get("/metrics")).text
        self.note(self.text)

    def value(self, name: str) -> float:
        """What a sample without labels was when somebody looked last."""
        return float(re.findall(rf"^whisperkit_{name} (.*)$", self.text, re.MULTILINE)[0])

    def note(self, text: str) -> None:
        now = {
            (family_name(family), labels_of(sample.labels)): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if not sample.name.endswith(("_bucket", "_sum"))
        }
        self._first = self._first or now
        for key, value in now.items():
            if value != self._first.get(key) and not isnan(value):
                self.moved[key[0]].add(key[1])

    def has(self, name: str, **labels: str) -> bool:
        return any(labels.items() <= dict(found).items() for found in self.moved[name])

    async def until(self, name: str, **labels: str) -> None:
        """Look until a metric has moved."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.has(name, **labels):
                await self.look()


def family_name(family: Metric) -> str:
    name = family.name.removeprefix("whisperkit_")
    return name + "_total" if family.type == "counter" else name


def labels_of(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


class Person(Talker):
    """A talker that keeps count."""

    cursor: Cursor | None = None
    sent: defaultdict[ConversationId, int]

    async def send(
        self,
        conv: ConversationId,
        *,
        shared: bytes | None = None,
        own: Mapping[DeviceId, bytes] | None = None,
        change: RosterChange | None = None,
        number: int = 0,
        answer: type[frames.Sent | frames.Refused] | None = frames.Sent,
    ) -> None:
        """Send something, and wait for the answer."""
        if not hasattr(self, "sent"):
            self.sent = defaultdict(int)
        number = number or self.sent[conv] + 1
        self.sent[conv] = max(number, self.sent[conv])
        message_id = MessageId.derive(f"{self.device} {conv} {number}".encode())
        kind = EntryKind.MESSAGE if change is None else EntryKind.ROSTER
        await self.say(frames.Send(conv, 1, number, message_id, kind, None, (), change, shared, own))
        if answer is not None:
            await self.hear(answer)

    async def catch(self, body: bytes) -> frames.Entry:
        """Hear entries until one says this, and acknowledge them."""
        while True:
            entry = await self.hear(frames.Entry)
            self.cursor = Cursor(1, entry.seq, entry.tag)
            await self.say(frames.Ack(self.cursor))
            if body in (entry.own, entry.shared):
                return entry


class Elsewhere:
    """A device at another gateway over the same stores: no socket, as hints are between gateways."""

    def __init__(self, gateway: MessageService, device: DeviceId) -> None:
        self._device = device
        self._connection = ClientConnection()
        self.welcome = asyncio.Event()
        self.came = asyncio.Event()
        self._link: AttachedLink = gateway.attach(device, send=self._take)

    def _take(self, data: bytes) -> None:
        for frame in self._connection.receive(data):
            if isinstance(frame, frames.Challenge):
                hello = frames.Hello(frames.PROTOCOL_VERSION, self._device, 9, None, None)
                for message in self._connection.encode([hello]):
                    self._link.receive(message)
            elif isinstance(frame, frames.Welcome):
                self.welcome.set()
            elif isinstance(frame, frames.Entry) and frame.own == b"far away":
                self.came.set()


@asynccontextmanager
async def begin_story(folder: Path) -> AsyncGenerator[Story]:
    environ = {
        "WHISPERKIT_SERVER__BIND": "127.0.0.1:0",
        "WHISPERKIT_SERVER__SQLITE_PATH": str(folder / "chat.db"),
        "WHISPERKIT_SERVER__BLOB_PATH": str(folder / "blobs"),
        "WHISPERKIT_FANOUT__DIRECT_BELOW": "4",
        "WHISPERKIT_FANOUT__QUEUED_UPTO": "5",
        "WHISPERKIT_PRESENCE__BEAT_S": "4",
        "WHISPERKIT_PRESENCE__TTL_S": "60",
        "WHISPERKIT_PRESENCE__GRACE_S": "0",
        "WHISPERKIT_LIMITS__DRAIN_S": "1",
    }
    clock, fate = Clock(), Fate()
    async with open_server(load_config(environ=environ), wrap=fate.wrap, runtime=clock) as server:
        base = f"http://{server.host}:{server.port}"
        async with httpx.AsyncClient(base_url=base, trust_env=False) as http:
            story = Story(server, http, clock, fate)
            await story.look()
            yield story
    story.note(server.metrics.text().decode())


# ---- chapters -------------------------------------------------------------------------------------------------------


async def talk(story: Story, alice: Person, bob: Person) -> None:
    """One to one: two ticks, receipts of every worth, a repeat, presence."""
    await alice.send(CHAT, change=RosterChange((ALICE.user, BOB.user)))
    await alice.send(CHAT, own={BOB: b"hello"})
    entry = await bob.catch(b"hello")
    await bob.say(frames.Ack(Cursor(1, entry.seq, entry.tag)))
    for upto in (entry.conv_seq, entry.conv_seq, entry.conv_seq + 9):
        await bob.say(frames.Read(CHAT, ConversationSeq(upto)))
    await bob.say(frames.Watch((ALICE.user,)), frames.Beat())
    await bob.hear(frames.Presence)
    await alice.send(CHAT, own={BOB: b"hello"}, number=2)


async def talk_in_groups(story: Story, people: Mapping[DeviceId, Person]) -> None:
    """A group that a worker copies for, and one whose members pull."""
    alice, bob = people[ALICE], people[BOB]
    await alice.send(QUEUE, change=RosterChange(tuple(device.user for device in EVERYBODY[:5])))
    await alice.send(HALL, change=RosterChange(tuple(device.user for device in EVERYBODY)))
    await asyncio.gather(*(people[device].hear(frames.Entry) for device in EVERYBODY[1:5]))
    await people[FRANK].hear(frames.Entry)
    story.fate.next = [("commit", "inbox/", Fault.UNKNOWN_AFTER), ("commit", "inbox/", Fault.CONFLICT)]
    await alice.send(QUEUE, shared=b"to five")
    for device in EVERYBODY[1:5]:
        await people[device].catch(b"to five")
    # Whoever comes into a hall is told so, and that is the only thing of it that is pushed.
    await bob.say(frames.Follow((HALL,)))
    while HALL not in (await bob.hear(frames.Head)).conversations:
        pass
    await alice.send(HALL, shared=b"to all")
    await bob.say(frames.Range(HALL, ConversationSeq(0), ConversationSeq(9), 9))
    assert b"to all" in [row.shared for row in (await bob.hear(frames.Rows)).rows]
    await alice.send(HALL, change=RosterChange((), (EVE.user,)))
    while (entry := await people[EVE].hear(frames.Entry)).conv != HALL or entry.kind is not EntryKind.ROSTER:
        pass
    await people[EVE].say(frames.Ack(Cursor(1, entry.seq, entry.tag)))


async def be_refused(story: Story, alice: Person) -> None:
    """Everything that ends a link, and a message that nobody may send."""
    await alice.send(ConversationId("strangers"), shared=b"let me in", answer=frames.Refused)
    url = story.server.url
    async with Person(url, DAVE) as nobody:
        await nobody.say_raw(b"\xc1")
        await nobody.end()
    async with Person(url, DeviceId.named("nobody", 1)) as nobody:
        await nobody.hello(1)
        await nobody.end()
    async with Person(url, DeviceId.named("grace", 1)) as older, Person(url, older.device, older.keys) as newer:
        await older.begin(1)
        await newer.hello(2)
        await newer.hear(frames.Welcome)
        await older.end()
        await newer.say(frames.Ack(Cursor(1, InboxSeq(99), bytes(8))))
        await newer.end()
    async with Person(url, older.device, older.keys) as greedy:
        await greedy.hello(3)
        await greedy.say(*[frames.Marks(())] * 300)
        await greedy.end()
    codes = [frame.code for one in (older, newer, greedy) for frame in one.came if isinstance(frame, frames.Bye)]
    assert codes == [ByeCode.SUPERSEDED, ByeCode.RESYNC, ByeCode.TRY_LATER]


async def come_with_cursors(story: Story) -> None:
    """A device that is up to date, one of another log, and one that saw more than there is."""
    heidi = DeviceId.named("heidi", 1)
    async with Person(story.server.url, heidi) as person:
        await person.begin(1)
    answers: list[frames.Answer] = []
    cursor: Cursor | None = None
    for number, found in enumerate((None, Cursor(1, InboxSeq(99), bytes(8)), Cursor(99, InboxSeq(0), bytes(8)), ...)):
        async with Person(story.server.url, heidi, person.keys) as again:
            await again.hello(number + 2, cursor=cursor if found is ... else found)
            welcome = await again.hear(frames.Welcome)
            answers.append(welcome.answer)
            cursor = welcome.floor
    assert answers == [Answer.SNAPSHOT, Answer.AHEAD, Answer.FORKED, Answer.DELTA]
    await story.until("links_closed_total", code="gone")


async def take_keys(story: Story, alice: Person, bob: Person, carol: Person) -> None:
    """A one-time key, then the last resort, then too many."""
    signature, kyber = bytes(64), b"\x08" + bytes(1_568)
    await bob.say(
        frames.Publish(
            story.request(),
            frames.SignedKey(1, b"\x05" + bytes(32), signature),
            frames.KyberKey(100, kyber, signature),
            (frames.OneTimeKey(1, b"\x05" + bytes(32)),),
            (frames.KyberKey(1, kyber, signature),),
        )
    )
    await bob.hear(frames.Published)
    for taker in (alice, carol):
        await taker.say(frames.Take(story.request(), BOB))
        await taker.hear(frames.Bundle)
    for _ in range(60):
        await alice.say(frames.Take(story.request(), BOB))
    assert (await alice.hear(frames.Failed)).reason is FailureReason.TRY_LATER


async def move_files(story: Story, alice: Person) -> None:
    """One that goes and comes, and one that is never completed, a day later."""
    token = str((await token_request(story.http, alice)).json()["token"])
    data = bytes(100_000)

    async def read(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    async def break_off(offset: int, size: int) -> bytes:
        if offset:
            raise TransportError("enough")
        return data[:1000]

    async with BlobClient(str(story.http.base_url), token=lambda: token, attempts=1) as client:
        await client.upload(BLOB, read, len(data))
        assert b"".join([piece async for piece in client.download(BLOB)]) == data
        with pytest.raises(TransportError):
            await client.upload(ORPHAN, break_off, len(data))
    story.clock.ahead_ms += 26 * 3_600_000
    await story.until("blobs_orphaned")


async def get_stuck(story: Story, alice: Person, bob: Person) -> None:
    """A database that does not take copies, and reads that fail: what is owed shows, and goes away again."""
    story.fate.stuck = f"inbox/{BOB}"
    await alice.send(QUEUE, shared=b"stuck")
    for name in ("jobs_pending", "job_oldest_seconds", "owed_posts", "owed_post_oldest_seconds"):
        await story.until(name)
    story.fate.stuck = ""
    await bob.catch(b"stuck")
    story.fate.next = [("heads", f"inbox/{BOB}", Fault.UNKNOWN_BEFORE)]
    await bob.say(frames.Beat())
    await story.until("store_operations_total", outcome="error")


async def be_taken_for_dead(story: Story, alice: Person, carol: Person) -> None:
    """Another adopts what this gateway noted."""
    gateway = story.server.service.gateway
    await gateway.adopter.adopt(gateway.core.owner)
    await alice.send(QUEUE, shared=b"alive")
    await carol.catch(b"alive")


async def write_far_away(story: Story, alice: Person) -> None:
    """A device at another gateway hears of it by a hint."""
    service = story.server.service
    async with MessageService(service.gateway.core.stores, gateway="other") as other:
        device = DeviceId(BOB.user, 2)
        await service.register(device)
        far = Elsewhere(other, device)
        await far.welcome.wait()
        await alice.send(CHAT, own={BOB: b"near", device: b"far away"})
        await asyncio.wait_for(far.came.wait(), PATIENCE_S)


async def read_nothing(story: Story, people: Mapping[DeviceId, Person]) -> None:
    """A device that asks for much and reads none of it."""
    alice = people[ALICE]
    for _ in range(9):
        await alice.send(HALL, shared=bytes(frames.MAX_SHARED_BYTES))
    async with asyncio.timeout(PATIENCE_S):
        while story.value("link_queue_bytes_sum") < 100_000:
            await people[DAVE].say(frames.Range(HALL, ConversationSeq(0), ConversationSeq(99), 9))
            await story.look()


# ---- the test -------------------------------------------------------------------------------------------------------


async def test_everything_that_is_promised_is_counted(tmp_path: Path) -> None:
    # The people are there longer than the server: it is the server that says goodbye.
    async with AsyncExitStack() as stack, begin_story(tmp_path) as story:
        people = {device: await stack.enter_async_context(Person(story.server.url, device)) for device in EVERYBODY}
        for person in people.values():
            await person.begin()
        alice, bob, carol = (people[device] for device in (ALICE, BOB, CAROL))
        await talk(story, alice, bob)
        await talk_in_groups(story, people)
        await be_refused(story, alice)
        await come_with_cursors(story)
        await take_keys(story, alice, bob, carol)
        await move_files(story, alice)
        await get_stuck(story, alice, bob)
        await be_taken_for_dead(story, alice, carol)
        await write_far_away(story, alice)
        await read_nothing(story, people)
        await bob.say(frames.Ack(Cursor(1, InboxSeq(99), bytes(8))))  # more than it was ever sent
        await bob.end()
        await story.until("presence_published_total", change="offline")
        await story.look()

    check_the_rules(story.text)
    assert set(PROMISED) - set(story.moved) == {"build_info", "start_time_seconds"}  # which stand still
    unseen = {
        (name, label, value)
        for name, label in SHOWN
        for value in PROMISED[name][1][label]
        if not story.has(name, **{label: value})
    }
    assert unseen == set()
    assert story.server.farewell is not None
    assert story.server.farewell.unsaved == 0


def check_the_rules(text: str) -> None:
    """Prometheus' own, and ours: small fixed sets of labels, and nobody is named."""
    families = {family_name(family): family for family in text_string_to_metric_families(text)}
    assert families.keys() == PROMISED.keys()
    for name, (kind, labels) in PROMISED.items():
        family = families[name]
        assert family.name.startswith("whisperkit_")
        assert re.fullmatch(r"[a-z_]+", name)
        assert family.type == kind
        assert family.documentation.endswith(".")
        # The unit comes last, and there is none that is not a base unit.
        assert not re.search(r"_(ms|millis|kb|kib|mb|minutes|count)\b", name)
        if kind == "histogram":
            assert name.rpartition("_")[2] in ("seconds", "bytes", "rows")
        for sample in family.samples:
            found = {label: value for label, value in sample.labels.items() if label != "le"}
            assert found.keys() == labels.keys()
            assert all(value in labels[label] for label, value in found.items() if labels[label])
    for told in (*NAMES, "grace", "heidi", CHAT, QUEUE, HALL, BLOB):
        assert told not in text
