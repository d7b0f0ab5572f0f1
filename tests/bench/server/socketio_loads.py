"""Who plays against python-socketio: Socket.IO 5 over Engine.IO 4, at once by WebSocket."""

from __future__ import annotations

import json

from tests.bench.server.players import BODY, Player
from tests.bench.server.raw_socket import RawSocket, connect

__all__ = ["SocketioPlayer"]


class SocketioPlayer(Player):
    """Asks to be told of each of its events that it was handled, and says of each message that it has it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._socket: RawSocket | None = None
        self._early: list[bytes] = []

    async def come(self, url: str) -> None:
        self._socket = await connect(url, self._early.append)
        self._socket.came = self._receive
        for data in self._early:  # the server speaks first
            self._receive(data)

    async def go(self) -> None:
        assert self._socket is not None
        await self._socket.close()

    def write(self, other: str | None, number: int) -> None:
        message = {"n": number, "b": BODY}
        self._say(f"42{number}" + json.dumps(["to_all", message] if other is None else ["to_one", other, message]))

    def _say(self, packet: str) -> None:
        assert self._socket is not None
        self._socket.send_text(packet.encode())

    def _receive(self, data: bytes) -> None:
        if data[:2] == b"42":  # an event
            _, message = json.loads(data[2:])
            self.has_come(message["n"], message["b"])
            self._say(f'42["has",{message["n"]}]')
        elif data[:2] == b"43":  # an event of ours was handled; the first one said who we are
            if self.is_there:
                self.has_sent(json.loads(data[data.index(b"[") :])[0])
            self.is_there = True
        elif data[:1] == b"2":  # ping
            self._say("3")
        elif data[:1] == b"0":  # Engine.IO is open
            self._say("40")
        elif data[:2] == b"40":  # Socket.IO is
            self._say("420" + json.dumps(["who", self.name]))
