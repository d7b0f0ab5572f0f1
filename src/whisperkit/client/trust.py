"""Whom a device takes others for: the devices of each user, their identity keys, and what of that is news.

Of each user whose devices this one has met or looked up there is a row ``d/``: the version of the newest list, and
the identity key that each device has. What a list or a message says beyond it becomes a notice, in the commit that
writes it down. A device that writes is told of though no list has named it: a server must not let one speak
unannounced by listing it late.

The first list of a user is taken as it is, and so is the first device that writes: there is nothing to compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from whisperkit.client.notices import DeviceLinked, IdentityChanged, Notice, put_notice
from whisperkit.client.records import Turn
from whisperkit.errors import InvalidKeyError
from whisperkit.ids import ConversationId, DeviceId, UserId
from whisperkit.packing import pack, reading, shaped, unpack
from whisperkit.ratchet import Device
from whisperkit.ratchet.records import Peer, decode_peer, peer_key
from whisperkit.sync.chat import MEMBERSHIPS, chat_of, chat_spans
from whisperkit.sync.frames import DeviceList

__all__ = ["DIRECT", "Trust"]

DIRECT: Final = b"n/direct/"
"""The other one of a conversation of two, by the conversation."""

_KNOWN: Final = b"d/"


class _Known(NamedTuple):
    """The devices of a user.

    Attributes:
        version: Of the newest list; 0 before there was one.
        keys: Their identity keys, by number.
    """

    version: int
    keys: Mapping[int, bytes]


class Trust:
    """Keeps who is known.

    Args:
        ratchet: This device's.
        wall_ms: The clock.

    Attributes:
        unlisted: Users of whom a device was heard that no list has named.
    """

    def __init__(self, ratchet: Device, *, wall_ms: Callable[[], int]) -> None:
        self.unlisted: set[UserId] = set()
        self._ratchet = ratchet
        self._own = ratchet.device_id
        self._wall_ms = wall_ms

    # ---- what is heard ----

    async def listed(self, turn: Turn, lists: Sequence[DeviceList]) -> list[Notice]:
        """Take over lists of devices that the server gave.

        Returns:
            What is news.
        """
        by_user = {one.user: one for one in lists}
        rows = await turn.some([_key(user) for user in by_user])
        news: list[Notice] = []
        for user, one in by_user.items():
            news += await self._listed(turn, one, _read(rows.get(_key(user))))
        return news

    async def _listed(self, turn: Turn, listed: DeviceList, known: _Known) -> list[Notice]:
        found = {one.number: one.identity_key for one in listed.devices}
        # Gateways remember lists for seconds. One that is older adds devices, or they could be written to and never
        # told of; but it takes none away, and it undoes no key that a device has proved since.
        is_newer = listed.version > known.version
        keys = {number: key for number, key in known.keys.items() if not is_newer or number in found}
        news: list[Notice] = []
        for number, key in found.items():
            device = DeviceId(listed.user, number)
            if number not in keys:
                keys[number] = key
                if known.version:
                    news += await self._linked(turn, device, key, known)
            elif keys[number] != key and is_newer and known.version:
                try:
                    news += (await self._changed(turn, device, key))[1]
                except InvalidKeyError:
                    continue  # nothing can be sent to that
                keys[number] = key
        _note(turn, listed.user, known, _Known(max(known.version, listed.version), keys))
        return news

    async def met(self, turn: Turn, device: DeviceId, key: bytes) -> list[Notice]:
        """A device has proved its key, and is trusted with it for the first time.

        Returns:
            What is news.
        """
        known = await _known(turn, device.user)
        before = known.keys.get(device.number)
        if before is None:
            self.unlisted.add(device.user)
        _note(turn, device.user, known, _with(known, device, key))
        if before is None:
            return await self._linked(turn, device, key, known) if known.keys else []
        changed = IdentityChanged(device, False, key)
        return [] if before == key else await self._tell(turn, changed)

    async def changed(self, turn: Turn, device: DeviceId, key: bytes) -> tuple[bool, list[Notice]]:
        """A device has proved another key than the one that it is trusted with.

        Returns:
            Whether it is trusted with this one now, and what is news. If a person has compared the other one, they
            have to choose first.
        """
        known = await _known(turn, device.user)
        is_trusted, news = await self._changed(turn, device, key, is_told=known.keys.get(device.number) == key)
        _note(turn, device.user, known, _with(known, device, key))
        return is_trusted, news

    async def _changed(
        self, turn: Turn, device: DeviceId, key: bytes, *, is_told: bool = False
    ) -> tuple[bool, list[Notice]]:
        peer = await _peer(turn, device)
        is_same = peer is not None and peer.identity_key == key
        was_verified = peer is not None and peer.verified_at_ms is not None
        if peer is not None and not was_verified:
            rows = await turn.load(self._ratchet.records_for(device))
            turn.save(self._ratchet.accept_identity(rows, key, remote=device, wall_ms=self._wall_ms()).save)
        news = [] if is_same or is_told else await self._tell(turn, IdentityChanged(device, was_verified, key))
        return is_same or not was_verified, news

    async def _linked(self, turn: Turn, device: DeviceId, key: bytes, known: _Known) -> list[Notice]:
        was_verified = await self._are_verified(turn, device.user, known)
        return await self._tell(turn, DeviceLinked(device, was_verified, key))

    async def _tell(self, turn: Turn, notice: Notice) -> list[Notice]:
        if notice.device == self._own or not (notice.was_verified or await self._is_contact(turn, notice.device.user)):
            return []
        await put_notice(turn, notice)
        return [notice]

    async def _is_contact(self, turn: Turn, user: UserId) -> bool:
        """Whether there is a conversation with a user, or they are this device's own."""
        direct = ConversationId.direct(self._own.user, user)
        if user == self._own.user or await turn.get(DIRECT + direct.encode()) is not None:
            return True
        if chat_of(direct, await turn.load(chat_spans(direct))).membership is not None:
            return True
        rows = await turn.load([MEMBERSHIPS])
        convs = [ConversationId(key[2:].decode()) for key in rows if key.startswith(MEMBERSHIPS.start)]
        memberships = [chat_of(conv, rows).membership for conv in convs]
        return any(membership is not None and user in membership.members for membership in memberships)

    # ---- what a person asks and says ----

    async def is_verified(self, turn: Turn, device: DeviceId) -> bool:
        """Whether a person compared the safety number of the key that a device has now."""
        peer = await _peer(turn, device)
        if peer is None or peer.verified_at_ms is None:
            return False
        return (await _known(turn, device.user)).keys.get(device.number, peer.identity_key) == peer.identity_key

    async def are_verified(self, turn: Turn, user: UserId) -> bool:
        """Whether that is so of all devices of a user that are known, but this one."""
        return await self._are_verified(turn, user, await _known(turn, user))

    async def _are_verified(self, turn: Turn, user: UserId, known: _Known) -> bool:
        devices = [DeviceId(user, number) for number in known.keys]
        others = [device for device in devices if device != self._own]
        return bool(others) and all([await self.is_verified(turn, device) for device in others])

    async def undecided(self, turn: Turn, user: UserId) -> list[IdentityChanged]:
        """Keys that devices of a user have now, while a person has compared another one: until they choose."""
        found: list[IdentityChanged] = []
        for number, key in (await _known(turn, user)).keys.items():
            device = DeviceId(user, number)
            peer = await _peer(turn, device)
            if peer is not None and peer.verified_at_ms is not None and peer.identity_key != key:
                found.append(IdentityChanged(device, True, key))
        return found

    async def expect(self, turn: Turn, device: DeviceId, key: bytes) -> None:
        """The person links a device here and now: it is no news when it comes."""
        known = await _known(turn, device.user)
        if known.version:
            _note(turn, device.user, known, _with(known, device, key))


def _with(known: _Known, device: DeviceId, key: bytes) -> _Known:
    return _Known(known.version, {**known.keys, device.number: key})


def _key(user: UserId) -> bytes:
    return _KNOWN + user.encode()


async def _peer(turn: Turn, device: DeviceId) -> Peer | None:
    value = await turn.get(peer_key(device))
    return None if value is None else decode_peer(value)


async def _known(turn: Turn, user: UserId) -> _Known:
    return _read(await turn.get(_key(user)))


def _read(value: bytes | None) -> _Known:
    if value is None:
        return _Known(0, {})
    version, devices = unpack(value, kind="devices of a user", shape=(int, tuple))
    with reading("devices of a user"):
        return _Known(version, dict(shaped(one, (int, bytes)) for one in devices))


def _note(turn: Turn, user: UserId, before: _Known, after: _Known) -> None:
    if after != before:
        turn.put([(_key(user), pack(after.version, sorted(after.keys.items())))])
