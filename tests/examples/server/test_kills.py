"""The real server, killed by SIGKILL again and again while devices write, read and come back: what it said counts."""

from __future__ import annotations

import asyncio
import os
import random
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from examples.load.device import FrameDevice
from whisperkit.ids import ConversationId, ConversationSeq, MessageId
from whisperkit.sync import frames
from whisperkit.sync.frames import MarkKind, RosterChange

pytestmark = pytest.mark.anyio

KILLS = 12  # with each store; together more than 20
PACE_S = 0.01
SETTLE_S = 30.0
COMMANDS = {
    "spanning": [sys.executable, "-m", "examples", "serve"],
    "stepwise": [sys.executable, str(Path(__file__).with_name("serve_stepwise.py"))],
}
NAMES = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan"]
# Direct below 4 members, queued up to 7, pulled above.
PULLED_ABOVE = 7
GROUPS = {"two": 2, "three": 3, "six": 6, "nine": 9}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Server:
    """The process under test."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.port = 0
        self._command = command
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def start(self) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path.cwd()),
            "WHISPERKIT_SERVER__BIND": "127.0.0.1:0",
            "WHISPERKIT_SERVER__SQLITE_PATH": str(self._folder / "chat.db"),
            "WHISPERKIT_SERVER__BLOB_PATH": str(self._folder / "blobs"),
            "WHISPERKIT_FANOUT__DIRECT_BELOW": "4",
            "WHISPERKIT_FANOUT__QUEUED_UPTO": str(PULLED_ABOVE),
        }
        with (self._folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=log
            )
        assert self._process.stdout is not None  # a pipe was asked for
        match = re.search(rb"listening on ws://127.0.0.1:(\d+) ", await self._process.stdout.readline())
        assert match is not None, (self._folder / "log").read_text()
        self.port = int(match[1])

    async def kill(self) -> None:
        assert self._process is not None  # started
        self._process.kill()
        assert await self._process.wait() == -9


class Load:
    """Devices that write to each other all the time, some of them away for a while."""

    def __init__(self, server: Server, seed: int) -> None:
        self.devices = [FrameDevice(name, lambda: server.url) for name in NAMES]
        self.groups = {ConversationId(name): self.devices[:size] for name, size in GROUPS.items()}
        self.is_writing = True
        self._random = random.Random(seed)
        self._running: dict[FrameDevice, asyncio.Task[None]] = {}

    @property
    def acknowledged(self) -> int:
        return sum(len(device.sent) for device in self.devices)

    @property
    def faults(self) -> list[str]:
        return [fault for device in self.devices for fault in device.faults]

    def connect(self, device: FrameDevice) -> None:
        self._running[device] = asyncio.create_task(device.run())

    async def disconnect(self, device: FrameDevice) -> None:
        task = self._running.pop(device)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        for device in list(self._running):
            await self.disconnect(device)

    async def begin(self) -> None:
        for device in self.devices:
            self.connect(device)
        await until(lambda: all(device.is_live for device in self.devices))
        for conv, members in self.groups.items():
            change = RosterChange(tuple(device.id.user for device in members))
            sending = await members[0].send(conv, change=change)
            await sending.done.wait()

    async def write(self) -> None:
        """Send from random devices to random conversations of theirs, connected or not."""
        while self.is_writing:
            conv, members = self._random.choice(list(self.groups.items()))
            sender = self._random.choice(members)
            if sender.has_room(conv):
                text = b"from %s" % sender.id.encode()
                if len(members) == 2:
                    await sender.send(conv, own={device.id: text for device in members if device is not sender})
                else:
                    await sender.send(conv, text)
            await asyncio.sleep(PACE_S)

    async def wander(self) -> None:
        """Let one device after the other be away."""
        while self.is_writing:
            device = self._random.choice(self.devices)
            await self.disconnect(device)
            await asyncio.sleep(self._random.uniform(0.1, 0.6))
            self.connect(device)
            await asyncio.sleep(0.1)

    async def acknowledge(self, count: int) -> None:
        """Wait until so many more messages got their SENT."""
        enough = self.acknowledged + count
        await until(lambda: self.acknowledged >= enough or bool(self.faults))

    def posted(self, conv: ConversationId) -> dict[ConversationSeq, MessageId]:
        """What got its SENT, by number."""
        sent = [sent for device in self.groups[conv] for sent in device.sent.values()]
        return {answer.conv_seq: answer.message_id for answer in sent if answer.conv == conv}

    def owed(self, conv: ConversationId, device: FrameDevice) -> list[tuple[ConversationSeq, MessageId]]:
        """What a member has to have got, in order."""
        return [(seq, i) for seq, i in sorted(self.posted(conv).items()) if i not in device.sent]

    async def settle(self) -> None:
        """Wait until every send is answered and everybody has what they are owed; if that never comes, `check` says."""
        await until(lambda: not any(device.unanswered for device in self.devices))
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                for conv, device in self.pushed():
                    while len(entries_of(conv, device)) < len(self.owed(conv, device)):
                        await device.say(frames.Beat())
                        await asyncio.sleep(0.05)
        for device in self.devices:  # and has nothing more
            device.head = None
            while device.head is None or device.cursor is None or device.cursor.seq < device.head.seq:
                await device.say(frames.Beat())
                await asyncio.sleep(0.02)

    def pushed(self) -> list[tuple[ConversationId, FrameDevice]]:
        """The conversations that are not pulled, with each member."""
        return [
            (conv, device)
            for conv, members in self.groups.items()
            if len(members) <= PULLED_ABOVE
            for device in members
        ]


def entries_of(conv: ConversationId, device: FrameDevice) -> list[tuple[ConversationSeq, MessageId]]:
    return [(entry.conv_seq, entry.message_id) for entry in device.entries if entry.conv == conv]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # what is waited for is another process
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("store", COMMANDS)
async def test_nothing_acknowledged_is_lost_or_doubled_or_out_of_order_however_often_the_server_is_killed(
    store: str, tmp_path: Path
) -> None:
    server = Server(COMMANDS[store], tmp_path)
    load = Load(server, seed=KILLS)
    await server.start()
    async with AsyncExitStack() as stack, asyncio.timeout(280):
        stack.push_async_callback(server.kill)
        stack.push_async_callback(load.close)
        await load.begin()
        writer, wanderer = asyncio.create_task(load.write()), asyncio.create_task(load.wander())
        for number in range(KILLS):
            await load.acknowledge(15 + 5 * (number % 5))
            await server.kill()
            await server.start()
        load.is_writing = False
        await asyncio.gather(writer, wanderer)
        await load.settle()
        await check(load)


async def check(load: Load) -> None:
    assert load.faults == []
    for conv, members in load.groups.items():
        posted = load.posted(conv)
        if len(members) > PULLED_ABOVE:
            # The service itself said that members pull from there on.
            posted |= {e.conv_seq: e.message_id for e in members[1].entries if e.conv == conv and e.sender is None}
            await check_pulled(conv, members[1], posted)
        # Numbers are given once, and each of them to a message that its sender knows of: nothing was posted twice.
        assert sorted(posted) == list(range(1, len(posted) + 1))
        assert len(set(posted.values())) == len(posted)
    for conv, device in load.pushed():
        assert entries_of(conv, device) == load.owed(conv, device)
        await check_ticks(conv, device, load.groups[conv])


async def check_pulled(conv: ConversationId, device: FrameDevice, posted: Mapping[ConversationSeq, MessageId]) -> None:
    """What was pushed before the group grew is in the inbox, everything since is read from the conversation."""
    last, reached = ConversationSeq(max(posted)), ConversationSeq(0)
    while reached < last:
        device.ranges.clear()
        await device.say(frames.Range(conv, reached, last, 100))
        await until(lambda: bool(device.ranges))
        reached = device.ranges[0].upto
        pulled = {row.conv_seq: row.message_id for row in device.ranges[0].rows}
        assert pulled.items() <= posted.items()
        posted = {seq: message_id for seq, message_id in posted.items() if seq not in pulled}
    own = {sent.conv_seq: message_id for message_id, sent in device.sent.items() if sent.conv == conv}
    assert posted.items() <= own.items() | set(entries_of(conv, device))


async def check_ticks(conv: ConversationId, device: FrameDevice, members: Sequence[FrameDevice]) -> None:
    """Whatever was interrupted: in the end everybody sees that this member has everything."""
    last, _ = entries_of(conv, device)[-1]
    for observer in members:
        while observer.marks.get((conv, device.id.user, MarkKind.DELIVERED), 0) < last:
            await observer.say(frames.Marks((conv,)))
            await asyncio.sleep(0.02)
