"""Who talks in the framework examples ends when all is sent, and says so if it is not."""

from __future__ import annotations

import asyncio
import signal
from typing import cast

import anyio
import pytest

from examples.talking import run_talk, sent
from whisperkit.client import Client
from whisperkit.errors import TransportError
from whisperkit.ids import ConversationId, MessageId
from whisperkit.receipts import MessageStatus

LAST = MessageId.mint(wall_ms=1, random_bytes=bytes)
ROOM = ConversationId("lobby")

pytestmark = pytest.mark.anyio


class Slow:
    """A client that has sent its last message after so many events; with fewer, it never has."""

    def __init__(self, events: int | None) -> None:
        self._left = events

    def events(self) -> Slow:
        return self

    async def get(self) -> None:
        if self._left is None:
            await anyio.sleep_forever()
        else:
            self._left -= 1

    async def status(self, conv: ConversationId, message_id: MessageId) -> MessageStatus:
        assert (conv, message_id) == (ROOM, LAST)
        return MessageStatus.SENT if self._left == 0 else MessageStatus.PENDING


async def test_it_waits_until_the_last_message_is_on_the_server() -> None:
    client = Slow(3)

    await sent(cast("Client", client), ROOM, LAST)

    assert await client.status(ROOM, LAST) is MessageStatus.SENT


async def test_what_is_not_sent_in_time_is_told() -> None:
    with pytest.raises(TransportError, match="not all is sent yet"):
        await sent(cast("Client", Slow(None)), ROOM, LAST, wait_s=0.0)


async def test_who_has_said_nothing_waits_for_nothing() -> None:
    await sent(cast("Client", Slow(None)), ROOM, None, wait_s=0.0)


def test_wrong_usage_and_a_server_that_is_away_have_codes_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    async def talk(name: str, room: str, url: str) -> None:
        if url == "there":
            raise TransportError("nobody answers")
        if url == "interrupted":
            raise KeyboardInterrupt
        if url == "cancelled":  # as Ctrl-C does, while a scope of anyio's is cancelled, too
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            task.cancel()
            signal.raise_signal(signal.SIGINT)
            await anyio.sleep_forever()
        assert (name, room, url) == ("alice", "lobby", "here")

    def run(*arguments: str) -> int:
        return run_talk(talk, arguments, program="a.talk", place="ROOM", url="here")

    assert run("alice", "lobby") == 0
    assert run("alice", "lobby", "there") == 69
    assert run("alice", "lobby", "interrupted") == 130
    assert run("alice", "lobby", "cancelled") == 130
    assert capsys.readouterr().err == "nobody answers\n"
    for wrong, said in (
        (["alice"], "the following arguments are required: ROOM"),
        (["alice", "lobby", "here", "there"], "unrecognized arguments: there"),
        (
            ["Alice", "lobby"],
            "argument NAME: a name has small letters, digits and -, and at most 40 of them, got Alice",
        ),
        (["alice", "a/b"], "argument ROOM: a name has small letters"),
    ):
        with pytest.raises(SystemExit) as ended:
            run(*wrong)
        assert ended.value.code == 2
        assert said in capsys.readouterr().err
