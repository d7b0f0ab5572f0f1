"""Web frameworks as far as the pages use them, so that the code on the pages runs without them."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any, TypeVar

import pytest

H = TypeVar("H", bound=Callable[..., Awaitable[None]])


class AsyncWebsocketConsumer:
    """Of Django Channels: calls `connect`, `receive` and `disconnect`, which a subclass has."""

    def __init__(self, scope: dict[str, str]) -> None:
        self.scope = scope
        self.accepted = False
        self.sent: list[bytes] = []

    async def accept(self) -> None:
        self.accepted = True

    async def send(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        assert bytes_data is not None
        self.sent.append(bytes_data)

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        self.sent.append(b"closed")


class AsyncServer:
    """Of python-socketio: keeps the handlers that `event` is put on."""

    def __init__(self, *, async_mode: str) -> None:
        self.handlers: dict[str, Callable[..., Awaitable[None]]] = {}
        self.sent: list[tuple[str, bytes, str]] = []

    def event(self, handler: H) -> H:
        self.handlers[handler.__name__] = handler
        return handler

    async def emit(self, event: str, data: bytes, *, to: str) -> None:
        self.sent.append((event, data, to))

    async def disconnect(self, sid: str) -> None:
        await self.handlers["disconnect"](sid, "server disconnect")


class FastAPI:
    """Keeps the handler of each path."""

    def __init__(self, *, lifespan: object) -> None:
        self.lifespan = lifespan
        self.routes: dict[str, Callable[..., Awaitable[None]]] = {}

    def websocket(self, path: str) -> Callable[[H], H]:
        def keep(handler: H) -> H:
            self.routes[path] = handler
            return handler

        return keep


def _module(name: str, **names: Any) -> ModuleType:  # Any: whatever a module holds
    module = ModuleType(name)
    vars(module).update(names)
    return module


@pytest.fixture(autouse=True)
def frameworks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the frameworks that pages import."""
    for module in (
        _module("channels"),
        _module("channels.generic"),
        _module("channels.generic.websocket", AsyncWebsocketConsumer=AsyncWebsocketConsumer),
        _module("socketio", AsyncServer=AsyncServer),
        _module("fastapi", FastAPI=FastAPI, WebSocket=object),
    ):
        monkeypatch.setitem(sys.modules, module.__name__, module)
