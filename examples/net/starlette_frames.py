"""Frames over a WebSocket of Starlette, which is FastAPI's too: JSON as text, which a browser can read, else bytes."""

from __future__ import annotations

from starlette.websockets import WebSocket

from whisperkit.sync.codec import is_json

__all__ = ["receive_frames", "send_frames"]


async def receive_frames(socket: WebSocket) -> bytes | str:
    """Wait for the next message.

    Raises:
        KeyError: It is the last one, which says that the connection is gone.
    """
    message = await socket.receive()
    data: bytes | str = message.get("bytes") or message["text"]
    return data


async def send_frames(socket: WebSocket, data: bytes) -> None:
    """Send a message."""
    await (socket.send_text(data.decode()) if is_json(data) else socket.send_bytes(data))
