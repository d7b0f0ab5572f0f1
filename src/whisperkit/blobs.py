"""The life of an attachment on the server: reserved, committed, kept until a day, deleted.

The server cannot see which message names an attachment. So its life is counted by the sender: the device calls
`keep` before every attempt to send a message that names it, and learns then whether it has to upload again, under a
new id. An id that was deleted stays deleted.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

from whisperkit.ids import BlobId, UserId
from whisperkit.packing import pack, reading, unpack
from whisperkit.partitions import Partition, Step

__all__ = [
    "NEW_BLOB",
    "Blob",
    "Committed",
    "Deleting",
    "Gone",
    "Incomplete",
    "Kept",
    "NotYours",
    "Reserved",
    "Stage",
    "commit",
    "decode",
    "encode",
    "keep",
    "partition",
    "reserve",
    "sweep",
]


class Stage(IntEnum):
    """How far an attachment has come; it only ever goes on. The numbers are stored."""

    ABSENT = 0
    """Nobody asked for it."""

    RESERVED = 1
    """Somebody may upload it."""

    COMMITTED = 2
    """It is there."""

    DELETING = 3
    """It is going or gone."""


class Blob(NamedTuple):
    """The head of an attachment.

    Attributes:
        stage: How far it has come.
        owner: Who uploads it; `None` while absent.
        size: How many bytes it has.
        until_ms: It may be deleted after this, milliseconds since 1970.
    """

    stage: Stage = Stage.ABSENT
    owner: UserId | None = None
    size: int = 0
    until_ms: int = 0


NEW_BLOB: Final = Blob()


class Reserved(NamedTuple):
    """The owner may upload so many bytes until then."""

    size: int
    until_ms: int


class Committed(NamedTuple):
    """All of it is there."""

    size: int
    until_ms: int


class Kept(NamedTuple):
    """It will be there until then, at least."""

    until_ms: int


class Incomplete(NamedTuple):
    """So many bytes are to be there before it can be committed, or kept."""

    size: int


class NotYours(NamedTuple):
    """Another user reserved the id."""


class Gone(NamedTuple):
    """It is deleted, or never was: upload it again, under a new id."""


class Deleting(NamedTuple):
    """Its bytes are to be dropped; dropping them again is harmless."""


Refusal: TypeAlias = Incomplete | NotYours | Gone


def reserve(blob: Blob, *, owner: UserId, size: int, until_ms: int) -> Step[Reserved | Committed | Refusal, Blob]:
    """Let a user upload under a new id; repeated, the answer is the same.

    Args:
        blob: The head.
        owner: Who uploads.
        size: How many bytes it will have; what is allowed is the caller's to say.
        until_ms: If it is not committed by then, it goes.
    """
    match blob.stage:
        case Stage.ABSENT:
            return Step(Reserved(size, until_ms), Blob(Stage.RESERVED, owner, size, until_ms))
        case Stage.DELETING:
            return Step(Gone(), blob)
        case Stage.RESERVED | Stage.COMMITTED if blob.owner != owner or blob.size != size:
            return Step(NotYours(), blob)
        case Stage.RESERVED:
            return Step(Reserved(size, blob.until_ms), blob)
        case Stage.COMMITTED:
            return Step(Committed(size, blob.until_ms), blob)


def commit(blob: Blob, *, owner: UserId, stored: int, until_ms: int) -> Step[Committed | Refusal, Blob]:
    """Say that the upload is complete.

    Args:
        blob: The head.
        owner: Who uploaded.
        stored: How many bytes there are.
        until_ms: How long it lives if nobody keeps it.
    """
    if blob.stage in (Stage.ABSENT, Stage.DELETING):
        return Step(Gone(), blob)
    if blob.owner != owner:
        return Step(NotYours(), blob)
    if blob.stage is Stage.COMMITTED:
        return Step(Committed(blob.size, blob.until_ms), blob)
    if stored != blob.size:
        return Step(Incomplete(blob.size), blob)
    after = blob._replace(stage=Stage.COMMITTED, until_ms=max(until_ms, blob.until_ms))
    return Step(Committed(after.size, after.until_ms), after)


def keep(blob: Blob, *, until_ms: int) -> Step[Kept | Incomplete | Gone, Blob]:
    """Let an attachment live until then, at least; a lower time changes nothing.

    Whoever is about to send a message that names it asks for the life of an entry and a day, before every attempt:
    counted from an earlier day it could end before the entry does. Anybody who knows the id may, as when forwarding.
    """
    match blob.stage:
        case Stage.COMMITTED:
            after = blob._replace(until_ms=until_ms) if until_ms > blob.until_ms else blob
            return Step(Kept(after.until_ms), after)
        case Stage.RESERVED:
            return Step(Incomplete(blob.size), blob)
        case Stage.ABSENT | Stage.DELETING:
            return Step(Gone(), blob)


def sweep(blob: Blob, *, now_ms: int) -> Step[Deleting | Kept | Gone, Blob]:
    """Delete an attachment whose time is over.

    The decision and the head it was made from are one commit, so a `keep` that comes between is never overruled.
    Drop the bytes after the commit.
    """
    match blob.stage:
        case Stage.ABSENT:
            return Step(Gone(), blob)
        case Stage.DELETING:
            return Step(Deleting(), blob)
        case Stage.RESERVED | Stage.COMMITTED if now_ms <= blob.until_ms:
            return Step(Kept(blob.until_ms), blob)
        case Stage.RESERVED | Stage.COMMITTED:
            return Step(Deleting(), blob._replace(stage=Stage.DELETING))


def partition(blob: BlobId) -> Partition:
    """Where an attachment's life is kept."""
    return Partition(f"blob/{blob}")


def encode(blob: Blob) -> bytes:
    """The head's state."""
    return pack(blob.stage, blob.owner or "", blob.size, blob.until_ms)


def decode(data: bytes) -> Blob:
    """Read the head's state; empty for one that was never written.

    Raises:
        CorruptStateError: It is none.
    """
    if not data:
        return NEW_BLOB
    stage, owner, size, until_ms = unpack(data, kind="attachment", shape=(int, str, int, int))
    with reading("attachment"):
        return Blob(Stage(stage), UserId(owner) if owner else None, size, until_ms)
