"""A client that is closed, at whatever moment, ends well."""

from __future__ import annotations

import asyncio

import pytest

from whisperkit import DeviceId
from whisperkit.client import Client
from whisperkit.stores import MemoryPartitions


class Idle:
    """A connection on which nothing comes."""

    is_closed = False

    async def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # by whose order of steps it comes about each time
@pytest.mark.anyio
async def test_a_client_that_is_closed_in_the_moment_in_which_it_connects_ends_well() -> None:
    is_connecting, may_connect, link = asyncio.Event(), asyncio.Event(), Idle()

    async def connect() -> Idle:
        is_connecting.set()
        await may_connect.wait()
        return link

    async with Client(MemoryPartitions(), DeviceId.named("alice", 1), connect=connect):
        await is_connecting.wait()
        may_connect.set()

    assert link.is_closed
