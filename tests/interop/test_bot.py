"""The programs of docs/how-to/node.md: a bot in Python, and a client in JavaScript on the official library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from examples.adapters.sqlite import open_sqlite
from examples.bot.bot import GREETING, answer_to
from tests.examples.processes import Server
from tests.interop.programs import Program, bot, node_client
from whisperkit.client import Client
from whisperkit.client.content import Text
from whisperkit.errors import TransportError
from whisperkit.ids import ConversationId, DeviceId
from whisperkit.partitions import Partition, prefix
from whisperkit.ratchet.sessions import SessionShelf
from whisperkit.transport import Link

pytestmark = pytest.mark.interop

ALICE, PINGBOT = DeviceId.named("alice", 1), DeviceId.named("pingbot", 1)
CHAT = ConversationId.direct(ALICE.user, PINGBOT.user)
MESSAGES = 110


class Programs(NamedTuple):
    """The three of them, each in a folder of its own."""

    server: Server
    bot: Program
    alice: Program


@pytest.fixture(params=["Node.js writes first", "Python writes first"])
def programs(request: pytest.FixtureRequest, official: str, tmp_path: Path) -> Iterator[Programs]:
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server")
    server.start()
    greets = ["--greet=alice"] if request.param == "Python writes first" else []
    made = Programs(server, bot(tmp_path / "bot", server.url, *greets), node_client(tmp_path / "alice", server.url))
    try:
        made.alice.start()
        made.alice.until("-- alice is connected")  # nobody can be written to before they have a device
        made.bot.start()
        made.bot.until(f"pingbot answers at {server.url}")
        if greets:
            made.alice.until(f"pingbot: {GREETING}")
        made.alice.type("ping")
        made.alice.until("pingbot: pong")
        yield made
    finally:
        for program in made:
            program.kill()


@pytest.fixture
def said(rng: Random) -> list[str]:
    return [f"{n} of {MESSAGES}: {rng.randbytes(8).hex()}" for n in range(1, MESSAGES + 1)]


def test_both_libraries_chat_through_crashes_of_all_three_and_nothing_is_lost_or_doubled(
    programs: Programs, said: list[str], tmp_path: Path
) -> None:
    server, python, alice = programs

    def chat(texts: Sequence[str], *, upto: str) -> None:
        alice.type(*texts)
        alice.until(f"alice: {upto}")

    chat(said[:30], upto=said[29])
    alice.until(_answer(said[29]))

    chat(said[30:50], upto=said[35])
    server.kill()
    alice.until("-- no connection; what is typed is kept and sent later")
    server.start()
    alice.until(_answer(said[49]))

    chat(said[50:70], upto=said[55])
    python.kill()
    alice.until(f"alice: {said[69]}")  # the server keeps what is for the bot
    python.start()
    alice.until(_answer(said[69]))

    server.kill()
    alice.type(*said[70:90])
    alice.until(f"-- kept: {said[89]}")
    alice.kill()
    server.start()
    alice.start()
    chat(said[90:100], upto=said[99])

    for program in programs:  # answers are on their way
        program.kill()
    for program in programs:
        program.start()
    chat(said[100:], upto=said[-1])
    alice.until(_answer(said[-1]))

    alice.finish()
    python.stop()
    server.stop()
    theirs = _history_of_node(tmp_path / "alice" / "alice.json")
    ours = asyncio.run(_history_of_python(tmp_path / "bot" / "pingbot.bot.db"))
    greeting = [text for _, text in theirs[:1] if text == GREETING]
    answers = [*greeting, *map(answer_to, ["ping", *said])]
    assert [text for sender, text in theirs if sender == ALICE] == ["ping", *said]
    assert [text for sender, text in theirs if sender == PINGBOT] == answers
    assert theirs == ours
    assert [line for line in alice.lines if line.startswith("pingbot: ")] == [f"pingbot: {text}" for text in answers]
    assert asyncio.run(_agreed_epochs(tmp_path / "bot" / "pingbot.bot.db")) >= 1
    _check_that_it_holds_ciphertext_only(tmp_path / "server", said)


def test_all_of_them_end_when_they_are_told_to(programs: Programs) -> None:
    assert programs.alice.finish() == 0
    assert programs.bot.stop() == 0
    assert programs.server.stop()[0] == 0


def _answer(text: str) -> str:
    return f"pingbot: {answer_to(text)}"


def _history_of_node(path: Path) -> list[tuple[DeviceId, str]]:
    """Who said what, in the order of the conversation; what could not be read is none of it."""
    state = json.loads(path.read_text(encoding="utf-8"))
    records = sorted(state["history"], key=lambda record: record["seq"])
    assert len({record["seq"] for record in records}) == len(records), "two have the same place, or one has none"
    return [(DeviceId.parse(record["sender"]), record["text"]) for record in records]


async def _no_link() -> Link:
    raise TransportError("the bot is looked at, and does not connect")


async def _history_of_python(path: Path) -> list[tuple[DeviceId | None, str]]:
    async with open_sqlite(path) as store, Client(store, PINGBOT, connect=_no_link, keeps_unhandled=True) as client:
        records = await client.history(CHAT, limit=1_000)
    return [(record.sender, record.what.text) for record in records if isinstance(record.what, Text)]


async def _agreed_epochs(path: Path) -> int:
    """How many post-quantum secrets the session of the bot with the client has gone on from."""
    async with open_sqlite(path) as store:
        rows = await store.rows(Partition(f"device/{PINGBOT}"), [prefix(b"k/")], limit=10_000)
    session = SessionShelf({row.key: row.value for row in rows}, ALICE).current
    assert session is not None
    return session.ratchet.spqr.agreement.epoch - 1


def _check_that_it_holds_ciphertext_only(folder: Path, texts: Sequence[str]) -> None:
    held = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert ALICE.encode() in held  # what is there in clear is found
    assert [text for text in texts if text.partition(": ")[2].encode() in held] == []
