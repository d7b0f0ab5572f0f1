"""Who plays against the relay."""

from __future__ import annotations

import json

from tests.bench.server.players import BODY, Player
from tests.bench.server.raw_socket import RawSocket, connect

__all__ = ["RelayPlayer"]


class RelayPlayer(Player):
    """Speaks as `relay.py` says."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._socket: RawSocket | None = None

    async def come(self, url: str) -> None:
        self._socket = await connect(url, self._receive)
        self._say({"i": self.name})

    async def go(self) -> None:
        assert self._socket is not None
        await self._socket.close()

    def write(self, other: str | None, number: int) -> None:
        self._say({"n": number, "b": BODY, **({"g": 1} if other is None else {"t": other})})

    def _say(self, what: dict[str, object]) -> None:
        assert self._socket is not None
        self._socket.send_text(json.dumps(what).encode())

    def _receive(self, data: bytes) -> None:
        message = json.loads(data)
        if "f" in message:
            self.has_come(message["n"], message["b"])
            self._say({"a": message["n"]})
        elif "s" in message:
            self.has_sent(message["s"])
        else:
            self.is_there = True
