"""Making named tuples in half the time, for what is made with every message.

A `NamedTuple` is made by a Python function that puts its arguments into a tuple and calls `tuple.__new__`. `make` is
that `tuple.__new__`: ``make(Point, (1, 2))`` is ``Point(1, 2)``. Type checkers hold the fields to the types of the
class. What they cannot see is a field left out because it has a default, which `make` would not fill in: a test reads
the source for that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

__all__ = ["make"]

Made = TypeVar("Made")
FieldTypes = TypeVarTuple("FieldTypes")

if TYPE_CHECKING:

    def make(kind: Callable[[*FieldTypes], Made], fields: tuple[*FieldTypes], /) -> Made:
        """Make a named tuple of one class from all of its fields, in order."""
        ...

else:
    make = tuple.__new__
