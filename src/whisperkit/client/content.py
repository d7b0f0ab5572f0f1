"""What is inside a ciphertext: the only part of a message that says anything, and the server never sees it.

A small array in msgpack, ``[version, kind, fields ...]``. A reader skips kinds it does not know, because a newer
client may send them; everything else that is not of its form is refused with `InvalidMessageError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias, cast

import msgpack

from whisperkit.errors import AttachmentError, InvalidMessageError, MalformedIdError, PeerError, UsageError
from whisperkit.ids import BlobId, ConversationId, MessageId
from whisperkit.ratchet import AttachmentPointer

__all__ = [
    "MAX_TEXT_CHARS",
    "AskAgain",
    "Attachment",
    "Bound",
    "Content",
    "KeyGift",
    "Resend",
    "ResendRequest",
    "Text",
    "Unknown",
    "bind",
    "check_content",
    "decode_content",
    "encode_content",
    "unbind",
]

VERSION: Final = 1
MAX_TEXT_CHARS: Final = 65_536
# Encoded: a copy for each of a dozen devices still fits into a frame.
MAX_CONTENT_BYTES: Final = 65_536 + 1_024


class Text(NamedTuple):
    """A text.

    Attributes:
        text: 1 to `MAX_TEXT_CHARS` characters.
        reply_to: The message that it answers.
    """

    text: str
    reply_to: MessageId | None = None

    def __repr__(self) -> str:
        return f"<Text of {len(self.text)} characters>"


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

    def __repr__(self) -> str:
        return f"<Attachment {self.blob}>"


class KeyGift(NamedTuple):
    """The sender's key for a group.

    Attributes:
        conv: The group.
        distribution: A sender key distribution message, encoded.
    """

    conv: ConversationId
    distribution: bytes

    def __repr__(self) -> str:
        return f"<KeyGift for {self.conv}>"


class ResendRequest(NamedTuple):
    """A message could not be read here: send it again, to this device alone."""

    conv: ConversationId
    message_id: MessageId


class Resend(NamedTuple):
    """The content of a message that could not be read, encoded."""

    conv: ConversationId
    message_id: MessageId
    content: bytes

    def __repr__(self) -> str:
        return f"<Resend {self.message_id}>"


class AskAgain(NamedTuple):
    """What this device asked for lately could not be read, or may not have come: ask again."""


class Bound(NamedTuple):
    """A message with the place it was written for, so that a server cannot show it anywhere else.

    Attributes:
        conv: Its conversation.
        message_id: Its identity.
        content: What it says, encoded.
    """

    conv: ConversationId
    message_id: MessageId
    content: bytes

    def __repr__(self) -> str:
        return f"<Bound {self.message_id}>"


class Unknown(NamedTuple):
    """Something that a newer client sent."""

    kind: int


Content: TypeAlias = Text | Attachment | KeyGift | ResendRequest | Resend | AskAgain | Bound | Unknown

_TEXT, _ATTACHMENT, _KEY, _REQUEST, _RESEND, _ASK_AGAIN, _BOUND = 1, 2, 3, 4, 5, 6, 7


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
        case AskAgain():
            fields = (_ASK_AGAIN,)
        case Bound(conv, message_id, inner):
            fields = (_BOUND, conv, message_id, inner)
        case Unknown(kind):
            fields = (kind,)
    return msgpack.packb((VERSION, *fields))


def check_content(content: Content) -> bytes:
    """Write what a person wants to send.

    Raises:
        UsageError: It is empty, or longer than a message may be.
    """
    data = encode_content(content)
    if isinstance(content, Text) and not content.text:
        raise UsageError("a text has at least one character")
    if len(data) > MAX_CONTENT_BYTES or not _is_readable(data):
        raise UsageError(f"a message has at most {MAX_CONTENT_BYTES} bytes, got {len(data)}", code="usage.too-large")
    return data


def _is_readable(data: bytes) -> bool:
    try:
        decode_content(data)
    except PeerError:
        return False
    return True


def bind(conv: ConversationId, message_id: MessageId, content: bytes) -> bytes:
    """Write content together with its place, for the inside of a ciphertext."""
    return encode_content(Bound(conv, message_id, content))


def unbind(data: bytes, conv: ConversationId, message_id: MessageId) -> bytes:
    """The content of what `bind` made, if it was made for this place.

    Raises:
        InvalidMessageError: It was not, or it is nothing of that form.
    """
    match decode_content(data):
        case Bound(found_conv, found_id, content) if (found_conv, found_id) == (conv, message_id):
            decode_content(content)
            return content
        case _:
            raise InvalidMessageError("a message was written for another place than the one where it came")


def decode_content(data: bytes) -> Content:
    """Read what came out of a ciphertext.

    Raises:
        InvalidMessageError: It is not of its form.
    """
    try:
        raw: object = msgpack.unpackb(data, use_list=False)
        if not isinstance(raw, tuple) or raw[:1] != (VERSION,):
            raise ValueError("another version, or none")
        kind, *fields = cast("tuple[object, ...]", raw)[1:]  # of what, says the reader of its kind
        if not isinstance(kind, int):
            raise TypeError("no kind")
        read = _READERS.get(kind)
        return Unknown(kind) if read is None else read(*fields)
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


def _key(conv: object, distribution: object) -> KeyGift:
    return KeyGift(ConversationId(str(conv)), _bytes(distribution))


def _request(conv: object, message_id: object) -> ResendRequest:
    return ResendRequest(ConversationId(str(conv)), MessageId(_bytes(message_id)))


def _resend(conv: object, message_id: object, inner: object) -> Resend:
    return Resend(ConversationId(str(conv)), MessageId(_bytes(message_id)), _bytes(inner))


def _bound(conv: object, message_id: object, inner: object) -> Bound:
    return Bound(ConversationId(str(conv)), MessageId(_bytes(message_id)), _bytes(inner))


_READERS: Final[dict[int, Callable[..., Content]]] = {
    _TEXT: _text,
    _ATTACHMENT: _attachment,
    _KEY: _key,
    _REQUEST: _request,
    _RESEND: _resend,
    _ASK_AGAIN: AskAgain,
    _BOUND: _bound,
}
