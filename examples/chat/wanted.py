"""What follows a command; where it is missing, a `ValueError` with the question that answers the command."""

from __future__ import annotations

import shlex

__all__ = ["number_of", "one_of", "quoted", "some_of"]


def one_of(text: str, question: str) -> str:
    """The one word that is needed."""
    if not text or " " in text:
        raise ValueError(question)
    return text


def some_of(text: str, question: str) -> list[str]:
    """The words, of which one is needed."""
    if not text:
        raise ValueError(question)
    return text.split()


def quoted(text: str) -> list[str]:
    """The words, where quotes hold those together that have spaces between them."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ValueError(
            "a quote is open: a path with a space or a quote in it stands in quotes of the other kind"
        ) from error


def number_of(text: str) -> int:
    """A number."""
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{text} is no number")
    return int(text)
