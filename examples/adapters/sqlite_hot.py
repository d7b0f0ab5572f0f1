"""What was used lately, in bounded memory, at the price of one look into a dictionary.

An exact order of use costs a move at each look. Two generations need none: what is used goes into the young one; when
that is full it becomes the old one, and what the old one held and nobody used since is forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

__all__ = ["Hot"]

K = TypeVar("K")
V = TypeVar("V")


class Hot(Generic[K, V]):
    """Values by key: `size` // 2 of those used last are there, and no more than `size` of all.

    Args:
        size: At least 2; `keep_all` may bring more for a while.
    """

    def __init__(self, size: int) -> None:
        self._half = size // 2
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """The value; `None` if it is not there. Counts as a use."""
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None:
                self.keep(key, found)
        return found

    def keep(self, key: K, value: V) -> None:
        """Remember a value instead of the one that was there."""
        self._young[key] = value
        if len(self._young) >= self._half:
            self._turn()

    def keep_all(self, values: Mapping[K, V]) -> None:
        """Remember many at once."""
        self._young.update(values)
        if len(self._young) >= self._half:
            self._turn()

    def __len__(self) -> int:
        """How many values are held; one that is in both generations counts twice."""
        return len(self._young) + len(self._old)

    def _turn(self) -> None:
        self._old, self._young = self._young, {}
