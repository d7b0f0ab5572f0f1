"""Files: from the browser through the lab to the other phone and back to a browser, whatever happens on the way."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator

import httpx
import pytest

from examples.lab.files import MAX_FILE_BYTES
from tests.examples.lab.driver import Driver, Json, driving

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def http(page: Driver) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=page.origin, headers=page.headers, trust_env=False)


def files(page: Driver, phone: int) -> list[Json]:
    """What is said of files in the rows of a phone."""
    return [row["file"] for row in page.shown(phone) if "file" in row]


async def test_a_file_goes_to_the_other_phone_and_can_be_saved_on_both() -> None:
    data = os.urandom(300_000)
    async with driving() as (page, lab), http(page) as web:
        answer = await web.post("/files", params={"phone": "0", "name": "cat.jpg", "type": "image/jpeg"}, content=data)
        number = answer.json()["id"]
        await page.until(lambda: any(row["mark"] == "delivered" for row in page.shown(0)))
        await page.until(lambda: len(files(page, 1)) == 1)
        told = [one for one in page.told if one["kind"] == "message" and one["id"] == number]
        saved = [
            await web.get(f"/files/{phone}/{next(row['id'] for row in page.shown(phone) if 'file' in row)}")
            for phone in (0, 1)
        ]
        await page.until(lambda: page.counter == (1, 0, 0))

        assert answer.status_code == 202
        assert {"kind": "gone", "phone": 0, "id": number} in page.told
        assert told[0]["file"] | {"name": "cat.jpg", "type": "image/jpeg", "state": "moving"} == told[0]["file"]
        assert files(page, 0) == files(page, 1)
        assert files(page, 1)[0] | {"name": "cat.jpg", "size": len(data), "state": "done"} == files(page, 1)[0]
        for one in saved:
            assert hashlib.sha256(one.content).digest() == hashlib.sha256(data).digest()
            assert one.headers["content-disposition"] == "attachment; filename*=UTF-8''cat.jpg"
            assert one.headers["content-type"] == "image/jpeg"
            assert one.headers["x-content-type-options"] == "nosniff"
        assert list(lab.server.folder.parent.rglob("*.sealed")) == []
        assert list(lab.server.folder.parent.rglob("opened")) == []


async def test_what_a_file_is_called_and_said_to_be_is_made_harmless() -> None:
    async with driving() as (page, _), http(page) as web:
        params = {"phone": "1", "name": "../../.bashrc\n", "type": "text/html; charset=evil"}
        await web.post("/files", params=params, content=b"x")
        await page.until(lambda: len(files(page, 0)) == 1)

        assert files(page, 0)[0]["name"] == "bashrc_"
        assert files(page, 0)[0]["type"] == "application/octet-stream"


async def test_only_a_picture_is_given_to_a_browser_as_what_it_is_said_to_be() -> None:
    async with driving() as (page, _), http(page) as web:
        await web.post("/files", params={"phone": "1", "name": "x.svg", "type": "image/svg+xml"}, content=b"<svg/>")
        await page.until(lambda: len(files(page, 0)) == 1)
        answer = await web.get(f"/files/0/{next(row['id'] for row in page.shown(0) if 'file' in row)}")

        assert files(page, 0)[0]["type"] == "image/svg+xml"
        assert answer.headers["content-type"] == "application/octet-stream"


async def test_a_file_waits_for_the_ground_and_goes_on_by_itself() -> None:
    async with driving() as (page, _), http(page) as web:
        await page.do("flight", phone=0, on=True)
        await page.until(lambda: page.phone(0)["flight"])
        await web.post("/files", params={"phone": "0", "name": "cat.jpg"}, content=bytes(100_000))
        await page.until(lambda: [file["state"] for file in files(page, 0)] == ["paused"])
        newer = await Driver.of(page.port)
        shown = files(newer, 0)
        await newer.do("flight", phone=0, on=False)
        await newer.until(lambda: [file["state"] for file in files(newer, 1)] == ["done"])

        assert [file["state"] for file in shown] == ["paused"]
        assert shown[0]["type"] == "image/jpeg"
        await newer.close()


async def test_a_file_that_waits_or_moves_can_be_cancelled() -> None:
    async with driving() as (page, lab), http(page) as web:
        await page.set(slow=True)
        moving = await web.post("/files", params={"phone": "0", "name": "long.mp4"}, content=os.urandom(3_000_000))
        await page.until(lambda: any(0 < file["moved"] < file["total"] for file in files(page, 0)))
        waiting = await web.post("/files", params={"phone": "0", "name": "next.mp4"}, content=b"x")
        await page.do("cancel", phone=0, id=waiting.json()["id"])
        await page.do("cancel", phone=0, id=moving.json()["id"])
        await page.until(lambda: files(page, 0) == [])
        await page.set(slow=False)
        await page.send(0, "never mind")
        await page.until(lambda: page.has(1, "never mind"))

        assert files(page, 1) == []
        assert list(lab.server.folder.parent.rglob("*.sealed")) == []


async def test_a_file_that_the_server_refuses_says_so_and_may_be_tried_again_or_thrown_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHISPERKIT_LIMITS__BLOB_BYTES", "10000")
    async with driving() as (page, _), http(page) as web:
        answer = await web.post("/files", params={"phone": "0", "name": "long.mp4"}, content=bytes(20_000))
        number = answer.json()["id"]
        await page.until(lambda: page.rows[0][number]["mark"] == "failed")
        words = page.rows[0][number]["words"]
        await web.post("/files", params={"phone": "0", "name": "short.mp4"}, content=b"x")
        await page.until(lambda: [file["name"] for file in files(page, 1)] == ["short.mp4"])
        told = len(page.told)
        await page.do("retry", phone=0, id=number)
        await page.until(lambda: any(one.get("mark") == "pending" for one in page.told[told:]))
        await page.until(lambda: page.rows[0][number]["mark"] == "failed")
        await page.do("discard", phone=0, id=number)
        await page.until(lambda: number not in page.rows[0])

        assert words.startswith("not sent: ")
        assert page.said() == []


async def test_a_browser_that_goes_away_while_it_sends_has_sent_nothing() -> None:
    async def some() -> AsyncIterator[bytes]:
        yield bytes(100_000)
        await page.until(lambda: len(files(page, 0)) == 1)
        raise RuntimeError("the tab is closed")

    async with driving() as (page, _), http(page) as web:
        with pytest.raises(RuntimeError):
            await web.post("/files", params={"phone": "0", "name": "half.bin"}, content=some())
        await page.until(lambda: files(page, 0) == [])


async def test_a_file_that_is_cancelled_while_it_comes_is_taken_no_further() -> None:
    async def some() -> AsyncIterator[bytes]:
        yield bytes(100_000)
        await page.until(lambda: len(files(page, 0)) == 1)
        await page.do("cancel", phone=0, id=page.shown(0)[-1]["id"])
        await page.do("typing", phone=1)
        await page.until(lambda: page.phone(0)["peer"]["words"] == "typing …")
        yield bytes(100_000)

    async with driving() as (page, _), http(page) as web:
        answer = await web.post("/files", params={"phone": "0", "name": "half.bin"}, content=some())
        await page.until(lambda: files(page, 0) == [])

        assert answer.status_code == 409


async def test_a_file_that_is_too_long_is_refused_before_it_comes() -> None:
    async with driving() as (page, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", page.port)
        lines = [
            "POST /files?phone=0&name=x HTTP/1.1",
            f"Host: 127.0.0.1:{page.port}",
            f"Content-Length: {MAX_FILE_BYTES + 1}",
            *(f"{name}: {value}" for name, value in page.headers.items()),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        status = await reader.readline()
        writer.close()

        assert status.startswith(b"HTTP/1.1 413 ")
        assert files(page, 0) == []


@pytest.mark.parametrize("phone", ["2", "", "x"])
async def test_there_are_two_phones(phone: str) -> None:
    async with driving() as (page, _), http(page) as web:
        answer = await web.post("/files", params={"phone": phone, "name": "x"}, content=b"x")

        assert answer.status_code == 400


async def test_what_is_no_file_cannot_be_saved() -> None:
    async with driving() as (page, _), http(page) as web:
        await page.send(0, "words")
        await page.until(lambda: page.has(1, "words"))
        for path in (f"/files/1/{page.row(1, 'words')['id']}", "/files/1/nothing"):
            assert (await web.get(path)).status_code == 404
        assert (await web.get("/files/7/nothing")).status_code == 400


async def test_a_file_cannot_be_saved_while_nobody_can_fetch_it() -> None:
    async with driving() as (page, _), http(page) as web:
        await web.post("/files", params={"phone": "0", "name": "cat.jpg"}, content=b"x")
        await page.until(lambda: len(files(page, 1)) == 1)
        await page.do("flight", phone=1, on=True)
        await page.until(lambda: page.phone(1)["flight"])
        answer = await web.get(f"/files/1/{next(row['id'] for row in page.shown(1) if 'file' in row)}")

        assert answer.status_code == 503
