"""As much of the protobuf encoding as the Signal messages need.

Writing: fields in ascending order, every field that is present, zero or not (proto2).

Reading: any order, the last of a repeated field wins, unknown fields of every wire type are skipped, groups
included. A known field of another wire type is an error. Nobody ever re-encodes what was read: MACs and
signatures are over the bytes that came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from whisperkit.errors import InvalidMessageError
from whisperkit.ratchet.redaction import redacted

__all__ = ["BYTES", "MAX_GROUP_DEPTH", "UINT32", "Fields", "read", "read_varint", "write", "write_varint"]

UINT32: Final = 0
BYTES: Final = 2

# Unknown groups may nest; the number is the one that the official reader uses. Deeper ones would only cost time.
MAX_GROUP_DEPTH: Final = 100

_MAX_VARINT_BYTES: Final = 10
_UINT32_MASK: Final = (1 << 32) - 1
_UINT64_MASK: Final = (1 << 64) - 1


class Fields(NamedTuple):
    """The fields of a message that was read.

    Attributes:
        numbers: Those of wire type varint, as uint32.
        blobs: Those of wire type bytes.
    """

    numbers: Mapping[int, int]
    blobs: Mapping[int, bytes]

    def __repr__(self) -> str:
        return redacted(self)


def write(fields: Iterable[tuple[int, int | bytes | None]]) -> bytes:
    """Encode fields in the order given; `None` means absent."""
    parts: list[bytes] = []
    for number, value in fields:
        match value:
            case None:
                pass
            case int():
                parts += (write_varint(number << 3 | UINT32), write_varint(value))
            case bytes():
                parts += (write_varint(number << 3 | BYTES), write_varint(len(value)), value)
    return b"".join(parts)


def write_varint(value: int) -> bytes:
    """Encode a number that is not negative, seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read(data: bytes, known: Mapping[int, int]) -> Fields:
    """Decode a message.

    Args:
        data: Its bytes.
        known: The wire type, `UINT32` or `BYTES`, of each field of interest.

    Raises:
        InvalidMessageError: Not a protobuf, or a known field has another wire type.
    """
    numbers: dict[int, int] = {}
    blobs: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        field, wire, position = _read_key(data, position)
        if known.get(field, wire) != wire:
            raise InvalidMessageError(f"protobuf field {field} has wire type {wire}, expected {known[field]}")
        if field not in known:
            position = _skip(data, position, field, wire)
        elif wire == UINT32:
            value, position = read_varint(data, position)
            numbers[field] = value & _UINT32_MASK
        else:
            start, position = _read_length(data, position)
            blobs[field] = data[start:position]
    return Fields(numbers, blobs)


def _read_key(data: bytes, position: int) -> tuple[int, int, int]:
    key, position = read_varint(data, position)
    if not 8 <= key <= _UINT32_MASK:
        raise InvalidMessageError("a protobuf field has an impossible number")
    return key >> 3, key & 7, position


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Decode a number of at most 64 bits.

    Returns:
        The number, and the position behind it.

    Raises:
        InvalidMessageError: It is cut short or too long.
    """
    value = 0
    for i, byte in enumerate(data[position : position + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            if value > _UINT64_MASK:
                break
            return value, position + i + 1
    raise InvalidMessageError("a protobuf number is cut short or too long")


def _read_length(data: bytes, position: int) -> tuple[int, int]:
    size, start = read_varint(data, position)
    return start, _bounded(data, start + size)


def _bounded(data: bytes, position: int) -> int:
    if position > len(data):
        raise InvalidMessageError("a protobuf field is cut short")
    return position


def _skip(data: bytes, position: int, field: int, wire: int) -> int:
    open_groups: list[int] = []
    while True:
        match wire:
            case 0:
                _, position = read_varint(data, position)
            case 1:
                position = _bounded(data, position + 8)
            case 2:
                _, position = _read_length(data, position)
            case 3:
                open_groups.append(field)
                if len(open_groups) > MAX_GROUP_DEPTH:
                    raise InvalidMessageError(f"protobuf groups are nested deeper than {MAX_GROUP_DEPTH}")
            case 4 if open_groups and open_groups[-1] == field:
                open_groups.pop()
            case 5:
                position = _bounded(data, position + 4)
            case _:
                raise InvalidMessageError(f"a protobuf field has an impossible wire type {wire}")
        if not open_groups:
            return position
        field, wire, position = _read_key(data, position)
