"""Web applications as real processes, for tests from the outside."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from websockets.asyncio.client import connect

from examples.load.device import FrameDevice
from tests.examples.processes import PATIENCE_S, environment
from whisperkit.ids import DeviceId
from whisperkit.sync.codec import encode_json
from whisperkit.sync.frames import PROTOCOL_VERSION, Hello

__all__ = ["Site", "answer_in_json", "connected", "json_hello", "talk", "until"]


class Site:
    """A program that serves an application with uvicorn.

    Args:
        command: The arguments of Python; the port is put behind them.
        folder: Where it keeps everything.
        settings: Variables of its environment.
    """

    def __init__(self, *command: str, folder: Path | None = None, settings: Mapping[str, str] | None = None) -> None:
        self._command = [sys.executable, *command]
        self._folder = folder
        self._settings = settings
        self._port = "0"
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start, on the port of before, and wait until it listens."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start, on the port of before."""
        self._process = subprocess.Popen(
            [*self._command, self._port],
            cwd=self._folder,
            env=environment(self._settings),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> None:
        """Wait until it listens."""
        assert self._process is not None, "it was not started"
        assert self._process.stderr is not None  # a pipe was asked for
        said = ""
        while (found := re.search(r"running on http://127\.0\.0\.1:(\d+)", said)) is None:
            line = self._process.stderr.readline()
            assert line, f"it did not start:\n{said}"
            said += line
        self._port = found[1]

    def stop(self) -> tuple[int, str]:
        """Let it end; returns the exit code and what it logged since it listened."""
        assert self._process is not None  # started
        self._process.terminate()
        _, log = self._process.communicate(timeout=PATIENCE_S)
        return self._process.returncode, log

    def kill(self) -> None:
        """End it where it stands; harmless when it has ended."""
        if self._process is not None and self._process.stderr is not None:
            self._process.kill()
            self._process.wait()
            self._process.stderr.close()


@asynccontextmanager
async def connected(*devices: FrameDevice) -> AsyncGenerator[None]:
    """Keep devices connected, and come back until they are."""
    running = [asyncio.create_task(device.run()) for device in devices]
    try:
        await until(lambda: all(device.is_live for device in devices))
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that a process outside has to do."""
    with anyio.fail_after(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110  # what is waited for is another process
            await anyio.sleep(0.01)


def talk(module: str, *arguments: str, typed: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Let somebody say something with a program, and end."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, env=environment(), cwd=folder, input=typed, capture_output=True, text=True)


def json_hello(device: DeviceId) -> str:
    """The first words of a page in a browser."""
    return encode_json([Hello(PROTOCOL_VERSION, device, connection_no=1, cursor=None, proof=None)])[0]


async def answer_in_json(url: str, device: DeviceId, *, headers: Mapping[str, str]) -> str | bytes:
    """What a page in a browser that speaks JSON is answered when it has said who it is: text, or it cannot read it."""
    async with connect(f"{url.replace('http', 'ws', 1)}/ws", additional_headers=headers, proxy=None) as socket:
        await socket.recv()  # the challenge
        await socket.send(json_hello(device))
        return await socket.recv()
