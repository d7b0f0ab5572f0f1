"""The loads of `loads.py`, played against the relay: the same bodies, in JSON, and the same checks."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from typing import Final

from tests.bench.server.device import faults
from tests.bench.server.loads import BODY_BYTES, Flow, counted, until
from tests.bench.server.pacing import Latency, Pace, Window
from tests.bench.server.raw_socket import RawSocket, connect

__all__ = ["group", "paced", "pairs"]

_BODY: Final = base64.b64encode(os.urandom(BODY_BYTES)).decode()


class _Peer:
    def __init__(self, name: str) -> None:
        self.name = name
        self.is_there = False
        self.sent = 0
        self.came = 0
        self.on_sent: Callable[[_Peer], None] = lambda _peer: None
        self.on_came: Callable[[_Peer], None] = lambda _peer: None
        self.posted = 0
        self._socket: RawSocket | None = None

    async def come(self, url: str) -> None:
        self._socket = await connect(url, self._receive)
        self._say({"i": self.name})

    async def go(self) -> None:
        assert self._socket is not None
        await self._socket.close()

    def post(self, to: dict[str, object]) -> None:
        self.posted += 1
        self._say({**to, "n": self.posted, "b": _BODY})

    def _say(self, what: dict[str, object]) -> None:
        assert self._socket is not None
        self._socket.send_text(json.dumps(what).encode())

    def _receive(self, data: bytes) -> None:
        message = json.loads(data)
        if "f" in message:
            self.came += 1
            if message["n"] != self.came or message["b"] != _BODY:
                faults.append(f"{self.name}: message {message['n']} came as number {self.came}, or has another body")
            self._say({"a": message["n"]})
            self.on_came(self)
        elif "s" in message:
            self.sent += 1
            self.on_sent(self)
        else:
            self.is_there = True


async def pairs(url: str, pid: int, *, count: int, in_flight: int, window: Window) -> Flow:
    """As in `loads.py`."""
    writers = [_Peer(f"writer{n}") for n in range(count)]
    readers = [_Peer(f"reader{n}") for n in range(count)]
    to: dict[_Peer, dict[str, object]] = {one: {"t": other.name} for one, other in zip(writers, readers, strict=True)}
    return await _play([*writers, *readers], readers, to, pid, in_flight, window, url)


async def paced(url: str, *, count: int, per_second: float, window: Window) -> Latency:
    """As in `loads.py`."""
    writers = [_Peer(f"writer{n}") for n in range(count)]
    readers = [_Peer(f"reader{n}") for n in range(count)]
    everybody = [*writers, *readers]
    await _come(everybody, url)
    pace = Pace(count)
    number = {peer: n for n, pair in enumerate(zip(writers, readers, strict=True)) for peer in pair}

    def on_came(reader: _Peer) -> None:
        pace.came(number[reader], upto=reader.came, many=1)

    def on_sent(writer: _Peer) -> None:
        pace.answered(number[writer], upto=writer.sent)

    for writer, reader in zip(writers, readers, strict=True):
        writer.on_sent = on_sent
        reader.on_came = on_came
    await pace.run(lambda n: writers[n].post({"t": readers[n].name}), per_second, window)
    await until(lambda: all(one.posted == one.sent == other.came for one, other in zip(writers, readers, strict=True)))
    for peer in everybody:
        await peer.go()
    return pace.latency()


async def _come(everybody: list[_Peer], url: str) -> None:
    for peer in everybody:
        await peer.come(url)
    await until(lambda: all(peer.is_there for peer in everybody))


async def group(url: str, pid: int, *, members: int, in_flight: int, window: Window) -> Flow:
    """As in `loads.py`."""
    writer = _Peer("writer")
    readers = [_Peer(f"reader{n}") for n in range(members - 1)]
    return await _play([writer, *readers], readers, {writer: {"g": members}}, pid, in_flight, window, url)


async def _play(
    everybody: list[_Peer],
    readers: list[_Peer],
    to: dict[_Peer, dict[str, object]],
    pid: int,
    in_flight: int,
    window: Window,
    url: str,
) -> Flow:
    await _come(everybody, url)
    is_on = True

    def sent(peer: _Peer) -> None:
        if is_on:
            peer.post(to[peer])

    for writer in to:
        writer.on_sent = sent
        for _ in range(in_flight):
            writer.post(to[writer])
    flow = await counted(pid, window, lambda: sum(reader.came for reader in readers))
    is_on = False
    copies = len(readers) if len(to) == 1 else 1
    await until(lambda: sum(peer.came for peer in readers) == copies * sum(peer.sent for peer in to))
    for peer in everybody:
        await peer.go()
    return flow
