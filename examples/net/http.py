"""Plain HTTP/1.1 beside the WebSocket: a table of routes, bodies streamed in constant memory, over `h11`.

A connection has one task, which serves its requests one after the other. A handler reads the body of its request as
it comes and may answer with a stream; back-pressure goes both ways, down to the sockets. Whatever a peer sends or
fails to send ends in an answer of JSON with a code, or in the end of its connection.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, NamedTuple, TypeAlias, cast
from urllib.parse import parse_qsl, unquote

import attrs
import h11

from examples.net.websocket import EdgeLimits
from whisperkit.errors import WhisperError

__all__ = ["Handler", "HttpConnection", "HttpError", "Request", "Response", "Route", "json_response"]

log = logging.getLogger("examples.net.http")

# A request's head: 16 KiB hold every header that a client of ours sends, and a token, ten times over.
_MAX_HEAD_BYTES: Final = 16 * 1024
# What is read ahead of a handler, at most; it also bounds one piece of a body.
_READ_AHEAD_BYTES: Final = 256 * 1024
# One of them says that there is a body (RFC 9112, section 6.3).
_BODY_HEADERS: Final = (b"content-length", b"transfer-encoding")


class HttpError(Exception):
    """Ends a request with a status and a body of JSON: ``code``, ``message`` and what `details` holds.

    Args:
        status: The HTTP status.
        code: A stable name, such as ``blobs.too-large``.
        message: What happened, with the two things that disagree; never content.
        headers: More headers of the answer.
        details: More fields of the body.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        **details: int | str,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers: Mapping[str, str] = headers or {}
        self.details = details

    def response(self) -> Response:
        """The answer."""
        return json_response({"code": self.code, "message": str(self), **self.details}, self.status, self.headers)


@attrs.frozen(kw_only=True)
class Request:
    """One request; its body comes as it is read.

    Attributes:
        method: Such as ``GET``.
        path: Without the query, percent-decoded.
        query: The last value of each name.
        headers: Names in lower case; of repeated ones the last.
        parameters: What stood for the names in braces of the route's path.
        body: The body, piece by piece; may be read once.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    parameters: Mapping[str, str]
    body: AsyncIterator[bytes]

    async def read(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            HttpError: It is longer than `limit` bytes.
        """
        data = bytearray()
        async for piece in self.body:
            data += piece
            if len(data) > limit:
                raise HttpError(413, "http.too-large", f"the body is longer than {limit} bytes", limit=limit)
        return bytes(data)


@attrs.frozen(kw_only=True)
class Response:
    """One answer.

    Attributes:
        status: The HTTP status.
        headers: Beside those that HTTP itself needs.
        body: All of it, or pieces. Pieces come with a `content_length`, or go out chunked.
        content_length: Of a body in pieces, or of what GET would answer to a HEAD.
    """

    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    body: bytes | AsyncIterator[bytes] = b""
    content_length: int | None = None


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of JSON."""
    body = json.dumps(value, separators=(",", ":")).encode() + b"\n"
    return Response(status=status, headers={"Content-Type": "application/json", **(headers or {})}, body=body)


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class Route(NamedTuple):
    """Who answers what.

    Attributes:
        method: Such as ``GET``.
        path: Such as ``/v1/blobs/{blob}``; a name in braces stands for one segment.
        handler: Answers, or raises `HttpError` or `WhisperError`.
    """

    method: str
    path: str
    handler: Handler


class Routes:
    """A table of routes, compiled."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = [(route, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path))) for route in routes]

    def find(self, method: str, path: str) -> tuple[Handler, Mapping[str, str]]:
        """Who answers this, and with which parameters.

        Raises:
            HttpError: Nobody: 404, or 405 if only the method is wrong.
        """
        matches = [(route, match) for route, pattern in self._routes if (match := pattern.fullmatch(path))]
        # HEAD is GET without the body, unless somebody answers it better.
        for wanted in (method, "GET" if method == "HEAD" else method):
            for route, match in matches:
                if route.method == wanted:
                    return route.handler, match.groupdict()
        if not matches:
            raise HttpError(404, "http.not-found", "there is nothing at this path")
        allowed = ", ".join(sorted(route.method for route, _ in matches))
        raise HttpError(405, "http.method", f"{allowed} can be asked here", headers={"Allow": allowed})


class _GoneError(Exception):
    """The connection has ended; there is nobody to answer."""


class HttpConnection(asyncio.Protocol):
    """One connection.

    Args:
        routes: Who answers.
        on_end: Called when the connection is gone.
        limits: See there.
        opened_at: When its first byte came, on the loop's clock.
        loop: The loop.
    """

    _transport: asyncio.Transport
    _task: asyncio.Task[None]

    def __init__(
        self,
        *,
        routes: Routes,
        on_end: Callable[[HttpConnection], None],
        limits: EdgeLimits,
        opened_at: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._routes = routes
        self._on_end = on_end
        self._limits = limits
        self._loop = loop
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._wake: asyncio.Future[None] | None = None
        self._is_gone = False
        self._is_stopping = False
        self._can_write = True
        self._unread_bytes = 0
        self._has_head = False
        self._has_body = False
        self._has_eof = False
        # How far the peer has come, and since when we wait for it to begin a request or to move bytes.
        self._received_bytes = 0
        self._written_bytes = 0
        self._moved_before = 0
        self._waiting_since = opened_at
        self._waits_for_peer = False
        self._lingering_since: float | None = None

    # ---- the server's side ----

    def stop(self) -> None:
        """Serve what was begun and nothing more."""
        self._is_stopping = True
        if not self._has_head:
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def check_time(self, now: float) -> None:
        """Cut what takes too long, if the peer is whom we wait for."""
        limits = self._limits
        if self._lingering_since is not None:
            if now - self._lingering_since > limits.close_s:
                self.abort()
        elif not self._has_head:
            if now - self._waiting_since > limits.handshake_s:
                self.abort()
        elif not self._waits_for_peer or now - self._waiting_since > limits.body_window_s:
            moved = self._received_bytes + self._written_bytes - self._transport.get_write_buffer_size()
            if self._waits_for_peer and moved - self._moved_before < limits.min_body_bytes:
                self.abort()
            self._waiting_since, self._moved_before = now, moved

    # ---- the loop's side ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # what a TCP server makes
        self._task = self._loop.create_task(self._serve(), name="http connection")

    def data_received(self, data: bytes) -> None:
        if self._lingering_since is not None:
            return
        self._received_bytes += len(data)
        self._unread_bytes += len(data)
        self._http.receive_data(data)
        if self._unread_bytes > _READ_AHEAD_BYTES:
            self._transport.pause_reading()
        self._wake_up()

    def eof_received(self) -> bool:
        self._has_eof = True
        if self._lingering_since is not None:
            return False
        self._http.receive_data(b"")
        self._wake_up()
        return True  # the answer may still be under way

    def pause_writing(self) -> None:
        self._can_write = False

    def resume_writing(self) -> None:
        self._can_write = True
        self._wake_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_gone = True
        self._wake_up()
        self._on_end(self)

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _until_woken(self) -> None:
        self._wake = self._loop.create_future()
        self._waits_for_peer = True
        try:
            await self._wake
        finally:
            self._wake = None
            self._waits_for_peer = False
        if self._is_gone:
            raise _GoneError

    # ---- requests ----

    async def _serve(self) -> None:
        try:
            while await self._serve_one():
                self._http.start_next_cycle()
                self._has_head = False
                self._waiting_since = self._loop.time()
        except _GoneError:
            pass
        except Exception:
            log.exception("request failed")
            self._transport.abort()
        else:
            self._linger()

    async def _serve_one(self) -> bool:
        """Serve a request; whether there may be another on this connection."""
        try:
            event = await self._next_event()
            if not isinstance(event, h11.Request):
                return False  # the peer has nothing more to ask
            self._has_head = True
            self._has_body = any(name in _BODY_HEADERS for name, _ in event.headers)
            response = await self._answer(event)
        except h11.RemoteProtocolError as error:
            if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                raise _GoneError from error
            response = HttpError(error.error_status_hint, "http.malformed", "this is no HTTP request").response()
            method = b"GET"
        else:
            method = event.method
        await self._send(response, is_head=method == b"HEAD")
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and not self._is_stopping

    async def _answer(self, event: h11.Request) -> Response:
        try:
            path, _, query = event.target.decode("ascii").partition("?")
            handler, parameters = self._routes.find(event.method.decode("ascii"), unquote(path))
            request = Request(
                method=event.method.decode("ascii"),
                path=unquote(path),
                query=dict(parse_qsl(query)),
                headers={name.decode("ascii"): value.decode("latin-1") for name, value in event.headers},
                parameters=parameters,
                body=self._body(),
            )
            return await handler(request)
        except HttpError as error:
            return error.response()
        except (h11.RemoteProtocolError, _GoneError):
            raise
        except WhisperError as error:
            log.warning("request refused", extra={"code": error.code})
            return HttpError(503, error.code, "the server cannot do this now").response()
        except Exception:
            log.exception("handler failed")
            return HttpError(500, "http.internal", "the server failed").response()

    async def _next_event(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._is_gone:
                raise _GoneError
            self._unread_bytes = 0
            self._transport.resume_reading()
            await self._until_woken()

    async def _body(self) -> AsyncIterator[bytes]:
        if self._http.they_are_waiting_for_100_continue:
            self._write(h11.InformationalResponse(status_code=100, headers=[]))
        while isinstance(event := await self._next_event(), h11.Data):
            yield bytes(event.data)

    # ---- answers ----

    async def _send(self, response: Response, *, is_head: bool) -> None:
        headers = {"Date": formatdate(usegmt=True), **response.headers}
        length = len(response.body) if isinstance(response.body, bytes) else response.content_length
        if is_head and response.content_length is not None:
            length = response.content_length
        if length is not None and response.status != 204:
            headers["Content-Length"] = str(length)
        if self._http.their_state is h11.SEND_BODY and not self._has_body:
            self._http.next_event()  # it is at its end, though no handler has asked
        if self._is_stopping or self._http.their_state is not h11.DONE:
            headers["Connection"] = "close"
        reason = HTTPStatus(response.status).phrase
        self._write(h11.Response(status_code=response.status, reason=reason, headers=list(headers.items())))
        if not is_head:
            await self._send_body(response.body)
        self._write(h11.EndOfMessage())

    async def _send_body(self, body: bytes | AsyncIterator[bytes]) -> None:
        if isinstance(body, bytes):
            if body:
                self._write(h11.Data(data=body))
            return
        async for piece in body:
            self._write(h11.Data(data=piece))
            while not self._can_write and not self._is_gone:
                await self._until_woken()

    def _write(self, event: h11.Event) -> None:
        if self._is_gone:
            raise _GoneError
        data = self._http.send(event) or b""
        self._written_bytes += len(data)
        self._transport.write(data)

    def _linger(self) -> None:
        """End the connection so that the answer arrives.

        A socket that is closed with bytes of the peer unread is reset, and what is under way to the peer is lost.
        """
        self._lingering_since = self._loop.time()
        if self._has_eof:
            self._transport.close()
        elif not self._transport.is_closing():
            self._transport.write_eof()
            self._transport.resume_reading()
