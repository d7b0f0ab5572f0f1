"""What the one who runs the server sees: health, numbers, logs without content."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from examples.server.app import ChatServer
from tests.examples.processes import Server
from tests.examples.server.talker import Talker, token_request
from whisperkit.ids import ConversationId, DeviceId, MessageId
from whisperkit.sync import frames
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import EntryKind, RosterChange

pytestmark = pytest.mark.anyio

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)
CHAT = ConversationId.direct(ALICE.user, BOB.user)
SECRET = b"the-gate-has-changed-to-B12"


def post(number: int, *, change: RosterChange | None = None, own: dict[DeviceId, bytes] | None = None) -> frames.Send:
    message_id = MessageId.mint(wall_ms=number, random_bytes=bytes)
    kind = EntryKind.MESSAGE if change is None else EntryKind.ROSTER
    return frames.Send(CHAT, 1, number, message_id, kind, None, (), change, None, own)


async def talk(url: str) -> None:
    """Alice writes to Bob, who has it."""
    async with Talker(url, ALICE) as alice, Talker(url, BOB) as bob:
        await alice.begin()
        await bob.register(name=SECRET.decode())
        await bob.hear(frames.Registered)
        await bob.hello(1)
        epoch = (await bob.hear(frames.Welcome)).head.epoch
        await alice.say(post(1, change=RosterChange((ALICE.user, BOB.user))), post(2, own={BOB: SECRET}))
        for _ in range(2):
            await alice.hear(frames.Sent)
        while (entry := await bob.hear(frames.Entry)).own != SECRET:
            pass
        await bob.say(frames.Ack(Cursor(epoch, entry.seq, entry.tag)), frames.Beat())
        await bob.hear(frames.Head)


def holds(folder: Path, words: bytes) -> bool:
    return any(words in path.read_bytes() for path in folder.glob("chat.db*"))


def number(text: str, name: str) -> float:
    return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} "))


async def test_health_and_readiness_are_answered(http: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await http.get(path)

        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_server_that_drains_is_healthy_and_not_ready(server: ChatServer, http: httpx.AsyncClient) -> None:
    await http.get("/healthz")  # the connection is there before no new ones are taken
    server._health.drain()  # pyright: ignore[reportPrivateUsage]

    ready, healthy = await http.get("/readyz"), await http.get("/healthz")

    assert (ready.status_code, ready.json()) == (503, {"status": "draining"})
    assert healthy.status_code == 200


async def test_what_is_not_there_is_answered_so(http: httpx.AsyncClient) -> None:
    assert (await http.get("/nothing")).status_code == 404
    assert (await http.delete("/healthz")).status_code == 405


async def test_metrics_count_what_happened_and_name_nobody(server: ChatServer, http: httpx.AsyncClient) -> None:
    await talk(server.url)

    text = (await http.get("/metrics")).text

    assert number(text, 'whisperkit_messages_accepted_total{strategy="direct"}') == 2
    assert number(text, 'whisperkit_sync_answers_total{answer="snapshot"}') == 2
    assert number(text, "whisperkit_owed_posts") == 0
    assert 'outcome="ok"' in text
    for told in (SECRET.decode(), ALICE, ALICE.user, BOB.user, CHAT):
        assert told not in text


async def test_logs_are_lines_of_json_without_content(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        await talk(server.url)
        async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:
            stranger = Talker(server.url, ALICE)
            assert (await token_request(http, stranger)).status_code == 401
            await http.get(f"/{SECRET.decode()}")
            await http.post("/v1/token", content=SECRET)
        async with Talker(server.url, ALICE) as mallory:
            await mallory.register(name=SECRET.decode())
            await mallory.end()
        async with Talker(server.url, ALICE) as mallory:
            await mallory.say_raw(SECRET)
            await mallory.end()
        code, said = server.stop()
    finally:
        server.kill()

    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert code == 0
    assert all({"at", "level", "logger", "event"} <= line.keys() for line in lines)
    assert "stopping" in [line["event"] for line in lines]
    assert SECRET.decode() not in server.log.read_text() + said
    assert holds(tmp_path, SECRET), "it is nowhere: this test would find nothing"
