"""The status of one message, as its sender sees it: five values, and every step between them as data."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final

from whisperkit.errors import UsageError

__all__ = ["TRANSITIONS", "MessageStatus", "Progress", "advance"]


class MessageStatus(IntEnum):
    """How far a message has come, as its sender sees it. The numbers are stored, and order all but `FAILED`."""

    FAILED = -1
    """Given up before it was posted; it reached nobody and never will."""
    PENDING = 0
    """Not yet known to be posted."""
    SENT = 1
    """Needs neither the device nor the process it spoke to."""
    DELIVERED = 2
    """Saved on a device of everybody in the audience."""
    READ = 3
    """Read by everybody in the audience."""

    def __repr__(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        return format(self.name, spec)


class Progress(Enum):
    """What can become known about a message."""

    POSTED = "posted"
    """The conversation answered with a number; also when what was repeated is a `VOID`, and the message got through."""
    VOIDED = "voided"
    """The conversation confirmed that the number was given up."""
    DELIVERED = "delivered"
    """The last of the audience has it."""
    READ = "read"
    """The last of the audience has read it."""


# The whole machine. A pair that is not here is a caller's bug: only what is pending can fail, and a failed message
# has no number that a receipt could name. A receipt may overtake the answer to the send (R7): it proves the post.
TRANSITIONS: Final[Mapping[tuple[MessageStatus, Progress], MessageStatus]] = MappingProxyType(
    {
        (MessageStatus.PENDING, Progress.POSTED): MessageStatus.SENT,
        (MessageStatus.PENDING, Progress.VOIDED): MessageStatus.FAILED,
        (MessageStatus.PENDING, Progress.DELIVERED): MessageStatus.DELIVERED,
        (MessageStatus.PENDING, Progress.READ): MessageStatus.READ,
        (MessageStatus.SENT, Progress.POSTED): MessageStatus.SENT,
        (MessageStatus.SENT, Progress.DELIVERED): MessageStatus.DELIVERED,
        (MessageStatus.SENT, Progress.READ): MessageStatus.READ,
        (MessageStatus.DELIVERED, Progress.POSTED): MessageStatus.DELIVERED,
        (MessageStatus.DELIVERED, Progress.DELIVERED): MessageStatus.DELIVERED,
        (MessageStatus.DELIVERED, Progress.READ): MessageStatus.READ,
        (MessageStatus.READ, Progress.POSTED): MessageStatus.READ,
        (MessageStatus.READ, Progress.DELIVERED): MessageStatus.READ,
        (MessageStatus.READ, Progress.READ): MessageStatus.READ,
        (MessageStatus.FAILED, Progress.VOIDED): MessageStatus.FAILED,
    }
)


def advance(status: MessageStatus, progress: Progress) -> MessageStatus:
    """Take one step of `TRANSITIONS`.

    Raises:
        UsageError: There is no such step.
    """
    after = TRANSITIONS.get((status, progress))
    if after is None:
        raise UsageError(f"a message that is {status} cannot become {progress.value}")
    return after
