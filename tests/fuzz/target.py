"""A decoder under fire: what it takes, what it may answer, and what is good input for it."""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs

__all__ = ["Target", "verdict"]


@attrs.frozen
class Target:
    """One decoder.

    Attributes:
        name: What it is called on the command line.
        take: Decodes, and checks of what it decoded that it can be written and read again.
        sample: Makes input that `take` takes.
        refusals: What may be raised for any other input.
    """

    name: str
    take: Callable[[bytes], object]
    sample: Callable[[random.Random], bytes]
    refusals: tuple[type[Exception], ...]


def verdict(target: Target, data: bytes) -> str:
    """Give an input to a decoder; what it raises beyond its refusals is a find, and leaves here."""
    try:
        target.take(data)
    except target.refusals:
        return "refused"
    return "taken"
