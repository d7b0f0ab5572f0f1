"""Attachments over HTTP: the endpoints and the client, on real sockets and real files."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from examples.adapters.files import FileBlobs
from examples.net.blob_client import BlobClient, BlobRefusedError, file_reader
from examples.net.blob_http import BlobHttp, BlobLimits
from examples.net.http import Request, Response, Route
from examples.net.loopback import Edge, serving
from whisperkit import blobs
from whisperkit.blobs import NEW_BLOB, Blob
from whisperkit.errors import BlobGoneError, TransportError
from whisperkit.ids import BlobId, UserId
from whisperkit.partitions import Step

pytestmark = pytest.mark.anyio

A = TypeVar("A")

ALICE, BOB = UserId.named("alice"), UserId.named("bob")
BLOB, OTHER = BlobId("0" * 31 + "1"), BlobId("0" * 31 + "2")
URL = f"/v1/blobs/{BLOB}"
NOW_MS = 1_795_000_000_000
DAY_MS = 86_400_000
DATA = os.urandom(700_000)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Authority:
    """The rules of `whisperkit.blobs` over a dict."""

    def __init__(self) -> None:
        self.heads: dict[BlobId, Blob] = {}
        self.order: list[str] = []

    async def reserve(
        self, blob: BlobId, *, owner: UserId, size: int
    ) -> blobs.Reserved | blobs.Committed | blobs.Incomplete | blobs.NotYours | blobs.Gone:
        return self._take(blob, blobs.reserve(await self.look(blob), owner=owner, size=size, until_ms=NOW_MS + DAY_MS))

    async def commit(
        self, blob: BlobId, *, owner: UserId, stored: int
    ) -> blobs.Committed | blobs.Incomplete | blobs.NotYours | blobs.Gone:
        self.order.append("commit")
        return self._take(
            blob, blobs.commit(await self.look(blob), owner=owner, stored=stored, until_ms=NOW_MS + DAY_MS)
        )

    async def look(self, blob: BlobId) -> Blob:
        return self.heads.get(blob, NEW_BLOB)

    async def keep(self, blob: BlobId, *, until_ms: int) -> blobs.Kept | blobs.Incomplete | blobs.Gone:
        return self._take(blob, blobs.keep(await self.look(blob), until_ms=until_ms))

    def sweep(self, blob: BlobId) -> None:
        self._take(blob, blobs.sweep(self.heads[blob], now_ms=NOW_MS + 1_000 * DAY_MS))

    def _take(self, blob: BlobId, step: Step[A, Blob]) -> A:
        self.heads[blob] = step.state
        return step.answer


class World:
    """A server with attachments, and what is behind it."""

    def __init__(self, edge: Edge, store: FileBlobs, authority: Authority, moved: dict[str, int]) -> None:
        self.edge = edge
        self.store = store
        self.authority = authority
        self.moved = moved
        self.waits: list[int] = []

    def http(self, user: str = "alice") -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.edge.url, headers={"Authorization": f"Bearer {user}"}, trust_env=False)

    def client(self, user: str = "alice", *, attempts: int = 5) -> BlobClient:
        return BlobClient(self.edge.url, token=lambda: user, attempts=attempts, wait=self._wait)

    async def until_stored(self, size: int) -> None:
        while await self.store.put(BLOB, 0, b"") < size:
            pass

    async def _wait(self, failures: int) -> None:
        self.waits.append(failures)


async def authenticate(token: str) -> UserId | None:
    return {"alice": ALICE, "bob": BOB}.get(token)


@asynccontextmanager
async def world(folder: Path, limits: BlobLimits | None = None) -> AsyncGenerator[World]:
    store, authority, moved = FileBlobs(folder), Authority(), {"in": 0, "out": 0}

    def count(direction: str, size: int) -> None:
        moved[direction] += size

    async def settle(blob: BlobId) -> None:
        authority.order.append("settle")
        await store.settle(blob)

    http = BlobHttp(store, authority, authenticate, wall_ms=lambda: NOW_MS, limits=limits, settle=settle, moved=count)
    async with serving(http.routes) as edge:
        yield World(edge, store, authority, moved)


def part(first: int, last: int, size: int = len(DATA)) -> dict[str, str]:
    return {"Content-Range": f"bytes {first}-{last}/{size}"}


# ---- upload ---------------------------------------------------------------------------------------------------------


async def test_an_upload_is_settled_committed_and_read_back(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.http() as http, w.http("bob") as bob:
        put = await http.put(URL, content=DATA)
        got = await bob.get(URL)

        assert (put.status_code, put.json()) == (
            201,
            {"offset": len(DATA), "complete": True, "until_ms": NOW_MS + DAY_MS},
        )
        assert w.authority.order == ["settle", "commit"]
        assert (got.status_code, got.content) == (200, DATA)
        assert got.headers["etag"] == f'"{BLOB}"'
        assert got.headers["x-content-type-options"] == "nosniff"
        assert w.moved == {"in": len(DATA), "out": len(DATA)}


async def test_an_upload_goes_on_where_it_ended(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.http() as http:
        first = await http.put(URL, content=DATA[:300_000], headers=part(0, 299_999))
        there = await http.head(URL)
        second = await http.put(URL, content=DATA[300_000:], headers=part(300_000, len(DATA) - 1))

        assert (first.status_code, first.json()) == (202, {"offset": 300_000, "complete": False})
        assert (there.status_code, there.headers["upload-offset"]) == (204, "300000")
        assert there.headers["upload-length"] == str(len(DATA))
        assert second.status_code == 201
        assert (await http.get(URL)).content == DATA


async def test_an_upload_that_breaks_off_keeps_what_came(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.http() as http:
        head = f"PUT {URL} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer alice\r\nContent-Length: {len(DATA)}\r\n\r\n"
        _, writer = await w.edge.dial()
        writer.write(head.encode() + DATA[:123_456])
        writer.write_eof()
        await w.until_stored(123_456)

        assert (await http.head(URL)).headers["upload-offset"] == "123456"


async def test_a_part_may_be_repeated_and_so_may_the_whole(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.http() as http:
        for _ in range(2):
            await http.put(URL, content=DATA[:300_000], headers=part(0, 299_999))
        statuses = [(await http.put(URL, content=DATA)).status_code for _ in range(2)]

        assert statuses == [201, 200]
        assert (await http.get(URL)).content == DATA


async def test_a_part_beyond_the_end_is_refused_and_told_where_to_go_on(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.http() as http:
        await http.put(URL, content=DATA[:10], headers=part(0, 9))
        answer = await http.put(URL, content=DATA[20:30], headers=part(20, 29))

        assert (answer.status_code, answer.json()["code"], answer.json()["offset"]) == (409, "blobs.offset", 10)
        assert answer.headers["upload-offset"] == "10"


async def test_a_newer_upload_displaces_one_whose_peer_went_silent(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.http() as http:
        head = f"PUT {URL} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer alice\r\nContent-Length: {len(DATA)}\r\n\r\n"
        reader, writer = await w.edge.dial()
        writer.write(head.encode() + DATA[:300_000])
        await w.until_stored(1)
        whole = await http.put(URL, content=DATA)
        writer.write(bytes(len(DATA) - 300_000))

        assert whole.status_code == 201
        assert b"blobs.superseded" in await reader.read()
        assert (await http.get(URL)).content == DATA


@pytest.mark.parametrize(
    ("headers", "content", "status", "code"),
    [
        (part(0, 9, 10), b"12345", 400, "http.bad-range"),
        (part(5, 4, 10), b"12345", 400, "http.bad-range"),
        (part(0, 9, 9), bytes(10), 400, "http.bad-range"),
        ({"Content-Range": "bytes */10"}, b"", 400, "http.bad-range"),
        ({}, b"", 400, "blobs.empty"),
        ({}, bytes(1001), 413, "blobs.too-large"),
        (part(0, 9, 1001), bytes(10), 413, "blobs.too-large"),
    ],
)
async def test_an_upload_that_makes_no_sense_is_refused(
    tmp_path: Path, headers: dict[str, str], content: bytes, status: int, code: str
) -> None:
    async with world(tmp_path, BlobLimits(max_blob_bytes=1000)) as w, w.http() as http:
        answer = await http.put(URL, content=content, headers=headers)

        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert w.authority.heads == {}


async def test_an_upload_of_unknown_length_is_refused_and_one_longer_than_announced_cut(tmp_path: Path) -> None:
    async def body(size: int) -> AsyncGenerator[bytes]:
        for _ in range(size):
            yield b"x"

    async with world(tmp_path) as w, w.http() as http:
        unknown = await http.put(URL, content=body(1))
        longer = await http.put(URL, content=body(4), headers=part(0, 1, 2))
        exact = await http.put(URL, content=body(2), headers=part(0, 1, 2))

        assert (unknown.status_code, longer.status_code, exact.status_code) == (411, 400, 201)


async def test_nobody_writes_what_another_reserved(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.http() as http, w.http("bob") as bob:
        await http.put(URL, content=DATA[:10], headers=part(0, 9))
        stolen = [
            await bob.put(URL, content=DATA),
            await bob.put(URL, content=b"evil", headers=part(10, 13)),
            await http.put(URL, content=b"another size"),
        ]

        assert [(a.status_code, a.json()["code"]) for a in stolen] == [(403, "blobs.not-yours")] * 3
        assert (await bob.head(URL)).status_code == 403
        assert await w.store.read(BLOB, 0, 100) == DATA[:10]


# ---- download -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=5-9", (5, 10)),
        ("bytes=699990-", (699_990, 700_000)),
        ("bytes=-7", (699_993, 700_000)),
        ("bytes=-9999999", (0, 700_000)),
        ("bytes=600000-9999999", (600_000, 700_000)),
    ],
)
async def test_a_range_is_answered_with_just_that(tmp_path: Path, asked: str, wanted: tuple[int, int]) -> None:
    async with world(tmp_path) as w, w.http() as http:
        await http.put(URL, content=DATA)
        answer = await http.get(URL, headers={"Range": asked})

        start, stop = wanted
        assert (answer.status_code, answer.content) == (206, DATA[start:stop])
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=9-5", "bytes=-", "rubbish"])
async def test_a_range_that_need_not_be_understood_gets_the_whole(tmp_path: Path, asked: str) -> None:
    async with world(tmp_path) as w, w.http() as http:
        await http.put(URL, content=DATA)
        answer = await http.get(URL, headers={"Range": asked})

        assert (answer.status_code, answer.content) == (200, DATA)


@pytest.mark.parametrize("asked", ["bytes=700000-", "bytes=800000-900000", "bytes=-0"])
async def test_a_range_of_nothing_is_told_the_size(tmp_path: Path, asked: str) -> None:
    async with world(tmp_path) as w, w.http() as http:
        await http.put(URL, content=DATA)
        answer = await http.get(URL, headers={"Range": asked})

        assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */700000")


async def test_head_tells_the_size_of_what_is_complete(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.http() as http:
        await http.put(URL, content=DATA)
        there = await http.head(URL)

        assert (there.status_code, there.headers["content-length"], there.content) == (200, str(len(DATA)), b"")
        assert there.headers["accept-ranges"] == "bytes"


async def test_what_is_incomplete_or_gone_is_not_served(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.http() as http:
        never = await http.get(URL)
        await http.put(URL, content=DATA[:10], headers=part(0, 9))
        incomplete = await http.get(URL)
        await http.put(URL, content=DATA)
        w.authority.sweep(BLOB)
        swept = [await http.get(URL), await http.put(URL, content=DATA)]

        assert (never.status_code, never.json()["code"]) == (410, "blobs.gone")
        assert (incomplete.status_code, incomplete.json()["code"]) == (409, "blobs.incomplete")
        assert [(a.status_code, a.json()["code"]) for a in swept] == [(410, "blobs.gone")] * 2
        assert (await http.head(URL)).status_code == 410


async def test_an_attachment_that_vanishes_while_it_is_read_ends_the_connection(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.http() as http:
        await http.put(URL, content=DATA)
        await w.store.drop(BLOB)

        with pytest.raises(httpx.TransportError):
            await http.get(URL)


# ---- keep -----------------------------------------------------------------------------------------------------------


async def test_keep_raises_the_time_and_never_lowers_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.http() as http, w.http("bob") as bob:
        await http.put(URL, content=DATA)
        later = await http.post(URL + "/keep", json={"until_ms": NOW_MS + 31 * DAY_MS})
        lower = await bob.post(URL + "/keep", json={"until_ms": NOW_MS})

        assert later.json() == lower.json() == {"until_ms": NOW_MS + 31 * DAY_MS}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"until_ms":1}', 410, "blobs.gone"),
        (b'{"until_ms":9000000000000}', 400, "blobs.keep-too-long"),
        (b'{"until_ms":true}', 400, "http.malformed"),
        (b'{"until_ms":1.5}', 400, "http.malformed"),
        (b'{"until_ms":-1}', 400, "http.malformed"),
        (b"[1]", 400, "http.malformed"),
        (b"\xff", 400, "http.malformed"),
        (b"[" * 1000, 400, "http.malformed"),
        (b" " * 2000, 413, "http.too-large"),
    ],
)
async def test_a_keep_that_makes_no_sense_is_refused(tmp_path: Path, body: bytes, status: int, code: str) -> None:
    async with world(tmp_path) as w, w.http() as http:
        answer = await http.post(URL + "/keep", content=body)

        assert (answer.status_code, answer.json()["code"]) == (status, code)


# ---- who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer mallory", "Basic alice", "alice"])
@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD", "POST"])
async def test_nothing_is_done_without_a_valid_token(tmp_path: Path, method: str, authorization: str) -> None:
    async with world(tmp_path) as w, w.http() as http:
        path = URL + "/keep" if method == "POST" else URL
        answer = await http.request(method, path, headers={"Authorization": authorization})

        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert w.authority.heads == {}


@pytest.mark.parametrize(
    ("blob", "status"), [("1", 400), ("g" * 32, 400), ("A" * 32, 400), ("%00" * 32, 400), ("..%2f..%2fetc%2fx", 404)]
)
async def test_an_id_that_is_none_is_refused(tmp_path: Path, blob: str, status: int) -> None:
    async with world(tmp_path) as w, w.http() as http:
        answer = await http.put(f"/v1/blobs/{blob}", content=b"x")

        assert answer.status_code == status


# ---- the client -----------------------------------------------------------------------------------------------------


async def test_the_client_uploads_a_file_and_downloads_it(tmp_path: Path) -> None:
    source = tmp_path / "cat.enc"
    source.write_bytes(DATA)
    told: list[int] = []
    async with world(tmp_path / "blobs") as w, w.client() as alice, w.client("bob") as bob:
        await alice.upload(BLOB, file_reader(source), len(DATA), progress=told.append)
        await alice.upload(BLOB, file_reader(source), len(DATA))
        got = b"".join([piece async for piece in bob.download(BLOB)])

        assert got == DATA
        assert told == sorted(told)
        assert told[-1] == len(DATA)
        assert await bob.keep(BLOB, NOW_MS + 31 * DAY_MS) == NOW_MS + 31 * DAY_MS


def reader_of(data: bytes) -> Callable[[int, int], Awaitable[bytes]]:
    async def read(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    return read


async def test_the_client_goes_on_with_what_another_process_began(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.http() as http, w.client() as alice:
        await http.put(URL, content=DATA[:300_000], headers=part(0, 299_999))
        await alice.upload(BLOB, reader_of(bytes(300_000) + DATA[300_000:]), len(DATA))

        assert (await http.get(URL)).content == DATA
        assert w.moved["in"] == len(DATA)


async def test_the_client_completes_what_was_stored_and_not_committed(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client() as alice:
        await w.authority.reserve(BLOB, owner=ALICE, size=len(DATA))
        await w.store.put(BLOB, 0, DATA)
        await alice.upload(BLOB, reader_of(DATA), len(DATA))

        assert w.moved["in"] == 1
        assert b"".join([piece async for piece in alice.download(BLOB)]) == DATA


async def test_an_upload_that_is_cut_again_and_again_arrives(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client(attempts=3) as alice:
        cuts = 2

        async def read(offset: int, size: int) -> bytes:
            nonlocal cuts
            if offset >= 262_144 and cuts:
                cuts -= 1
                w.edge.server.cut_all()
            return DATA[offset : offset + size]

        await alice.upload(BLOB, read, len(DATA))

        assert b"".join([piece async for piece in alice.download(BLOB)]) == DATA
        assert w.waits[:1] == [1]


async def test_a_download_that_is_cut_goes_on_where_it_broke(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client() as alice:
        big = os.urandom(8 << 20)
        await alice.upload(BLOB, reader_of(big), len(big))
        got, cuts = bytearray(), 3
        async for piece in alice.download(BLOB):
            got += piece
            if cuts:
                cuts -= 1
                w.edge.server.cut_all()

        assert bytes(got) == big
        assert set(w.waits) == {1}


async def test_a_download_may_begin_anywhere_and_at_the_end_is_empty(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client() as alice:
        await alice.upload(BLOB, reader_of(DATA), len(DATA))

        assert b"".join([p async for p in alice.download(BLOB, start=500_000)]) == DATA[500_000:]
        assert [p async for p in alice.download(BLOB, start=len(DATA))] == []


async def test_a_server_that_is_away_is_a_transport_error_after_some_attempts(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client(attempts=3) as alice:
        await w.edge.server.drain()

        with pytest.raises(TransportError, match="failed 3 times"):
            await alice.upload(BLOB, reader_of(DATA), len(DATA))
        with pytest.raises(TransportError, match="failed 3 times at byte 0"):
            _ = [piece async for piece in alice.download(BLOB)]
        with pytest.raises(TransportError, match="keep of"):
            await alice.keep(BLOB, 1)
        assert w.waits == [1, 2, 1, 2]


async def test_what_is_gone_is_gone_for_the_client(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client() as alice:
        await alice.upload(BLOB, reader_of(DATA), len(DATA))
        w.authority.sweep(BLOB)

        with pytest.raises(BlobGoneError):
            await alice.keep(BLOB, NOW_MS)
        with pytest.raises(BlobGoneError):
            _ = [piece async for piece in alice.download(BLOB)]
        with pytest.raises(BlobGoneError):
            await alice.upload(BLOB, reader_of(DATA), len(DATA))


async def test_a_refusal_says_why(tmp_path: Path) -> None:
    async with world(tmp_path, BlobLimits(max_blob_bytes=1000)) as w, w.client() as alice, w.client("eve") as eve:
        with pytest.raises(BlobRefusedError) as large:
            await alice.upload(BLOB, reader_of(DATA), len(DATA))
        with pytest.raises(BlobRefusedError) as stranger:
            await eve.keep(BLOB, 1)

        assert (large.value.status, large.value.reason) == (413, "blobs.too-large")
        assert (stranger.value.status, stranger.value.reason) == (401, "wire.unauthorised")


class Scripted:
    """A server that gives prepared answers, the last one for ever."""

    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.routes = [Route(method, "/v1/blobs/{blob}", self.answer) for method in ("HEAD", "GET", "PUT")]
        self.routes.append(Route("POST", "/v1/blobs/{blob}/keep", self.answer))

    async def answer(self, request: Request) -> Response:
        async for _ in request.body:
            pass
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def no_wait(failures: int) -> None:
    pass


def token() -> str:
    return "alice"


async def test_a_server_that_is_busy_is_asked_again() -> None:
    offset = {"Upload-Offset": "0"}
    script = Scripted(
        Response(status=503),  # HEAD
        Response(status=204, headers=offset),  # HEAD
        Response(status=409),  # PUT: another upload of it runs
        Response(status=204, headers=offset),  # HEAD
        Response(status=202, headers=offset),  # PUT: took nothing
        Response(status=200, content_length=3),  # HEAD: somebody else finished it
    )
    async with serving(script.routes) as edge, BlobClient(edge.url, token=token, wait=no_wait) as client:
        await client.upload(BLOB, reader_of(b"123"), 3)

    assert len(script.answers) == 1


async def test_answers_that_make_no_sense_are_errors_of_the_network_or_refusals() -> None:
    async with serving(Scripted(Response(body=b"<html>")).routes) as edge, BlobClient(edge.url, token=token) as client:
        with pytest.raises(TransportError, match="keep of"):
            await client.keep(BLOB, 1)
        with pytest.raises(TransportError, match="the whole came"):
            _ = [piece async for piece in client.download(BLOB, start=3)]
    async with serving(Scripted(Response(status=404)).routes) as edge, BlobClient(edge.url, token=token) as client:
        with pytest.raises(BlobRefusedError, match="Not Found"):
            await client.keep(BLOB, 1)


async def test_a_source_that_is_shorter_than_promised_is_an_error(tmp_path: Path) -> None:
    async with world(tmp_path) as w, w.client() as alice:
        with pytest.raises(EOFError, match="there are 10 bytes, 20 were"):
            await alice.upload(OTHER, reader_of(b"0123456789"), 20)
