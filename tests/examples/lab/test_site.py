"""The lab's web server: for the browser on this machine, for the page of this lab, and for nobody else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from examples.lab.site import PAGE, Site
from tests.examples.lab.driver import Driver, Json, driving

pytestmark = pytest.mark.anyio

BAD: Final = [
    "no JSON",
    "[" * 100_000,
    "null",
    "[]",
    "7",
    '{"do": 7}',
    '{"do": "fly to the moon"}',
    '{"do": ["send"]}',
    '{"do": "send"}',
    '{"do": "send", "phone": 2, "text": "x"}',
    '{"do": "send", "phone": true, "text": "x"}',
    '{"do": "send", "phone": -1, "text": "x"}',
    '{"do": "send", "phone": 0}',
    '{"do": "send", "phone": 0, "text": ""}',
    '{"do": "send", "phone": 0, "text": 7}',
    '{"do": "send", "phone": 0, "text": "\\ud800"}',
    json.dumps({"do": "send", "phone": 0, "text": "x" * 65_537}),
    '{"do": "retry", "phone": 0, "id": "nothing"}',
    '{"do": "discard", "phone": 0, "id": null}',
    '{"do": "history", "phone": 0, "count": 0}',
    '{"do": "history", "phone": 0, "count": "all"}',
    '{"do": "history", "phone": 0, "before": 7}',
    '{"do": "flight", "phone": 0, "on": 1}',
    '{"do": "set", "what": "lose", "to": 31}',
    '{"do": "set", "what": "lose", "to": true}',
    '{"do": "set", "what": "speed", "to": 4}',
    '{"do": "set", "what": "double", "to": 1}',
    '{"do": "set", "what": "gravity", "to": true}',
    '{"do": "lose_next", "phone": 0, "way": "sideways"}',
    '{"do": "double_next", "phone": 9, "way": "up"}',
    '{"do": "verify", "phone": 0}',
]
STRANGERS: Final[list[dict[str, str]]] = [
    {"Cookie": "", "Origin": "http://127.0.0.1:{port}"},
    {"Cookie": "lab-{port}=guessed", "Origin": "http://127.0.0.1:{port}"},
    {"Cookie": "{cookie}", "Origin": "http://127.0.0.1:1"},
    {"Cookie": "{cookie}", "Origin": "http://evil.example"},
    {"Cookie": "{cookie}", "Origin": "null"},
    {"Cookie": "{cookie}"},
    {"Cookie": '{cookie}; a"b[]=c', "Origin": "http://localhost:{port}"},
    {"Cookie": "{cookie}", "Origin": "http://evil.example:{port}", "Host": "evil.example:{port}"},
]
HARMLESS: Final = [
    '{"do": "seen", "phone": 0, "id": "nothing"}',
    '{"do": "cancel", "phone": 0, "id": "nothing"}',
    '{"do": "flight", "phone": 0, "on": false}',
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_the_page_is_served_with_what_keeps_it_from_everything_else() -> None:
    async with driving() as (page, _), httpx.AsyncClient(base_url=page.origin, trust_env=False) as http:
        index = await http.get("/")
        others = [await http.get(f"/{path.name}") for path in PAGE.iterdir()]
        policy = index.headers["content-security-policy"]

        assert index.text == (PAGE / "index.html").read_text(encoding="utf-8")
        assert [answer.status_code for answer in others] == [200] * len(others)
        for answer in [index, *others]:
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-security-policy"] == policy
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert re.fullmatch(r"lab-\d+=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict", index.headers["set-cookie"])
        assert all("set-cookie" not in answer.headers for answer in others)


async def test_nothing_but_the_page_is_served() -> None:
    async with driving() as (page, _), httpx.AsyncClient(base_url=page.origin, trust_env=False) as http:
        for path in ("/nothing.html", "/../lab.py", "/%2e%2e%2flab.py", "/lab.py", "/page/index.html", "/%2e%2e"):
            assert (await http.get(path)).status_code == 404, path


async def test_a_request_for_another_host_is_refused() -> None:
    async with driving() as (page, _), httpx.AsyncClient(base_url=page.origin, trust_env=False) as http:
        for host in (f"evil.example:{page.port}", "127.0.0.1", "127.0.0.1:1", ""):
            for path in ("/", "/lab.js", "/files/0/00"):
                answer = await http.get(path, headers={"Host": host, "Cookie": page.cookie})

                assert answer.status_code in (400, 421), (host, path)
                assert "set-cookie" not in answer.headers


async def test_nobody_else_drives_the_lab() -> None:
    async with driving() as (page, _), httpx.AsyncClient(base_url=page.origin, trust_env=False) as http:
        for headers in STRANGERS:
            said = {name: text.format(port=page.port, cookie=page.cookie) for name, text in headers.items()}
            answer = await http.post("/files?phone=0&name=x", content=b"x", headers=said)
            with pytest.raises(InvalidStatus):
                await connect(f"ws://127.0.0.1:{page.port}/lab", additional_headers=said, proxy=None)

            assert answer.status_code in (403, 421), headers
        assert page.rows[0].keys() == page.rows[1].keys()


async def test_a_file_is_given_to_the_page_only() -> None:
    async with driving() as (page, _), httpx.AsyncClient(base_url=page.origin, trust_env=False) as http:
        answer = await http.get("/files/0/00")

        assert answer.status_code == 403


async def test_what_no_page_should_ask_for_is_answered_with_a_sentence() -> None:
    async with driving() as (page, _):
        for count, text in enumerate(BAD, start=1):
            await page.send_text(text)
            await page.until(lambda count=count: len(page.said()) == count)  # type: ignore[misc]
            said = page.part("said")

            assert said["bad"], text[:80]
            assert said["text"] != "that did not work; the lab's log says why", text[:80]
        await page.send(1, "still there")
        await page.until(lambda: page.has(0, "still there"))

        assert page.texts(0) == ["still there"]


async def test_what_concerns_nothing_does_nothing() -> None:
    async with driving() as (page, _):
        for text in HARMLESS:
            await page.send_text(text)
        await page.send(0, "still there")
        await page.until(lambda: page.has(1, "still there"))

        assert page.said() == []


async def test_what_fails_without_a_reason_is_told_and_ends_nothing() -> None:
    async with driving() as (page, lab):
        lab.change_members = None  # type: ignore[assignment, method-assign]  # a fault of ours
        await page.do("add")
        await page.until(lambda: page.said() == ["that did not work; the lab's log says why"])
        await page.send(0, "still there")
        await page.until(lambda: page.has(1, "still there"))


async def test_a_page_that_cannot_be_answered_is_closed_and_may_come_again() -> None:
    async with driving() as (page, lab):
        everything = lab.everything

        async def nothing() -> list[Json]:
            lab.everything = everything  # type: ignore[method-assign]
            raise RuntimeError("a fault of ours")

        lab.everything = nothing  # type: ignore[method-assign]
        newer = Driver(page.port, page.cookie)
        await newer.open()
        closed = newer.closed
        await newer.close()
        again = await Driver.of(page.port)

        assert closed == 1011
        assert again.phone(0)["state"] == "live"
        await again.close()


async def test_a_page_that_asks_for_too_much_at_once_is_closed() -> None:
    async with driving() as (page, _):
        for _ in range(3_000):
            await page.send_text('{"do": "history", "phone": 0}')
        await page.until(lambda: page.closed == 1013)


async def test_a_newer_tab_takes_over_and_knows_everything() -> None:
    async with driving() as (page, _):
        await page.send(0, "before")
        await page.until_all_is_well(0, "before")
        await page.set(lose=30)
        await page.set(lose=0)
        newer = await Driver.of(page.port)
        await page.until(lambda: page.closed == 4001)
        await newer.send(1, "from the newer one")
        await newer.until_all_is_well(1, "from the newer one")

        assert page.told[-1] == {"kind": "replaced"}
        assert [told["kind"] for told in newer.told[:7]] == [
            "hello",
            "controls",
            "phone",
            "history",
            "phone",
            "history",
            "server",
        ]
        assert {one["id"] for one in page.frames()[-5:]} <= {one["id"] for one in newer.frames()}
        assert newer.texts(0) == newer.texts(1) == ["before", "from the newer one"]
        assert newer.row(0, "before")["mark"] == "delivered"
        assert newer.part("hello")["phones"][1] == {"phone": 1, "name": "Bob", "device": "bob.1"}
        await newer.close()


async def test_a_long_history_comes_in_pages() -> None:
    texts = [f"message {number}" for number in range(150)]
    async with driving() as (page, _):
        await page.send(0, *texts)
        await page.until_all_is_well(0, texts[-1])
        newer = await Driver.of(page.port)
        first = newer.shown(1)[0]["id"]
        told = len(newer.texts(1))
        await newer.do("history", phone=1, before=first, count=30)
        await newer.until(lambda: len(newer.texts(1)) == told + 30)
        await newer.do("history", phone=1, before=newer.shown(1)[0]["id"], count=100)
        await newer.until(lambda: newer.texts(1) == texts)
        pages = [one for one in newer.told if one["kind"] == "history" and one["phone"] == 1]

        assert told == 100
        assert [one["more"] for one in pages] == [True, True, False]
        assert [row["text"] for row in pages[1]["messages"]] == texts[20:50]
        await newer.close()


async def test_a_site_without_a_page_serves_nothing(tmp_path: Path) -> None:
    async with driving() as (_, lab):
        site = Site(lab, page=tmp_path)
        port = await site.listen(0)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            answer = await http.get("/")
        await site.close()

        assert answer.status_code == 404
