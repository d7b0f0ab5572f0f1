"""Who is let in: accounts, devices that prove themselves, tokens for HTTP; over real sockets."""

from __future__ import annotations

import time

import httpx
import pytest

from examples.server.app import ChatServer
from examples.server.tokens import SKEW_MS
from tests.examples.server.talker import Talker, token_request
from whisperkit.ids import DeviceId, MessageId
from whisperkit.sync import codec, frames
from whisperkit.sync.frames import ByeCode, FailureReason

pytestmark = pytest.mark.anyio

ALICE, TABLET, BOB = DeviceId.named("alice", 1), DeviceId.named("alice", 2), DeviceId.named("bob", 1)
REQUEST = MessageId.mint(wall_ms=1, random_bytes=bytes)


async def refused(talker: Talker) -> tuple[ByeCode, str]:
    """With what goodbye a connection ends, and how the socket is closed."""
    how = await talker.end()
    (bye,) = [frame for frame in talker.came if isinstance(frame, frames.Bye)]
    return bye.code, how.rpartition(": ")[2]


async def test_a_device_makes_its_account_and_comes_in_again_by_its_key(server: ChatServer) -> None:
    async with Talker(server.url, ALICE) as first:
        await first.begin()
    async with Talker(server.url, ALICE, first.keys) as again:
        await again.hello(2)

        assert (await again.hear(frames.Welcome)).head.seq == 0


async def test_a_name_that_is_taken_is_not_given_to_another_key(server: ChatServer) -> None:
    async with Talker(server.url, ALICE) as first:
        await first.begin()
    async with Talker(server.url, ALICE) as mallory:
        await mallory.register()

        assert await refused(mallory) == (ByeCode.UNAUTHORISED, "4003 UNAUTHORISED")


async def test_who_cannot_sign_is_not_let_in(server: ChatServer) -> None:
    async with Talker(server.url, ALICE) as first:
        await first.begin()
    async with Talker(server.url, ALICE) as mallory:
        await mallory.hello(2)

        assert await refused(mallory) == (ByeCode.UNAUTHORISED, "4003 UNAUTHORISED")


async def test_a_proof_of_another_connection_is_none(server: ChatServer) -> None:
    async with Talker(server.url, ALICE) as first:
        await first.begin()
    async with Talker(server.url, ALICE, first.keys) as replayed:
        await replayed.hello(2, nonce=bytes(32))

        assert (await refused(replayed))[0] is ByeCode.UNAUTHORISED


async def test_a_device_that_nobody_linked_is_not_let_in(server: ChatServer) -> None:
    async with Talker(server.url, ALICE) as first:
        await first.begin()
    async with Talker(server.url, TABLET) as tablet:
        await tablet.hello(1)

        assert (await refused(tablet))[0] is ByeCode.UNAUTHORISED


async def test_a_device_is_linked_by_one_that_is_in_and_put_out_again(server: ChatServer) -> None:
    async with Talker(server.url, ALICE) as phone:
        await phone.begin()
        async with Talker(server.url, TABLET) as tablet:
            await phone.say(frames.Link(REQUEST, 2, tablet.keys.public, 1))
            await phone.hear(frames.Linked)
            await tablet.hello(1)
            await tablet.hear(frames.Welcome)

            await phone.say(frames.Devices(REQUEST, (ALICE.user, BOB.user)))
            ((user, _, devices),) = (await phone.hear(frames.DeviceLists)).lists
            await phone.say(frames.Unlink(REQUEST, 2))
            code, _ = await refused(tablet)

    assert (user, [device.number for device in devices]) == (ALICE.user, [1, 2])
    assert code is ByeCode.UNAUTHORISED


async def test_a_number_that_is_taken_is_not_linked_under_another_key(server: ChatServer) -> None:
    async with Talker(server.url, ALICE) as phone:
        await phone.begin()
        for key in (b"\x05" + bytes([n]) * 32 for n in (1, 2)):
            await phone.say(frames.Link(REQUEST, 2, key, 1))

        await phone.hear(frames.Linked)
        assert (await phone.hear(frames.Failed)).reason is FailureReason.TAKEN


async def test_the_newer_connection_of_a_device_takes_over_and_the_older_one_is_told(server: ChatServer) -> None:
    async with Talker(server.url, ALICE) as older:
        await older.begin(1)
        async with Talker(server.url, ALICE, older.keys) as newer:
            await newer.hello(2)
            await newer.hear(frames.Welcome)

            assert await refused(older) == (ByeCode.SUPERSEDED, "4001 SUPERSEDED")
            await newer.say(frames.Beat())
            await newer.hear(frames.Head)


async def test_an_older_connection_that_comes_late_does_not_take_over(server: ChatServer) -> None:
    async with Talker(server.url, ALICE) as newer:
        await newer.begin(2)
        async with Talker(server.url, ALICE, newer.keys) as older:
            await older.hello(1)

            assert (await refused(older))[0] is ByeCode.SUPERSEDED
        await newer.say(frames.Beat())
        await newer.hear(frames.Head)


@pytest.mark.parametrize("data", [codec.encode(frames.Beat()), b"\xc1", b"", b"[999]"])
async def test_who_speaks_out_of_turn_or_no_frames_is_shown_out(server: ChatServer, data: bytes) -> None:
    async with Talker(server.url, ALICE) as mallory:
        await mallory.say_raw(data)

        assert (await refused(mallory))[0] is ByeCode.PROTOCOL


# ---- tokens ---------------------------------------------------------------------------------------------------------


async def test_a_device_gets_a_token_for_an_hour_by_its_signature(server: ChatServer, http: httpx.AsyncClient) -> None:
    async with Talker(server.url, ALICE) as alice:
        await alice.begin()

        answer = await token_request(http, alice)

    assert answer.status_code == 200
    given = answer.json()
    assert len(given["token"]) > 40
    assert 3_500_000 < given["expires_at_ms"] - time.time_ns() // 1_000_000 <= 3_600_000


async def test_a_wrong_proof_and_a_device_that_does_not_exist_get_the_same_answer(
    server: ChatServer, http: httpx.AsyncClient
) -> None:
    async with Talker(server.url, ALICE) as alice:
        await alice.begin()
    mallory = Talker(server.url, ALICE)
    nobody = Talker(server.url, BOB)
    tablet = Talker(server.url, TABLET, alice.keys)

    answers = [await token_request(http, one) for one in (mallory, nobody, tablet)]

    assert [answer.status_code for answer in answers] == [401] * 3
    assert len({answer.text for answer in answers}) == 1


async def test_a_proof_that_was_overheard_is_of_no_use_later(server: ChatServer, http: httpx.AsyncClient) -> None:
    async with Talker(server.url, ALICE) as alice:
        await alice.begin()
    now = time.time_ns() // 1_000_000

    stale = await token_request(http, alice, at_ms=now - SKEW_MS - 60_000)
    early = await token_request(http, alice, at_ms=now + SKEW_MS + 60_000)
    moved = await token_request(http, alice, at_ms=now, signed_at_ms=now - 1)

    assert [answer.status_code for answer in (stale, early, moved)] == [401] * 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"device": "x", "at_ms": 1, "signature": ""}',
        b'{"device": "%b", "at_ms": true, "signature": ""}' % ALICE.encode(),
        b'{"device": "%b", "at_ms": 1.5, "signature": ""}' % ALICE.encode(),
        b'{"device": "%b", "at_ms": -1, "signature": ""}' % ALICE.encode(),
        b'{"device": "%b", "at_ms": 1, "signature": "!"}' % ALICE.encode(),
        b"[" * 1_000,
        b"\xff",
    ],
)
async def test_a_request_that_is_none_is_answered_with_its_form(http: httpx.AsyncClient, body: bytes) -> None:
    answer = await http.post("/v1/token", content=body)

    assert answer.status_code == 400
    assert answer.json()["code"] == "http.malformed"
    assert "the body is {" in answer.json()["message"]


async def test_a_request_that_is_too_long_is_not_read_to_its_end(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/token", content=b" " * 100_000)

    assert answer.status_code == 413
