"""What becomes of an operation that raised.

A module of its own, and not compiled: mypyc does not find the type `Exception` of a field in a compiled `NamedTuple`.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Failed"]


class Failed(NamedTuple):
    """Instead of an answer: the operation raised."""

    error: Exception
