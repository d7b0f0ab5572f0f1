"""A conversation as one device sees it: who is in it, how its rows travel, what was read, what a badge shows.

Two rows of the device's partition, because one changes with every message and the other is large: ``c/<conv>``, the
progress, and ``r/<conv>``, the membership. Everything here is a value; `mirror` decides when it changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from whisperkit.errors import PeerError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, UserId
from whisperkit.packing import pack, reading, unpack
from whisperkit.partitions import Row, Span, prefix
from whisperkit.strategy import Strategy
from whisperkit.sync.codec import decode_change, decode_item
from whisperkit.sync.frames import MAX_MEMBERS, EntryKind, RosterChange, SnapshotItem, StoredRow

__all__ = [
    "MAX_UNREAD",
    "MEMBERSHIPS",
    "PROGRESSES",
    "Chat",
    "Membership",
    "Progress",
    "chat_of",
    "chat_spans",
    "membership_key",
    "rows_of",
]

# A badge says "999+" beyond it, and the row stays below 5 KiB.
MAX_UNREAD: Final = 1_000
# A store that was restored has lost its last rows, how many nobody knows. What was pulled from that far below
# its head is pulled again; what did not change is dropped by message id.
FORK_REACH: Final = 1_000

PROGRESSES: Final = prefix(b"c/")
MEMBERSHIPS: Final = prefix(b"r/")


class Progress(NamedTuple):
    """What changes with every message.

    Attributes:
        pulled_upto: Rows up to here that are not pushed have been fetched, or are not owed.
        head: The highest seq that the device has heard of.
        read_upto: How far this user has read, on any device.
        unread: Seqs of displayed messages of others above `read_upto`, at most the last `MAX_UNREAD`.
    """

    pulled_upto: ConversationSeq = ConversationSeq(0)
    head: ConversationSeq = ConversationSeq(0)
    read_upto: ConversationSeq = ConversationSeq(0)
    unread: tuple[ConversationSeq, ...] = ()


class Membership(NamedTuple):
    """Who is in, as of a place in the order of the conversation.

    Attributes:
        as_of: Every change up to here is in `base`; a change at or below it that arrives late is old.
        roster_seq: The last roster change in `base`: what a sender names as `if_roster`.
        strategy: How rows travel.
        base: Members as of `as_of`.
        is_whole: Whether `base` holds all of them; false for a device that came to a mega group, or was told of its
            coming without the state that was there.
        own: Changes that this device posted above `as_of`. Changes of others below them may still be on their way,
            and a set of users does not forget the order in which it was changed.
    """

    as_of: ConversationSeq
    roster_seq: ConversationSeq
    strategy: Strategy
    base: tuple[UserId, ...] = ()
    is_whole: bool = True
    own: tuple[tuple[ConversationSeq, RosterChange], ...] = ()

    @property
    def version(self) -> ConversationSeq:
        """The roster version with this device's own changes in it."""
        return self.own[-1][0] if self.own else self.roster_seq

    @property
    def members(self) -> tuple[UserId, ...]:
        """All members that are known, with this device's own changes in it."""
        found = self.base
        for _, change in self.own:
            found = _changed(found, change)
        return found

    def after(self, seq: ConversationSeq, change: RosterChange) -> Membership:
        """Work in a change that came from the server, in order; one that is in already changes nothing."""
        if seq <= self.as_of:
            return self
        base = self.base
        for _, earlier in (one for one in self.own if one[0] < seq):
            base = _changed(base, earlier)
        base = _changed(base, change)
        is_whole = self.is_whole and len(base) <= MAX_MEMBERS
        base = base if len(base) <= MAX_MEMBERS else ()
        later = tuple(one for one in self.own if one[0] > seq)
        return self._replace(as_of=seq, roster_seq=seq, base=base, is_whole=is_whole, own=later)

    def after_own(self, seq: ConversationSeq, change: RosterChange) -> Membership:
        """Work in a change that this device posted, when its SENT comes."""
        if seq <= self.as_of or any(one[0] == seq for one in self.own):
            return self
        return self._replace(own=tuple(sorted((*self.own, (seq, change)), key=lambda one: one[0])))

    def switched(self, seq: ConversationSeq, strategy: Strategy) -> Membership:
        """Note how rows above `seq` travel."""
        return self if seq <= self.as_of else self._replace(strategy=strategy)


_NOBODY: Final = Membership(ConversationSeq(0), ConversationSeq(0), Strategy.SMALL)


class Chat(NamedTuple):
    """A conversation on a device.

    Attributes:
        conv: Which one.
        progress: What has come and was read.
        membership: Who is in; `None` if this user is not, or not any more.
    """

    conv: ConversationId
    progress: Progress = Progress()
    membership: Membership | None = None

    @property
    def is_pulled(self) -> bool:
        """Whether its rows have to be fetched."""
        return self.membership is not None and self.membership.strategy is Strategy.MEGA

    @property
    def badge(self) -> int:
        """How many messages wait to be read; of a pulled conversation also rows that are not fetched yet."""
        progress = self.progress
        unseen = progress.head - max(progress.pulled_upto, progress.read_upto) if self.is_pulled else 0
        return min(len(progress.unread) + max(unseen, 0), MAX_UNREAD)

    def knows(self, seq: ConversationSeq) -> bool:
        """Whether roster and strategy as of a row are worked in."""
        return self.membership is not None and seq <= self.membership.as_of

    def with_row(self, row: StoredRow, *, device: DeviceId, is_new: bool) -> Chat:
        """Work in a row that came in order. What it says about members is worked in even if it is a repeat."""
        chat = self
        if row.kind is EntryKind.ROSTER:
            chat = self._with_roster(row, device.user)
        elif row.kind is EntryKind.MODE and self.membership is not None and row.shared:
            strategy = _strategy(row.shared, self.membership.strategy)
            chat = self._replace(membership=self.membership.switched(row.conv_seq, strategy))
        progress = chat.progress
        is_counted = is_new and row.kind in _DISPLAYED and row.sender is not None and row.sender.user != device.user
        unread = progress.unread
        if is_counted and row.conv_seq > progress.read_upto:
            unread = (*unread, row.conv_seq)[-MAX_UNREAD:]
        return chat._replace(
            progress=progress._replace(
                pulled_upto=max(progress.pulled_upto, row.conv_seq),
                head=max(progress.head, row.conv_seq),
                unread=unread,
            )
        )

    def _with_roster(self, row: StoredRow, user: UserId) -> Chat:
        """Members come and go. Who comes to a group that was there gets its state in `own`."""
        change = _change_of(row)
        if row.own is not None and user in change.added:
            item = _item_of(row.own)
            if item is not None and item.conv == self.conv and item.seq == row.conv_seq:
                return self.with_item(item, is_fork=False)
        if self.membership is None and user not in change.added:
            return self  # the user has left: a change from before that comes late does not bring them back
        before = self.membership or _NOBODY._replace(is_whole=row.conv_seq == 1)
        membership = before.after(row.conv_seq, change)
        is_out = row.conv_seq == membership.as_of and user in change.removed
        return self._replace(membership=None if is_out else membership)

    def with_own_change(self, seq: ConversationSeq, change: RosterChange, user: UserId) -> Chat:
        """Work in a change that this device posted."""
        if self.membership is None and user not in change.added:
            return self  # removed meanwhile: the change is of a group that this user is not in
        progress = self.progress._replace(head=max(self.progress.head, seq))
        membership = (self.membership or _NOBODY).after_own(seq, change)
        return self._replace(progress=progress, membership=None if user in change.removed else membership)

    def with_item(self, item: SnapshotItem, *, is_fork: bool) -> Chat:
        """Take over the state of a snapshot: newer than what is here, or, after a fork, instead of it."""
        progress = self.progress
        is_known = self.membership is not None or progress.pulled_upto > 0
        pulled_upto = progress.pulled_upto if is_known else item.seq
        if is_fork:
            pulled_upto = ConversationSeq(max(min(pulled_upto, item.seq) - FORK_REACH, 0))
        after = progress._replace(pulled_upto=pulled_upto, head=item.seq if is_fork else max(progress.head, item.seq))
        membership = self.membership
        if is_fork or membership is None or item.seq > membership.as_of:
            is_whole = item.strategy is not Strategy.MEGA
            own = () if is_fork or membership is None else tuple(one for one in membership.own if one[0] > item.seq)
            membership = Membership(item.seq, item.roster_seq, item.strategy, item.members, is_whole, own)
        return Chat(self.conv, after, membership).read(item.read_upto)

    def read(self, upto: ConversationSeq) -> Chat:
        """Raise how far was read."""
        if upto <= self.progress.read_upto:
            return self
        unread = tuple(seq for seq in self.progress.unread if seq > upto)
        return self._replace(progress=self.progress._replace(read_upto=upto, unread=unread))


_DISPLAYED: Final = frozenset({EntryKind.MESSAGE, EntryKind.PLACEHOLDER})


def _changed(members: tuple[UserId, ...], change: RosterChange) -> tuple[UserId, ...]:
    gone = frozenset(change.removed)
    return tuple(dict.fromkeys(user for user in (*members, *change.added) if user not in gone))


# The server wrote these; a frame whose inner part cannot be read must still not stop the inbox.


def _change_of(row: StoredRow) -> RosterChange:
    try:
        return decode_change(row.shared or b"")
    except PeerError:
        return RosterChange()


def _item_of(data: bytes) -> SnapshotItem | None:
    try:
        return decode_item(data)
    except PeerError:
        return None


def _strategy(shared: bytes, present: Strategy) -> Strategy:
    return Strategy(shared[0]) if shared[0] in {strategy.value for strategy in Strategy} else present


# ---- rows -----------------------------------------------------------------------------------------------------------


def chat_spans(conv: ConversationId) -> tuple[Span, Span]:
    """Where the two rows of a conversation are."""
    keys = (_progress_key(conv), membership_key(conv))
    return Span(keys[0], keys[0] + b"\x00"), Span(keys[1], keys[1] + b"\x00")


def membership_key(conv: ConversationId) -> bytes:
    """The key of the row that says who is in."""
    return b"r/" + conv.encode()


def _progress_key(conv: ConversationId) -> bytes:
    return b"c/" + conv.encode()


def rows_of(before: Chat, after: Chat) -> tuple[tuple[Row, ...], tuple[bytes, ...]]:
    """What to put and to delete where a conversation changed."""
    put: list[Row] = []
    if after.progress != before.progress:
        put.append(Row(_progress_key(after.conv), pack(*after.progress)))
    if after.membership is None:
        return tuple(put), () if before.membership is None else (membership_key(after.conv),)
    if after.membership != before.membership:
        put.append(Row(membership_key(after.conv), pack(*after.membership)))
    return tuple(put), ()


def chat_of(conv: ConversationId, rows: Mapping[bytes, bytes]) -> Chat:
    """Read a conversation out of rows by key; one that has none is new.

    Raises:
        CorruptStateError: They are not what `rows_of` made.
    """
    progress, membership = rows.get(_progress_key(conv)), rows.get(membership_key(conv))
    return Chat(
        conv,
        Progress() if progress is None else _read_progress(progress),
        None if membership is None else _read_membership(membership),
    )


def _read_progress(data: bytes) -> Progress:
    return Progress(*unpack(data, kind="progress", shape=(int, int, int, tuple)))


def _read_membership(data: bytes) -> Membership:
    shape = (int, int, int, tuple, bool, tuple)
    as_of, roster_seq, strategy, base, is_whole, own = unpack(data, kind="membership", shape=shape)
    with reading("membership"):
        changes = tuple((ConversationSeq(seq), RosterChange(_users(added), _users(gone))) for seq, (added, gone) in own)
        return Membership(as_of, roster_seq, Strategy(strategy), _users(base), is_whole, changes)


def _users(texts: tuple[str, ...]) -> tuple[UserId, ...]:
    return tuple(map(UserId, texts))
