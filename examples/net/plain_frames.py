"""The short way for what nearly all traffic consists of: a whole message in one masked frame, all of it there.

The parser of `websockets` may have to wait after every byte and knows all of RFC 6455; a frame costs it a dozen calls,
most of what a gateway spends on a message outside the service. `next_frame` reads a plain frame where it lies. All else
goes to that parser: fragments, control frames, large frames, what is not all there yet, and whatever is wrong. The
tests hold both ways to each other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

try:
    from websockets.speedups import apply_mask
except ImportError:  # it was installed without its compiled part
    from websockets.utils import apply_mask

__all__ = ["Found", "frame_head", "next_frame"]

# The whole of a message: FIN, nothing reserved, binary or text.
_BINARY: Final = 0x82
_TEXT: Final = 0x81
_MASKED: Final = 0x80
_SHORT: Final = 126  # a length of two bytes follows
_LONG: Final = 127  # of eight
# What stands before a short message, by its size.
_BINARY_HEADS: Final = tuple(bytes((_BINARY, size)) for size in range(_SHORT))
_TEXT_HEADS: Final = tuple(bytes((_TEXT, size)) for size in range(_SHORT))


class Found(NamedTuple):
    """A frame.

    Attributes:
        size: Of all of it, in bytes; 0 if not even that can be told yet.
        data: What it carries, if it is plain and all there.
        is_text: Whether that is text.
    """

    size: int
    data: bytes | None = None
    is_text: bool = False


_INCOMPLETE: Final = Found(0)
# What `Found(...)` makes, without the function that such a class puts in front of it.
_found: Final[Callable[[tuple[int, bytes, bool]], Found]] = partial(tuple.__new__, Found)  # pyright: ignore[reportUnknownMemberType]


def next_frame(data: bytes, at: int, *, max_bytes: int) -> Found:
    """Look at the frame that begins at `at` (RFC 6455, section 5.2).

    Args:
        data: What came.
        at: Where in it a frame begins.
        max_bytes: What is longer is no plain frame.
    """
    there = len(data) - at
    if there < 2:
        return _INCOMPLETE
    first, second = data[at], data[at + 1]
    length = second & ~_MASKED
    head = 2
    if length in (_SHORT, _LONG):
        head = 4 if length == _SHORT else 10
        if there < head:
            return _INCOMPLETE
        length = int.from_bytes(data[at + 2 : at + head], "big")
    if second & _MASKED:
        head += 4
    size = head + length
    is_minimal = head == 6 or (head == 8 and length >= _SHORT)
    if there < size or not is_minimal or length > max_bytes or first not in (_BINARY, _TEXT):
        return Found(size)
    message = apply_mask(data[at + head : at + size], data[at + head - 4 : at + head])
    return _found((size, message, first == _TEXT))


def frame_head(size: int, *, is_text: bool) -> bytes:
    """What stands before a message of so many bytes that a server sends: it masks nothing."""
    if size < _SHORT:
        return (_TEXT_HEADS if is_text else _BINARY_HEADS)[size]
    first = _TEXT if is_text else _BINARY
    if size < 1 << 16:
        return bytes((first, _SHORT)) + size.to_bytes(2, "big")
    return bytes((first, _LONG)) + size.to_bytes(8, "big")
