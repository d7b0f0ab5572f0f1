"""A gateway: the links of devices, joined to the flows. What a frame asks for, and what follows.

Nothing here waits on a device, and nothing waits inside `receive`: a SEND goes into the next turn, an ACK
changes memory, a request is answered by the link's own task. Three loops keep house: one writes what links gathered,
one saves acknowledgements, one looks after leases, dead sockets and the notes of the dead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final

from whisperkit import keys
from whisperkit.accounts import AccountTaken, Linked, NotDrained, NumberTaken, TooManyDevices, Unlinked
from whisperkit.errors import InvalidSignatureError, OutOfTurnError, UnauthorisedError, UsageError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, Owner, UserId
from whisperkit.partitions import Partition, prefix
from whisperkit.runtime import Mailbox
from whisperkit.service import owners
from whisperkit.service.asides import Asides
from whisperkit.service.catchup import CatchUp
from whisperkit.service.codecs import CONVERSATION
from whisperkit.service.core import Core
from whisperkit.service.delivery import Deliverer, LinkTable
from whisperkit.service.executor import Failed
from whisperkit.service.finishing import Finisher
from whisperkit.service.link import DeviceLink
from whisperkit.service.outlet import Outlet
from whisperkit.service.people import People
from whisperkit.service.poster import Poster, settle
from whisperkit.service.posting import ChangeRoster, PostMessage, PostResult, StaleDevices
from whisperkit.service.presences import Presences
from whisperkit.service.ticks import Ticks
from whisperkit.service.window import DeliveryWindow
from whisperkit.service.working_set import WorkingSet
from whisperkit.stores import Absent, Binding, Newer, Token
from whisperkit.sync import conversation as conversations
from whisperkit.sync import frames
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.connection import challenge_message, register_message
from whisperkit.sync.conversation import Fenced, NotMember, Posted, Repeat, RosterMoved, Voided
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import Answer, ByeCode, EntryKind, FailureReason, Frame, RefusalReason, RosterChange
from whisperkit.sync.roster import MEMBERS, Intervals, decode_intervals, is_in_audience, member_key, member_of
from whisperkit.sync.rows import PostRow, post_span
from whisperkit.sync.window import SendFirst, StaleOutbox
from whisperkit.transport import Hint, HintResult, NotHere, Took

__all__ = ["Gateway", "Verify"]

log = logging.getLogger("whisperkit.service")

Verify = Callable[[bytes, bytes, bytes], None]
"""Checks a signature: ``(identity key, message, signature)``; raises `InvalidSignatureError`."""

JOBS_AT_ONCE: Final = 16
IDLE_S: Final = 0.5
FOLLOWERS: Final = 1_024


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
        self.finisher = Finisher(core, self.deliver)
        self._jobs: Mailbox[bool] = core.runtime.mailbox()
        self.poster = Poster(
            core, self.finisher, self.deliver, pulled=self._pulled, job_put=lambda: self._jobs.put(True)
        )
        self.people = People(core, self.catchup)
        self.asides = Asides(core, self.catchup, self.deliver)
        self.presences = Presences(core, self.links, self.ticks.board)
        self.is_draining = False
        self._verify = verify
        self._open: set[DeviceLink] = set()
        self._followers: dict[ConversationId, set[DeviceLink]] = {}
        self._dirty: list[DeviceLink] = []
        self._wake: Mailbox[bool] = core.runtime.mailbox()
        self._acked: Mailbox[DeviceLink] = core.runtime.mailbox()
        self._gone_since: dict[Owner, float] = {}

    async def start(self) -> None:
        """Open an incarnation, finish what earlier ones left, and begin to serve."""
        await self.core.begin_incarnation()
        spawn = self.core.runtime.spawn
        spawn(self._flush_links, name="flush")
        spawn(self._save_acks, name="acks")
        spawn(self._keep_house, name="house")
        spawn(self._adopt_own, name="adopt own")
        if self.core.config.works_jobs:
            spawn(self._work, name="worker")

    # ---- links ----

    def attach(self, outlet: Outlet, *, trusted: DeviceId | None, speaks_json: bool = False) -> DeviceLink:
        """A connection was opened. The challenge goes out at once."""
        link = DeviceLink(
            self,
            outlet,
            trusted=trusted,
            nonce=self.core.runtime.random(32),
            max_requests=self.core.config.max_requests,
            now=self.core.runtime.now(),
            speaks_json=speaks_json,
        )
        if self.is_draining:
            link.bye(ByeCode.TRY_LATER, retry_after_s=1)
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
                except Exception:
                    # Whatever a framework raises for a connection that is gone.
                    log.info("link lost", extra={"device": str(link.device) if link.is_known else None}, exc_info=True)
                    link.end()

    def closed(self, link: DeviceLink) -> None:
        """A link has ended."""
        self._open.discard(link)
        link.outlet.drop()
        if not link.is_known:
            return
        self.presences.unwatch(link)
        self._unfollow(link)
        is_current = self.links.get(link.device) is link
        self.links.remove(link)
        self.core.hook.linked(len(self.links))
        if link.unsaved_acks:
            self._acked.put(link)
        if is_current:
            self.presences.goodbye(link.device)
            token = Token(link.token)
            self.core.runtime.spawn(lambda: self._unbind(link.device, token), name="unbind")

    async def _unbind(self, device: DeviceId, token: Token) -> None:
        try:
            await self.core.stores.directory.unbind(device, token)
        except Exception:
            log.warning("not unbound; the binding ends with the lease", exc_info=True)

    def spawn_requests(self, link: DeviceLink) -> None:
        """Let the link answer its requests."""
        self.core.runtime.spawn(link.serve_requests, name="requests")

    # ---- hello ----

    async def answer(self, link: DeviceLink, frame: Frame) -> None:
        """Answer a request of a link."""
        match frame:
            case frames.Hello():
                await self._hello(link, frame)
            case frames.Register():
                await self._register(link, frame)
            case _ if not link.is_known:
                raise OutOfTurnError(frame=frames.BY_TYPE[type(frame)].name, state="awaiting hello")
            case frames.Send():
                await self._send_in_room(link, frame)
            case frames.Read(conv, upto):
                if await self._is_member(conv, link.device.user):
                    await self.ticks.read(conv, link.device.user, upto)
            case frames.Marks(convs):
                mine = [conv for conv in convs if await self._is_member(conv, link.device.user)]
                await self.ticks.tell(link, mine)
            case frames.Pull(cursor):
                await self._pull(link, cursor)
            case frames.Range():
                await self._range(link, frame)
            case frames.Watch(users):
                await self.presences.watch(link, users)
            case frames.Aside():
                await self.asides.send(link.device, frame)
                link.send(frames.AsideOk(frame.message_id))
            case _:
                await self._answer_about_people(link, frame)

    async def _hello(self, link: DeviceLink, hello: frames.Hello) -> None:
        """A device says who it is and where it stands. Register, then drain (model m10)."""
        device = hello.device
        account = await self.people.account(device.user, is_fresh=True)
        listed = account.device(device.number)
        if listed is None:
            raise UnauthorisedError("the device is not linked")
        if link.trusted is None:
            message = challenge_message(link.nonce, device, hello.connection_no)
            self._check_proof(listed.identity_key, message, hello.proof or b"")
        elif link.trusted != device:
            raise UnauthorisedError("the device is not the one that logged in")
        await self.people.complete(device, listed)
        link.identify(device)
        link.connection_no = hello.connection_no
        link.token = self.core.runtime.random(16)
        if not await self._take_place(link):
            return
        standing = await self.catchup.compare(device, hello.cursor)
        inbox = standing.inbox
        answer = _ANSWERS[type(standing.answer)]
        self.core.hook.synced(answer.name.lower())
        if not link.is_open:
            return
        link.send(frames.Welcome(answer, inbox.head_cursor, inbox.floor_cursor))
        start = inbox.floor_cursor
        if answer is Answer.DELTA and hello.cursor is not None:
            start = hello.cursor
            await self._acknowledge_from_store(device, start)
        else:
            start = await self._send_snapshot(link)
        if not link.is_open:
            return
        config = self.core.config
        window = DeliveryWindow(start, max_entries=config.max_unacked_entries, max_bytes=config.max_unacked_bytes)
        link.begin(window, inbox.seq)
        self.core.hook.linked(len(self.links))
        self.presences.beat(device)
        link.read_on()

    def _check_proof(self, identity_key: bytes, message: bytes, proof: bytes) -> None:
        if self._verify is None:
            raise UnauthorisedError("this server takes only devices that its application has logged in")
        try:
            self._verify(identity_key, message, proof)
        except InvalidSignatureError as error:
            raise UnauthorisedError("the challenge is not signed by the device's key") from error

    async def _take_place(self, link: DeviceLink) -> bool:
        """Make the link the one of its device, here and in the directory; the higher `connection_no` wins."""
        other = self.links.get(link.device)
        if isinstance(other, DeviceLink) and other is not link:
            if other.connection_no > link.connection_no:
                link.bye(ByeCode.SUPERSEDED)
                return False
            other.bye(ByeCode.SUPERSEDED)
        self.links.add(link)
        try:
            (bound,) = await self.core.stores.directory.bind([self._binding(link)])
        except Exception:
            # The directory only saves time: without it other gateways' hints are lost, and beats carry the head.
            log.warning("not bound", exc_info=True)
            return link.is_open
        if isinstance(bound, Newer):
            link.bye(ByeCode.SUPERSEDED)
            self.links.remove(link)
        return link.is_open

    def _binding(self, link: DeviceLink) -> Binding:
        return Binding(link.device, link.connection_no, self.core.owner, Token(link.token))

    async def _acknowledge_from_store(self, device: DeviceId, cursor: Cursor) -> None:
        """HELLO's cursor is an ACK: raise *delivered* for what lies between the saved mark and it, then save it."""
        name = inboxes.partition(device)
        mark = inboxes.acked_mark(cursor.epoch)
        inbox = await self.catchup.inbox(device)
        stored = (await self.core.stores.marks.marks([name])).get(name, {})
        after = max(stored.get(mark, 0), inbox.floor)
        while after < cursor.seq:
            page = await self.catchup.page(device, after, limit=min(256, cursor.seq - after))
            if not page.deliveries:
                break
            self.ticks.delivered(device.user, page.deliveries)
            after = page.deliveries[-1].seq
        if after > stored.get(mark, 0):
            await self.ticks.board.flush()
            self.ticks.board.raise_mark(name, mark, cursor.seq)

    async def _send_snapshot(self, link: DeviceLink) -> Cursor:
        floor, parts = await self.catchup.snapshot(link.device)
        number = 0
        before: tuple[frames.SnapshotItem, ...] | None = None
        async for part in parts:
            if before is not None:
                link.send(frames.Snapshot(floor, number, False, before))
                number += 1
            before = part
        link.send(frames.Snapshot(floor, number, True, before or ()))
        return floor

    async def _register(self, link: DeviceLink, register: frames.Register) -> None:
        """A new user, with its first device."""
        if link.trusted is not None:
            raise UnauthorisedError("accounts are the application's here")
        message = register_message(
            link.nonce,
            register.device,
            identity_key=register.identity_key,
            registration_id=register.registration_id,
            name=register.name,
        )
        self._check_proof(register.identity_key, message, register.proof)
        answer = await self.people.register(
            register.device, identity_key=register.identity_key, registration_id=register.registration_id
        )
        if isinstance(answer, AccountTaken):
            raise UnauthorisedError("the name is taken")
        link.send(frames.Registered())

    # ---- frames that do not wait ----

    def handle(self, link: DeviceLink, frame: Frame) -> None:
        """A frame of an established link came that does not wait."""
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
                self.core.runtime.spawn(partial(self._follow, link, convs), name="follow")
            case _:
                raise UsageError(f"{type(frame).__name__} is not handled at once")

    def _send(self, link: DeviceLink, send: frames.Send) -> None:
        operation = PostMessage(
            self.core, link.device, send, outbox_seq=send.outbox_seq, came_at=self.core.runtime.now()
        )
        operation.draft().check()
        if link.unanswered_sends >= self.core.config.max_unanswered_sends:
            self._refuse(link, send, RefusalReason.TRY_LATER, number=1_000)
            return
        link.unanswered_sends += 1
        if self.core.stores.rosters is None:
            self.poster.post(operation, partial(self._sent, link, operation))
        else:
            link.enqueue(send)

    async def _send_in_room(self, link: DeviceLink, send: frames.Send) -> None:
        """A room that the application keeps: a difference of members is posted before the message."""
        operation = PostMessage(
            self.core, link.device, send, outbox_seq=send.outbox_seq, came_at=self.core.runtime.now()
        )
        await self.sync_roster(send.conv)
        self.poster.post(operation, partial(self._sent, link, operation))

    def _sent(self, link: DeviceLink, operation: PostMessage, result: PostResult | Failed) -> None:
        """Tell the device what became of its SEND."""
        link.unanswered_sends -= 1
        send = operation.send
        if isinstance(result, Failed):
            log.warning("post failed", extra={"reason": repr(result.error)})
            self._refuse(link, send, RefusalReason.TRY_LATER, number=1_000)
            return
        match result.answer:
            case Posted(seq) | Repeat(seq):
                self.ticks.wrote(send.conv, link.device.user)
                seconds = self.core.runtime.now() - operation.came_at
                self.core.hook.accepted(result.conversation.strategy, seconds)
                self._say_sent(link, send, seq)
            case Voided():
                self._say_sent(link, send, ConversationSeq(0))
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
            case _:
                self._refuse(link, send, RefusalReason.TRY_LATER, number=1_000)

    def _say_sent(self, link: DeviceLink, send: frames.Send, seq: ConversationSeq) -> None:
        at_ms = self.core.runtime.wall_ms()
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
        link.beaten_at = self.core.runtime.now()
        done = link.acknowledge(cursor)
        self.ticks.delivered(link.device.user, done)
        self.core.hook.delivered(len(done))
        if link.unsaved_acks >= self.core.config.ack_every:
            self._acked.put(link)

    def _beat(self, link: DeviceLink) -> None:
        link.beaten_at = self.core.runtime.now()
        self.presences.beat(link.device)
        self.core.runtime.spawn(partial(self._say_head, link), name="head")

    async def _say_head(self, link: DeviceLink) -> None:
        """Answer a beat with how far the inbox goes, from the store: a lost hint costs one beat (S27)."""
        try:
            inbox = await self.catchup.inbox(link.device)
            heads = await self._heads(link.follows)
        except Exception:
            log.warning("no head for a beat", exc_info=True)
            return
        link.send(frames.Head(inbox.head_cursor, heads))
        link.hear(inbox.seq)

    async def _heads(self, convs: Collection[ConversationId]) -> dict[ConversationId, ConversationSeq]:
        names = {conversations.partition(conv): conv for conv in convs}
        if not names:
            return {}
        found = await self.core.stores.partitions.heads(names)
        return {names[name]: conversations.decode(head.state).seq for name, head in found.items()}

    def _typing(self, link: DeviceLink, typing: frames.Typing) -> None:
        if typing.user != link.device.user:
            raise UnauthorisedError("somebody else's typing")
        self.core.runtime.spawn(partial(self._tell_typing, link, typing.conv), name="typing")

    async def _tell_typing(self, link: DeviceLink, conv: ConversationId) -> None:
        members = await self.members(conv)
        if link.device.user not in members:
            return
        frame = frames.Typing(conv, link.device.user)
        for user in members - {link.device.user}:
            for other in self.links.of_user(user):
                if isinstance(other, DeviceLink):
                    other.send(frame)

    # ---- followers of conversations that are pulled ----

    async def _follow(self, link: DeviceLink, convs: Sequence[ConversationId]) -> None:
        mine = [conv for conv in convs[:FOLLOWERS] if await self._is_member(conv, link.device.user)]
        self._unfollow(link)
        if not link.is_open:
            return
        link.follows = frozenset(mine)
        for conv in mine:
            self._followers.setdefault(conv, set()).add(link)
        await self._say_head(link)

    def _unfollow(self, link: DeviceLink) -> None:
        for conv in link.follows:
            followers = self._followers.get(conv)
            if followers is not None:
                followers.discard(link)
                if not followers:
                    del self._followers[conv]
        link.follows = frozenset()

    def _pulled(self, conv: ConversationId, seq: ConversationSeq) -> None:
        """A pulled conversation has a new head: those who follow it here hear of it at once, others with a beat."""
        for link in self._followers.get(conv, ()):
            if link.window is not None:
                link.send(frames.Head(link.window.acked, {conv: seq}))

    # ---- reading ----

    def read_on(self, link: DeviceLink) -> None:
        """Read entries for a link until its window is full or all is sent."""
        self.core.runtime.spawn(partial(self._read_on, link), name="read on")

    async def _read_on(self, link: DeviceLink) -> None:
        window = link.window
        assert window is not None  # only known links read
        try:
            while link.is_open and window is link.window and window.room > 0 and link.head_seq > window.sent_seq:
                page = await self.catchup.page(link.device, window.sent_seq, limit=min(256, window.room))
                if page.is_hole:
                    link.bye(ByeCode.RESYNC)
                if not page.deliveries:
                    break
                for delivery in page.deliveries:
                    if not window.take(delivery):
                        break
                    link.send(delivery.frame)
        except Exception:
            log.warning("catch-up failed", exc_info=True)
            link.bye(ByeCode.TRY_LATER, retry_after_s=1)
        # No await between the last look at `head_seq` and here, so nothing that came meanwhile is missed.
        link.is_reading = False
        if window is not link.window:
            link.read_on()

    async def _pull(self, link: DeviceLink, cursor: Cursor) -> None:
        """The device lacks something that should have come: send again from its cursor."""
        standing = await self.catchup.compare(link.device, cursor)
        if not isinstance(standing.answer, inboxes.Delta):
            link.bye(ByeCode.RESYNC)
            return
        config = self.core.config
        link.begin(
            DeliveryWindow(cursor, max_entries=config.max_unacked_entries, max_bytes=config.max_unacked_bytes),
            standing.inbox.seq,
        )
        link.read_on()

    async def _range(self, link: DeviceLink, wanted: frames.Range) -> None:
        """Rows of a conversation, for a member: those of its audience only."""
        members = await self.core.executor.run(_ReadMembers(self.core, wanted.conv, link.device.user))
        head, stays = members
        limit = min(wanted.limit, frames.MAX_ROWS)
        rows = await self.catchup.posts(wanted.conv, [post_span(wanted.after, wanted.upto)], limit=limit)
        upto = rows[-1].seq if len(rows) == limit else ConversationSeq(min(wanted.upto, head))
        visible = [_stored(row, link.device) for row in rows if is_in_audience(stays, row.seq)]
        link.send(frames.Rows(wanted.conv, wanted.after, max(upto, wanted.after), tuple(visible), head))

    # ---- people ----

    async def _answer_about_people(self, link: DeviceLink, frame: Frame) -> None:
        match frame:
            case frames.Devices(request, users):
                found = await self.people.existing(users)
                lists = tuple(
                    frames.DeviceList(
                        user, account.version, tuple(frames.ListedDevice(*d[:3]) for d in account.devices)
                    )
                    for user, account in found
                )
                link.send(frames.DeviceLists(request, lists))
            case frames.Publish():
                await self._publish(link, frame)
            case frames.Take():
                await self._take(link, frame)
            case frames.Link():
                await self._link_device(link, frame)
            case frames.Unlink():
                await self._unlink_device(link, frame)
            case _:
                raise OutOfTurnError(frame=frames.BY_TYPE[type(frame)].name, state="established")

    async def _publish(self, link: DeviceLink, frame: frames.Publish) -> None:
        account = await self.people.account(link.device.user)
        listed = account.device(link.device.number)
        if listed is None:
            raise UnauthorisedError("the device was unlinked")
        upload = keys.KeyUpload(
            listed.link,
            keys.SignedKey(*frame.signed),
            keys.SignedKey(*frame.last_resort),
            tuple(keys.OneTimeKey(*key) for key in frame.one_time),
            tuple(keys.SignedKey(*key) for key in frame.kyber),
        )
        upload.check()
        answer = await self.people.publish(link.device, upload)
        if isinstance(answer, keys.Uploaded):
            link.send(frames.Published(frame.request, answer.one_time, answer.kyber))
        else:
            link.send(frames.Failed(frame.request, FailureReason.INVALID, "a later life of the key store began"))

    async def _take(self, link: DeviceLink, frame: frames.Take) -> None:
        account = await self.people.account(frame.device.user)
        listed = account.device(frame.device.number)
        answer: keys.TakeAnswer = keys.NoKeys()
        if listed is not None:
            answer = await self.people.take(frame.device, requester=link.device, request=frame.request)
        match answer:
            case keys.Bundle():
                assert listed is not None  # otherwise nothing was taken
                one_time = None if answer.one_time is None else frames.OneTimeKey(*answer.one_time)
                bundle = frames.BundleKeys(
                    listed.registration_id,
                    listed.identity_key,
                    frames.SignedKey(*answer.signed),
                    frames.KyberKey(*answer.kyber),
                    answer.is_last_resort,
                    one_time,
                )
                link.send(frames.Bundle(frame.request, frame.device, bundle))
            case keys.Limited(retry_after_ms):
                detail = f"too many bundles; wait {retry_after_ms} ms"
                link.send(frames.Failed(frame.request, FailureReason.TRY_LATER, detail))
            case _:
                link.send(frames.Bundle(frame.request, frame.device, None))

    async def _link_device(self, link: DeviceLink, frame: frames.Link) -> None:
        await self._save_ack(link)
        await self.ticks.board.flush()
        answer = await self.people.link(
            DeviceId(link.device.user, frame.number),
            by=link.device,
            identity_key=frame.identity_key,
            registration_id=frame.registration_id,
        )
        match answer:
            case Linked():
                link.send(frames.Linked(frame.request, answer.version))
            case NotDrained():
                link.send(frames.Failed(frame.request, FailureReason.NOT_DRAINED, "catch up first"))
            case NumberTaken(free):
                link.send(frames.Failed(frame.request, FailureReason.TAKEN, f"{free} is free"))
            case TooManyDevices(limit):
                link.send(frames.Failed(frame.request, FailureReason.LIMIT, f"at most {limit} devices"))
            case _:
                raise UnauthorisedError("the device was unlinked")

    async def _unlink_device(self, link: DeviceLink, frame: frames.Unlink) -> None:
        device = DeviceId(link.device.user, frame.number)
        answer = await self.people.unlink(device, by=link.device)
        if not isinstance(answer, Unlinked):
            link.send(frames.Failed(frame.request, FailureReason.NOT_ALLOWED, "the last device stays"))
            return
        link.send(frames.Linked(frame.request, answer.version))
        other = self.links.get(device)
        if isinstance(other, DeviceLink):
            other.bye(ByeCode.UNAUTHORISED)

    # ---- members ----

    async def members(self, conv: ConversationId) -> frozenset[UserId]:
        """The members of a conversation that is pushed; empty for one that is pulled, or is none."""
        found: frozenset[UserId] = await self.core.executor.run(_ListMembers(self.core, conv))
        return found

    async def stays(self, conv: ConversationId) -> dict[UserId, Intervals]:
        """All stays of all members there ever were."""
        rows = self.catchup.scan(conversations.partition(conv), prefix(MEMBERS))
        return dict([member_of(row) async for row in rows])

    async def _is_member(self, conv: ConversationId, user: UserId) -> bool:
        _, stays = await self.core.executor.run(_ReadMembers(self.core, conv, user))
        return bool(stays) and stays[-1].leave is None

    async def sync_roster(self, conv: ConversationId) -> None:
        """Post the difference between the application's room and the conversation's members, if there is one."""
        source = self.core.stores.rosters
        roster = None if source is None else await source.roster(conv)
        if roster is None:
            return
        members = await self.members(conv)
        change = RosterChange(tuple(sorted(roster.members - members)), tuple(sorted(members - roster.members)))
        if change.added or change.removed:
            await self.change_roster(conv, change)

    async def change_roster(self, conv: ConversationId, change: RosterChange) -> PostResult:
        """Post a change of members for the application."""
        return await self.post(ChangeRoster(self.core, conv, change))

    async def post(self, operation: PostMessage | ChangeRoster) -> PostResult:
        """Post, and wait until SENT would be said.

        Raises:
            StoreError: The store did not take it.
        """
        box: Mailbox[PostResult | Failed] = self.core.runtime.mailbox()
        self.poster.post(operation, box.put)
        result = await box.get()
        assert result is not None  # no timeout was given
        if isinstance(result, Failed):
            raise result.error
        return result

    # ---- acknowledgements ----

    async def _save_acks(self) -> None:
        """Save acknowledgements that lie far enough ahead, and all of them after a while."""
        due = self.core.runtime.now() + self.core.config.ack_after_s
        while True:
            link = await self._acked.get(timeout_s=max(0.01, due - self.core.runtime.now()))
            links = set(self._acked.take(1_000)) | ({link} if link is not None else set())
            if self.core.runtime.now() >= due:
                due = self.core.runtime.now() + self.core.config.ack_after_s
                links |= {other for other in self._open if other.unsaved_acks}
            if links:
                await self.ticks.board.flush()
                for each in links:
                    self._raise_ack(each)

    async def _save_ack(self, link: DeviceLink) -> None:
        await self.ticks.board.flush()
        self._raise_ack(link)

    def _raise_ack(self, link: DeviceLink) -> None:
        if link.window is None or not link.unsaved_acks:
            return
        link.unsaved_acks = 0
        acked = link.window.acked
        self.ticks.board.raise_mark(inboxes.partition(link.device), inboxes.acked_mark(acked.epoch), acked.seq)

    # ---- the house ----

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

    async def _keep_house(self) -> None:
        config = self.core.config
        settled_at = self.core.runtime.now()
        while True:
            try:
                await self._beat_directory()
                await self._adopt_gone()
                if self.core.runtime.now() - settled_at >= config.note_s:
                    settled_at = self.core.runtime.now()
                    await self.settle_notes()
            except Exception:
                log.warning("house keeping failed", exc_info=True)
            self.core.hook.owed(*self.finisher.owed())
            await self._sleep_watchfully(config.beat_s)

    async def _sleep_watchfully(self, seconds: float) -> None:
        """Sleep, and look at the sockets every second."""
        until = self.core.runtime.now() + seconds
        while (now := self.core.runtime.now()) < until:
            await self.core.runtime.sleep(min(1.0, until - now))
            self._close_dead()

    def _close_dead(self) -> None:
        now = self.core.runtime.now()
        config = self.core.config
        for link in list(self._open):
            if link.outlet.stuck_s(now) > config.dead_socket_s:
                link.bye(ByeCode.RESYNC)
            elif not link.is_known and now - link.opened_at > config.hello_s:
                link.bye(ByeCode.UNAUTHORISED)
            elif link.is_known and now - link.beaten_at > 3 * config.presence_ttl_s:
                link.bye(ByeCode.RESYNC)

    async def _beat_directory(self) -> None:
        directory = self.core.stores.directory
        await directory.alive(self.core.owner, self.core.config.lease_s)
        links = [link for link in self.links.all() if isinstance(link, DeviceLink)]
        if not links:
            return
        results = await directory.keep([self._binding(link) for link in links])
        again = [link for link, result in zip(links, results, strict=True) if isinstance(result, Absent)]
        if again:
            await directory.bind([self._binding(link) for link in again])
        for link, result in zip(links, results, strict=True):
            if isinstance(result, Newer):
                link.bye(ByeCode.SUPERSEDED)

    # ---- what the dead left ----

    async def _adopt_own(self) -> None:
        """Finish what earlier lives of this gateway noted; they are over, because this one has begun."""
        while True:
            try:
                await self.adopt(Owner(self.core.owner.gateway, self.core.owner.incarnation - 1))
            except Exception:
                log.warning("adoption of own notes failed", exc_info=True)
                await self.core.runtime.sleep(1.0)
            else:
                return

    async def _adopt_gone(self) -> None:
        """Adopt owners whose lease has been absent for a while."""
        now = self.core.runtime.now()
        gone = [owner for owner in await self.core.stores.directory.gone() if owner != self.core.owner]
        self._gone_since = {owner: self._gone_since.get(owner, now) for owner in gone}
        for owner, since in list(self._gone_since.items()):
            if now - since >= self.core.config.adopt_after_s:
                await self.adopt(owner)

    async def adopt(self, owner: Owner) -> int:
        """Fence, finish and settle each conversation that an owner or an earlier life of it noted; returns how many."""
        name = owners.partition(owner.gateway)
        adopted = 0
        async for row in self.catchup.scan(name, owners.note_span(below=owner.incarnation + 1)):
            noted, conv = owners.owner_of_note(owner.gateway, row.key)
            await self.core.executor.run(_Fence(conv, noted))
            await settle(self.core, self.finisher, noted, conv)
            adopted += 1
        return adopted

    async def settle_notes(self) -> None:
        """Take away notes about conversations in which nothing is unfinished."""
        for conv in self.poster.noted():
            await self.poster.settle(conv)

    # ---- jobs ----

    async def _work(self) -> None:
        """Take jobs, finish what they name, and say that they are done."""
        jobs = self.core.stores.jobs
        while True:
            try:
                claim = await jobs.take(JOBS_AT_ONCE)
                if not claim.jobs:
                    await self._jobs.get(timeout_s=IDLE_S)
                    self._jobs.take(len(self._jobs))
                    continue
                began = self.core.runtime.now()
                calls = [partial(self._finish, job.conversation, job.upto) for job in claim.jobs]
                await self.core.runtime.gather(calls, limit=JOBS_AT_ONCE)
                await jobs.done(claim)
                self.core.hook.job_done(self.core.runtime.now() - began)
            except Exception:
                # Jobs that are not done come again.
                log.warning("jobs not done", exc_info=True)
                await self.core.runtime.sleep(IDLE_S)

    async def _finish(self, conv: ConversationId, upto: int) -> None:
        box: Mailbox[bool] = self.core.runtime.mailbox()
        self.finisher.want(conv, upto, partial(box.put, True))
        await box.get()

    # ---- the end ----

    async def drain(self) -> int:
        """Say goodbye to all links and save what they acknowledged. Returns how many there were."""
        self.is_draining = True
        links = list(self._open)
        for link in links:
            link.bye(ByeCode.NORMAL, retry_after_s=0)
        await self.ticks.board.flush()
        for link in links:
            self._raise_ack(link)
        await self.ticks.board.flush()
        return len(links)


_ANSWERS: Final[dict[type[object], Answer]] = {
    inboxes.Delta: Answer.DELTA,
    inboxes.Snapshot: Answer.SNAPSHOT,
    inboxes.Forked: Answer.FORKED,
    inboxes.Ahead: Answer.AHEAD,
}


def _stored(row: PostRow, device: DeviceId) -> frames.StoredRow:
    """A row as RANGE shows it to one device."""
    own = None if row.own is None else row.own.get(device)
    is_hidden = own is None and row.body is None and row.kind is EntryKind.MESSAGE
    kind = EntryKind.PLACEHOLDER if is_hidden else row.kind
    return frames.StoredRow(row.message_id, kind, row.seq, row.sender, row.at_ms, own, row.body)


class _Fence:
    """Refuses posts by an owner from now on."""

    def __init__(self, conv: ConversationId, owner: Owner) -> None:
        self.lane: Partition = conversations.partition(conv)
        self._owner = owner

    def run(self, work: WorkingSet) -> Fenced:
        state = work.state(self.lane, CONVERSATION)
        step = conversations.fence(state, self._owner)
        return work.apply(self.lane, step) if step.changes(state) else step.answer


class _ReadMembers:
    """The head of a conversation, and one user's stays in it."""

    def __init__(self, core: Core, conv: ConversationId, user: UserId) -> None:
        self.lane: Partition = conversations.partition(conv)
        self._core = core
        self._conv = conv
        self._user = user

    def run(self, work: WorkingSet) -> tuple[ConversationSeq, Intervals]:
        state = work.state(self.lane, CONVERSATION)
        if state.strategy.is_pushed:
            members = self._core.rosters.members(work, self._conv, state.roster_seq)
            return state.seq, members.stays.get(self._user, ())
        value = work.row(self.lane, CONVERSATION, member_key(self._user))
        return state.seq, () if value is None else decode_intervals(value)


class _ListMembers:
    """The members of a conversation that is pushed."""

    def __init__(self, core: Core, conv: ConversationId) -> None:
        self.lane: Partition = conversations.partition(conv)
        self._core = core
        self._conv = conv

    def run(self, work: WorkingSet) -> frozenset[UserId]:
        state = work.state(self.lane, CONVERSATION)
        if not state.strategy.is_pushed:
            return frozenset()
        return frozenset(self._core.rosters.members(work, self._conv, state.roster_seq).now())
