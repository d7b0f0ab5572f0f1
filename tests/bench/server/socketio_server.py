"""A forwarder on python-socketio and uvicorn, as the loads need it; nothing is stored."""

from __future__ import annotations

import sys
from typing import Any

import socketio
import uvicorn

from examples.collector import calm_the_collector

# No task for each event, nothing compressed, nothing logged: as fast as it can be set.
sio = socketio.AsyncServer(async_mode="asgi", async_handlers=False, http_compression=False)
names: dict[str, str] = {}
_GROUP = "group"


@sio.event
async def who(sid: str, name: str) -> bool:
    """Somebody says who it is."""
    names[name] = sid
    await sio.enter_room(sid, _GROUP)
    return True


@sio.event
async def to_one(sid: str, to: str, message: dict[str, Any]) -> int:
    """A message to somebody; its number goes back when it was handed on."""
    await sio.emit("m", message, to=names[to])
    number: int = message["n"]
    return number


@sio.event
async def to_all(sid: str, message: dict[str, Any]) -> int:
    """A message to everybody else."""
    await sio.emit("m", message, to=_GROUP, skip_sid=sid)
    number: int = message["n"]
    return number


@sio.event
async def has(sid: str, number: int) -> None:
    """Somebody has a message."""


def main(port: int) -> None:
    """Serve until it is killed."""
    calm_the_collector()
    uvicorn.run(
        socketio.ASGIApp(sio),
        port=port,
        loop="uvloop",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="error",
        access_log=False,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
