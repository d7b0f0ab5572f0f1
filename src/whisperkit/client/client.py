"""`Client`: the whole life of one device over a store and a connection that comes and goes.

Receiving: what one read of the link brought is decrypted, written into the history and acknowledged in one commit with
the cursor and the ratchet records. Sending: a message is durable as a draft at once; it is encrypted and numbered in
one commit with the ratchet records, before its first byte leaves, and repeated until it is answered.

Three tasks: one connects and reads, one seals drafts, one keeps time. None of them waits on the person.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Final, Self

from whisperkit.anyio_runtime import AnyioRuntime
from whisperkit.client import history
from whisperkit.client.arrivals import Answer, Arrivals, take_arrival
from whisperkit.client.blobs import BlobTransfer, Uploads
from whisperkit.client.content import Attachment, Content, Text, check_content
from whisperkit.client.drafts import DraftKind, put_draft
from whisperkit.client.events import ConnectionState, IdentityChanged, Notice, PresenceChanged, Recorded
from whisperkit.client.greeting import Greeter
from whisperkit.client.history import Note, Record
from whisperkit.client.notices import take_notice
from whisperkit.client.opening import Opener
from whisperkit.client.people import People
from whisperkit.client.prekeys import PreKeys
from whisperkit.client.reading import Reached, Reader
from whisperkit.client.receiving import Receiver
from whisperkit.client.records import Turn
from whisperkit.client.sealing import Sealer
from whisperkit.client.sending import Sender
from whisperkit.client.session import Session
from whisperkit.client.standing import FIRST_RETRY_S, Listener, Standing
from whisperkit.client.trust import Trust
from whisperkit.client.unread import Unread
from whisperkit.errors import PeerError, StoreError, TransportError, UsageError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, MessageId, UserId
from whisperkit.ratchet import SafetyNumber
from whisperkit.receipts import MessageStatus, Tally
from whisperkit.runtime import Runtime, Task
from whisperkit.stores import PartitionStore
from whisperkit.sync import frames, mirror, outbox
from whisperkit.sync.chat import Chat, chat_of
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import MAX_CHANGE_USERS, MAX_USERS, PresenceState, RosterChange
from whisperkit.sync.mirror import Synced
from whisperkit.sync.mirror_state import has_welcome
from whisperkit.transport import Connect

__all__ = ["Client"]

log = logging.getLogger("whisperkit.client")

BEAT_S: Final = 30.0
SILENT_S: Final = 75.0
MARKS_S: Final = 60.0
MAX_RETRY_S: Final = 30.0
TICK_S: Final = 1.0
REFUSED_WITHIN_S: Final = 5.0


class Client:
    """One device; an async context manager that is connected, or trying to be, while it is open.

    Args:
        store: Where the device is kept, one partition of it.
        device: Which device.
        connect: Opens links to the server.
        name: What the user is called, for the server's records; of a first device only.
        is_linked: The device belongs to a user who exists: it is let in once another device of theirs linked it.
        blobs: Carries attachments; without it there are none.
        keeps_unhandled: Messages of others wait for whoever handles them with `messages`, as a bot does. Without it
            they are shown and nothing else: a list that nobody empties would grow for ever.
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
        keeps_unhandled: bool = False,
        runtime: Runtime | None = None,
        beat_s: float = BEAT_S,
    ) -> None:
        self.device = device
        self._own_runtime = AnyioRuntime() if runtime is None else None
        self._runtime: Runtime = runtime or self._own_runtime or AnyioRuntime()
        self._connect = connect
        self._is_linked = is_linked
        self._keeps_unhandled = keeps_unhandled
        self._beat_s = beat_s
        self._at = at = Standing(store, device, self._runtime)
        clock = self._runtime.wall_ms
        unread = Unread(mint=at.mint, wall_ms=clock)
        trust = Trust(at.ratchet, wall_ms=clock)
        self._people = People(at.records, at.ratchet, at.ask, at.tell, trust, unread, mint=at.mint, wall_ms=clock)
        prekeys = PreKeys(at.records, at.ratchet, at.ask, mint=at.mint, wall_ms=clock)
        self._uploads = Uploads(blobs, self._runtime)
        sealer = Sealer(at.ratchet, wall_ms=clock)
        opener = Opener(at.ratchet, sealer, trust, unread, wall_ms=clock, mint=at.mint, prekey_used=prekeys.used)
        self._reader = Reader(at)
        self._greeter = Greeter(at, self._people, prekeys, self._reader, name=name, is_linked=is_linked)
        self._receiver = Receiver(at, self._people, opener, sealer, self._greeter, keeps_unhandled=keeps_unhandled)
        self._sender = Sender(at, self._people, sealer, self._uploads)
        self._retry_after_s = 0.0
        self._tasks: list[Task] = []
        self._is_open = False

    @property
    def state(self) -> ConnectionState:
        """How the client stands with the server."""
        return self._at.state

    @property
    def cursor(self) -> Cursor | None:
        """How far it has come in its inbox; `None` before its first snapshot."""
        return self._at.mirror.cursor

    @property
    def head(self) -> Cursor | None:
        """Where its inbox ends, as the server last said: a client that catches up is on its way there."""
        return self._at.mirror.head

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
        """Load what is saved and begin to connect; without effect on a client that has begun."""
        if self._is_open:
            return
        self._is_open = True
        try:
            await self._at.load()
        except BaseException:
            self._is_open = False
            raise
        spawn = self._runtime.spawn
        self._tasks = [
            spawn(self._stay_connected, name="client link"),
            spawn(self._sender.run, name="client drafts"),
            spawn(self._keep_time, name="client time"),
        ]

    async def stop(self) -> None:
        """End the connection. What is not sent goes out next time."""
        self._is_open = False
        if self._at.session is not None:
            await self._at.session.close()
        for task in self._tasks:
            self._runtime.drop(task)
        self._at.session = None
        self._at.now_is(ConnectionState.OFFLINE)

    def reconnect(self) -> None:
        """Connect again after the server sent this client away: a person decided so. Without effect otherwise."""
        if self._is_open and self.state in (ConnectionState.REPLACED, ConnectionState.REFUSED):
            self._at.now_is(ConnectionState.OFFLINE, 0.0)
            self._tasks.append(self._runtime.spawn(self._stay_connected, name="client link"))

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
                await put_draft(turn, DraftKind.ROSTER, self._at.mint(), conv=conv, change=change)

        await self._at.records.run(write)
        self._at.wake()

    async def leave(self, conv: ConversationId) -> None:
        """Leave a group."""
        await self.change_members(conv, removed=[self.device.user])

    async def chat(self, conv: ConversationId) -> Chat:
        """A conversation as this device knows it: members, badge, how far it came."""
        return await self._reader.chat(conv)

    async def chats(self) -> list[Chat]:
        """All conversations that this device knows."""
        return await self._reader.chats()

    # ---- sending ----

    async def send(self, conv: ConversationId, text: str, *, reply_to: MessageId | None = None) -> MessageId:
        """Write a message. It is durable when this returns, and sent as soon as that can be.

        Raises:
            UsageError: The text is empty or too long.
        """
        return await self._write(conv, Text(text, reply_to))

    async def send_attachment(self, conv: ConversationId, attachment: Attachment) -> MessageId:
        """Send a file that was uploaded; see `uploads`.

        Raises:
            UsageError: The client was made without a carrier of attachments, or the caption is too long.
        """
        self._uploads.check()
        return await self._write(conv, attachment)

    @property
    def uploads(self) -> Uploads:
        """Encrypts and uploads files, downloads and decrypts them."""
        return self._uploads

    async def _write(self, conv: ConversationId, content: Content) -> MessageId:
        message_id = self._at.mint()
        await self._commit([(conv, message_id, check_content(content))])
        return message_id

    async def _commit(self, answers: Sequence[Answer], *, handled: int | None = None) -> None:
        """Write messages, and that one of others has been handled, in one commit."""
        now = self._runtime.wall_ms()
        unnumbered = ConversationSeq(0)
        records = [Record(conv, one, self.device, unnumbered, now, Note.MESSAGE, data) for conv, one, data in answers]

        async def write(turn: Turn) -> None:
            if handled is not None:
                take_arrival(turn, handled)
            for record in records:
                draft = await put_draft(turn, DraftKind.MESSAGE, record.message_id, conv=record.conv)
                history.write(turn, record, order=draft.order)

        await self._at.records.run(write)
        for record in records:
            self._at.tell(Recorded(record, is_new=True))
        self._at.wake()

    async def retry(self, conv: ConversationId, message_id: MessageId) -> MessageId:
        """Send a failed message again, as a new one.

        Returns:
            The id of the new message.

        Raises:
            UsageError: It has not failed, is not there, or is none of this device.
        """

        async def look(turn: Turn) -> Record | None:
            found = await history.find(turn, conv, message_id, self.device)
            return None if found is None else found[1]

        record = await self._at.records.read(look)
        content = None if record is None else record.what
        if record is None or not record.failed or content is None:
            raise UsageError(f"message {message_id} has not failed", code="usage.no-such-message")
        return await self._write(conv, content)

    async def discard(self, conv: ConversationId, message_id: MessageId) -> None:
        """Forget a failed message of this device.

        Raises:
            UsageError: It has not failed, is not there, or is none of this device.
        """

        async def work(turn: Turn) -> bool:
            return await history.discard(turn, conv, message_id, self.device)

        if not await self._at.records.run(work):
            raise UsageError(f"message {message_id} has not failed", code="usage.no-such-message")

    # ---- reading ----

    async def history(self, conv: ConversationId, *, before: Record | None = None, limit: int = 50) -> list[Record]:
        """The last records of a conversation, oldest first.

        Args:
            conv: Which one.
            before: Only what comes before this record, which has a number.
            limit: How many.
        """
        return await self._reader.history(conv, before=before, limit=limit)

    async def status(self, conv: ConversationId, message_id: MessageId) -> MessageStatus:
        """How far a message of this device has come.

        Raises:
            UsageError: There is no such message.
        """
        return await self._reader.status(conv, message_id)

    async def tally(self, conv: ConversationId, message_id: MessageId) -> Tally:
        """How many of a message's audience have and have read it."""
        return await self._reader.tally(conv, message_id)

    async def reached_by(self, conv: ConversationId, message_id: MessageId) -> Reached:
        """Who of a message's audience has it, and who has read it.

        Raises:
            UsageError: There is no such message.
        """
        return await self._reader.reached_by(conv, message_id)

    async def mark_read(self, conv: ConversationId, upto: int) -> None:
        """Say that the person has read a conversation up to a number; beyond what is here it counts as that."""

        def read(rows: Mapping[bytes, bytes]) -> Synced:
            seq = ConversationSeq(min(upto, chat_of(conv, rows).progress.head))
            return mirror.read(self._at.mirror, conv, seq, rows, now=self._runtime.now())

        await self._at.step(read, conv)

    async def open_chat(self, conv: ConversationId) -> None:
        """A conversation is on screen: what has to be fetched there is fetched, and its ticks are asked for."""
        self._at.on_screen.add(conv)
        await self._at.step(lambda rows: mirror.open_chat(self._at.mirror, conv, rows, now=self._runtime.now()), conv)
        self._at.say([frames.Marks((conv,))])

    def close_chat(self, conv: ConversationId) -> None:
        """A conversation is off the screen."""
        self._at.on_screen.discard(conv)
        self._at.mirror = mirror.close_chat(self._at.mirror, conv)

    # ---- people ----

    def set_typing(self, conv: ConversationId) -> None:
        """Tell the members that the person is typing; at most every few seconds is enough."""
        self._at.say([frames.Typing(conv, self.device.user)])

    def watch(self, users: Collection[UserId]) -> None:
        """Hear of the presence of these users, instead of those before.

        Raises:
            UsageError: More than a server tells of.
        """
        if len(users) > MAX_USERS:
            raise UsageError(f"{len(users)} users cannot be watched; the limit is {MAX_USERS}", code="usage.too-large")
        self._greeter.watched = tuple(users)
        self._at.say([frames.Watch(self._greeter.watched)])

    def presence(self, user: UserId) -> PresenceChanged:
        """What was last heard of a watched user."""
        return self._receiver.presences.get(user, PresenceChanged(user, PresenceState.UNKNOWN, None, False))

    async def devices_of(self, users: Collection[UserId]) -> list[DeviceId]:
        """All devices of users, as the server lists them; none for a user who does not exist.

        Raises:
            TransportError: The server has to be asked and cannot be.
        """
        return await self._people.devices_of(users)

    async def safety_number(self, remote: DeviceId) -> SafetyNumber:
        """The safety number with a device.

        Raises:
            NoSessionError: Nothing is known of it.
        """
        return await self._people.safety_number(remote)

    async def is_verified(self, remote: DeviceId) -> bool:
        """Whether a person compared the safety number of the key that a device has now."""
        return await self._people.is_verified(remote)

    async def are_verified(self, user: UserId) -> bool:
        """Whether that is so of all devices of a user that are known, but this one: of a new one it is not."""
        return await self._people.are_verified(user)

    async def mark_verified(self, number: SafetyNumber) -> None:
        """Note that a person compared a safety number."""
        await self._people.mark_verified(number)

    async def accept_identity(self, remote: DeviceId, identity_key: bytes) -> None:
        """Trust another identity key of a device from now on, because a person said so."""
        await self._people.accept_identity(remote, identity_key)
        self._at.wake()

    async def undecided(self, user: UserId) -> list[IdentityChanged]:
        """Devices of a user that have another key than a person has compared: nothing is sent to them.

        `accept_identity` takes what is in it.
        """
        return await self._people.undecided(user)

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

    def events(self) -> Listener:
        """What happens from now on, to be iterated; one that was left is forgotten.

        It begins with the `notices` that no person has seen yet.
        """
        listener = self._at.listen()
        for notice in self.notices:
            listener.put(notice)
        return listener

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What a person has to be told of devices and has not seen yet, oldest first: it outlives a crash."""
        return tuple(self._at.notices.values())

    async def noticed(self, notice: Notice) -> None:
        """Say that a person has seen a notice, which is therefore not told again after a restart."""
        await self._at.records.run(partial(take_notice, notice=notice))
        self._at.forget_notice(notice)

    def messages(self) -> Arrivals:
        """Messages of others, decrypted, each once and in order, also those that came before this was called.

        Use each in an ``async with``: it counts as handled when the block ends without an exception, in one commit
        with the answers that were given in it. One that was not handled comes again the next time this is called.

        Raises:
            UsageError: The client was made without `keeps_unhandled`.
        """
        if not self._keeps_unhandled:
            raise UsageError(
                "make the client with keeps_unhandled=True to have messages wait to be handled", code="usage.unhandled"
            )
        return Arrivals(self._at.records, self._at.listen(), mint=self._at.mint, finish=self._handle)

    async def _handle(self, number: int, answers: list[Answer]) -> None:
        await self._commit(answers, handled=number)

    async def wait_live(self, *, timeout_s: float) -> bool:
        """Wait until the mirror has reached the head; false if it has not in time."""
        return await self._at.wait_live(timeout_s)

    # ---- the link ----

    async def _stay_connected(self) -> None:
        retry_s = FIRST_RETRY_S
        while self._is_open:
            began = self._runtime.now()
            final = await self._one_connection()
            if final is not None:
                self._at.now_is(final)
                return
            if self._runtime.now() - began > MAX_RETRY_S:
                retry_s = FIRST_RETRY_S
            wait_s = max(retry_s * (0.5 + self._runtime.random(1)[0] / 256), self._retry_after_s)
            self._at.now_is(ConnectionState.OFFLINE, wait_s)
            await self._runtime.sleep(wait_s)
            retry_s = min(2 * retry_s, MAX_RETRY_S)

    async def _one_connection(self) -> ConnectionState | None:
        """Connect, and read until it ends. Returns the state to stay in, if the client is to stay away."""
        try:
            link = await self._connect()
        except TransportError:
            return None
        self._retry_after_s = 0.0
        if not self._at.is_sure:
            await self._at.reload()
        if not self._is_open:  # closed in this very moment: the runtime starts nothing any more
            await link.close()
            return ConnectionState.OFFLINE
        session = self._at.session = Session(link, self._runtime, self._receiver.take)
        try:
            await session.run()
        except (TransportError, PeerError):
            pass
        except StoreError:
            log.exception("the device's store failed; beginning again from what it holds")
            await self._runtime.sleep(FIRST_RETRY_S)
        finally:
            self._at.session = None
            self._at.mirror = mirror.detach(self._at.mirror)
            self._at.outboxes = {conv: outbox.disconnected(box) for conv, box in self._at.outboxes.items()}
        await link.close()
        await self._at.reload()
        return None if session.bye is None else self._after_bye(session.bye)

    def _after_bye(self, bye: frames.Bye) -> ConnectionState | None:
        """What the server's last word means: the state to stay in, or `None` to connect again."""
        self._retry_after_s = float(bye.retry_after_s or 0)
        if bye.code is frames.ByeCode.SUPERSEDED:
            return ConnectionState.REPLACED
        # A device that waits to be linked is refused until it is. And a refusal answers a HELLO: one that comes long
        # after it, or without any, may be of a server that waited for a HELLO that the network has lost.
        is_waiting = self._is_linked and self._at.mirror.cursor is None
        is_answer = self._runtime.now() - self._greeter.said_hello_at < REFUSED_WITHIN_S
        if bye.code is frames.ByeCode.UNAUTHORISED and is_answer and not is_waiting:
            return ConnectionState.REFUSED
        return None

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
        session = self._at.session
        if session is None:
            return
        if now - session.heard_at > SILENT_S:
            await session.close()
            return
        if session.is_established and now - self._greeter.beaten_at >= self._beat_s:
            self._greeter.beaten_at = now
            cursor = self._at.mirror.cursor
            # The last ACK may have been lost, and with it a tick and room in the server's window.
            again = [frames.Ack(cursor)] if cursor is not None and has_welcome(self._at.mirror) else []
            self._at.say([*again, frames.Beat()])
        self._sender.repeat_unanswered()
        await self._ask_again()
        if has_welcome(self._at.mirror) and now - self._greeter.asked_marks_at >= MARKS_S:
            self._greeter.asked_marks_at = now
            await self._ask_marks()
            self._greeter.keep_up()

    async def _ask_again(self) -> None:
        due = mirror.deadline(self._at.mirror)
        if due is None or self._runtime.now() < due:
            return

        async def work(turn: Turn) -> Synced:
            rows = await turn.load(mirror.rows_for(self._at.mirror, []))
            synced = mirror.handle_timer(self._at.mirror, rows, now=self._runtime.now())
            self._at.put(turn, synced)
            return synced

        synced = await self._at.records.run(work)
        self._at.take_over(synced.state)
        self._at.say(synced.send)
        if synced.reconnect and self._at.session is not None:
            await self._at.session.close()

    async def _ask_marks(self) -> None:
        """Ask for the ticks of conversations, and say again what was read: what was told may have been lost."""
        chats = await self.chats()
        self._at.say([frames.Read(*one) for one in await self._reader.untold(chats)])
        convs = tuple(chat.conv for chat in chats if not chat.is_pulled)
        for start in range(0, len(convs), frames.MAX_CONVERSATIONS):
            self._at.say([frames.Marks(convs[start : start + frames.MAX_CONVERSATIONS])])
