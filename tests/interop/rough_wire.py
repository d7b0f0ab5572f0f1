"""A wire between a client and the server that loses, doubles and damages what is on it, each thing once.

It reads the JSON form. An answer is lost together with its connection, and an entry before another one that is there in
its place: both are noticed at once, so no test has to wait for a beat. One that is hidden is told of by a HEAD.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from whisperkit.sync.frames import BY_TYPE, Answer, Bundle, Entry, EntryKind, Head, Published, Send, Sent, Welcome

__all__ = ["Spoiler", "rough_wire"]

# Any: JSON. What is looked at in a frame is what the server or the client under test has put there.
RawFrame: TypeAlias = list[Any]

_ENTRY: Final = BY_TYPE[Entry].code
_SEND: Final = BY_TYPE[Send].code
_LOST_ONCE: Final = (BY_TYPE[Published].code, BY_TYPE[Bundle].code)
_SENT: Final = BY_TYPE[Sent].code
_HEAD: Final = BY_TYPE[Head].code
_WELCOME: Final = BY_TYPE[Welcome].code
# Where the fields of an ENTRY are, and of a SEND.
_SEQ, _TAG, _KIND, _OWN = 1, 2, 4, 10
_COPIES: Final = 10


class CutError(Exception):
    """The connection goes, and with it what was being said."""


class Spoiler:
    """Decides what becomes of a frame.

    Attributes:
        hides_next_message: Whether the next message for the client does not come, and a HEAD instead.
        damages_next_send: Whether the next message of the client arrives damaged.
        did: What was done, and how often.
        answers: What the server has made of the client's cursors, at HELLO and PULL.
    """

    def __init__(self) -> None:
        self.hides_next_message = False
        self.damages_next_send = False
        self.answers: list[Answer] = []
        self.did: dict[str, int] = {"hidden": 0, "lost": 0, "forged": 0, "doubled": 0, "damaged": 0, "cut": 0}
        self._epoch = 0
        self._seen: set[tuple[int, object]] = set()

    def down(self, frame: RawFrame) -> list[RawFrame]:
        """What the client hears of a frame of the server.

        Raises:
            CutError: The connection goes.
        """
        code = frame[0]
        if code == _WELCOME:
            self.answers.append(Answer(frame[1]))
            self._epoch = frame[2][0]
        if code == _ENTRY:
            return self._entry(frame)
        if code in _LOST_ONCE and self._is_first(code, None):
            self._cut()
        if code == _SENT and frame[3] % 5 == 4 and self._is_first(code, frame[3]):
            self._cut()
        return [frame]

    def up(self, frame: RawFrame) -> RawFrame:
        """What the server hears of a frame of the client."""
        if not self.damages_next_send or frame[0] != _SEND or not frame[_COPIES]:
            return frame
        self.damages_next_send = False
        self.did["damaged"] += 1
        return [*frame[:_COPIES], {device: _damaged(own) for device, own in frame[_COPIES].items()}]

    def _entry(self, frame: RawFrame) -> list[RawFrame]:
        if not self._is_first(_ENTRY, frame[_SEQ]):
            return [frame]
        if self.hides_next_message and frame[_KIND] == EntryKind.MESSAGE:
            self.hides_next_message = False
            self.did["hidden"] += 1
            return [[_HEAD, [self._epoch, frame[_SEQ], frame[_TAG]], {}]]
        match frame[_SEQ] % 7:
            case 3:
                self.did["lost"] += 1
                return [[_ENTRY, frame[_SEQ] + 1, *frame[_SEQ + 1 :]]]
            case 4:
                self.did["forged"] += 1
                return [[*frame[:_TAG], _damaged(frame[_TAG]), *frame[_TAG + 1 :]]]
            case 5 if frame[_KIND] == EntryKind.MESSAGE:
                self.did["damaged"] += 1
                return [[*frame[:_OWN], _damaged(frame[_OWN]), *frame[_OWN + 1 :]]]
            case _:
                self.did["doubled"] += 1
                return [frame, frame]

    def _is_first(self, code: int, what: object) -> bool:
        is_first = (code, what) not in self._seen
        self._seen.add((code, what))
        return is_first

    def _cut(self) -> None:
        self.did["cut"] += 1
        raise CutError


def _damaged(own: str) -> str:
    data = bytearray(base64.b64decode(own))
    data[-1] ^= 1  # of a ciphertext: of the code that authenticates it
    return base64.b64encode(data).decode()


@asynccontextmanager
async def rough_wire(server_url: str, spoiler: Spoiler) -> AsyncGenerator[str]:
    """Listen, and pass everything on; gives the URL for the client."""

    async def carry(client: ServerConnection) -> None:
        async with connect(server_url, max_size=None, compression=None, proxy=None) as server:
            ways = [
                asyncio.create_task(_carry(client, server, lambda frame: [spoiler.up(frame)])),
                asyncio.create_task(_carry(server, client, spoiler.down)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async with serve(carry, "127.0.0.1", 0, max_size=None, compression=None) as listening:
        host, port = next(iter(listening.sockets)).getsockname()
        yield f"ws://{host}:{port}/ws"


async def _carry(
    source: ClientConnection | ServerConnection,
    target: ClientConnection | ServerConnection,
    spoil: Callable[[RawFrame], list[RawFrame]],
) -> None:
    try:
        async for message in source:
            if isinstance(message, bytes):  # the first word of the server
                await target.send(message)
                continue
            found = json.loads(message)
            for frame in found if isinstance(found[0], list) else [found]:
                for kept in spoil(frame):
                    await target.send(json.dumps(kept))
    except (CutError, ConnectionClosed):
        pass
