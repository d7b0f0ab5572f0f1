"""Where a device stands: what a client holds in memory of what is saved, and the connection of the moment.

The parts of a client (`receiving`, `sending`, `greeting`, `reading`) share one `Standing`. What is durable in it
changes in turns of `records`, and is taken over here only after their commit.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

from whisperkit.client.events import (
    ConnectionChanged,
    ConnectionState,
    DeviceLinked,
    Event,
    EventsLost,
    IdentityChanged,
    Notice,
)
from whisperkit.client.notices import notices_in
from whisperkit.client.records import DeviceRecords, Turn
from whisperkit.client.session import Session
from whisperkit.errors import LinkClosedError, StoreError
from whisperkit.ids import ConversationId, DeviceId, MessageId, UserId
from whisperkit.partitions import Row
from whisperkit.ratchet import Device
from whisperkit.runtime import Mailbox, Runtime
from whisperkit.stores import PartitionStore
from whisperkit.sync import mirror, outbox
from whisperkit.sync.chat import Chat, chat_of, chat_spans
from whisperkit.sync.frames import Frame
from whisperkit.sync.mirror import Mirror, Synced
from whisperkit.sync.outbox import Outbox

__all__ = ["FIRST_RETRY_S", "Follows", "Listener", "Standing", "load_chat", "members_of"]

log = logging.getLogger("whisperkit.client")

R = TypeVar("R")

FIRST_RETRY_S: Final = 0.25
# What one listener may leave unheard: more than a busy group brings while a screen is drawn.
MAX_EVENTS: Final = 1_000


class Listener:
    """A bounded queue of events: what happened, oldest first.

    It is no generator, because one that is left before its end has to be closed, and a ``break`` does not.
    """

    def __init__(self, box: Mailbox[Event]) -> None:
        self._box = box

    def put(self, event: Event) -> None:
        """Hear of an event; whoever does not keep up is told that much instead of what was dropped."""
        if len(self._box) >= MAX_EVENTS:
            self.skip()
            self._box.put(EventsLost())
        self._box.put(event)

    async def get(self, timeout_s: float | None = None) -> Event | None:
        """Wait for the next event; `None` when the time passed without one."""
        return await self._box.get(timeout_s)

    def skip(self) -> None:
        """Forget what was not heard yet."""
        self._box.take(len(self._box))

    def __aiter__(self) -> Listener:
        return self

    async def __anext__(self) -> Event:
        event = await self._box.get()
        assert event is not None  # it waits without a limit
        return event

    def __len__(self) -> int:
        return len(self._box)


class Follows:
    """What follows from a turn once it is committed.

    Attributes:
        boxes: Outboxes as they are then.
        events: What there is to tell.
    """

    def __init__(self) -> None:
        self.boxes: dict[ConversationId, Outbox] = {}
        self.events: list[Event] = []


class Standing:
    """What the parts of a client share.

    Args:
        store: Where the device is kept.
        device: Which device.
        runtime: The world.

    Attributes:
        is_sure: Whether memory holds what the store holds; if not, it is read again before the next connection.
        notices: What a person has to be told of devices and has not seen yet, by kind and device, oldest first.
        on_screen: Conversations that are.
        heard_of: When something was last sent to a conversation, or an answer came from it.
        not_before: When the server, which is busy, wants to hear of a conversation again.
    """

    def __init__(self, store: PartitionStore, device: DeviceId, runtime: Runtime) -> None:
        self.device = device
        self.runtime = runtime
        self.ratchet = Device(device, random_bytes=runtime.random)
        self.records = DeviceRecords(store, device, runtime)
        self.state = ConnectionState.OFFLINE
        self.mirror = Mirror(device)
        self.outboxes: dict[ConversationId, Outbox] = {}
        self.session: Session | None = None
        self.is_sure = False
        self.notices: dict[tuple[type[Notice], DeviceId], Notice] = {}
        self.on_screen: set[ConversationId] = set()
        self.heard_of: dict[ConversationId, float] = {}
        self.not_before: dict[ConversationId, float] = {}
        # Weak, and in the order in which they came: an iterator that was left takes its queue along.
        self._listeners: WeakKeyDictionary[Listener, None] = WeakKeyDictionary()
        self._due: Mailbox[bool] = runtime.mailbox()

    def mint(self) -> MessageId:
        """A new message id, also for requests."""
        return MessageId.mint(wall_ms=self.runtime.wall_ms(), random_bytes=self.runtime.random)

    # ---- what is saved ----

    async def load(self) -> None:
        """Take up what is saved, with identity keys made if there are none."""

        async def load(turn: Turn) -> list[Notice]:
            rows = await turn.load(self.ratchet.records_for_prekeys()[:1])
            if not rows:
                turn.save(self.ratchet.create_identity(rows).save)
            if turn.state:
                self.mirror = mirror.decode_mirror(turn.state)._replace(opened=self.mirror.opened)
            else:
                turn.state = mirror.encode_mirror(self.mirror)
            await turn.load(outbox.outbox_spans())
            pending = sorted(row for row in turn.rows.items() if row[0][:2] in (b"o/", b"p/"))
            self.outboxes = outbox.load_outboxes(Row(*row) for row in pending)
            return await notices_in(turn)

        for notice in await self.records.run(load):
            self.tell(notice)  # also one of a commit of which it was not known whether it happened
        self.is_sure = True

    async def reload(self) -> None:
        """Begin again from what the store holds, as soon as it can be read."""
        self.is_sure = False
        while not self.is_sure:
            try:
                await self.load()
            except StoreError:
                log.exception("the device's store cannot be read")
                await self.runtime.sleep(FIRST_RETRY_S)

    async def settle(self, work: Callable[[Turn, Follows], Awaitable[R]]) -> tuple[R, Follows]:
        """Run a turn that changes outboxes.

        Returns:
            What it answered, and what follows from it: not taken on yet.

        Raises:
            StoreError: Whether it was written is not known, so neither is what memory should hold.
        """

        async def run(turn: Turn) -> tuple[R, Follows]:
            follows = Follows()
            return await work(turn, follows), follows

        try:
            return await self.records.run(run)
        except StoreError:
            self.is_sure = False
            raise

    def take_on(self, follows: Follows) -> None:
        """Take over what a turn led to."""
        self.outboxes.update(follows.boxes)
        for event in follows.events:
            self.tell(event)

    def box(self, conv: ConversationId) -> Outbox:
        """The outbox of a conversation, for a turn.

        Raises:
            LinkClosedError: It may be another one in the store: a number could be given twice.
        """
        if not self.is_sure:
            raise LinkClosedError(reason="STORE", retry_after_s=None)
        return self.outboxes.get(conv, Outbox(conv))

    def take_over(self, state: Mirror) -> None:
        """Take over the mirror after a commit. What has left the screen meanwhile stays off it."""
        self.mirror = state._replace(opened=state.opened & self.on_screen)

    def put(self, turn: Turn, synced: Synced) -> None:
        """Write what a step of the mirror wants written."""
        turn.put(synced.put)
        turn.delete(synced.delete)
        if synced.state.cursor != self.mirror.cursor:
            turn.state = mirror.encode_mirror(synced.state)

    async def step(self, step: Callable[[Mapping[bytes, bytes]], Synced], conv: ConversationId) -> None:
        """Run a step of the mirror that concerns one conversation, and say what follows."""

        async def work(turn: Turn) -> Synced:
            synced = step(await turn.load(chat_spans(conv)))
            self.put(turn, synced)
            return synced

        synced = await self.records.run(work)
        self.take_over(synced.state)
        self.say(synced.send)

    # ---- the connection ----

    @property
    def is_established(self) -> bool:
        """Whether there is a connection on which HELLO went out."""
        return self.session is not None and self.session.is_established

    def say(self, out: Sequence[Frame]) -> None:
        """Send frames, if there is a connection."""
        if self.session is not None and self.session.is_established:
            self.session.send(out)

    async def ask(self, request: MessageId, frame: Frame) -> Frame:
        """Send a request and wait for its answer.

        Raises:
            LinkClosedError: There is no connection, or it went first.
        """
        if self.session is None:
            raise LinkClosedError(reason="LOST", retry_after_s=0.0)
        return await self.session.ask(request, frame)

    # ---- who is told ----

    def tell(self, event: Event) -> None:
        """Tell all who listen; one who does not keep up is told that much. What has to be seen is told once."""
        if isinstance(event, DeviceLinked | IdentityChanged):
            key = type(event), event.device
            if self.notices.get(key) == event:
                return
            self.notices.pop(key, None)
            self.notices[key] = event
        for listener in list(self._listeners):
            listener.put(event)

    def forget_notice(self, notice: Notice) -> None:
        """A person has seen a notice; one that took its place since stays."""
        key = type(notice), notice.device
        if self.notices.get(key) == notice:
            del self.notices[key]

    def now_is(self, state: ConnectionState, retry_in_s: float | None = None) -> None:
        """Note how the client stands with the server."""
        if state is not self.state or retry_in_s is not None:
            self.state = state
            self.tell(ConnectionChanged(state, retry_in_s))

    def listen(self) -> Listener:
        """Hear of what happens from now on, for as long as somebody holds the listener."""
        listener = Listener(self.runtime.mailbox())
        self._listeners[listener] = None
        return listener

    async def wait_live(self, timeout_s: float) -> bool:
        """Wait until the mirror has reached the head; false if it has not in time."""
        listener = self.listen()
        deadline = self.runtime.now() + timeout_s
        while self.state is not ConnectionState.LIVE and self.runtime.now() < deadline:
            await listener.get(timeout_s=max(0.0, deadline - self.runtime.now()))
        return self.state is ConnectionState.LIVE

    # ---- work that is due ----

    def wake(self) -> None:
        """There may be something to seal or to send."""
        if not len(self._due):
            self._due.put(True)

    async def wait_due(self, timeout_s: float) -> None:
        """Wait until somebody wakes, or for so long."""
        await self._due.get(timeout_s=timeout_s)
        self._due.take(len(self._due))


async def load_chat(turn: Turn, conv: ConversationId) -> Chat:
    """A conversation as it is saved."""
    return chat_of(conv, await turn.load(chat_spans(conv)))


async def members_of(turn: Turn, conv: ConversationId) -> tuple[UserId, ...]:
    """The members of a conversation that this device knows."""
    chat = await load_chat(turn, conv)
    return chat.membership.members if chat.membership is not None else ()
