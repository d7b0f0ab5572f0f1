"""What a message costs the store, by counting: the budget of the design, with acks and marks aside."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import anyio
import pytest

from whisperkit.ids import ConversationId, DeviceId, MessageId
from whisperkit.partitions import Change, Head, Partition, Row, Span
from whisperkit.service import MessageService
from whisperkit.stores import MemoryPartitions, PartitionStore, Stores
from whisperkit.sync import frames
from whisperkit.sync.connection import ClientConnection
from whisperkit.sync.frames import EntryKind
from whisperkit.testing import Stepwise

pytestmark = pytest.mark.anyio

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)


class Counting:
    """A store that notes what it is asked for."""

    def __init__(self, store: PartitionStore) -> None:
        self._store = store
        self.commits: list[list[Change]] = []
        self.reads = 0

    @property
    def spans_partitions(self) -> bool:
        return self._store.spans_partitions

    async def heads(self, partitions: Collection[Partition]) -> Mapping[Partition, Head]:
        self.reads += 1
        return await self._store.heads(partitions)

    async def rows(self, partition: Partition, spans: Sequence[Span], *, limit: int) -> Sequence[Row]:
        self.reads += 1
        return await self._store.rows(partition, spans, limit=limit)

    async def commit(self, changes: Sequence[Change]) -> None:
        self.commits.append(list(changes))
        await self._store.commit(changes)

    def about_messages(self) -> list[list[Change]]:
        """Commits that carry more than marks, acknowledgements and notes."""
        kinds = ("conv/", "inbox/")
        return [commit for commit in self.commits if any(change.partition.startswith(kinds) for change in commit)]


class Sender:
    """A device that sends and looks at its answers."""

    def __init__(self, service: MessageService, device: DeviceId) -> None:
        self.answers: list[frames.Frame] = []
        self._device = device
        self._connection = ClientConnection()
        self._link = service.attach(device, send=self._take)

    def _take(self, data: bytes) -> None:
        for frame in self._connection.receive(data):
            self.answers.append(frame)
            if isinstance(frame, frames.Challenge):
                self.say(frames.Hello(frames.PROTOCOL_VERSION, self._device, 1, None, None))

    def say(self, frame: frames.Frame) -> None:
        for message in self._connection.encode([frame]):
            self._link.receive(message)

    async def until(self, kind: type[object], count: int = 1) -> None:
        with anyio.fail_after(10):
            while sum(isinstance(frame, kind) for frame in self.answers) < count:  # noqa: ASYNC110  # frames come by a callback
                await anyio.sleep(0.001)


def send(
    conv: ConversationId, number: int, *, own: Mapping[DeviceId, bytes] | None, shared: bytes | None
) -> frames.Send:
    message_id = MessageId.derive(f"message {number}".encode())
    return frames.Send(conv, 1, number, message_id, EntryKind.MESSAGE, None, (), None, shared, own)


@pytest.mark.parametrize(("is_stepwise", "commits"), [(False, [2]), (True, [1, 1])], ids=["spanning", "stepwise"])
async def test_a_message_between_two_devices(is_stepwise: bool, commits: list[int]) -> None:
    store = Counting(Stepwise(MemoryPartitions()) if is_stepwise else MemoryPartitions())
    async with MessageService(Stores.over(store)) as service:
        await service.register(ALICE, BOB)
        conv = await service.create_conversation([ALICE.user, BOB.user])
        alice = Sender(service, ALICE)
        await alice.until(frames.Welcome)
        alice.say(send(conv, 1, own={BOB: b"warms caches"}, shared=None))
        await alice.until(frames.Sent)
        store.commits.clear()

        alice.say(send(conv, 2, own={BOB: b"hello"}, shared=None))
        await alice.until(frames.Sent, 2)

    found = store.about_messages()
    assert [len(commit) for commit in found] == commits
    rows = [row for commit in found for change in commit for row in change.put]
    # Fused: the copy in the inbox is all there is. Stepwise: the post until it is finished, the copy, and its `c/`.
    assert len(rows) == (3 if is_stepwise else 1)


@pytest.mark.parametrize("members", [30, 199])
async def test_a_message_to_a_small_group_is_one_commit_where_the_store_spans(members: int) -> None:
    store = Counting(MemoryPartitions())
    devices = [ALICE, *(DeviceId.named(f"member {n}", 1) for n in range(members - 1))]
    async with MessageService(Stores.over(store)) as service:
        await service.register(*devices)
        conv = await service.create_conversation([device.user for device in devices], conversation=ConversationId("g"))
        alice = Sender(service, ALICE)
        await alice.until(frames.Welcome)
        store.commits.clear()

        alice.say(send(conv, 1, own=None, shared=b"x" * 1_000))
        await alice.until(frames.Sent)

    (commit,) = store.about_messages()
    assert len(commit) == members  # the conversation, and an inbox for each device but the sending one
    values = [row.value for change in commit for row in change.put if change.partition.startswith("inbox/")]
    assert len(values) == members - 1
    assert max(map(len, values)) <= 64  # a reference: the text is kept once, in the conversation
    assert sum(len(row.value) for change in commit for row in change.put) < 1_200 + 64 * members


async def test_a_repeat_writes_nothing() -> None:
    store = Counting(MemoryPartitions())
    async with MessageService(Stores.over(store)) as service:
        await service.register(ALICE, BOB)
        conv = await service.create_conversation([ALICE.user, BOB.user])
        alice = Sender(service, ALICE)
        await alice.until(frames.Welcome)
        alice.say(send(conv, 1, own={BOB: b"once"}, shared=None))
        await alice.until(frames.Sent)
        store.commits.clear()

        alice.say(send(conv, 1, own={BOB: b"once"}, shared=None))
        await alice.until(frames.Sent, 2)

    assert store.about_messages() == []
