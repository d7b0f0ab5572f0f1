"""A device as the examples use it: a `Client` on SQLite, encrypted at rest, attachments over HTTP, and search.

On the disk there is one file, and nothing in it is in clear: everything that a device keeps is in its sealed store,
what can be searched is in memory only, and an attachment on its way lies encrypted in a temporary file. A file that the
person saves is theirs, and as it was sent.
"""

from __future__ import annotations

import base64
import json
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx

from examples.adapters.sealed import open_sealed
from examples.adapters.sealed_lock import Lock
from examples.adapters.sqlite import open_sqlite
from examples.device_search import SearchIndex
from examples.net.blob_client import BlobClient, BlobRefusedError
from examples.net.websocket_link import connect, is_loopback
from examples.server.tokens import token_message
from whisperkit.client import Client
from whisperkit.client.blobs import ReadAt
from whisperkit.client.content import Attachment
from whisperkit.client.events import EventsLost, Recorded
from whisperkit.client.standing import Listener
from whisperkit.errors import TransportError
from whisperkit.ids import BlobId, ConversationId, DeviceId, MessageId
from whisperkit.partitions import Partition
from whisperkit.stores import PartitionStore

__all__ = ["FileSpool", "HttpBlobs", "Phone", "device_file", "open_phone", "pieces_of"]

_PIECE_BYTES = 256 * 1024
# A token is taken anew when it has less than this to live.
_MARGIN_MS = 60_000
_UNAUTHORISED = 401


class FileSpool:
    """Encrypted bytes on their way, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def write(self, data: bytes) -> None:
        """Append."""

        def append() -> None:
            with self._path.open("ab") as file:
                file.write(data)

        await anyio.to_thread.run_sync(append)

    async def read_at(self, offset: int, size: int) -> bytes:
        """Read at most `size` bytes."""

        def read() -> bytes:
            with self._path.open("rb") as file:
                file.seek(offset)
                return file.read(size)

        return await anyio.to_thread.run_sync(read)


class HttpBlobs:
    """A `BlobTransfer` over the reference server's HTTP.

    Args:
        url: Of the server, such as ``http://127.0.0.1:8080``.
        device: Who asks.
    """

    def __init__(self, url: str, device: DeviceId) -> None:
        self.moved: Callable[[int], None] = lambda _count: None
        self._url = url
        self._device = device
        self._token = ""
        self._expires_at_ms = 0
        self._client: Client | None = None
        self._blobs = BlobClient(url, token=lambda: self._token)

    def belongs_to(self, client: Client) -> None:
        """Say whose identity key signs for tokens."""
        self._client = client

    async def put(self, blob: BlobId, size: int, read_at: ReadAt) -> None:
        """Upload."""
        await self._ask(lambda: self._blobs.upload(blob, read_at, size, progress=self.moved))

    async def get(self, blob: BlobId) -> AsyncIterator[bytes]:
        """Download."""
        await self._ensure_token()
        count, is_renewed = 0, False
        while True:
            try:
                async for piece in self._blobs.download(blob, start=count):
                    count += len(piece)
                    self.moved(count)
                    yield piece
            except BlobRefusedError as error:
                if error.status != _UNAUTHORISED or is_renewed:
                    raise
                is_renewed = True
                await self._renew_token()
            else:
                return

    async def keep(self, blob: BlobId, *, until_ms: int) -> None:
        """Let it live."""
        await self._ask(lambda: self._blobs.keep(blob, until_ms))

    async def close(self) -> None:
        """End the connections."""
        await self._blobs.__aexit__(None, None, None)

    async def _ask(self, ask: Callable[[], Awaitable[object]]) -> None:
        """Ask with a token; a server that was started again does not know the old one."""
        await self._ensure_token()
        try:
            await ask()
        except BlobRefusedError as error:
            if error.status != _UNAUTHORISED:
                raise
            await self._renew_token()
            await ask()

    async def _ensure_token(self) -> None:
        if time.time_ns() // 1_000_000 >= self._expires_at_ms - _MARGIN_MS:
            await self._renew_token()

    async def _renew_token(self) -> None:
        now = time.time_ns() // 1_000_000
        assert self._client is not None  # said by whoever opened the phone
        signature = await self._client.sign(token_message(self._device, now))
        asked = {"device": self._device, "at_ms": now, "signature": base64.b64encode(signature).decode()}
        try:
            async with httpx.AsyncClient(base_url=self._url, trust_env=not is_loopback(self._url)) as http:
                answer = await http.post("/v1/token", json=asked)
            given = json.loads(answer.text)
            self._token, self._expires_at_ms = str(given["token"]), int(given["expires_at_ms"])
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise TransportError("no token for attachments") from error


class Phone:
    """A device in somebody's hand.

    Attributes:
        client: Its client.
        blobs: Its carrier of attachments.
        index: What it can search.
        store: Where all that it keeps is, also what the program around it wants to keep.
    """

    def __init__(self, client: Client, blobs: HttpBlobs, index: SearchIndex, store: PartitionStore) -> None:
        self.client = client
        self.blobs = blobs
        self.index = index
        self.store = store
        self._heard: Listener | None = None

    async def send_file(
        self, conv: ConversationId, path: Path, *, media_type: str, caption: str = ""
    ) -> tuple[MessageId, Attachment]:
        """Encrypt, upload and send a file."""
        with tempfile.TemporaryDirectory() as folder:
            attachment = await self.client.uploads.upload(
                lambda: pieces_of(path),
                name=path.name,
                media_type=media_type,
                caption=caption,
                spool=FileSpool(Path(folder) / "sealed"),
            )
        return await self.client.send_attachment(conv, attachment), attachment

    async def save_file(self, attachment: Attachment, path: Path) -> int:
        """Download and decrypt into a file, which is there only once all of it is authentic; returns its size."""
        part = path.with_name(path.name + ".part")
        size = 0
        try:
            with part.open("wb") as file:
                async for piece in self.client.uploads.download(attachment.blob, attachment.pointer):
                    size += file.write(piece)
        except BaseException:
            part.unlink(missing_ok=True)  # half a file in clear, which nobody asked for
            raise
        part.replace(path)
        return size

    async def search(self, words: str, *, conv: ConversationId | None = None) -> list[str]:
        """Snippets of messages with these words, the newest first. The first time, all of the history is read."""
        await self._fill_index()
        return [hit.snippet for hit in self.index.search(words, conv=conv)]

    async def _fill_index(self) -> None:
        """Read the history once, and hear of what comes after that."""
        heard = self._heard
        if heard is None:
            heard = self.client.events()
            await self.index.fill(self.client)
            # Noted when all of it is in: a filling that was interrupted begins again.
            self._heard = heard
        while len(heard):
            match await heard.get():
                case Recorded(record, _):
                    self.index.add(record)
                case EventsLost():
                    await self.index.fill(self.client)
                case _:
                    pass


async def pieces_of(path: Path) -> AsyncIterator[bytes]:
    """A file in pieces, from its start."""
    async with await anyio.open_file(path, "rb") as file:
        while piece := await file.read(_PIECE_BYTES):
            yield piece


def device_file(folder: Path, name: str, number: int = 1) -> Path:
    """Where a device is kept."""
    return folder / f"{name}.{number}.db"


@asynccontextmanager
async def open_phone(
    folder: Path,
    name: str,
    *,
    url: str,
    lock: Lock,
    number: int = 1,
    is_linked: bool = False,
    beat_s: float = 30.0,
    files_url: str | None = None,
) -> AsyncGenerator[Phone]:
    """Open a device, made if it is not there; it connects by itself.

    Args:
        folder: Where it is kept.
        name: The user.
        url: Of the server, such as ``ws://127.0.0.1:8080/ws``.
        lock: What opens it; a device that is made now is locked with it.
        number: The device's number.
        is_linked: It joins a user who exists.
        beat_s: How often it says that it is there.
        files_url: Where attachments go, such as ``http://127.0.0.1:8080``; to the server of `url` without.

    Raises:
        WrongPassphraseError: It is locked with another lock.
        StoreError: It cannot be opened: not encrypted, of a newer program, or in use.
    """
    await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
    device = DeviceId.named(name, number)
    parts = urlsplit(url)
    scheme = "https" if parts.scheme == "wss" else "http"
    blobs = HttpBlobs(files_url or f"{scheme}://{parts.netloc}", device)
    async with open_sqlite(device_file(folder, name, number)) as file:
        store = await open_sealed(file, lock, clear=[Partition(f"device/{device}")])
        client = Client(store, device, connect=connect(url), name=name, is_linked=is_linked, blobs=blobs, beat_s=beat_s)
        blobs.belongs_to(client)
        with SearchIndex() as index:
            try:
                async with client:
                    yield Phone(client, blobs, index, store)
            finally:
                await blobs.close()
