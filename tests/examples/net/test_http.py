"""Plain HTTP beside the WebSocket, over real sockets on loopback, on both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest

from examples.net.health import Health
from examples.net.http import HttpError, Request, Response, Route, json_response
from examples.net.loopback import Edge, serving, transport_of
from examples.net.websocket_server import EdgeLimits
from whisperkit.errors import OutcomeUnknownError

pytestmark = pytest.mark.anyio

PIECE = 64 * 1024


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


def client(edge: Edge) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=edge.url, trust_env=False)


async def tell(request: Request) -> Response:
    body = await request.read(1_000)
    return json_response(
        {"path": request.path, "query": dict(request.query), "parameters": dict(request.parameters), "body": len(body)}
    )


async def fail(request: Request) -> Response:
    raise ValueError("geheim")


async def refuse(request: Request) -> Response:
    raise HttpError(418, "tea.pot", "short and stout", headers={"X-Tea": "yes"}, cups=2)


async def unknown(request: Request) -> Response:
    raise OutcomeUnknownError("commit on geheim")


ROUTES = [
    Route("GET", "/things/{thing}", tell),
    Route("PUT", "/things/{thing}", tell),
    Route("GET", "/fail", fail),
    Route("PUT", "/refuse", refuse),
    Route("GET", "/unknown", unknown),
]


# ---- requests and answers -------------------------------------------------------------------------------------------


async def test_a_handler_gets_the_request_and_its_answer_goes_back() -> None:
    async with serving(ROUTES) as edge, client(edge) as http:
        answer = await http.put("/things/a%20b?x=1&x=2", content=b"12345")

        assert answer.json() == {
            "path": "/things/a b",
            "query": {"x": "2"},
            "parameters": {"thing": "a b"},
            "body": 5,
        }
        assert answer.headers["content-type"] == "application/json"
        assert "date" in answer.headers


async def test_requests_follow_each_other_on_one_connection() -> None:
    async with serving(ROUTES) as edge:
        reader, writer = await edge.dial()
        one = b"GET /things/1 HTTP/1.1\r\nHost: here\r\n\r\n"
        writer.write(one + one + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answer = await reader.read()

        assert answer.count(b"HTTP/1.1 200 OK") == 3


async def test_a_handler_that_reads_no_body_costs_no_connection() -> None:
    async def ignores(_request: Request) -> Response:
        return Response(body=b"there")

    async with serving([Route("GET", "/probe", ignores), Route("PUT", "/probe", ignores)]) as edge:
        reader, writer = await edge.dial()
        writer.write(b"GET /probe HTTP/1.1\r\nHost: here\r\n\r\n" * 3)
        writer.write(b"PUT /probe HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n")  # which does not come
        answer = await reader.read()

        assert answer.count(b"HTTP/1.1 200 OK") == 4
        assert answer.count(b"Connection: close") == 1


async def test_a_body_may_come_in_chunks_of_unknown_length() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"123"
        yield b"45"

    async with serving(ROUTES) as edge, client(edge) as http:
        answer = await http.put("/things/1", content=body())

        assert answer.json()["body"] == 5


async def test_head_is_get_without_the_body() -> None:
    async with serving(ROUTES) as edge, client(edge) as http:
        there, same = await http.get("/things/1"), await http.head("/things/1")

        assert (same.status_code, same.content) == (200, b"")
        assert same.headers["content-length"] == str(len(there.content))


async def test_a_client_that_waits_for_100_continue_gets_it_only_if_its_body_is_wanted() -> None:
    async with serving(ROUTES) as edge:
        head = b"PUT /%b HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        reader, writer = await edge.dial()
        writer.write(head % b"things/1")
        go_on = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"ok")
        answer = await reader.readuntil(b"\r\n\r\n")
        refused = await edge.ask(head % b"refuse")

        assert go_on.startswith(b"HTTP/1.1 100 ")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert refused.startswith(b"HTTP/1.1 418 ")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "http.not-found"),
        ("POST", "/things/1", 405, "http.method"),
        ("GET", "/things/1/2", 404, "http.not-found"),
        ("PUT", "/refuse", 418, "tea.pot"),
        ("GET", "/fail", 500, "http.internal"),
        ("GET", "/unknown", 503, "store.outcome-unknown"),
    ],
)
async def test_an_error_is_a_status_and_a_code(method: str, path: str, status: int, code: str) -> None:
    async with serving(ROUTES) as edge, client(edge) as http:
        answer = await http.request(method, path)

        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert "geheim" not in answer.text


async def test_an_error_carries_its_details_and_headers() -> None:
    async with serving(ROUTES) as edge, client(edge) as http:
        answer = await http.put("/refuse")
        wrong = await http.post("/things/1")

        assert answer.json() == {"code": "tea.pot", "message": "short and stout", "cups": 2}
        assert answer.headers["x-tea"] == "yes"
        assert wrong.headers["allow"] == "GET, PUT"


# ---- bodies in constant memory --------------------------------------------------------------------------------------


async def test_an_upload_waits_for_its_handler() -> None:
    go_on = asyncio.Event()

    async def slow(request: Request) -> Response:
        await go_on.wait()
        return json_response({"size": sum([len(piece) async for piece in request.body])})

    size = 64 << 20
    async with serving([Route("PUT", "/slow", slow)]) as edge:
        reader, writer = await edge.dial()
        writer.write(b"PUT /slow HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
        sent, stuck = 0, False
        while not stuck:
            writer.write(bytes(PIECE))
            sent += PIECE
            try:
                await asyncio.wait_for(writer.drain(), 0.2)
            except TimeoutError:
                stuck = True
        before = sent
        go_on.set()
        while sent < size:
            writer.write(bytes(PIECE))
            sent += PIECE
            await writer.drain()
        answer = await reader.read()

        # The rest is in the buffers of two sockets, whose size is the system's affair.
        assert before < 32 << 20
        assert answer.endswith(b'{"size":%d}\n' % size)


async def test_a_download_waits_for_its_reader_and_then_goes_on() -> None:
    made: list[int] = []
    total = 1_000

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(total):
            made.append(number)
            yield bytes(PIECE)

    async def download(request: Request) -> Response:
        return Response(body=pieces(), content_length=total * PIECE)

    async with serving([Route("GET", "/big", download)]) as edge:
        reader, writer = await edge.dial()
        transport_of(writer).pause_reading()
        writer.write(b"GET /big HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        before = -1
        while before < len(made) or not made:
            before = len(made)
            for _ in range(20):
                await asyncio.sleep(0.001)
        stuck_at = len(made)
        transport_of(writer).resume_reading()
        answer = await reader.read()

        assert stuck_at < total
        assert len(answer.partition(b"\r\n\r\n")[2]) == total * PIECE


async def test_a_refused_upload_is_answered_although_nobody_reads_it() -> None:
    async with serving(ROUTES) as edge:
        answer = await edge.ask(
            b"PUT /refuse HTTP/1.1\r\nHost: here\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000)
        )

        assert answer.startswith(b"HTTP/1.1 418 ")
        assert b"connection: close" in answer.lower()


async def test_a_stream_that_fails_halfway_is_cut_and_not_passed_off_as_whole() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"half"
        raise OSError

    async def download(request: Request) -> Response:
        return Response(body=pieces(), content_length=8)

    async with serving([Route("GET", "/half", download)]) as edge, client(edge) as http:
        with pytest.raises(httpx.TransportError):
            await http.get("/half")


async def test_a_body_without_a_length_goes_out_in_chunks() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def download(request: Request) -> Response:
        return Response(body=pieces())

    async with serving([Route("GET", "/open", download)]) as edge, client(edge) as http:
        answer = await http.get("/open")

        assert (answer.text, answer.headers["transfer-encoding"]) == ("one two", "chunked")


# ---- bad peers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: here\r\nA: " + b"x" * 100_000, 431),
        (b"PUT /things/1 HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"PUT /things/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"PUT /things/1 HTTP/1.1\r\nHost: here\r\nContent-Length: 5000\r\n\r\n" + bytes(5000), 413),
    ],
    ids=["garbage", "no host", "long head", "chunk", "lengths", "large"],
)
async def test_a_malformed_request_is_answered_and_ends_the_connection(request_bytes: bytes, status: int) -> None:
    async with serving(ROUTES) as edge:
        answer = await edge.ask(request_bytes)

        assert answer.startswith(b"HTTP/1.1 %d " % status)


async def test_a_request_that_is_cut_short_harms_nobody() -> None:
    seen = asyncio.Event()

    async def count(request: Request) -> Response:
        async for _ in request.body:
            seen.set()
        raise AssertionError("the body ended before its end")

    async with serving([*ROUTES, Route("PUT", "/count", count)]) as edge, client(edge) as http:
        for is_abrupt in (False, True):
            _, writer = await edge.dial()
            writer.write(b"PUT /count HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n123")
            await seen.wait()
            seen.clear()
            if is_abrupt:
                writer.transport.abort()
            else:
                writer.write_eof()

        assert (await http.get("/things/1")).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [b"GET /th", b"PUT /things/1 HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n1"],
    ids=["head", "body"],
)
async def test_a_peer_that_sends_too_slowly_is_cut(sent: bytes) -> None:
    async with serving(ROUTES) as edge:
        reader, writer = await edge.dial()
        writer.write(sent)
        await settled()
        edge.later(5)
        is_there = not reader.at_eof()
        edge.later(11)
        edge.later(22)

        assert is_there
        assert await ends_without_a_word(reader)


async def test_a_peer_that_reads_nothing_of_its_answer_is_cut_and_a_slow_one_is_not() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(PIECE)

    async def download(request: Request) -> Response:
        return Response(body=endless())

    async with serving([Route("GET", "/endless", download)]) as edge:
        reader, writer = await edge.dial()
        writer.write(b"GET /endless HTTP/1.1\r\nHost: here\r\n\r\n")
        for window in (11, 22, 33):
            await reader.readexactly(4 << 20)
            edge.later(window)
        transport_of(writer).pause_reading()
        await settled()
        edge.later(44)
        await settled()
        edge.later(55)
        edge.later(66)
        transport_of(writer).resume_reading()

        assert await ends(reader)


async def test_a_slow_handler_is_not_held_against_the_peer() -> None:
    until = asyncio.Event()

    async def wait(request: Request) -> Response:
        await until.wait()
        return json_response({})

    async with serving([Route("GET", "/wait", wait)]) as edge, client(edge) as http:
        asked = asyncio.ensure_future(http.get("/wait"))
        await settled()
        edge.later(20)
        edge.later(40)
        until.set()

        assert (await asked).status_code == 200


async def test_an_idle_connection_and_one_that_does_not_go_are_cut() -> None:
    async with serving(ROUTES) as edge:
        idle, idle_writer = await edge.dial()
        idle_writer.write(b"GET /things/1 HTTP/1.1\r\nHost: here\r\n\r\n")
        await idle.readuntil(b"}\n")
        lingering, lingering_writer = await edge.dial()
        lingering_writer.write(b"GET /things/1 HTTP/1.0\r\n\r\n")
        await lingering.read()
        lingering_writer.write(b"and more")
        await settled()
        edge.later(6)
        is_idle_there = not idle.at_eof()
        await write_until_cut(lingering_writer)
        edge.later(11)

        assert is_idle_there
        assert await ends_without_a_word(idle)


async def settled() -> None:
    """Let the server take what was sent."""
    for _ in range(10):
        await asyncio.sleep(0.001)


async def write_until_cut(writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while True:
            writer.write(b"still here")
            await writer.drain()
            await asyncio.sleep(0)


async def ends(reader: asyncio.StreamReader) -> bool:
    """Whether a stream ends, after whatever there is to read."""
    with suppress(ConnectionResetError):
        while await reader.read(1 << 20):
            pass
    return True


async def ends_without_a_word(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


# ---- health and drain -----------------------------------------------------------------------------------------------


async def test_a_healthy_server_says_so() -> None:
    async def there() -> None: ...

    health = Health({"store": there})
    async with serving(health.routes) as edge, client(edge) as http:
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/readyz")).status_code == 200


async def test_a_server_that_misses_something_names_it_in_time() -> None:
    async def broken() -> None:
        raise OSError

    async def hanging() -> None:
        await asyncio.get_running_loop().create_future()

    async def there() -> None: ...

    health = Health({"store": broken, "jobs": hanging, "bus": there}, patience_s=0.01)
    async with serving(health.routes) as edge, client(edge) as http:
        answer = await http.get("/readyz")

        assert (answer.status_code, answer.json()) == (503, {"status": "away", "away": ["store", "jobs"]})
        assert (await http.get("/healthz")).status_code == 200


async def test_a_draining_server_is_alive_and_not_ready() -> None:
    health = Health()
    async with serving(health.routes) as edge, client(edge) as http:
        health.drain()

        assert (await http.get("/readyz")).json() == {"status": "draining"}
        assert (await http.get("/healthz")).status_code == 200


async def test_draining_serves_what_was_begun_and_closes_what_is_idle() -> None:
    until = asyncio.Event()

    async def wait(request: Request) -> Response:
        await until.wait()
        return json_response({"served": True})

    async with serving([*ROUTES, Route("GET", "/wait", wait)], EdgeLimits()) as edge, client(edge) as http:
        idle, idle_writer = await edge.dial()
        idle_writer.write(b"GET /things/1 HTTP/1.1\r\nHost: here\r\n\r\n")
        await idle.readuntil(b"}\n")
        asked = asyncio.ensure_future(http.get("/wait"))
        await settled()

        drained = asyncio.ensure_future(edge.server.drain())
        is_idle_closed = await idle.read() == b""
        until.set()

        assert is_idle_closed
        assert (await asked).json() == {"served": True}
        assert await drained == (0, 0)
