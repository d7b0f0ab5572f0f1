"""What is played against a server: each load sets its people up, warms up, and then counts for some seconds.

A load runs in a process of its own, on another core than the server. It reads the server's CPU time from `/proc`.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import Final, NamedTuple

from tests.bench.server.device import BenchDevice, LoadError, faults
from tests.bench.server.facts import cpu_s, memory, wanted_s
from tests.bench.server.pacing import Latency, Pace, Window
from whisperkit.ids import ConversationId

__all__ = [
    "AT_ONCE",
    "BODY_BYTES",
    "COUNTING",
    "FIRST_IDLE",
    "Flow",
    "Logins",
    "Window",
    "catch_up",
    "counted",
    "group",
    "idle",
    "logins",
    "long_run",
    "many_files",
    "paced",
    "pairs",
    "until",
]

BODY_BYTES: Final = 200
_BODY: Final = os.urandom(BODY_BYTES)
COUNTING: Final = "counting"
# So many people come at once: more would only wait for each other.
AT_ONCE: Final = 50
_PATIENCE_S: Final = 60.0
_LONG_S: Final = 600.0


class Flow(NamedTuple):
    """What a load under full steam gives.

    Attributes:
        items: How many messages, or deliveries, were durable, delivered and acknowledged while it was counted.
        seconds: How long that was.
        server_us: CPU time of the server for each, in microseconds, all its threads.
        server_share: Which share of a core that was: near 1 where the server is what is measured.
        load_share: In which share of the time the load generator ran or waited for its core: near 1, it is what is
            measured.
    """

    items: int
    seconds: float
    server_us: float
    server_share: float
    load_share: float


async def until(condition: Callable[[], bool], *, seconds: float = _PATIENCE_S) -> None:
    """Wait for something that is to come.

    Raises:
        LoadError: It does not.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if faults:
            raise LoadError(faults[0])
        if time.monotonic() > deadline:
            raise LoadError(f"not within {seconds:g} s")
        await asyncio.sleep(0.005)


async def come(url: str, devices: Sequence[BenchDevice], *, is_new: bool = True) -> None:
    """Let people register and log in."""

    async def one(device: BenchDevice) -> None:
        await device.open(url)
        await until(lambda: device.is_challenged)
        if is_new:
            device.register()
            await until(lambda: device.is_registered)
        device.hello()
        await until(lambda: device.is_live)

    for first in range(0, len(devices), AT_ONCE):
        await _together([partial(one, device) for device in devices[first : first + AT_ONCE]])


async def go(devices: Sequence[BenchDevice]) -> None:
    """Cut all connections."""
    await _together([device.close for device in devices])


async def _together(calls: Sequence[Callable[[], Awaitable[None]]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for call in calls:
            tasks.create_task(_run(call))


async def _run(call: Callable[[], Awaitable[None]]) -> None:
    await call()


async def counted(pid: int, window: Window, count: Callable[[], int]) -> Flow:
    """Count what happens in a window, and say when it begins: a profiler waits for it."""
    await asyncio.sleep(window.warm_up_s)
    print(COUNTING, file=sys.stderr, flush=True)
    began, cpu, own, items = time.monotonic(), cpu_s(pid), wanted_s(), count()
    await asyncio.sleep(window.count_s)
    seconds, used, done = time.monotonic() - began, cpu_s(pid) - cpu, count() - items
    share = (wanted_s() - own) / seconds
    if not done:
        raise LoadError("nothing was delivered")
    return Flow(done, seconds, 1e6 * used / done, used / seconds, share)


# ---- under full steam ------------------------------------------------------------------------------------------------


class _Pairs:
    """People who have a conversation for two each, in which one writes."""

    def __init__(self, count: int) -> None:
        self.writers = [BenchDevice(f"writer{n}") for n in range(count)]
        self.readers = [BenchDevice(f"reader{n}") for n in range(count)]
        self.all = [*self.writers, *self.readers]
        for reader in self.readers:
            reader.body = _BODY
        both = list(zip(self.writers, self.readers, strict=True))
        self.convs = [ConversationId.direct(one.id.user, other.id.user) for one, other in both]
        self._both = both

    async def meet(self, url: str) -> None:
        """Come, and make the conversations."""
        await come(url, self.all)
        for conv, (writer, reader) in zip(self.convs, self._both, strict=True):
            writer.create(conv, (writer.id.user, reader.id.user))
            writer.prepare(conv, own={reader.id: _BODY}, shared=None)
        await until(lambda: all(one.sent == 1 and other.came == 1 for one, other in self._both))

    async def write_on(self, in_flight: int) -> Callable[[], None]:
        """Keep so many posts of each on their way, until what this returns is called."""
        is_on = True
        conv_of = dict(zip(self.writers, self.convs, strict=True))

        def sent(device: BenchDevice, _seq: int) -> None:
            if is_on:
                device.post(conv_of[device])

        for writer in self.writers:
            writer.on_sent = sent
        for writer, conv in conv_of.items():
            for _ in range(in_flight):
                writer.post(conv)

        def stop() -> None:
            nonlocal is_on
            is_on = False

        return stop

    @property
    def came(self) -> int:
        """How many entries have come."""
        return sum(reader.came for reader in self.readers)

    async def end(self) -> None:
        """Wait until all that was posted has come, and go."""
        await until(lambda: all(one.posted == one.sent == other.came for one, other in self._both))
        await go(self.all)


async def pairs(url: str, pid: int, *, count: int, in_flight: int, window: Window) -> Flow:
    """1:1: in each of `count` pairs one writes to the other, with so many posts on their way."""
    people = _Pairs(count)
    await people.meet(url)
    stop = await people.write_on(in_flight)
    flow = await counted(pid, window, lambda: people.came)
    stop()
    await people.end()
    return flow


async def long_run(url: str, pid: int, *, messages: int) -> list[int]:
    """Bytes of the server's memory after each tenth of so many messages."""
    people = _Pairs(50)
    await people.meet(url)
    stop = await people.write_on(10)
    sizes: list[int] = []
    for tenth in range(1, 11):
        await until(partial(_have_come, people, messages * tenth // 10), seconds=_LONG_S)
        sizes.append(memory(pid))
    stop()
    await people.end()
    return sizes


async def group(url: str, pid: int, *, members: int, in_flight: int, window: Window) -> Flow:
    """A group in which one writes and all others are online; counted are the copies that they get."""
    writer = BenchDevice("writer")
    readers = [BenchDevice(f"reader{n}") for n in range(members - 1)]
    for reader in readers:
        reader.body = _BODY
    await come(url, [writer, *readers])
    conv = ConversationId("group")
    everybody = (writer, *readers)
    writer.create(conv, tuple(each.id.user for each in everybody[:_FIRST_MEMBERS]))
    for first in range(_FIRST_MEMBERS, members, _FIRST_MEMBERS):
        writer.create(conv, tuple(each.id.user for each in everybody[first : first + _FIRST_MEMBERS]))
    changes = -(-members // _FIRST_MEMBERS)
    await until(lambda: writer.sent == changes and readers[-1].came > 0)
    await asyncio.sleep(1.0)  # the job log has caught up, and the strategy fits
    writer.prepare(conv, own=None, shared=_BODY)
    is_on = True

    def sent(device: BenchDevice, _seq: int) -> None:
        if is_on:
            device.post(conv)

    writer.on_sent = sent
    for _ in range(in_flight):
        writer.post(conv)
    flow = await counted(pid, window, lambda: sum(reader.came for reader in readers))
    is_on = False
    await until(lambda: len({reader.came for reader in readers}) == 1)
    await go([writer, *readers])
    return flow


_FIRST_MEMBERS: Final = 1_000


def _have_come(people: _Pairs, count: int) -> bool:
    return people.came >= count


def _has_sent(device: BenchDevice, count: int) -> bool:
    return device.sent >= count


# ---- at a given pace -------------------------------------------------------------------------------------------------


async def paced(url: str, pid: int, *, count: int, per_second: float, window: Window) -> Latency:
    """1:1 at an even pace."""
    people = _Pairs(count)
    await people.meet(url)
    pace = Pace(count, pid)
    number = {device: n for n, pair in enumerate(zip(people.writers, people.readers, strict=True)) for device in pair}

    def on_entries(reader: BenchDevice, many: int) -> None:
        pace.came(number[reader], upto=reader.came - 1, many=many)  # the first entry was the change of members

    def on_sent(writer: BenchDevice, _seq: int) -> None:
        pace.answered(number[writer], upto=writer.sent - 1)

    for writer, reader in zip(people.writers, people.readers, strict=True):
        writer.on_sent = on_sent
        reader.on_entries = on_entries
    await pace.run(lambda n: people.writers[n].post(people.convs[n]), per_second, window)
    await people.end()
    return pace.latency()


# ---- connections -----------------------------------------------------------------------------------------------------


# Of the first ones it is not counted what they take: they make what is made once.
FIRST_IDLE: Final = 200


@contextmanager
def many_files() -> Generator[None]:
    """Let this process have as many connections as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def idle(url: str, pid: int, *, count: int) -> float:
    """Bytes of the server's memory for one device that is connected and says nothing."""
    with many_files():
        first = [BenchDevice(f"first{n}") for n in range(FIRST_IDLE)]
        await come(url, first)
        before = memory(pid)
        devices = [BenchDevice(f"idle{n}") for n in range(count)]
        await come(url, devices)
        await asyncio.sleep(1.0)
        grown = memory(pid) - before
        await go([*first, *devices])
    return grown / count


class Logins(NamedTuple):
    """How many a second, and in which share of the time the load ran or waited for its core: it signs as often."""

    per_second: float
    load_share: float


async def logins(url: str, *, count: int, rounds: int) -> Logins:
    """Logins, each with a new connection and a signed challenge."""
    devices = [BenchDevice(f"user{n}") for n in range(count)]
    await come(url, devices)
    await go(devices)
    rates: list[float] = []
    shares: list[float] = []
    for _ in range(rounds):
        for device in devices:
            device.forget_challenge()
        began, own = time.monotonic(), wanted_s()
        await come(url, devices, is_new=False)
        seconds = time.monotonic() - began
        rates.append(count / seconds)
        shares.append((wanted_s() - own) / seconds)
        await go(devices)
    return Logins(median(rates), median(shares))


async def catch_up(url: str, *, messages: int, rounds: int) -> float:
    """Milliseconds from HELLO until a device that was away has so many messages."""
    alice, bob = BenchDevice("alice"), BenchDevice("bob")
    await come(url, [alice, bob])
    conv = ConversationId.direct(alice.id.user, bob.id.user)
    alice.create(conv, (alice.id.user, bob.id.user))
    alice.prepare(conv, own={bob.id: _BODY}, shared=None)
    await until(lambda: alice.sent == 1 and bob.came == 1)
    took: list[float] = []
    for _ in range(rounds):
        await bob.close()
        wanted = bob.came + messages
        sent = alice.sent
        for n in range(messages):
            alice.post(conv)
            if n % 10 == 9:
                await until(partial(_has_sent, alice, sent + n + 1))
        bob.forget_challenge()
        await bob.open(url)
        await until(lambda: bob.is_challenged)
        done = asyncio.get_running_loop().create_future()

        def came(_device: BenchDevice, _many: int, done: asyncio.Future[None] = done, wanted: int = wanted) -> None:
            if bob.came == wanted:
                done.set_result(None)

        bob.on_entries = came
        began = time.perf_counter()
        bob.hello()
        await done
        took.append(1e3 * (time.perf_counter() - began))
    await go([alice, bob])
    return median(took)
