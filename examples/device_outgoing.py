"""Files on their way to the server: encrypted in a folder, listed in the device's store; a restart costs nothing.

A file is on the list from when it is encrypted until its message is written. Between the two, an upload may be broken
off as often as it likes: it goes on where it ended.
"""

from __future__ import annotations

import mimetypes
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgpack

from examples.device import FileSpool, Phone, pieces_of
from whisperkit.client.content import Attachment, decode_content, encode_content
from whisperkit.ids import ConversationId, MessageId
from whisperkit.partitions import EVERYTHING, Change, Partition, Row
from whisperkit.stores import Load, Loaded, Outcome, transact

__all__ = ["OutgoingFile", "OutgoingFiles"]

_PARTITION: Final = Partition("outgoing")
_MAX_FILES: Final = 1_000
# How far back a message is looked for that a crash kept from being crossed off the list.
_LOOK_BACK: Final = 200


class OutgoingFile(NamedTuple):
    """A file on its way.

    Attributes:
        number: Which one, and where its encrypted bytes are.
        conv: Where its message goes.
        at_ms: Since when.
        attachment: What will be in the message.
    """

    number: str
    conv: ConversationId
    at_ms: int
    attachment: Attachment


class OutgoingFiles:
    """The list.

    Args:
        phone: The device.
        folder: Where the encrypted bytes lie.
    """

    def __init__(self, phone: Phone, folder: Path) -> None:
        self._phone = phone
        self._client = phone.client
        self._folder = folder

    async def load(self) -> list[OutgoingFile]:
        """The files that were left on their way; what else lies in the folder is not needed any more."""
        found: list[OutgoingFile] = []
        for key, value in await self._phone.store.rows(_PARTITION, [EVERYTHING], limit=_MAX_FILES):
            conv, at_ms, content = msgpack.unpackb(value)
            attachment = decode_content(content)
            if isinstance(attachment, Attachment):
                found.append(OutgoingFile(key.decode(), ConversationId(conv), at_ms, attachment))
        found = [file for file in found if not await self._is_sent(file)]
        kept = {self._place(file.number) for file in found}
        for path in self._folder.glob("*.sealed"):
            if path not in kept:
                path.unlink(missing_ok=True)
        return found

    async def _is_sent(self, file: OutgoingFile) -> bool:
        for record in await self._client.history(file.conv, limit=_LOOK_BACK):
            if isinstance(record.what, Attachment) and record.what.blob == file.attachment.blob:
                await self.drop(file)
                return True
        return False

    async def add(
        self, conv: ConversationId, path: Path, *, caption: str, at_ms: int, media_type: str = ""
    ) -> OutgoingFile:
        """Encrypt a file and put it on the list. Without a type it is what the name says, if it says anything."""
        number = secrets.token_hex(8)
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            attachment = await self._client.uploads.seal(
                lambda: pieces_of(path),
                name=path.name,
                media_type=media_type or mimetypes.guess_type(path.name)[0] or "application/octet-stream",
                caption=caption,
                spool=FileSpool(self._place(number)),
            )
        except BaseException:
            self._place(number).unlink(missing_ok=True)
            raise
        file = OutgoingFile(number, conv, at_ms, attachment)
        value: bytes = msgpack.packb((conv, at_ms, encode_content(attachment)))
        await self._change(put=(Row(number.encode(), value),))
        return file

    async def carry(self, file: OutgoingFile) -> MessageId:
        """Upload a file, and write its message; returns the id of that.

        Raises:
            TransportError: It could not be completed; call again to go on.
        """
        await self._client.uploads.carry(file.attachment, FileSpool(self._place(file.number)))
        message_id = await self._client.send_attachment(file.conv, file.attachment)
        await self.drop(file)
        return message_id

    async def drop(self, file: OutgoingFile) -> None:
        """Take a file off the list, and its bytes away."""
        await self._change(delete=(file.number.encode(),))
        self._place(file.number).unlink(missing_ok=True)

    def _place(self, number: str) -> Path:
        return self._folder / f"{number}.sealed"

    async def _change(self, *, put: tuple[Row, ...] = (), delete: tuple[bytes, ...] = ()) -> None:
        def rule(loaded: Mapping[Partition, Loaded]) -> Outcome[None]:
            return Outcome(None, (Change(_PARTITION, loaded[_PARTITION].version, b"", put, delete),))

        await transact(self._phone.store, [Load(_PARTITION)], rule)
