"""As much of the protobuf encoding as the Signal messages need.

Writing: fields in ascending order, every field that is present, zero or not (proto2).

Reading: any order, the last of a repeated field wins, unknown fields of every wire type are skipped, groups
included. A known field of another wire type is an error. Nobody ever re-encodes what was read: MACs and
signatures are over the bytes that came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeVar

from whisperkit.errors import InvalidMessageError
from whisperkit.ratchet.redaction import redacted

__all__ = [
    "BYTES",
    "FIXED64",
    "MAX_GROUP_DEPTH",
    "UINT32",
    "UINT64",
    "Fields",
    "Fixed64",
    "read",
    "read_varint",
    "write",
    "write_varint",
]

# Kinds of field: the wire type in the low three bits, and above them what else a reader has to know.
UINT32: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
UINT64: Final = 1 << 3

# Unknown groups may nest; the number is the one that the official reader uses. Deeper ones would only cost time.
MAX_GROUP_DEPTH: Final = 100

_MAX_VARINT_BYTES: Final = 10
T = TypeVar("T")

_WIRE_MASK: Final = 7
_FIXED64_BYTES: Final = 8
_UINT32_MASK: Final = (1 << 32) - 1
_UINT64_MASK: Final = (1 << 64) - 1
_ONE_BYTE: Final = tuple(bytes([n]) for n in range(0x80))


class Fixed64(int):
    """A number that is written as eight bytes, the lowest first."""

    __slots__ = ()


class Fields(NamedTuple):
    """The fields of a message that was read.

    Attributes:
        numbers: Those that are numbers, cut to the 32 or 64 bits of their kind.
        blobs: Those of wire type bytes.
    """

    numbers: Mapping[int, int]
    blobs: Mapping[int, bytes]

    def number(self, field: int) -> int:
        """A number that has to be there. Presence counts, not truth: an id or a counter of 0 is as good as any.

        Raises:
            InvalidMessageError: It is missing.
        """
        return _present(self.numbers, field)

    def blob(self, field: int, size: int | None = None) -> bytes:
        """Bytes that have to be there.

        Args:
            field: Their number.
            size: How many there have to be; `None` for any.

        Raises:
            InvalidMessageError: They are missing, or more or fewer.
        """
        value = _present(self.blobs, field)
        if size is not None and len(value) != size:
            raise InvalidMessageError(f"protobuf field {field} has {size} bytes, got {len(value)}")
        return value

    def __repr__(self) -> str:
        return redacted(self)


def write(fields: Iterable[tuple[int, int | bytes | None]]) -> bytes:
    """Encode fields in the order given; `None` means absent."""
    parts: list[bytes] = []
    for number, value in fields:
        match value:
            case None:
                pass
            case Fixed64():
                parts += (write_varint(number << 3 | FIXED64), value.to_bytes(_FIXED64_BYTES, "little"))
            case int():
                parts += (write_varint(number << 3 | UINT32), write_varint(value))
            case bytes():
                parts += (write_varint(number << 3 | BYTES), write_varint(len(value)), value)
    return b"".join(parts)


def write_varint(value: int) -> bytes:
    """Encode a number that is not negative, seven bits a byte, the lowest first."""
    if value < 0x80:
        return _ONE_BYTE[value]
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
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
        known: The kind of each field of interest: `UINT32`, `UINT64`, `FIXED64` or `BYTES`.

    Raises:
        InvalidMessageError: Not a protobuf, or a known field has another wire type.
    """
    numbers: dict[int, int] = {}
    blobs: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        field, wire, position = _read_key(data, position)
        kind = known.get(field)
        if kind is None:
            position = _skip(data, position, field, wire)
        elif kind & _WIRE_MASK != wire:
            expected = kind & _WIRE_MASK
            raise InvalidMessageError(f"protobuf field {field} has wire type {wire}, expected {expected}")
        elif kind == BYTES:
            start, position = _read_length(data, position)
            blobs[field] = data[start:position]
        elif kind == FIXED64:
            start, position = position, _bounded(data, position + _FIXED64_BYTES)
            numbers[field] = int.from_bytes(data[start:position], "little")
        else:
            value, position = read_varint(data, position)
            numbers[field] = value & _UINT32_MASK if kind == UINT32 else value
    return Fields(numbers, blobs)


def _present(values: Mapping[int, T], field: int) -> T:
    if field not in values:
        raise InvalidMessageError(f"protobuf field {field} is missing")
    return values[field]


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
    if position < len(data) and (first := data[position]) < 0x80:
        return first, position + 1
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
