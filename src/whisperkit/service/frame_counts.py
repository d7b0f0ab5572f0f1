"""How many frames of each type came and left: counted with each message, told to the hook now and then.

A hook is written in plain Python, and a call of it for each message and each answer would be a part of what they cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from whisperkit.service.hook import Hook
from whisperkit.sync.codec import EncodedFrame
from whisperkit.sync.frames import BY_TYPE, Frame

__all__ = ["FrameCounts"]

# What is encoded already is an ENTRY.
_NAMES: Final[Mapping[type, str]] = {bytes: "ENTRY", **{kind: spec.name for kind, spec in BY_TYPE.items()}}


class FrameCounts:
    """Counts.

    Args:
        hook: Is told.
    """

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self._came: dict[type, int] = {}
        self._left: dict[type, int] = {}

    def came(self, some: Sequence[Frame]) -> None:
        """These came from a device."""
        _add(self._came, some)

    def left(self, some: Sequence[Frame | EncodedFrame]) -> None:
        """These left for a device."""
        _add(self._left, some)

    def tell(self) -> None:
        """Tell the hook of all since the last time."""
        for direction, counts in (("in", self._came), ("out", self._left)):
            for kind, count in counts.items():
                self._hook.frames(direction, _NAMES[kind], count)
            counts.clear()


def _add(counts: dict[type, int], some: Sequence[Frame | EncodedFrame]) -> None:
    for frame in some:
        kind = type(frame)
        counts[kind] = counts.get(kind, 0) + 1
