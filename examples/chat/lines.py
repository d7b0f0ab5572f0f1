"""How things are put in words: whole lines, and nothing that a peer wrote may pass for one of them.

A state is a word, a glyph beside it at most; what came from others is cleaned of all that moves the cursor, colours,
or turns the direction of writing around.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from pathlib import PurePosixPath, PureWindowsPath
from typing import Final

from whisperkit.client.content import Attachment, Text
from whisperkit.client.events import PresenceChanged
from whisperkit.client.history import Note, Record
from whisperkit.errors import PeerError
from whisperkit.ids import DeviceId, UserId
from whisperkit.receipts import MessageStatus, Tally
from whisperkit.sync.codec import decode_change
from whisperkit.sync.frames import PresenceState

__all__ = [
    "WAITING_FOR_IT",
    "Who",
    "clean",
    "clock",
    "file_name",
    "harmless",
    "how_far",
    "last_seen",
    "local",
    "own_line",
    "reason",
    "what_changed",
    "what_it_says",
]

Who = Callable[[UserId], str]

WAITING_FOR_IT: Final = "⧖ could not be decrypted; asked the sender's device to send it again"

# Control characters but the line feed, and those that turn the direction of writing around for what follows them.
_UNSAFE: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_MAX_NAMES: Final = 10


def harmless(text: str) -> str:
    """Text of others without anything that moves the cursor or turns writing around; line breaks stay."""
    text = text.replace("\r\n", "\n").replace("\t", "    ")
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def clean(text: str) -> str:
    """Text of others as it can be shown: later lines are indented, so that none can pass for a message."""
    return "\n      ".join(harmless(text).split("\n"))


def reason(error: Exception) -> str:
    """What happened, and what to do where the error says so."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    notes: list[str] = getattr(error, "__notes__", [])
    # The code is for programs, and for whoever looks it up.
    return "; ".join([str(error), *(note for note in notes if not note.startswith("code: "))])


def file_name(name: str) -> str:
    """A file's name without folders, and not hidden, whatever its sender called it."""
    last = PurePosixPath(PureWindowsPath(name).name).name
    return _UNSAFE.sub("_", last).replace("\n", "_").lstrip(".") or "file"


def clock(at_ms: int, *, now_ms: int, zone: tzinfo | None = None) -> str:
    """The time of day, and the day too unless it is today."""
    at, now = local(at_ms, zone), local(now_ms, zone)
    return f"{at:%H:%M}" if at.date() == now.date() else f"{at.day} {at:%b %H:%M}"


def last_seen(presence: PresenceChanged, *, now_ms: int, zone: tzinfo | None = None) -> str:
    """How somebody is; never to the minute when it is longer ago than today."""
    if presence.state is PresenceState.ONLINE:
        return "online"
    if presence.state is not PresenceState.OFFLINE:
        return "not known"
    if presence.last_seen_ms is None:
        return "offline"
    at, now = local(presence.last_seen_ms, zone), local(now_ms, zone)
    return f"last seen today {at:%H:%M}" if at.date() == now.date() else f"last seen {at.day} {at:%B}"


def what_it_says(record: Record, who: Who) -> str | None:
    """The words of a record; `None` for what is not shown."""
    if record.note is Note.UNREADABLE:
        return WAITING_FOR_IT
    if record.note is Note.ROSTER:
        return what_changed(record.content, record.sender, who)
    match record.what:
        case Text(text, _):
            return clean(text)
        case Attachment(_, pointer, caption):
            return f"▤ {file_name(pointer.name)}, {pointer.size:,} bytes  {clean(caption)}".rstrip()
        case _:
            return None


def own_line(record: Record, words: str, *, to: str, at: str) -> str:
    """A message of this device, with how far it has come.

    Args:
        record: The message.
        words: What it says.
        to: To whom, such as " to bob"; empty for the open conversation.
        at: When.
    """
    if record.failed:
        return f"{at} you, not sent{to}: {words}  ({record.failed}; /retry sends it again)"
    return f"{at} you, {'sent' if record.seq else 'waiting to send'}{to}: {words}"


def how_far(status: MessageStatus, tally: Tally, name: str | None) -> str:
    """A message's tick in words.

    Args:
        status: The tick.
        tally: How many have it and have read it.
        name: The other one in a conversation of two.
    """
    if status in (MessageStatus.FAILED, MessageStatus.PENDING):
        return "not sent" if status is MessageStatus.FAILED else "waiting to send"
    if name is not None:
        return "sent" if status is MessageStatus.SENT else f"{status.name.lower()} {_by(status)} {name}"
    if not tally.delivered:
        return "sent"
    return f"delivered to {tally.delivered} of {tally.audience}, read by {tally.read}"


def _by(status: MessageStatus) -> str:
    return "by" if status is MessageStatus.READ else "to"


def what_changed(content: bytes, sender: DeviceId | None, who: Who) -> str | None:
    """Who came and went, by a record of that; `None` if nobody did."""
    try:
        change = decode_change(content)
    except PeerError:
        return None
    by = None if sender is None else sender.user
    parts: list[str] = []
    if added := [user for user in change.added if user != by]:
        parts.append(f"added {_names(added, who)}")
    if by in change.removed:
        parts.append("left")
    if removed := [user for user in change.removed if user != by]:
        parts.append(f"removed {_names(removed, who)}")
    return f"{'the server' if by is None else who(by)} {', '.join(parts)}" if parts else None


def _names(users: list[UserId], who: Who) -> str:
    more = len(users) - _MAX_NAMES
    named = [who(user) for user in users[:_MAX_NAMES]]
    return ", ".join(named) + (f" and {more:,} more" if more > 0 else "")


def local(at_ms: int, zone: tzinfo | None) -> datetime:
    """A time on the person's clock."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).astimezone(zone)
