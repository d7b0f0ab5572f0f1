"""What a client tells whoever holds it."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, TypeAlias

from whisperkit.client.notices import DeviceLinked, IdentityChanged, Notice
from whisperkit.client.opening import Recorded
from whisperkit.ids import ConversationId, UserId
from whisperkit.sync.frames import PresenceState

__all__ = [
    "ConnectionChanged",
    "ConnectionState",
    "DeviceLinked",
    "Event",
    "EventsLost",
    "IdentityChanged",
    "Notice",
    "PresenceChanged",
    "Recorded",
    "TicksMoved",
    "TypingHeard",
]


class ConnectionState(Enum):
    """How the client stands with the server."""

    OFFLINE = "offline"
    CATCHING_UP = "catching up"
    LIVE = "live"
    REPLACED = "replaced by another connection"
    REFUSED = "refused"


class ConnectionChanged(NamedTuple):
    """The connection is in another state.

    Attributes:
        state: Now. LIVE only once the mirror has reached the head.
        retry_in_s: When the next attempt comes; `None` if none will.
    """

    state: ConnectionState
    retry_in_s: float | None = None


class TicksMoved(NamedTuple):
    """Somebody received or read more of a conversation."""

    conv: ConversationId


class PresenceChanged(NamedTuple):
    """A watched user came or went.

    Attributes:
        user: Who.
        state: Now.
        last_seen_ms: In steps of a minute; `None` if not known.
        is_certain: False while the server is too young to know.
    """

    user: UserId
    state: PresenceState
    last_seen_ms: int | None
    is_certain: bool


class TypingHeard(NamedTuple):
    """A member is typing; it ends after five seconds, or with their message."""

    conv: ConversationId
    user: UserId


class EventsLost(NamedTuple):
    """Whoever listens was too slow, and some events were dropped: look at everything again."""


Event: TypeAlias = Recorded | Notice | ConnectionChanged | TicksMoved | PresenceChanged | TypingHeard | EventsLost
