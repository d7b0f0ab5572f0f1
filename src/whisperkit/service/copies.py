"""What each device of an audience gets of one post.

A device that the post names gets its own copy, the part for all included, in its inbox; any other gets a
reference to the part for all; one that a post without such a part does not name gets a placeholder, and asks
the sender (a device linked while the message was under way, model m04).
"""

from __future__ import annotations

from whisperkit._named_tuples import make
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq
from whisperkit.service.window import Delivery
from whisperkit.sync.codec import entry_head, entry_tail
from whisperkit.sync.frames import EntryKind
from whisperkit.sync.inbox import Item
from whisperkit.sync.rows import PostRow

__all__ = ["Copies"]


class Copies:
    """The copies of one post. What is the same for many devices is made once.

    Args:
        conv: The conversation.
        row: The post.
    """

    __slots__ = ("_common", "conv", "row")

    def __init__(self, conv: ConversationId, row: PostRow) -> None:
        self.conv = conv
        self.row = row
        self._common: Item | None = None

    def item(self, device: DeviceId) -> Item:
        """What the device's inbox is given."""
        own = None if self.row.own is None else self.row.own.get(device)
        if own is not None:
            return self._item(self.row.kind, own, self.row.body, is_shared=False)
        return self.shared_item()

    def shared_item(self) -> Item:
        """What a device gets that the post does not name."""
        if self._common is None:
            kind = self._shared_kind
            self._common = self._item(kind, None, self.row.body, is_shared=kind is not EntryKind.PLACEHOLDER)
        return self._common

    @property
    def _shared_kind(self) -> EntryKind:
        """What an entry is for a device that the post does not name: a placeholder if nothing is for all."""
        is_placeholder = self.row.body is None and self.row.kind is EntryKind.MESSAGE
        return EntryKind.PLACEHOLDER if is_placeholder else self.row.kind

    def delivery(self, item: Item, seq: InboxSeq, tag: bytes) -> Delivery:
        """The item as it goes to a connected device."""
        row = self.row
        frame = entry_head(seq, tag) + item.tail
        kind = self._shared_kind if item is self._common else row.kind  # a placeholder is no delivery
        return make(Delivery, (seq, tag, frame, self.conv, row.seq, row.sender, kind, row.at_ms, row.strategy))

    def _item(self, kind: EntryKind, own: bytes | None, shared: bytes | None, *, is_shared: bool) -> Item:
        row = self.row
        tail = entry_tail(
            message_id=row.message_id,
            kind=kind,
            conv=self.conv,
            conv_seq=row.seq,
            pull_upto=ConversationSeq(row.pull_upto),
            sender=row.sender,
            at_ms=row.at_ms,
            own=own,
            shared=shared,
        )
        return make(Item, (row.message_id, row.seq, tail, is_shared))
