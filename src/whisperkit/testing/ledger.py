"""What must never happen, checked while it happens: the promises of a chat against everything that was committed.

The ledger sees each commit of the shared store and of each device, each raise of a mark, and each frame that reaches a
device. It trusts nothing that the service says of itself. `Violation` is raised where a promise breaks; `owed`
says what is still missing, which is a violation only if it is so when nothing has gone wrong for five minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from whisperkit import accounts
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, GatewayId, MessageId, Owner, UserId
from whisperkit.partitions import Change, Partition, seq_of
from whisperkit.service import owners
from whisperkit.stores import Mark
from whisperkit.strategy import Strategy
from whisperkit.sync import conversation as conversations
from whisperkit.sync import frames
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.codec import decode
from whisperkit.sync.cursor import first_tag, next_tag, relinked_tag
from whisperkit.sync.frames import ASIDES, Answer, Direction, EntryKind, RosterChange
from whisperkit.sync.inbox import Inbox, OwnValue
from whisperkit.sync.mirror import decode_mirror
from whisperkit.sync.rows import decode_row
from whisperkit.testing.sim_device import HISTORY, Applied, history_of

__all__ = ["Ledger", "Violation"]

# A list of devices is used for ten seconds at most; what is posted until then may miss a device linked meanwhile.
LIST_S: Final = 10.5


class Violation(AssertionError):  # noqa: N818  # the word that everybody uses for it
    """A promise was broken.

    Attributes:
        kind: Which one, in a word or two.
        detail: By what.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


class Post(NamedTuple):
    """What is known of a row of a conversation."""

    at_s: float
    message_id: MessageId
    kind: EntryKind
    strategy: Strategy
    sender: DeviceId | None
    change: RosterChange | None = None


class _Log:
    """An inbox as it was written."""

    def __init__(self, device: DeviceId) -> None:
        self.tag = first_tag(device)
        self.entries: dict[int, tuple[ConversationId, ConversationSeq]] = {}
        self.last: dict[ConversationId, int] = {}
        self.seq = 0
        self.floor = 0
        self.link = 0
        self.opened_at: float | None = None

    def relink(self, link: int) -> None:
        """The chain begins again where the device is linked again."""
        if self.link not in (0, link):
            self.tag = relinked_tag(self.tag, link)
        self.link = link


class Ledger:
    """Everything that was promised, and whether it was kept.

    Args:
        now: The simulated clock.
        name: How people are to read a device or user.
    """

    def __init__(self, now: Callable[[], float], name: Callable[[str], str]) -> None:
        self.deliveries = 0
        self.fanned_out: dict[ConversationId, int] = {}
        self.heads: dict[ConversationId, int] = {}
        self.halls: set[ConversationId] = set()
        self.marks: dict[tuple[Partition, str], int] = {}
        self.acknowledged: dict[MessageId, tuple[DeviceId, ConversationId, ConversationSeq, float]] = {}
        self.linked: dict[UserId, dict[DeviceId, int]] = {}
        self.notes: dict[tuple[Partition, bytes], float] = {}
        self.listed: dict[GatewayId, int] = {}
        self.jobs: dict[ConversationId, int] = {}
        self.populated_at = 0.0
        self._now = now
        self._name = name
        self._posts: dict[ConversationId, dict[int, Post]] = {}
        self._seq_of: dict[tuple[ConversationId, MessageId], int] = {}
        self._logs: dict[DeviceId, _Log] = {}
        self._applied: dict[DeviceId, dict[ConversationId, list[Applied]]] = {}
        self._seen: dict[DeviceId, set[tuple[ConversationId, MessageId]]] = {}
        self._cursors: dict[DeviceId, int] = {}
        self._began: dict[DeviceId, float] = {}

    # ---- the shared store ----

    def committed(self, changes: Sequence[Change]) -> None:
        """The shared store took a commit."""
        for change in changes:  # sorted, so conversations come before inboxes
            kind, _, name = change.partition.partition("/")
            match kind:
                case "conv":
                    self._conversation(ConversationId(name), change)
                case "inbox":
                    self._inbox(DeviceId.parse(name), change)
                case "user":
                    self._account(UserId(name), change)
                case "owner":
                    self._notes(GatewayId(name), change)
                case "gateways":
                    self._listing(change)
                case "jobs":
                    for key, value in change.put:
                        self.job_put(ConversationId(key.decode()), int.from_bytes(value[:8], "big"))
                case "marks":
                    where = Partition(name)
                    self.raised([Mark(where, row.key.decode(), int.from_bytes(row.value, "big")) for row in change.put])
                case _:
                    pass

    def _conversation(self, conv: ConversationId, change: Change) -> None:
        for key, value in change.put:
            if key.startswith(b"e/"):
                row = decode_row(value)
                post = Post(self._now(), row.message_id, row.kind, row.strategy, row.sender, row.change)
                self._posted(conv, row.seq, post)
        head = conversations.decode(change.state)
        if head.seq < self.heads.get(conv, 0):
            raise Violation("went back", f"{self._conv(conv)} from {self.heads[conv]} to {head.seq}")
        if head.fanned_out > head.seq:
            raise Violation("finished too much", f"{self._conv(conv)}: {head.fanned_out} of {head.seq} rows")
        self.heads[conv] = head.seq
        self.halls.discard(conv)
        if head.strategy is Strategy.MEGA:
            self.halls.add(conv)
        self._finished(conv, head.fanned_out)

    def _finished(self, conv: ConversationId, upto: int) -> None:
        self.fanned_out[conv] = max(upto, self.fanned_out.get(conv, 0))

    def _posted(self, conv: ConversationId, seq: int, post: Post) -> None:
        """A number belongs to one message, and a message has one number."""
        there = self._posts.setdefault(conv, {}).setdefault(seq, post)
        if there.message_id != post.message_id:
            raise Violation("number given twice", f"{self._conv(conv)} seq {seq}: two messages")
        first = self._seq_of.setdefault((conv, post.message_id), seq)
        if first != seq:
            raise Violation("posted twice", f"{self._conv(conv)}: one message is seq {first} and {seq}")

    def _inbox(self, device: DeviceId, change: Change) -> None:
        log = self._logs.setdefault(device, _Log(device))
        head = inboxes.decode(change.state)
        for key, value in change.put:
            if key.startswith(b"e/"):
                if head.is_open and seq_of(key) > head.floor:
                    log.relink(head.link)
                self._entry(device, log, seq_of(key), value)
        if head.is_open:
            log.relink(head.link)
        where = self._name(device)
        if head.seq != log.seq:
            raise Violation("inbox", f"{where} says {head.seq}, its last entry is {log.seq}")
        if head.epoch and head.tag != log.tag:
            raise Violation("chain", f"the head of inbox/{where} is not the chain of its entries at {head.seq}")
        self._opened(log, head)

    def _opened(self, log: _Log, head: Inbox) -> None:
        if not head.is_open:
            log.opened_at = None
        elif log.opened_at is None:
            log.opened_at = self._now()
        log.floor = head.floor

    def _entry(self, device: DeviceId, log: _Log, seq: int, value: bytes) -> None:
        where = self._name(device)
        found = inboxes.decode_value(value)
        if isinstance(found, OwnValue):
            frame = decode(found.frame, direction=Direction.TO_CLIENT)[0]
            assert isinstance(frame, frames.Entry)  # nothing else is in an inbox
            conv, conv_seq, message_id, kind = frame.conv, frame.conv_seq, frame.message_id, frame.kind
            if kind is not EntryKind.ASIDE:
                kind = EntryKind.MESSAGE if kind is EntryKind.PLACEHOLDER else kind
                self._posted(conv, conv_seq, Post(self._now(), message_id, kind, Strategy.SMALL, frame.sender))
        else:
            conv, conv_seq = found.conv, found.conv_seq
            post = self._posts.get(conv, {}).get(conv_seq)
            if post is None:
                raise Violation("dangling", f"inbox/{where} {seq} refers to {self._conv(conv)} seq {conv_seq}")
            message_id = post.message_id
        if seq != log.seq + 1:
            raise Violation("inbox", f"{where} got entry {seq} after {log.seq}")
        log.tag = next_tag(log.tag, message_id)
        if found.tag != log.tag:
            raise Violation("chain", f"entry {seq} of inbox/{where} does not continue it")
        log.seq = seq
        last = log.last.get(conv, 0)
        if conv != ASIDES and conv_seq <= last:
            how = "doubled" if any(entry == (conv, conv_seq) for entry in log.entries.values()) else "out of order"
            raise Violation(how, f"{self._conv(conv)} seq {conv_seq} came into inbox/{where} after {last}")
        log.last[conv] = conv_seq
        log.entries[seq] = conv, conv_seq

    def _account(self, user: UserId, change: Change) -> None:
        account = accounts.decode(change.state)
        self.linked[user] = {DeviceId(user, listed.number): listed.link for listed in account.devices}

    def _notes(self, gateway: GatewayId, change: Change) -> None:
        for key, _ in change.put:
            self._note_is_found(owners.owner_of_note(gateway, key)[0])
            self.notes.setdefault((change.partition, key), self._now())
        for key in change.delete:
            self.notes.pop((change.partition, key), None)

    def _listing(self, change: Change) -> None:
        self.listed |= {owner.gateway: owner.incarnation for owner in map(owners.listed_owner, change.put)}
        for key in change.delete:
            self.listed.pop(GatewayId(key.removeprefix(owners.LISTED_KEYS).decode()), None)
        for partition, key in self.notes:
            self._note_is_found(owners.owner_of_note(GatewayId(partition.partition("/")[2]), key)[0])

    def _note_is_found(self, owner: Owner) -> None:
        """Should the owner die, somebody must find its notes, whatever the directory forgets."""
        listed = self.listed.get(owner.gateway, 0)
        if listed < owner.incarnation:
            raise Violation("not listed", f"{owner} has a note; its gateway is listed under {listed}")

    def job_put(self, conv: ConversationId, upto: int) -> None:
        """A job became durable."""
        self.jobs[conv] = max(upto, self.jobs.get(conv, 0))

    # ---- marks ----

    def raised(self, marks: Iterable[Mark]) -> None:
        """Marks became durable."""
        for partition, name, value in marks:
            before = self.marks.get((partition, name), 0)
            if value <= before:
                continue
            self.marks[partition, name] = value
            kind, _, where = partition.partition("/")
            if kind == "conv" and name == "fanned_out":
                self._finished(ConversationId(where), value)
            elif kind == "conv" and name.startswith("delivered/"):
                self._delivered(ConversationId(where), UserId(name.partition("/")[2]), value)
            elif kind == "inbox":
                self._acked(DeviceId.parse(where), before, value)

    def _delivered(self, conv: ConversationId, user: UserId, upto: int) -> None:
        """A tick says that a device of the user has it, so one must have it."""
        if any(post.strategy is Strategy.MEGA for post in self._posts.get(conv, {}).values()):
            return  # what is pulled is not acknowledged; reading it is all there is
        devices = [device for device in self._applied if device.user == user]
        if not any(row.conv_seq >= upto for device in devices for row in self._applied[device].get(conv, ())):
            raise Violation("tick too early", f"{self._conv(conv)} seq {upto}: no device of {self._name(user)} has it")

    def _acked(self, device: DeviceId, before: int, upto: int) -> None:
        """Acknowledged is what is saved on the device; and it has been told to those who wait for a tick."""
        if upto > self._cursors.get(device, 0):
            raise Violation("acked too much", f"inbox/{self._name(device)} {upto}, saved {self._cursors.get(device)}")
        log = self._logs[device]
        for seq in range(max(before, log.floor) + 1, upto + 1):
            conv, conv_seq = log.entries[seq]
            post = self._posts.get(conv, {}).get(conv_seq)
            if post is None or post.kind is not EntryKind.MESSAGE or post.sender is None:
                continue
            mark = self.marks.get((conversations.partition(conv), f"delivered/{device.user}"), 0)
            if post.sender.user != device.user and mark < conv_seq:
                raise Violation(
                    "tick lost", f"{self._name(device)} acked {self._conv(conv)} seq {conv_seq}, delivered is {mark}"
                )

    # ---- devices ----

    def saved(self, device: DeviceId, changes: Sequence[Change]) -> None:
        """A device committed."""
        for change in changes:
            cursor = decode_mirror(change.state).cursor
            for key, value in change.put:
                if key.startswith(HISTORY):
                    self._apply(device, history_of(value))
            self._cursors[device] = cursor.seq if cursor is not None else 0
            if cursor is not None:
                self._began.setdefault(device, self._now())

    def _apply(self, device: DeviceId, row: Applied) -> None:
        self.deliveries += 1
        seen = self._seen.setdefault(device, set())
        if (row.conv, row.message_id) in seen:
            raise Violation("applied twice", f"{self._conv(row.conv)} seq {row.conv_seq} by {self._name(device)}")
        seen.add((row.conv, row.message_id))
        rows = self._applied.setdefault(device, {}).setdefault(row.conv, [])
        if rows and row.conv_seq <= rows[-1].conv_seq and row.conv != ASIDES:
            raise Violation(
                "order", f"{self._name(device)} applied {self._conv(row.conv)} {row.conv_seq} after {rows[-1].conv_seq}"
            )
        rows.append(row)

    def heard(self, device: DeviceId, frame: frames.Frame, *, has_cursor: bool) -> None:
        """A frame reached a device."""
        match frame:
            case frames.Sent(conv, _, _, message_id, seq, _) if seq:
                self._answered(device, conv, message_id, seq)
            case frames.Mark(conv, user, kind, upto):
                name = f"{kind.name.lower()}/{user}"
                if upto > self.marks.get((conversations.partition(conv), name), 0):
                    raise Violation("tick moved back", f"{name} of {self._conv(conv)}: shown {upto}, not durable")
            case frames.Welcome(answer, _, _) if answer is not Answer.DELTA and has_cursor:
                raise Violation("fork", f"{self._name(device)} was told {answer.name}, but nothing was restored")
            case _:
                pass

    def _answered(self, device: DeviceId, conv: ConversationId, message_id: MessageId, seq: ConversationSeq) -> None:
        """SENT: from here on the message needs neither the device nor the gateway."""
        post = self._posts.get(conv, {}).get(seq)
        if post is None or post.message_id != message_id:
            raise Violation("lost", f"{self._conv(conv)} seq {seq}: acknowledged, and not there")
        self.acknowledged.setdefault(message_id, (device, conv, seq, self._now()))
        is_done = self.fanned_out.get(conv, 0) >= seq or post.strategy is Strategy.MEGA
        if not is_done and not (post.strategy is Strategy.MID and self.jobs.get(conv, 0) >= seq):
            raise Violation("SENT too early", f"{self._conv(conv)} seq {seq} is neither finished nor a job")

    # ---- at quiet ----

    def owed(self, devices: Iterable[DeviceId]) -> Iterator[Violation]:
        """What is missing yet, for the devices that are linked."""
        for conv, head in self.heads.items():
            if self.fanned_out.get(conv, 0) < head:
                yield Violation("unfinished", f"{self._conv(conv)}: {self.fanned_out.get(conv, 0)} of {head} rows")
        for partition, key in self.notes:
            yield Violation("note left", f"{partition} about {key[10:].decode()}")
        audiences = {conv: _Audience(posts) for conv, posts in self._posts.items()}
        for device in devices:
            for conv, posts in self._posts.items():
                yield from self._owed_to(device, conv, posts, audiences[conv])

    def _owed_to(
        self, device: DeviceId, conv: ConversationId, posts: dict[int, Post], audience: _Audience
    ) -> Iterator[Violation]:
        log = self._logs.get(device)
        if log is None or log.opened_at is None:
            yield Violation("no inbox", f"{self._name(device)} is linked")
            return
        since = 0.0 if log.opened_at <= self.populated_at else log.opened_at + LIST_S
        in_inbox = {seq for there, seq in log.entries.values() if there == conv}
        applied = {row.conv_seq for row in self._applied.get(device, {}).get(conv, ())}
        for seq, post in posts.items():
            is_in = audience.has(device.user, seq)
            if not is_in and (seq in in_inbox or seq in applied):
                raise Violation("leaked", f"{self._conv(conv)} seq {seq} to {self._name(device)}, who was not in")
            if not is_in or post.sender == device or post.at_s < since:
                continue
            is_pushed = post.strategy.is_pushed or (
                post.change is not None and device.user in (*post.change.added, *post.change.removed)
            )
            what = f"{self._conv(conv)} seq {seq}, posted at {post.at_s:.3f} s"
            if is_pushed and seq not in in_inbox:
                yield Violation("lost", f"{what}: not in inbox/{self._name(device)}")
            elif seq not in applied and (is_pushed or self._is_pulled_by(device, post, audience)):
                yield Violation("lost", f"{what}: not applied by {self._name(device)}")

    def _is_pulled_by(self, device: DeviceId, post: Post, audience: _Audience) -> bool:
        """A device pulls what was posted since its first snapshot, while its user is in."""
        return audience.has_now(device.user) and post.at_s >= self._began.get(device, 0.0)

    def _conv(self, conv: ConversationId) -> str:
        return f"conversation {self._name(conv)}"


class _Audience:
    """Who gets which row, from the changes themselves."""

    def __init__(self, posts: dict[int, Post]) -> None:
        self._stays: dict[UserId, list[list[float]]] = {}
        for seq in sorted(posts):
            change = posts[seq].change
            for user in change.added if change is not None else ():
                self._stays.setdefault(user, []).append([seq, float("inf")])
            for user in change.removed if change is not None else ():
                self._stays[user][-1][1] = seq

    def has(self, user: UserId, seq: int) -> bool:
        """Whether the user gets row `seq`."""
        return any(join <= seq <= leave for join, leave in self._stays.get(user, ()))

    def has_now(self, user: UserId) -> bool:
        """Whether the user is in."""
        stays = self._stays.get(user)
        return stays is not None and bool(stays) and stays[-1][1] == float("inf")
