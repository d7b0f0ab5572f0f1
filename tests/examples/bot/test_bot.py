"""The bot of the examples, without Node.js: tests/interop/test_bot.py has the conversation with that."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from examples.bot.bot import EXIT_SENT_AWAY, GREETING, answer_to, greet
from examples.net.websocket_link import connect
from tests.examples.processes import Server
from tests.interop.programs import Program, bot
from whisperkit.client import Client
from whisperkit.client.content import MAX_TEXT_CHARS, Text
from whisperkit.ids import DeviceId, UserId
from whisperkit.stores import MemoryPartitions

PINGBOT = UserId.named("pingbot")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    made = Server(folder)
    made.start()
    yield made
    made.kill()


@asynccontextmanager
async def somebody(name: str, url: str, store: MemoryPartitions | None = None) -> AsyncGenerator[Client]:
    device = DeviceId.named(name, 1)
    async with Client(
        store or MemoryPartitions(), device, connect=connect(url), name=name, keeps_unhandled=True
    ) as client:
        assert await client.wait_live(timeout_s=30)
        yield client


async def read(client: Client, count: int) -> list[str]:
    """Wait for so many messages."""
    texts: list[str] = []
    async for message in client.messages():
        async with message:
            texts.append(message.text)
        if len(texts) == count:
            return texts
    raise AssertionError("the messages ended")


def test_an_answer_fits_into_a_message() -> None:
    assert answer_to("ping") == "pong"
    assert answer_to("hello") == "you said: hello"
    assert len(answer_to("x" * MAX_TEXT_CHARS)) < MAX_TEXT_CHARS


def test_the_bot_answers_each_message_once_also_after_it_was_killed(server: Server, tmp_path: Path) -> None:
    program = bot(tmp_path / "bot", server.url)

    async def story() -> list[str]:
        async with somebody("alice", server.url) as alice:
            chat = await alice.direct(PINGBOT)
            await alice.send(chat, "ping")
            assert await read(alice, 1) == ["pong"]
            await asyncio.to_thread(program.kill)
            await alice.send(chat, "one")
            await alice.send(chat, "two")
            await asyncio.to_thread(program.start)
            await read(alice, 2)
            await alice.send(chat, "three")
            await read(alice, 1)
            return [one.what.text for one in await alice.history(chat) if isinstance(one.what, Text)]

    program.start()
    try:
        program.until(f"pingbot answers at {server.url}")
        texts = asyncio.run(story())
    finally:
        program.kill()

    assert sorted(texts) == sorted(
        ["ping", "pong", "one", "two", "you said: one", "you said: two", "three", "you said: three"]
    )


async def _greet_twice(url: str) -> list[str]:
    store = MemoryPartitions()
    async with somebody("alice", url) as alice:
        async with somebody("pingbot", url, store) as pingbot:
            await greet(pingbot, "alice")
        async with somebody("pingbot", url, store) as pingbot:  # it was restarted
            await greet(pingbot, "alice")
            await pingbot.send(await pingbot.direct(alice.device.user), "the end")
            return await read(alice, 2)


def test_somebody_is_greeted_once(server: Server) -> None:
    assert asyncio.run(_greet_twice(server.url)) == [GREETING, "the end"]


def test_who_has_the_name_of_another_is_told_and_ends(server: Server, tmp_path: Path) -> None:
    first, second = bot(tmp_path / "first", server.url), bot(tmp_path / "second", server.url)
    try:
        first.start()
        first.until(f"pingbot answers at {server.url}")
        second.start()

        assert second.wait() == EXIT_SENT_AWAY
    finally:
        first.kill()
        second.kill()

    errors = (tmp_path / "second" / "errors.log").read_text(encoding="utf-8")
    assert "pingbot is sent away: the name is somebody else's" in errors


def test_the_bot_brings_a_server_if_it_is_told_to(tmp_path: Path) -> None:
    program = bot(
        tmp_path / "bot", "ws://127.0.0.1:1/ws", "--serve", settings={"WHISPERKIT_SERVER__BIND": "127.0.0.1:0"}
    )
    try:
        program.start()
        line = program.until_like(r"pingbot answers at (ws://127\.0\.0\.1:\d+/ws)")

        assert line
        assert program.stop() == 0
    finally:
        program.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_bot_ends_as_it_is_told_to(server: Server, tmp_path: Path, number: signal.Signals, code: int) -> None:
    program = bot(tmp_path / "bot", server.url)
    try:
        program.start()
        program.until(f"pingbot answers at {server.url}")

        assert program.stop(number) == code
    finally:
        program.kill()

    assert (tmp_path / "bot" / "errors.log").read_text(encoding="utf-8") == ""


def test_a_wrong_setting_of_the_server_is_told(tmp_path: Path) -> None:
    program: Program = bot(tmp_path, "ws://127.0.0.1:1/ws", "--serve", settings={"WHISPERKIT_SERVER__BIND": "nowhere"})
    program.start()

    assert program.wait() == 78
    assert "WHISPERKIT_SERVER__BIND: " in (tmp_path / "errors.log").read_text(encoding="utf-8")


def test_a_file_that_is_in_use_is_told(server: Server, tmp_path: Path) -> None:
    first, second = bot(tmp_path / "bot", server.url), bot(tmp_path / "bot", server.url)
    try:
        first.start()
        first.until(f"pingbot answers at {server.url}")
        second.start()

        assert second.wait() == 69
    finally:
        first.kill()
        second.kill()
