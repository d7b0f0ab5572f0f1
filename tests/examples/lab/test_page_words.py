"""The page's pure functions: what they say of what they are given."""

from __future__ import annotations

from typing import Any

import pytest

from tests.examples.lab.browser import Fake, Window


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("cut('short', 10)", "short"),
        ("cut('too long', 3)", "too…"),
        ("cut('🙂🙂', 3)", "🙂…"),
        ("briefly({ text: 'at the gate' })", "at the gate"),
        ("briefly({ text: '', file: { name: 'cat.jpg' } })", "cat.jpg"),
        ("sizeOf(0)", "0 B"),
        ("sizeOf(999)", "999 B"),
        ("sizeOf(999_499)", "999 kB"),
        ("sizeOf(999_500)", "1.0 MB"),
        ("blocks(0, 0)", ""),
        ("blocks(5, 7)", "▮▮▮▮▮▯▯"),
        ("blocks(40, 80)", "▮▮▮▮▮▯▯▯▯▯"),
        ("blocks(9, 3)", "▮▮▮"),
        ("gather([])", ""),
        ("gather([{ text: 'a', word: 'read' }, { text: 'b', word: 'sent' }])", "b, sent. a, read"),
        ("gather(Array(3).fill({ text: 'a', word: 'read' }))", "3 messages read"),
        ("[1, 2, 4].map((order) => placeOf([{ order: 2, id: 'b' }, { order: 3 }], { order, id: 'a' }))", [0, 0, 2]),
        ("placeOf([{ order: 1, id: 'a' }, { order: 1, id: 'c' }], { order: 1, id: 'b' })", 1),
    ],
)
def test_a_function_of_the_page_says(open_page: Window, call: str, said: Any) -> None:
    names = "briefly, blocks, cut, gather, placeOf, sizeOf"

    assert open_page.page.evaluate(f"import('/lab.js').then(({{ {names} }}) => {call})") == said


@pytest.fixture(scope="module")
def open_page(tab: Window) -> Window:
    Fake(tab.page).open()
    return tab
