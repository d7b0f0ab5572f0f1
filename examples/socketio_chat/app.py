"""A chat server on python-socketio that loses no message, with the accounts that it had before.

All of whisperkit in it is on this page. What the devices send is encrypted for each other; the server cannot read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import socketio
from pydantic import BaseModel, Field, ValidationError
from socketio import exceptions
from starlette.applications import Starlette

from examples.adapters.sqlite import open_sqlite
from examples.socketio_chat.accounts import Accounts
from whisperkit import DeviceId
from whisperkit.errors import UsageError
from whisperkit.service import AttachedLink, MessageService
from whisperkit.stores import Stores
from whisperkit.sync.codec import is_json

__all__ = ["app"]

FOLDER: Final = Path("chat-data/socketio")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[None]:
    """Serve from the start of the server to its end."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    app.state.accounts = Accounts(FOLDER / "accounts.db")
    async with (
        open_sqlite(FOLDER / "messages.db") as store,
        MessageService(Stores.over(store, marks=store)) as app.state.messages,
    ):
        yield


site = Starlette(lifespan=lifespan)
# Handlers only queue: one after the other. And messages come up to 1.5 MB, which is above the limit by default.
sio = socketio.AsyncServer(async_mode="asgi", async_handlers=False, max_http_buffer_size=2_000_000)
app = socketio.ASGIApp(sio, other_asgi_app=site)
links: dict[str, AttachedLink] = {}


class Login(BaseModel):
    """Who connects: a name, its password, and the public key that others encrypt for."""

    name: str = Field(pattern="^[a-z0-9-]{1,40}$")
    password: str = Field(min_length=8, max_length=200)
    identity_key: Annotated[str, Field(pattern="^[0-9a-f]{66}$")]


@sio.event
async def connect(sid: str, environ: dict[str, Any], auth: object) -> None:  # Any: what WSGI says of a request
    """Let a device in, if the login is right."""
    try:
        login = Login.model_validate(auth)
    except ValidationError as error:
        raise exceptions.ConnectionRefusedError("a login has a name, a password and an identity_key") from error
    if not await asyncio.to_thread(site.state.accounts.check, login.name, login.password):
        raise exceptions.ConnectionRefusedError("the name is taken, and the password is not its own")
    messages: MessageService = site.state.messages
    device = DeviceId.named(login.name, 1)
    try:
        await messages.register(device, identity_keys={device: bytes.fromhex(login.identity_key)})
    except UsageError as error:
        raise exceptions.ConnectionRefusedError(str(error)) from error

    async def send(data: bytes) -> None:
        await sio.emit("frame", data.decode() if is_json(data) else data, to=sid)  # JSON as text, for pages

    async def close(code: int, reason: str) -> None:
        await sio.disconnect(sid)  # Socket.IO has no words for why; the BYE that went before has

    # Last, with nothing awaited behind it: what the link sends has to come behind the answer to this.
    links[sid] = messages.attach(device, send=send, close=close)


@sio.event
async def frame(sid: str, *data: object) -> None:
    """A frame came; anything else that an event can carry is none, and ends the link."""
    match data:
        case (bytes() | str() as one,):
            links[sid].receive(one)
        case _:
            links[sid].receive(b"")


@sio.event
async def disconnect(sid: str, reason: str) -> None:
    """The connection is gone."""
    links.pop(sid).detach()
