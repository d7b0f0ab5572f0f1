"""The bytes of a message: version, epoch, index, type, and for most types one chunk of an object.

What follows a complete message is ignored, as the protocol says. A number may be written in more bytes than
it needs: messages are under the MAC of the layer above as they came, so nobody ever encodes one again.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from whisperkit._named_tuples import make
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
    return _OPENINGS[epoch] if epoch < len(_OPENINGS) else _VERSION_BYTE + encode_varint(epoch)


def encode_varint(value: int) -> bytes:
    """Encode a number that is not negative, seven bits a byte, the lowest first."""
    if value < 0x80:
        return value.to_bytes()
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_OPENINGS: Final = tuple(_VERSION_BYTE + encode_varint(epoch) for epoch in range(0x80))


def decode(data: bytes) -> Message:
    """Read a message.

    Raises:
        UnsupportedVersionError: It is of another version; an empty one counts as version 0.
        InvalidMessageError: It is cut short, or a number is out of range.
    """
    version = data[0] if data else 0
    if version != VERSION:
        raise UnsupportedVersionError(found=version, supported=(VERSION,))
    try:
        epoch, position = _read_varint(data, 1)
        number, position = _read_varint(data, position)
        type_ = _TYPES[data[position]]
        if epoch == 0 or number > MAX_INDEX:
            raise InvalidMessageError(f"a post-quantum ratchet message has epoch {epoch} and index {number}")
        if type_ is MessageType.NONE or type_ is MessageType.CT1_ACK:
            return make(Message, (epoch, number, type_, 0, b""))
        chunk_index, position = _read_varint(data, position + 1)
    except IndexError:
        raise InvalidMessageError("a post-quantum ratchet message ends too early, or is of no known type") from None
    chunk = data[position : position + CHUNK_BYTES]
    if chunk_index > _MAX_CHUNK_INDEX or len(chunk) != CHUNK_BYTES:
        raise InvalidMessageError(f"chunk {chunk_index} has {len(chunk)} bytes, expected {CHUNK_BYTES}")
    return make(Message, (epoch, number, type_, chunk_index, chunk))


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """The number that begins at `position`, and the position after it; `IndexError` if it does not end."""
    byte = data[position]
    if byte < 0x80:
        return byte, position + 1
    following = data[position + 1]
    if following < 0x80:
        return byte & 0x7F | following << 7, position + 2
    value = shift = 0
    for byte in data[position : position + _MAX_VARINT_BYTES]:
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise IndexError
