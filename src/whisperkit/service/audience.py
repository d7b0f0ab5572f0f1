"""Who gets a message: the members of a conversation by roster version, and the devices of each of them.

A roster of a given version never changes, so what is remembered of it is never stale. Lists of devices are used for
some seconds at most. What both come to is asked for with every message, and is made anew only when one of them is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple, TypeAlias

from whisperkit import accounts
from whisperkit.accounts import Account
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, UserId
from whisperkit.partitions import Partition, prefix
from whisperkit.runtime import Runtime
from whisperkit.service.codecs import CONVERSATION
from whisperkit.service.working_set import WorkingSet
from whisperkit.stores import Stores
from whisperkit.sync import conversation as conversations
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.roster import MEMBERS, Intervals, is_in_audience, is_member_at, member_of

__all__ = ["Audience", "Box", "DeviceLists", "Members", "Rosters"]

MAX_CACHED_ROSTERS: Final = 10_000
MAX_CACHED_ACCOUNTS: Final = 100_000

Box: TypeAlias = tuple[DeviceId, Partition]
"""A device and its inbox."""


class Members:
    """The members' rows of a conversation as they were read: enough to tell the audience of any row so far.

    Attributes:
        now: Who is in.
        present: The same, to look somebody up.
        last_audience: Their devices as they were last asked for: `DeviceLists.audience` knows whether that still holds.
    """

    __slots__ = ("_stays", "last_audience", "now", "present")

    def __init__(self, stays: Mapping[UserId, Intervals]) -> None:
        self._stays = stays
        self.last_audience: Audience | None = None
        self.now = tuple(user for user, its in stays.items() if its and its[-1].leave is None)
        self.present = frozenset(self.now)

    def audience(self, seq: int) -> list[UserId]:
        """Who gets row `seq`."""
        return [user for user, stays in self._stays.items() if is_in_audience(stays, seq)]

    def members_at(self, seq: int) -> list[UserId]:
        """Who is in after row `seq`."""
        return [user for user, stays in self._stays.items() if is_member_at(stays, seq)]

    def stays_of(self, user: UserId) -> Intervals:
        """When the user was in."""
        return self._stays.get(user, ())


class Rosters:
    """Members of conversations by roster version. A version never changes, so what is here is never stale."""

    def __init__(self) -> None:
        self._known: dict[ConversationId, tuple[ConversationSeq, Members]] = {}

    def members(self, work: WorkingSet, conv: ConversationId, roster_seq: ConversationSeq) -> Members:
        """The members at the version that a working set is at.

        Raises:
            Cold: Their rows have to be read.
        """
        known = self._known.get(conv)
        if known is not None and known[0] == roster_seq:
            return known[1]
        partition = conversations.partition(conv)
        rows = work.rows(partition, CONVERSATION, prefix(MEMBERS))
        members = Members(dict(map(member_of, rows)))
        # What an operation of this turn changed is not committed yet, and must not be remembered as if it were.
        if not work.is_changed(partition):
            self._known.pop(conv, None)
            self._known[conv] = roster_seq, members
            if len(self._known) > MAX_CACHED_ROSTERS:
                del self._known[next(iter(self._known))]
        return members


class _Listed(NamedTuple):
    """An account as it was at some time, with its devices and their inboxes by name."""

    at: float
    user: UserId
    account: Account
    boxes: tuple[Box, ...]


class Audience:
    """The devices of some users, by lists that were read.

    Attributes:
        boxes: Each device with its inbox.
        devices: The devices.
        without: Users who have none.
    """

    __slots__ = ("boxes", "devices", "listed", "oldest_at", "without")

    def __init__(self, listed: tuple[_Listed, ...]) -> None:
        self.listed = listed
        self.oldest_at = min((its.at for its in listed), default=0.0)
        self.boxes = tuple(box for its in listed for box in its.boxes)
        self.devices = frozenset(device for device, _ in self.boxes)
        self.without = tuple(its.user for its in listed if not its.boxes)

    def is_exactly(self, named: AbstractSet[DeviceId], *, sender: DeviceId) -> bool:
        """Whether these are the devices that a message is for: all but its sender's own."""
        devices = self.devices
        count = len(devices) - (sender in devices)
        return len(named) == count and sender not in named and devices.issuperset(named)


class DeviceLists:
    """Accounts of users, as they were at most `max_age_s` ago."""

    def __init__(self, stores: Stores, runtime: Runtime, *, max_age_s: float) -> None:
        self._stores = stores
        self._runtime = runtime
        self._max_age_s = max_age_s
        self._known: dict[UserId, _Listed] = {}

    def missing(self, users: Iterable[UserId]) -> list[UserId]:
        """Those of the users whose list is not known or too old."""
        oldest = self._runtime.now() - self._max_age_s
        return [user for user in users if (known := self._known.get(user)) is None or known.at < oldest]

    def audience(self, members: Members) -> Audience | None:
        """The devices of those who are in; `None` if lists are `missing`."""
        known, found = self._known, members.last_audience
        if found is not None and found.oldest_at >= self._runtime.now() - self._max_age_s:
            for its in found.listed:
                if known.get(its.user) is not its:
                    break
            else:
                return found
        if self.missing(members.now):
            return None
        members.last_audience = found = Audience(tuple([known[user] for user in members.now]))
        return found

    def account(self, user: UserId) -> Account:
        """The account of a user who is not `missing`."""
        return self._known[user].account

    def devices(self, users: Iterable[UserId], *, but: DeviceId | None = None) -> list[DeviceId]:
        """All devices of users who are not `missing`, without one."""
        return [device for user in users for device, _ in self._known[user].boxes if device != but]

    def has_key(self, device: DeviceId) -> bool:
        """Whether others can encrypt for a device of a user who is not `missing`."""
        listed = self._known[device.user].account.device(device.number)
        return listed is not None and bool(listed.identity_key)

    async def fetch(self, users: Collection[UserId]) -> None:
        """Read the lists of users."""
        now = self._runtime.now()
        names = {accounts.partition(user): user for user in users}
        heads = await self._stores.partitions.heads(names)
        for name, user in names.items():
            head = heads.get(name)
            self._known.pop(user, None)
            account = accounts.decode(head.state if head is not None else b"")
            boxes = tuple((device, inboxes.partition(device)) for device in account.device_ids(user))
            self._known[user] = _Listed(now, user, account, boxes)
        while len(self._known) > max(MAX_CACHED_ACCOUNTS, len(names)):
            del self._known[next(iter(self._known))]

    async def read(self, user: UserId, *, is_fresh: bool = False) -> Account:
        """The account of one user; read now if `is_fresh`."""
        if is_fresh or self.missing([user]):
            await self.fetch([user])
        return self.account(user)

    def forget(self, user: UserId) -> None:
        """The list has changed."""
        self._known.pop(user, None)
