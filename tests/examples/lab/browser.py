"""The page of the lab in a real browser: Debian's Chromium, driven by Playwright.

Firefox is left out: Playwright drives only a build of its own of it, which a package of a distribution is not.
"""

from __future__ import annotations

import json
import mimetypes
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Route,
    ViewportSize,
    WebSocketRoute,
    sync_playwright,
)

from tests.examples.processes import PATIENCE_S, environment
from tests.missing import do_without

__all__ = ["CSP", "PAGE", "SHOTS", "Fake", "Upload", "Window", "new_window", "run_chromium", "run_lab"]

PAGE: Final = Path(__file__).parents[3] / "examples" / "lab" / "page"
SHOTS: Final = Path(__file__).parents[3] / "build" / "lab"
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_AXE: Final = files("axe_playwright_python") / "axe.min.js"
_TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
# For tests that fail: nothing waits that long in one that passes.
_PATIENCE_MS: Final = 20_000
_NOBODY: Final = "http://127.0.0.1:8081/"  # answered by the test before anything leaves the browser
_VIEWPORT: Final[ViewportSize] = {"width": 1280, "height": 800}
_START_MS: Final = 1_764_000_000_000
Json = dict[str, Any]  # whatever JSON holds


@contextmanager
def run_chromium() -> Generator[Browser]:
    """Run the browser; without the package its tests are skipped, and fail on CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        do_without("Chromium is not installed; on Debian and Ubuntu: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, chromium_sandbox=os.geteuid() != 0)
        yield browser
        browser.close()


@contextmanager
def run_lab(*arguments: str) -> Generator[str]:
    """Run a real lab; the URL of its page."""
    command = [sys.executable, "-m", "examples", "lab", "--port", "0", *arguments]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None  # a pipe was asked for
        line = process.stdout.readline()
        found = re.match(r"open (http://127\.0\.0\.1:\d+)", line)
        if found is None:
            log.seek(0)
            raise AssertionError(f"{line!r}\n{log.read()}")
        yield found[1]
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


class Window:
    """A tab, and what it did that nobody may do.

    Args:
        page: Playwright's.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.hosts: set[str | None] = set()
        page.set_default_timeout(_PATIENCE_MS)
        page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname))
        page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).hostname))

    def _hear(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            self.complaints.append(f"{said.text} ({said.location['url']})")

    def phone(self, number: int) -> Locator:
        """The section of a phone."""
        return self.page.locator(f".phone[data-phone='{number}']")

    def settle(self) -> None:
        """Let the page draw what it has to, and hear of it."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")

    def command(self, method: str, **options: object) -> None:
        """Give the browser an order that Playwright has no word for."""
        session = self.page.context.new_cdp_session(self.page)
        session.send(method, options)  # pyright: ignore[reportUnknownMemberType]
        session.detach()

    def violations(self, within: str = "html", **options: object) -> list[str]:
        """What axe finds in a part of the page, with where."""
        self.page.evaluate(_AXE.read_text(encoding="utf-8"))
        options = {"runOnly": {"type": "tag", "values": list(_TAGS)}, "resultTypes": ["violations"], **options}
        found: Json = self.page.evaluate("([within, options]) => axe.run(within, options)", [within, options])
        return [f"{one['id']}: {one['help']}: {node['html']}" for one in found["violations"] for node in one["nodes"]]

    def shoot(self, name: str) -> Path:
        """Keep a picture of it."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{name}.png"
        self.page.screenshot(path=path, animations="disabled")
        return path

    def forget(self) -> None:
        """Be as new."""
        self.complaints.clear()
        self.hosts.clear()
        self.page.set_viewport_size(_VIEWPORT)
        self.page.emulate_media(color_scheme="light", reduced_motion="no-preference", forced_colors="none")
        if self.page.url != "about:blank":
            self.page.evaluate("localStorage.clear(); sessionStorage.clear()")

    def check(self) -> None:
        """Nothing complained, and nothing left this machine."""
        assert self.complaints == [], self.complaints
        assert self.hosts <= {"127.0.0.1"}, self.hosts


@contextmanager
def new_window(browser: Browser) -> Generator[Window]:
    """A tab with cookies of its own."""
    context: BrowserContext = browser.new_context(viewport=_VIEWPORT)
    window = Window(context.new_page())
    yield window
    context.close()


class Upload(NamedTuple):
    """A file that the page has sent."""

    phone: int
    name: str
    type: str
    data: bytes


class Fake:
    """A lab that says what the test tells it to, over a socket that exists in the browser only.

    Args:
        page: Is served the files of the page from it.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.told: list[Json] = []
        self.uploads: list[Upload] = []
        self.stored: dict[int, list[Json]] = {0: [], 1: []}
        self.phones: dict[int, Json] = {no: self._phone(no) for no in (0, 1)}
        self.server: Json = {
            "kind": "server", "up": True, "pid": 4711, "conversation": "7f3a", "head": 0, "fanned_out": 0, "rows": [],
            "inboxes": [], "marks": [], "counter": {"acknowledged": 0, "lost": 0, "doubled": 0},
        }  # fmt: skip
        self.controls: Json = {
            "kind": "controls", "lose": 0, "double": False, "reorder": False, "slow": False, "step": False, "speed": 2
        }  # fmt: skip
        self.answers: dict[str, Callable[[Json], object]] = {"history": self._history, "set": self._set}
        self.answer_upload: Callable[[Route], None] = lambda route: route.fulfill(status=201)
        self.link: WebSocketRoute | None = None
        page.route(f"{_NOBODY}**", self._serve)
        page.route_web_socket(f"{_NOBODY.replace('http', 'ws')}lab", self._connect)

    @staticmethod
    def _phone(no: int) -> Json:
        return {
            "kind": "phone", "phone": no, "state": "live", "words": "● live",
            "peer": {"name": ("Bob", "Alice")[no], "words": "online"}, "flight": False, "waiting": 0, "unread": 0,
            "divider": None, "number": "0123456789" * 6, "verified": False, "changed": False, "devices": 1,
            "removed": False,
        }  # fmt: skip

    def open(self) -> None:
        """Go to the page, and wait until it is there."""
        self.page.goto(_NOBODY)
        self.page.locator("main[aria-busy='false']").wait_for()

    # ---- what the lab says

    def say(self, *messages: Json) -> None:
        assert self.link is not None, "no page has connected"
        for message in messages:
            self.link.send(json.dumps(message))

    def phone(self, no: int, **changes: object) -> None:
        """Say how a phone is."""
        self.phones[no].update(changes)
        self.say(self.phones[no])

    def see(self, **changes: object) -> None:
        """Say what the server holds."""
        self.server.update(changes)
        self.say(self.server)

    def message(self, no: int, text: str | None, *, mine: bool = False, **more: object) -> str:
        """Say that a phone has a message; returns its id."""
        row = self.make_message(no, text, mine=mine, **more)
        self.say(row)
        return str(row["id"])

    def make_message(self, no: int, text: str | None, *, mine: bool = False, **more: object) -> Json:
        """A row that a phone holds from now on."""
        order = len(self.stored[no]) + 1
        row: Json = {
            "kind": "message", "phone": no, "id": f"{no}-{order}", "order": order, "at_ms": _START_MS + order * 1_000,
            "mine": mine, "mark": "pending" if mine else "received", "words": "waiting to send" if mine else "",
            "text": text, **more,
        }  # fmt: skip
        self.stored[no].append(row)
        return row

    def change(self, no: int, message: str, **changes: object) -> None:
        """Say that something of a message has changed."""
        row = next(row for row in self.stored[no] if row["id"] == message)
        row.update(changes)
        self.say(row)

    def mark(self, no: int, message: str, mark: str, words: str = "") -> None:
        """Say that a message of a phone has a new mark."""
        self.change(no, message, mark=mark, words=words or mark)

    def seal(self, *rows: Mapping[str, object]) -> None:
        """Say that the server has these rows."""
        self.see(rows=list(rows), head=len(rows), fanned_out=len(rows))

    def replace(self) -> None:
        """Say that another tab has taken over."""
        self.say({"kind": "replaced"})
        assert self.link is not None
        self.link.close(code=4001, reason="replaced")

    # ---- what the page has said

    def asked(self, do: str) -> list[Json]:
        """What it has told the lab to do, of one kind."""
        return [told for told in self.told if told["do"] == do]

    def until(self, do: str, count: int = 1) -> Sequence[Json]:
        """Wait until the page has asked for something so often."""
        self._wait(lambda: len(self.asked(do)) >= count)
        return self.asked(do)

    def until_uploaded(self) -> None:
        """Wait until the page has begun to hand a file over."""
        self._wait(lambda: bool(self.uploads))

    def _wait(self, is_so: Callable[[], bool]) -> None:
        for _ in range(_PATIENCE_MS // 20):
            if is_so():
                return
            self.page.wait_for_timeout(20)  # in which what the page says is heard
        raise AssertionError(f"the page did not ask for it: {self.told}, {self.uploads}")

    def _connect(self, link: WebSocketRoute) -> None:
        self.link = link
        link.on_message(self._take)
        names = [{"phone": no, "name": name, "device": f"{name.lower()}.1"} for no, name in enumerate(("Alice", "Bob"))]
        self.say({"kind": "hello", "seed": 8812, "phones": names}, *self.phones.values(), self.controls, self.server)
        for no, stored in self.stored.items():
            self.say(self._page_of(no, stored[-100:]))

    def _take(self, data: str | bytes) -> None:
        told: Json = json.loads(data)
        self.told.append(told)
        if (answer := self.answers.get(told["do"])) is not None:
            answer(told)

    def _page_of(self, no: int, messages: list[Json]) -> Json:
        more = bool(messages) and messages[0]["id"] != self.stored[no][0]["id"]
        return {"kind": "history", "phone": no, "messages": messages, "more": more}

    def _history(self, told: Json) -> None:
        stored = self.stored[told["phone"]]
        at = next(i for i, row in enumerate(stored) if row["id"] == told["before"])
        self.say(self._page_of(told["phone"], stored[max(0, at - told["count"]) : at]))

    def _set(self, told: Json) -> None:
        self.controls[told["what"]] = told["to"]
        self.say(self.controls)

    def _serve(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        if route.request.method == "POST":
            asked = {name: values[0] for name, values in parse_qs(url.query).items()}
            data = route.request.post_data_buffer or b""
            self.uploads.append(Upload(int(asked["phone"]), asked["name"], asked["type"], data))
            self.answer_upload(route)
            return
        path = PAGE / (url.path.strip("/") or "index.html")
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        headers = {"Content-Type": kind, "Content-Security-Policy": CSP, "X-Content-Type-Options": "nosniff"}
        route.fulfill(body=path.read_bytes() if path.is_file() else b"", headers=headers)
