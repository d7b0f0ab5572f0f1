"""The bytes of a message: version, epoch, index, type, and for most types one chunk of an object.

What follows a complete message is ignored, as the protocol says. A number may be written in more bytes than
it needs: messages are under the MAC of the layer above as they came, so nobody ever encodes one again.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from whisperkit.errors import InvalidMessageError, UnsupportedVersionError

__all__ = ["CHUNK_BYTES", "MAX_INDEX", "VERSION", "Message", "MessageType", "decode", "encode_varint", "opening"]

VERSION: Final = 1
CHUNK_BYTES: Final = 32
MAX_INDEX: Final = (1 << 32) - 1
_MAX_CHUNK_INDEX: Final = (1 << 16) - 1
_MAX_VARINT_BYTES: Final = 10
_VERSION_BYTE: Final = bytes([VERSION])


class MessageType(IntEnum):
    """What a message carries, by its number on the wire."""

    NONE = 0
    HEADER = 1
    EK = 2
    EK_CT1_ACK = 3
    CT1_ACK = 4
    CT1 = 5
    CT2 = 6


_TYPES: Final = tuple(MessageType)
_WITHOUT_CHUNK: Final = frozenset({MessageType.NONE, MessageType.CT1_ACK})


class Message(NamedTuple):
    """A message as it came.

    Attributes:
        epoch: The sender's epoch, at least 1.
        number: The index in the sender's chain; an honest sender begins with 1.
        type: What it carries.
        chunk_index: Which chunk, 0 to 65,535; 0 if there is none.
        chunk: 32 bytes, or none.
    """

    epoch: int
    number: int
    type: MessageType
    chunk_index: int = 0
    chunk: bytes = b""


def opening(epoch: int) -> bytes:
    """How all messages of an epoch begin."""
    return _VERSION_BYTE + encode_varint(epoch)


def encode_varint(value: int) -> bytes:
    """Encode a number that is not negative, seven bits a byte, the lowest first."""
    if value < 0x80:
        return value.to_bytes()
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data: bytes) -> Message:
    """Read a message.

    Raises:
        UnsupportedVersionError: It is of another version; an empty one counts as version 0.
        InvalidMessageError: It is cut short, or a number is out of range.
    """
    version = data[0] if data else 0
    if version != VERSION:
        raise UnsupportedVersionError(found=version, supported=(VERSION,))
    epoch, position = _read_varint(data, 1)
    index, position = _read_varint(data, position)
    if epoch == 0 or index > MAX_INDEX:
        raise InvalidMessageError(f"a post-quantum ratchet message has epoch {epoch} and index {index}")
    if position >= len(data) or data[position] >= len(_TYPES):
        raise InvalidMessageError("a post-quantum ratchet message has no known type")
    type_ = _TYPES[data[position]]
    if type_ in _WITHOUT_CHUNK:
        return Message(epoch, index, type_)
    chunk_index, position = _read_varint(data, position + 1)
    chunk = data[position : position + CHUNK_BYTES]
    if chunk_index > _MAX_CHUNK_INDEX or len(chunk) != CHUNK_BYTES:
        raise InvalidMessageError(f"chunk {chunk_index} has {len(chunk)} bytes, expected {CHUNK_BYTES}")
    return Message(epoch, index, type_, chunk_index, chunk)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """The number that begins at `position`, and the position after it."""
    value = 0
    for count, byte in enumerate(data[position : position + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, position + count + 1
    raise InvalidMessageError("a number in a post-quantum ratchet message does not end")
