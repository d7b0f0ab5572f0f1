"""Keys as terminals send them that know only the old way."""

from __future__ import annotations

import pytest
from textual._xterm_parser import XTermParser
from textual.events import Key

from examples.tui.legacy_keys import understand_old_alt


def keys(sent: str) -> list[str]:
    understand_old_alt()
    parser = XTermParser()
    found = [*parser.feed(sent), *parser.feed("")]
    return [event.key for event in found if isinstance(event, Key)]


@pytest.mark.parametrize(
    ("sent", "key"),
    [("\x1b\r", "alt+enter"), *((f"\x1b{digit}", f"alt+{digit}") for digit in "123456789"), ("\x1ba", "alt+a")],
)
def test_alt_and_a_key_sent_as_escape_and_the_key_is_alt_and_the_key(sent: str, key: str) -> None:
    assert keys(sent) == [key]


@pytest.mark.parametrize(("sent", "key"), [("\r", "enter"), ("1", "1"), ("¡", "inverted_exclamation_mark")])
def test_the_keys_alone_are_what_they_were(sent: str, key: str) -> None:
    assert keys(sent) == [key]
