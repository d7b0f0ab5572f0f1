"""The page in `examples/web` on a real site, without its browser: its device in Node.js, killed as the site is."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pytest

from examples.django_channels.talk import Person
from examples.load.device import FrameDevice
from tests.examples.sites import Site, connected, until
from tests.interop.programs import Program
from tests.interop.web import WEB, broken_copy
from whisperkit.ids import ConversationId
from whisperkit.sync.frames import Answer, EntryKind, MarkKind

pytestmark = pytest.mark.interop

PROGRAM: Final = Path(__file__).with_name("web_device.mjs")
BROWSER: Final = Path(__file__).with_name("web_browser.mjs")
ROOM: Final = ConversationId("lobby")
# The same for the page as it is and for those that are broken, so that these do not fail for want of time alone.
PATIENCE_S: Final = 15.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def site(tmp_path: Path) -> Generator[Site]:
    (tmp_path / "site").mkdir()
    site = Site("-m", "examples.django_channels", folder=tmp_path / "site")
    site.start()
    yield site
    site.kill()


class Page(NamedTuple):
    """Bob's page, and Alice, who posts."""

    program: Program
    file: Path
    alice: Person
    bob: Person

    async def until(self, line: str) -> None:
        await asyncio.to_thread(self.program.until, line)

    async def welcomed(self, answer: Answer) -> None:
        """Wait for what the server makes of the cursor; later ones have to be DELTA."""
        await self.until(f"-- welcome {answer}")

    async def post(self, *numbers: int) -> None:
        for number in numbers:
            await self.alice.post_until_answered(ROOM, number, f"text {number}")

    def history(self) -> list[str]:
        """What is kept, in the order in which it came."""
        if not self.file.exists():
            return []
        kept: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))  # Any: JSON
        return [line["text"] for line in kept["history"] if line["kind"] == EntryKind.MESSAGE]


@asynccontextmanager
async def page_on(site: Site, folder: Path, node: Path, *, web: Path = WEB) -> AsyncGenerator[Page]:
    async with (
        Person("alice", "password of alice", url=site.url) as alice,
        Person("bob", "password of bob", url=site.url) as bob,
    ):
        await alice.add(ROOM, "alice")
        await alice.add(ROOM, "bob")
        url = f"{site.url.replace('http', 'ws', 1)}/ws"
        command: list[str | Path] = [node, PROGRAM, web, url, bob.device, json.dumps(bob.headers)]
        page = Page(Program(command, folder, patience_s=PATIENCE_S), folder / "device.json", alice, bob)
        page.program.start()
        try:
            yield page
        finally:
            page.program.kill()


async def go_through_crashes(site: Site, page: Page) -> None:
    """Sixty messages, while the page and the site are killed in the middle of them."""
    await page.welcomed(Answer.SNAPSHOT)
    await page.until("-- live")
    await page.post(*range(1, 11))
    await page.until("1 text 5")  # some are there, others on their way
    page.program.kill()
    await page.post(*range(11, 21))
    page.program.start()
    await page.welcomed(Answer.DELTA)
    await page.post(*range(21, 31))
    await page.until("1 text 25")
    site.kill()
    posting = asyncio.create_task(page.post(*range(31, 41)))
    await page.until("-- no connection")
    await asyncio.to_thread(site.start)
    await posting
    await page.until("1 text 40")
    page.program.kill()
    site.kill()
    await asyncio.to_thread(site.start)
    page.program.start()
    await page.welcomed(Answer.DELTA)
    await page.post(*range(41, 61))
    await page.until("1 text 60")
    assert page.history() == [f"text {number}" for number in range(1, 61)]


@pytest.mark.anyio
async def test_a_page_and_a_site_that_are_killed_lose_and_double_nothing(
    site: Site, tmp_path: Path, nodejs: Path
) -> None:
    async with page_on(site, tmp_path / "page", nodejs) as page:
        await go_through_crashes(site, page)
        assert await asyncio.to_thread(page.program.finish) == 0

    assert (tmp_path / "page" / "errors.log").read_text(encoding="utf-8") == ""


@pytest.mark.anyio
async def test_what_the_page_has_and_what_is_read_on_it_is_ticked(site: Site, tmp_path: Path, nodejs: Path) -> None:
    async with page_on(site, tmp_path / "page", nodejs) as page:
        sender = FrameDevice("alice", lambda: site.url, vouched=(page.alice.device, page.alice.dial))
        async with connected(sender):
            await page.until("-- live")
            sending = await sender.send(ROOM, b"hello")
            await page.until("1 hello")
            seq = sender.sent[sending.frame.message_id].conv_seq
            await until(lambda: sender.marks.get((ROOM, page.bob.device.user, MarkKind.DELIVERED), 0) == seq)
            page.program.type(ROOM)
            await page.until(f"-- read {ROOM}")
            await until(lambda: sender.marks.get((ROOM, page.bob.device.user, MarkKind.READ), 0) == seq)

    assert sender.faults == []


@pytest.mark.anyio
async def test_a_second_page_of_the_device_sends_the_first_away(site: Site, tmp_path: Path, nodejs: Path) -> None:
    async with page_on(site, tmp_path / "page", nodejs) as page:
        await page.until("-- live")
        async with page_on(site, tmp_path / "other", nodejs) as other:
            await other.until("-- live")
            await page.until("-- ended: another page of this device took over")


# ---- broken on purpose


class Broken(NamedTuple):
    """A promise of the page, and how to break it."""

    promise: str
    file: str
    old: str
    new: str


BROKEN: Final = (
    Broken("what came is kept", "store.js", "    this.storage.setItem(", "    void ("),
    Broken(
        "the history is kept with the cursor",
        "store.js",
        "rows: [...rows], history }",
        "rows: [...rows], history: [] }",
    ),
    Broken(
        "the cursor is kept with the history",
        "device.js",
        "mirror: encodeMirror(mirror)",
        "mirror: encodeMirror(newMirror(mirror.device))",
    ),
)


@pytest.mark.anyio
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.promise)
async def test_a_page_that_breaks_a_promise_is_found(site: Site, tmp_path: Path, nodejs: Path, broken: Broken) -> None:
    web = broken_copy(tmp_path, file=broken.file, old=broken.old, new=broken.new)

    async with page_on(site, tmp_path / "page", nodejs, web=web) as page:
        with pytest.raises(AssertionError):
            await go_through_crashes(site, page)


# ---- the page itself


@pytest.mark.anyio
async def test_the_page_shows_a_room_and_posts_into_it(site: Site, tmp_path: Path, nodejs: Path) -> None:
    browser = Program([nodejs, BROWSER, WEB, site.url], tmp_path / "browser", patience_s=PATIENCE_S)
    browser.start()
    async with Person("alice", "password of alice", url=site.url) as alice:
        hearing = FrameDevice("alice", lambda: site.url, vouched=(alice.device, alice.dial))
        await alice.add(ROOM, "alice")
        try:
            browser.type("enter bob password of bob lobby")
            await asyncio.to_thread(browser.until, "-- you are not in that room")
            await alice.add(ROOM, "bob")
            browser.type("enter bob password of bob lobby")
            await asyncio.to_thread(browser.until, "-- 0 unread")
            async with connected(hearing):
                await alice.post_until_answered(ROOM, 1, "hello")
                await asyncio.to_thread(browser.until, "alice: hello")
                browser.type("hi", "how are you?")
                await asyncio.to_thread(browser.until, "bob: how are you?")
                await until(lambda: [one.shared for one in hearing.entries][-2:] == [b"hi", b"how are you?"])
                site.kill()
                await asyncio.to_thread(browser.until, "-- no connection; it comes again by itself")
                browser.type("still there?")
                await asyncio.to_thread(site.start)
                await asyncio.to_thread(browser.until, "bob: still there?")
                await until(lambda: hearing.entries[-1].shared == b"still there?")
        finally:
            browser.kill()

    assert (tmp_path / "browser" / "errors.log").read_text(encoding="utf-8") == ""
    assert [line for line in browser.lines if not line.startswith("--")] == [
        *("alice: hello", "bob: hi", "bob: how are you?", "bob: still there?")
    ]


# ---- what a browser loads


def test_the_site_serves_the_page_and_every_module_that_it_needs(site: Site) -> None:
    with httpx.Client(base_url=site.url, trust_env=False) as browser:
        html = browser.get("/")
        found = dict[str, httpx.Response]()
        wanted = ["/web/page.js"]
        while wanted:
            path = wanted.pop()
            found[path] = browser.get(path)
            modules = re.findall(r"^(?:import|export|\}).* from '\./([^']+)';$", found[path].text, re.MULTILINE)
            wanted += [f"/web/{name}" for name in modules if f"/web/{name}" not in found]
        elsewhere = [
            browser.get(path).status_code for path in ("/web/package.json", "/web/../chat.py", "/web/nothing.js")
        ]

    assert html.headers["Content-Type"].startswith("text/html")
    assert '<script type="module" src="web/page.js">' in html.text
    assert {name.rpartition("/")[2] for name in found} == {path.name for path in WEB.glob("*.js")}
    assert {answer.status_code for answer in found.values()} == {200}
    assert all(answer.headers["Content-Type"].startswith("text/javascript") for answer in found.values())
    assert elsewhere == [404, 404, 404]


def test_every_part_of_the_page_that_its_code_names_is_there() -> None:
    named = set(re.findall(r"find\('(\w+)'\)", (WEB / "page.js").read_text(encoding="utf-8"))) | {
        "name",
        "password",
        "room",
    }

    assert named <= set(re.findall(r'id="(\w+)"', (WEB / "index.html").read_text(encoding="utf-8")))
