"""Files of one phone: what the browser hands over is encrypted, listed and carried to the server one by one."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, NamedTuple

import anyio
import attrs

from examples.chat.lines import file_name, reason
from examples.device import Phone
from examples.device_outgoing import OutgoingFile, OutgoingFiles
from examples.lab.bubbles import Bubbles, Json, message_name
from examples.lab.counter import Counter
from examples.lab.wire import Wire
from examples.net.http import HttpError
from whisperkit.client.content import Attachment
from whisperkit.errors import TransportError, WhisperError
from whisperkit.ids import ConversationId

__all__ = ["MAX_FILE_BYTES", "LabFiles", "Opened"]

# What the reference server takes.
MAX_FILE_BYTES: Final = 100 << 20
_TYPE: Final = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}")
_PIECE_BYTES: Final = 64 * 1024
_TOLD_EVERY_S: Final = 0.1
# How soon what could not be carried is tried again.
_AGAIN_S: Final = 1.0


class Opened(NamedTuple):
    """A file to be saved.

    Attributes:
        name: What it is called.
        media_type: What its sender said it is.
        size: In bytes.
        pieces: All of it.
    """

    name: str
    media_type: str
    size: int
    pieces: AsyncIterator[bytes]


@attrs.define
class _Moving:
    """A file on its way."""

    number: str
    name: str
    media_type: str
    size: int
    total: int
    at_ms: int
    moved: int = 0
    state: str = "moving"
    words: str = "waiting to send"
    is_cancelled: bool = False
    file: OutgoingFile | None = None
    told_at: float = 0.0


class LabFiles:
    """Carries files.

    Args:
        phone: The device.
        conv: Where they go.
        folder: Where they lie meanwhile.
        bubbles: Makes rows.
        counter: Told of what was written.
        tell: Tells the page.
        wire: What carries them. It tells how much has gone on: what the phone has handed over lies in the buffers of
            two sockets for a while, which hold some megabytes.
    """

    def __init__(
        self,
        phone: Phone,
        conv: ConversationId,
        folder: Path,
        *,
        bubbles: Bubbles,
        counter: Counter,
        tell: Callable[[Json], None],
        wire: Wire,
    ) -> None:
        self._phone = phone
        self._wire = wire
        self._conv = conv
        self._folder = folder
        self._bubbles = bubbles
        self._counter = counter
        self._tell = tell
        self._outgoing = OutgoingFiles(phone, folder)
        self._moving: dict[str, _Moving] = {}
        self._carrying: tuple[str, asyncio.Task[None]] | None = None
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Carry what there is, for ever."""
        while True:
            self._news.clear()
            ready = next((one for one in self._moving.values() if one.file is not None and one.state != "failed"), None)
            if ready is None:
                await self._news.wait()
                continue
            task = asyncio.create_task(self._carry(ready))
            self._carrying = ready.number, task
            try:
                await asyncio.wait([task])
            finally:
                self._carrying = None
                task.cancel()
            if ready.number in self._moving:
                await asyncio.sleep(_AGAIN_S)

    def rows(self) -> list[Json]:
        """What is on its way."""
        return [self._row(one) for one in self._moving.values()]

    # ---- from the browser ----

    async def take(self, body: AsyncIterator[bytes], *, name: str, media_type: str, total: int) -> str:
        """Take a file, and begin to carry it; returns what the page calls it until it is a message.

        Args:
            body: All of it.
            name: What it is called.
            media_type: What it is; what is none counts as not said.
            total: How long it will be, if that is known.

        Raises:
            HttpError: It is too long.
        """
        if total > MAX_FILE_BYTES:
            raise HttpError(413, "lab.too-large", f"a file has at most {MAX_FILE_BYTES} bytes, this one {total}")
        kind = media_type if _TYPE.fullmatch(media_type) else ""
        one = _Moving(secrets.token_hex(8), file_name(name), kind, total, total, _wall_ms())
        self._moving[one.number] = one
        path = self._folder / one.number / one.name
        try:
            await self._receive(one, body, path)
            one.file = await self._outgoing.add(
                self._conv, path, caption="", at_ms=one.at_ms, media_type=one.media_type
            )
            if one.is_cancelled:  # while it was encrypted
                await self._outgoing.drop(one.file)
                raise _cancelled()
            one.media_type = one.file.attachment.pointer.media_type
            one.moved, one.total = 0, one.file.attachment.pointer.sealed_size
        except BaseException:
            self._forget(one)
            raise
        finally:
            await asyncio.to_thread(_remove, path)
        self._show(one)
        self._news.set()
        return one.number

    async def _receive(self, one: _Moving, body: AsyncIterator[bytes], path: Path) -> None:
        self._show(one)
        await anyio.Path(path.parent).mkdir(parents=True)
        async with await anyio.open_file(path, "wb") as file:
            size = 0
            async for piece in body:
                size += len(piece)
                if size > MAX_FILE_BYTES:
                    raise HttpError(413, "lab.too-large", f"a file has at most {MAX_FILE_BYTES} bytes")
                if one.is_cancelled:
                    raise _cancelled()
                await file.write(piece)
        one.size = size

    async def cancel(self, number: str) -> None:
        """Do not send a file after all."""
        one = self._moving.get(number)
        if one is None:
            return
        one.is_cancelled = True
        if one.file is None:
            return  # whoever takes it sees that
        self._forget(one)
        if self._carrying is not None and self._carrying[0] == number:
            self._carrying[1].cancel()
        await self._outgoing.drop(one.file)

    def holds(self, number: str) -> bool:
        """Whether a row is of a file that is no message yet."""
        return number in self._moving

    def retry(self, number: str) -> None:
        """Try again to carry what was given up."""
        one = self._moving[number]
        if one.state == "failed":
            one.state, one.words, one.moved = "moving", "waiting to send", 0
            self._show(one)
            self._news.set()

    def _forget(self, one: _Moving) -> None:
        self._moving.pop(one.number, None)
        self._bubbles.drop(one.number)
        self._tell({"kind": "gone", "phone": self._bubbles.phone, "id": one.number})

    # ---- to the server ----

    async def _carry(self, one: _Moving) -> None:
        assert one.file is not None  # only what was taken is carried
        self._wire.file_moved = lambda size: self._note(one, size)
        try:
            message_id = await self._outgoing.carry(one.file)
        except TransportError:
            one.state, one.words = "paused", "no connection; it goes on by itself"
        except (WhisperError, OSError) as error:
            one.state, one.words = "failed", f"not sent: {reason(error)}"
        else:
            self._counter.write(message_name(message_id))
            self._forget(one)
            return
        finally:
            self._wire.file_moved = lambda _size: None
        self._show(one)

    def _note(self, one: _Moving, size: int) -> None:
        one.moved, one.state, one.words = min(one.moved + size, one.total), "moving", "waiting to send"
        if time.monotonic() - one.told_at > _TOLD_EVERY_S:
            self._show(one)

    def _show(self, one: _Moving) -> None:
        one.told_at = time.monotonic()
        self._tell(self._row(one))

    def _row(self, one: _Moving) -> Json:
        file: Json = {"name": one.name, "type": one.media_type, "size": one.size}
        file |= {"moved": one.moved, "total": one.total, "state": one.state}
        return self._bubbles.sending(one.number, one.at_ms, file, one.words)

    # ---- to be saved ----

    async def open(self, name: str) -> Opened:
        """Fetch the file of a message, and decrypt it.

        Raises:
            HttpError: There is no such message, or no file in it.
            TransportError: It cannot be fetched now.
        """
        record = self._bubbles.records.get(name)
        what = None if record is None else record.what
        if not isinstance(what, Attachment):
            raise HttpError(404, "lab.no-file", "there is no file in that message")
        path = self._folder / secrets.token_hex(8) / "opened"
        await anyio.Path(path.parent).mkdir(parents=True)
        try:
            size = await self._phone.save_file(what, path)
            file = await anyio.open_file(path, "rb")
        finally:
            # What is open can be read to its end, and nothing in clear stays behind if the browser goes away.
            await asyncio.to_thread(_remove, path)
        return Opened(file_name(what.pointer.name), what.pointer.media_type, size, _pieces_of(file))


async def _pieces_of(file: anyio.AsyncFile[bytes]) -> AsyncIterator[bytes]:
    async with file:
        while piece := await file.read(_PIECE_BYTES):
            yield piece


def _cancelled() -> HttpError:
    return HttpError(409, "lab.cancelled", "the file was cancelled")


def _remove(path: Path) -> None:
    """Take a file away, and the folder that was made for it alone."""
    path.unlink(missing_ok=True)
    if path.parent.is_dir():
        path.parent.rmdir()


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
