"""What becomes of an operation that raised."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Failed"]


class Failed(NamedTuple):
    """Instead of an answer: the operation raised."""

    error: Exception
