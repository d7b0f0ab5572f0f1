"""The marks on the screen, and what stands for them where a terminal has ASCII only. None of them needs a colour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from whisperkit.client.events import ConnectionState

__all__ = ["ASCII", "GLYPHS", "Glyphs", "glyphs_for", "said_with"]


class Glyphs(NamedTuple):
    """The marks.

    Attributes:
        pending: Of a message that waits, and so on.
        changed: Of a safety number that is another one.
        filled: Of a bar.
        rule: Of a line across.
        states: How the device stands with the server.
    """

    pending: str
    sent: str
    delivered: str
    read: str
    failed: str
    unreadable: str
    file: str
    changed: str
    verified: str
    online: str
    filled: str
    empty: str
    rule: str
    more: str
    down: str
    dot: str
    states: dict[ConnectionState, str]


GLYPHS: Final = Glyphs(
    pending="◷",
    sent="✓",
    delivered="✓✓",
    read="✔✔",
    failed="✗",
    unreadable="⧖",
    file="▤",
    changed="⚠",
    verified="✔",
    online="●",
    filled="█",
    empty="░",
    rule="─",
    more="…",
    down="↓",
    dot="·",
    states={
        ConnectionState.LIVE: "●",
        ConnectionState.CATCHING_UP: "◐",
        ConnectionState.OFFLINE: "○",
        ConnectionState.REPLACED: "■",
        ConnectionState.REFUSED: "■",
    },
)
ASCII: Final = Glyphs(
    pending=".",
    sent="v",
    delivered="vv",
    read="VV",
    failed="x",
    unreadable="?",
    file="file",
    changed="!",
    verified="v",
    online="*",
    filled="#",
    empty=".",
    rule="-",
    more="...",
    down="v",
    dot="-",
    states={
        ConnectionState.LIVE: "*",
        ConnectionState.CATCHING_UP: "~",
        ConnectionState.OFFLINE: "o",
        ConnectionState.REPLACED: "#",
        ConnectionState.REFUSED: "#",
    },
)


def said_with(glyphs: Glyphs, text: str) -> str:
    """What the program says, with these marks in the place of those that it has in its texts."""
    return text if glyphs is GLYPHS else text.translate(_IN_ASCII)


def _pairs() -> Iterator[tuple[str, str]]:
    for one, other in zip(GLYPHS, ASCII, strict=True):
        if isinstance(one, str) and isinstance(other, str) and len(one) == 1:
            yield one, other
    for state, mark in GLYPHS.states.items():
        yield mark, ASCII.states[state]


_IN_ASCII: Final = str.maketrans(dict(_pairs()))


def glyphs_for(encoding: str | None) -> Glyphs:
    """Those that a terminal of this encoding can show."""
    try:
        "".join(one for one in GLYPHS if isinstance(one, str)).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return GLYPHS
