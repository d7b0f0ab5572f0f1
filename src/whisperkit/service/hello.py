"""The first words: a device says who it is and where it stands, and is told what it is owed.

Register, then drain: the link takes its place before the inbox is compared, so that nothing that is appended in
between is missed (model m10).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from whisperkit.accounts import AccountTaken
from whisperkit.errors import InvalidSignatureError, UnauthorisedError
from whisperkit.service.acks import AckSaver
from whisperkit.service.catchup import CatchUp
from whisperkit.service.core import Core
from whisperkit.service.delivery import LinkTable
from whisperkit.service.link import DeviceLink
from whisperkit.service.people import People
from whisperkit.service.presences import Presences
from whisperkit.service.sweeper import TRIM_ENTRIES, Sweeper
from whisperkit.service.window import DeliveryWindow
from whisperkit.stores import Binding, Newer, Token
from whisperkit.sync import frames
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.connection import challenge_message, register_message
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import Answer, ByeCode

__all__ = ["ANSWERS", "Greeter", "Verify", "binding_of", "new_window"]

log = logging.getLogger("whisperkit.service")

Verify = Callable[[bytes, bytes, bytes], None]
"""Checks a signature: ``(identity key, message, signature)``; raises `InvalidSignatureError`."""

ANSWERS: Final[dict[type[inboxes.Comparison], Answer]] = {
    inboxes.Delta: Answer.DELTA,
    inboxes.Snapshot: Answer.SNAPSHOT,
    inboxes.Forked: Answer.FORKED,
    inboxes.Ahead: Answer.AHEAD,
}
"""How a comparison of cursors is told."""


class Greeter:
    """Takes HELLO and REGISTER.

    Args:
        core: The gateway.
        links: Who is connected here.
        catchup: Compares cursors.
        people: Accounts.
        acks: HELLO's cursor is an ACK.
        presences: Told of the sign of life.
        sweeper: Lets old entries go.
        verify: Checks the signature of a challenge; `None`: only devices that the application vouches for connect.
    """

    def __init__(
        self,
        core: Core,
        links: LinkTable,
        catchup: CatchUp,
        people: People,
        acks: AckSaver,
        presences: Presences,
        sweeper: Sweeper,
        *,
        verify: Verify | None,
    ) -> None:
        self._core = core
        self._links = links
        self._catchup = catchup
        self._people = people
        self._acks = acks
        self._presences = presences
        self._sweeper = sweeper
        self._verify = verify

    async def hello(self, link: DeviceLink, hello: frames.Hello) -> None:
        """A device says who it is and where it stands. Register, then drain (model m10).

        Raises:
            UnauthorisedError: The device is not linked, its proof is wrong, or it is not the one that logged in.
        """
        device = hello.device
        account = await self._people.account(device.user, is_fresh=True)
        listed = account.device(device.number)
        if listed is None:
            raise UnauthorisedError("the device is not linked")
        if link.trusted is None:
            message = challenge_message(link.nonce, device, hello.connection_no)
            self._check_proof(listed.identity_key, message, hello.proof or b"")
        elif link.trusted != device:
            raise UnauthorisedError("the device is not the one that logged in")
        await self._people.complete(device, listed)
        link.identify(device)
        link.connection_no = hello.connection_no
        link.token = self._core.runtime.random(16)
        if not await self._take_place(link):
            return
        await self._sweeper.drop_old_entries(device)
        standing = await self._catchup.compare(device, hello.cursor)
        inbox = standing.inbox
        answer = ANSWERS[type(standing.answer)]
        if not link.is_open:
            return
        self._core.hook.synced(answer.name.lower())
        if answer in (Answer.FORKED, Answer.AHEAD) and hello.cursor is not None:
            # A restored backup explains it, and so does a device that was cloned. Otherwise the store lost something.
            log.warning(
                "device has another log",
                extra={
                    "device": device,
                    "answer": answer.name.lower(),
                    "epoch": hello.cursor.epoch,
                    "seq": hello.cursor.seq,
                    "inbox_epoch": inbox.epoch,
                    "inbox_seq": inbox.seq,
                },
            )
        link.send(frames.Welcome(answer, inbox.head_cursor, inbox.floor_cursor))
        start = inbox.floor_cursor
        if answer is Answer.DELTA and hello.cursor is not None:
            start = hello.cursor
            await self._acks.take_cursor(device, start)
        else:
            start = await self._send_snapshot(link)
        if not link.is_open:
            return
        link.online_since_ms = self._core.runtime.wall_ms()
        link.begin(new_window(self._core, start), inbox.seq)
        link.floor_seq = inbox.floor
        if start.seq - inbox.floor >= TRIM_ENTRIES:
            link.floor_seq = start.seq
            self._sweeper.acknowledged(device)
        self._presences.beat(device)
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
        if not link.is_open:
            return False  # it ended while the account was read, and nobody would take it out of the table again
        other = self._links.get(link.device)
        if isinstance(other, DeviceLink) and other is not link:
            if other.connection_no > link.connection_no:
                link.bye(ByeCode.SUPERSEDED, why="newer-here")
                return False
            other.bye(ByeCode.SUPERSEDED, why="newer-here")
        self._links.add(link)
        self._core.hook.linked(len(self._links))
        directory = self._core.stores.directory
        try:
            (bound,) = await directory.bind([binding_of(self._core, link)])
            if not link.is_open:  # it ended meanwhile: what unbound it then came too early
                await directory.unbind(link.device, Token(link.token))
        except Exception:
            # The directory only saves time: without it other gateways' hints are lost, and beats carry the head.
            log.warning("not bound", extra={"device": link.device}, exc_info=True)
            return link.is_open
        if isinstance(bound, Newer):
            link.bye(ByeCode.SUPERSEDED, why="newer-elsewhere")
            self._links.remove(link)
        return link.is_open

    async def _send_snapshot(self, link: DeviceLink) -> Cursor:
        floor, parts = await self._catchup.snapshot(link.device)
        number = 0
        before: tuple[frames.SnapshotItem, ...] | None = None
        async for part in parts:
            if before is not None:
                link.send(frames.Snapshot(floor, number, False, before))
                number += 1
            before = part
        link.send(frames.Snapshot(floor, number, True, before or ()))
        return floor

    async def register(self, link: DeviceLink, register: frames.Register) -> None:
        """A new user, with its first device.

        Raises:
            UnauthorisedError: The application keeps the accounts, the proof is wrong, or the name is taken.
        """
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
        answer = await self._people.register(
            register.device, identity_key=register.identity_key, registration_id=register.registration_id
        )
        if isinstance(answer, AccountTaken):
            raise UnauthorisedError("the name is taken")
        link.send(frames.Registered())


def binding_of(core: Core, link: DeviceLink) -> Binding:
    """What the directory is told of a link."""
    return Binding(link.device, link.connection_no, core.owner, Token(link.token))


def new_window(core: Core, start: Cursor) -> DeliveryWindow:
    """A window for a device that stands at a cursor."""
    return DeliveryWindow(start, max_entries=core.config.max_unacked_entries, max_bytes=core.config.max_unacked_bytes)
