"""What all flows of one gateway share: its doors, its clock, its name, and what it remembers.

Everything remembered here may be stale or gone at any time: heads cost a conflict, lists of devices are
used for ten seconds at most, and a roster of a given version never changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from whisperkit import accounts
from whisperkit.accounts import Account
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, GatewayId, MessageId, Owner, UserId
from whisperkit.partitions import prefix
from whisperkit.runtime import Runtime
from whisperkit.service import owners
from whisperkit.service.codecs import CONVERSATION
from whisperkit.service.executor import Executor, make_executor
from whisperkit.service.hook import Hook
from whisperkit.service.limits import ServiceConfig
from whisperkit.service.working_set import HeadCache, WorkingSet
from whisperkit.stores import Stores
from whisperkit.sync import conversation as conversations
from whisperkit.sync.roster import MEMBERS, Intervals, is_in_audience, is_member_at, member_of

__all__ = ["Core", "DeviceLists", "Members", "Rosters"]

log = logging.getLogger("whisperkit.service")

MAX_CACHED_ROSTERS = 10_000
MAX_CACHED_ACCOUNTS = 100_000


class Members:
    """The members' rows of a conversation as they were read: enough to tell the audience of any row so far.

    Attributes:
        now: Who is in.
    """

    __slots__ = ("_stays", "now")

    def __init__(self, stays: Mapping[UserId, Intervals]) -> None:
        self._stays = stays
        self.now = tuple(user for user, its in stays.items() if its and its[-1].leave is None)

    def audience(self, seq: int) -> list[UserId]:
        """Who gets row `seq`."""
        return [user for user, stays in self._stays.items() if is_in_audience(stays, seq)]

    def members_at(self, seq: int) -> list[UserId]:
        """Who is in after row `seq`."""
        return [user for user, stays in self._stays.items() if is_member_at(stays, seq)]

    def stays_of(self, user: UserId) -> Intervals:
        """When the user was in."""
        return self._stays.get(user, ())

    def is_member(self, user: UserId) -> bool:
        """Whether the user is in."""
        stays = self.stays_of(user)
        return bool(stays) and stays[-1].leave is None


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
    """An account as it was at some time, with its devices by name: they are asked for with every message."""

    at: float
    account: Account
    devices: tuple[DeviceId, ...]


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

    def account(self, user: UserId) -> Account:
        """The account of a user who is not `missing`."""
        return self._known[user].account

    def devices(self, users: Iterable[UserId], *, but: DeviceId | None = None) -> list[DeviceId]:
        """All devices of users who are not `missing`, without one."""
        return [device for user in users for device in self._known[user].devices if device != but]

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
            self._known[user] = _Listed(now, account, account.device_ids(user))
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


class Core:
    """One gateway's share of everything.

    Args:
        stores: The doors.
        runtime: The world.
        config: Bounds and intervals.
        gateway: The name of this gateway, the same after a restart.
        hook: Told what happens, for metrics.
    """

    def __init__(
        self, stores: Stores, runtime: Runtime, *, config: ServiceConfig, gateway: GatewayId, hook: Hook
    ) -> None:
        self.stores = stores
        self.runtime = runtime
        self.config = config
        self.hook = hook
        self.owner = Owner(gateway, 0)
        self.cache = HeadCache(max_heads=config.max_cached_heads)
        self.executor: Executor[Any] = make_executor(  # Any: each operation has its own answer
            stores.partitions, runtime, cache=self.cache, observe=hook.committed
        )
        self.rosters = Rosters()
        self.device_lists = DeviceLists(stores, runtime, max_age_s=config.device_list_s)

    @property
    def spans_partitions(self) -> bool:
        """Whether one commit may carry changes to several partitions."""
        return self.stores.partitions.spans_partitions

    def mint(self) -> MessageId:
        """A message id of the service's own."""
        return MessageId.mint(wall_ms=self.runtime.wall_ms(), random_bytes=self.runtime.random)

    async def begin_incarnation(self, *, above: int = 0) -> None:
        """Open a new life of this gateway: at the start, and whenever the old one was fenced."""
        operation = _Begin(self, max(above + 1, self.runtime.wall_ms()))
        owner = Owner(self.owner.gateway, await self.executor.run(operation))
        # Before it posts anything: only who is listed is looked for.
        await self.executor.run(_Enlist(owner))
        self.owner = owner
        log.info("incarnation opened", extra={"gateway": self.owner.gateway, "incarnation": self.owner.incarnation})

    def submit(self, operation: Any, done: Callable[[Any], None]) -> None:  # Any: the answer is the operation's
        """Queue an operation; see `Executor.submit`."""
        self.executor.submit(operation, done)


class _Begin:
    """Opens an incarnation."""

    def __init__(self, core: Core, at_least: int) -> None:
        self.lane = owners.partition(core.owner.gateway)
        self._at_least = at_least

    def run(self, work: WorkingSet) -> int:
        notes = work.state(self.lane, owners.OWNERS)
        return work.apply(self.lane, owners.begin(notes, at_least=self._at_least))


class _Enlist:
    """Puts a gateway on the list of those that may leave notes."""

    lane = owners.GATEWAYS

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def run(self, work: WorkingSet) -> None:
        there = work.row(self.lane, owners.LISTED, owners.listed_key(self._owner.gateway))
        work.apply(self.lane, owners.enlist(self._owner, there))
