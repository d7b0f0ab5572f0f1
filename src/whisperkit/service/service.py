"""`MessageService`: the one object that an application holds.

It takes the application's doors and runs one gateway of the service on them. Everything it answers is durable; what
it raises says whose turn it is (`whisperkit.errors`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import NamedTuple, Self

from whisperkit.accounts import AccountTaken, Linked
from whisperkit.anyio_runtime import AnyioRuntime
from whisperkit.errors import (
    NoSuchUserError,
    NotMemberError,
    OutcomeUnknownError,
    RosterMovedError,
    SendFirstError,
    StaleDevicesError,
    StaleOutboxError,
    UsageError,
)
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, GatewayId, InboxSeq, MessageId, UserId
from whisperkit.receipts import MessageStatus, status_of
from whisperkit.runtime import Runtime
from whisperkit.service.core import Core
from whisperkit.service.gateway import Gateway
from whisperkit.service.hello import ANSWERS, Verify
from whisperkit.service.hook import Hook
from whisperkit.service.limits import ServiceConfig
from whisperkit.service.link import DeviceLink
from whisperkit.service.outlet import Close, Outlet, SendData
from whisperkit.service.posting import NoSuchUser, PostMessage, PostResult, StaleDevices
from whisperkit.service.sweeper import TRIM_ENTRIES
from whisperkit.stores import LocalBus, Stores
from whisperkit.sync import conversation as conversations
from whisperkit.sync import frames
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.codec import decode
from whisperkit.sync.conversation import NotMember, Posted, Repeat, RosterMoved, Unchanged, Voided
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import MAX_CHANGE_USERS, ByeCode, EntryKind, RosterChange
from whisperkit.sync.roster import is_in_audience
from whisperkit.sync.rows import post_span
from whisperkit.sync.window import SendFirst, StaleOutbox

__all__ = ["AttachedLink", "MessageService", "ReceivedEntry", "SentMessage"]


class SentMessage(NamedTuple):
    """A message that has its place, and from here on needs nobody.

    Attributes:
        conversation: Where.
        seq: Its number there.
        message_id: Its identity.
    """

    conversation: ConversationId
    seq: ConversationSeq
    message_id: MessageId


class ReceivedEntry(NamedTuple):
    """An entry of an inbox.

    Attributes:
        seq: Its number in the inbox; the same when it comes again.
        cursor: The device's cursor once it has saved this entry.
        message_id: The identity of the post.
        kind: What it is.
        conversation: Where it was posted.
        conversation_seq: Its number there.
        sender: The sending device; `None` for the service.
        at_ms: When it was posted, milliseconds since 1970.
        body: The part for all, or the copy for this device where there is one.
    """

    seq: InboxSeq
    cursor: Cursor
    message_id: MessageId
    kind: EntryKind
    conversation: ConversationId
    conversation_seq: ConversationSeq
    sender: DeviceId | None
    at_ms: int
    body: bytes | None

    def __repr__(self) -> str:
        body = f"<{len(self.body or b'')} bytes>"
        return f"ReceivedEntry(seq={self.seq}, message_id={self.message_id}, kind={self.kind.name}, body={body})"


class AttachedLink:
    """What `MessageService.attach` returns: where a framework puts what it is called back with."""

    def __init__(self, link: DeviceLink) -> None:
        self._link = link

    def receive(self, data: bytes | str) -> None:
        """A message came. Only queues; whatever is wrong with the message ends the link."""
        self._link.receive(data)

    def detach(self) -> None:
        """The connection is gone."""
        self._link.end()

    @property
    def is_open(self) -> bool:
        """Whether the link has not ended."""
        return self._link.is_open


class MessageService:
    """One gateway of a messaging service; an async context manager.

    Args:
        stores: The doors; `Stores.memory()` to try it, `Stores.over(...)` for your database.
        config: Bounds and intervals.
        gateway: The name of this gateway: its own in a cluster, and the same after a restart; what was left under a
            name that never comes back waits until another gateway takes it for dead.
        verify: Checks the signature of a device's challenge, ``(identity key, message, signature)``:
            `whisperkit.ratchet.verify`. Without it only devices that you vouch for in `attach` connect.
        hook: Told what happens, for metrics.
        runtime: The world; without one `AnyioRuntime`, opened and closed with the service.
    """

    def __init__(
        self,
        stores: Stores,
        *,
        config: ServiceConfig | None = None,
        gateway: str = "gateway",
        verify: Verify | None = None,
        hook: Hook | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self._stores = stores
        self._config = config or ServiceConfig()
        self._name = GatewayId(gateway)
        self._verify = verify
        self._hook = hook or Hook()
        self._own_runtime = AnyioRuntime() if runtime is None else None
        self._runtime: Runtime = runtime or self._own_runtime or AnyioRuntime()
        self._gateway: Gateway | None = None

    async def __aenter__(self) -> Self:
        if self._own_runtime is not None:
            await self._own_runtime.__aenter__()
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if kind is None and not self._serving.is_draining:  # the application has not done it
            await self.drain()
        if isinstance(self._stores.bus, LocalBus):
            self._stores.bus.leave(self._name)
        self._gateway = None
        return await self._own_runtime.__aexit__(kind, error, trace) if self._own_runtime is not None else None

    async def start(self) -> None:
        """Begin to serve; what entering the context manager does, for those who bring a runtime of their own."""
        core = Core(self._stores, self._runtime, config=self._config, gateway=self._name, hook=self._hook)
        gateway = Gateway(core, verify=self._verify)
        await gateway.start()
        if isinstance(self._stores.bus, LocalBus):
            self._stores.bus.join(self._name, gateway.take_hints)
        self._gateway = gateway

    async def drain(self) -> int:
        """Refuse new links, say goodbye to those there are, and save what they acknowledged. Returns how many."""
        return await self._serving.drain()

    @property
    def gateway(self) -> Gateway:
        """The gateway, for servers that want more than this object offers.

        Raises:
            UsageError: The service is not running.
        """
        return self._serving

    @property
    def _serving(self) -> Gateway:
        if self._gateway is None:
            raise UsageError("the service is not running; use it in an async with", code="usage.not-running")
        return self._gateway

    # ---- users and conversations ----

    async def register(self, *devices: DeviceId, identity_keys: Mapping[DeviceId, bytes] | None = None) -> None:
        """Make accounts, and link devices, for which the application vouches. Repeating it is harmless.

        Args:
            devices: The first device of a user makes the account.
            identity_keys: Their public identity keys, 33 bytes; without one a device cannot prove itself to
                `attach` by signing, and is let in by the application alone.

        Raises:
            UsageError: A device cannot be linked; the text says why.
        """
        for device in devices:
            key = (identity_keys or {}).get(device, b"")
            people = self._serving.people
            answer: object = await people.register(device, identity_key=key, registration_id=0)
            if isinstance(answer, AccountTaken):
                answer = await people.link(device, by=None, identity_key=key, registration_id=0)
            if not isinstance(answer, Linked):
                raise UsageError(f"{device} cannot be linked: {type(answer).__name__}")

    async def create_conversation(
        self, members: Collection[UserId], *, conversation: ConversationId | None = None
    ) -> ConversationId:
        """Make a conversation, and add members to one that exists.

        Args:
            members: Who is in it.
            conversation: Its id; without one, two members have the conversation that is theirs for ever, and
                others get a new one.

        Returns:
            Its id.

        Raises:
            UsageError: There are no members in it.
            OutcomeUnknownError: As `change_members` raises it; repeat the call with the conversation's id.
        """
        users = sorted(set(members))
        if not users:
            raise UsageError("a conversation has members, got none")
        if conversation is None:
            is_direct = len(users) == 2
            conversation = (
                ConversationId.direct(*users) if is_direct else ConversationId.mint(random_bytes=self._runtime.random)
            )
        await self.change_members(conversation, added=users)
        return conversation

    async def change_members(
        self, conversation: ConversationId, *, added: Collection[UserId] = (), removed: Collection[UserId] = ()
    ) -> None:
        """Add and remove members, for the application. Users who are in, or out, already are left as they are.

        Raises:
            OutcomeUnknownError: The store was away, and some of the change may be made; repeat the call unchanged.
        """
        rest_added, rest_removed = sorted(set(added)), sorted(set(removed))
        while rest_added or rest_removed:
            some, rest_added = rest_added[:MAX_CHANGE_USERS], rest_added[MAX_CHANGE_USERS:]
            room = MAX_CHANGE_USERS - len(some)
            others, rest_removed = rest_removed[:room], rest_removed[room:]
            result = await self._serving.membership.change_roster(
                conversation, RosterChange(tuple(some), tuple(others))
            )
            if not isinstance(result.answer, Posted | Unchanged):
                raise OutcomeUnknownError(f"change of members in {conversation}")

    async def sync_members(self, conversation: ConversationId) -> None:
        """Say that the members of one of the application's rooms have changed, so that its devices hear of it now.

        Without it they hear with the next message. A device that encrypts for each member has to know them before its
        first: call it when a room is made. Without effect on a conversation that `Stores.rosters` does not know.

        Raises:
            StoreError: The store is away; repeat it, or leave it to the next message.
        """
        await self._serving.membership.sync_roster(conversation)

    # ---- sending ----

    async def send(
        self,
        sender: DeviceId,
        conversation: ConversationId,
        body: bytes,
        *,
        outbox_seq: int | None = None,
        outbox_epoch: int = 1,
        message_id: MessageId | None = None,
        if_roster: int | None = None,
    ) -> SentMessage:
        """Post a message; when this returns it is durable, and on its way whatever happens to this process.

        Args:
            sender: The sending device; the application vouches for it.
            conversation: Where.
            body: What all members get; at most `frames.MAX_SHARED_BYTES`.
            outbox_seq: The sender's own number for this conversation, from 1. With it, repeating the call never
                posts twice; give the same `message_id` too, or let it be derived from the number. Without it only
                a repeat with the same `message_id` among the device's last 32 is recognised.
            outbox_epoch: Raised by a device that was restored from a backup.
            message_id: Its identity.
            if_roster: Refuse if the members changed since this version.

        Raises:
            NotMemberError: The sender is no member, or there is no such conversation.
            NoSuchUserError: It is a conversation of two, and the other one has no device that could get it.
            SendFirstError: A number was skipped.
            StaleOutboxError: The number was used for another message.
            RosterMovedError: The members changed.
            StoreError: The store is away; repeat it with the same arguments.
            UsageError: `outbox_seq` is below 1, or the service does not run.
            PeerError: The body is larger than a message may be.
        """
        if outbox_seq is not None and outbox_seq < 1:
            raise UsageError(f"outbox_seq starts at 1, got {outbox_seq}", code="usage.outbox-seq")
        if message_id is None:
            message_id = self._derived_id(sender, conversation, outbox_epoch, outbox_seq)
        send = frames.Send(
            conversation,
            outbox_epoch,
            outbox_seq or 1,
            message_id,
            EntryKind.MESSAGE,
            None if if_roster is None else ConversationSeq(if_roster),
            (),
            None,
            body,
            None,
        )
        gateway = self._serving
        await gateway.membership.sync_roster(conversation)
        operation = PostMessage(gateway.core, sender, send, outbox_seq=outbox_seq, came_at=gateway.core.runtime.now())
        conversations.check_post(send.kind, send.change, send.shared, send.own)
        gateway.ticks.wrote(conversation, sender.user)
        result = await gateway.poster.run(operation)
        seq = _posted_seq(sender, conversation, send, result)
        seconds = gateway.core.runtime.now() - operation.came_at
        gateway.core.hook.accepted(result.conversation.strategy, seconds)
        return SentMessage(conversation, seq, message_id)

    def _derived_id(self, sender: DeviceId, conversation: ConversationId, epoch: int, number: int | None) -> MessageId:
        """The same for the same number, so that a repeat is one; a new one for a message without a number."""
        if number is None:
            return self._serving.core.mint()
        return MessageId.derive(f"{sender}\n{conversation}\n{epoch}\n{number}".encode())

    # ---- receiving ----

    @asynccontextmanager
    async def receive(self, device: DeviceId, *, limit: int = 256) -> AsyncGenerator[tuple[ReceivedEntry, ...]]:
        """The messages that a device without a cursor of its own is owed: acknowledged when the block ends well.

        For bots, cron jobs and webhooks: at least once, in order, and each entry carries its number. Entries that
        are no messages, such as changes of members, are acknowledged with them and left out.

        Args:
            device: Whose inbox.
            limit: How many entries at most.
        """
        gateway = self._serving
        await gateway.sweeper.drop_old_entries(device)
        inbox = await gateway.catchup.inbox(device)
        name = inboxes.partition(device)
        mark = inboxes.acked_mark(inbox.epoch)
        acked = max((await gateway.ticks.board.read([name]))[name].get(mark, 0), inbox.floor)
        page = await gateway.catchup.page(device, acked, limit=limit)
        entries = (_received(inbox.epoch, delivery.frame) for delivery in page.deliveries)
        yield tuple(entry for entry in entries if entry.kind is EntryKind.MESSAGE)
        if page.deliveries:
            gateway.ticks.delivered(device.user, page.deliveries)
            await gateway.ticks.board.flush()
            gateway.ticks.board.raise_mark(name, mark, page.deliveries[-1].seq)
            await gateway.ticks.board.flush()
            if page.deliveries[-1].seq - inbox.floor >= TRIM_ENTRIES:
                gateway.sweeper.acknowledged(device)

    async def sync(self, device: DeviceId, cursor: Cursor | None) -> inboxes.Comparison:
        """Tell a device with a cursor where it stands: `Delta`, `Snapshot`, `Forked` or `Ahead`."""
        await self._serving.sweeper.drop_old_entries(device)
        answer = (await self._serving.catchup.compare(device, cursor)).answer
        self._serving.core.hook.synced(ANSWERS[type(answer)].name.lower())
        return answer

    async def entries(self, device: DeviceId, cursor: Cursor, *, limit: int = 256) -> tuple[ReceivedEntry, ...]:
        """The entries above a cursor that `sync` answered with `Delta`; acknowledges nothing."""
        page = await self._serving.catchup.page(device, cursor.seq, limit=limit)
        return tuple(_received(cursor.epoch, delivery.frame) for delivery in page.deliveries)

    async def mark_read(self, device: DeviceId, conversation: ConversationId, upto: int) -> None:
        """Note that a user read a conversation up to a number; durable when this returns."""
        gateway = self._serving
        await gateway.ticks.read(conversation, device.user, upto)
        await gateway.ticks.board.flush()

    async def status(self, conversation: ConversationId, seq: int) -> MessageStatus:
        """How far a message has come, over all of its audience.

        Raises:
            UsageError: There is no such message, or it consists of copies for single devices, which the server forgets.
        """
        gateway = self._serving
        rows = await gateway.catchup.posts(conversation, [post_span(seq - 1, seq)], limit=1)
        if not rows or rows[0].sender is None:
            raise UsageError(f"no message {seq} is kept in {conversation}", code="usage.no-such-message")
        stays = await gateway.membership.stays(conversation)
        audience = [user for user, intervals in stays.items() if is_in_audience(intervals, seq)]
        name = conversations.partition(conversation)
        marks = (await gateway.ticks.board.read([name]))[name]
        return status_of(seq, sender=rows[0].sender.user, audience=audience, marks=marks)

    # ---- connections ----

    def attach(
        self,
        device: DeviceId | None,
        *,
        send: SendData,
        close: Close | None = None,
        backlog: Callable[[], int] | None = None,
        speaks_json: bool = False,
    ) -> AttachedLink:
        """Take a connection that a framework opened. Never waits.

        Args:
            device: Whose it is, if the application has checked that; `None`: HELLO has to prove it by a signature.
            send: Hands a message to the network: plain, or returning an awaitable, which a writer of the link awaits.
            close: Ends the connection.
            backlog: Bytes that `send` took and the network did not.
            speaks_json: Whether the first frame goes out as JSON; later ones follow the device.
        """
        gateway = self._serving
        outlet = Outlet(send, close, backlog, gateway.core.runtime)
        return AttachedLink(gateway.attach(outlet, trusted=device, speaks_json=speaks_json))

    async def serve(
        self,
        device: DeviceId | None,
        *,
        receive: Callable[[], Awaitable[bytes | str]],
        send: SendData,
        close: Close | None = None,
    ) -> None:
        """Serve a connection until it ends: a loop over `attach`.

        Args:
            device: As in `attach`.
            receive: Waits for the next message; whatever it raises means that the connection is gone.
            send: As in `attach`.
            close: As in `attach`.
        """
        link = self.attach(device, send=send, close=close)
        try:
            while link.is_open:
                link.receive(await receive())
        except Exception:
            # Each framework has an error of its own for a connection that ended; there is nobody left to tell.
            return
        finally:
            link.detach()

    def disconnect(self, device: DeviceId, code: ByeCode = ByeCode.UNAUTHORISED) -> None:
        """End the link of a device, for instance after a logout."""
        link = self._serving.links.get(device)
        if isinstance(link, DeviceLink):
            link.bye(code, why="disconnected")


def _posted_seq(
    sender: DeviceId, conversation: ConversationId, send: frames.Send, result: PostResult
) -> ConversationSeq:
    """The number that a post got, or the error that says what to do."""
    match result.answer:
        case Posted(seq, _) | Repeat(seq):
            return seq
        case StaleOutbox(epoch):
            raise StaleOutboxError(device=sender, epoch=epoch)
        case SendFirst(expected):
            raise SendFirstError(device=sender, found=send.outbox_seq, expected=expected)
        case RosterMoved(roster_seq):
            raise RosterMovedError(conversation=conversation, expected=send.if_roster or 0, found=roster_seq)
        case NotMember():
            raise NotMemberError(conversation=conversation, user=sender.user)
        case StaleDevices(missing, extra):
            raise StaleDevicesError(missing=missing, extra=extra)
        case NoSuchUser(user):
            raise NoSuchUserError(user=user)
        case Voided():
            raise UsageError("the message was given up under this number", code="usage.outbox-seq")
        case _:
            raise OutcomeUnknownError("post")


def _received(epoch: int, frame: bytes) -> ReceivedEntry:
    entry = decode(frame, direction=frames.Direction.TO_CLIENT)[0]
    assert isinstance(entry, frames.Entry)  # made by `catchup`
    seq = InboxSeq(entry.seq)
    body = entry.own if entry.own is not None else entry.shared
    cursor = Cursor(epoch, seq, entry.tag)
    return ReceivedEntry(
        seq, cursor, entry.message_id, entry.kind, entry.conv, entry.conv_seq, entry.sender, entry.at_ms, body
    )
