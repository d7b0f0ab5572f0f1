"""A chat back end on FastAPI and PostgreSQL that loses no message, with the users and rooms that it had before.

All of whisperkit in it is on this page. Any number of workers may run: `uvicorn --workers 4` needs no broker.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated

import asyncpg
from fastapi import Body, FastAPI, HTTPException, WebSocket

from examples.adapters.postgres import Pool, PostgresStore, migrate
from examples.adapters.postgres_gateways import PostgresDirectory, open_bus
from examples.fastapi_postgres.accounts import ROOM, TABLES, CurrentUser, router
from examples.net.starlette_frames import receive_frames, send_frames
from whisperkit import ConversationId, DeviceId, UserId
from whisperkit.errors import UsageError
from whisperkit.service import MessageService
from whisperkit.stores import Roster, Stores

__all__ = ["app"]


class Rooms:
    """A `RosterSource`: the application's own rooms, looked at with each message."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def roster(self, conversation: ConversationId) -> Roster | None:
        """Who is in a room now; `None`: it is none of the application's, but a chat of two."""
        room = await self._pool.fetchrow(ROOM, conversation)
        return None if room is None else Roster(room["version"], frozenset(map(UserId.named, room["names"])))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Run one gateway in each worker, under a name that a worker which takes its place gets, too."""
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1) as pool, open_bus(pool) as bus:
        await migrate(pool)
        await pool.execute(TABLES)
        store, directory = PostgresStore(pool), PostgresDirectory(pool)
        stores = Stores.over(store, marks=store, directory=directory, rosters=Rooms(pool), bus=bus)
        async with MessageService(stores, gateway=bus.gateway) as messages:
            bus.join(messages.gateway.take_hints)

            async def room_changed(room: str) -> None:
                await messages.sync_members(ConversationId(room))

            app.state.pool, app.state.messages, app.state.room_changed = pool, messages, room_changed
            yield


app = FastAPI(lifespan=lifespan)
app.include_router(router)


@app.put("/device")
async def register(user: CurrentUser, identity_key: Annotated[str, Body(embed=True)]) -> None:
    """Let the device of a user in; its key is public, and others encrypt for it."""
    device = DeviceId.named(user, 1)
    try:
        await app.state.messages.register(device, identity_keys={device: bytes.fromhex(identity_key)})
    except (UsageError, ValueError) as error:
        raise HTTPException(409, str(error)) from error


@app.websocket("/ws")
async def chat(socket: WebSocket, user: CurrentUser) -> None:
    """Carry the frames of one device; whose it is, the login has said."""
    await socket.accept()
    receive, send = partial(receive_frames, socket), partial(send_frames, socket)
    await app.state.messages.serve(DeviceId.named(user, 1), receive=receive, send=send, close=socket.close)
