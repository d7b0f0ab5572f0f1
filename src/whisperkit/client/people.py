"""Other devices, seen from this one: lists, sessions, trust; and this one's own account.

Lists of devices are believed for a while, or until the server says that they are stale. A session that is missing is
opened from a bundle, asked for once at a time for each device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Final

from whisperkit.client.notices import IdentityChanged, Notice
from whisperkit.client.records import DeviceRecords, Turn
from whisperkit.client.session import Ask
from whisperkit.client.trust import DIRECT, Trust
from whisperkit.client.unread import Unread
from whisperkit.errors import (
    ActionRequiredError,
    LinkClosedError,
    PeerError,
    UntrustedIdentityError,
    UsageError,
    WhisperError,
)
from whisperkit.ids import ConversationId, DeviceId, MessageId, UserId
from whisperkit.ratchet import Device, PreKeyBundle, PublicPreKey, SafetyNumber
from whisperkit.ratchet.curve import decode_public
from whisperkit.sync import frames
from whisperkit.sync.frames import MAX_USERS, Frame

__all__ = ["People"]

log = logging.getLogger("whisperkit.client")

_REGISTERED: Final = b"n/registered"
_CONNECTION: Final = b"n/connection"
# How long a list of devices is believed. Small groups hear at once when it is stale; a mid one only by looking.
LIST_MS: Final = 600_000
# And how long it is believed that there is no such user: they may come any moment.
NOBODY_MS: Final = 10_000
UNREACHABLE_MS: Final = 60_000


class People:
    """Who is who.

    Args:
        records: This device's partition.
        ratchet: Its ratchet.
        ask: Asks the server.
        tell: Told of what is news about devices.
        trust: Who is known.
        unread: What could not be read.
        mint: Names requests.
        wall_ms: The clock.
    """

    def __init__(
        self,
        records: DeviceRecords,
        ratchet: Device,
        ask: Ask,
        tell: Callable[[Notice], None],
        trust: Trust,
        unread: Unread,
        *,
        mint: Callable[[], MessageId],
        wall_ms: Callable[[], int],
    ) -> None:
        self._records = records
        self._ratchet = ratchet
        self._ask = ask
        self._tell = tell
        self._trust = trust
        self._unread = unread
        self._mint = mint
        self._wall_ms = wall_ms
        self._own = records.device.user
        self._lists: dict[UserId, tuple[int, tuple[DeviceId, ...]]] = {}
        self._unreachable: dict[DeviceId, int] = {}
        self._direct: dict[ConversationId, UserId] = {}

    # ---- lists of devices ----

    async def devices_of(self, users: Collection[UserId]) -> list[DeviceId]:
        """All devices of users, asked for where they are not known.

        Raises:
            TransportError: The server cannot be asked now.
        """
        missing = [user for user in users if self._is_old(user)]
        for start in range(0, len(missing), MAX_USERS):
            await self._fetch(tuple(missing[start : start + MAX_USERS]))
        return [device for user in users for device in self._lists.get(user, (0, ()))[1]]

    def _is_old(self, user: UserId) -> bool:
        asked_at_ms, devices = self._lists.get(user, (0, ()))
        return self._wall_ms() - asked_at_ms > (LIST_MS if devices else NOBODY_MS)

    async def _fetch(self, users: tuple[UserId, ...]) -> None:
        request = self._mint()
        answer = await self._ask(request, frames.Devices(request, users))
        if not isinstance(answer, frames.DeviceLists):
            raise LinkClosedError(reason="TRY_LATER", retry_after_s=None)
        asked = set(users)
        lists = [one for one in answer.lists if one.user in asked]
        for notice in await self._records.run(partial(self._trust.listed, lists=lists)):
            self._tell(notice)
        now = self._wall_ms()
        self._lists.update(dict.fromkeys(users, (now, ())))
        for user, _, devices in lists:
            self._lists[user] = now, tuple(DeviceId(user, device.number) for device in devices)

    async def look_around(self, *, is_new: bool) -> None:
        """Look at lists of devices that nobody has named as stale: this user's own, and of those who were heard.

        Args:
            is_new: The connection is: the own list is looked at whatever is remembered.

        Raises:
            TransportError: The server cannot be asked now.
        """
        heard = frozenset(self._trust.unlisted)
        self.forget_users([*heard, self._own] if is_new else heard)
        await self.devices_of([self._own, *heard])
        self._trust.unlisted -= heard  # also whom the server does not list: once is enough

    @property
    def has_heard_unlisted(self) -> bool:
        """Whether a device was heard that no list has named."""
        return bool(self._trust.unlisted)

    def forget_lists(self, devices: Iterable[DeviceId]) -> None:
        """The lists of these devices' users turned out to be stale."""
        self.forget_users({device.user for device in devices})

    def forget_users(self, users: Iterable[UserId]) -> None:
        """The lists of these users may be stale."""
        for user in users:
            self._lists.pop(user, None)

    def is_unreachable(self, device: DeviceId) -> bool:
        """Whether a device had no keys to open a session with, when it was asked for within the last minute."""
        return self._wall_ms() - self._unreachable.get(device, 0) < UNREACHABLE_MS

    # ---- conversations of two ----

    async def note_direct(self, user: UserId) -> ConversationId:
        """Remember with whom a conversation of two is, so that it can be made when it is first written in."""
        conv = ConversationId.direct(self._own, user)

        async def note(turn: Turn) -> None:
            turn.put([(DIRECT + conv.encode(), user.encode())])

        if conv not in self._direct:
            await self._records.run(note)
            self._direct[conv] = user
        return conv

    async def find_direct(self, conv: ConversationId) -> UserId | None:
        """With whom a conversation of two is; `None` if it is no such."""
        if conv not in self._direct:

            async def look(turn: Turn) -> bytes | None:
                return await turn.get(DIRECT + conv.encode())

            stored = await self._records.read(look)
            if stored is not None:
                self._direct[conv] = UserId(stored.decode())
        return self._direct.get(conv)

    # ---- sessions ----

    async def ensure_sessions(self, devices: Collection[DeviceId]) -> frozenset[DeviceId]:
        """Open the sessions that are missing; returns the devices with which there is one now.

        Raises:
            TransportError: The server cannot be asked now.
        """
        reached: set[DeviceId] = set()
        for device in devices:
            if await self._has_session(device) or await self._open_session(device):
                reached.add(device)
                self._unreachable.pop(device, None)
            else:
                self._unreachable[device] = self._wall_ms()
        return frozenset(reached)

    async def renew_session(self, device: DeviceId) -> None:
        """Open a new session beside the one there is, which may be broken on the other side.

        Raises:
            TransportError: The server cannot be asked now.
        """
        await self._open_session(device)

    async def _has_session(self, remote: DeviceId) -> bool:
        async def look(turn: Turn) -> bool:
            rows = await turn.load(self._ratchet.records_for(remote))
            return self._ratchet.has_session(rows, remote=remote, wall_ms=self._wall_ms())

        return await self._records.read(look)

    async def _open_session(self, remote: DeviceId) -> bool:
        request = self._mint()
        answer = await self._ask(request, frames.Take(request, remote))
        if not isinstance(answer, frames.Bundle) or answer.keys is None:
            return False
        bundle = _bundle(answer.keys, remote)

        async def process(turn: Turn) -> tuple[WhisperError | None, list[Notice]]:
            rows = await turn.load(self._ratchet.records_for(remote))
            peer, news = self._ratchet.peer(rows, remote), list[Notice]()
            try:
                saved = self._ratchet.process_bundle(rows, bundle, remote=remote, wall_ms=self._wall_ms())
            except UntrustedIdentityError as error:
                bundle.check()  # a key that its owner did not sign with is no news
                is_trusted, news = await self._trust.changed(turn, remote, error.found)
                if not is_trusted:
                    return error, news
                saved = self._ratchet.process_bundle(turn.rows, bundle, remote=remote, wall_ms=self._wall_ms())
            turn.save(saved.save)
            if peer is None:
                news = await self._trust.met(turn, remote, decode_public(bundle.identity_key))
            return None, news

        failure: WhisperError | None
        try:
            failure, news = await self._records.run(process)
        except (PeerError, ActionRequiredError) as error:
            failure, news = error, []
        for notice in news:
            self._tell(notice)
        if failure is not None:
            log.warning("no session", extra={"device": remote, "code": failure.code})
        return failure is None

    # ---- trust ----

    async def safety_number(self, remote: DeviceId) -> SafetyNumber:
        """The safety number with a device."""

        async def look(turn: Turn) -> SafetyNumber:
            return self._ratchet.safety_number(await turn.load(self._ratchet.records_for(remote)), remote=remote)

        return await self._records.read(look)

    async def is_verified(self, remote: DeviceId) -> bool:
        """Whether a person compared the safety number of the key that a device has now."""
        return await self._records.read(partial(self._trust.is_verified, device=remote))

    async def are_verified(self, user: UserId) -> bool:
        """Whether that is so of all devices of a user."""
        return await self._records.read(partial(self._trust.are_verified, user=user))

    async def undecided(self, user: UserId) -> list[IdentityChanged]:
        """Keys of a user's devices of which a person has to say whether they are trusted."""
        return await self._records.read(partial(self._trust.undecided, user=user))

    async def mark_verified(self, number: SafetyNumber) -> None:
        """Note that a person compared a safety number."""

        async def mark(turn: Turn) -> None:
            rows = await turn.load(self._ratchet.records_for(number.device))
            turn.save(self._ratchet.mark_verified(rows, number, wall_ms=self._wall_ms()).save)

        await self._records.run(mark)

    async def accept_identity(self, remote: DeviceId, identity_key: bytes) -> None:
        """Trust another identity key of a device."""

        async def accept(turn: Turn) -> None:
            rows = await turn.load(self._ratchet.records_for(remote))
            turn.save(self._ratchet.accept_identity(rows, identity_key, remote=remote, wall_ms=self._wall_ms()).save)
            # What was sent meanwhile could be read by neither side.
            await self._unread.invite(turn, remote)
            await self._unread.ask_all(turn, remote)

        await self._records.run(accept)
        self._unreachable.pop(remote, None)

    # ---- this device ----

    async def identity(self) -> tuple[bytes, int]:
        """The public identity key and the registration id."""

        async def look(turn: Turn) -> tuple[bytes, int]:
            rows = await turn.load(self._ratchet.records_for_prekeys()[:1])
            return bytes(self._ratchet.identity_key(rows)), self._ratchet.registration_id(rows)

        return await self._records.read(look)

    async def sign(self, message: bytes) -> bytes:
        """Sign with the identity key."""

        async def look(turn: Turn) -> bytes:
            return self._ratchet.sign(await turn.load(self._ratchet.records_for_prekeys()[:1]), message)

        return await self._records.read(look)

    async def is_registered(self) -> bool:
        """Whether the server has this device's account."""

        async def look(turn: Turn) -> bool:
            return await turn.get(_REGISTERED) is not None

        return await self._records.read(look)

    async def note_registered(self) -> None:
        """The server has this device's account."""

        async def note(turn: Turn) -> None:
            if await turn.get(_REGISTERED) is None:
                turn.put([(_REGISTERED, b"1")])

        await self._records.run(note)

    async def next_connection_no(self) -> int:
        """The number of the next attempt to connect: higher than all before, also after the clock was set back."""

        async def rise(turn: Turn) -> int:
            stored = await turn.get(_CONNECTION)
            number = max(int.from_bytes(stored or b"", "big") + 1, self._wall_ms())
            turn.put([(_CONNECTION, number.to_bytes(8, "big"))])
            return number

        return await self._records.run(rise)

    # ---- this device's account ----

    async def link(self, number: int, *, identity_key: bytes, registration_id: int) -> None:
        """Let another device into the account."""
        device = DeviceId(self._own, number)
        await self._records.run(partial(self._trust.expect, device=device, key=identity_key))
        request = self._mint()
        answer = await self._ask(request, frames.Link(request, number, identity_key, registration_id))
        self.forget_users([self._own])
        _check_linked(answer)

    async def unlink(self, number: int) -> None:
        """Put a device out of the account.

        Raises:
            UsageError: It is this device, which another one has to put out.
            ActionRequiredError: The server refused, and says why.
        """
        if number == self._records.device.number:
            raise UsageError("a device is put out by another one")
        request = self._mint()
        answer = await self._ask(request, frames.Unlink(request, number))
        self.forget_users([self._own])
        _check_linked(answer)


def _check_linked(answer: Frame) -> None:
    if isinstance(answer, frames.Failed):
        reason = frames.FailureReason(answer.reason).name.lower().replace("_", " ")
        raise ActionRequiredError(f"the server refused: {reason}; {answer.detail}")


def _bundle(keys: frames.BundleKeys, device: DeviceId) -> PreKeyBundle:
    one_time = None if keys.one_time is None else PublicPreKey(keys.one_time.number, keys.one_time.key)
    return PreKeyBundle(
        keys.registration_id,
        keys.identity_key,
        PublicPreKey(*keys.signed),
        PublicPreKey(*keys.kyber),
        one_time,
        device,
    )
