"""Asides: from device to device, outside every conversation's order, at least once.

A request for a message that could not be decrypted, its answer, a sender key for a large group. An aside is an entry in
the inbox of each device it names, so it arrives like everything else; a repeat of the same aside may arrive twice,
and devices drop it by its message id. Whoever sends one needs to share a conversation with the receiver or be
the same user: strangers cannot fill an inbox.
"""

from __future__ import annotations

from functools import partial

from whisperkit import accounts
from whisperkit.ids import ConversationSeq, DeviceId, UserId
from whisperkit.partitions import Partition, prefix
from whisperkit.service.catchup import CatchUp
from whisperkit.service.codecs import INBOX
from whisperkit.service.core import Core
from whisperkit.service.delivery import Deliverer
from whisperkit.service.window import Delivery
from whisperkit.service.working_set import WorkingSet
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.codec import entry_head, entry_tail
from whisperkit.sync.frames import ASIDES, Aside, EntryKind
from whisperkit.sync.inbox import Appended, Item

__all__ = ["Asides"]

MAX_AT_ONCE = 32
# How many pairs of users are remembered to share a conversation.
MAX_ACQUAINTED = 50_000


class Asides:
    """Delivers asides.

    Args:
        core: The gateway.
        catchup: Reads memberships.
        deliver: Pushes what was appended.
    """

    def __init__(self, core: Core, catchup: CatchUp, deliver: Deliverer) -> None:
        self._core = core
        self._catchup = catchup
        self._deliver = deliver
        self._acquainted: dict[tuple[UserId, UserId], float] = {}

    async def send(self, sender: DeviceId, aside: Aside) -> None:
        """Append an aside to the inboxes of the devices it names, as far as they may get it."""
        known = [device for device in aside.own if await self._may_reach(sender.user, device.user)]
        calls = [partial(self._append, sender, aside, device) for device in known]
        await self._core.runtime.gather(calls, limit=MAX_AT_ONCE)

    async def _append(self, sender: DeviceId, aside: Aside, device: DeviceId) -> None:
        deliveries = await self._core.executor.run(_AppendAside(self._core, sender, aside, device))
        self._deliver.push(deliveries)
        self._core.hook.appended(len(deliveries))

    async def _may_reach(self, sender: UserId, receiver: UserId) -> bool:
        pair = sender, receiver
        now = self._core.runtime.now()
        if sender == receiver or self._acquainted.get(pair, 0.0) > now:
            return True
        theirs = await self._conversations(receiver)
        if not theirs & await self._conversations(sender):
            return False
        self._acquainted.pop(pair, None)
        self._acquainted[pair] = now + self._core.config.device_list_s
        if len(self._acquainted) > MAX_ACQUAINTED:
            del self._acquainted[next(iter(self._acquainted))]
        return True

    async def _conversations(self, user: UserId) -> set[str]:
        """Where the user is or was: who left a moment ago may still have to answer for a message."""
        span = prefix(accounts.MEMBERSHIPS)
        rows = self._catchup.scan(accounts.partition(user), span)
        return {accounts.membership_of(row)[0] async for row in rows}


class _AppendAside:
    """Appends an aside to one inbox."""

    def __init__(self, core: Core, sender: DeviceId, aside: Aside, device: DeviceId) -> None:
        self.lane: Partition = inboxes.partition(device)
        self._device = device
        self._at_ms = core.runtime.wall_ms()
        tail = entry_tail(
            message_id=aside.message_id,
            kind=EntryKind.ASIDE,
            conv=ASIDES,
            conv_seq=ConversationSeq(0),
            pull_upto=ConversationSeq(0),
            sender=sender,
            at_ms=self._at_ms,
            own=aside.own[device],
            shared=None,
        )
        self._item = Item(aside.message_id, ConversationSeq(0), tail, False)
        self._sender = sender

    def run(self, work: WorkingSet) -> list[tuple[DeviceId, Delivery]]:
        inbox = work.state(self.lane, INBOX)
        # Not in any conversation's order, so its last row is neither looked at nor written.
        step = inboxes.append(inbox, (self._item,), conv=ASIDES, fused=True)
        if not isinstance(step.answer, Appended):
            return []
        work.apply(self.lane, step)
        seq, tag = step.state.seq, step.state.tag
        frame = entry_head(seq, tag) + self._item.tail
        none = ConversationSeq(0)
        aside = Delivery(seq, tag, frame, ASIDES, none, self._sender, EntryKind.ASIDE, self._at_ms, None)
        return [(self._device, aside)]
