"""A simulated device: the real `Mirror` and `Outbox` over a store of its own and a lossy wire, with plain texts.

One life of one device's program. It saves what a read of the link brought in one commit and only then answers; a
commit that fails, or a crash, and it begins again from what is saved. What it is to do is put into its `box`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from whisperkit.errors import ConflictError, OutboxFullError, OutcomeUnknownError, PeerError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, MessageId, UserId
from whisperkit.partitions import EVERYTHING, Change, Partition, Row, Span, seq_key
from whisperkit.runtime import Mailbox
from whisperkit.stores import PartitionStore
from whisperkit.sync import frames, mirror, outbox
from whisperkit.sync.chat import chat_of, chat_spans
from whisperkit.sync.connection import ClientConnection, ConnectionState
from whisperkit.sync.frames import ByeCode, EntryKind, FailureReason, Frame, RosterChange
from whisperkit.sync.mirror import Arrived, Mirror, Synced
from whisperkit.sync.outbox import Outbox
from whisperkit.testing.lossy_wire import LossyWire
from whisperkit.testing.sim_runtime import SimRuntime

__all__ = ["HISTORY", "DeviceHost", "Order", "SimDevice", "history_of"]

HISTORY: Final = b"h/"

BEAT_S: Final = 15.0
SILENT_S: Final = 25.0
UNANSWERED_S: Final = 20.0
MARKS_S: Final = 30.0
RETRY_S: Final = 5.0
MAX_RETRY_S: Final = 10.0


class Order(NamedTuple):
    """Something that the person does."""

    verb: str
    conv: ConversationId | None = None
    change: RosterChange | None = None
    number: int = 0


class _Came(NamedTuple):
    """A message reached the device."""

    wire: LossyWire
    data: bytes


class _Ended(NamedTuple):
    """The connection is gone."""

    wire: LossyWire


_Item: TypeAlias = Order | _Came | _Ended


class DeviceHost(Protocol):
    """What a device needs of the world around it, and tells it."""

    def connect(
        self, device: DeviceId, *, came: Callable[[LossyWire, bytes], None], ended: Callable[[LossyWire], None]
    ) -> LossyWire | None:
        """Open a connection to some gateway; `None`: none can be reached."""

    def heard(self, device: DeviceId, frame: Frame) -> None:
        """A frame reached the device."""

    def ended(self, device: DeviceId, code: ByeCode, *, is_damaged: bool) -> bool:
        """The server ended the present connection. False: the device is to stay away for good."""
        ...

    def linked(self, device: DeviceId, number: int) -> None:
        """A device that this one linked may begin."""

    def devices_of(self, conv: ConversationId) -> Iterable[DeviceId]:
        """A first guess at the devices in a conversation of two; the server corrects it."""
        ...


class _Stage:
    """Rows under change: what is saved, and what one commit will put and delete."""

    def __init__(self, saved: Mapping[bytes, bytes]) -> None:
        self.put: dict[bytes, bytes] = {}
        self.delete: set[bytes] = set()
        self._saved = saved

    def change(self, put: Iterable[Row], delete: Iterable[bytes]) -> None:
        for key in delete:
            self.put.pop(key, None)
            self.delete.add(key)
        for key, value in put:
            self.delete.discard(key)
            self.put[key] = value

    def rows(self, spans: Iterable[Span]) -> dict[bytes, bytes]:
        """What is there in some spans, with the change worked in."""
        found: dict[bytes, bytes] = {}
        for start, stop, _ in spans:
            if stop == start + b"\x00":
                value = self.put.get(start) or self._saved.get(start)
                if value is not None and start not in self.delete:
                    found[start] = value
                continue
            for there in (self._saved, self.put):
                found.update({k: v for k, v in there.items() if start <= k < stop and k not in self.delete})
        return found


class SimDevice:
    """One life of a device's program.

    Args:
        runtime: Its node.
        device: Who it is.
        store: Its own database, on the device.
        host: The world around it.
    """

    def __init__(self, runtime: SimRuntime, device: DeviceId, store: PartitionStore, host: DeviceHost) -> None:
        self.device = device
        self.mirror = Mirror(device)
        self.outboxes: dict[ConversationId, Outbox] = {}
        self.connection_no = 0
        self.is_gone = False
        self.shown: dict[tuple[ConversationId, UserId, frames.MarkKind], ConversationSeq] = {}
        self.box: Mailbox[_Item] = runtime.mailbox()
        self._runtime = runtime
        self._store = store
        self._host = host
        self._partition = Partition(f"device/{device}")
        self._version = 0
        self._rows: dict[bytes, bytes] = {}
        self._history = 0
        self._known: dict[ConversationId, set[DeviceId]] = {}
        self._wire: LossyWire | None = None
        self._connection = ClientConnection()
        self._connect_at: float | None = 0.0
        self._retry_s = 0.2
        self._opened_at = 0.0
        self._heard_at = 0.0
        self._beat_at = 0.0
        self._marks_at = 0.0
        self._wait_until: dict[ConversationId, float] = {}
        self._unanswered_since: dict[MessageId, float] = {}
        self._link: tuple[int, MessageId, float] | None = None
        self._unlink: tuple[int, float] | None = None

    # ---- the program ----

    async def run(self) -> None:
        """Begin from what is saved, and go on until the device is unlinked."""
        await self._load()
        while not self.is_gone:
            first = await self.box.get(timeout_s=max(0.0, self._next_time() - self._now()))
            items = self.box.take(1_000)
            try:
                await self._work([first, *items] if first is not None else items)
                await self._keep_time()
            except (ConflictError, OutcomeUnknownError):
                # Nothing is known of the store any more: begin again from what it says.
                self._hang_up()
                await self._load()
            self._send_due()

    async def _load(self) -> None:
        while True:
            try:
                heads = await self._store.heads([self._partition])
                rows = await self._store.rows(self._partition, [EVERYTHING], limit=100_000) if heads else ()
                again = await self._store.heads([self._partition])
            except OutcomeUnknownError:
                await self._runtime.sleep(0.1)
                continue
            if heads == again:  # a commit of a former life may still have been under way
                break
        head = heads.get(self._partition)
        opened = self.mirror.opened
        self.mirror = Mirror(self.device) if head is None else mirror.decode_mirror(head.state)
        self.mirror = self.mirror._replace(opened=opened)
        self._version = 0 if head is None else head.version
        self._rows = dict(rows)
        self._history = sum(key.startswith(HISTORY) for key in self._rows)
        pending = _Stage(self._rows).rows(outbox.outbox_spans())
        self.outboxes = outbox.load_outboxes(Row(key, pending[key]) for key in sorted(pending))

    def _now(self) -> float:
        return self._runtime.now()

    async def _work(self, items: Sequence[_Item]) -> None:
        batch: list[Frame] = []
        for item in items:
            match item:
                case _Came(wire, data):
                    if wire is self._wire:
                        batch += self._decode(data)
                case _Ended(wire):
                    if wire is self._wire:
                        self._lost_link()
                case Order():
                    await self._frames(batch)
                    batch = []
                    await self._order(item)
        await self._frames(batch)

    def is_member(self, conv: ConversationId) -> bool:
        """Whether the user is in a conversation, as far as the device knows."""
        return chat_of(conv, self._rows).membership is not None

    # ---- the link ----

    def _open(self) -> None:
        self._connect_at = None
        self._connection = ClientConnection()
        self._wire = self._host.connect(
            self.device,
            came=lambda wire, data: self.box.put(_Came(wire, data)),
            ended=lambda wire: self.box.put(_Ended(wire)),
        )
        self._opened_at = self._heard_at = self._now()
        if self._wire is None:
            self._lost_link()
        else:
            self._wire.open()

    def _hang_up(self) -> None:
        if self._wire is not None:
            self._wire.hang_up()
        self._lost_link()

    def _lost_link(self) -> None:
        self._wire = None
        self._connection.close()
        self.mirror = mirror.detach(self.mirror)
        self.outboxes = {conv: outbox.disconnected(box) for conv, box in self.outboxes.items()}
        self._unanswered_since.clear()
        self._connect_at = self._now() + self._retry_s * (0.5 + self._runtime.chance())
        self._retry_s = min(2 * self._retry_s, MAX_RETRY_S)

    def _decode(self, data: bytes) -> list[Frame]:
        try:
            found = self._connection.receive(data)
        except PeerError:
            self._hang_up()
            return []
        self._heard_at = self._now()
        return found

    def _write(self, out: Sequence[Frame]) -> None:
        if self._wire is None or not out or self._connection.state is not ConnectionState.ESTABLISHED:
            return
        for message in self._connection.encode(out):
            assert isinstance(message, bytes)  # the device speaks msgpack
            self._wire.up(message)

    def _hello(self) -> None:
        self.connection_no = max(self.connection_no + 1, self._runtime.wall_ms())
        hello = frames.Hello(frames.PROTOCOL_VERSION, self.device, self.connection_no, self.mirror.cursor, None)
        pulled = [conv for conv in self._conversations() if chat_of(conv, self._rows).is_pulled]
        self.mirror = mirror.attach(mirror.detach(self.mirror), followed=pulled, now=self._now())
        assert self._wire is not None  # the challenge came over it
        for message in self._connection.encode([hello]):
            assert isinstance(message, bytes)  # as above
            self._wire.up(message)
        self._beat_at = self._now() + BEAT_S
        self._marks_at = self._now() + 1.0

    def _conversations(self) -> list[ConversationId]:
        return [ConversationId(key[2:].decode()) for key in self._rows if key.startswith(b"r/")]

    # ---- what comes ----

    async def _frames(self, batch: Sequence[Frame]) -> None:
        """Take what one read brought: one commit, then the answers."""
        if not batch or self._wire is None:
            return
        stage = _Stage(self._rows)
        synced = mirror.receive(self.mirror, batch, stage.rows(mirror.rows_for(self.mirror, batch)), now=self._now())
        stage.change(synced.put, synced.delete)
        arrived = list(synced.arrived)
        boxes: dict[ConversationId, Outbox] = {}
        state = synced.state
        for frame in batch:
            if isinstance(frame, frames.Sent):
                state = self._sent(frame, state, boxes, stage)
            elif isinstance(frame, frames.Refused):
                self._refused(frame, boxes, stage)
        await self._save(stage, state, arrived)
        self.outboxes.update(boxes)
        if self._wire is None:  # pyright: ignore[reportUnnecessaryComparison]  # it may have gone meanwhile
            return
        self._write(synced.send)
        self._after(batch, synced)

    def _after(self, batch: Sequence[Frame], synced: Synced) -> None:
        for frame in batch:
            self._host.heard(self.device, frame)
            match frame:
                case frames.Challenge():
                    if self._connection.state is ConnectionState.AWAITING_HELLO:
                        self._hello()
                case frames.Welcome():
                    self._retry_s = 0.2
                case frames.Bye(code, _):
                    self._bye(code)
                case frames.Mark(conv, user, kind, upto):
                    key = conv, user, kind
                    self.shown[key] = max(upto, self.shown.get(key, upto))
                case frames.Linked(request, _) if self._link is not None and request == self._link[1]:
                    self._host.linked(self.device, self._link[0])
                    self._link = None
                case frames.Linked():
                    self._unlink = None
                case frames.Failed(request, reason, _) if self._link is not None and request == self._link[1]:
                    if reason is not FailureReason.NOT_DRAINED:
                        self._link = None
                case frames.Failed():
                    self._unlink = None
                case _:
                    pass
        if synced.reconnect and self._wire is not None:
            self._hang_up()

    def _bye(self, code: ByeCode) -> None:
        assert self._wire is not None  # frames of a lost link are not looked at
        goes_on = self._host.ended(self.device, code, is_damaged=self._wire.is_damaged)
        self._lost_link()
        if not goes_on:
            self.is_gone = True

    async def _save(self, stage: _Stage, state: Mirror, arrived: Sequence[Arrived] = ()) -> None:
        """Commit what changed, and only then take it over."""
        for number, (conv, row) in enumerate(arrived, self._history + 1):
            value = row.conv_seq.to_bytes(8, "big") + row.message_id + bytes([row.kind]) + conv.encode()
            stage.put[seq_key(HISTORY, number)] = value
        if stage.put or stage.delete or state.cursor != self.mirror.cursor:
            put = tuple(Row(key, value) for key, value in stage.put.items())
            change = Change(
                self._partition, self._version, mirror.encode_mirror(state), put, tuple(sorted(stage.delete))
            )
            await self._store.commit([change])
            self._version += 1
            self._history += len(arrived)
            for key in stage.delete:
                self._rows.pop(key, None)
            self._rows.update(stage.put)
        self.mirror = state

    # ---- the outbox ----

    def _box_of(self, conv: ConversationId, boxes: Mapping[ConversationId, Outbox]) -> Outbox:
        return boxes.get(conv) or self.outboxes.get(conv) or Outbox(conv)

    def _sent(self, sent: frames.Sent, state: Mirror, boxes: dict[ConversationId, Outbox], stage: _Stage) -> Mirror:
        box = self._box_of(sent.conv, boxes)
        send = box.find(sent.message_id)
        step = outbox.answered(box, sent)
        boxes[sent.conv] = step.state
        stage.change(step.put, step.delete)
        self._unanswered_since.pop(sent.message_id, None)
        if send is None:
            return state
        synced = mirror.posted(state, send, sent, stage.rows(chat_spans(sent.conv)), now=self._now())
        stage.change(synced.put, synced.delete)
        return synced.state

    def _refused(self, refused: frames.Refused, boxes: dict[ConversationId, Outbox], stage: _Stage) -> None:
        step = outbox.refused(self._box_of(refused.conv, boxes), refused)
        stage.change(step.put, step.delete)
        box = step.state
        self._unanswered_since.pop(refused.message_id, None)
        match step.answer:
            case outbox.EncryptAgain(send):
                known = self._devices(refused.conv)
                known |= set(refused.missing)
                known -= set(refused.extra)
                again = outbox.encrypted_again(box, self._encrypted(send, roster=refused.number or None))
                stage.change(again.put, again.delete)
                box = again.state
            case outbox.Wait(wait_ms):
                self._wait_until[refused.conv] = self._now() + wait_ms / 1_000
            case _:
                pass
        boxes[refused.conv] = box

    def _devices(self, conv: ConversationId) -> set[DeviceId]:
        if conv not in self._known:
            self._known[conv] = set(self._host.devices_of(conv)) - {self.device}
        return self._known[conv]

    def _encrypted(self, send: frames.Send, *, roster: int | None) -> frames.Send:
        """What stands for encryption: a copy for each device in a conversation of two, one text for all elsewhere."""
        if send.kind is not EntryKind.MESSAGE:
            return send
        text = b"text " + send.message_id
        if send.own is not None:
            return send._replace(own=dict.fromkeys(sorted(self._devices(send.conv)), text))
        return send._replace(shared=text, if_roster=ConversationSeq(roster) if roster else send.if_roster)

    def _send_due(self) -> None:
        if self._wire is None or self._connection.state is not ConnectionState.ESTABLISHED or self.mirror.head is None:
            return
        for conv, box in self.outboxes.items():
            if self._wait_until.get(conv, 0.0) > self._now():
                continue
            step = outbox.next_to_send(box)
            self.outboxes[conv] = step.state
            for send in step.answer:
                self._unanswered_since.setdefault(send.message_id, self._now())
            self._write(step.answer)

    # ---- what the person does ----

    async def _order(self, order: Order) -> None:
        match order.verb:
            case "send" | "change":
                await self._enqueue(order)
            case "read":
                await self._read(order)
            case "open":
                assert order.conv is not None  # the simulator gives it
                stage = _Stage(self._rows)
                rows = stage.rows(chat_spans(order.conv))
                await self._take(mirror.open_chat(self.mirror, order.conv, rows, now=self._now()), stage)
            case "marks":
                self._marks_at = 0.0
            case "link":
                request = MessageId.mint(wall_ms=self._runtime.wall_ms(), random_bytes=self._runtime.random)
                self._link = order.number, request, 0.0
            case _:
                self._unlink = order.number, 0.0

    async def _enqueue(self, order: Order) -> None:
        conv = order.conv
        assert conv is not None  # the simulator gives it
        membership = chat_of(conv, self._rows).membership
        if membership is None:
            return
        message_id = MessageId.mint(wall_ms=self._runtime.wall_ms(), random_bytes=self._runtime.random)
        kind = EntryKind.MESSAGE if order.change is None else EntryKind.ROSTER
        is_direct = any(True for _ in self._host.devices_of(conv))
        own: Mapping[DeviceId, bytes] | None = {} if is_direct and order.change is None else None
        send = frames.Send(conv, 1, 1, message_id, kind, None, (), order.change, None, own)
        send = self._encrypted(send, roster=membership.version)
        try:
            step = outbox.enqueue(self._box_of(conv, {}), send)
        except OutboxFullError:
            return
        stage = _Stage(self._rows)
        stage.change(step.put, step.delete)
        await self._save(stage, self.mirror)
        self.outboxes[conv] = step.state

    async def _read(self, order: Order) -> None:
        assert order.conv is not None  # the simulator gives it
        stage = _Stage(self._rows)
        rows = stage.rows(chat_spans(order.conv))
        unread = chat_of(order.conv, rows).progress.unread
        if unread:
            await self._take(mirror.read(self.mirror, order.conv, unread[-1], rows, now=self._now()), stage)

    async def _take(self, synced: Synced, stage: _Stage) -> None:
        stage.change(synced.put, synced.delete)
        await self._save(stage, synced.state, synced.arrived)
        self._write(synced.send)
        if synced.reconnect and self._wire is not None:
            self._hang_up()

    # ---- time ----

    def _next_time(self) -> float:
        times = [self._now() + 60.0]
        if self._connect_at is not None:
            times.append(self._connect_at)
        else:
            times += [self._heard_at + SILENT_S, self._beat_at, self._marks_at]
            times += [at for at in (mirror.deadline(self.mirror), *self._wait_until.values()) if at is not None]
            times += [at + UNANSWERED_S for at in self._unanswered_since.values()]
            times += [pending[-1] for pending in (self._link, self._unlink) if pending is not None]
        return min(times)

    async def _keep_time(self) -> None:
        now = self._now()
        if self._connect_at is not None:
            if now >= self._connect_at:
                self._open()
            return
        is_stuck = any(now >= at + UNANSWERED_S for at in self._unanswered_since.values())
        if now >= self._heard_at + SILENT_S or is_stuck:
            self._hang_up()
            return
        due = mirror.deadline(self.mirror)
        if due is not None and now >= due:
            stage = _Stage(self._rows)
            rows = stage.rows(mirror.rows_for(self.mirror, []))
            await self._take(mirror.handle_timer(self.mirror, rows, now=now), stage)
        self._wait_until = {conv: at for conv, at in self._wait_until.items() if at > now}
        self._ask_in_time(now)

    def _ask_in_time(self, now: float) -> None:
        if now >= self._beat_at:
            self._beat_at = now + BEAT_S
            self._write([frames.Beat()])
        if now >= self._marks_at:
            self._marks_at = now + MARKS_S
            convs = tuple(sorted(self._conversations()))
            if convs:
                self._write([frames.Marks(convs)])
        if self._link is not None and now >= self._link[2]:
            number, request, _ = self._link
            self._link = number, request, now + RETRY_S
            self._write([frames.Link(request, number, b"\x05" + bytes([number]) * 32, number)])
        if self._unlink is not None and now >= self._unlink[1]:
            number = self._unlink[0]
            self._unlink = number, now + RETRY_S
            request = MessageId.mint(wall_ms=self._runtime.wall_ms(), random_bytes=self._runtime.random)
            self._write([frames.Unlink(request, number)])


class Applied(NamedTuple):
    """A row of a device's history."""

    conv: ConversationId
    conv_seq: ConversationSeq
    message_id: MessageId
    kind: EntryKind


def history_of(value: bytes) -> Applied:
    """Read a history row."""
    seq = ConversationSeq(int.from_bytes(value[:8], "big"))
    return Applied(ConversationId(value[25:].decode()), seq, MessageId(value[8:24]), EntryKind(value[24]))
