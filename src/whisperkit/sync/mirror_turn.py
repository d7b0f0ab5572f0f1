"""A mirror at work on one input: what `mirror.receive` does with each frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from whisperkit.ids import ConversationId, ConversationSeq
from whisperkit.partitions import Row
from whisperkit.sync import frames
from whisperkit.sync.chat import MAX_UNREAD, MEMBERSHIPS, Chat, chat_of, membership_key, rows_of
from whisperkit.sync.cursor import Cursor, next_tag
from whisperkit.sync.frames import Answer, EntryKind, Frame, StoredRow
from whisperkit.sync.mirror_state import (
    MAX_HELD,
    TRANSITIONS,
    Arrived,
    LostTail,
    Mirror,
    Phase,
    Synced,
    has_welcome,
    seen_key,
)

__all__ = ["Turn", "with_messages"]

_NO_CONVS: frozenset[ConversationId] = frozenset()

# The table by what comes: an enumeration hashes slowly, and a tuple of them compares at native speed.
_TAKEN_IN: Final[Mapping[type[object], tuple[Phase, ...]]] = {
    kind: tuple(phase for phase, found in TRANSITIONS if found is kind) for _, kind in TRANSITIONS
}

_MESSAGES: Final = (EntryKind.MESSAGE, EntryKind.PLACEHOLDER)

_Message: TypeAlias = tuple[ConversationSeq, bool]
"""The seq of a message, and whether it counts as unread."""


class Turn:
    """Collects what `Synced` will say. The mirror it began with stays as it was."""

    def __init__(self, mirror: Mirror, rows: Mapping[bytes, bytes], now: float) -> None:
        self.before = mirror
        self.mirror = mirror
        self.rows = rows
        self.now = now
        self.chats: dict[ConversationId, Chat] = {}
        self.loaded: dict[ConversationId, Chat] = {}
        # Messages that are not worked into their conversations yet; `chat` and `result` do it, all of one at once.
        self.messages: dict[ConversationId, list[_Message]] = {}
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
        if conv in self.messages:
            self.chats[conv] = with_messages(self.chats[conv], self.messages.pop(conv))
        return self.chats[conv]

    def result(self) -> Synced:
        """All that was collected."""
        for conv in list(self.messages):
            self.chat(conv)
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
        if self.mirror.phase not in _TAKEN_IN.get(type(frame), ()):
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
        if not head.conversations:
            self.mirror = self.mirror._replace(told=_NO_CONVS)  # whatever FOLLOW named was lost
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
        mirror = self.mirror
        cursor, held = mirror.cursor, mirror.held
        if cursor is None or entry.seq <= cursor.seq:
            return
        if held:
            if entry.seq == held[-1].seq + 1 and len(held) < MAX_HELD:
                self.mirror = mirror._replace(held=(*held, entry))
            return
        # A number alone could match after the log lost its tail and grew another one.
        if entry.seq != cursor.seq + 1 or entry.tag != next_tag(cursor.tag, entry.message_id):
            self._ask()
            return
        if entry.kind is not EntryKind.ASIDE and self._must_wait(entry):
            self.mirror = mirror._replace(held=(entry,))
            self._fetch(entry.conv, entry.pull_upto)
            return
        self._apply(entry.conv, _row_of(entry))
        mirror = self.mirror
        frontier, head = Cursor(cursor.epoch, entry.seq, entry.tag), mirror.head
        if head is None or head.seq < frontier.seq:
            head = frontier  # the server has more than it said when it last spoke of its head
        # Written out, because it is made for every entry (`_replace` costs three times as much).
        self.mirror = Mirror(mirror.device, frontier, mirror.phase, head, mirror.since, None, *mirror[6:])

    def _must_wait(self, entry: frames.Entry) -> bool:
        """Whether rows that were not pushed belong before an entry. What was posted before the user came does not."""
        if not entry.pull_upto:
            return False
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
        if row.kind in _MESSAGES:
            self.messages.setdefault(conv, []).append((row.conv_seq, is_new and self._is_of_others(row)))
        elif row.kind is not EntryKind.ASIDE:
            self.chats[conv] = self.chat(conv).with_row(row, device=self.mirror.device, is_new=is_new)

    def _is_of_others(self, row: StoredRow) -> bool:
        return row.sender is not None and row.sender.user != self.mirror.device.user

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
            for conv in sorted(mirror.opened):
                self.fetch_head(conv)

    def _watch_the_clock(self) -> None:
        """Begin, begin again or stop to count the seconds without progress."""
        mirror = self.mirror
        if mirror.phase is Phase.OFFLINE or not has_welcome(mirror):
            return
        is_behind = mirror.cursor != mirror.head or bool(mirror.held or mirror.fetching)
        has_moved = mirror.cursor != self.before.cursor or self.before.since is None
        since = (self.now if has_moved else mirror.since) if is_behind else None
        self.mirror = mirror._replace(since=since)

    def _follow(self) -> None:
        """Keep the list of conversations whose heads the server shall name; on a new link it knows of none."""
        pulled = {conv for conv, chat in self.chats.items() if chat.is_pulled}
        pushed = self.chats.keys() - pulled
        followed = (self.mirror.followed - pushed) | pulled
        if followed != self.mirror.followed:
            self.mirror = self.mirror._replace(followed=followed)
        if self.mirror.phase is not Phase.OFFLINE and followed != self.mirror.told:
            self.mirror = self.mirror._replace(told=followed)
            self.send.append(_follow(followed))


def with_messages(chat: Chat, messages: Sequence[_Message]) -> Chat:
    """What `Chat.with_row` makes of messages one after the other, at once: a copy of the badge for all of them."""
    progress = chat.progress
    latest = max(seq for seq, _ in messages)
    unread = progress.unread
    if new := [seq for seq, is_counted in messages if is_counted and seq > progress.read_upto]:
        unread = (*unread, *new)[-MAX_UNREAD:]
    return chat._replace(
        progress=progress._replace(
            pulled_upto=max(progress.pulled_upto, latest), head=max(progress.head, latest), unread=unread
        )
    )


def _follow(convs: frozenset[ConversationId]) -> frames.Follow:
    return frames.Follow(tuple(sorted(convs)[: frames.MAX_CONVERSATIONS]))


def _row_of(entry: frames.Entry) -> StoredRow:
    return StoredRow(entry.message_id, entry.kind, entry.conv_seq, entry.sender, entry.at_ms, entry.own, entry.shared)
