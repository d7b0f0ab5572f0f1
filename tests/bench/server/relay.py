"""The floor: a bare forwarder in JSON that stores one row for each message before it says so, and does nothing else.

It has no accounts, no proof of who somebody is, no numbers, no repeats, no inboxes: what it costs is the socket
library, JSON and SQLite. Rows are written as the reference server writes them: one thread, `synchronous=FULL`, and
what comes while one commit runs is the next one.

    {"i": "bob"}                                    I am Bob
    {"t": "bob", "n": 1, "b": "..."}                to Bob: {"f": "alice", "n": 1, "b": "..."}; back: {"s": 1}
    {"g": 1, "n": 1, "b": "..."}                    to everybody else
    {"a": 1}                                        I have it

With `--edge` the same on the socket code of `examples/net`, which is cheaper than the public server of `websockets`:
a stricter floor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from examples.collector import calm_the_collector
from examples.net.websocket import Channel, Receiver
from examples.net.websocket_server import WebSocketServer

__all__ = ["main"]

_SCHEMA: Final = "CREATE TABLE message (conv TEXT, n INTEGER, body BLOB, UNIQUE (conv, n))"
_PUT: Final = "INSERT INTO message VALUES (?, ?, ?)"

Row: TypeAlias = tuple[str, int, str]
Send: TypeAlias = Callable[[str], None]


class Store:
    """One writer thread with group commit."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop, done: Callable[[list[Any]], None]) -> None:
        self._queue: queue.SimpleQueue[list[tuple[Row, Any]]] = queue.SimpleQueue()
        self._loop = loop
        self._done = done
        self._waiting: list[tuple[Row, Any]] = []
        self._is_writing = False
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(_SCHEMA)
        threading.Thread(target=self._serve, daemon=True).start()

    def put(self, row: Row, what: Any) -> None:
        """Store a row with the next commit; `done` gets `what` of all that it had."""
        self._waiting.append((row, what))
        if not self._is_writing:
            self._is_writing = True
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        batch, self._waiting = self._waiting, []
        self._queue.put(batch)

    def _serve(self) -> None:
        while True:
            batch = self._queue.get()
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_PUT, [row for row, _ in batch])
            self._db.execute("COMMIT")
            self._loop.call_soon_threadsafe(self._committed, batch)

    def _committed(self, batch: list[tuple[Row, Any]]) -> None:
        if self._waiting:
            self._hand_over()
        else:
            self._is_writing = False
        self._done([what for _, what in batch])


class Relay:
    """Who is there, and what goes to whom."""

    def __init__(self, path: Path) -> None:
        self._store = Store(path, asyncio.get_running_loop(), self._stored)
        self._there: dict[str, Send] = {}
        self.acknowledged = 0

    def take(self, send: Send, name: str, text: str) -> str:
        """Take a message of somebody; returns who it is."""
        message = json.loads(text)
        if "i" in message:
            name = message["i"]
            self._there[name] = send
            send(json.dumps({"i": name}))
        elif "a" in message:
            self.acknowledged += 1
        else:
            self._store.put((name, message["n"], message["b"]), (send, name, message))
        return name

    def gone(self, name: str) -> None:
        """Forget somebody."""
        self._there.pop(name, None)

    def _stored(self, batch: list[tuple[Send, str, dict[str, Any]]]) -> None:
        there = self._there
        for send, name, message in batch:
            text = json.dumps({"f": name, "n": message["n"], "b": message["b"]})
            if "t" in message:
                there[message["t"]](text)
            else:
                for other, to in there.items():
                    if other != name:
                        to(text)
            send(json.dumps({"s": message["n"]}))


async def _serve_websockets(path: Path) -> None:
    relay = Relay(path)

    async def handler(socket: ServerConnection) -> None:
        waiting: asyncio.Queue[str] = asyncio.Queue()
        writer = asyncio.create_task(_write(socket, waiting))
        name = ""
        try:
            async for text in socket:
                name = relay.take(waiting.put_nowait, name, str(text))
        except ConnectionClosed:
            return  # cut: so people go in a benchmark
        finally:
            relay.gone(name)
            writer.cancel()

    async with serve(handler, "127.0.0.1", 0, compression=None) as server:
        _say_port(server.sockets[0].getsockname()[1])
        await asyncio.get_running_loop().create_future()


async def _write(socket: ServerConnection, waiting: asyncio.Queue[str]) -> None:
    while True:
        await socket.send(await waiting.get())


class _OnEdge:
    def __init__(self, relay: Relay, channel: Channel) -> None:
        self._relay = relay
        self._channel = channel
        self._name = ""

    def receive(self, data: bytes | str) -> None:
        self._name = self._relay.take(self._channel.send, self._name, str(data))

    def paused(self) -> None: ...

    def drained(self) -> None: ...

    def closed(self) -> None:
        self._relay.gone(self._name)


async def _serve_edge(path: Path) -> None:
    relay = Relay(path)

    def on_open(channel: Channel, _path: str) -> Receiver:
        return _OnEdge(relay, channel)

    server = WebSocketServer(on_open)
    _, port = await server.listen("127.0.0.1", 0)
    _say_port(port)
    await asyncio.get_running_loop().create_future()


def _say_port(port: int) -> None:
    print(f"listening on ws://127.0.0.1:{port}/ws", flush=True)


def main() -> None:
    """Serve until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("database", type=Path)
    parser.add_argument("--edge", action="store_true")
    options = parser.parse_args()
    calm_the_collector()
    uvloop.run((_serve_edge if options.edge else _serve_websockets)(options.database))


if __name__ == "__main__":
    main()
