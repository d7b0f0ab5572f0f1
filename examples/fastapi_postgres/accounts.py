"""What the application had before: users with a login, and rooms with members, in tables of its own.

New is one line, twice: whoever changes the members of a room calls `room_changed`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
from typing import Annotated, Final

import asyncpg
from fastapi import APIRouter, Depends, HTTPException, Path, Request
from fastapi.requests import HTTPConnection
from pydantic import BaseModel, Field

from examples.adapters.postgres import Pool

__all__ = ["ROOM", "TABLES", "CurrentUser", "pool_of", "router"]

# One statement after the other in one transaction, and one worker after the other.
TABLES: Final = """
    SELECT pg_advisory_xact_lock(1);
    CREATE TABLE IF NOT EXISTS account (name text PRIMARY KEY, salt bytea NOT NULL, password bytea NOT NULL);
    CREATE TABLE IF NOT EXISTS login (token text PRIMARY KEY, name text NOT NULL REFERENCES account);
    CREATE TABLE IF NOT EXISTS room (id text PRIMARY KEY, version bigint NOT NULL DEFAULT 1);
    CREATE TABLE IF NOT EXISTS member (
        room text REFERENCES room, name text REFERENCES account, PRIMARY KEY (room, name));"""
ROOM: Final = "SELECT version, ARRAY(SELECT name FROM member WHERE room = id) AS names FROM room WHERE id = $1"
_ACCOUNT: Final = """
    INSERT INTO account VALUES ($1, $2, $3)
    ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING salt, password"""
_CHANGE: Final = "INSERT INTO room VALUES ($1) ON CONFLICT (id) DO UPDATE SET version = room.version + 1"
_ADD: Final = "INSERT INTO member VALUES ($1, $2) ON CONFLICT DO NOTHING"
_REMOVE: Final = "DELETE FROM member WHERE room = $1 AND name = $2"

router = APIRouter()


def pool_of(connection: HTTPConnection) -> Pool:
    """The pool that the application opened."""
    pool: Pool = connection.app.state.pool
    return pool


Database = Annotated["asyncpg.Pool[asyncpg.Record]", Depends(pool_of)]


async def current_user(connection: HTTPConnection, pool: Database) -> str:
    """Who is logged in: the name behind the token in the header, of requests and of WebSockets."""
    _, _, token = connection.headers.get("authorization", "").partition("Bearer ")
    name: str | None = await pool.fetchval("SELECT name FROM login WHERE token = $1", token)
    if name is None:
        raise HTTPException(401, "log in first")
    return name


CurrentUser = Annotated[str, Depends(current_user)]
Name = Annotated[str, Path(pattern="^[a-z0-9-]{1,40}$")]


class Login(BaseModel):
    """A name and a password; the first who says a name has it."""

    name: str = Field(pattern="^[a-z0-9-]{1,40}$")
    password: str = Field(min_length=8, max_length=200)


@router.post("/login")
async def login(who: Login, pool: Database) -> dict[str, str]:
    """Make an account, or check its password; the answer has a token."""
    salt = os.urandom(16)
    account = await pool.fetchrow(_ACCOUNT, who.name, salt, await _stretched(who.password, salt))
    assert account is not None  # it was there, or was made
    if not hmac.compare_digest(account["password"], await _stretched(who.password, account["salt"])):
        raise HTTPException(401, "the name is taken, and the password is not its own")
    token = secrets.token_urlsafe(32)
    await pool.execute("INSERT INTO login VALUES ($1, $2)", token, who.name)
    return {"token": token}


async def _stretched(password: str, salt: bytes) -> bytes:
    return await asyncio.to_thread(hashlib.scrypt, password.encode(), salt=salt, n=2**14, r=8, p=1)


@router.get("/rooms/{room}")
async def members(room: Name, user: CurrentUser, pool: Database) -> list[str]:
    """Who is in a room."""
    found = await pool.fetchrow(ROOM, room)
    if found is None or user not in found["names"]:
        raise HTTPException(404, "no such room of yours")
    return sorted(found["names"])


@router.put("/rooms/{room}/members/{name}")
async def add_member(room: Name, name: Name, user: CurrentUser, pool: Database, request: Request) -> None:
    """Add somebody to a room that you are in, or make one with yourself in it."""
    async with pool.acquire() as db, db.transaction():
        await db.execute(_CHANGE, room)  # from here on, whoever changes the same room waits
        found = await db.fetchrow(ROOM, room)
        assert found is not None  # it was there, or was made
        if user not in found["names"] and (found["names"] or user != name):
            raise HTTPException(403, "you are not in that room")
        try:
            await db.execute(_ADD, room, name)
        except asyncpg.ForeignKeyViolationError as error:
            raise HTTPException(404, "no such user") from error
    await request.app.state.room_changed(room)


@router.delete("/rooms/{room}/members/{name}")
async def remove_member(room: Name, name: Name, user: CurrentUser, pool: Database, request: Request) -> None:
    """Put somebody out of a room that you are in, or leave it."""
    async with pool.acquire() as db, db.transaction():
        await db.execute(_CHANGE, room)
        found = await db.fetchrow(ROOM, room)
        assert found is not None  # it was there, or was made
        if user not in found["names"]:
            raise HTTPException(403, "you are not in that room")
        await db.execute(_REMOVE, room, name)
    await request.app.state.room_changed(room)
