"""The lab's own web server, for a browser on the same machine and for nothing else.

It listens on loopback, and that is not enough: any page in any tab can ask a browser to talk to 127.0.0.1. So a request
must name this host and port (which a name that somebody else made point here does not), what changes anything must come
from a page of this origin, and both carry a cookie that only `GET /` gives out and that browsers send from here only.
The page is kept from loading anything from elsewhere, and from running what is not in its one module.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Final
from urllib.parse import quote

from examples.lab.bubbles import Json
from examples.lab.commands import Commands
from examples.lab.lab import Lab
from examples.lab.phones import LABELS, LabPhone
from examples.net.http import HttpError, Request, Response, Route, json_response
from examples.net.websocket_server import Channel, EdgeLimits, WebSocketServer

__all__ = ["PAGE", "REPLACED", "Site"]

log = logging.getLogger("examples.lab")

PAGE: Final = Path(__file__).parent / "page"
REPLACED: Final = 4001
_COOKIE: Final = "lab"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
# What a browser may take for what it is said to be: it shows it and does nothing else with it.
_PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_SAFE: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# A text of 64 KiB is at most four times as many bytes, and JSON may write each as six.
_MAX_MESSAGE_BYTES: Final = 1 << 20
_MAX_WAITING: Final = 1_000


class Site:
    """Serves the page, and speaks with it.

    Args:
        lab: The lab.
        page: The folder of the page.
    """

    def __init__(self, lab: Lab, *, page: Path = PAGE) -> None:
        self._lab = lab
        self._page = page
        self._secret = secrets.token_urlsafe(32)
        self._commands = Commands(lab)
        self._talk: _Talk | None = None
        self._hosts: frozenset[str] = frozenset()
        self._network = WebSocketServer(
            self._open,
            routes=[
                Route("GET", "/", self._index),
                Route("GET", "/{name}", self._file),
                Route("POST", "/files", self._upload),
                Route("GET", "/files/{phone}/{message}", self._download),
            ],
            limits=EdgeLimits(max_connections=64, max_message_bytes=_MAX_MESSAGE_BYTES, max_backlog_bytes=32 << 20),
            path="/lab",
            may_open=self._may_drive,
        )
        lab.tell = self._tell

    async def listen(self, port: int) -> int:
        """Listen on loopback; returns the port, which matters for 0, any free one.

        Raises:
            OSError: It is taken.
        """
        _, port = await self._network.listen("127.0.0.1", port)
        self._hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
        return port

    async def close(self) -> None:
        """End."""
        await self._network.drain(within_s=1.0)

    # ---- who may ----

    def _check_host(self, headers: Mapping[str, str]) -> None:
        if headers.get("host", "") not in self._hosts:
            raise HttpError(421, "lab.host", "this is the lab of another name or port")

    def _may_drive(self, headers: Mapping[str, str]) -> bool:
        host, origin = headers.get("host", ""), headers.get("origin", "")
        return host in self._hosts and origin == f"http://{host}" and self._has_cookie(headers)

    def _has_cookie(self, headers: Mapping[str, str]) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._cookie_name)
        except CookieError:
            return False
        return found is not None and secrets.compare_digest(found.value.encode(), self._secret.encode())

    @property
    def _cookie_name(self) -> str:
        """Cookies know no ports: two labs on one machine must not take each other's."""
        port = next(iter(self._hosts), "").rpartition(":")[2]
        return f"{_COOKIE}-{port}"

    # ---- files of the page ----

    async def _index(self, request: Request) -> Response:
        self._check_host(request.headers)
        cookie = f"{self._cookie_name}={self._secret}; Path=/; HttpOnly; SameSite=Strict"
        return await self._static("index.html", {"Set-Cookie": cookie})

    async def _file(self, request: Request) -> Response:
        self._check_host(request.headers)
        return await self._static(request.parameters["name"], {})

    async def _static(self, name: str, headers: Mapping[str, str]) -> Response:
        path = self._page / name
        if path.suffix not in _TYPES or path.parent != self._page or not path.is_file():
            raise HttpError(404, "http.not-found", "there is nothing at this path")
        body = await asyncio.to_thread(path.read_bytes)
        return Response(headers={**_SAFE, **headers, "Content-Type": _TYPES[path.suffix]}, body=body)

    # ---- files of the phones ----

    async def _upload(self, request: Request) -> Response:
        self._check_host(request.headers)
        if not self._may_drive(request.headers):
            raise HttpError(403, "lab.origin", "not from here")
        phone = self._phone(request.query.get("phone", ""))
        length = request.headers.get("content-length", "")
        total = int(length) if length.isdecimal() else 0
        number = await phone.files.take(
            request.body, name=request.query.get("name", "file"), media_type=request.query.get("type", ""), total=total
        )
        self._lab.recorder.send(LABELS[phone.number])
        return json_response({"id": number}, 202, _SAFE)

    async def _download(self, request: Request) -> Response:
        self._check_host(request.headers)
        if not self._has_cookie(request.headers):
            raise HttpError(403, "lab.origin", "not from here")
        phone = self._phone(request.parameters["phone"])
        found = await phone.files.open(request.parameters["message"])
        disposition = f"attachment; filename*=UTF-8''{quote(found.name)}"
        kind = found.media_type if found.media_type in _PICTURES else "application/octet-stream"
        headers = {**_SAFE, "Content-Type": kind, "Content-Disposition": disposition}
        return Response(headers=headers, body=found.pieces, content_length=found.size)

    def _phone(self, text: str) -> LabPhone:
        if text not in ("0", "1"):
            raise HttpError(400, "lab.phone", "phone is 0 or 1")
        return self._lab.phones[int(text)]

    # ---- the page speaks ----

    def _open(self, channel: Channel, _path: str) -> _Talk:
        if self._talk is not None:
            self._talk.replace()
        self._talk = _Talk(self._lab, self._commands, channel)
        return self._talk

    def _tell(self, told: Json) -> None:
        if self._talk is not None:
            self._talk.tell(told)


class _Talk:
    """One tab: what it asks for is done in order, what it is told begins with everything."""

    def __init__(self, lab: Lab, commands: Commands, channel: Channel) -> None:
        self._lab = lab
        self._commands = commands
        self._channel = channel
        self._asked: asyncio.Queue[object] = asyncio.Queue(_MAX_WAITING)
        # What happens while everything is put together is told behind it.
        self._held: list[Json] | None = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._talk()
        except Exception:
            log.exception("a page was not answered")
            self._channel.close(1011, "the lab failed; the page begins again")

    async def _talk(self) -> None:
        for told in await self._lab.everything():
            self._send(told)
        held, self._held = self._held or [], None
        for told in held:
            self._send(told)
        while True:
            await self._commands.do(await self._asked.get())

    def tell(self, told: Json) -> None:
        """Tell it something."""
        if self._held is not None:
            self._held.append(told)
        else:
            self._send(told)

    def _send(self, told: Json) -> None:
        self._channel.send(json.dumps(told, ensure_ascii=False))

    def replace(self) -> None:
        """A newer tab is there."""
        self._send({"kind": "replaced"})
        self._channel.close(REPLACED, "a newer tab has taken over")
        self._task.cancel()

    def receive(self, data: bytes | str) -> None:
        """See `Receiver.receive`."""
        try:
            asked: object = json.loads(data)
        except (ValueError, RecursionError):
            asked = None
        try:
            self._asked.put_nowait(asked)
        except asyncio.QueueFull:
            self._channel.close(1013, "too much at once")

    def paused(self) -> None:
        """The edge bounds what a tab does not read."""

    def drained(self) -> None:
        """See `paused`."""

    def closed(self) -> None:
        """The tab is gone."""
        self._task.cancel()
