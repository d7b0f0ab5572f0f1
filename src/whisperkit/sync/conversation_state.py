"""The head of a conversation: what it holds, how it is kept within its bound, and its bytes."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, GatewayId, Owner
from whisperkit.packing import pack, reading, shaped, unpack
from whisperkit.partitions import MAX_STATE_BYTES, Partition, Row, Span
from whisperkit.strategy import Strategy
from whisperkit.sync.answers import Fenced
from whisperkit.sync.rows import post_span
from whisperkit.sync.window import Window, checked_window, encode_window, window_key

__all__ = [
    "MAX_FENCES",
    "NEW_CONVERSATION",
    "Conversation",
    "Fence",
    "Windows",
    "decode",
    "encode",
    "fitted",
    "partition",
]

# Gateways that died with notes about one conversation, one by one; more of them are folded into one number.
MAX_FENCES: Final = 16

Windows: TypeAlias = tuple[tuple[DeviceId, Window], ...]


class Fence(NamedTuple):
    """Says that posts by a gateway's incarnations up to and including this one are refused."""

    gateway: GatewayId
    incarnation: int


class Conversation(NamedTuple):
    """The head of a conversation.

    Attributes:
        seq: The last number given.
        fanned_out: All rows up to here are finished, as far as the head knows; a mark may say more.
        roster_seq: Seq of the last ROSTER row: the version of the roster; 0 before there are members.
        removed_seq: Seq of the last row that put somebody out; 0 for none.
        members: How many there are.
        strategy: How the next row reaches them.
        pulled_seq: The last row that members have to pull; 0 for none.
        fences: Gateways whose posts are refused, at most `MAX_FENCES`.
        fenced_below: Incarnations of any gateway up to here are refused.
        windows: Windows of the devices that sent last, the latest at the end; the others are in rows.
        has_evicted: Whether any window is in a row; while there is none, no such row need be read.
    """

    seq: ConversationSeq = ConversationSeq(0)
    fanned_out: ConversationSeq = ConversationSeq(0)
    roster_seq: ConversationSeq = ConversationSeq(0)
    removed_seq: ConversationSeq = ConversationSeq(0)
    members: int = 0
    strategy: Strategy = Strategy.SMALL
    pulled_seq: ConversationSeq = ConversationSeq(0)
    fences: tuple[Fence, ...] = ()
    fenced_below: int = 0
    windows: Windows = ()
    has_evicted: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether all that was posted reached its audience: only then may a post be fused with its copies."""
        return self.fanned_out == self.seq

    @property
    def unfinished(self) -> Span:
        """The rows that are to be finished, in order. One that is not there was finished and dropped."""
        return post_span(self.fanned_out, self.seq)

    def window_of(self, device: DeviceId) -> Window | None:
        """The device's window, if it is in the head."""
        for sender, window in self.windows:
            if sender == device:
                return window
        return None

    def fenced(self, owner: Owner) -> Fenced | None:
        """Whether posts by this incarnation are refused."""
        above = self.fenced_below
        for fence in self.fences:
            if fence.gateway == owner.gateway and fence.incarnation > above:
                above = fence.incarnation
        return Fenced(above) if owner.incarnation <= above else None


NEW_CONVERSATION: Final = Conversation()


# Upper bounds of what msgpack needs: 11 fields of at most 9 bytes with the array's own; the names, numbers and headers
# of a fence and of a window. A window is then at most 836 bytes and all fences 1,024, so the latest window always fits.
_FIXED_BYTES = 112
_FENCE_BYTES = 16
_WINDOW_BYTES = 68


def fitted(conversation: Conversation) -> tuple[Conversation, tuple[Row, ...]]:
    """Put the windows that were not used for longest into rows, until the head is within its bound."""
    windows = conversation.windows
    size = _FIXED_BYTES
    for _, window in windows:
        size += _WINDOW_BYTES + len(window.recent)
    for fence in conversation.fences:
        size += _FENCE_BYTES + len(fence.gateway)
    evicted = 0
    while size > MAX_STATE_BYTES:
        size -= _WINDOW_BYTES + len(windows[evicted][1].recent)
        evicted += 1
    if not evicted:
        return conversation, ()
    rows = tuple(Row(window_key(device), encode_window(window)) for device, window in windows[:evicted])
    return conversation._replace(windows=windows[evicted:], has_evicted=True), rows


def partition(conversation: ConversationId) -> Partition:
    """Where a conversation is kept."""
    return Partition(f"conv/{conversation}")


def encode(conversation: Conversation) -> bytes:
    """The head's state, at most `MAX_STATE_BYTES`."""
    windows = [(device, *window) for device, window in conversation.windows]
    return pack(*conversation[:9], windows, conversation.has_evicted)


_SHAPE = (int, int, int, int, int, int, int, tuple, int, tuple, bool)


def decode(data: bytes) -> Conversation:
    """Read the head's state; empty for one that was never written.

    Raises:
        CorruptStateError: It is none.
    """
    if not data:
        return NEW_CONVERSATION
    fields = unpack(data, kind="conversation", shape=_SHAPE)
    seq, fanned_out, roster_seq, removed_seq, members, strategy, pulled_seq, fences, below, windows, evicted = fields
    with reading("conversation"):
        return Conversation(
            seq,
            fanned_out,
            roster_seq,
            removed_seq,
            members,
            Strategy(strategy),
            pulled_seq,
            tuple(map(_fence, fences)),
            below,
            tuple(_window(*entry) for entry in windows),
            evicted,
        )


def _window(device: Any, epoch: Any, last: Any, recent: Any) -> tuple[DeviceId, Window]:
    return DeviceId.parse(device), checked_window(epoch, last, recent)


def _fence(entry: Any) -> Fence:
    gateway, incarnation = shaped(entry, (str, int))
    return Fence(GatewayId(gateway), incarnation)
