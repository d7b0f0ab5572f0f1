"""A gateway: the links of devices, joined to the flows. What a frame asks for, and what follows.

Nothing here waits on a device, and nothing waits inside `receive`: a SEND goes into the next turn, an ACK
changes memory, a request is answered by the link's own task. What the links gather is written once per turn.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from functools import partial

from whisperkit.errors import OutOfTurnError, UnauthorisedError, UsageError, WhisperError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId
from whisperkit.runtime import Mailbox
from whisperkit.service.acks import AckSaver
from whisperkit.service.adoption import Adopter
from whisperkit.service.asides import Asides
from whisperkit.service.attachments import Attachments
from whisperkit.service.catchup import CatchUp
from whisperkit.service.core import Core
from whisperkit.service.delivery import Deliverer, LinkTable
from whisperkit.service.device_requests import DeviceRequests
from whisperkit.service.failed import Failed
from whisperkit.service.finishing import Finisher
from whisperkit.service.hello import Greeter, Verify
from whisperkit.service.house import House
from whisperkit.service.link import DeviceLink
from whisperkit.service.members import Membership
from whisperkit.service.outlet import Outlet
from whisperkit.service.people import People
from whisperkit.service.poster import Poster
from whisperkit.service.posting import NoSuchUser, PostMessage, PostResult, StaleDevices
from whisperkit.service.presences import Presences
from whisperkit.service.reading import Reader
from whisperkit.service.sweeper import Sweeper
from whisperkit.service.ticks import Ticks
from whisperkit.service.window import Delivery
from whisperkit.service.workers import Worker
from whisperkit.stores import Token
from whisperkit.sync import conversation as conversations
from whisperkit.sync import frames
from whisperkit.sync.conversation import NotMember, Posted, Repeat, RosterMoved, Voided
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import ByeCode, EntryKind, Frame, RefusalReason
from whisperkit.sync.window import SendFirst, StaleOutbox
from whisperkit.transport import Hint, HintResult, NotHere, Took

__all__ = ["Gateway"]

log = logging.getLogger("whisperkit.service")


class Gateway:
    """One gateway of a service.

    Args:
        core: What its flows share.
        verify: Checks the signature of a challenge; `None`: only devices that the application vouches for connect.
    """

    def __init__(self, core: Core, *, verify: Verify | None) -> None:
        self.core = core
        self.links = LinkTable()
        self.ticks = Ticks(core, self.links)
        self.catchup = CatchUp(core, self.ticks.board)
        self.deliver = Deliverer(core.stores, core.runtime, core.owner.gateway, self.links, core.hook)
        self.attachments = Attachments(core, self.catchup)
        self.sweeper = Sweeper(core, self.catchup, self.ticks.board, self.attachments)
        self.finisher = Finisher(core, self.deliver)
        self.worker = Worker(core, self.finisher)
        self.poster = Poster(
            core,
            self.finisher,
            self.deliver,
            pulled=self._pulled,
            job_put=self.worker.wake,
            posted=self.sweeper.posted,
        )
        self.membership = Membership(core, self.catchup, self.poster)
        self._open: set[DeviceLink] = set()
        self.acks = AckSaver(core, self.ticks, self.catchup, lambda: self._open, self.sweeper)
        self.reader = Reader(core, self.catchup, self.membership, self.acks)
        self.people = People(core, self.catchup)
        self.asides = Asides(core, self.catchup, self.deliver)
        self.presences = Presences(core, self.links, self.ticks.board)
        self.house = House(core, self.links, lambda: self._open, self.finisher, self.poster)
        self.adopter = Adopter(core, self.catchup, self.finisher, self.poster)
        self.requests = DeviceRequests(self.people, self.acks, self.links, self.sweeper)
        self.greeter = Greeter(
            core,
            self.links,
            self.catchup,
            self.people,
            self.acks,
            self.presences,
            self.sweeper,
            verify=verify,
        )
        self.is_draining = False
        self._dirty: list[DeviceLink] = []
        self._wake: Mailbox[bool] = core.runtime.mailbox()

    async def start(self) -> None:
        """Open an incarnation, begin to serve, and to finish what earlier lives of this gateway and the dead left."""
        await self.core.begin_incarnation()
        spawn = self.core.runtime.spawn
        spawn(self._flush_links, name="flush")
        spawn(self.acks.serve, name="acks")
        spawn(self.house.serve, name="house")
        spawn(self.house.watch, name="watch")
        spawn(self.house.settle_notes, name="settle")
        spawn(self.adopter.serve, name="adopter")
        spawn(self.sweeper.serve, name="sweeper")
        if self.core.config.works_jobs:
            spawn(self.worker.serve, name="worker")

    def attach(self, outlet: Outlet, *, trusted: DeviceId | None, speaks_json: bool = False) -> DeviceLink:
        """A connection was opened. The challenge goes out at once."""
        link = DeviceLink(
            self,
            outlet,
            hook=self.core.hook,
            counts=self.core.frame_counts,
            trusted=trusted,
            nonce=self.core.runtime.random(32),
            max_requests=self.core.config.max_requests,
            now=self.core.runtime.now(),
            speaks_json=speaks_json,
        )
        if self.is_draining:
            link.bye(ByeCode.TRY_LATER, retry_after_s=1, why="draining")
            return link
        self._open.add(link)
        link.send(frames.Challenge(frames.PROTOCOL_VERSION, link.nonce))
        return link

    def flush_soon(self, link: DeviceLink) -> None:
        """Write what a link gathered, at the end of this turn."""
        if not self._dirty:
            self._wake.put(True)
        self._dirty.append(link)

    async def _flush_links(self) -> None:
        while True:
            await self._wake.get()
            dirty, self._dirty = self._dirty, []
            for link in dirty:
                try:
                    link.flush()
                except WhisperError:
                    # A frame that cannot be written is a fault of ours: the device is told, and not left waiting.
                    log.exception("frames not written", extra={"device": link.who})
                    link.bye(ByeCode.TRY_LATER, retry_after_s=5, why="unwritable")
                except Exception:
                    # Whatever a framework raises for a connection that is gone.
                    log.info("link lost", extra={"device": link.who}, exc_info=True)
                    link.end()

    def closed(self, link: DeviceLink) -> None:
        """A link has ended."""
        self._open.discard(link)
        link.outlet.drop()
        self._log_end(link)
        if not link.token:
            return  # it never took its place
        self.presences.unwatch(link)
        self.reader.unfollow(link)
        is_current = self.links.get(link.device) is link
        self.links.remove(link)
        self.core.hook.linked(len(self.links))
        if link.unsaved_acks:
            self.acks.soon(link)
        if is_current:
            self.presences.goodbye(link.device)
            token = Token(link.token)
            self.core.runtime.spawn(lambda: self._unbind(link.device, token), name="unbind")

    def _log_end(self, link: DeviceLink) -> None:
        """Of links that ended well one is as the other, and there are very many of them."""
        is_well = link.code is None or link.code is ByeCode.NORMAL
        seconds = round(self.core.runtime.now() - link.opened_at, 3)
        log.log(
            logging.DEBUG if is_well else logging.INFO,
            "link ended",
            extra={
                "device": link.who,
                "code": None if link.code is None else link.code.name.lower(),
                "why": link.why,
                "seconds": seconds,
            },
        )

    async def _unbind(self, device: DeviceId, token: Token) -> None:
        try:
            await self.core.stores.directory.unbind(device, token)
        except Exception:
            log.warning("not unbound; the binding ends with the lease", extra={"device": device}, exc_info=True)

    def spawn_requests(self, link: DeviceLink) -> None:
        """Let the link answer its requests."""
        self.core.runtime.spawn(link.serve_requests, name="requests")

    async def answer(self, link: DeviceLink, frame: Frame) -> None:
        """Answer a request of a link.

        Raises:
            PeerError: It has no place before HELLO, is not of its form, or is not the device's to ask; the link is
                closed.
        """
        link.heard_at = self.core.runtime.now()
        match frame:
            case frames.Hello():
                await self.greeter.hello(link, frame)
            case frames.Register():
                await self.greeter.register(link, frame)
            case _ if not link.is_known:
                raise OutOfTurnError(frame=frames.BY_TYPE[type(frame)].name, state="awaiting hello")
            case frames.Send():
                await self._send_in_room(link, frame)
            case frames.Read(conv, upto):
                if await self.membership.is_member(conv, link.device.user):
                    await self.ticks.read(conv, link.device.user, upto)
            case frames.Marks(convs):
                mine = [conv for conv in convs if await self.membership.is_member(conv, link.device.user)]
                await self.ticks.tell(link, mine)
            case frames.Pull(cursor):
                await self.reader.pull(link, cursor)
            case frames.Range():
                await self.reader.range(link, frame)
            case frames.Watch(users):
                await self.presences.watch(link, users)
            case frames.Aside():
                await self.asides.send(link.device, frame)
                link.send(frames.AsideOk(frame.message_id))
            case _:
                await self.requests.answer(link, frame)

    def handle(self, link: DeviceLink, frame: Frame) -> None:
        """A frame of an established link came that does not wait.

        Raises:
            PeerError: It is not of its form; the link is closed.
            UsageError: It is one that waits, which is for `answer`.
        """
        link.heard_at = self.core.runtime.now()
        match frame:
            case frames.Send():
                self._send(link, frame)
            case frames.Ack(cursor):
                self._acknowledge(link, cursor)
            case frames.Beat():
                self._beat(link)
            case frames.Typing():
                self._typing(link, frame)
            case frames.Follow(convs):
                self.core.runtime.spawn(partial(self.reader.follow, link, convs), name="follow")
            case _:
                raise UsageError(f"{type(frame).__name__} is not handled at once")

    def _send(self, link: DeviceLink, send: frames.Send) -> None:
        conversations.check_post(send.kind, send.change, send.shared, send.own)
        if link.unanswered_sends >= self.core.config.max_unanswered_sends:
            self._refuse(link, send, RefusalReason.TRY_LATER, number=1_000)
            return
        link.unanswered_sends += 1
        # Before the post: ticks may come before its SENT does.
        self.ticks.wrote(send.conv, link.device.user)
        if self.core.stores.rosters is None:
            self._post(link, send)
        else:
            link.enqueue(send)

    async def _send_in_room(self, link: DeviceLink, send: frames.Send) -> None:
        """A room that the application keeps: a difference of members is posted before the message."""
        await self.membership.sync_roster(send.conv)
        self._post(link, send)

    def _post(self, link: DeviceLink, send: frames.Send) -> None:
        came_at = self.core.runtime.now()
        operation = PostMessage(self.core, link.device, send, outbox_seq=send.outbox_seq, came_at=came_at)
        self.poster.post(operation, partial(self._sent, link, operation))

    def _sent(self, link: DeviceLink, operation: PostMessage, result: PostResult | Failed) -> None:
        """Tell the device what became of its SEND."""
        link.unanswered_sends -= 1
        send = operation.send
        if isinstance(result, Failed):
            ids = {"device": link.device, "conversation": send.conv}
            log.warning("post failed", extra=ids, exc_info=result.error)
            self._refuse(link, send, RefusalReason.TRY_LATER, number=1_000)
            return
        match result.answer:
            case Posted(seq, row):
                self._accepted(operation, result)
                self._say_sent(link, send, seq, row.at_ms)
            case Repeat(seq):
                self._accepted(operation, result)
                # When it was posted is known only where its row is kept: the time of a repeat is that of its answer.
                self._say_sent(link, send, seq, self.core.runtime.wall_ms())
            case Voided():
                self._say_sent(link, send, ConversationSeq(0), self.core.runtime.wall_ms())
            case StaleOutbox(epoch):
                self._refuse(link, send, RefusalReason.STALE_OUTBOX, number=epoch)
            case SendFirst(expected):
                self._refuse(link, send, RefusalReason.SEND_FIRST, number=expected)
            case RosterMoved(roster_seq):
                self._refuse(link, send, RefusalReason.ROSTER_MOVED, number=roster_seq)
            case NotMember():
                self._refuse(link, send, RefusalReason.NOT_MEMBER)
            case StaleDevices(missing, extra):
                self._refuse(link, send, RefusalReason.STALE_DEVICES, missing=missing, extra=extra)
            case NoSuchUser():
                self._refuse(link, send, RefusalReason.NO_SUCH_USER)
            case _:
                self._refuse(link, send, RefusalReason.TRY_LATER, number=1_000)

    def _accepted(self, operation: PostMessage, result: PostResult) -> None:
        seconds = self.core.runtime.now() - operation.came_at
        self.core.hook.accepted(result.conversation.strategy, seconds)

    def _say_sent(self, link: DeviceLink, send: frames.Send, seq: ConversationSeq, at_ms: int) -> None:
        link.send(frames.Sent(send.conv, send.outbox_epoch, send.outbox_seq, send.message_id, seq, at_ms))

    def _refuse(
        self,
        link: DeviceLink,
        send: frames.Send,
        reason: RefusalReason,
        *,
        number: int = 0,
        missing: Sequence[DeviceId] = (),
        extra: Sequence[DeviceId] = (),
    ) -> None:
        self.core.hook.refused(reason.name.lower())
        limit = frames.MAX_DEVICES
        link.send(
            frames.Refused(
                send.conv,
                send.outbox_epoch,
                send.outbox_seq,
                send.message_id,
                reason,
                number,
                tuple(missing[:limit]),
                tuple(extra[:limit]),
            )
        )

    def _acknowledge(self, link: DeviceLink, cursor: Cursor) -> None:
        if self.ticks.board.is_full:
            return  # the store of marks is away: the device says it again with its next beat, and waits meanwhile
        done = link.acknowledge(cursor)
        if done:
            self.ticks.delivered(link.device.user, done)
            self._tell_delivered(link, done)
        else:
            self.core.hook.marked("delivered", "stale" if link.is_open else "ahead")
        if link.unsaved_acks >= self.core.config.ack_every:
            self.acks.soon(link)

    def _tell_delivered(self, link: DeviceLink, done: Sequence[Delivery]) -> None:
        """Tell the hook how long entries took that were posted while the device was there."""
        now_ms = self.core.runtime.wall_ms()
        for delivery in done:
            if delivery.at_ms >= link.online_since_ms and delivery.kind is not EntryKind.ASIDE:
                strategy = delivery.strategy or self.ticks.strategy_of(conversations.partition(delivery.conv))
                if strategy is not None:
                    # Of another gateway's clock it may be a little ahead of ours.
                    self.core.hook.delivered(strategy, max(0, now_ms - delivery.at_ms) / 1_000)

    def _beat(self, link: DeviceLink) -> None:
        self.presences.beat(link.device)
        self.core.runtime.spawn(partial(self.reader.say_head, link), name="head")

    def _typing(self, link: DeviceLink, typing: frames.Typing) -> None:
        if typing.user != link.device.user:
            raise UnauthorisedError("somebody else's typing")
        self.core.runtime.spawn(partial(self._tell_typing, link, typing.conv), name="typing")

    async def _tell_typing(self, link: DeviceLink, conv: ConversationId) -> None:
        try:
            members = await self.membership.members(conv)
        except Exception:
            log.info("typing not told", extra={"conversation": conv}, exc_info=True)
            return
        if link.device.user not in members:
            return
        frame = frames.Typing(conv, link.device.user)
        for user in members - {link.device.user}:
            for other in self.links.of_user(user):
                if isinstance(other, DeviceLink):
                    other.send(frame)

    def _pulled(self, conv: ConversationId, seq: ConversationSeq) -> None:
        self.reader.pulled(conv, seq)

    def read_on(self, link: DeviceLink) -> None:
        """Read entries for a link until its window is full or all is sent."""
        self.reader.read_on(link)

    def take_hints(self, hints: Sequence[Hint]) -> list[HintResult]:
        """Hints from another gateway."""
        results: list[HintResult] = []
        for hint in hints:
            link = self.links.get(hint.device)
            if link is None:
                results.append(NotHere(hint.device))
            else:
                link.hear(hint.head)
                results.append(Took(hint.device))
        return results

    @property
    def open_links(self) -> Collection[DeviceLink]:
        """All links, those before HELLO too."""
        return self._open

    async def drain(self) -> int:
        """Say goodbye to all links and save what they acknowledged. Returns how many there were."""
        self.is_draining = True
        links = list(self._open)
        for link in links:
            link.bye(ByeCode.NORMAL, retry_after_s=0, why="draining")
        await self.acks.save_now(links)
        self.core.frame_counts.tell()
        return len(links)
