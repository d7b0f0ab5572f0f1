"""The end of a server: one goodbye for each link, what was acknowledged is saved, and what could not be is told."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

import httpx
import pytest

from examples.config import load_config
from examples.logs import JsonLines
from examples.server.app import ChatServer, Farewell, open_server
from tests.examples.server.talker import Talker
from whisperkit.anyio_runtime import AnyioRuntime
from whisperkit.ids import DeviceId
from whisperkit.partitions import Partition
from whisperkit.service.marks import GATHER_S
from whisperkit.sync import frames
from whisperkit.sync.frames import ByeCode

pytestmark = pytest.mark.anyio

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)
PATIENCE_S = 30.0


class Reluctant(AnyioRuntime):
    """A world in which marks are not written while `may_write` is not set, and so nothing can be saved."""

    is_waiting = False

    def __init__(self) -> None:
        super().__init__()
        self.may_write = asyncio.Event()
        self.may_write.set()

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if seconds == GATHER_S:
            self.is_waiting = not self.may_write.is_set()
            await self.may_write.wait()


class Run:
    """A server that is told to stop by `stop`, and two devices that are there for longer."""

    def __init__(self, folder: Path, runtime: AnyioRuntime, settings: Mapping[str, str]) -> None:
        self._environ = {
            "WHISPERKIT_SERVER__BIND": "127.0.0.1:0",
            "WHISPERKIT_SERVER__SQLITE_PATH": str(folder / "chat.db"),
            "WHISPERKIT_SERVER__BLOB_PATH": str(folder / "blobs"),
            **settings,
        }
        self._runtime = runtime
        self.stop = asyncio.Event()
        self.listens: asyncio.Future[ChatServer] = asyncio.get_running_loop().create_future()

    async def serve(self) -> Farewell:
        async with open_server(load_config(environ=self._environ), runtime=self._runtime) as server:
            self.listens.set_result(server)
            await self.stop.wait()
        assert server.farewell is not None  # it is closed
        return server.farewell


class Scene:
    """What a test needs of it."""

    def __init__(self, run: Run, task: asyncio.Task[Farewell], server: ChatServer, talkers: list[Talker]) -> None:
        self.run = run
        self.task = task
        self.server = server
        self.talkers = talkers

    async def let_nothing_be_saved(self, runtime: Reluctant) -> None:
        """Something is to be saved from here on, and cannot be."""
        board = self.server.service.gateway.ticks.board
        runtime.may_write.clear()
        values = count(1)
        while not runtime.is_waiting:
            board.raise_mark(Partition("anything"), "mark", next(values))
            await asyncio.sleep(0)
        board.raise_mark(Partition("anything"), "mark", next(values))

    def byes(self) -> list[list[ByeCode]]:
        return [[frame.code for frame in talker.came if isinstance(frame, frames.Bye)] for talker in self.talkers]


@asynccontextmanager
async def scene(folder: Path, runtime: AnyioRuntime, **settings: str) -> AsyncGenerator[Scene]:
    run = Run(folder, runtime, settings)
    task = asyncio.create_task(run.serve())
    async with AsyncExitStack() as stack, asyncio.timeout(PATIENCE_S):
        server = await run.listens
        talkers = [await stack.enter_async_context(Talker(server.url, device)) for device in (ALICE, BOB)]
        for talker in talkers:
            await talker.begin()
        yield Scene(run, task, server, talkers)


async def test_each_link_is_told_goodbye_once_and_the_server_is_not_ready_meanwhile(tmp_path: Path) -> None:
    runtime = Reluctant()
    async with scene(tmp_path, runtime) as it, httpx.AsyncClient(trust_env=False) as http:
        base = f"http://{it.server.host}:{it.server.port}"
        assert (await http.get(base + "/readyz")).status_code == 200  # the connection is there before none are taken

        await it.let_nothing_be_saved(runtime)
        it.run.stop.set()
        while (ready := await http.get(base + "/readyz")).status_code == 200:
            pass
        healthy = await http.get(base + "/healthz")
        how = await asyncio.gather(*(talker.end() for talker in it.talkers))
        is_over = it.task.done()
        runtime.may_write.set()
        farewell = await it.task

    assert (ready.status_code, ready.json()) == (503, {"status": "draining"})
    assert healthy.status_code == 200
    assert not is_over
    assert it.byes() == [[ByeCode.NORMAL], [ByeCode.NORMAL]]
    assert [line.rpartition(": ")[2] for line in how] == ["1000 NORMAL"] * 2
    assert farewell == Farewell(links=2, unsaved=0, cut=0)
    assert 'whisperkit_links_closed_total{code="normal"} 2.0' in it.server.metrics.text().decode()
    assert "whisperkit_links 0.0" in it.server.metrics.text().decode()


async def test_what_cannot_be_saved_in_time_is_told_and_keeps_nobody_waiting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "examples")
    runtime = Reluctant()
    async with scene(tmp_path, runtime, WHISPERKIT_LIMITS__DRAIN_S="0.2") as it:
        await it.let_nothing_be_saved(runtime)
        it.run.stop.set()
        farewell = await it.task

    assert farewell.links == farewell.unsaved == 2
    told = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "examples.server"]
    assert [(line["event"], line["links"]) for line in told if "links" in line] == [("draining", 2), ("drained", 2)]
    assert told[-1]["unsaved"] == 2


async def test_a_server_that_breaks_waits_for_nobody(tmp_path: Path) -> None:
    runtime = Reluctant()

    async with scene(tmp_path, runtime) as it:
        await it.let_nothing_be_saved(runtime)
        it.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await it.task

    assert it.server.farewell is not None
    assert it.server.farewell.links == 2
