"""The way out of a link, where `send` and `close` have to be awaited."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from whisperkit.anyio_runtime import AnyioRuntime
from whisperkit.service.outlet import Outlet
from whisperkit.sync.frames import ByeCode

pytestmark = pytest.mark.anyio


async def test_a_goodbye_still_leaves_after_the_link_was_dropped() -> None:
    done: list[object] = []

    async def send(data: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        done.append(data)

    async def close(code: int, reason: str) -> None:
        done.append((code, reason))

    async with AnyioRuntime() as runtime:
        outlet = Outlet(send, close, None, runtime)
        outlet.write(b"bye")
        outlet.end(ByeCode.PROTOCOL)
        outlet.drop()
        with anyio.fail_after(5):
            while len(done) < 2:
                await anyio.lowlevel.checkpoint()

    assert done == [b"bye", (1002, "PROTOCOL")]


async def test_what_is_written_to_a_connection_that_is_gone_is_not_awaited() -> None:
    done: list[bytes] = []

    async def send(data: bytes) -> None:
        done.append(data)

    async with AnyioRuntime() as runtime:
        outlet = Outlet(send, None, None, runtime)
        outlet.write(b"lost")
        outlet.drop()
        for _ in range(10):
            await anyio.lowlevel.checkpoint()

    assert done == []


async def test_a_plain_close_is_called_at_once() -> None:
    closed: list[tuple[int, str]] = []

    async with AnyioRuntime() as runtime:
        outlet = Outlet(lambda data: None, lambda code, reason: closed.append((code, reason)), None, runtime)
        outlet.end(ByeCode.SUPERSEDED)

    assert closed == [(4001, "SUPERSEDED")]
