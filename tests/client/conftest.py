"""A chat net for each test."""

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
