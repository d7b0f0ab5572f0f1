"""How decoded state becomes stored bytes: one msgpack array that begins with a format number.

What a store gives back is checked against its shape, so that bytes which the library did not write raise
`CorruptStateError` and nothing else.
"""

from __future__ import annotations

from typing import Any, Final

import msgpack

from whisperkit.errors import CorruptStateError, PeerError

__all__ = ["FORMAT", "pack", "reading", "shaped", "unpack"]

# The first field of every array. A later format gets another number and a reader of its own.
FORMAT: Final = 1


# Made once: that is half of what a small array costs.
_pack: Final = msgpack.Packer().pack
_unpackb: Final[Any] = msgpack.unpackb  # Any: whatever was stored


def pack(*fields: object) -> bytes:
    """Encode fields behind the format number."""
    return _pack((FORMAT, *fields))


def unpack(data: bytes, *, kind: str, shape: tuple[type, ...]) -> tuple[Any, ...]:
    """Read what `pack` made.

    Args:
        data: The stored bytes.
        kind: What it is, for the error.
        shape: The exact type of each field.

    Raises:
        CorruptStateError: Not such an array.
    """
    with reading(kind):
        fields: tuple[Any, ...] = _unpackb(data, use_list=False, strict_map_key=True)
        if type(fields) is not tuple or not fields or fields[0] != FORMAT:
            raise ValueError("unknown format")
        return shaped(fields[1:], shape)


def shaped(fields: tuple[Any, ...], shape: tuple[type, ...]) -> tuple[Any, ...]:
    """The same fields, if they are exactly of these types.

    Raises:
        ValueError: They are not.
    """
    if tuple(map(type, fields)) != shape:
        raise ValueError("fields of other types")
    return fields


class reading:  # noqa: N801  # read as a statement: with reading("conversation"): ...
    """Turn whatever goes wrong while stored bytes are read into `CorruptStateError`."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, _MISREAD):
            raise CorruptStateError(kind=self.kind, reason=str(error)) from error


_MISREAD = (ValueError, TypeError, LookupError, OverflowError, PeerError)
