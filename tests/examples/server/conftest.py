"""The whole server on a free port of loopback, in this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest

from examples.config import load_config
from examples.server.app import ChatServer, open_server


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[ChatServer]:
    environ = {
        "WHISPERKIT_SERVER__BIND": "127.0.0.1:0",
        "WHISPERKIT_SERVER__SQLITE_PATH": str(tmp_path / "chat.db"),
        "WHISPERKIT_SERVER__BLOB_PATH": str(tmp_path / "blobs"),
        "WHISPERKIT_LIMITS__BLOB_BYTES": "5000000",
    }
    async with open_server(load_config(environ=environ)) as server:
        yield server


@pytest.fixture
async def http(server: ChatServer) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{server.host}:{server.port}", trust_env=False) as http:
        yield http
