"""Attachments of a client: encrypted in pieces on the device, carried by anything, never whole in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

from whisperkit.client.content import Attachment
from whisperkit.errors import UsageError
from whisperkit.ids import BlobId
from whisperkit.ratchet import AttachmentDecryptor, AttachmentEncryptor, AttachmentPointer
from whisperkit.runtime import Runtime

__all__ = ["BlobTransfer", "ReadAt", "Spool", "Uploads"]

# An entry lives thirty days, and the attachment it names one more.
KEEP_MS: Final = 31 * 86_400_000

ReadAt = Callable[[int, int], Awaitable[bytes]]
"""Reads at most so many bytes (second) from an offset (first)."""


class BlobTransfer(Protocol):
    """Carries encrypted attachments to and from a server."""

    async def put(self, blob: BlobId, size: int, read_at: ReadAt) -> None:
        """Upload; an upload that was cut off goes on where it ended.

        Raises:
            BlobGoneError: The id is used up.
            TransportError: It could not be completed.
        """
        ...

    def get(self, blob: BlobId) -> AsyncIterator[bytes]:
        """Download, in pieces of any size.

        Raises:
            BlobGoneError: It is not there any more.
            TransportError: It could not be completed.
        """
        ...

    async def keep(self, blob: BlobId, *, until_ms: int) -> None:
        """Let it live until then.

        Raises:
            BlobGoneError: It is not there any more: upload it again.
            TransportError: It could not be asked for.
        """
        ...


class Uploads:
    """Encrypts and uploads, downloads and decrypts.

    Args:
        transfer: What carries; `None`: there are no attachments.
        runtime: Clock and randomness.
    """

    def __init__(self, transfer: BlobTransfer | None, runtime: Runtime) -> None:
        self._transfer = transfer
        self._runtime = runtime

    async def upload(
        self,
        read: Callable[[], AsyncIterator[bytes]],
        *,
        name: str,
        media_type: str,
        caption: str = "",
        spool: Spool,
    ) -> Attachment:
        """Encrypt a file into a spool, upload it, and return what goes into the message.

        Args:
            read: Reads the file from its start, in pieces of any size.
            name: What to call it.
            media_type: Such as ``image/jpeg``.
            caption: A text beside it.
            spool: Where the encrypted file lies while it is carried, so that an upload can be resumed: encrypting
                the file a second time would be another file.
        """
        attachment = await self.seal(read, name=name, media_type=media_type, caption=caption, spool=spool)
        await self.carry(attachment, spool)
        return attachment

    async def seal(
        self,
        read: Callable[[], AsyncIterator[bytes]],
        *,
        name: str,
        media_type: str,
        caption: str = "",
        spool: Spool,
    ) -> Attachment:
        """Encrypt a file into a spool, the first half of `upload`: whoever keeps both can go on after a restart."""
        encryptor = AttachmentEncryptor(random_bytes=self._runtime.random)
        async for piece in read():
            await spool.write(encryptor.update(piece))
        await spool.write(encryptor.finalize())
        pointer = encryptor.pointer(name=name, media_type=media_type)
        return Attachment(BlobId.mint(random_bytes=self._runtime.random), pointer, caption)

    async def carry(self, attachment: Attachment, spool: Spool) -> None:
        """Upload what was sealed into a spool, from where an earlier call ended."""
        await self._carrier.put(attachment.blob, attachment.pointer.sealed_size, spool.read_at)

    async def download(self, blob: BlobId, pointer: AttachmentPointer) -> AsyncIterator[bytes]:
        """Download and decrypt, piece by piece; what is yielded is authentic, and the end is checked.

        Raises:
            AttachmentError: It is altered or cut short.
        """
        decryptor = AttachmentDecryptor(pointer)
        async for piece in self._carrier.get(blob):
            if plaintext := decryptor.update(piece):
                yield plaintext
        decryptor.finalize()

    def check(self) -> None:
        """Look whether there can be attachments.

        Raises:
            UsageError: The client was made without a carrier.
        """
        assert self._carrier is not None

    async def keep(self, blob: BlobId) -> None:
        """Keep an attachment alive for a message that is about to be sent."""
        await self._carrier.keep(blob, until_ms=self._runtime.wall_ms() + KEEP_MS)

    @property
    def _carrier(self) -> BlobTransfer:
        if self._transfer is None:
            raise UsageError("this client was made without a carrier of attachments", code="usage.no-carrier")
        return self._transfer


class Spool(Protocol):
    """Encrypted bytes on their way."""

    async def write(self, data: bytes) -> None:
        """Append."""
        ...

    async def read_at(self, offset: int, size: int) -> bytes:
        """Read at most `size` bytes."""
        ...
