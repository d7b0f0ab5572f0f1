"""WebSockets over real sockets on loopback, on both event loops; time is told, not waited for."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from examples.net.loopback import Edge, Recorder, serving, transport_of
from examples.net.turns import Turns
from examples.net.websocket import WebSocketConnection
from examples.net.websocket_server import Channel, EdgeLimits, WebSocketServer

pytestmark = pytest.mark.anyio

HANDSHAKE = (
    b"GET /ws?v=1 HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
FLOOD = 100 * 1024


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


def client(edge: Edge) -> connect:
    return connect(edge.ws_url, proxy=None, compression=None, max_size=None)


async def end_of(ws: ClientConnection) -> tuple[int, str]:
    try:
        async for _ in ws:
            pass
    except ConnectionClosed:
        pass
    return ws.close_code or 0, ws.close_reason or ""


class Broken(list[bytes | str]):
    def append(self, data: bytes | str, /) -> None:
        raise ValueError(data)


class CountingTransport(asyncio.Transport):
    """Takes everything at once and remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


async def shake_hands(edge: Edge) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await edge.dial()
    writer.write(HANDSHAKE)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    return reader, writer


# ---- messages -------------------------------------------------------------------------------------------------------


async def test_messages_go_both_ways_in_order_and_keep_their_kind() -> None:
    async with serving() as edge, client(edge) as ws:
        await ws.send(b"\x00binary")
        await ws.send("t\u00e9xt")
        receiver = await edge.first()
        await receiver.until(lambda: len(receiver.messages) == 2)
        receiver.channel.send(b"\x01answer")
        receiver.channel.send("\u00e4nswer")

        assert receiver.messages == [b"\x00binary", "t\u00e9xt"]
        assert [await ws.recv(), await ws.recv()] == [b"\x01answer", "\u00e4nswer"]


async def test_the_application_is_told_the_path_with_its_query() -> None:
    async with serving() as edge, connect(edge.ws_url + "?form=json", proxy=None):
        assert (await edge.first()).path == "/ws?form=json"


async def test_fragments_are_one_message_with_a_ping_between_them() -> None:
    async with serving() as edge:
        reader, writer = await shake_hands(edge)
        writer.write(frame(Opcode.TEXT, "\u00e9".encode()[:1], fin=False) + frame(Opcode.PING, b"p"))
        writer.write(frame(Opcode.CONT, b"", fin=False) + frame(Opcode.CONT, "\u00e9".encode()[1:]))
        pong = await reader.readexactly(3)
        receiver = await edge.first()
        await receiver.until(lambda: bool(receiver.messages))

        assert receiver.messages == ["\u00e9"]
        assert pong == Frame(Opcode.PONG, b"p").serialize(mask=False)


async def test_a_handshake_that_comes_byte_by_byte_is_a_handshake() -> None:
    async with serving() as edge:
        reader, writer = await edge.dial()
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(HANDSHAKE)):
            writer.write(HANDSHAKE[at : at + 1])
            await asyncio.sleep(0)

        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")


async def test_what_is_sent_in_one_turn_is_one_write() -> None:
    loop = asyncio.get_running_loop()
    turns = Turns(loop)
    receivers: list[Recorder] = []

    def on_open(channel: Channel, path: str) -> Recorder:
        receivers.append(Recorder(channel, path))
        return receivers[0]

    connection = WebSocketConnection(
        on_open=on_open,
        on_end=lambda _: None,
        turns=turns,
        limits=EdgeLimits(),
        opened_at=loop.time(),
        now=loop.time,
    )
    transport = CountingTransport()
    connection.connection_made(transport)
    connection.data_received(HANDSHAKE)
    turns.read_now()
    await asyncio.sleep(0)
    transport.writes.clear()
    for number in range(5):
        receivers[0].channel.send(bytes([number]))
    before = receivers[0].channel.write_backlog
    await asyncio.sleep(0)

    all_five = b"".join(Frame(Opcode.BINARY, bytes([number])).serialize(mask=False) for number in range(5))
    assert transport.writes == [all_five]
    assert (before, receivers[0].channel.write_backlog) == (5, 0)


# ---- ends -----------------------------------------------------------------------------------------------------------


async def test_closing_sends_what_was_sent_before_and_the_reason() -> None:
    async with serving() as edge, client(edge) as ws:
        receiver = await edge.first()
        receiver.channel.send(b"last words")
        receiver.channel.close(4001, "SUPERSEDED")
        receiver.channel.send(b"too late")
        receiver.channel.close(1000, "twice is harmless")

        assert await ws.recv() == b"last words"
        assert await end_of(ws) == (4001, "SUPERSEDED")
        await receiver.until(lambda: receiver.happened == ["closed"])


async def test_nothing_is_received_after_closing() -> None:
    async with serving() as edge:
        reader, writer = await shake_hands(edge)
        receiver = await edge.first()
        receiver.channel.close(1000)
        writer.write(frame(Opcode.BINARY, b"late") + frame(Opcode.CLOSE, b"\x03\xe8"))
        await reader.read()
        writer.close()
        await receiver.until(lambda: "closed" in receiver.happened)

        assert receiver.messages == []


async def test_a_peer_that_closes_is_answered_and_told_of_once() -> None:
    async with serving() as edge:
        async with client(edge) as ws:
            receiver = await edge.first()
        await receiver.until(lambda: "closed" in receiver.happened)

        assert (ws.close_code, receiver.happened, edge.server.connections) == (1000, ["closed"], 0)


async def test_a_peer_that_is_cut_off_is_told_of_once() -> None:
    async with serving() as edge:
        _, writer = await shake_hands(edge)
        receiver = await edge.first()
        writer.transport.abort()
        await receiver.until(lambda: "closed" in receiver.happened)
        receiver.channel.send(b"to nobody")
        receiver.channel.close()

        assert receiver.happened == ["closed"]


async def test_a_receiver_that_fails_ends_its_own_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as edge, client(edge) as one, client(edge) as other:
        receiver = await edge.first()
        receiver.messages = Broken()
        await one.send(b"x")
        ends = await end_of(one)
        await other.send(b"y")
        await edge.receivers[1].until(lambda: edge.receivers[1].messages == [b"y"])

        assert ends == (1011, "")
        assert [record.message for record in caplog.records] == ["receiver failed"]


async def test_an_application_that_refuses_a_connection_with_an_error_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(channel: Channel, path: str) -> Recorder:
        raise RuntimeError

    server = WebSocketServer(refuse)
    host, port = await server.listen("127.0.0.1", 0)
    async with connect(f"ws://{host}:{port}/ws", proxy=None) as ws:
        assert await end_of(ws) == (1011, "")
    await server.drain()
    assert [record.message for record in caplog.records] == ["receiver failed"]


# ---- what a bad peer sends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fragments", [1, 4], ids=["whole", "in fragments"])
async def test_a_message_that_is_too_long_ends_in_1009_which_arrives(fragments: int) -> None:
    limits = EdgeLimits(max_message_bytes=100_000)
    async with serving(limits=limits) as edge, client(edge) as ws:
        part = b"x" * (1_000_000 // fragments)
        await ws.send([part] * fragments if fragments > 1 else part)

        code, _ = await end_of(ws)
        assert code == 1009
        assert (await edge.first()).messages == []


async def test_the_reason_arrives_although_the_peer_was_still_sending() -> None:
    async with serving(limits=EdgeLimits(max_message_bytes=100_000)) as edge:
        reader, writer = await shake_hands(edge)
        whole = frame(Opcode.BINARY, bytes(8 << 20))
        for at in range(0, len(whole), FLOOD):
            writer.write(whole[at : at + FLOOD])
            await writer.drain()  # a reset would end it here
        answer = await reader.read()

        assert (answer[:1], int.from_bytes(answer[2:4], "big")) == (b"\x88", 1009)


async def test_a_message_as_long_as_allowed_is_taken() -> None:
    async with serving(limits=EdgeLimits(max_message_bytes=100_000)) as edge, client(edge) as ws:
        await ws.send(b"x" * 100_000)
        receiver = await edge.first()
        await receiver.until(lambda: bool(receiver.messages))

        assert receiver.messages == [b"x" * 100_000]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(Opcode.TEXT, b"\xff"), 1007),
        (frame(Opcode.TEXT, b"\xff", fin=False) + frame(Opcode.CONT, b""), 1007),
        (Frame(Opcode.BINARY, b"unmasked").serialize(mask=False), 1002),
        (frame(Opcode.CONT, b"of nothing"), 1002),
        (frame(Opcode.BINARY, b"a", fin=False) + frame(Opcode.BINARY, b"b"), 1002),
        (b"\xf3\x80\x00\x00\x00\x00", 1002),
        (frame(Opcode.PING, b"")[:1] + b"\xfe\x00\x7e" + bytes(130), 1002),
    ],
    ids=["text", "text in fragments", "unmasked", "continuation", "interleaved", "reserved", "long control"],
)
async def test_a_malformed_frame_ends_in_a_code_and_reaches_nobody(data: bytes, code: int) -> None:
    async with serving() as edge:
        reader, writer = await shake_hands(edge)
        writer.write(data)
        answer = await reader.read()

        assert answer[:1] == b"\x88"
        assert int.from_bytes(answer[2:4], "big") == code
        assert (await edge.first()).messages == []


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /ws HTTP/1.1\r\nHost: here\r\n\r\n", 426),
        (HANDSHAKE.replace(b"13", b"12"), 400),
        (HANDSHAKE.replace(b"AAAA==", b"=="), 400),
        (HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
        (b"GET /ws " + b"x" * 100_000 + b"\r\n\r\n", 414),
        (HANDSHAKE.replace(b"here", b"h" * 100_000), 431),
        (HANDSHAKE.replace(b"Host: here", b"\r\n".join(b"A: b" for _ in range(1_000))), 431),
        (b"GET /ws \xff\xff HTTP/9\r\n\r\n", None),
    ],
    ids=["plain", "version", "key", "http", "long line", "long header", "many headers", "garbage"],
)
async def test_a_malformed_handshake_is_answered_and_opens_nothing(head: bytes, status: int | None) -> None:
    async with serving() as edge:
        answer = await edge.ask(head)

        assert answer.startswith(b"HTTP/1.1 %d " % status if status is not None else b"")
        assert edge.receivers == []


async def test_websockets_may_be_opened_somewhere_else() -> None:
    async with serving(path="/lab/socket") as edge:
        async with client(edge):
            path = (await edge.first()).path
        at_once = await edge.ask(b"GET /lab/sock HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{edge.host}:{edge.port}/ws", proxy=None)

    assert path == "/lab/socket"
    assert at_once.startswith(b"HTTP/1.1 404 ")
    assert refused.value.response.status_code == 404


async def test_whoever_may_not_open_a_websocket_is_refused_by_the_headers() -> None:
    async with serving(may_open=lambda headers: headers["x-ticket"] == "one") as edge:
        async with connect(edge.ws_url, additional_headers={"X-Ticket": "one"}, proxy=None):
            await edge.first()
        for tickets in ([], ["two"], ["one", "one"]):
            with pytest.raises(InvalidStatus) as refused:
                await connect(edge.ws_url, additional_headers=[("X-Ticket", one) for one in tickets], proxy=None)
            assert refused.value.response.status_code == 403

        assert len(edge.receivers) == 1


async def test_an_upgrade_anywhere_else_is_not_found() -> None:
    async with serving() as edge:
        with pytest.raises(InvalidStatus) as caught:
            await connect(edge.url.replace("http", "ws") + "/wsx", proxy=None)

        assert caught.value.response.status_code == 404


async def test_content_is_never_logged_even_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving() as edge:
        _, writer = await shake_hands(edge)
        writer.write(frame(Opcode.TEXT, b"geheim"))
        receiver = await edge.first()
        await receiver.until(lambda: bool(receiver.messages))
        receiver.channel.send("geheim")
        writer.write(frame(Opcode.TEXT, b"geheim")[:-1] + b"\xff")
        writer.close()
        await receiver.until(lambda: "closed" in receiver.happened)

    assert "geheim" not in caplog.text


# ---- time and bounds ------------------------------------------------------------------------------------------------


async def test_a_peer_that_reads_nothing_pauses_and_goes_on_when_it_reads() -> None:
    async with serving() as edge:
        reader, writer = await shake_hands(edge)
        receiver = await edge.first()
        transport_of(writer).pause_reading()
        sent = 0
        while "paused" not in receiver.happened:
            receiver.channel.send(bytes(FLOOD))
            sent += 1
            await asyncio.sleep(0)
        stuck = receiver.channel.write_backlog
        transport_of(writer).resume_reading()
        for _ in range(sent):
            await reader.readexactly(len(Frame(Opcode.BINARY, bytes(FLOOD)).serialize(mask=False)))
        await receiver.until(lambda: "drained" in receiver.happened)

        assert stuck > 0
        assert receiver.happened == ["paused", "drained"]
        assert receiver.channel.write_backlog == 0


async def test_a_backlog_that_grows_too_long_cuts_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(limits=EdgeLimits(max_backlog_bytes=1 << 20)) as edge:
        _, writer = await shake_hands(edge)
        receiver = await edge.first()
        transport_of(writer).pause_reading()
        while "closed" not in receiver.happened:
            receiver.channel.send(bytes(FLOOD))
            await asyncio.sleep(0)

        assert [record.message for record in caplog.records] == ["backlog exceeded"]


@pytest.mark.parametrize("begun", [b"", b"GE", HANDSHAKE[:-2]], ids=["nothing", "two bytes", "half a head"])
async def test_a_handshake_that_takes_too_long_is_cut(begun: bytes) -> None:
    async with serving() as edge:
        reader, writer = await edge.dial()
        writer.write(begun)
        await arrived()
        edge.later(5)
        is_there = not reader.at_eof()
        edge.later(edge.server.limits.handshake_s + 1)

        assert is_there
        assert await ends_without_a_word(reader)


async def arrived() -> None:
    """Let the server take what was sent."""
    for _ in range(10):
        await asyncio.sleep(0.001)


async def ends_without_a_word(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


async def test_a_quiet_peer_is_pinged_once_and_then_cut() -> None:
    async with serving() as edge:
        reader, _writer = await shake_hands(edge)
        receiver = await edge.first()
        edge.later(edge.server.limits.ping_after_s + 1)
        ping = await reader.readexactly(2)
        edge.later(edge.server.limits.ping_after_s + 2)
        await arrived()
        edge.later(edge.server.limits.idle_s + 1)

        assert ping == Frame(Opcode.PING, b"").serialize(mask=False)
        assert await ends_without_a_word(reader)
        await receiver.until(lambda: receiver.happened == ["closed"])


async def test_a_peer_that_does_not_answer_a_close_is_cut() -> None:
    async with serving() as edge:
        reader, _writer = await shake_hands(edge)
        receiver = await edge.first()
        receiver.channel.close(1000, "bye")
        await reader.readexactly(7)
        edge.later(0)
        edge.later(1)
        is_open = receiver.happened == []
        edge.later(edge.server.limits.close_s + 1)

        assert is_open
        assert await ends_without_a_word(reader)
        await receiver.until(lambda: receiver.happened == ["closed"])


async def test_too_many_connections_are_closed_as_they_come(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(limits=EdgeLimits(max_connections=1)) as edge:
        async with client(edge):
            await edge.first()
            reader, writer = await edge.dial()
            is_cut = await ends_without_a_word(reader)
            writer.close()
        await edge.receivers[0].until(lambda: "closed" in edge.receivers[0].happened)

        assert is_cut
        assert [record.message for record in caplog.records] == ["too many connections"]
        async with client(edge):
            pass


async def test_the_timer_looks_after_connections_by_itself() -> None:
    limits = EdgeLimits(handshake_s=0.01, check_every_s=0.01)
    async with serving(limits=limits) as edge:
        reader, _writer = await edge.dial()

        assert await ends_without_a_word(reader)


# ---- drain ----------------------------------------------------------------------------------------------------------


async def test_draining_lets_links_say_goodbye_and_then_closes_them() -> None:
    async with serving() as edge, client(edge) as ws:
        receiver = await edge.first()

        async def closing() -> None:
            receiver.channel.send(b"BYE")

        drained = asyncio.ensure_future(edge.server.drain(closing))
        said = await ws.recv()

        assert said == b"BYE"
        assert await end_of(ws) == (1001, "the server goes away")
        assert await drained == (1, 0)
        assert receiver.happened == ["closed"]


async def test_a_draining_server_takes_nobody_new() -> None:
    async with serving() as edge, client(edge):
        receiver = await edge.first()
        refused: list[bool] = []

        async def closing() -> None:
            with pytest.raises(ConnectionRefusedError):
                await edge.dial()
            refused.append(True)
            receiver.channel.close(1013, "TRY_LATER")

        await edge.server.drain(closing)

        assert refused == [True]


@pytest.mark.parametrize("hangs", ["closing", "peer"])
async def test_draining_ends_in_time_whoever_hangs(hangs: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as edge:
        await shake_hands(edge)
        receiver = await edge.first()
        never = asyncio.get_running_loop().create_future()

        async def closing() -> None:
            if hangs == "closing":
                await never

        drained = await edge.server.drain(closing, within_s=0.01)

        assert drained == (1, 1)
        assert receiver.happened == ["closed"]
        assert "drain took too long" in caplog.text


async def test_an_undecided_connection_does_not_hold_up_a_drain() -> None:
    async with serving() as edge:
        reader, _writer = await edge.dial()
        await arrived()

        assert await edge.server.drain() == (0, 0)
        assert await ends_without_a_word(reader)
