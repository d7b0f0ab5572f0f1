"""`Client`: the whole life of one device over a store and a connection that comes and goes.

Receiving: what one read of the link brought is decrypted, written into the history and acknowledged in one commit with
the cursor and the ratchet records. Sending: a message is durable as a draft at once; it is encrypted and numbered in
one commit with the ratchet records, before its first byte leaves, and repeated until it is answered.

Three tasks: one connects and reads, one seals drafts, one keeps time. None of them waits on the person.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final, Self

from whisperkit.anyio_runtime import AnyioRuntime
from whisperkit.client import history
from whisperkit.client.blobs import BlobTransfer, Uploads
from whisperkit.client.content import Attachment, Content, Text, encode_content
from whisperkit.client.drafts import DRAFTS, Draft, DraftKind, put_draft, read_draft
from whisperkit.client.events import (
    ConnectionChanged,
    ConnectionState,
    Event,
    PresenceChanged,
    Recorded,
    TicksMoved,
    TypingHeard,
)
from whisperkit.client.history import Note, Record
from whisperkit.client.opening import Opener
from whisperkit.client.people import People
from whisperkit.client.records import DeviceRecords, Turn
from whisperkit.client.sealing import MissingSessionsError, SealedPost, Sealer
from whisperkit.client.session import Session
from whisperkit.client.ticks import load_marks, raise_marks
from whisperkit.errors import (
    ActionRequiredError,
    LinkClosedError,
    PeerError,
    StoreError,
    TransportError,
    UsageError,
    WhisperError,
)
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, MessageId, UserId
from whisperkit.partitions import Row
from whisperkit.ratchet import Device, SafetyNumber
from whisperkit.receipts import Marks, MessageStatus, Tally, status_of, tally_of
from whisperkit.runtime import Mailbox, Runtime
from whisperkit.stores import PartitionStore
from whisperkit.sync import frames, mirror, outbox
from whisperkit.sync.chat import Chat, chat_of, chat_spans
from whisperkit.sync.codec import encode_change
from whisperkit.sync.connection import challenge_message, register_message
from whisperkit.sync.frames import MAX_CHANGE_USERS, EntryKind, Frame, PresenceState, RefusalReason, RosterChange
from whisperkit.sync.mirror import Mirror, Phase, Synced
from whisperkit.sync.mirror_state import has_welcome
from whisperkit.sync.outbox import Outbox
from whisperkit.transport import Connect

__all__ = ["Client"]

log = logging.getLogger("whisperkit.client")

BEAT_S: Final = 30.0
SILENT_S: Final = 75.0
MARKS_S: Final = 60.0
FIRST_RETRY_S: Final = 0.25
MAX_RETRY_S: Final = 30.0
TICK_S: Final = 1.0


class Client:
    """One device; an async context manager that is connected, or trying to be, while it is open.

    Args:
        store: Where the device is kept, one partition of it.
        device: Which device.
        connect: Opens links to the server.
        name: What the user is called, for the server's records; of a first device only.
        is_linked: The device belongs to a user who exists: it is let in once another device of theirs linked it.
        blobs: Carries attachments; without it there are none.
        runtime: The world; without one `AnyioRuntime`, opened and closed with the client.
        beat_s: How often it says that it is there.
    """

    def __init__(
        self,
        store: PartitionStore,
        device: DeviceId,
        *,
        connect: Connect,
        name: str = "",
        is_linked: bool = False,
        blobs: BlobTransfer | None = None,
        runtime: Runtime | None = None,
        beat_s: float = BEAT_S,
    ) -> None:
        self.device = device
        self.state = ConnectionState.OFFLINE
        self._own_runtime = AnyioRuntime() if runtime is None else None
        self._runtime: Runtime = runtime or self._own_runtime or AnyioRuntime()
        self._connect = connect
        self._name = name
        self._is_linked = is_linked
        self._beat_s = beat_s
        self._ratchet = Device(device, random_bytes=self._runtime.random)
        self._records = DeviceRecords(store, device, random_bytes=self._runtime.random, runtime=self._runtime)
        self._sealer = Sealer(self._ratchet, wall_ms=self._runtime.wall_ms)
        self._opener = Opener(self._ratchet, self._sealer, wall_ms=self._runtime.wall_ms, mint=self._mint)
        self._people = People(self._records, self._ratchet, self._ask, mint=self._mint, wall_ms=self._runtime.wall_ms)
        self._uploads = Uploads(blobs, self._runtime)
        self._mirror = Mirror(device)
        self._outboxes: dict[ConversationId, Outbox] = {}
        self._session: Session | None = None
        self._connection_no = 0
        self._watched: tuple[UserId, ...] = ()
        self._presences: dict[UserId, PresenceChanged] = {}
        self._listeners: list[Mailbox[Event]] = []
        self._due: Mailbox[bool] = self._runtime.mailbox()
        self._beaten_at = 0.0
        self._asked_marks_at = 0.0
        self._is_open = False

    async def __aenter__(self) -> Self:
        if self._own_runtime is not None:
            await self._own_runtime.__aenter__()
        await self.start()
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        await self.stop()
        if self._own_runtime is not None:
            await self._own_runtime.__aexit__(None, None, None)

    async def start(self) -> None:
        """Load what is saved and begin to connect."""
        await self._load()
        self._is_open = True
        self._runtime.spawn(self._stay_connected, name="client link")
        self._runtime.spawn(self._seal_drafts, name="client drafts")
        self._runtime.spawn(self._keep_time, name="client time")

    async def stop(self) -> None:
        """End the connection. What is not sent goes out next time."""
        self._is_open = False
        if self._session is not None:
            await self._session.close()

    async def _load(self) -> None:
        """Take up what is saved, with identity keys made if there are none."""

        async def load(turn: Turn) -> None:
            rows = await turn.load(self._ratchet.records_for_prekeys()[:1])
            if not rows:
                turn.save(self._ratchet.create_identity(rows).save)
            if turn.state:
                self._mirror = mirror.decode_mirror(turn.state)._replace(opened=self._mirror.opened)
            else:
                turn.state = mirror.encode_mirror(self._mirror)
            await turn.load(outbox.outbox_spans())
            pending = sorted(row for row in turn.rows.items() if row[0][:2] in (b"o/", b"p/"))
            self._outboxes = outbox.load_outboxes(Row(*row) for row in pending)

        await self._records.run(load)

    def _mint(self) -> MessageId:
        return MessageId.mint(wall_ms=self._runtime.wall_ms(), random_bytes=self._runtime.random)

    # ---- conversations ----

    async def direct(self, user: UserId) -> ConversationId:
        """The conversation with one user; made when the first message is sent."""
        return await self._people.note_direct(user)

    async def create_group(self, members: Collection[UserId]) -> ConversationId:
        """Make a group of these users and this one."""
        conv = ConversationId.mint(random_bytes=self._runtime.random)
        await self.change_members(conv, added=[self.device.user, *members])
        return conv

    async def change_members(
        self, conv: ConversationId, *, added: Collection[UserId] = (), removed: Collection[UserId] = ()
    ) -> None:
        """Add and remove members, in order with the messages of this device."""
        come, go = list(dict.fromkeys(added)), list(dict.fromkeys(removed))
        changes: list[RosterChange] = []
        while come or go:
            some, come = come[:MAX_CHANGE_USERS], come[MAX_CHANGE_USERS:]
            room = MAX_CHANGE_USERS - len(some)
            others, go = go[:room], go[room:]
            changes.append(RosterChange(tuple(some), tuple(others)))

        async def write(turn: Turn) -> None:
            for change in changes:
                await put_draft(turn, DraftKind.ROSTER, self._mint(), conv=conv, change=change)

        await self._records.run(write)
        self._due.put(True)

    async def leave(self, conv: ConversationId) -> None:
        """Leave a group."""
        await self.change_members(conv, removed=[self.device.user])

    async def chat(self, conv: ConversationId) -> Chat:
        """A conversation as this device knows it: members, badge, how far it came."""
        return await self._records.read(partial(_load_chat, conv=conv))

    async def chats(self) -> list[Chat]:
        """All conversations that this device knows."""

        async def look(turn: Turn) -> list[Chat]:
            rows = await turn.load([mirror.PROGRESSES, mirror.MEMBERSHIPS])
            names = {ConversationId(key[2:].decode()) for key in rows if key[:2] in (b"c/", b"r/")}
            return [chat_of(name, rows) for name in sorted(names)]

        return await self._records.read(look)

    # ---- sending ----

    async def send(self, conv: ConversationId, text: str, *, reply_to: MessageId | None = None) -> MessageId:
        """Write a message. It is durable when this returns, and sent as soon as that can be.

        Raises:
            UsageError: The text is empty or too long.
        """
        return await self._write(conv, Text(text, reply_to))

    async def send_attachment(self, conv: ConversationId, attachment: Attachment) -> MessageId:
        """Send a file that was uploaded; see `upload`."""
        return await self._write(conv, attachment)

    @property
    def uploads(self) -> Uploads:
        """Encrypts and uploads files, downloads and decrypts them."""
        return self._uploads

    async def _write(self, conv: ConversationId, content: Content) -> MessageId:
        message_id = self._mint()
        encoded = encode_content(content)
        record = Record(
            conv, message_id, self.device, ConversationSeq(0), self._runtime.wall_ms(), Note.MESSAGE, encoded
        )

        async def write(turn: Turn) -> None:
            draft = await put_draft(turn, DraftKind.MESSAGE, message_id, conv=conv)
            history.write(turn, record, order=draft.order)

        await self._records.run(write)
        self._tell(Recorded(record, is_new=True))
        self._due.put(True)
        return message_id

    async def retry(self, conv: ConversationId, message_id: MessageId) -> MessageId:
        """Send a failed message again, as a new one."""

        async def look(turn: Turn) -> Record | None:
            found = await history.find(turn, conv, message_id)
            return None if found is None else found[1]

        record = await self._records.read(look)
        content = None if record is None else record.what
        if record is None or not record.failed or content is None:
            raise UsageError(f"message {message_id} has not failed")
        return await self._write(conv, content)

    # ---- reading ----

    async def history(self, conv: ConversationId, *, before: Record | None = None, limit: int = 50) -> list[Record]:
        """The last records of a conversation, oldest first.

        Args:
            conv: Which one.
            before: Only what comes before this record, which has a number.
            limit: How many.
        """
        below = None if before is None else history.place_of(before)

        async def look(turn: Turn) -> list[Record]:
            rows = await turn.last(history.page_span(conv, below=below), limit=limit)
            return [history.read(row) for row in reversed(rows)]

        return await self._records.read(look)

    async def status(self, conv: ConversationId, message_id: MessageId) -> MessageStatus:
        """How far a message of this device has come.

        Raises:
            UsageError: There is no such message.
        """
        record, chat, marks = await self._about(conv, message_id)
        if record.failed:
            return MessageStatus.FAILED
        if not record.seq:
            return MessageStatus.PENDING
        audience = chat.membership.members if chat.membership is not None else ()
        return status_of(record.seq, sender=self.device.user, audience=audience, marks=marks)

    async def tally(self, conv: ConversationId, message_id: MessageId) -> Tally:
        """How many of a message's audience have and have read it."""
        record, chat, marks = await self._about(conv, message_id)
        audience = chat.membership.members if chat.membership is not None else ()
        return tally_of(record.seq, sender=self.device.user, audience=audience, marks=marks)

    async def _about(self, conv: ConversationId, message_id: MessageId) -> tuple[Record, Chat, Marks]:
        async def look(turn: Turn) -> tuple[Record, Chat, Marks] | None:
            found = await history.find(turn, conv, message_id)
            if found is None:
                return None
            return found[1], await _load_chat(turn, conv), await load_marks(turn, conv)

        found = await self._records.read(look)
        if found is None:
            raise UsageError(f"there is no message {message_id} in {conv}")
        return found

    async def mark_read(self, conv: ConversationId, upto: int) -> None:
        """Say that the person has read a conversation up to a number; beyond what is here it counts as that."""

        def read(rows: Mapping[bytes, bytes]) -> Synced:
            seq = ConversationSeq(min(upto, chat_of(conv, rows).progress.head))
            return mirror.read(self._mirror, conv, seq, rows, now=self._runtime.now())

        await self._with_mirror(read, conv)

    async def open_chat(self, conv: ConversationId) -> None:
        """A conversation is on screen: what has to be fetched there is fetched, and its ticks are asked for."""
        await self._with_mirror(lambda rows: mirror.open_chat(self._mirror, conv, rows, now=self._runtime.now()), conv)
        self._say([frames.Marks((conv,))])

    def close_chat(self, conv: ConversationId) -> None:
        """A conversation is off the screen."""
        self._mirror = mirror.close_chat(self._mirror, conv)

    async def _with_mirror(self, step: Callable[[Mapping[bytes, bytes]], Synced], conv: ConversationId) -> None:
        async def work(turn: Turn) -> Synced:
            synced = step(await turn.load(chat_spans(conv)))
            self._put(turn, synced)
            return synced

        synced = await self._records.run(work)
        self._mirror = synced.state
        self._say(synced.send)

    # ---- people ----

    def set_typing(self, conv: ConversationId) -> None:
        """Tell the members that the person is typing; at most every few seconds is enough."""
        self._say([frames.Typing(conv, self.device.user)])

    def watch(self, users: Collection[UserId]) -> None:
        """Hear of the presence of these users, instead of those before."""
        self._watched = tuple(users)
        self._say([frames.Watch(self._watched)])

    def presence(self, user: UserId) -> PresenceChanged:
        """What was last heard of a watched user."""
        return self._presences.get(user, PresenceChanged(user, PresenceState.UNKNOWN, None, False))

    async def safety_number(self, remote: DeviceId) -> SafetyNumber:
        """The safety number with a device.

        Raises:
            NoSessionError: Nothing is known of it.
        """
        return await self._people.safety_number(remote)

    async def mark_verified(self, number: SafetyNumber) -> None:
        """Note that a person compared a safety number."""
        await self._people.mark_verified(number)

    async def accept_identity(self, remote: DeviceId, identity_key: bytes) -> None:
        """Trust another identity key of a device from now on, because a person said so."""
        await self._people.accept_identity(remote, identity_key)
        self._due.put(True)

    async def identity(self) -> tuple[bytes, int]:
        """This device's public identity key and registration id: what another device needs to link it."""
        return await self._people.identity()

    async def sign(self, message: bytes) -> bytes:
        """Sign with the identity key, for instance to get a token; the message begins with a label."""
        return await self._people.sign(message)

    async def link_device(self, number: int, *, identity_key: bytes, registration_id: int) -> None:
        """Let another device into this account.

        Raises:
            ActionRequiredError: It cannot be linked now; the text says why.
            TransportError: The connection went first.
        """
        await self._people.link(number, identity_key=identity_key, registration_id=registration_id)

    async def unlink_device(self, number: int) -> None:
        """Put a device out of this account."""
        await self._people.unlink(number)

    # ---- events ----

    async def events(self) -> AsyncIterator[Event]:
        """What happens from now on, for as long as it is iterated."""
        box: Mailbox[Event] = self._runtime.mailbox()
        self._listeners.append(box)
        try:
            while True:
                event = await box.get()
                if event is not None:
                    yield event
        finally:
            self._listeners.remove(box)

    async def wait_live(self, *, timeout_s: float) -> bool:
        """Wait until the mirror has reached the head; false if it has not in time."""
        box: Mailbox[Event] = self._runtime.mailbox()
        self._listeners.append(box)
        deadline = self._runtime.now() + timeout_s
        try:
            while self.state is not ConnectionState.LIVE and self._runtime.now() < deadline:
                await box.get(timeout_s=max(0.0, deadline - self._runtime.now()))
            return self.state is ConnectionState.LIVE
        finally:
            self._listeners.remove(box)

    def _tell(self, event: Event) -> None:
        for box in self._listeners:
            box.put(event)

    def _now_is(self, state: ConnectionState, retry_in_s: float | None = None) -> None:
        if state is not self.state or retry_in_s is not None:
            self.state = state
            self._tell(ConnectionChanged(state, retry_in_s))

    # ---- the link ----

    async def _stay_connected(self) -> None:
        retry_s = FIRST_RETRY_S
        while self._is_open:
            began = self._runtime.now()
            final = await self._one_connection()
            if final is not None:
                self._now_is(final)
                return
            if self._runtime.now() - began > MAX_RETRY_S:
                retry_s = FIRST_RETRY_S
            wait_s = retry_s * (0.5 + self._runtime.random(1)[0] / 256)
            self._now_is(ConnectionState.OFFLINE, wait_s)
            await self._runtime.sleep(wait_s)
            retry_s = min(2 * retry_s, MAX_RETRY_S)

    async def _one_connection(self) -> ConnectionState | None:
        """Connect, and read until it ends. Returns the state to stay in, if the client is to stay away."""
        try:
            link = await self._connect()
        except TransportError:
            return None
        session = self._session = Session(link, self._runtime, self._take)
        try:
            await session.run()
        except (TransportError, PeerError):
            pass
        except StoreError:
            log.exception("the device's store failed; beginning again from what it holds")
            await self._runtime.sleep(FIRST_RETRY_S)
        finally:
            self._session = None
            self._mirror = mirror.detach(self._mirror)
            self._outboxes = {conv: outbox.disconnected(box) for conv, box in self._outboxes.items()}
        await link.close()
        await self._load()
        if session.is_final and session.bye is not None:
            if session.bye.code is frames.ByeCode.SUPERSEDED:
                return ConnectionState.REPLACED
            # A device that waits to be linked is refused until it is.
            return None if self._is_linked and self._mirror.cursor is None else ConnectionState.REFUSED
        return None

    def _say(self, out: Sequence[Frame]) -> None:
        if self._session is not None and self._session.is_established:
            self._session.send(out)

    async def _ask(self, request: MessageId, frame: Frame) -> Frame:
        if self._session is None:
            raise LinkClosedError(reason="LOST", retry_after_s=0.0)
        return await self._session.ask(request, frame)

    # ---- what comes ----

    async def _take(self, batch: Sequence[Frame]) -> None:
        """Take what one read brought: one commit, then the answers."""
        for frame in batch:
            if isinstance(frame, frames.Challenge):
                await self._greet(frame)
            elif isinstance(frame, frames.Registered):
                await self._hello()
        events: list[Event] = []
        boxes: dict[ConversationId, Outbox] = {}

        async def work(turn: Turn) -> Synced:
            events.clear()
            boxes.clear()
            return await self._save_batch(turn, batch, events, boxes)

        synced = await self._records.run(work)
        self._mirror = synced.state
        self._outboxes.update(boxes)
        self._say(synced.send)
        for event in events:
            self._tell(event)
        self._after(batch)
        if synced.reconnect and self._session is not None:
            raise LinkClosedError(reason="LOST", retry_after_s=0.0)

    async def _save_batch(
        self, turn: Turn, batch: Sequence[Frame], events: list[Event], boxes: dict[ConversationId, Outbox]
    ) -> Synced:
        rows = await turn.load(mirror.rows_for(self._mirror, batch))
        synced = mirror.receive(self._mirror, batch, rows, now=self._runtime.now())
        self._put(turn, synced)
        for arrived in synced.arrived:
            events += await self._opener.open(turn, arrived)
        for frame in batch:
            match frame:
                case frames.Sent():
                    events += await self._sent(turn, frame, boxes)
                case frames.Refused():
                    events += await self._refused(turn, frame, boxes)
                case frames.Mark(conv, user, kind, upto):
                    if await raise_marks(turn, conv, user, kind, upto):
                        events.append(TicksMoved(conv))
                case _:
                    pass
        return synced

    def _put(self, turn: Turn, synced: Synced) -> None:
        turn.put(synced.put)
        turn.delete(synced.delete)
        if synced.state.cursor != self._mirror.cursor:
            turn.state = mirror.encode_mirror(synced.state)

    def _after(self, batch: Sequence[Frame]) -> None:
        """What follows once the batch is saved."""
        for frame in batch:
            match frame:
                case frames.Welcome():
                    self._welcomed()
                case frames.Presence(user, state, last_seen_ms, is_certain):
                    self._presences[user] = PresenceChanged(user, PresenceState(state), last_seen_ms, is_certain)
                    self._tell(self._presences[user])
                case frames.Typing(conv, user):
                    self._tell(TypingHeard(conv, user))
                case _:
                    pass
        if self._mirror.phase is Phase.LIVE:
            self._now_is(ConnectionState.LIVE)
        elif self._session is not None and self._session.is_established:
            self._now_is(ConnectionState.CATCHING_UP)
        self._due.put(True)

    # ---- the greeting ----

    async def _greet(self, challenge: frames.Challenge) -> None:
        self._nonce = challenge.nonce
        if self._is_linked or await self._people.is_registered():
            await self._hello()
            return
        key, registration_id = await self._people.identity()
        message = register_message(
            self._nonce, self.device, identity_key=key, registration_id=registration_id, name=self._name
        )
        proof = await self._people.sign(message)
        assert self._session is not None  # the challenge came over it
        self._session.send([frames.Register(self.device, key, registration_id, self._name, proof)])

    async def _hello(self) -> None:
        if not self._is_linked:
            await self._people.note_registered()
        self._connection_no = max(self._connection_no + 1, self._runtime.wall_ms())
        proof = await self._people.sign(challenge_message(self._nonce, self.device, self._connection_no))
        followed = [chat.conv for chat in await self.chats() if chat.is_pulled]
        self._mirror = mirror.attach(mirror.detach(self._mirror), followed=followed, now=self._runtime.now())
        assert self._session is not None  # the challenge came over it
        hello = frames.Hello(frames.PROTOCOL_VERSION, self.device, self._connection_no, self._mirror.cursor, proof)
        self._session.send([hello])
        self._beaten_at = self._runtime.now()

    def _welcomed(self) -> None:
        self._asked_marks_at = 0.0
        if self._watched:
            self._say([frames.Watch(self._watched)])
        self._runtime.spawn(self._refill, name="client prekeys")

    async def _refill(self) -> None:
        try:
            await self._people.publish_prekeys()
        except (TransportError, ActionRequiredError, StoreError):
            log.info("prekeys not published; with the next connection")
        self._due.put(True)

    # ---- answers to what was sent ----

    async def _sent(self, turn: Turn, sent: frames.Sent, boxes: dict[ConversationId, Outbox]) -> list[Event]:
        box = boxes.get(sent.conv, self._outboxes.get(sent.conv, Outbox(sent.conv)))
        send = box.find(sent.message_id)
        step = outbox.answered(box, sent)
        boxes[sent.conv] = step.state
        turn.put(step.put)
        turn.delete(step.delete)
        if send is None or not isinstance(step.answer, outbox.Answered):
            return []
        if send.change is not None and sent.conv_seq:
            rows = await turn.load(chat_spans(sent.conv))
            posted = mirror.posted(self._mirror, send, sent, rows, now=self._runtime.now())
            turn.put(posted.put)
            turn.delete(posted.delete)
            record = Record(
                sent.conv,
                sent.message_id,
                self.device,
                sent.conv_seq,
                sent.at_ms,
                Note.ROSTER,
                encode_change(send.change),
            )
            history.write(turn, record)
            return [Recorded(record, is_new=True)]
        found = await history.find(turn, sent.conv, sent.message_id)
        if found is None:
            return []
        place, record = found
        if sent.conv_seq:
            record = record._replace(seq=sent.conv_seq, at_ms=sent.at_ms or record.at_ms)
            history.forget_pending_place(turn, place)
            history.write(turn, record)
        return [Recorded(record, is_new=False)]

    async def _refused(self, turn: Turn, refused: frames.Refused, boxes: dict[ConversationId, Outbox]) -> list[Event]:
        box = boxes.get(refused.conv, self._outboxes.get(refused.conv, Outbox(refused.conv)))
        step = outbox.refused(box, refused)
        boxes[refused.conv] = step.state
        turn.put(step.put)
        turn.delete(step.delete)
        match step.answer:
            case outbox.EncryptAgain(send, why):
                self._people.forget_lists({*send.devices, *(send.own or {}), *why.missing, *why.extra})
                self._people.forget_users(await self._members(turn, refused.conv))
                # Behind nothing: what follows it in the conversation waits for it.
                await put_draft(turn, DraftKind.MESSAGE, refused.message_id, conv=refused.conv)
            case outbox.GaveUp(message_id, reason):
                return await self._failed(turn, refused.conv, message_id, reason)
            case _:
                pass
        return []

    async def _failed(
        self, turn: Turn, conv: ConversationId, message_id: MessageId, reason: RefusalReason
    ) -> list[Event]:
        found = await history.find(turn, conv, message_id)
        if found is None:
            return []
        place, record = found
        record = record._replace(failed=reason.name.lower().replace("_", " "))
        order = int.from_bytes(place[-16:-8], "big")
        history.write(turn, record, order=order)
        return [Recorded(record, is_new=False)]

    async def _members(self, turn: Turn, conv: ConversationId) -> tuple[UserId, ...]:
        chat = await _load_chat(turn, conv)
        return chat.membership.members if chat.membership is not None else ()

    # ---- drafts ----

    async def _seal_drafts(self) -> None:
        while True:
            await self._due.get(timeout_s=5.0)
            self._due.take(len(self._due))
            try:
                await self._seal_all()
            except (TransportError, StoreError):
                await self._runtime.sleep(FIRST_RETRY_S)
            except WhisperError:
                log.exception("a draft could not be sealed")
                await self._runtime.sleep(FIRST_RETRY_S)

    async def _seal_all(self) -> None:
        stuck: set[ConversationId] = set()
        for draft in await self._records.read(_drafts):
            if draft.conv in stuck and draft.kind is not DraftKind.ASIDE:
                continue
            if not await self._seal(draft):
                stuck.add(draft.conv)
        await self._send_due()

    async def _seal(self, draft: Draft) -> bool:
        """Seal one draft, if what it needs can be had. False: it waits."""
        match draft.kind:
            case DraftKind.ASIDE:
                return await self._seal_aside(draft)
            case DraftKind.ROSTER:
                await self._enqueue_roster(draft)
                return True
            case DraftKind.MESSAGE:
                return await self._seal_message(draft)

    async def _seal_aside(self, draft: Draft) -> bool:
        assert draft.to is not None  # an aside is for a device
        if not await self._people.ensure_sessions([draft.to]):
            await self._forget_draft(draft)
            return True

        async def seal(turn: Turn) -> bytes:
            assert draft.to is not None  # as above
            return await self._sealer.copy(turn, draft.to, draft.content)

        own = await self._records.run(seal)
        await self._ask(draft.message_id, frames.Aside(draft.message_id, {draft.to: own}))
        await self._forget_draft(draft)
        return True

    async def _forget_draft(self, draft: Draft) -> None:
        async def forget(turn: Turn) -> None:
            turn.delete([draft.key])

        await self._records.run(forget)

    async def _enqueue_roster(self, draft: Draft) -> None:
        send = frames.Send(draft.conv, 1, 1, draft.message_id, EntryKind.ROSTER, None, (), draft.change, None, None)
        await self._enqueue(draft, send)

    async def _seal_message(self, draft: Draft) -> bool:
        chat = await self.chat(draft.conv)
        if chat.membership is None:
            return await self._without_members(draft)
        users = chat.membership.members
        devices = [device for device in await self._people.devices_of(users) if device != self.device]
        unreachable = frozenset(device for device in devices if self._people.is_unreachable(device))
        while True:
            try:
                await self._encrypt(draft, chat, devices, unreachable)
            except MissingSessionsError as missing:
                reached = await self._people.ensure_sessions(missing.devices)
                unreachable |= frozenset(missing.devices) - reached
            else:
                return True

    async def _without_members(self, draft: Draft) -> bool:
        """A conversation that this device is not in: one of two is made now, any other is not ours."""
        box = self._outboxes.get(draft.conv)
        if box is not None and any(send.change is not None for send in box.pending):
            return False
        other = await self._people.find_direct(draft.conv)
        if other is not None:
            change = RosterChange((self.device.user, other))
            send = frames.Send(draft.conv, 1, 1, self._mint(), EntryKind.ROSTER, None, (), change, None, None)
            await self._enqueue(None, send)
            return False
        events: list[Event] = []

        async def fail(turn: Turn) -> None:
            events[:] = await self._failed(turn, draft.conv, draft.message_id, RefusalReason.NOT_MEMBER)
            turn.delete([draft.key])

        await self._records.run(fail)
        for event in events:
            self._tell(event)
        return True

    async def _encrypt(
        self, draft: Draft, chat: Chat, devices: Sequence[DeviceId], unreachable: frozenset[DeviceId]
    ) -> None:
        """Encrypt, number and save a message in one commit; or encrypt one afresh that was refused."""
        boxes: dict[ConversationId, Outbox] = {}
        membership = chat.membership
        assert membership is not None  # looked at by the caller

        async def work(turn: Turn) -> None:
            found = await history.find(turn, draft.conv, draft.message_id)
            if found is None or found[1].failed:
                turn.delete([draft.key])
                return
            sealed = await self._sealer.seal(turn, draft.conv, found[1].content, membership, devices, unreachable)
            await self._give_later(turn, draft.conv, sealed)
            send = _send_of(draft, sealed)
            box = self._outboxes.get(draft.conv, Outbox(draft.conv))
            step = outbox.encrypted_again(box, send) if box.find(send.message_id) else outbox.enqueue(box, send)
            boxes[draft.conv] = step.state
            turn.put(step.put)
            turn.delete([draft.key])

        await self._records.run(work)
        self._outboxes.update(boxes)

    async def _give_later(self, turn: Turn, conv: ConversationId, sealed: SealedPost) -> None:
        if not sealed.later:
            return
        gift = await self._sealer.gift(turn, conv)
        for device in sealed.later:
            await put_draft(turn, DraftKind.ASIDE, self._mint(), to=device, content=gift)

    async def _enqueue(self, draft: Draft | None, send: frames.Send) -> None:
        boxes: dict[ConversationId, Outbox] = {}

        async def work(turn: Turn) -> None:
            step = outbox.enqueue(self._outboxes.get(send.conv, Outbox(send.conv)), send)
            boxes[send.conv] = step.state
            turn.put(step.put)
            if draft is not None:
                turn.delete([draft.key])

        await self._records.run(work)
        self._outboxes.update(boxes)

    async def _send_due(self) -> None:
        """Hand what is due to the link; before a message that names an attachment, that is kept alive."""
        if self._session is None or not self._session.is_established or not has_welcome(self._mirror):
            return
        for conv in list(self._outboxes):
            step = outbox.next_to_send(self._outboxes[conv])
            if not step.answer:
                continue
            for send in step.answer:
                await self._keep_attachment(send)
            self._outboxes[conv] = step.state
            self._say(step.answer)

    async def _keep_attachment(self, send: frames.Send) -> None:
        async def look(turn: Turn) -> Record | None:
            found = await history.find(turn, send.conv, send.message_id)
            return None if found is None else found[1]

        record = await self._records.read(look)
        content = None if record is None else record.what
        if isinstance(content, Attachment):
            await self._uploads.keep(content.blob)

    # ---- time ----

    async def _keep_time(self) -> None:
        while self._is_open:
            await self._runtime.sleep(TICK_S)
            try:
                await self._tick()
            except (TransportError, StoreError):
                log.info("a tick failed", exc_info=True)

    async def _tick(self) -> None:
        now = self._runtime.now()
        session = self._session
        if session is None:
            return
        if now - session.heard_at > SILENT_S:
            await session.close()
            return
        if session.is_established and now - self._beaten_at >= self._beat_s:
            self._beaten_at = now
            self._say([frames.Beat()])
        await self._ask_again()
        if has_welcome(self._mirror) and now - self._asked_marks_at >= MARKS_S:
            self._asked_marks_at = now
            await self._ask_marks()

    async def _ask_again(self) -> None:
        due = mirror.deadline(self._mirror)
        if due is None or self._runtime.now() < due:
            return

        async def work(turn: Turn) -> Synced:
            rows = await turn.load(mirror.rows_for(self._mirror, []))
            synced = mirror.handle_timer(self._mirror, rows, now=self._runtime.now())
            self._put(turn, synced)
            return synced

        synced = await self._records.run(work)
        self._mirror = synced.state
        self._say(synced.send)
        if synced.reconnect and self._session is not None:
            await self._session.close()

    async def _ask_marks(self) -> None:
        """Ask for the ticks of conversations, because any that was told may have been lost."""
        convs = tuple(chat.conv for chat in await self.chats() if not chat.is_pulled)
        if convs:
            self._say([frames.Marks(convs[: frames.MAX_CONVERSATIONS])])


async def _load_chat(turn: Turn, conv: ConversationId) -> Chat:
    return chat_of(conv, await turn.load(chat_spans(conv)))


async def _drafts(turn: Turn) -> list[Draft]:
    rows = await turn.load([DRAFTS])
    return [read_draft(Row(key, rows[key])) for key in sorted(rows) if key.startswith(DRAFTS.start)]


def _send_of(draft: Draft, sealed: SealedPost) -> frames.Send:
    return frames.Send(
        draft.conv,
        1,
        1,
        draft.message_id,
        EntryKind.MESSAGE,
        sealed.if_roster,
        sealed.devices,
        None,
        sealed.shared,
        sealed.own,
    )
