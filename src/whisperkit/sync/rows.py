"""What was posted: the rows of a conversation.

A row says by itself how it is finished: by the audience and the strategy that were in force when it was posted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, cast

from whisperkit.errors import MalformedFrameError
from whisperkit.ids import ConversationSeq, DeviceId, MessageId
from whisperkit.packing import pack, reading, unpack
from whisperkit.partitions import MAX_VALUE_BYTES, Row, Span, seq_key, seq_span
from whisperkit.strategy import Strategy
from whisperkit.sync.codec import decode_change, encode_change
from whisperkit.sync.frames import EntryKind, RosterChange

__all__ = ["MAX_POST_BYTES", "PostRow", "as_row", "check_bodies", "decode_row", "encode_row", "post_key", "post_span"]

# What a post carries, with 64 bytes for each device it names: so much fits into a row and into a frame, beside the
# names and numbers, which take less than a kibibyte.
MAX_POST_BYTES: Final = MAX_VALUE_BYTES - 1024
DEVICE_OVERHEAD_BYTES: Final = 64

_POSTS = b"e/"


class PostRow(NamedTuple):
    """One post, as everybody is to see it.

    Attributes:
        seq: Its number in the conversation.
        message_id: Its identity.
        kind: What it is.
        strategy: Who finishes it.
        sender: The sending device; `None`: the service itself.
        at_ms: When it was posted, milliseconds since 1970, on the server's clock.
        pull_upto: The last row below it that members have to pull; 0 for none.
        change: Of a ROSTER row: who really came and went.
        shared: One ciphertext for all, if there is one. Of a MODE row: one byte, the new strategy.
        own: A ciphertext for each device that is named; `None` if there are no such copies.
    """

    seq: ConversationSeq
    message_id: MessageId
    kind: EntryKind
    strategy: Strategy
    sender: DeviceId | None
    at_ms: int
    pull_upto: int
    change: RosterChange | None = None
    shared: bytes | None = None
    own: Mapping[DeviceId, bytes] | None = None

    @property
    def body(self) -> bytes | None:
        """What entries made of the row carry as their shared part: of a ROSTER row the encoded change."""
        return self.shared if self.change is None else encode_change(self.change)

    @property
    def is_own_only(self) -> bool:
        """Whether nobody reads the row again once its copies lie in the inboxes."""
        return self.own is not None and self.body is None


def check_bodies(shared: bytes | None, own: Mapping[DeviceId, bytes] | None) -> None:
    """Look at what a peer wants to post.

    Raises:
        MalformedFrameError: More than `MAX_POST_BYTES`.
    """
    size = len(shared) if shared is not None else 0
    if own:
        size += sum(map(len, own.values())) + DEVICE_OVERHEAD_BYTES * len(own)
    if size > MAX_POST_BYTES:
        raise MalformedFrameError(f"the post has {size} bytes; the limit is {MAX_POST_BYTES}")


def post_key(seq: int) -> bytes:
    """The key of a row."""
    return seq_key(_POSTS, seq)


def post_span(after: int, upto: int, *, reverse: bool = False) -> Span:
    """The rows above `after`, up to and including `upto`."""
    return seq_span(_POSTS, after, upto, reverse=reverse)


def encode_row(row: PostRow) -> bytes:
    """The value of a row."""
    return pack(*row[:4], row.sender or "", row.at_ms, row.pull_upto, [row.body, row.own])


_SHAPE = (int, bytes, int, int, str, int, int, tuple)


def decode_row(data: bytes) -> PostRow:
    """Read the value of a row.

    Raises:
        CorruptStateError: It is none.
    """
    seq, message_id, kind, strategy, sender, at_ms, pull_upto, bodies = unpack(data, kind="post", shape=_SHAPE)
    with reading("post"):
        body, own = bodies
        is_roster = kind == EntryKind.ROSTER
        return PostRow(
            ConversationSeq(seq),
            MessageId(message_id),
            EntryKind(kind),
            Strategy(strategy),
            DeviceId.parse(sender) if sender else None,
            at_ms,
            pull_upto,
            decode_change(body) if is_roster else None,
            None if is_roster or body is None else _bytes(body),
            None if own is None else _copies(own),
        )


def _copies(own: object) -> dict[DeviceId, bytes]:
    if not isinstance(own, dict):
        raise TypeError("copies that are no map")
    copies = cast("dict[str, object]", own)  # of what, says the loop
    return {DeviceId.parse(device): _bytes(copy) for device, copy in copies.items()}


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("a body that is no bytes")
    return value


def as_row(row: PostRow) -> Row:
    """The row as it is put."""
    return Row(post_key(row.seq), encode_row(row))
