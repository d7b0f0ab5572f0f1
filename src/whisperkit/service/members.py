"""Who is in a conversation, read for whoever asks; and changes that the application makes to it."""

from __future__ import annotations

from whisperkit.ids import ConversationId, ConversationSeq, UserId
from whisperkit.partitions import Partition, prefix
from whisperkit.service.catchup import CatchUp
from whisperkit.service.codecs import CONVERSATION
from whisperkit.service.core import Core
from whisperkit.service.poster import Poster
from whisperkit.service.posting import ChangeRoster, PostResult
from whisperkit.service.working_set import WorkingSet
from whisperkit.sync import conversation as conversations
from whisperkit.sync.frames import RosterChange
from whisperkit.sync.roster import MEMBERS, Intervals, decode_intervals, member_key, member_of

__all__ = ["Membership"]


class Membership:
    """Reads and changes members.

    Args:
        core: The gateway.
        catchup: Reads rows.
        poster: Posts changes.
    """

    def __init__(self, core: Core, catchup: CatchUp, poster: Poster) -> None:
        self._core = core
        self._catchup = catchup
        self._poster = poster

    async def members(self, conv: ConversationId) -> frozenset[UserId]:
        """The members of a conversation that is pushed; empty for one that is pulled, or is none."""
        found: frozenset[UserId] = await self._core.executor.run(_ListMembers(self._core, conv))
        return found

    async def stays(self, conv: ConversationId) -> dict[UserId, Intervals]:
        """All stays of all members there ever were."""
        rows = self._catchup.scan(conversations.partition(conv), prefix(MEMBERS))
        return dict([member_of(row) async for row in rows])

    async def of(self, conv: ConversationId, user: UserId) -> tuple[ConversationSeq, Intervals]:
        """The conversation's last seq, and the stays of one user."""
        found: tuple[ConversationSeq, Intervals] = await self._core.executor.run(_ReadMember(self._core, conv, user))
        return found

    async def is_member(self, conv: ConversationId, user: UserId) -> bool:
        """Whether the user is in now."""
        _, stays = await self.of(conv, user)
        return bool(stays) and stays[-1].leave is None

    async def sync_roster(self, conv: ConversationId) -> None:
        """Post the difference between the application's room and the conversation's members, if there is one."""
        source = self._core.stores.rosters
        roster = None if source is None else await source.roster(conv)
        if roster is None:
            return
        members = await self.members(conv)
        change = RosterChange(tuple(sorted(roster.members - members)), tuple(sorted(members - roster.members)))
        if change.added or change.removed:
            await self.change_roster(conv, change)

    async def change_roster(self, conv: ConversationId, change: RosterChange) -> PostResult:
        """Post a change of members for the application."""
        return await self._poster.run(ChangeRoster(self._core, conv, change))


class _ReadMember:
    """The head of a conversation, and one user's stays in it."""

    def __init__(self, core: Core, conv: ConversationId, user: UserId) -> None:
        self.lane: Partition = conversations.partition(conv)
        self._core = core
        self._conv = conv
        self._user = user

    def run(self, work: WorkingSet) -> tuple[ConversationSeq, Intervals]:
        state = work.state(self.lane, CONVERSATION)
        if state.strategy.is_pushed:
            members = self._core.rosters.members(work, self._conv, state.roster_seq)
            return state.seq, members.stays_of(self._user)
        value = work.row(self.lane, CONVERSATION, member_key(self._user))
        return state.seq, () if value is None else decode_intervals(value)


class _ListMembers:
    """The members of a conversation that is pushed."""

    def __init__(self, core: Core, conv: ConversationId) -> None:
        self.lane: Partition = conversations.partition(conv)
        self._core = core
        self._conv = conv

    def run(self, work: WorkingSet) -> frozenset[UserId]:
        state = work.state(self.lane, CONVERSATION)
        if not state.strategy.is_pushed:
            return frozenset()
        return frozenset(self._core.rosters.members(work, self._conv, state.roster_seq).now)
