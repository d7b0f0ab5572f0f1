"""A device that says exactly what a test lets it say, over a real WebSocket."""

from __future__ import annotations

import base64
import os
import time
from typing import Self, TypeVar

import httpx

from examples.net.websocket_link import connect
from examples.server.tokens import token_message
from whisperkit.errors import TransportError
from whisperkit.ids import DeviceId
from whisperkit.ratchet import KeyPair, sign
from whisperkit.ratchet.curve import generate
from whisperkit.sync import frames
from whisperkit.sync.connection import ClientConnection, challenge_message, register_message
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import Frame
from whisperkit.transport import Link

__all__ = ["Talker", "token_request"]

F = TypeVar("F", bound=Frame)


class Talker:
    """A connection of a device; an async context manager.

    Args:
        url: Of the server.
        device: Who.
        keys: Its identity; a new one without.
    """

    def __init__(self, url: str, device: DeviceId, keys: KeyPair | None = None) -> None:
        self.device = device
        self.keys: KeyPair = keys or generate(random_bytes=os.urandom)
        self.came: list[Frame] = []
        self._url = url
        self._connection = ClientConnection()
        self._link: Link | None = None
        self._nonce = b""

    async def __aenter__(self) -> Self:
        self._link = await connect(self._url)()
        self._nonce = (await self.hear(frames.Challenge)).nonce
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._link is not None  # entered
        await self._link.close()

    async def say(self, *what: Frame) -> None:
        assert self._link is not None  # entered
        for message in self._connection.encode(what):
            await self._link.send(message if isinstance(message, bytes) else message.encode())

    async def say_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        assert self._link is not None  # entered
        await self._link.send(data)

    async def hear(self, kind: type[F]) -> F:
        """The next frame of a kind; what comes before it is kept in `came`."""
        while True:
            for n, frame in enumerate(self.came):
                if isinstance(frame, kind):
                    del self.came[n]
                    return frame
            assert self._link is not None  # entered
            self.came += self._connection.receive(await self._link.receive())

    async def end(self) -> str:
        """Hear everything until the server closes; returns how it did."""
        assert self._link is not None  # entered
        try:
            while True:
                self.came += self._connection.receive(await self._link.receive())
        except TransportError as error:
            return str(error)

    async def register(self, name: str = "") -> None:
        """Make the account, or try to."""
        key = self.keys.public
        message = register_message(self._nonce, self.device, identity_key=key, registration_id=1, name=name)
        await self.say(frames.Register(self.device, key, 1, name, self.sign(message)))

    async def hello(self, connection_no: int, *, nonce: bytes | None = None, cursor: Cursor | None = None) -> None:
        """Say who this is; over another nonce than was given it is a wrong proof."""
        message = challenge_message(self._nonce if nonce is None else nonce, self.device, connection_no)
        await self.say(frames.Hello(frames.PROTOCOL_VERSION, self.device, connection_no, cursor, self.sign(message)))

    async def begin(self, connection_no: int = 1) -> None:
        """Make the account and come in."""
        await self.register()
        await self.hear(frames.Registered)
        await self.hello(connection_no)
        await self.hear(frames.Welcome)

    def sign(self, message: bytes) -> bytes:
        return sign(self.keys.private, message, random_bytes=os.urandom)


async def token_request(
    http: httpx.AsyncClient, talker: Talker, *, at_ms: int | None = None, signed_at_ms: int | None = None
) -> httpx.Response:
    """Ask for a token, signed rightly unless another time was signed than is said."""
    at_ms = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    signature = talker.sign(token_message(talker.device, at_ms if signed_at_ms is None else signed_at_ms))
    asked = {"device": talker.device, "at_ms": at_ms, "signature": base64.b64encode(signature).decode()}
    return await http.post("/v1/token", json=asked)
