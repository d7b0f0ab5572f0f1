"""Search on the device: fed from the history, and made anew from it each time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from examples.device_search import Hit, SearchIndex
from whisperkit.client.content import Text, encode_content
from whisperkit.client.history import Note, Record
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, MessageId
from whisperkit.sync.chat import Chat
from whisperkit.testing.sim_phone import ChatNet, SimPhone

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)
CHAT = ConversationId.direct(ALICE.user, BOB.user)


class Histories:
    """What a client has, as far as an index asks."""

    def __init__(self, *records: Record) -> None:
        self.records = list(records)

    async def chats(self) -> list[Chat]:
        return [Chat(conv) for conv in sorted({record.conv for record in self.records})]

    async def history(self, conv: ConversationId, *, before: Record | None = None, limit: int = 50) -> list[Record]:
        found = sorted((r for r in self.records if r.conv == conv), key=lambda record: record.seq or 1 << 60)
        if before is not None:
            assert before.seq, "a record that waits has no place yet"
            found = [record for record in found if record.seq and record.seq < before.seq]
        return found[-limit:]


def said(number: int, text: str, *, sender: DeviceId = ALICE, seq: int | None = None, failed: str = "") -> Record:
    message_id = MessageId.mint(wall_ms=number, random_bytes=bytes)
    seq = ConversationSeq(number if seq is None else seq)
    return Record(CHAT, message_id, sender, seq, number, Note.MESSAGE, encode_content(Text(text)), failed)


def fill(index: SearchIndex, *records: Record) -> int:
    return asyncio.run(index.fill(Histories(*records)))


def snippets(hits: Sequence[Hit]) -> list[str]:
    return [hit.snippet for hit in hits]


@pytest.fixture
def net() -> Iterator[ChatNet]:
    net = ChatNet()
    yield net
    net.close()


@pytest.fixture
def index() -> Iterator[SearchIndex]:
    with SearchIndex() as index:
        yield index


def fill_from(phone: SimPhone, index: SearchIndex) -> int:
    return phone.do(index.fill)


def test_what_was_said_is_found_by_its_words_the_newest_first(net: ChatNet, index: SearchIndex) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat, group = alice.direct(bob), alice.group(bob)
    for text in ("the gate is B12", "boarding at ten", "Boarded!"):
        alice.send(chat, text)
        net.wait(1.0)
    alice.send(group, "boarding party tonight")
    net.until(lambda: len(bob.texts(chat)) == 3 and bool(bob.texts(group)))

    assert fill_from(bob, index) == 4
    assert fill_from(bob, index) == 0

    assert snippets(index.search("board")) == ["[boarding] party tonight", "[Boarded]!", "[boarding] at ten"]
    assert [hit.conv for hit in index.search("boarding", conv=chat)] == [chat]
    assert index.search("gate b1")[0].snippet == "the [gate] is [B12]"
    assert index.search("luggage") == index.search(' "* ') == []


def test_an_index_that_was_thrown_away_is_made_anew(net: ChatNet, index: SearchIndex) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    for n in range(450):
        alice.send(chat, f"number {n}")
    net.until(lambda: len(bob.texts(chat)) == 450)

    assert fill_from(bob, index) == 450
    assert len(index.search("number", limit=1_000)) == 450


def test_a_hit_says_who_said_it_when_and_where(index: SearchIndex) -> None:
    record = said(7, "at the gate", sender=BOB)

    fill(index, record)

    assert index.search("gate") == [Hit(CHAT, record.message_id, BOB, 7, "at the [gate]")]


def test_a_filling_that_was_interrupted_is_completed_by_the_next_one(index: SearchIndex) -> None:
    records = [said(n, f"number {n}") for n in range(1, 701)]
    for record in records[300:]:  # the newest come first; then somebody pulled the plug
        index.add(record)

    assert fill(index, *records) == 300
    assert len(index.search("number", limit=1_000)) == 700


def test_a_message_that_could_be_read_only_later_is_found_in_its_old_place(index: SearchIndex) -> None:
    records = [said(n, f"number {n}") for n in range(1, 601)]
    unreadable = records[4]._replace(note=Note.UNREADABLE, content=b"")
    assert fill(index, *records[:4], unreadable, *records[5:]) == 599

    assert fill(index, *records) == 1
    assert snippets(index.search("5 number", limit=1_000))[-1] == "[number] [5]"


def test_more_waiting_messages_than_a_page_holds_do_not_hide_what_is_older(index: SearchIndex) -> None:
    waiting = [said(1_000 + n, f"waiting {n}", seq=0) for n in range(450)]

    assert fill(index, said(1, "long ago"), *waiting) == 451
    assert snippets(index.search("long")) == ["[long] ago"]


def test_two_people_whose_messages_have_one_id_are_both_found(index: SearchIndex) -> None:
    hers, his = said(1, "gate, says Alice"), said(1, "gate, says Bob", sender=BOB)

    assert fill(index, hers, his) == 2
    assert {hit.sender for hit in index.search("gate")} == {ALICE, BOB}
