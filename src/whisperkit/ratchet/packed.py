"""Records as msgpack arrays: the version of the layout, and fields whose types are looked at before they are used.

What is read comes from the device's own store, so whatever is not of its form is a `CorruptStateError`: not a peer's
doing. A record that is read with every message is looked at by `fields`, which compares all types at once; a pattern
with a class for each field takes five times as long.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Final, TypeAlias, cast

import msgpack

from whisperkit.errors import CorruptStateError

__all__ = ["Shape", "fields", "items", "malformed", "pack", "shape", "unpack"]

_LAYOUT: Final = 1

Shape: TypeAlias = frozenset[tuple[type, ...]]
"""The types that the fields of a list may have together."""


def shape(*kinds: type | tuple[type, ...]) -> Shape:
    """The shape of a list.

    Args:
        kinds: The type of each field, or all types that it may have. Meant to the letter: a `bool` is no `int`.
    """
    return frozenset(product(*(kind if isinstance(kind, tuple) else (kind,) for kind in kinds)))


def pack(*values: object) -> bytes:
    """Write a record."""
    packed = msgpack.packb([_LAYOUT, *values])
    assert packed is not None  # the stubs allow None, which packb returns for no input
    return packed


def unpack(kind: str, data: bytes) -> list[object]:
    """Read a record.

    Args:
        kind: What it is called in an error.
        data: Its bytes.

    Raises:
        CorruptStateError: It is none, or of another layout.
    """
    try:
        value: object = msgpack.unpackb(data)
    except (ValueError, TypeError) as error:
        raise CorruptStateError(kind=kind, reason=type(error).__name__) from None
    layout, *found = items(kind, value) or [None]
    if layout != _LAYOUT:
        said = layout if isinstance(layout, int) else type(layout).__name__
        raise CorruptStateError(kind=kind, reason=f"its layout is {said}, known is {_LAYOUT}")
    return found


def fields(kind: str, value: Any, expected: Shape) -> list[Any]:
    """The fields of a list. `Any`, because no checker can follow that their types were just looked at.

    Raises:
        CorruptStateError: It is no list, or not of that shape.
    """
    found: list[Any] = value
    if not isinstance(value, list) or tuple(map(type, found)) not in expected:
        raise malformed(kind)
    return found


def items(kind: str, value: object) -> list[object]:
    """What should be a list, as one.

    Raises:
        CorruptStateError: It is none.
    """
    if not isinstance(value, list):
        raise malformed(kind)
    return cast("list[object]", value)  # a list of whatever it is: each item is looked at by whoever asked


def malformed(kind: str) -> CorruptStateError:
    """What to raise for a record that is not of its form."""
    return CorruptStateError(kind=kind, reason="it is not of its form")
