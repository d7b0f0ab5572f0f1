"""The receipts of one conversation, held in memory: marks in, changed ticks out."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from types import MappingProxyType
from typing import Final

import attrs

from whisperkit.errors import UsageError
from whisperkit.ids import ConversationSeq, DeviceId, UserId
from whisperkit.receipts.marks import (
    MarkKind,
    MarkMoved,
    Marks,
    Membership,
    Tally,
    audience_of,
    delivered_by,
    mark_name,
    moves,
    reached,
    read_by,
    status_of,
    tally_of,
)
from whisperkit.receipts.status import MessageStatus

__all__ = ["Receipts", "StatusChanged"]


@attrs.frozen(kw_only=True)
class StatusChanged:
    """Messages rose to `status`; `upto` is the newest of them.

    Older ones may have risen with it: all, in a conversation whose members stay the same. Ask `Receipts.status`.
    """

    upto: ConversationSeq
    status: MessageStatus


_STATUS_OF_KIND: Final = {MarkKind.DELIVERED: MessageStatus.DELIVERED, MarkKind.READ: MessageStatus.READ}


class Receipts:
    """The receipts of one conversation: marks in, changed ticks out.

    Tell it of the messages whose ticks or badges are shown (`posted`), and of members that come and go in
    the order of the conversation. Numbers that were skipped count as their sender's who posted the next one
    told; they are in no badge. A receipt for a number not told yet is kept and counts once it is (R7).
    Users who never were members leave no trace, so a stranger cannot make it grow.

    Args:
        members: Who was there from the start, or with their stays where these are known.
        marks: Marks of this conversation, as they were saved.
    """

    def __init__(self, *, members: Iterable[UserId | Membership], marks: Marks = MappingProxyType({})) -> None:
        self._stays: dict[UserId, list[Membership]] = {}
        for member in members:
            stay = member if isinstance(member, Membership) else Membership(member)
            self._stays.setdefault(stay.user, []).append(stay)
        self._marks: dict[str, int] = dict(marks)
        self._seqs: list[int] = []
        self._senders: list[UserId] = []

    @property
    def marks(self) -> Marks:
        """All marks, to be saved."""
        return MappingProxyType(self._marks)

    @property
    def head(self) -> ConversationSeq:
        """The newest number told; 0 before the first."""
        return ConversationSeq(self._seqs[-1] if self._seqs else 0)

    def posted(self, *, seq: int, sender: DeviceId) -> list[StatusChanged]:
        """Note a message. It raises no mark of its sender, whose other devices may lag (R6).

        Raises:
            UsageError: The number is below 1, or was told with another sender.
        """
        if seq < 1:
            raise UsageError(f"numbers start at 1, got {seq}")
        at = bisect_left(self._seqs, seq)
        if at < len(self._seqs) and self._seqs[at] == seq:
            if self._senders[at] != sender.user:
                raise UsageError(f"number {seq} was posted by {self._senders[at]}, not by {sender.user}")
            return []
        self._seqs.insert(at, seq)
        self._senders.insert(at, sender.user)
        return [StatusChanged(upto=ConversationSeq(seq), status=self.status(seq))]

    def joined(self, *, user: UserId, seq: int) -> None:
        """Note that a user became a member by the post `seq`. Harmless when repeated.

        Raises:
            UsageError: A later message was told already; its tick would move back.
        """
        stays = self._stays.get(user, [])
        if any(stay.leave is None or seq <= stay.leave for stay in stays):
            return
        self._refuse_late(seq)
        self._stays[user] = [*stays, Membership(user, seq)]

    def left(self, *, user: UserId, seq: int) -> None:
        """Note that a user ceased to be a member by the post `seq`. Harmless when repeated.

        Raises:
            UsageError: A later message was told already.
        """
        stays = self._stays.get(user, [])
        if not stays or stays[-1].leave is not None or seq < stays[-1].join:
            return
        self._refuse_late(seq)
        stays[-1] = stays[-1]._replace(leave=seq)

    def delivered(self, *, device: DeviceId, upto: int) -> list[StatusChanged]:
        """Note that a device has saved everything up to here."""
        return self.marked(user=device.user, kind=MarkKind.DELIVERED, upto=upto)

    def read(self, *, device: DeviceId, upto: int, acked: int | None = None) -> list[StatusChanged]:
        """Note that everything up to here was read on a device; raises delivered, too.

        Args:
            device: Which device.
            upto: What it claims.
            acked: The newest number that the device has acknowledged, which cuts the claim; `None` if
                nothing is known about that.
        """
        return self.marked(user=device.user, kind=MarkKind.READ, upto=upto if acked is None else min(upto, acked))

    def marked(self, *, user: UserId, kind: MarkKind, upto: int) -> list[StatusChanged]:
        """Raise a mark, as a store or another observer tells it. Lower and repeated ones change nothing."""
        if user not in self._stays:
            return []
        raised = moves(self._marks, user=user, kind=kind, upto=upto)
        self._marks |= {mark_name(move.kind, user): move.upto for move in raised}
        newest: dict[MarkKind, ConversationSeq] = {}
        for move in raised:
            seq = self._newest_risen(move)
            if seq and seq > newest.get(MarkKind.READ, 0):
                newest[move.kind] = seq
        if newest.get(MarkKind.READ, 0) >= newest.get(MarkKind.DELIVERED, 0):
            newest.pop(MarkKind.DELIVERED, None)  # the same messages went straight to READ
        return [StatusChanged(upto=seq, status=_STATUS_OF_KIND[kind]) for kind, seq in newest.items()]

    def status(self, seq: int) -> MessageStatus:
        """The tick of a message; `PENDING` above the head."""
        if not self._is_posted(seq):
            return MessageStatus.PENDING
        return status_of(seq, sender=self._sender(seq), audience=self._audience(seq), marks=self._marks)

    def delivered_by(self, seq: int) -> frozenset[UserId]:
        """Who has a message, less its sender; nobody above the head."""
        if not self._is_posted(seq):
            return frozenset()
        return delivered_by(seq, sender=self._sender(seq), audience=self._audience(seq), marks=self._marks)

    def read_by(self, seq: int) -> frozenset[UserId]:
        """Who has read a message, less its sender; nobody above the head."""
        if not self._is_posted(seq):
            return frozenset()
        return read_by(seq, sender=self._sender(seq), audience=self._audience(seq), marks=self._marks)

    def tally(self, seq: int) -> Tally:
        """A message in numbers; zeros above the head."""
        if not self._is_posted(seq):
            return Tally(0, 0, 0)
        return tally_of(seq, sender=self._sender(seq), audience=self._audience(seq), marks=self._marks)

    def unread(self, user: UserId) -> int:
        """The badge: told messages of others above the user's read mark, while the user was a member.

        Computed at each call, because what is counted up and down goes wrong at the first receipt that
        overtakes its message (R4); the same on each device of the user, however late it was linked.
        """
        start = bisect_right(self._seqs, reached(self._marks, user, MarkKind.READ))
        return sum(
            self._senders[at] != user and self._is_audience(user, self._seqs[at])
            for at in range(start, len(self._seqs))
        )

    def _refuse_late(self, seq: int) -> None:
        if seq < self.head:
            raise UsageError(f"members changed at {seq}, but {self.head} was told before")

    def _is_posted(self, seq: int) -> bool:
        return 0 < seq <= self.head

    def _sender(self, seq: int) -> UserId:
        return self._senders[bisect_left(self._seqs, seq)]

    def _is_audience(self, user: UserId, seq: int) -> bool:
        return any(stay.covers(seq) for stay in self._stays.get(user, ()))

    def _audience(self, seq: int) -> frozenset[UserId]:
        return audience_of(seq, (stay for stays in self._stays.values() for stay in stays))

    def _spans(self, after: int, upto: int) -> Iterator[tuple[int, int]]:
        """Cut (after, upto] where the audience changes; newest first, each (exclusive, inclusive)."""
        edges = {after, upto}
        for stays in self._stays.values():
            for stay in stays:
                edges.update(edge for edge in (stay.join - 1, stay.leave) if edge is not None and after < edge < upto)
        for stop, start in pairwise(sorted(edges, reverse=True)):
            yield start, stop

    def _runs(self, after: int, upto: int) -> Iterator[tuple[int, int, UserId]]:
        """Cut (after, upto] where the sender changes; newest first."""
        while upto > after:
            at = bisect_left(self._seqs, upto)
            start = max(after, self._seqs[at - 1] if at else 0)
            yield start, upto, self._senders[at]
            upto = start

    def _newest_risen(self, move: MarkMoved) -> ConversationSeq | None:
        """The newest message for which this user was the last one missing; `None` if there is none."""
        if move.before >= self.head:
            return None
        for after, upto in self._spans(move.before, min(move.upto, self.head)):
            audience = self._audience(upto)
            if move.user not in audience:
                continue
            # All that holds a message back are the lowest two: the lowest, or, for its own messages, the other.
            ranked = sorted((reached(self._marks, user, move.kind), user) for user in audience)
            (lowest, laggard), (second, _) = ranked[0], ranked[:2][-1]
            for start, stop, sender in self._runs(after, upto):
                seq = min(stop, second if sender == laggard else lowest)
                if sender != move.user and seq > start:
                    return ConversationSeq(seq)
        return None
