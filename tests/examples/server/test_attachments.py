"""Attachments on the whole server: tokens, parts, uploads that go on where they ended, and how long they live."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest

from examples.net.blob_client import BlobClient
from examples.server.app import ChatServer
from tests.examples.processes import Server
from tests.examples.server.talker import Talker, token_request
from whisperkit.errors import TransportError
from whisperkit.ids import BlobId, DeviceId

pytestmark = pytest.mark.anyio

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)
BLOB = BlobId("0" * 31 + "1")
PATH = f"/v1/blobs/{BLOB}"
DATA = os.urandom(700_000)
DAY_MS = 86_400_000


async def token_of(server: ChatServer | Server, http: httpx.AsyncClient, device: DeviceId) -> str:
    async with Talker(server.url, device) as talker:
        await talker.begin()
    return str((await token_request(http, talker)).json()["token"])


def signed(token: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", **more}


@pytest.fixture
async def alice(server: ChatServer, http: httpx.AsyncClient) -> AsyncGenerator[BlobClient]:
    token = await token_of(server, http, ALICE)
    async with BlobClient(str(http.base_url), token=lambda: token) as client:
        yield client


async def read_data(offset: int, size: int) -> bytes:
    return DATA[offset : offset + size]


async def test_nobody_moves_bytes_without_a_token(server: ChatServer, http: httpx.AsyncClient) -> None:
    for headers in ({}, signed("wrong"), {"Authorization": "Basic YWxpY2U6"}):
        for method, path in (("GET", PATH), ("HEAD", PATH), ("PUT", PATH), ("POST", f"{PATH}/keep")):
            answer = await http.request(method, path, headers=headers)
            assert answer.status_code == 401, (method, headers)
            assert "bearer" in answer.headers["www-authenticate"].lower()


async def test_what_one_uploads_another_who_knows_its_id_downloads(
    server: ChatServer, http: httpx.AsyncClient, alice: BlobClient
) -> None:
    bobs = await token_of(server, http, BOB)
    await alice.upload(BLOB, read_data, len(DATA))

    whole = await http.get(PATH, headers=signed(bobs))
    part = await http.get(PATH, headers=signed(bobs, Range="bytes=1000-1999"))
    end = await http.get(PATH, headers=signed(bobs, Range="bytes=-10"))
    beyond = await http.get(PATH, headers=signed(bobs, Range=f"bytes={len(DATA)}-"))

    assert whole.content == DATA
    assert (part.status_code, part.content) == (206, DATA[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(DATA)}"
    assert (end.status_code, end.content) == (206, DATA[-10:])
    assert beyond.status_code == 416


async def test_one_who_knows_an_id_does_not_write_over_it(
    server: ChatServer, http: httpx.AsyncClient, alice: BlobClient
) -> None:
    bobs = await token_of(server, http, BOB)
    await alice.upload(BLOB, read_data, len(DATA))

    answer = await http.put(PATH, content=b"other", headers=signed(bobs, **{"Content-Range": "bytes 0-4/5"}))

    assert answer.status_code == 403
    assert (await http.get(PATH, headers=signed(bobs))).content == DATA


async def test_an_upload_over_the_limit_is_refused(server: ChatServer, http: httpx.AsyncClient) -> None:
    token = await token_of(server, http, ALICE)

    answer = await http.put(PATH, content=b"x", headers=signed(token, **{"Content-Range": "bytes 0-0/5000001"}))

    assert answer.status_code == 413


async def test_an_attachment_is_kept_for_as_long_as_a_message_may_need_it(alice: BlobClient) -> None:
    await alice.upload(BLOB, read_data, len(DATA))
    until_ms = time.time_ns() // 1_000_000 + 31 * DAY_MS

    assert await alice.keep(BLOB, until_ms) == until_ms
    assert await alice.keep(BLOB, until_ms - DAY_MS) == until_ms


async def stored(http: httpx.AsyncClient, token: str) -> int:
    """How many bytes of an upload are there."""
    return int((await http.head(PATH, headers=signed(token))).headers.get("upload-offset", 0))


async def test_an_upload_goes_on_where_a_killed_server_had_it(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            http.base_url = server.http
            async with Talker(server.url, ALICE) as alice:
                await alice.begin()
            token = str((await token_request(http, alice)).json()["token"])

            async def break_off(offset: int, size: int) -> bytes:
                if offset >= 400_000:
                    while not await stored(http, token):  # noqa: ASYNC110  # what is waited for is another process
                        await asyncio.sleep(0.01)
                    server.kill()
                return DATA[offset : offset + size]

            client = BlobClient(server.http, token=lambda: token, attempts=1)
            async with client:
                with pytest.raises(TransportError):
                    await client.upload(BLOB, break_off, len(DATA))
            server.start()
            token = str((await token_request(http, alice)).json()["token"])
            asked_from: list[int] = []

            async def note(offset: int, size: int) -> bytes:
                asked_from.append(offset)
                return DATA[offset : offset + size]

            async with BlobClient(server.http, token=lambda: token) as client:
                await client.upload(BLOB, note, len(DATA))
                downloaded = b"".join([piece async for piece in client.download(BLOB)])

        assert asked_from[0] > 0
        assert downloaded == DATA
    finally:
        server.kill()
