"""What is inside a ciphertext: the only part of a message that says anything, and the server never sees it.

A small array in msgpack, ``[version, kind, fields ...]``. A reader skips kinds it does not know, because a newer
client may send them; everything else that is not of its form is refused with `InvalidMessageError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

import msgpack

from whisperkit.errors import AttachmentError, InvalidMessageError, MalformedIdError
from whisperkit.ids import BlobId, ConversationId, MessageId
from whisperkit.ratchet import AttachmentPointer

__all__ = [
    "MAX_TEXT_CHARS",
    "Attachment",
    "Content",
    "KeyGift",
    "Resend",
    "ResendRequest",
    "Text",
    "Unknown",
    "decode_content",
    "encode_content",
]

VERSION: Final = 1
MAX_TEXT_CHARS: Final = 65_536


class Text(NamedTuple):
    """A text.

    Attributes:
        text: 1 to `MAX_TEXT_CHARS` characters.
        reply_to: The message that it answers.
    """

    text: str
    reply_to: MessageId | None = None


class Attachment(NamedTuple):
    """A file.

    Attributes:
        blob: Where the server has it.
        pointer: What opens it.
        caption: A text beside it; may be empty.
    """

    blob: BlobId
    pointer: AttachmentPointer
    caption: str = ""


class KeyGift(NamedTuple):
    """The sender's key for a group.

    Attributes:
        conv: The group.
        distribution: A sender key distribution message, encoded.
    """

    conv: ConversationId
    distribution: bytes


class ResendRequest(NamedTuple):
    """A message could not be read here: send it again, to this device alone."""

    conv: ConversationId
    message_id: MessageId


class Resend(NamedTuple):
    """The content of a message that could not be read, encoded."""

    conv: ConversationId
    message_id: MessageId
    content: bytes


class Unknown(NamedTuple):
    """Something that a newer client sent."""

    kind: int


Content: TypeAlias = Text | Attachment | KeyGift | ResendRequest | Resend | Unknown

_TEXT, _ATTACHMENT, _KEY, _REQUEST, _RESEND = 1, 2, 3, 4, 5


def encode_content(content: Content) -> bytes:
    """Write what goes into a ciphertext."""
    match content:
        case Text(text, reply_to):
            fields: tuple[object, ...] = (_TEXT, text, reply_to)
        case Attachment(blob, pointer, caption):
            fields = (_ATTACHMENT, blob, pointer.encode(), caption)
        case KeyGift(conv, distribution):
            fields = (_KEY, conv, distribution)
        case ResendRequest(conv, message_id):
            fields = (_REQUEST, conv, message_id)
        case Resend(conv, message_id, inner):
            fields = (_RESEND, conv, message_id, inner)
        case Unknown(kind):
            fields = (kind,)
    return msgpack.packb((VERSION, *fields))


def decode_content(data: bytes) -> Content:
    """Read what came out of a ciphertext.

    Raises:
        InvalidMessageError: It is not of its form.
    """
    try:
        raw: object = msgpack.unpackb(data, use_list=False)
        match raw:
            case (int(version), int(kind), *fields) if version == VERSION:
                read = _READERS.get(kind)
                return Unknown(kind) if read is None else read(*fields)
            case _:
                raise ValueError("another version, or none")
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException, MalformedIdError, AttachmentError):
        raise InvalidMessageError("a message opened, and what is in it is not of its form") from None


def _text(text: object, reply_to: object) -> Text:
    if not isinstance(text, str) or not 1 <= len(text) <= MAX_TEXT_CHARS:
        raise ValueError("no text")
    return Text(text, None if reply_to is None else MessageId(_bytes(reply_to)))


def _attachment(blob: object, pointer: object, caption: object) -> Attachment:
    if not isinstance(caption, str) or len(caption) > MAX_TEXT_CHARS:
        raise ValueError("no caption")
    return Attachment(BlobId(str(blob)), AttachmentPointer.decode(_bytes(pointer)), caption)


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("no bytes")
    return value


_READERS: Final[dict[int, Callable[..., Any]]] = {  # Any: each makes its own kind
    _TEXT: _text,
    _ATTACHMENT: _attachment,
    _KEY: lambda conv, distribution: KeyGift(ConversationId(str(conv)), _bytes(distribution)),
    _REQUEST: lambda conv, message_id: ResendRequest(ConversationId(str(conv)), MessageId(_bytes(message_id))),
    _RESEND: lambda conv, message_id, inner: Resend(
        ConversationId(str(conv)), MessageId(_bytes(message_id)), _bytes(inner)
    ),
}
