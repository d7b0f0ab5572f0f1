"""A chat net for each test, and an event loop for the application."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from whisperkit.testing.sim_phone import ChatNet


@pytest.fixture
def net() -> Iterator[ChatNet]:
    """A server, and phones to be added."""
    net = ChatNet()
    yield net
    net.close()


@pytest.fixture
def anyio_backend() -> str:
    """Textual runs on asyncio."""
    return "asyncio"
