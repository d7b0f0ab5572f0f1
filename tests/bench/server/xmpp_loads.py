"""Who plays against ejabberd and prosody: XMPP over TCP, as little of it as the loads need.

SASL PLAIN and no TLS. In pairs both sides use stream management (XEP-0198): the writer asks after each message how far
the server has come, the reader answers when the server asks. A multi-user chat (XEP-0045) knows no acknowledgement but
the writer's own copy, so that its readers acknowledge nothing.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable
from typing import Final, cast
from urllib.parse import urlsplit

from tests.bench.server.players import BODY, Player

__all__ = ["HOST", "ROOMS", "XmppMember", "XmppPlayer"]

HOST: Final = "localhost"
ROOMS: Final = f"rooms.{HOST}"
_ROOM: Final = f"room@{ROOMS}"
_RESOURCE: Final = "r"
_PORT: Final = 5222
_SM: Final = "xmlns='urn:xmpp:sm:3'"
_OPEN: Final = (
    f"<stream:stream to='{HOST}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
_BIND: Final = (
    "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
    f"<resource>{_RESOURCE}</resource></bind></iq>"
)
_ENABLE: Final = f"<enable {_SM}/>"
_ASK: Final = f"<r {_SM}/>"
_PATIENCE_S: Final = 30.0
# A message of the loads, an answer of stream management, a question of it; the rest is of no interest.
_STANZA: Final = re.compile(
    rb"<message [^>]*?\bid='(\d+)'[^>]*>.*?<body>([^<]*)</body>.*?</message>|<a [^>]*?h='(\d+)'[^>]*/>|(<r [^>]*/>)",
    re.DOTALL,
)


class _Stream(asyncio.Protocol):
    _transport: asyncio.Transport

    def __init__(self) -> None:
        self.came: Callable[[bytes], None] = self._gather
        self._gathered = b""
        self._arrived = asyncio.Event()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # what a TCP client is given

    def data_received(self, data: bytes) -> None:
        self.came(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)
        self._arrived.set()

    def _gather(self, data: bytes) -> None:
        self._gathered += data
        self._arrived.set()

    def say(self, text: str) -> None:
        self._transport.write(text.encode())

    async def hear(self, text: str) -> None:
        """Wait until this has come; what came with it is dropped.

        Raises:
            ConnectionError: The server has closed the stream, or says nothing of the kind.
        """
        wanted = text.encode()
        async with asyncio.timeout(_PATIENCE_S):
            while wanted not in self._gathered:
                if self.gone.done():
                    raise ConnectionError(f"no {text} in {self._gathered!r}")
                self._arrived.clear()
                await self._arrived.wait()
        self._gathered = b""

    async def cut(self) -> None:
        self._transport.abort()
        await self.gone


class XmppPlayer(Player):
    """Somebody in a pair."""

    _has_management = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._stream: _Stream | None = None
        self._rest = b""

    async def come(self, url: str) -> None:
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        _, self._stream = await loop.create_connection(_Stream, parts.hostname or HOST, parts.port or _PORT)
        plain = base64.b64encode(f"\0{self.name}\0{self.name}".encode()).decode()
        await self._ask(f"<?xml version='1.0'?>{_OPEN}", "</stream:features>")
        await self._ask(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>", "<success ")
        await self._ask(_OPEN, "</stream:features>")
        await self._ask(_BIND, "</iq>")
        if self._has_management:
            await self._ask(_ENABLE, "<enabled ")
            self._stream.came = self._receive
        self.is_there = True

    async def go(self) -> None:
        await self._on.cut()

    def write(self, other: str | None, number: int) -> None:
        self._on.say(
            f"<message to='{other}@{HOST}/{_RESOURCE}' type='chat' id='{number}'><body>{BODY}</body></message>{_ASK}"
        )

    @property
    def _on(self) -> _Stream:
        assert self._stream is not None
        return self._stream

    async def _ask(self, text: str, answer: str) -> None:
        self._on.say(text)
        await self._on.hear(answer)

    def _receive(self, data: bytes) -> None:
        data, end = self._rest + data, 0
        for found in _STANZA.finditer(data):
            end = found.end()
            number, body, handled, question = found.groups()
            if number is not None:
                self._take(int(number), body.decode())
            elif handled is not None:
                self.has_sent(int(handled))
            elif question is not None:
                self._on.say(f"<a h='{self.came}' {_SM}/>")
        self._rest = data[end:]

    def _take(self, number: int, body: str) -> None:
        self.has_come(number, body)


class XmppMember(XmppPlayer):
    """Somebody in a group."""

    _has_management = False

    async def join(self) -> None:
        join = f"<presence to='{_ROOM}/{self.name}'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
        await self._ask(join, "<status code='110'/>")
        self._on.came = self._receive

    def write(self, other: str | None, number: int) -> None:
        self._on.say(f"<message to='{_ROOM}' type='groupchat' id='{number}'><body>{BODY}</body></message>")

    def _take(self, number: int, body: str) -> None:
        if self.posted:  # the writer's own copy: the room has it
            self.has_sent(number)
        else:
            self.has_come(number, body)
