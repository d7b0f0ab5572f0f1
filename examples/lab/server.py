"""The server of the lab from outside: a child process that is killed, comes back, and lets one look at its rows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from examples.demo.processes import ServerProcess, ServerStoppedError
from examples.lab.serving import COMMAND, DOOR
from whisperkit.ids import ConversationId, DeviceId

__all__ = ["LabServer", "LookError"]

# What the phones hear, a person has to see: all of it in seconds, where a real server takes half a minute.
BEAT_S: Final = 4.0
_SETTINGS: Final = {
    "WHISPERKIT_PRESENCE__BEAT_S": f"{BEAT_S}",
    "WHISPERKIT_PRESENCE__TTL_S": "7",
    "WHISPERKIT_PRESENCE__GRACE_S": "1",
    "WHISPERKIT_LIMITS__DRAIN_S": "2",
}
# Long enough to be seen, and for the phones to find out.
DOWN_S: Final = 1.5
_MAX_LINE: Final = 4 << 20
_LOOK_S: Final = 5.0


class LookError(Exception):
    """The server does not let itself be looked at: it is down, or was while it was asked."""


class LabServer:
    """Runs the server, and runs it again whenever it has ended.

    Args:
        folder: Where it keeps everything; nobody else may enter it.
        changed: Told when it is there, and when it is not.
        down_s: How long it stays away.
    """

    def __init__(self, folder: Path, *, changed: Callable[[], None], down_s: float = DOWN_S) -> None:
        self.is_up = False
        self._process = ServerProcess(folder, COMMAND, _SETTINGS)
        self.folder = folder
        self._changed = changed
        self._down_s = down_s
        self._watching: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._door: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it serves, over all its lives."""
        return self._process.url

    async def start(self) -> None:
        """Start it.

        Raises:
            ServerStoppedError: It cannot serve.
        """
        self.folder.mkdir(mode=0o700)
        await self._process.start()
        self.is_up = True
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop it for good."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self._close_door()
        await self._process.stop()

    async def kill(self) -> int:
        """SIGKILL; it comes back by itself. Returns the pid that is gone, 0 if there was none."""
        return await self._process.kill() if self.is_up else 0

    async def _watch(self) -> None:
        """Whoever ended it: it is started again."""
        while True:
            await self._process.wait()
            self.is_up = False
            self._close_door()
            self._changed()
            await asyncio.sleep(self._down_s)
            try:
                await self._process.start()
            except (ServerStoppedError, TimeoutError):
                continue  # its port is taken, for a moment
            self.is_up = True
            self._changed()

    # ---- its rows ----

    async def look(self, conv: ConversationId, devices: Sequence[DeviceId]) -> dict[str, Any]:  # Any: JSON
        """See `examples.lab.view.look`.

        Raises:
            LookError: It is down.
        """
        return await self._ask({"look": conv, "devices": " ".join(devices)})

    async def replace(self, device: DeviceId, identity_key: bytes, registration_id: int) -> None:
        """Let another phone take the place of one, under its number.

        Raises:
            LookError: It is down.
        """
        await self._ask({"replace": device, "identity_key": identity_key.hex(), "registration_id": registration_id})

    async def _ask(self, asked: dict[str, object]) -> dict[str, Any]:  # Any: JSON
        async with self._lock:
            try:
                async with asyncio.timeout(_LOOK_S):
                    answer = json.loads(await self._line(json.dumps(asked).encode() + b"\n"))
            except (OSError, TimeoutError, ValueError) as error:
                self._close_door()
                raise LookError("the server cannot be looked at") from error
        if "problem" in answer:
            raise LookError(answer["problem"])
        return dict(answer)

    async def _line(self, asked: bytes) -> bytes:
        if self._door is None:
            self._door = await asyncio.open_unix_connection(self.folder / DOOR, limit=_MAX_LINE)
        reader, writer = self._door
        writer.write(asked)
        await writer.drain()
        return await reader.readline()

    def _close_door(self) -> None:
        if self._door is not None:
            self._door[1].close()
            self._door = None
