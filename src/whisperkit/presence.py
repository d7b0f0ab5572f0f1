"""Who is online, and who is typing: judged by the age of the last sign of life, in memory only.

Any traffic of a device is a beat. A device without one for `ttl_s` may be gone, but one lost beat is no
absence: "offline" is said `grace_s` later. A user is online while any of their devices is. Watchers hear
of changes of the user only, and going offline takes a whole grace, so devices that flap cannot make a storm.

A million devices beat every 30 s, so a beat must cost next to nothing. All devices wait equally long, hence
the order of their last beats is the order in which they expire: an ordered dict is the whole timer, a beat
moves its device to the end, and the next deadline is the first entry. Devices that said goodbye wait for the
grace only; they queue apart.

Nothing here is saved. Last seen outlives the process as a mark in wall-clock time, see `last_seen_mark`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple, TypeAlias

import attrs

from whisperkit.ids import ConversationId, DeviceId, UserId

__all__ = [
    "BEAT_S",
    "GRACE_S",
    "LAST_SEEN_STEP_MS",
    "MAX_TYPING",
    "TTL_S",
    "TYPING_S",
    "CameOnline",
    "Presence",
    "PresenceEffect",
    "PresenceTracker",
    "StartedTyping",
    "StoppedTyping",
    "TypingEffect",
    "TypingTracker",
    "WentOffline",
    "last_seen_mark",
]

# How often a device that has nothing else to say says that it lives.
BEAT_S: Final = 30.0
# One beat and a third: a late beat is no absence.
TTL_S: Final = 40.0
# Longer than a beat, so that one lost beat, or a goodbye that comes after the device is back, is never published.
GRACE_S: Final = 40.0
# Finer steps would cost a write per beat, and tell strangers more than anybody needs.
LAST_SEEN_STEP_MS: Final = 60_000
# "Typing" is repeated while it lasts; without a repetition it is over, however the device went away.
TYPING_S: Final = 5.0
# What peers can make a device or gateway hold. Who types beyond that is not shown; nothing else is lost.
MAX_TYPING: Final = 10_000


def last_seen_mark(wall_ms: int) -> int:
    """Round a time down to the step in which last seen is saved: a mark that rises at most once a minute.

    Args:
        wall_ms: Milliseconds since 1970.
    """
    return wall_ms - wall_ms % LAST_SEEN_STEP_MS


# ---- online ---------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class CameOnline:
    """A user who was not online has a device that is."""

    user: UserId


@attrs.frozen(kw_only=True)
class WentOffline:
    """The last device of a user is gone; `last_seen_s` is when it was last heard of, on the caller's clock."""

    user: UserId
    last_seen_s: float


PresenceEffect: TypeAlias = CameOnline | WentOffline


class Presence(NamedTuple):
    """What is known about a user.

    Attributes:
        is_online: True until `WentOffline` is due, whether or not the timer was seen to in time (Q8).
        is_certain: False while the tracker is too young to have heard of everybody, or while the user is
            silent but in grace: show what was shown before.
        last_seen_s: The last sign of life, on the caller's clock; `None` if the user is not known here, and
            then the saved mark tells.
    """

    is_online: bool
    is_certain: bool
    last_seen_s: float | None


class PresenceTracker:
    """Who is online, merged over devices, by the age of their last beats.

    Holds about 183 bytes for each connected device beside its id (measured with a million), however often it
    beats, and nothing of devices that are gone. Beats and goodbyes cost the same for one device and for a million.

    Args:
        ttl_s: Seconds without a beat after which a device may be gone.
        grace_s: Seconds from then on, or from a goodbye, until "offline" is published. Keep it above the
            interval of beats.
        started_at: When the tracker began to hear of devices, on the caller's clock; `None` for the first
            `now` that it is told.
    """

    def __init__(self, *, ttl_s: float = TTL_S, grace_s: float = GRACE_S, started_at: float | None = None) -> None:
        self._ttl_s = ttl_s
        self._grace_s = grace_s
        self._started_at = started_at
        # Each device is in one of the two: by the time of its last beat, or of its goodbye; oldest first.
        self._beats: OrderedDict[DeviceId, float] = OrderedDict()
        self._goodbyes: OrderedDict[DeviceId, float] = OrderedDict()
        # Users of whom a device is in one of them, with their last sign of life. Most have one device: only what they
        # have beside it is counted.
        self._last_seen_s: dict[UserId, float] = {}
        self._others: dict[UserId, int] = {}

    @property
    def devices(self) -> int:
        """How many devices beat and have not said goodbye, as far as time was let pass."""
        return len(self._beats)

    @property
    def deadline(self) -> float | None:
        """When to call `handle_timer` next, on the caller's clock; `None` for never."""
        first_beat = next(iter(self._beats.values()), None)
        first_goodbye = next(iter(self._goodbyes.values()), None)
        if first_beat is None:
            return None if first_goodbye is None else first_goodbye + self._grace_s
        due = first_beat + self._ttl_s + self._grace_s
        return due if first_goodbye is None else min(due, first_goodbye + self._grace_s)

    def beat(self, device: DeviceId, *, now: float) -> list[PresenceEffect]:
        """Note a sign of life: a heartbeat, or anything else that came from the device."""
        user = device.user
        if device in self._beats:
            self._last_seen_s[user] = now
            self._beats[device] = now
            self._beats.move_to_end(device)
            return []
        self._note_start(now)
        self._beats[device] = now
        is_first = user not in self._last_seen_s
        self._last_seen_s[user] = now
        if self._goodbyes.pop(device, None) is not None:
            return []
        if is_first:
            return [CameOnline(user=user)]
        self._others[user] = self._others.get(user, 0) + 1
        return []

    def goodbye(self, device: DeviceId, *, now: float) -> None:
        """Note that a connection ended: the device has `grace_s` to come back.

        A goodbye that arrives after the device is back does no harm (Q7): its next beat comes sooner than that.
        """
        if self._beats.pop(device, None) is not None:
            self._goodbyes[device] = now
            self._last_seen_s[device.user] = now

    def handle_timer(self, *, now: float) -> list[PresenceEffect]:
        """Let time pass."""
        self._note_start(now)
        effects: list[PresenceEffect] = []
        for queue, wait_s in ((self._beats, self._ttl_s + self._grace_s), (self._goodbyes, self._grace_s)):
            while queue and next(iter(queue.values())) + wait_s <= now:
                device, _ = queue.popitem(last=False)
                effects += self._forget(device.user)
        return effects

    def presence(self, user: UserId, *, now: float) -> Presence:
        """What is known about a user now."""
        self._note_start(now)
        last_seen_s = self._last_seen_s.get(user)
        if last_seen_s is None:
            return Presence(is_online=False, is_certain=not self._is_young(now), last_seen_s=None)
        silent_s = now - last_seen_s
        is_online = silent_s < self._ttl_s + self._grace_s
        return Presence(
            is_online=is_online, is_certain=silent_s < self._ttl_s or not is_online, last_seen_s=last_seen_s
        )

    def _note_start(self, now: float) -> None:
        if self._started_at is None:
            self._started_at = now

    def _is_young(self, now: float) -> bool:
        # After a restart everybody was heard of only when the slowest beat has had its time.
        return self._started_at is not None and now < self._started_at + self._ttl_s

    def _forget(self, user: UserId) -> list[PresenceEffect]:
        others = self._others.pop(user, 0)
        if others > 1:
            self._others[user] = others - 1
        if others:
            return []
        return [WentOffline(user=user, last_seen_s=self._last_seen_s.pop(user))]


# ---- typing ---------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class StartedTyping:
    """A user began to type."""

    conversation: ConversationId
    user: UserId


@attrs.frozen(kw_only=True)
class StoppedTyping:
    """A user stopped typing, or their message came."""

    conversation: ConversationId
    user: UserId


TypingEffect: TypeAlias = StartedTyping | StoppedTyping


class TypingTracker:
    """Who is typing, for one who looks on: each sign lasts `ttl_s`, or until the message comes.

    Args:
        viewer: Whose screen it is for; their own typing, on any device, is not shown.
        ttl_s: Seconds for which one sign of typing counts.
        limit: How many may type at once; further ones are not shown.
    """

    def __init__(self, *, viewer: UserId, ttl_s: float = TYPING_S, limit: int = MAX_TYPING) -> None:
        self._viewer = viewer
        self._ttl_s = ttl_s
        self._limit = limit
        self._signs: OrderedDict[tuple[ConversationId, UserId], float] = OrderedDict()  # oldest first

    @property
    def deadline(self) -> float | None:
        """When to call `handle_timer` next, on the caller's clock; `None` for never."""
        oldest = next(iter(self._signs.values()), None)
        return None if oldest is None else oldest + self._ttl_s

    def typing(self, conversation: ConversationId, user: UserId, *, now: float) -> list[TypingEffect]:
        """Note a sign of typing."""
        key = conversation, user
        is_new = key not in self._signs
        if user == self._viewer or (is_new and len(self._signs) >= self._limit):
            return []
        self._signs[key] = now
        self._signs.move_to_end(key)
        return [StartedTyping(conversation=conversation, user=user)] if is_new else []

    def stopped(self, conversation: ConversationId, user: UserId) -> list[TypingEffect]:
        """Note that a message of the user came, or that they went away."""
        if self._signs.pop((conversation, user), None) is None:
            return []
        return [StoppedTyping(conversation=conversation, user=user)]

    def handle_timer(self, *, now: float) -> list[TypingEffect]:
        """Let time pass."""
        effects: list[TypingEffect] = []
        while self._signs and next(iter(self._signs.values())) + self._ttl_s <= now:
            (conversation, user), _ = self._signs.popitem(last=False)
            effects.append(StoppedTyping(conversation=conversation, user=user))
        return effects

    def who(self, conversation: ConversationId) -> tuple[UserId, ...]:
        """Who types in a conversation, who was quiet longest first."""
        return tuple(user for where, user in self._signs if where == conversation)
