"""Attachments over HTTP: upload that resumes, download by ranges, and `keep`.

    PUT  /v1/blobs/<id>        the whole, or with Content-Range a part of it from where the last one ended
    HEAD /v1/blobs/<id>        how far it has come: Upload-Offset, Upload-Length; complete: Content-Length
    GET  /v1/blobs/<id>        the whole, or with Range a part
    POST /v1/blobs/<id>/keep   {"until_ms": 1795000000000}: let it live until then, at least

What is carried is ciphertext, and an id cannot be guessed: who knows it, and has a token, may read. Who may write,
and what lives for how long, says a `BlobAuthority`; `whisperkit.blobs` has the rules. Bodies go through in pieces, so
an upload takes the same memory whatever its size.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, NamedTuple, Protocol, cast

import attrs

from examples.net.http import Handler, HttpError, Request, Response, Route, json_response
from whisperkit.blobs import Blob, Committed, Gone, Incomplete, Kept, NotYours, Reserved, Stage
from whisperkit.errors import MalformedIdError
from whisperkit.ids import BlobId, UserId
from whisperkit.stores import BlobBytes

__all__ = ["Authenticate", "BlobAuthority", "BlobHttp", "BlobLimits"]

# One call of the store, and one piece of an answer.
_PIECE_BYTES: Final = 256 * 1024
_MAX_KEEP_BYTES: Final = 1024
_DAY_MS: Final = 86_400_000

_CONTENT_RANGE = re.compile(r"bytes (\d{1,16})-(\d{1,16})/(\d{1,16})")
_RANGE = re.compile(r"bytes=(\d{0,16})-(\d{0,16})")

Authenticate = Callable[[str], Awaitable[UserId | None]]
"""Whose bearer token it is; `None` for nobody's."""


class BlobAuthority(Protocol):
    """Who may upload, and how long it lives: the rules of `whisperkit.blobs`, on the partitions of a store."""

    async def reserve(
        self, blob: BlobId, *, owner: UserId, size: int
    ) -> Reserved | Committed | Incomplete | NotYours | Gone:
        """Let a user upload; see `whisperkit.blobs.reserve`."""
        ...

    async def commit(self, blob: BlobId, *, owner: UserId, stored: int) -> Committed | Incomplete | NotYours | Gone:
        """Say that the upload is complete; see `whisperkit.blobs.commit`."""
        ...

    async def look(self, blob: BlobId) -> Blob:
        """How far it has come, as it is now."""
        ...

    async def keep(self, blob: BlobId, *, until_ms: int) -> Kept | Incomplete | Gone:
        """Let it live; see `whisperkit.blobs.keep`."""
        ...


@attrs.frozen(kw_only=True)
class BlobLimits:
    """What a user may store.

    Attributes:
        max_blob_bytes: The largest attachment.
        max_keep_days: How far ahead `keep` may reach; more than the life of an entry and a day.
    """

    max_blob_bytes: int = 100 << 20
    max_keep_days: int = 90


class _Span(NamedTuple):
    """Bytes from `start` up to, not including, `stop` of an attachment of `size` bytes."""

    start: int
    stop: int
    size: int


class BlobHttp:
    """The endpoints; `routes` goes into the server's table.

    Args:
        store: Where the bytes go.
        authority: Who may, and how long.
        authenticate: Whose token it is.
        wall_ms: The clock, milliseconds since 1970.
        limits: See there.
        settle: Makes what was put durable, before it is committed; `None` if `put` does that itself.
        moved: Told of bytes that went ``in`` or ``out``.
    """

    def __init__(
        self,
        store: BlobBytes,
        authority: BlobAuthority,
        authenticate: Authenticate,
        *,
        wall_ms: Callable[[], int],
        limits: BlobLimits | None = None,
        settle: Callable[[BlobId], Awaitable[None]] | None = None,
        moved: Callable[[str, int], None] | None = None,
    ) -> None:
        self._store = store
        self._authority = authority
        self._authenticate = authenticate
        self._wall_ms = wall_ms
        self._limits = limits or BlobLimits()
        self._settle = settle
        self._moved = moved or _nobody_counts
        # The latest upload of each attachment: one whose peer is gone unnoticed must not write behind its successor.
        self._uploads: dict[BlobId, object] = {}

    @property
    def routes(self) -> list[Route]:
        """Who answers what."""
        one = "/v1/blobs/{blob}"
        return [
            Route("PUT", one, self._for_users(self._put)),
            Route("HEAD", one, self._for_users(self._head)),
            Route("GET", one, self._for_users(self._get)),
            Route("POST", one + "/keep", self._for_users(self._keep)),
        ]

    def _for_users(self, handle: Callable[[Request, BlobId, UserId], Awaitable[Response]]) -> Handler:
        async def handler(request: Request) -> Response:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            user = await self._authenticate(token.strip()) if scheme.lower() == "bearer" else None
            if user is None:
                raise HttpError(
                    401, "wire.unauthorised", "a valid bearer token is needed", headers={"WWW-Authenticate": "Bearer"}
                )
            try:
                blob = BlobId(request.parameters["blob"])
            except MalformedIdError as error:
                raise HttpError(400, error.code, "an attachment's id is 32 hexadecimal characters") from error
            return await handle(request, blob, user)

        return handler

    # ---- upload ----

    async def _put(self, request: Request, blob: BlobId, user: UserId) -> Response:
        span = self._announced(request)
        match await self._authority.reserve(blob, owner=user, size=span.size):
            case Reserved():
                pass
            case Committed() as there:
                return _complete(there, status=200)
            case refused:
                raise _refusal(refused, blob)
        stored = await self._stored(blob)
        if span.start > stored:
            raise _offset_error(stored, f"the part begins at {span.start}, and {stored} bytes are there")
        stored = max(stored, await self._receive(request, blob, span))
        if stored < span.size:
            return json_response({"offset": stored, "complete": False}, 202, {"Upload-Offset": str(stored)})
        return await self._commit(blob, user, stored)

    def _announced(self, request: Request) -> _Span:
        """Which bytes the request says it brings."""
        length = request.headers.get("content-length")
        if (header := request.headers.get("content-range")) is not None:
            match = _CONTENT_RANGE.fullmatch(header)
            if match is None:
                raise HttpError(400, "http.bad-range", "Content-Range is `bytes first-last/size`")
            first, last, size = (int(number) for number in match.groups())
            if not first <= last < size or (length is not None and int(length) != last + 1 - first):
                raise HttpError(400, "http.bad-range", f"bytes {first} to {last} of {size} do not fit the request")
            span = _Span(first, last + 1, size)
        elif length is not None:
            span = _Span(0, int(length), int(length))
        else:
            raise HttpError(411, "http.length-required", "Content-Length or Content-Range says how much there will be")
        limit = self._limits.max_blob_bytes
        if span.size > limit:
            raise HttpError(
                413, "blobs.too-large", f"{span.size} bytes were announced; the limit is {limit}", limit=limit
            )
        if not span.size:
            raise HttpError(400, "blobs.empty", "an attachment has at least one byte")
        return span

    async def _receive(self, request: Request, blob: BlobId, span: _Span) -> int:
        """Store what comes; what came before the peer went away stays. Returns how many bytes there are."""
        mine = self._uploads[blob] = object()
        at, gathered = span.start, bytearray()
        stored = 0
        try:
            try:
                async for piece in request.body:
                    gathered += piece
                    if at + len(gathered) > span.stop:
                        gathered.clear()
                        raise HttpError(400, "http.bad-range", f"more came than the {span.stop - span.start} announced")
                    if len(gathered) >= _PIECE_BYTES:
                        stored = await self._store_piece(blob, at, gathered, mine)
                        at += len(gathered)
                        gathered.clear()
            finally:
                if gathered:
                    stored = await self._store_piece(blob, at, gathered, mine)
        finally:
            if self._uploads.get(blob) is mine:
                del self._uploads[blob]
        return stored

    async def _store_piece(self, blob: BlobId, at: int, data: bytearray, mine: object) -> int:
        if self._uploads.get(blob) is not mine:
            raise HttpError(409, "blobs.superseded", "a newer upload of this attachment has begun")
        self._moved("in", len(data))
        return await self._store.put(blob, at, bytes(data))

    async def _commit(self, blob: BlobId, user: UserId, stored: int) -> Response:
        if self._settle is not None:
            await self._settle(blob)
        match await self._authority.commit(blob, owner=user, stored=stored):
            case Committed() as there:
                return _complete(there, status=201)
            case refused:
                raise _refusal(refused, blob)

    async def _stored(self, blob: BlobId) -> int:
        return await self._store.put(blob, 0, b"")

    # ---- download ----

    async def _head(self, request: Request, blob: BlobId, user: UserId) -> Response:
        there = await self._authority.look(blob)
        if there.stage is Stage.RESERVED:
            if there.owner != user:
                raise _refusal(NotYours(), blob)
            progress = {"Upload-Offset": str(await self._stored(blob)), "Upload-Length": str(there.size)}
            return Response(status=204, headers=progress)
        return Response(headers=_file_headers(blob), content_length=self._size(there, blob))

    async def _get(self, request: Request, blob: BlobId, user: UserId) -> Response:
        size = self._size(await self._authority.look(blob), blob)
        span = _asked(request.headers.get("range"), size)
        headers = _file_headers(blob)
        if span is None:
            span, status = _Span(0, size, size), 200
        else:
            status = 206
            headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
        body = self._pieces(blob, span)
        return Response(status=status, headers=headers, body=body, content_length=span.stop - span.start)

    def _size(self, there: Blob, blob: BlobId) -> int:
        match there.stage:
            case Stage.COMMITTED:
                return there.size
            case Stage.RESERVED:
                raise _refusal(Incomplete(there.size), blob)
            case Stage.ABSENT | Stage.DELETING:
                raise _refusal(Gone(), blob)

    async def _pieces(self, blob: BlobId, span: _Span) -> AsyncIterator[bytes]:
        at = span.start
        while at < span.stop:
            piece = await self._store.read(blob, at, min(_PIECE_BYTES, span.stop - at))
            if not piece:
                # Swept while it was read. The length was promised, so the connection ends, and the peer asks again.
                raise ConnectionAbortedError
            self._moved("out", len(piece))
            at += len(piece)
            yield piece

    # ---- keep ----

    async def _keep(self, request: Request, blob: BlobId, user: UserId) -> Response:
        until_ms = _until(await request.read(_MAX_KEEP_BYTES))
        latest_ms = self._wall_ms() + self._limits.max_keep_days * _DAY_MS
        if until_ms > latest_ms:
            raise HttpError(
                400, "blobs.keep-too-long", f"until {until_ms} was asked; the limit is {latest_ms}", limit=latest_ms
            )
        match await self._authority.keep(blob, until_ms=until_ms):
            case Kept() as kept:
                return json_response({"until_ms": kept.until_ms})
            case refused:
                raise _refusal(refused, blob)


def _nobody_counts(direction: str, count: int) -> None: ...


def _until(body: bytes) -> int:
    try:
        asked: object = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    # The cast says what the check has found.
    until_ms = cast("dict[str, object]", asked).get("until_ms") if isinstance(asked, dict) else None
    if type(until_ms) is not int or not 0 < until_ms < 1 << 53:
        raise HttpError(400, "http.malformed", 'the body is {"until_ms": milliseconds since 1970}')
    return until_ms


def _asked(header: str | None, size: int) -> _Span | None:
    """Which bytes a Range asks for; `None` for all, also if it is one that we may ignore (RFC 9110, section 14.2)."""
    match = _RANGE.fullmatch(header) if header is not None else None
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= stop:
        raise HttpError(
            416, "http.bad-range", f"there are {size} bytes", headers={"Content-Range": f"bytes */{size}"}, size=size
        )
    return _Span(start, stop, size)


def _file_headers(blob: BlobId) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "ETag": f'"{blob}"',  # the bytes of an id never change
        "Cache-Control": "private, immutable",
        # Whoever uploads chooses the bytes: no browser is to take them for a page.
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": "attachment",
    }


def _complete(there: Committed, *, status: int) -> Response:
    body = {"offset": there.size, "complete": True, "until_ms": there.until_ms}
    return json_response(body, status, {"Upload-Offset": str(there.size)})


def _offset_error(stored: int, message: str) -> HttpError:
    return HttpError(409, "blobs.offset", message, headers={"Upload-Offset": str(stored)}, offset=stored)


def _refusal(answer: Incomplete | NotYours | Gone, blob: BlobId) -> HttpError:
    match answer:
        case Incomplete(size=size):
            return HttpError(409, "blobs.incomplete", f"{size} bytes are to be there first", size=size)
        case NotYours():
            return HttpError(403, "blobs.not-yours", "another user, or for another size, reserved this id")
        case Gone():
            return HttpError(410, "blobs.gone", f"attachment {blob} is not here: upload it under a new id")
