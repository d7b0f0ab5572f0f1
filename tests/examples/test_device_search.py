"""Search on the device: fed from the history, and made anew from it at any time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from examples.device_search import SearchIndex
from whisperkit.testing.sim_phone import ChatNet, SimPhone


@pytest.fixture
def net() -> Iterator[ChatNet]:
    net = ChatNet()
    yield net
    net.close()


def fill(phone: SimPhone, index: SearchIndex) -> int:
    return phone.do(index.fill)


def test_what_was_said_is_found_by_its_words_the_newest_first(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat, group = alice.direct(bob), alice.group(bob)
    for text in ("the gate is B12", "boarding at ten", "Boarded!"):
        alice.send(chat, text)
        net.wait(1.0)
    alice.send(group, "boarding party tonight")
    net.until(lambda: len(bob.texts(chat)) == 3 and bool(bob.texts(group)))

    with SearchIndex(":memory:") as index:
        assert fill(bob, index) == 4
        assert fill(bob, index) == 0

        assert [hit.snippet for hit in index.search("board")] == [
            "[boarding] party tonight",
            "[Boarded]!",
            "[boarding] at ten",
        ]
        assert [hit.conv for hit in index.search("boarding", conv=chat)] == [chat]
        assert index.search("gate b1")[0].snippet == "the [gate] is [B12]"
        assert index.search("luggage") == index.search(' "* ') == []


def test_an_index_that_was_thrown_away_is_made_anew(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    for n in range(450):
        alice.send(chat, f"number {n}")
    net.until(lambda: len(bob.texts(chat)) == 450)

    with SearchIndex(":memory:") as index:
        assert fill(bob, index) == 450
        assert len(index.search("number", limit=1_000)) == 450
