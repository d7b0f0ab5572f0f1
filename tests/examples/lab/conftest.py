"""A browser for the tests of the lab's page: one of each module, because nothing else may await while it runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.examples.lab.browser import Fake, Window, new_window, run_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with run_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Window]:
    """One tab for a module: to open another takes as long as a test."""
    with new_window(browser) as window:
        yield window


@pytest.fixture
def window(tab: Window) -> Iterator[Window]:
    """A tab as new, in which nothing may complain and from which nothing may leave this machine."""
    tab.forget()
    yield tab
    tab.check()


@pytest.fixture
def fake(window: Window) -> Fake:
    """A lab that says what the test tells it to."""
    return Fake(window.page)
