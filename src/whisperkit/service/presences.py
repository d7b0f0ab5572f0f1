"""Who is online, told to who watches.

In the gateway's memory only: beats of connected devices, merged over a user's devices by `PresenceTracker`. A watcher
hears of a change when it happens here, and looks up every ten seconds what happened elsewhere (trap Q5). Last
seen is a mark, in steps of a minute, so that a busy user is not a write a second.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from whisperkit import accounts
from whisperkit.ids import DeviceId, UserId
from whisperkit.presence import CameOnline, PresenceTracker, last_seen_mark
from whisperkit.service.core import Core
from whisperkit.service.delivery import LinkTable
from whisperkit.service.link import DeviceLink
from whisperkit.service.marks import MarkBoard
from whisperkit.stores import Bound, Unknown
from whisperkit.sync import frames
from whisperkit.sync.frames import PresenceState

__all__ = ["Presences"]

log = logging.getLogger("whisperkit.service")

SEEN: Final = "seen"
LOOK_S: Final = 10.0


class Presences:
    """Tracks and tells presence.

    Args:
        core: The gateway.
        links: Who is connected here.
        board: Where last seen is raised.
    """

    def __init__(self, core: Core, links: LinkTable, board: MarkBoard) -> None:
        self._core = core
        self._links = links
        self._board = board
        self._watchers: dict[UserId, set[DeviceLink]] = {}
        self._told: dict[tuple[UserId, DeviceId], PresenceState] = {}
        self._seen: dict[UserId, int] = {}  # what was raised last, of users who are online here
        self._present = 0
        self._tracker = PresenceTracker(
            ttl_s=core.config.presence_ttl_s,
            grace_s=core.config.presence_grace_s,
            started_at=core.runtime.now(),
        )
        core.runtime.spawn(self._keep_time, name="presence")

    def beat(self, device: DeviceId) -> None:
        """A sign of life of a device."""
        runtime = self._core.runtime
        for effect in self._tracker.beat(device, now=runtime.now()):
            self._changed(
                effect.user, PresenceState.ONLINE if isinstance(effect, CameOnline) else PresenceState.OFFLINE
            )
        self._tell_present()
        seen = last_seen_mark(runtime.wall_ms())
        if seen > self._seen.get(device.user, 0) and not self._board.is_full:
            self._seen[device.user] = seen
            self._board.raise_mark(accounts.partition(device.user), SEEN, seen)

    def goodbye(self, device: DeviceId) -> None:
        """The device's link ended; whether its user is gone shows after the grace."""
        self._tracker.goodbye(device, now=self._core.runtime.now())
        self._tell_present()

    def _tell_present(self) -> None:
        devices = self._tracker.devices
        if devices != self._present:
            self._present = devices
            self._core.hook.present(devices)

    def unwatch(self, link: DeviceLink) -> None:
        """The link watches nobody any more."""
        for user in link.watches:
            watchers = self._watchers.get(user)
            if watchers is not None:
                watchers.discard(link)
                if not watchers:
                    del self._watchers[user]
            self._told.pop((user, link.device), None)
        link.watches = frozenset()

    async def watch(self, link: DeviceLink, users: Iterable[UserId]) -> None:
        """The link watches these users, instead of those before; it is told at once how they are."""
        self.unwatch(link)
        if not link.is_open:
            return
        link.watches = frozenset(users)
        for user in link.watches:
            self._watchers.setdefault(user, set()).add(link)
        await self._tell(list(link.watches), {link})

    async def state(self, user: UserId) -> tuple[PresenceState, bool]:
        """Whether a user is online, and whether that is certain."""
        here = self._tracker.presence(user, now=self._core.runtime.now())
        if here.is_online:
            return PresenceState.ONLINE, True
        account = await self._core.device_lists.read(user)
        found = await self._core.stores.directory.lookup(account.device_ids(user))
        if any(isinstance(where, Bound) for where in found.values()):
            return PresenceState.ONLINE, True
        if not here.is_certain or any(isinstance(where, Unknown) for where in found.values()):
            return PresenceState.UNKNOWN, False
        return PresenceState.OFFLINE, True

    async def _tell(self, users: list[UserId], links: set[DeviceLink], *, left_here: bool = False) -> None:
        """Tell links how users are, where that is news.

        Args:
            users: Who.
            links: Who watches them.
            left_here: They were seen leaving this gateway: a directory too young to know does not make that doubtful.
        """
        try:
            await self._tell_news(users, links, left_here=left_here)
        except Exception:
            # A directory or a store of marks that is away: the next look tells what was missed.
            log.warning("presence not told", extra={"users": len(users)}, exc_info=True)

    async def _tell_news(self, users: list[UserId], links: set[DeviceLink], *, left_here: bool) -> None:
        names = {accounts.partition(user): user for user in users}
        marks = await self._board.read(names)
        for name, user in names.items():
            state, is_certain = await self.state(user)
            if left_here and state is PresenceState.UNKNOWN:
                state, is_certain = PresenceState.OFFLINE, True
            seen = marks.get(name, {}).get(SEEN)
            for link in links:
                told = self._told.get((user, link.device))
                # "Not known" is no news to who was told something.
                if user in link.watches and told != state and (state is not PresenceState.UNKNOWN or told is None):
                    self._told[user, link.device] = state
                    link.send(frames.Presence(user, state, seen, is_certain))

    def _changed(self, user: UserId, state: PresenceState) -> None:
        if state is PresenceState.OFFLINE:
            self._seen.pop(user, None)
        self._core.hook.presence(state.name.lower())
        watchers = self._watchers.get(user)
        if watchers:
            left_here = state is PresenceState.OFFLINE
            self._core.runtime.spawn(
                lambda: self._tell([user], set(watchers), left_here=left_here), name="tell presence"
            )

    async def _keep_time(self) -> None:
        """Let time pass for the tracker, and look at users who may be connected elsewhere."""
        runtime = self._core.runtime
        looked_at = runtime.now()
        while True:
            deadline = self._tracker.deadline
            wait_s = LOOK_S if deadline is None else min(LOOK_S, max(0.01, deadline - runtime.now()))
            await runtime.sleep(wait_s)
            for effect in self._tracker.handle_timer(now=runtime.now()):
                if not isinstance(effect, CameOnline):
                    self._changed(effect.user, PresenceState.OFFLINE)
            self._tell_present()
            if runtime.now() - looked_at >= LOOK_S:
                looked_at = runtime.now()
                for user, watchers in list(self._watchers.items()):
                    await self._tell([user], set(watchers))
