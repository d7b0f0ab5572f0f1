"""The client's side of attachments: upload and download that go on where the network broke them off."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

import anyio
import httpx
from anyio import to_thread

from examples.net.websocket_link import is_loopback
from whisperkit.errors import ActionRequiredError, BlobGoneError, TransportError
from whisperkit.ids import BlobId

__all__ = ["BlobClient", "BlobRefusedError", "ReadAt", "file_reader"]

_PIECE_BYTES: Final = 256 * 1024
_ANSWERED: Final = (200, 201, 202, 204, 206)

ReadAt = Callable[[int, int], Awaitable[bytes]]
"""Reads at most `size` bytes at `offset`: what is uploaded has to be there until it is done."""


class BlobRefusedError(ActionRequiredError):
    """The server does not take or give an attachment, and would not if asked again.

    Attributes:
        status: The HTTP status.
        reason: The server's code, such as ``blobs.too-large``.
    """

    code = "blobs.refused"

    def __init__(self, *, status: int, reason: str, message: str) -> None:
        super().__init__(f"the server refused: {message} ({status}, {reason})")
        self.status = status
        self.reason = reason


class _Progress(NamedTuple):
    offset: int
    is_complete: bool


def file_reader(path: str | os.PathLike[str]) -> ReadAt:
    """Read a file piece by piece, in a worker thread."""

    def read(offset: int, size: int) -> bytes:
        with Path(path).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    async def read_at(offset: int, size: int) -> bytes:
        return await to_thread.run_sync(read, offset, size)

    return read_at


class BlobClient:
    """Uploads, downloads and keeps attachments at one server; an async context manager.

    Args:
        url: Of the server, such as ``http://127.0.0.1:8080``.
        token: Gives a bearer token, fresh for each request.
        attempts: How often in a row a request may fail, without a byte moved, before that is an error.
        wait: Waits between attempts, by default 0.5 s, 1 s, 2 s ...
        timeout_s: How long the server may take for any single step.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Callable[[], str],
        attempts: int = 5,
        wait: Callable[[int], Awaitable[None]] | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=timeout_s, trust_env=not is_loopback(url))
        self._token = token
        self._attempts = attempts
        self._wait = wait or _back_off

    async def __aenter__(self) -> BlobClient:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    async def upload(
        self, blob: BlobId, read: ReadAt, size: int, *, progress: Callable[[int], None] | None = None
    ) -> None:
        """Upload an attachment; goes on where an earlier upload of the same id ended, of this process or another.

        Args:
            blob: Its id, minted by the caller and saved before the first call.
            read: Where the bytes come from.
            size: How many there are.
            progress: Told how many bytes are on their way or there, now and then.

        Raises:
            BlobGoneError: The id was deleted: upload under a new one.
            BlobRefusedError: Too large, or not this user's.
            TransportError: The server could not be reached; call again to go on.
        """
        failures, reached = 0, -1
        while True:
            cause: Exception | None = None
            try:
                there = await self._progress(blob)
                if there.offset > reached:
                    failures, reached = 0, there.offset
                if there.is_complete or (await self._send(blob, read, there.offset, size, progress)).is_complete:
                    return
            except (httpx.TransportError, _BusyError) as error:
                cause = error
            failures += 1
            if failures >= self._attempts:
                raise TransportError(f"upload of {blob} failed {failures} times at byte {max(0, reached)}") from cause
            await self._wait(failures)

    async def download(self, blob: BlobId, *, start: int = 0) -> AsyncIterator[bytes]:
        """Download an attachment from byte `start` on; a broken connection is made again from where it broke.

        Raises:
            BlobGoneError: It is not there, or no longer.
            BlobRefusedError: It is incomplete.
            TransportError: The server could not be reached; call again with what has come as `start`.
        """
        at, failures = start, 0
        while True:
            try:
                async with self._http.stream("GET", _path(blob), headers=self._headers(Range=f"bytes={at}-")) as answer:
                    if answer.status_code == 416:
                        return  # nothing is left
                    await self._check(answer, blob)
                    if at and answer.status_code != 206:
                        raise TransportError("a part was asked for, and the whole came")
                    async for piece in answer.aiter_raw(_PIECE_BYTES):
                        at += len(piece)
                        failures = 0
                        yield piece
                    return
            except (httpx.TransportError, _BusyError) as error:
                failures += 1
                if failures >= self._attempts:
                    raise TransportError(f"download of {blob} failed {failures} times at byte {at}") from error
                await self._wait(failures)

    async def keep(self, blob: BlobId, until_ms: int) -> int:
        """Let an attachment live; call it before every attempt to send a message that names it.

        Returns:
            Until when it lives, milliseconds since 1970: `until_ms` or later.

        Raises:
            BlobGoneError: Upload it again, under a new id.
            BlobRefusedError: It is incomplete, or `until_ms` is too far ahead.
            TransportError: The server could not be reached.
        """
        try:
            answer = await self._http.post(_path(blob) + "/keep", json={"until_ms": until_ms}, headers=self._headers())
            await self._check(answer, blob)
            kept: object = answer.json()["until_ms"]
        except (httpx.TransportError, _BusyError, ValueError, KeyError, TypeError) as error:
            raise TransportError(f"keep of {blob} failed") from error
        return kept if isinstance(kept, int) else until_ms

    async def _progress(self, blob: BlobId) -> _Progress:
        """How far the server has it; an id that it does not know is at 0."""
        answer = await self._http.head(_path(blob), headers=self._headers())
        if answer.status_code == 410:
            # Never seen or deleted, HEAD cannot say: the upload will tell.
            return _Progress(0, is_complete=False)
        await self._check(answer, blob)
        if answer.status_code == 204:
            return _Progress(int(answer.headers["upload-offset"]), is_complete=False)
        return _Progress(int(answer.headers["content-length"]), is_complete=True)

    async def _send(
        self, blob: BlobId, read: ReadAt, offset: int, size: int, progress: Callable[[int], None] | None
    ) -> _Progress:
        # All bytes are there and the server was stopped before it noted that: the last one again lets it.
        start = min(offset, size - 1)

        async def body() -> AsyncIterator[bytes]:
            at = start
            while at < size:
                piece = await read(at, min(_PIECE_BYTES, size - at))
                if not piece:
                    raise EOFError(f"there are {at} bytes, {size} were to be uploaded")
                at += len(piece)
                yield piece
                if progress is not None:
                    progress(at)

        headers = self._headers(
            **{"Content-Range": f"bytes {start}-{size - 1}/{size}", "Content-Length": str(size - start)}
        )
        answer = await self._http.put(_path(blob), content=body(), headers=headers)
        if answer.status_code == 409:
            raise _BusyError(answer.text)  # another offset than we thought, or a newer upload: look again
        await self._check(answer, blob)
        return _Progress(int(answer.headers["upload-offset"]), is_complete=answer.status_code in (200, 201))

    def _headers(self, **more: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token()}", **more}

    async def _check(self, answer: httpx.Response, blob: BlobId) -> None:
        status = answer.status_code
        if status in _ANSWERED:
            return
        if status == 410:
            raise BlobGoneError(blob=blob)
        if status >= 500 or status == 429:
            raise _BusyError(str(status))
        await answer.aread()
        try:
            said = json.loads(answer.text)
            reason, message = str(said["code"]), str(said["message"])
        except (ValueError, KeyError, TypeError):
            reason, message = "http.unknown", answer.reason_phrase
        raise BlobRefusedError(status=status, reason=reason, message=message)


class _BusyError(Exception):
    """Not now; ask again."""


def _path(blob: BlobId) -> str:
    return f"/v1/blobs/{blob}"


async def _back_off(failures: int) -> None:
    await anyio.sleep(0.25 * 2**failures)
