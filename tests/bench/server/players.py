"""The loads of `loads.py`, played against servers that are not ours: bodies, windows and checks are the same."""

from __future__ import annotations

import asyncio
import base64
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeAlias

from tests.bench.server.device import faults
from tests.bench.server.facts import memory
from tests.bench.server.loads import AT_ONCE, BODY_BYTES, FIRST_IDLE, Flow, counted, many_files, until
from tests.bench.server.pacing import Latency, Pace, Window

__all__ = ["BODY", "Make", "Player", "group", "idle", "paced", "pairs"]

# Their protocols are texts, so that bytes have to travel so.
BODY: Final = base64.b64encode(os.urandom(BODY_BYTES)).decode()


class Player(ABC):
    """Somebody who is connected to a server.

    Args:
        name: Theirs.

    Attributes:
        is_there: Whether they can write and be written to.
        posted: How many messages left.
        sent: How many of them the server has said to have.
        came: How many came.
        on_sent: Called at each answer.
        on_came: Called at each message.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_there = False
        self.posted = 0
        self.sent = 0
        self.came = 0
        self.on_sent: Callable[[Player], None] = _nothing
        self.on_came: Callable[[Player], None] = _nothing

    @abstractmethod
    async def come(self, url: str) -> None:
        """Connect and say who it is."""

    @abstractmethod
    async def go(self) -> None:
        """Cut the connection."""

    async def join(self) -> None:
        """Become a member of the one group, where that takes more than to come."""
        return

    def post(self, other: str | None) -> None:
        """Write the next message to somebody, or to the group."""
        self.posted += 1
        self.write(other, self.posted)

    @abstractmethod
    def write(self, other: str | None, number: int) -> None:
        """Write a message."""

    def has_sent(self, upto: int) -> None:
        """Note that the server has all up to a number."""
        for _ in range(upto - self.sent):
            self.sent += 1
            self.on_sent(self)

    def has_come(self, number: int, body: str) -> None:
        """Note a message."""
        self.came += 1
        if number != self.came or body != BODY:
            faults.append(f"{self.name}: message {number} came as number {self.came}, or has another body")
        self.on_came(self)


Make: TypeAlias = Callable[[str], Player]


def _nothing(_player: Player) -> None: ...


async def pairs(make: Make, url: str, pid: int, *, count: int, in_flight: int, window: Window) -> Flow:
    """1:1: in each of `count` pairs one writes to the other, with so many posts on their way."""
    writers, readers = _both(make, count)
    await _come([*writers, *readers], url)
    to: dict[Player, str | None] = {one: other.name for one, other in zip(writers, readers, strict=True)}
    flow = await _full_steam(to, readers, pid, in_flight, window)
    await until(lambda: all(one.posted == one.sent == other.came for one, other in zip(writers, readers, strict=True)))
    await _go([*writers, *readers])
    return flow


async def group(make: Make, url: str, pid: int, *, members: int, in_flight: int, window: Window) -> Flow:
    """A group in which one writes and all others are online; counted are the copies that they get."""
    writer, readers = make("writer0"), [make(f"reader{n}") for n in range(members - 1)]
    everybody = [writer, *readers]
    await _come(everybody, url)
    for player in everybody:
        await player.join()
    flow = await _full_steam({writer: None}, readers, pid, in_flight, window)
    await until(lambda: all(reader.came == writer.sent == writer.posted for reader in readers))
    await _go(everybody)
    return flow


async def paced(make: Make, url: str, pid: int, *, count: int, per_second: float, window: Window) -> Latency:
    """1:1 at an even pace."""
    writers, readers = _both(make, count)
    await _come([*writers, *readers], url)
    pace = Pace(count, pid)
    number = {player: n for n, pair in enumerate(zip(writers, readers, strict=True)) for player in pair}

    def on_came(reader: Player) -> None:
        pace.came(number[reader], upto=reader.came, many=1)

    def on_sent(writer: Player) -> None:
        pace.answered(number[writer], upto=writer.sent)

    for writer, reader in zip(writers, readers, strict=True):
        writer.on_sent = on_sent
        reader.on_came = on_came
    await pace.run(lambda n: writers[n].post(readers[n].name), per_second, window)
    await until(lambda: all(one.posted == one.sent == other.came for one, other in zip(writers, readers, strict=True)))
    await _go([*writers, *readers])
    return pace.latency()


async def idle(make: Make, url: str, pid: int, *, count: int) -> float:
    """Bytes of the server's memory for one who is connected and says nothing."""
    with many_files():
        first = [make(f"writer{n}") for n in range(FIRST_IDLE)]  # what is made once is there
        await _come(first, url)
        before = memory(pid)
        players = [make(f"reader{n}") for n in range(count)]
        await _come(players, url)
        await asyncio.sleep(1.0)
        grown = memory(pid) - before
        await _go([*first, *players])
    return grown / count


def _both(make: Make, count: int) -> tuple[list[Player], list[Player]]:
    return [make(f"writer{n}") for n in range(count)], [make(f"reader{n}") for n in range(count)]


async def _full_steam(
    to: dict[Player, str | None], readers: Sequence[Player], pid: int, in_flight: int, window: Window
) -> Flow:
    is_on = True

    def sent(player: Player) -> None:
        if is_on:
            player.post(to[player])

    for writer in to:
        writer.on_sent = sent
        for _ in range(in_flight):
            writer.post(to[writer])
    flow = await counted(pid, window, lambda: sum(reader.came for reader in readers))
    is_on = False
    return flow


async def _come(everybody: Sequence[Player], url: str) -> None:
    for first in range(0, len(everybody), AT_ONCE):
        some = everybody[first : first + AT_ONCE]
        await asyncio.gather(*(player.come(url) for player in some))
        await until(partial(_are_there, some))


def _are_there(some: Sequence[Player]) -> bool:
    return all(player.is_there for player in some)


async def _go(everybody: Sequence[Player]) -> None:
    for player in everybody:
        await player.go()
