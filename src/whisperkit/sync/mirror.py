"""The device's copy of what the server has: checks every link of the inbox, asks for what is missing, drops repeats.

    OFFLINE ──attach──► CATCHING_UP ──frontier at head──► LIVE
                          │      ▲
                          ▼      │ last part
                         SNAPSHOT

A `Mirror` is a value. `receive` takes what came in one read of the link, with the rows of the device's partition that
`rows_for` names, and answers with a `Synced`: the next mirror, the rows to put and delete, the entries that arrived,
and the frames to send. The caller decrypts what arrived, commits ratchet records, history rows, these rows and the head
(`encode_mirror`) in *one* commit, and only then takes over `state` and sends `send`. If it crashes before, nothing
happened, and the server sends the same again.

The cursor is the contiguous frontier, never the newest thing seen. What arrives twice is dropped by sender and
message id before it is decrypted, for as long as the history that it would double.

The wire may drop, repeat and reorder: entries behind a gap are not kept but asked for again, since a link that
loses frames is rare, and a link in order costs nothing this way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple

from whisperkit.errors import UsageError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq, MessageId
from whisperkit.packing import pack, reading, unpack
from whisperkit.partitions import Row, Span
from whisperkit.sync import frames
from whisperkit.sync.chat import MEMBERSHIPS, PROGRESSES, Chat, chat_of, chat_spans, membership_key, rows_of
from whisperkit.sync.cursor import Cursor, next_tag
from whisperkit.sync.frames import ASIDES, Answer, EntryKind, Frame, StoredRow

__all__ = [
    "BEHIND_S",
    "MAX_HELD",
    "STALLED_S",
    "TRANSITIONS",
    "Arrived",
    "Attached",
    "Detached",
    "LostTail",
    "Mirror",
    "Phase",
    "Synced",
    "TimePassed",
    "attach",
    "close_chat",
    "deadline",
    "decode_mirror",
    "detach",
    "encode_mirror",
    "handle_timer",
    "open_chat",
    "posted",
    "read",
    "receive",
    "rows_for",
    "seen_key",
]

# A frontier that disagrees with the head for so long has lost something: frames that are merely late are there by then.
BEHIND_S: Final = 5.0
# Without a WELCOME or the next part of a snapshot for so long, the link is of no use.
STALLED_S: Final = 30.0
# Entries that wait for pulled rows: as many as the server sends without an acknowledgement.
MAX_HELD: Final = 256


class Phase(Enum):
    """What the mirror is doing."""

    OFFLINE = "offline"
    CATCHING_UP = "catching up"
    SNAPSHOT = "snapshot"
    LIVE = "live"


class Attached(NamedTuple):
    """HELLO has gone out on a new link."""


class Detached(NamedTuple):
    """The link is gone."""


class TimePassed(NamedTuple):
    """The deadline has come."""


# The whole machine. Attached and Detached always have a place; a frame that has none in the present phase is late,
# doubled or unasked for, and is dropped.
TRANSITIONS: Final[Mapping[tuple[Phase, type[object]], Phase]] = {
    (Phase.OFFLINE, Attached): Phase.CATCHING_UP,
    (Phase.CATCHING_UP, frames.Welcome): Phase.CATCHING_UP,  # SNAPSHOT unless the answer is DELTA
    (Phase.CATCHING_UP, frames.Entry): Phase.CATCHING_UP,  # LIVE once the frontier is at the head
    (Phase.CATCHING_UP, frames.Rows): Phase.CATCHING_UP,  # the same
    (Phase.CATCHING_UP, frames.Head): Phase.CATCHING_UP,  # the same
    (Phase.CATCHING_UP, frames.Mark): Phase.CATCHING_UP,
    (Phase.CATCHING_UP, TimePassed): Phase.CATCHING_UP,
    (Phase.CATCHING_UP, Detached): Phase.OFFLINE,
    (Phase.SNAPSHOT, frames.Snapshot): Phase.SNAPSHOT,  # CATCHING_UP with the last part
    (Phase.SNAPSHOT, frames.Welcome): Phase.SNAPSHOT,  # begins again
    (Phase.SNAPSHOT, TimePassed): Phase.SNAPSHOT,
    (Phase.SNAPSHOT, Detached): Phase.OFFLINE,
    (Phase.LIVE, frames.Entry): Phase.LIVE,
    (Phase.LIVE, frames.Rows): Phase.LIVE,
    (Phase.LIVE, frames.Head): Phase.LIVE,
    (Phase.LIVE, frames.Mark): Phase.LIVE,
    (Phase.LIVE, frames.Welcome): Phase.LIVE,  # SNAPSHOT if a PULL found a fork
    (Phase.LIVE, TimePassed): Phase.LIVE,
    (Phase.LIVE, Detached): Phase.OFFLINE,
}

_NO_CONVS: Final[frozenset[ConversationId]] = frozenset()


class Mirror(NamedTuple):
    """Where a device is. Only `device` and `cursor` are saved; the rest is about the present link.

    Attributes:
        device: This device.
        cursor: The frontier; `None` before the first snapshot.
        phase: What it is doing.
        head: Where the server's inbox ends, as it last said.
        since: When the frontier began to disagree with the head, or the link to be silent; `None` if all is well.
        asked_at: The frontier for which a PULL is under way.
        answer: Why a snapshot is being taken.
        next_part: Which part of it comes next.
        in_snapshot: The conversations that were in its parts.
        fetching: Up to where rows of conversations have been asked for.
        held: Entries in order that wait for such rows.
        opened: Conversations on screen: what is pulled there is fetched at once.
        followed: Conversations whose rows are pulled: HEAD shall name their heads.
    """

    device: DeviceId
    cursor: Cursor | None = None
    phase: Phase = Phase.OFFLINE
    head: Cursor | None = None
    since: float | None = None
    asked_at: InboxSeq | None = None
    answer: Answer | None = None
    next_part: int = 0
    in_snapshot: frozenset[ConversationId] = _NO_CONVS
    fetching: Mapping[ConversationId, ConversationSeq] = {}
    held: tuple[frames.Entry, ...] = ()
    opened: frozenset[ConversationId] = _NO_CONVS
    followed: frozenset[ConversationId] = _NO_CONVS


class Arrived(NamedTuple):
    """A row that is new here: decrypt it and write it into the history, in this order.

    Attributes:
        conv: Its conversation; `frames.ASIDES` for an aside.
        row: What came. A PLACEHOLDER has to be asked for at `row.sender`.
    """

    conv: ConversationId
    row: StoredRow


class LostTail(NamedTuple):
    """The server may have lost what this device posted above `above`: send it again, under the same message ids."""

    conv: ConversationId
    above: ConversationSeq


class Synced(NamedTuple):
    """What became of an input. First commit, with what the caller makes of `arrived`; then take over the rest.

    Attributes:
        state: The next mirror.
        put: Rows to write.
        delete: Keys to delete.
        arrived: New rows, in order.
        send: Frames for the link, in order; the ACK of what is committed is among them.
        chats: Conversations that changed.
        lost: Own messages that have to be sent again.
        reconnect: Whether the link is of no use: close it and connect again.
    """

    state: Mirror
    put: tuple[Row, ...] = ()
    delete: tuple[bytes, ...] = ()
    arrived: tuple[Arrived, ...] = ()
    send: tuple[Frame, ...] = ()
    chats: Mapping[ConversationId, Chat] = {}
    lost: tuple[LostTail, ...] = ()
    reconnect: bool = False

    def must_save(self, before: Mirror) -> bool:
        """Whether there is anything to commit."""
        return self.state.cursor != before.cursor or bool(self.put or self.delete)


# ---- the link -------------------------------------------------------------------------------------------------------


def attach(mirror: Mirror, *, followed: Collection[ConversationId] = (), now: float) -> Mirror:
    """Note that HELLO went out with `mirror.cursor`.

    Args:
        mirror: The mirror, offline.
        followed: All conversations of the device whose rows are pulled (`Chat.is_pulled`).
        now: Seconds, on any monotonic clock.

    Raises:
        UsageError: It is attached already.
    """
    phase = TRANSITIONS.get((mirror.phase, Attached))
    if phase is None:
        raise UsageError(f"detach before attaching again: the mirror is {mirror.phase.value}")
    return Mirror(mirror.device, mirror.cursor, phase, since=now, opened=mirror.opened, followed=frozenset(followed))


def detach(mirror: Mirror) -> Mirror:
    """Note that the link is gone, and forget what was under way on it; harmless when offline."""
    return Mirror(mirror.device, mirror.cursor, opened=mirror.opened, followed=mirror.followed)


def deadline(mirror: Mirror) -> float | None:
    """When to call `handle_timer` next; `None` for never."""
    if mirror.since is None:
        return None
    return mirror.since + (BEHIND_S if _has_welcome(mirror) else STALLED_S)


def _has_welcome(mirror: Mirror) -> bool:
    return mirror.phase is not Phase.SNAPSHOT and mirror.head is not None and mirror.cursor is not None


def handle_timer(mirror: Mirror, rows: Mapping[bytes, bytes], *, now: float) -> Synced:
    """Ask again for what should have come.

    Args:
        mirror: The mirror.
        rows: Those of `rows_for(mirror, [])`.
        now: Seconds, on the clock of the other calls.
    """
    due = deadline(mirror)
    if due is None or now < due or (mirror.phase, TimePassed) not in TRANSITIONS:
        return Synced(mirror)
    if not _has_welcome(mirror):
        return Synced(mirror, reconnect=True)
    turn = _Turn(mirror, rows, now)
    turn.ask_again()
    return turn.result()


# ---- the person -----------------------------------------------------------------------------------------------------


def open_chat(mirror: Mirror, conv: ConversationId, rows: Mapping[bytes, bytes], *, now: float) -> Synced:
    """Fetch what is pulled in a conversation, now and as long as it is on screen; `rows`: those of `chat_spans`."""
    turn = _Turn(mirror._replace(opened=mirror.opened | {conv}), rows, now)
    turn.fetch_head(conv)
    return turn.result()


def close_chat(mirror: Mirror, conv: ConversationId) -> Mirror:
    """Note that a conversation is off the screen."""
    return mirror._replace(opened=mirror.opened - {conv})


def read(
    mirror: Mirror, conv: ConversationId, upto: ConversationSeq, rows: Mapping[bytes, bytes], *, now: float
) -> Synced:
    """Note that the person has read up to here; `rows`: those of `chat_spans`."""
    turn = _Turn(mirror, rows, now)
    before = turn.chat(conv)
    turn.chats[conv] = before.read(upto)
    if turn.chats[conv] != before:
        turn.send.append(frames.Read(conv, upto))
    return turn.result()


def posted(mirror: Mirror, send: frames.Send, sent: frames.Sent, rows: Mapping[bytes, bytes], *, now: float) -> Synced:
    """Work in what this device posted itself, which never comes to its inbox; `rows`: those of `chat_spans`."""
    turn = _Turn(mirror, rows, now)
    if send.change is not None and sent.conv_seq:
        turn.change_roster(send.conv, sent.conv_seq, send.change)
    return turn.result()


# ---- the server -----------------------------------------------------------------------------------------------------


def rows_for(mirror: Mirror, batch: Sequence[Frame]) -> tuple[Span, ...]:
    """Which rows of the device's partition `receive` needs; those that are not there are new."""
    spans: dict[Span, None] = {}
    for conv, ids in _named(mirror, batch):
        spans.update(dict.fromkeys(() if conv == ASIDES else chat_spans(conv)))
        spans.update(dict.fromkeys(Span(key, key + b"\x00") for key in ids))
    if any(isinstance(frame, frames.Snapshot) and frame.is_last for frame in batch):
        spans.update(dict.fromkeys((PROGRESSES, MEMBERSHIPS)))
    return tuple(spans)


def _named(mirror: Mirror, batch: Sequence[Frame]) -> Iterator[tuple[ConversationId, tuple[bytes, ...]]]:
    """Conversations whose rows a batch may touch, with the keys of messages in it that may be repeats."""
    for conv in (*mirror.fetching, *mirror.opened):
        yield conv, ()
    for frame in (*mirror.held, *batch):
        match frame:
            case frames.Entry():
                yield frame.conv, (seen_key(frame.sender, frame.message_id),)
            case frames.Rows():
                yield frame.conv, tuple(seen_key(row.sender, row.message_id) for row in frame.rows)
            case frames.Snapshot():
                yield from ((item.conv, ()) for item in frame.items)
            case frames.Head():
                yield from ((conv, ()) for conv in frame.conversations if conv in mirror.followed)
            case frames.Mark():
                yield frame.conv, ()
            case _:
                pass


def receive(mirror: Mirror, batch: Sequence[Frame], rows: Mapping[bytes, bytes], *, now: float) -> Synced:
    """Take what came in one read of the link.

    Args:
        mirror: The mirror as it is saved.
        batch: Frames, in order; those that are not the mirror's are left alone.
        rows: The device's rows in `rows_for(mirror, batch)`, by key.
        now: Seconds, on the clock of the other calls.
    """
    turn = _Turn(mirror, rows, now)
    for frame in batch:
        turn.take(frame)
    turn.acknowledge()
    return turn.result()


class _Turn:
    """A mirror at work on one input: collects what `Synced` will say. The mirror it began with stays as it was."""

    def __init__(self, mirror: Mirror, rows: Mapping[bytes, bytes], now: float) -> None:
        self.before = mirror
        self.mirror = mirror
        self.rows = rows
        self.now = now
        self.chats: dict[ConversationId, Chat] = {}
        self.loaded: dict[ConversationId, Chat] = {}
        self.seen: dict[bytes, bytes] = {}
        self.gone: list[bytes] = []
        self.arrived: list[Arrived] = []
        self.send: list[Frame] = []
        self.lost: list[LostTail] = []
        self.reconnect = False

    def chat(self, conv: ConversationId) -> Chat:
        """A conversation as it is by now."""
        if conv not in self.chats:
            self.chats[conv] = self.loaded[conv] = chat_of(conv, self.rows)
        return self.chats[conv]

    def result(self) -> Synced:
        """All that was collected."""
        self._follow()
        put = [Row(key, value) for key, value in self.seen.items()]
        delete = list(self.gone)
        changed = {conv: chat for conv, chat in self.chats.items() if chat != self.loaded[conv]}
        for conv, chat in changed.items():
            rows, keys = rows_of(self.loaded[conv], chat)
            put += rows
            delete += keys
        self._watch_the_clock()
        return Synced(
            self.mirror,
            tuple(put),
            tuple(delete),
            tuple(self.arrived),
            tuple(self.send),
            changed,
            tuple(self.lost),
            self.reconnect,
        )

    # ---- frames

    def take(self, frame: Frame) -> None:
        """Take one frame, if it has a place in the present phase."""
        if (self.mirror.phase, type(frame)) not in TRANSITIONS:
            return
        match frame:
            case frames.Entry():
                self._entry(frame)
            case frames.Welcome():
                self._welcome(frame)
            case frames.Snapshot():
                self._snapshot(frame)
            case frames.Head():
                self._head(frame)
            case frames.Rows():
                self._rows(frame)
            case frames.Mark():
                self._mark(frame)
            case _:  # pragma: no cover  # the table has no other frames
                pass
        self._settle()

    def _welcome(self, welcome: frames.Welcome) -> None:
        self.mirror = self.mirror._replace(head=welcome.head, since=self.now)
        if self.before.head is None and self.mirror.followed:
            self.send.append(_follow(self.mirror.followed))
        if welcome.answer is Answer.DELTA:
            phase = self.mirror.phase if self.mirror.phase is Phase.LIVE else Phase.CATCHING_UP
            self.mirror = self.mirror._replace(phase=phase)
            return
        self.mirror = self.mirror._replace(
            phase=Phase.SNAPSHOT, answer=welcome.answer, next_part=0, in_snapshot=_NO_CONVS, held=(), fetching={}
        )

    def _snapshot(self, part: frames.Snapshot) -> None:
        """Take over a part. Parts are saved as they come: over state that is newer, entries change nothing."""
        if part.part != self.mirror.next_part:
            self.reconnect = True
            return
        is_fork = self.mirror.answer is not Answer.SNAPSHOT
        for item in part.items:
            self.chats[item.conv] = self.chat(item.conv).with_item(item, is_fork=is_fork)
            if is_fork:
                self.lost.append(LostTail(item.conv, item.seq))
        found = self.mirror.in_snapshot | {item.conv for item in part.items}
        self.mirror = self.mirror._replace(next_part=part.part + 1, in_snapshot=found, since=self.now)
        if part.is_last:
            self._leave_all_but(found)
            # The floor, not the head: what lies above is still owed.
            self.mirror = self.mirror._replace(
                phase=Phase.CATCHING_UP, cursor=part.cursor, answer=None, in_snapshot=_NO_CONVS, asked_at=None
            )

    def _leave_all_but(self, found: frozenset[ConversationId]) -> None:
        kept = {membership_key(conv) for conv in found}
        for key in (key for key in self.rows if key.startswith(MEMBERSHIPS.start) and key not in kept):
            conv = ConversationId(key[len(MEMBERSHIPS.start) :].decode())
            self.chats[conv] = self.chat(conv)._replace(membership=None)

    def _head(self, head: frames.Head) -> None:
        self.mirror = self.mirror._replace(head=head.cursor)
        cursor = self.mirror.cursor
        if cursor is not None and head.cursor.seq == cursor.seq and head.cursor != cursor:
            self._ask()  # the same number with another past: only a WELCOME can tell
        for conv, seq in head.conversations.items():
            if conv in self.mirror.followed:
                chat = self.chat(conv)
                progress = chat.progress._replace(head=max(chat.progress.head, seq))
                self.chats[conv] = chat._replace(progress=progress)
                if conv in self.mirror.opened:
                    self.fetch_head(conv)

    def _mark(self, mark: frames.Mark) -> None:
        """Follow how far this user read on other devices, and say it again if the server has heard less."""
        if mark.user != self.mirror.device.user or mark.kind is not frames.MarkKind.READ:
            return
        chat = self.chat(mark.conv)
        if mark.upto < chat.progress.read_upto:
            self.send.append(frames.Read(mark.conv, chat.progress.read_upto))
        self.chats[mark.conv] = chat.read(mark.upto)

    # ---- the inbox

    def _entry(self, entry: frames.Entry) -> None:
        cursor, held = self.mirror.cursor, self.mirror.held
        if cursor is None or entry.seq <= cursor.seq:
            return
        if held:
            if entry.seq == held[-1].seq + 1 and len(held) < MAX_HELD:
                self.mirror = self.mirror._replace(held=(*held, entry))
            return
        # A number alone could match after the log lost its tail and grew another one.
        if entry.seq != cursor.seq + 1 or entry.tag != next_tag(cursor.tag, entry.message_id):
            self._ask()
            return
        if entry.kind is not EntryKind.ASIDE and self._must_wait(entry):
            self.mirror = self.mirror._replace(held=(entry,))
            self._fetch(entry.conv, entry.pull_upto)
            return
        self._apply(entry.conv, _row_of(entry))
        frontier, head = Cursor(cursor.epoch, entry.seq, entry.tag), self.mirror.head
        if head is None or head.seq < frontier.seq:
            head = frontier  # the server has more than it said when it last spoke of its head
        self.mirror = self.mirror._replace(cursor=frontier, head=head, asked_at=None)

    def _must_wait(self, entry: frames.Entry) -> bool:
        """Whether rows that were not pushed belong before an entry. What was posted before the user came does not."""
        chat = self.chat(entry.conv)
        is_first = entry.kind is EntryKind.ROSTER and chat.membership is None and not chat.progress.pulled_upto
        return entry.pull_upto > chat.progress.pulled_upto and not is_first

    def _apply(self, conv: ConversationId, row: StoredRow) -> None:
        key = seen_key(row.sender, row.message_id)
        # What this device posted it has already; pulled rows bring it along.
        is_new = row.sender != self.mirror.device and key not in self.rows and key not in self.seen
        if is_new:
            self.seen[key] = row.conv_seq.to_bytes(8, "big")
            self.arrived.append(Arrived(conv, row))
        if row.kind is not EntryKind.ASIDE:
            self.chats[conv] = self.chat(conv).with_row(row, device=self.mirror.device, is_new=is_new)

    def change_roster(self, conv: ConversationId, seq: ConversationSeq, change: frames.RosterChange) -> None:
        """Work in a change of this device's own."""
        self.chats[conv] = self.chat(conv).with_own_change(seq, change, self.mirror.device.user)

    # ---- rows that are pulled

    def _rows(self, answer: frames.Rows) -> None:
        conv, target = answer.conv, self.mirror.fetching.get(answer.conv)
        chat = self.chat(conv)
        if target is None or answer.after != chat.progress.pulled_upto:
            return
        upto = self._apply_rows(answer, target)
        if upto <= answer.after == answer.upto:
            return  # an answer that says nothing: the timer asks again
        chat = self.chat(conv)
        progress = chat.progress._replace(
            pulled_upto=max(chat.progress.pulled_upto, upto), head=max(chat.progress.head, answer.head)
        )
        self.chats[conv] = chat._replace(progress=progress)
        self.mirror = self.mirror._replace(
            fetching={key: value for key, value in self.mirror.fetching.items() if key != conv}
        )
        held = self.mirror.held
        if held and held[0].conv == conv and not self._must_wait(held[0]):
            self._release()
        elif upto == answer.upto:
            self._fetch(conv, target)

    def _apply_rows(self, answer: frames.Rows, target: ConversationSeq) -> ConversationSeq:
        """Apply rows as far as they are pulled ones, and say how far that is.

        A MODE row is pushed: one that the inbox has not brought yet ends what may be applied, because rows behind it
        are in the inbox, or belong behind such rows. One that is known is none of the pulled rows.
        """
        held = self.mirror.held
        is_held = bool(held) and held[0].conv == answer.conv
        upto = min(answer.upto, held[0].pull_upto if is_held else target)
        for row in answer.rows:
            if row.conv_seq > upto:
                break
            if row.kind is not EntryKind.MODE:
                self._apply(answer.conv, row)
            elif not is_held and not self.chat(answer.conv).knows(row.conv_seq):
                return ConversationSeq(row.conv_seq - 1)
        return upto

    def _release(self) -> None:
        """Go on with entries that waited; they may wait again, for more."""
        held = self.mirror.held
        self.mirror = self.mirror._replace(held=())
        for entry in held:
            self._entry(entry)

    def fetch_head(self, conv: ConversationId) -> None:
        """Fetch what is known to be there and is not here, once the inbox has brought what belongs before it.

        After a snapshot the membership is ahead of the inbox: pushed rows below it may still be on their way.
        """
        chat = self.chat(conv)
        if chat.is_pulled and self.mirror.phase is Phase.LIVE:
            self._fetch(conv, chat.progress.head)

    def _fetch(self, conv: ConversationId, upto: ConversationSeq) -> None:
        after = self.chat(conv).progress.pulled_upto
        if upto <= after or self.mirror.fetching.get(conv, 0) >= upto:
            return
        self.mirror = self.mirror._replace(fetching={**self.mirror.fetching, conv: upto})
        self.send.append(frames.Range(conv, after, upto, frames.MAX_ROWS))

    # ---- what is missing

    def _ask(self) -> None:
        """Ask for what follows the frontier, once for each frontier; the timer repeats it."""
        cursor = self.mirror.cursor
        if cursor is not None and self.mirror.asked_at != cursor.seq:
            self.mirror = self.mirror._replace(asked_at=cursor.seq)
            self.send.append(frames.Pull(cursor))

    def ask_again(self) -> None:
        """Ask for all that is missing, whatever was asked before."""
        fetching = self.mirror.fetching
        self.mirror = self.mirror._replace(asked_at=None, fetching={}, since=self.now)
        self._ask()
        for conv, upto in fetching.items():
            self._fetch(conv, upto)

    def acknowledge(self) -> None:
        """Tell the server how far this batch came, as a whole cursor: it goes out after the commit."""
        cursor = self.mirror.cursor
        if cursor is not None and cursor != self.before.cursor:
            self.send.append(frames.Ack(cursor))

    def _settle(self) -> None:
        mirror = self.mirror
        is_there = mirror.cursor is not None and mirror.head is not None and mirror.cursor.seq >= mirror.head.seq
        if mirror.phase is Phase.CATCHING_UP and is_there:
            self.mirror = mirror._replace(phase=Phase.LIVE)
            for conv in mirror.opened:
                self.fetch_head(conv)

    def _watch_the_clock(self) -> None:
        """Begin, begin again or stop to count the seconds without progress."""
        mirror = self.mirror
        if mirror.phase is Phase.OFFLINE or not _has_welcome(mirror):
            return
        is_behind = mirror.cursor != mirror.head or bool(mirror.held or mirror.fetching)
        has_moved = mirror.cursor != self.before.cursor or self.before.since is None
        since = (self.now if has_moved else mirror.since) if is_behind else None
        self.mirror = mirror._replace(since=since)

    def _follow(self) -> None:
        """Keep the list of conversations whose heads the server shall name."""
        pulled = {conv for conv, chat in self.chats.items() if chat.is_pulled}
        pushed = self.chats.keys() - pulled
        followed = (self.mirror.followed - pushed) | pulled
        if followed != self.mirror.followed:
            self.mirror = self.mirror._replace(followed=followed)
            if self.mirror.phase is not Phase.OFFLINE:
                self.send.append(_follow(followed))


def _follow(convs: frozenset[ConversationId]) -> frames.Follow:
    return frames.Follow(tuple(sorted(convs)[: frames.MAX_CONVERSATIONS]))


def _row_of(entry: frames.Entry) -> StoredRow:
    return StoredRow(entry.message_id, entry.kind, entry.conv_seq, entry.sender, entry.at_ms, entry.own, entry.shared)


# ---- what is saved --------------------------------------------------------------------------------------------------


def seen_key(sender: DeviceId | None, message_id: MessageId) -> bytes:
    """The key of the row that says a message is here. It lives as long as its history row; delete both together.

    The sender is part of it, or a member who repeats the id of another's message could keep that message out.
    """
    return b"i/" + message_id + (sender or "").encode()


def encode_mirror(mirror: Mirror) -> bytes:
    """What the device's head keeps of a mirror."""
    return pack(mirror.device, mirror.cursor or ())


def decode_mirror(data: bytes) -> Mirror:
    """Read what `encode_mirror` made; the mirror is offline.

    Raises:
        CorruptStateError: It is something else.
    """
    device, cursor = unpack(data, kind="mirror", shape=(str, tuple))
    with reading("mirror"):
        if not cursor:
            return Mirror(DeviceId.parse(device))
        epoch, seq, tag = cursor
        if type(epoch) is not int or type(seq) is not int or type(tag) is not bytes:
            raise ValueError("not a cursor")
        return Mirror(DeviceId.parse(device), Cursor(epoch, InboxSeq(seq), tag))
