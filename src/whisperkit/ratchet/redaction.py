"""Printing values that hold secrets without printing the secrets."""

from __future__ import annotations

__all__ = ["redacted"]


def redacted(self: object) -> str:
    """The name of the class and nothing else: a `__repr__` for values made of secrets."""
    return f"<{type(self).__name__}>"
