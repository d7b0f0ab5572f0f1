"""The page in `examples/web` in a real browser, as its README walks through it: it is left, and the site is killed."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from playwright.sync_api import Browser, expect

from examples.django_channels.talk import Person
from tests.examples.lab.browser import Window, new_window, run_chromium
from tests.examples.processes import PATIENCE_S
from tests.examples.sites import Site
from whisperkit.ids import ConversationId

ROOM: Final = ConversationId("lobby")


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    expect.set_options(timeout=PATIENCE_S * 1_000)  # of a busy machine
    with run_chromium() as browser:
        yield browser


@pytest.fixture
def site(tmp_path: Path) -> Generator[Site]:
    site = Site("-m", "examples.django_channels", folder=tmp_path)
    site.start()
    yield site
    site.kill()


@pytest.fixture
def portal() -> Generator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


def enter(window: Window) -> None:
    """Enter the lobby as bob."""
    page = window.page
    page.fill("#name", "bob")
    page.fill("#password", "password of bob")
    page.click("text=Enter")


def test_a_page_that_is_loaded_again_and_a_site_that_is_killed_lose_and_double_nothing(
    browser: Browser, site: Site, portal: BlockingPortal
) -> None:
    def post(number: int) -> None:
        portal.call(alice.post_until_answered, ROOM, number, f"text {number}")

    person = Person("alice", "password of alice", url=site.url)
    with portal.wrap_async_context_manager(person) as alice, new_window(browser) as window:
        page = window.page
        page.goto(site.url)
        portal.call(alice.add, ROOM, "alice")
        enter(window)
        expect(page.locator("#state")).to_have_text("you are not in that room")
        portal.call(alice.add, ROOM, "bob")
        enter(window)
        expect(page.locator("#state")).to_have_text("0 unread")

        post(1)
        expect(page.locator("#lines li")).to_have_text(["alice: text 1"])
        page.fill("#text", "<b>here</b>")
        page.press("#text", "Enter")
        expect(page.locator("#lines li").last).to_have_text("bob: <b>here</b>")
        page.reload()
        post(2)
        enter(window)
        expect(page.locator("#lines li").last).to_have_text("alice: text 2")
        site.kill()
        expect(page.locator("#state")).to_contain_text("no connection")
        site.start()
        post(3)

        said = ["alice: text 1", "bob: <b>here</b>", "alice: text 2", "alice: text 3"]
        expect(page.locator("#lines li")).to_have_text(said)
        expect(page.locator("#state")).to_contain_text("unread")
        assert window.hosts == {"127.0.0.1"}
