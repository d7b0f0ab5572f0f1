"""The server of the demo: the real one, in a process of its own, that can be killed and started again."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx

__all__ = ["SERVE", "ServerProcess", "ServerStoppedError"]

SERVE: Final = (sys.executable, "-m", "examples", "serve")

_LISTENING = re.compile(r"listening on (ws://\S+?):(\d+) ")
START_S = 20.0


class ServerStoppedError(Exception):
    """The server ended before it listened."""


class ServerProcess:
    """`python -m examples serve` in a folder.

    Args:
        folder: Where its database, attachments and log are.
        command: Another program, which takes its settings from the environment and says where it listens.
        settings: More of them. The program finds the other end of its standard input closed when this one is gone.
    """

    def __init__(self, folder: Path, command: Sequence[str] = SERVE, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._command = command
        self._settings = dict(settings or {})
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None  # started
        return self._process.pid

    @property
    def url(self) -> str:
        """Where devices connect; the same after a restart."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def http(self) -> str:
        """Where HTTP is served."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> float:
        """Start and wait until it listens; returns after how many seconds."""
        began = time.monotonic()
        log = (self.folder / "server.log").open("ab")
        environment = {
            **os.environ,
            "WHISPERKIT_SERVER__BIND": f"127.0.0.1:{self.port}",
            "WHISPERKIT_SERVER__SQLITE_PATH": str(self.folder / "server.db"),
            "WHISPERKIT_SERVER__BLOB_PATH": str(self.folder / "blobs"),
            "WHISPERKIT_PRESENCE__BEAT_S": "1",
            "WHISPERKIT_PRESENCE__TTL_S": "2",
            "WHISPERKIT_PRESENCE__GRACE_S": "1",
            **self._settings,
        }
        pipe = asyncio.subprocess.PIPE
        with log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=environment, stdin=pipe, stdout=pipe, stderr=log
            )
        await asyncio.wait_for(self._until_listening(), START_S)
        return time.monotonic() - began

    async def _until_listening(self) -> None:
        assert self._process is not None  # started
        assert self._process.stdout is not None  # made with a pipe
        while line := await self._process.stdout.readline():
            if match := _LISTENING.search(line.decode()):
                self.port = int(match[2])
                return
        raise ServerStoppedError(
            f"the server ended with code {await self._process.wait()}; see {self.folder}/server.log"
        )

    async def wait(self) -> int:
        """Wait until it has ended, whoever ended it; returns the exit code."""
        assert self._process is not None  # started
        return await self._process.wait()

    async def kill(self) -> int:
        """SIGKILL, in the middle of whatever it does; returns the pid that is gone."""
        assert self._process is not None  # started
        pid = self._process.pid
        self._process.kill()
        await self._process.wait()
        return pid

    async def stop(self) -> int:
        """SIGTERM, and wait; returns the exit code."""
        if self._process is None or self._process.returncode is not None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        return await self._process.wait()

    async def count(self, metric: str) -> float:
        """A number of ``/metrics``; 0 if it is not there."""
        async with httpx.AsyncClient(base_url=self.http, trust_env=False) as http:
            text = (await http.get("/metrics")).text
        found = re.search(rf"^whisperkit_{re.escape(metric)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found is not None else 0.0

    def holds(self, words: bytes) -> tuple[int, int]:
        """How often words occur in all files of the server, and in how many files was looked."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return sum(path.read_bytes().count(words) for path in files), len(files)
