"""Receipts on the server: what acknowledgements and READs raise, and who is told.

*delivered* comes from acknowledged entries: it is raised first, the acknowledgement is saved later (model m06). *read*
comes from READ, clamped to what was delivered. Both are told to those who wrote in the conversation lately, and
to the user's own devices, at most once a second each; whoever misses it asks with MARKS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, cast

from whisperkit.ids import ConversationId, ConversationSeq, UserId
from whisperkit.partitions import Partition
from whisperkit.receipts import MarkKind, PublishThrottle, mark_name
from whisperkit.service.core import Core
from whisperkit.service.delivery import LinkTable
from whisperkit.service.link import DeviceLink
from whisperkit.service.marks import Key, MarkBoard
from whisperkit.service.window import Delivery
from whisperkit.strategy import Strategy
from whisperkit.sync import conversation as conversations
from whisperkit.sync import frames
from whisperkit.sync.conversation import Conversation
from whisperkit.sync.frames import EntryKind

__all__ = ["Ticks"]

# Users who wrote in a conversation lately, and conversations for which they are remembered.
MAX_WRITERS: Final = 16
MAX_CONVERSATIONS: Final = 50_000
# Marks of which is remembered what was told of them; beyond it a smaller value may be told again, which is no harm.
MAX_TOLD: Final = 50_000
# A conversation of more members than this is asked with MARKS, for counts.
MAX_MARKS: Final = 1_024

_KINDS: Final = {"delivered": frames.MarkKind.DELIVERED, "read": frames.MarkKind.READ}


class Ticks:
    """Raises and tells marks of conversations.

    Args:
        core: The gateway.
        links: Who is connected here.
    """

    def __init__(self, core: Core, links: LinkTable) -> None:
        self._core = core
        self._links = links
        self._writers: dict[ConversationId, dict[UserId, None]] = {}
        self._told: dict[Key, int] = {}
        self._throttle = PublishThrottle(interval_s=core.config.marks_s)
        self.board = MarkBoard(
            core.stores.marks, core.runtime, publish=self._publish, max_pending=core.config.max_pending_marks
        )

    def wrote(self, conv: ConversationId, user: UserId) -> None:
        """Remember who has to be told of ticks."""
        writers = self._writers.pop(conv, None) or {}
        self._writers[conv] = writers
        writers.pop(user, None)
        writers[user] = None
        if len(writers) > MAX_WRITERS:
            del writers[next(iter(writers))]
        if len(self._writers) > MAX_CONVERSATIONS:
            del self._writers[next(iter(self._writers))]

    def delivered(self, user: UserId, deliveries: Iterable[Delivery]) -> None:
        """A device of the user has these entries: raise *delivered* to the highest row of others, by conversation."""
        upto: dict[ConversationId, ConversationSeq] = {}
        for delivery in deliveries:
            is_theirs = delivery.sender is None or delivery.sender.user != user
            if is_theirs and delivery.kind not in (EntryKind.ASIDE, EntryKind.PLACEHOLDER):
                upto[delivery.conv] = delivery.conv_seq
        for conv, seq in upto.items():
            self._core.hook.marked("delivered", "raised")
            self.board.raise_mark(conversations.partition(conv), mark_name(MarkKind.DELIVERED, user), seq)

    async def read(self, conv: ConversationId, user: UserId, upto: int) -> None:
        """The user read a conversation; nobody can have read what no device of theirs acknowledged.

        Raises:
            StoreError: The store cannot be read, or takes no marks.
        """
        self.board.check_room()
        name = conversations.partition(conv)
        marks = (await self.board.read([name])).get(name, {})
        delivered = marks.get(mark_name(MarkKind.DELIVERED, user), 0)
        head = (await self._core.stores.partitions.heads([name])).get(name)
        if head is None:
            return
        state = conversations.decode(head.state)
        # What is pulled is never acknowledged: up to there anybody may have read.
        clamped = min(upto, max(delivered, state.pulled_seq))
        is_news = clamped > marks.get(mark_name(MarkKind.READ, user), 0)
        self._core.hook.marked("read", "ahead" if clamped < upto else "raised" if is_news else "stale")
        for kind in (MarkKind.DELIVERED, MarkKind.READ):
            if clamped > marks.get(mark_name(kind, user), 0):
                self.board.raise_mark(name, mark_name(kind, user), clamped)

    async def tell(self, link: DeviceLink, convs: Iterable[ConversationId]) -> None:
        """Answer MARKS for conversations that the device's user is in: of a hall with the user's own only."""
        names = {conversations.partition(conv): conv for conv in convs}
        if not names:
            return
        heads = await self._core.stores.partitions.heads(names)
        # What is on its way is not told: a crash would take the tick back (model m06).
        found = await self._core.stores.marks.marks(names)
        for name, conv in names.items():
            told = _mark_frames(conv, found.get(name, {}))
            if name in heads and conversations.decode(heads[name].state).strategy is Strategy.MEGA:
                told = [frame for frame in told if frame.user == link.device.user]
            for frame in told[:MAX_MARKS]:
                link.send(frame)

    # ---- telling ----

    def _publish(self, written: Mapping[Key, int]) -> None:
        for (partition, name), value in written.items():
            conv, user = _conversation_of(partition), _user_of(name)
            if conv is None or user is None:
                continue
            writers = {} if self._is_hall(partition) else self._writers.get(conv, {})
            observers = {*writers, user} if name.startswith("read/") else writers
            here = [observer for observer in observers if self._links.of_user(observer)]
            if here and self._is_news((partition, name), value):
                for observer in here:
                    self._offer(conv, observer, {name: value})

    def _is_hall(self, partition: Partition) -> bool:
        """Whether members pull. A gateway that has forgotten the head has forgotten who wrote there, too, mostly."""
        return self.strategy_of(partition) is Strategy.MEGA

    def strategy_of(self, partition: Partition) -> Strategy | None:
        """The strategy of a conversation as this gateway remembers it; `None` if it does not."""
        known = self._core.cache.get(partition)
        return None if known is None else cast("Conversation", known.state).strategy

    def _is_news(self, key: Key, value: int) -> bool:
        """Whether a mark is above what was told: of a user with two devices the slower one acknowledges less."""
        before = self._told.pop(key, 0)
        self._told[key] = max(before, value)
        if len(self._told) > MAX_TOLD:
            del self._told[next(iter(self._told))]
        return value > before

    def _offer(self, conv: ConversationId, observer: UserId, marks: Mapping[str, int]) -> None:
        now = self._core.runtime.now()
        was_idle = self._throttle.deadline is None
        for publish in self._throttle.offer(conv, observer, marks, now=now):
            self._send(publish.observer, publish.conversation, publish.marks)
        if was_idle:
            self._core.runtime.spawn(self._keep_time, name="ticks")

    async def _keep_time(self) -> None:
        while (deadline := self._throttle.deadline) is not None:
            await self._core.runtime.sleep(max(0.0, deadline - self._core.runtime.now()))
            for publish in self._throttle.handle_timer(now=self._core.runtime.now()):
                self._send(publish.observer, publish.conversation, publish.marks)

    def _send(self, observer: UserId, conv: ConversationId, marks: Mapping[str, int]) -> None:
        for frame in _mark_frames(conv, marks):
            for link in self._links.of_user(observer):
                if isinstance(link, DeviceLink):
                    link.send(frame)


def _mark_frames(conv: ConversationId, marks: Mapping[str, int]) -> list[frames.Mark]:
    found: list[frames.Mark] = []
    for name, value in marks.items():
        user = _user_of(name)
        if user is not None:
            found.append(frames.Mark(conv, user, _KINDS[name.partition("/")[0]], ConversationSeq(value)))
    return found


def _conversation_of(partition: Partition) -> ConversationId | None:
    kind, _, name = partition.partition("/")
    return ConversationId(name) if kind == "conv" else None


def _user_of(name: str) -> UserId | None:
    kind, _, user = name.partition("/")
    return UserId(user) if kind in _KINDS else None
