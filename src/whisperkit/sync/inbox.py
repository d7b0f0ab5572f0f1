"""A device's inbox: a log with dense numbers, which is the truth about what the device is still owed.

Whatever travels over a socket may be lost, doubled or late; the device compares its cursor and reads again. An entry
is appended once, in the order of its conversation: by `finish`, which remembers the last row of each conversation
that it appended, or in one commit with its post (`fused`), which is posted once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from whisperkit._named_tuples import make
from whisperkit.errors import CorruptStateError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq, MessageId
from whisperkit.packing import reading
from whisperkit.partitions import Partition, Row, Span, Step, seq_key, seq_span
from whisperkit.sync.codec import ENTRY_HEAD_BYTES, entry_head
from whisperkit.sync.cursor import TAG_BYTES, Cursor, first_tag, next_tag, relinked_tag

__all__ = [
    "NEW_INBOX",
    "Acked",
    "Ahead",
    "Appended",
    "Closed",
    "Delta",
    "Floor",
    "Forked",
    "Inbox",
    "Item",
    "Opened",
    "OwnValue",
    "SharedValue",
    "Snapshot",
    "acked_mark",
    "acknowledge",
    "append",
    "close_inbox",
    "compare",
    "decode",
    "decode_last_seq",
    "decode_value",
    "encode",
    "encode_last_seq",
    "encode_shared",
    "entry_key",
    "entry_span",
    "last_seq_key",
    "open_inbox",
    "partition",
    "raise_epoch",
    "tag_key",
    "trim",
]

_ENTRIES = b"e/"
_OWN = b"\x01"
_SHARED = b"\x02"


class Inbox(NamedTuple):
    """The head of an inbox.

    Attributes:
        epoch: The store's generation in which it counts; 0 before it was ever opened.
        seq: The last entry's number; never goes back.
        tag: The chain up to it.
        floor: Entries up to here may be gone; what is above is there.
        floor_tag: The chain up to the floor; outlives the rows.
        is_open: Whether a device is linked to it; otherwise nothing is appended.
        link: Which link of the device it serves: the version of the device list that made it. A repeat of an
            earlier opening or closing, however late, is told by it.
    """

    epoch: int = 0
    seq: InboxSeq = InboxSeq(0)
    tag: bytes = bytes(TAG_BYTES)
    floor: InboxSeq = InboxSeq(0)
    floor_tag: bytes = bytes(TAG_BYTES)
    is_open: bool = False
    link: int = 0

    @property
    def is_closed(self) -> bool:
        """Whether nothing is appended; for who appends this counts as done."""
        return not self.is_open

    @property
    def head_cursor(self) -> Cursor:
        """The cursor of a device that has all."""
        return Cursor(self.epoch, self.seq, self.tag)

    @property
    def floor_cursor(self) -> Cursor:
        """The cursor of a snapshot. It is never the head: what lies above the floor is still owed."""
        return Cursor(self.epoch, self.floor, self.floor_tag)


NEW_INBOX: Final = Inbox()


class Item(NamedTuple):
    """What is appended; made once for all inboxes that get the same.

    Attributes:
        message_id: Of the post.
        conv_seq: Its number in the conversation.
        tail: The ENTRY frame in msgpack behind its head (`codec.entry_tail`).
        is_shared: The body lies in the conversation once; the inbox keeps a reference to it.
    """

    message_id: MessageId
    conv_seq: ConversationSeq
    tail: bytes
    is_shared: bool


# ---- opening, closing -----------------------------------------------------------------------------------------------


class Opened(NamedTuple):
    """The inbox takes entries; its device begins at this cursor."""

    floor: Cursor


class Closed(NamedTuple):
    """The inbox takes nothing, because no device is linked to it."""


def open_inbox(inbox: Inbox, device: DeviceId, *, epoch: int, link: int) -> Step[Opened | Closed, Inbox]:
    """Link a device to its inbox; again, if one was linked before: numbers go on, and what was before is gone.

    Cursors of an earlier link are forks: between the two nothing was appended, and whoever went on from there would
    miss it.

    Args:
        inbox: The head.
        device: Whose inbox it is.
        epoch: The store's generation, from 1.
        link: The version of the device list that made the link.

    Returns:
        `Opened`; `Closed` if this link was closed already, or another one came after it.
    """
    if link <= inbox.link:
        is_this = inbox.is_open and link == inbox.link
        return Step(Opened(inbox.floor_cursor) if is_this else Closed(), inbox)
    tag = relinked_tag(inbox.tag, link) if inbox.epoch else first_tag(device)
    after = Inbox(max(epoch, inbox.epoch), inbox.seq, tag, inbox.seq, tag, True, link)
    return Step(Opened(after.floor_cursor), after, drop=_dropped(inbox.floor, inbox.seq))


def close_inbox(inbox: Inbox, *, link: int) -> Step[Closed, Inbox]:
    """Unlink: nothing is appended from now on, and nothing kept. The head stays, for its numbers.

    Args:
        inbox: The head.
        link: The link that ends; a later one stays open.
    """
    if link < inbox.link or (link == inbox.link and inbox.is_closed):
        return Step(Closed(), inbox)
    after = inbox._replace(is_open=False, floor=inbox.seq, floor_tag=inbox.tag, link=link)
    return Step(Closed(), after, drop=_dropped(inbox.floor, inbox.seq))


def raise_epoch(inbox: Inbox, epoch: int) -> Step[Cursor, Inbox]:
    """Let all cursors of earlier generations be forks, after the store was restored from a backup."""
    after = inbox._replace(epoch=epoch) if epoch > inbox.epoch else inbox
    return Step(after.head_cursor, after)


# ---- appending ------------------------------------------------------------------------------------------------------


class Appended(NamedTuple):
    """What is new in the inbox; nothing, if all was there.

    Attributes:
        after: The number before the first of them.
        items: What was appended.
        tags: The chain at each of them.
    """

    after: InboxSeq
    items: tuple[Item, ...]
    tags: tuple[bytes, ...]

    def frames(self) -> Iterator[bytes]:
        """The ENTRY frames in msgpack, in order, to be pushed."""
        for seq, (item, tag) in enumerate(zip(self.items, self.tags, strict=True), self.after + 1):
            yield entry_head(InboxSeq(seq), tag) + item.tail


def append(
    inbox: Inbox, items: Sequence[Item], *, conv: ConversationId, last_seq: int | None = None, fused: bool = False
) -> Step[Appended | Closed, Inbox]:
    """Add entries of one conversation that are not there yet, in order.

    Args:
        inbox: The head.
        items: What is owed, in the order of the conversation.
        conv: Which conversation.
        last_seq: The row ``c/<conv>``, read at this version of the head; `None`: there is none.
        fused: The post is in the same commit, and nothing of the conversation is unfinished: then the row ``c/`` is
            neither looked at nor written. The post is what makes a repeat harmless.
    """
    if not inbox.is_open:
        return Step(Closed(), inbox)
    new = tuple(items) if fused else _above(items, last_seq or 0)
    if not new:
        return Step(Appended(inbox.seq, (), ()), inbox)
    seq, tag = inbox.seq, inbox.tag
    tags: list[bytes] = []
    rows: list[Row] = []
    for item in new:
        seq = InboxSeq(seq + 1)
        tag = next_tag(tag, item.message_id)
        tags.append(tag)
        rows.append(make(Row, (seq_key(_ENTRIES, seq), _value(item, seq, tag, conv))))
    if not fused:
        rows.append(Row(last_seq_key(conv), encode_last_seq(new[-1].conv_seq)))
    epoch, before, _, floor, floor_tag, is_open, link = inbox
    after = make(Inbox, (epoch, seq, tag, floor, floor_tag, is_open, link))
    return Step(make(Appended, (before, new, tuple(tags))), after, tuple(rows))


def _value(item: Item, seq: InboxSeq, tag: bytes, conv: ConversationId) -> bytes:
    return encode_shared(tag, conv, item.conv_seq) if item.is_shared else _OWN + entry_head(seq, tag) + item.tail


def _above(items: Sequence[Item], last: int) -> tuple[Item, ...]:
    """The items above the last row that is there; rows come in order, so it tells all."""
    new: list[Item] = []
    for item in items:
        if item.conv_seq > last:
            new.append(item)
            last = item.conv_seq
    return tuple(new)


# ---- comparing, acknowledging ---------------------------------------------------------------------------------------


class Delta(NamedTuple):
    """The device is on this log: it is owed what is above `after`, up to `upto`."""

    after: InboxSeq
    upto: InboxSeq


class Snapshot(NamedTuple):
    """What the device lacks first is gone: it takes a snapshot and goes on at this cursor."""

    floor: Cursor


class Forked(NamedTuple):
    """The device followed another log than this one: it takes a snapshot and goes on at this cursor."""

    floor: Cursor


class Ahead(NamedTuple):
    """The device saw more than there is: it takes a snapshot and goes on at this cursor."""

    floor: Cursor


Comparison: TypeAlias = Delta | Snapshot | Forked | Ahead


def tag_key(inbox: Inbox, cursor: Cursor) -> bytes | None:
    """The key of the row whose tag `compare` needs; `None` if the head knows it or it does not matter."""
    is_between = inbox.floor < cursor.seq < inbox.seq and cursor.epoch == inbox.epoch
    return entry_key(cursor.seq) if is_between else None


def compare(inbox: Inbox, cursor: Cursor | None, tag_at: bytes | None = None) -> Comparison:
    """Tell a device where it stands.

    Args:
        inbox: The head.
        cursor: The device's; `None` if it never had one.
        tag_at: The tag in the row that `tag_key` names; `None` if that row is not there.
    """
    floor = inbox.floor_cursor
    if cursor is None:
        return Snapshot(floor)
    if cursor.epoch != inbox.epoch:
        return Forked(floor)
    if cursor.seq > inbox.seq:
        return Ahead(floor)
    if cursor.seq < inbox.floor:
        return Snapshot(floor)
    if cursor.seq == inbox.seq:
        tag_at = inbox.tag
    elif cursor.seq == inbox.floor:
        tag_at = inbox.floor_tag
    return Delta(cursor.seq, inbox.seq) if cursor.tag == tag_at else Forked(floor)


class Acked(NamedTuple):
    """The device has all up to here: raise this mark of the inbox."""

    mark: str
    upto: InboxSeq


def acknowledge(inbox: Inbox, cursor: Cursor, tag_at: bytes | None = None) -> Acked | Snapshot | Forked | Ahead:
    """Take an acknowledgement, which is a whole cursor: a bare number could name entries that the device never saw.

    Args:
        inbox: The head.
        cursor: What the device has saved.
        tag_at: As in `compare`.

    Returns:
        `Acked`; otherwise the acknowledgement counts for nothing (`Snapshot`: it is old).
    """
    answer = compare(inbox, cursor, tag_at)
    return Acked(acked_mark(inbox.epoch), cursor.seq) if isinstance(answer, Delta) else answer


def acked_mark(epoch: int) -> str:
    """The name of the mark that holds what a device acknowledged in a generation."""
    return f"acked/{epoch}"


# ---- trimming -------------------------------------------------------------------------------------------------------


class Floor(NamedTuple):
    """Where the floor is now."""

    cursor: Cursor


def trim(inbox: Inbox, upto: int, tag: bytes) -> Step[Floor, Inbox]:
    """Raise the floor and let the rows below it go.

    Args:
        inbox: The head.
        upto: The last entry that may go: acknowledged, or old enough (then whoever lacks it is told `Snapshot`). One
            that the inbox has not reached is no entry of this log, and nothing is done.
        tag: The tag in its row.
    """
    if not inbox.floor < upto <= inbox.seq:
        return Step(Floor(inbox.floor_cursor), inbox)
    after = inbox._replace(floor=InboxSeq(upto), floor_tag=tag)
    return Step(Floor(after.floor_cursor), after, drop=_dropped(inbox.floor, upto))


def _dropped(after: int, upto: int) -> Span | None:
    return seq_span(_ENTRIES, after, upto) if after < upto else None


# ---- bytes ----------------------------------------------------------------------------------------------------------

_HEAD = struct.Struct(">BQQ8sQ8s?Q")
_FORMAT = 1
_SHARED_HEAD = struct.Struct(">c8sQ")


def partition(device: DeviceId) -> Partition:
    """Where a device's inbox is kept."""
    return Partition(f"inbox/{device}")


def encode(inbox: Inbox) -> bytes:
    """The head's state."""
    return _HEAD.pack(_FORMAT, *inbox)


def decode(data: bytes) -> Inbox:
    """Read the head's state; empty for one that was never written.

    Raises:
        CorruptStateError: It is none.
    """
    if not data:
        return NEW_INBOX
    try:
        form, *fields = _HEAD.unpack(data)
    except struct.error as error:
        raise CorruptStateError(kind="inbox", reason=str(error)) from error
    if form != _FORMAT:
        raise CorruptStateError(kind="inbox", reason=f"format {form}")
    return Inbox(*fields)


def entry_key(seq: int) -> bytes:
    """The key of an entry."""
    return seq_key(_ENTRIES, seq)


def entry_span(after: int, upto: int) -> Span:
    """The entries above `after`, up to and including `upto`."""
    return seq_span(_ENTRIES, after, upto)


class OwnValue(NamedTuple):
    """An entry that is complete.

    Attributes:
        frame: The ENTRY frame in msgpack.
        tag: The chain at it.
    """

    frame: bytes
    tag: bytes


class SharedValue(NamedTuple):
    """An entry whose body is a row of its conversation."""

    tag: bytes
    conv: ConversationId
    conv_seq: ConversationSeq


def encode_shared(tag: bytes, conv: ConversationId, conv_seq: int) -> bytes:
    """The value of an entry that refers to a row of its conversation."""
    return _SHARED_HEAD.pack(_SHARED, tag, conv_seq) + conv.encode()


def decode_value(value: bytes) -> OwnValue | SharedValue:
    """Read the value of an entry.

    Raises:
        CorruptStateError: It is none.
    """
    with reading("inbox entry"):
        if value[:1] == _OWN and len(value) > 1 + ENTRY_HEAD_BYTES:
            frame = value[1:]
            return OwnValue(frame, frame[ENTRY_HEAD_BYTES - TAG_BYTES : ENTRY_HEAD_BYTES])
        if value[:1] == _SHARED and len(value) > _SHARED_HEAD.size:
            _, tag, conv_seq = _SHARED_HEAD.unpack_from(value)
            return SharedValue(tag, ConversationId(value[_SHARED_HEAD.size :].decode()), ConversationSeq(conv_seq))
        raise ValueError("unknown form")


def last_seq_key(conv: ConversationId) -> bytes:
    """The row that holds the last row of a conversation that `append` was given by finish."""
    return b"c/" + conv.encode()


def encode_last_seq(seq: int) -> bytes:
    """The value of that row."""
    return seq.to_bytes(8, "big")


def decode_last_seq(value: bytes) -> ConversationSeq:
    """Read the value of that row.

    Raises:
        CorruptStateError: It is none.
    """
    if len(value) != 8:
        raise CorruptStateError(kind="last row of a conversation", reason=f"{len(value)} bytes")
    return ConversationSeq(int.from_bytes(value, "big"))
