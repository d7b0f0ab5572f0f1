"""What a mirror is: a value, its states as a table, and what it answers. `mirror` has the rules."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq, MessageId
from whisperkit.packing import pack, reading, unpack
from whisperkit.partitions import Row
from whisperkit.sync import frames
from whisperkit.sync.chat import Chat
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import Answer, Frame, StoredRow

__all__ = [
    "BEHIND_S",
    "MAX_HELD",
    "STALLED_S",
    "TRANSITIONS",
    "Arrived",
    "Attached",
    "Detached",
    "LostTail",
    "Mirror",
    "Phase",
    "Synced",
    "TimePassed",
    "deadline",
    "decode_mirror",
    "encode_mirror",
    "has_welcome",
    "seen_key",
]

# A frontier that disagrees with the head for so long has lost something: frames that are merely late are there by then.
BEHIND_S: Final = 5.0
# Without a WELCOME or the next part of a snapshot for so long, the link is of no use.
STALLED_S: Final = 30.0
# Entries that wait for pulled rows: as many as the server sends without an acknowledgement.
MAX_HELD: Final = 256


class Phase(Enum):
    """What the mirror is doing."""

    OFFLINE = "offline"
    CATCHING_UP = "catching up"
    SNAPSHOT = "snapshot"
    LIVE = "live"


class Attached(NamedTuple):
    """HELLO has gone out on a new link."""


class Detached(NamedTuple):
    """The link is gone."""


class TimePassed(NamedTuple):
    """The deadline has come."""


# The whole machine. Attached and Detached always have a place; a frame that has none in the present phase is late,
# doubled or unasked for, and is dropped.
TRANSITIONS: Final[Mapping[tuple[Phase, type[object]], Phase]] = {
    (Phase.OFFLINE, Attached): Phase.CATCHING_UP,
    (Phase.CATCHING_UP, frames.Welcome): Phase.CATCHING_UP,  # SNAPSHOT unless the answer is DELTA
    (Phase.CATCHING_UP, frames.Entry): Phase.CATCHING_UP,  # LIVE once the frontier is at the head
    (Phase.CATCHING_UP, frames.Rows): Phase.CATCHING_UP,  # the same
    (Phase.CATCHING_UP, frames.Head): Phase.CATCHING_UP,  # the same
    (Phase.CATCHING_UP, frames.Mark): Phase.CATCHING_UP,
    (Phase.CATCHING_UP, TimePassed): Phase.CATCHING_UP,
    (Phase.CATCHING_UP, Detached): Phase.OFFLINE,
    (Phase.SNAPSHOT, frames.Snapshot): Phase.SNAPSHOT,  # CATCHING_UP with the last part
    (Phase.SNAPSHOT, frames.Welcome): Phase.SNAPSHOT,  # begins again
    (Phase.SNAPSHOT, TimePassed): Phase.SNAPSHOT,
    (Phase.SNAPSHOT, Detached): Phase.OFFLINE,
    (Phase.LIVE, frames.Entry): Phase.LIVE,
    (Phase.LIVE, frames.Rows): Phase.LIVE,
    (Phase.LIVE, frames.Head): Phase.LIVE,
    (Phase.LIVE, frames.Mark): Phase.LIVE,
    (Phase.LIVE, frames.Welcome): Phase.LIVE,  # SNAPSHOT if a PULL found a fork
    (Phase.LIVE, TimePassed): Phase.LIVE,
    (Phase.LIVE, Detached): Phase.OFFLINE,
}

_NO_CONVS: Final[frozenset[ConversationId]] = frozenset()


class Mirror(NamedTuple):
    """Where a device is. Only `device` and `cursor` are saved; the rest is about the present link.

    Attributes:
        device: This device.
        cursor: The frontier; `None` before the first snapshot.
        phase: What it is doing.
        head: Where the server's inbox ends, as it last said.
        since: When the frontier began to disagree with the head, or the link to be silent; `None` if all is well.
        asked_at: The frontier for which a PULL is under way.
        answer: Why a snapshot is being taken.
        next_part: Which part of it comes next.
        in_snapshot: The conversations that were in its parts.
        fetching: Up to where rows of conversations have been asked for.
        held: Entries in order that wait for such rows.
        opened: Conversations on screen: what is pulled there is fetched at once.
        followed: Conversations whose rows are pulled: HEAD shall name their heads.
        told: Those of them that the server has been told of on this link.
    """

    device: DeviceId
    cursor: Cursor | None = None
    phase: Phase = Phase.OFFLINE
    head: Cursor | None = None
    since: float | None = None
    asked_at: InboxSeq | None = None
    answer: Answer | None = None
    next_part: int = 0
    in_snapshot: frozenset[ConversationId] = _NO_CONVS
    fetching: Mapping[ConversationId, ConversationSeq] = {}
    held: tuple[frames.Entry, ...] = ()
    opened: frozenset[ConversationId] = _NO_CONVS
    followed: frozenset[ConversationId] = _NO_CONVS
    told: frozenset[ConversationId] = _NO_CONVS


class Arrived(NamedTuple):
    """A row that is new here: decrypt it and write it into the history, in this order.

    Attributes:
        conv: Its conversation; `frames.ASIDES` for an aside.
        row: What came. A PLACEHOLDER has to be asked for at `row.sender`.
    """

    conv: ConversationId
    row: StoredRow


class LostTail(NamedTuple):
    """The server may have lost what this device posted above `above`: send it again, under the same message ids."""

    conv: ConversationId
    above: ConversationSeq


class Synced(NamedTuple):
    """What became of an input. First commit, with what the caller makes of `arrived`; then take over the rest.

    Attributes:
        state: The next mirror.
        put: Rows to write.
        delete: Keys to delete.
        arrived: New rows, in order.
        send: Frames for the link, in order; the ACK of what is committed is among them.
        chats: Conversations that changed.
        lost: Own messages that have to be sent again.
        reconnect: Whether the link is of no use: close it and connect again.
    """

    state: Mirror
    put: tuple[Row, ...] = ()
    delete: tuple[bytes, ...] = ()
    arrived: tuple[Arrived, ...] = ()
    send: tuple[Frame, ...] = ()
    chats: Mapping[ConversationId, Chat] = {}
    lost: tuple[LostTail, ...] = ()
    reconnect: bool = False

    def must_save(self, before: Mirror) -> bool:
        """Whether there is anything to commit."""
        return self.state.cursor != before.cursor or bool(self.put or self.delete)


def deadline(mirror: Mirror) -> float | None:
    """When to call `handle_timer` next; `None` for never."""
    if mirror.since is None:
        return None
    return mirror.since + (BEHIND_S if has_welcome(mirror) else STALLED_S)


def has_welcome(mirror: Mirror) -> bool:
    """Whether the server has answered on this link, and there is a frontier to go on from."""
    return mirror.phase is not Phase.SNAPSHOT and mirror.head is not None and mirror.cursor is not None


# ---- what is saved --------------------------------------------------------------------------------------------------


def seen_key(sender: DeviceId | None, message_id: MessageId) -> bytes:
    """The key of the row that says a message is here. It lives as long as its history row; delete both together.

    The sender is part of it, or a member who repeats the id of another's message could keep that message out.
    """
    return b"i/" + message_id + (sender or "").encode()


def encode_mirror(mirror: Mirror) -> bytes:
    """What the device's head keeps of a mirror."""
    return pack(mirror.device, mirror.cursor or ())


def decode_mirror(data: bytes) -> Mirror:
    """Read what `encode_mirror` made; the mirror is offline.

    Raises:
        CorruptStateError: It is something else.
    """
    device, cursor = unpack(data, kind="mirror", shape=(str, tuple))
    with reading("mirror"):
        if not cursor:
            return Mirror(DeviceId.parse(device))
        epoch, seq, tag = cursor
        if type(epoch) is not int or type(seq) is not int or type(tag) is not bytes:
            raise ValueError("not a cursor")
        return Mirror(DeviceId.parse(device), Cursor(epoch, InboxSeq(seq), tag))
