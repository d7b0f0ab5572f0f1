"""Encrypting for a conversation: who gets a copy of their own, and who shares one.

One to one, every device of both users but this one gets its own copy. In a group there is one ciphertext under this
device's sender key, and the key itself rides in a copy of its own for each device that lacks it; after a member or a
device has gone the next message is under a new key. A mega group lists no members: whoever lacks the key asks for the
message, and is given both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgpack

from whisperkit.client.content import KeyGift, encode_content
from whisperkit.client.records import Turn
from whisperkit.errors import NoSessionError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId
from whisperkit.ratchet import CiphertextMessage, Device
from whisperkit.strategy import Strategy
from whisperkit.sync.chat import Membership
from whisperkit.sync.frames import MAX_DEVICES, MAX_OWN_COPIES

__all__ = ["MissingSessionsError", "SealedPost", "Sealer", "wire_form"]


class MissingSessionsError(Exception):
    """Bundles of these devices are needed first."""

    def __init__(self, devices: Sequence[DeviceId]) -> None:
        super().__init__(f"{len(devices)} sessions are missing")
        self.devices = tuple(devices)


class SealedPost(NamedTuple):
    """What a SEND carries.

    Attributes:
        if_roster: The members that it was made for.
        devices: The devices that it was made for; empty where the server has nothing to compare.
        shared: One ciphertext for all.
        own: Copies for single devices.
        later: Devices that lack the key and did not fit: they get it in asides.
    """

    if_roster: ConversationSeq | None
    devices: tuple[DeviceId, ...]
    shared: bytes | None
    own: Mapping[DeviceId, bytes] | None
    later: tuple[DeviceId, ...] = ()


def wire_form(message: CiphertextMessage) -> bytes:
    """A ciphertext as it travels: its type in one byte, then its body."""
    return bytes([message.type]) + message.body


class Sealer:
    """Encrypts.

    Args:
        ratchet: This device's.
        wall_ms: The clock.
    """

    def __init__(self, ratchet: Device, *, wall_ms: Callable[[], int]) -> None:
        self._ratchet = ratchet
        self._wall_ms = wall_ms

    async def seal(
        self,
        turn: Turn,
        conv: ConversationId,
        content: bytes,
        membership: Membership,
        devices: Sequence[DeviceId],
        unreachable: frozenset[DeviceId],
    ) -> SealedPost:
        """Encrypt a message for a conversation.

        Args:
            turn: Takes the ratchet records.
            conv: Where it goes.
            content: What is said, encoded.
            membership: The conversation's members, as this device knows them.
            devices: All devices of the members but this one.
            unreachable: Those of them that have published no keys.

        Raises:
            MissingSessionsError: There is no session with some of them.
        """
        is_pairwise = membership.is_whole and len(membership.members) <= 2
        if is_pairwise:
            copies = await self._copies(turn, devices, content, unreachable)
            # An empty copy tells a device without keys that it has to ask; leaving it out would be a stale list.
            copies |= {device: b"" for device in devices if device in unreachable}
            return SealedPost(membership.version, (), None, copies)
        lacking = await self._lacking(turn, conv, devices, unreachable)
        gift = encode_content(KeyGift(conv, await self._distribution(turn, conv)))
        now, later = lacking[:MAX_OWN_COPIES], lacking[MAX_OWN_COPIES:]
        own = await self._copies(turn, now, gift, frozenset())
        rows = await turn.load(self._ratchet.records_for_group(conv))
        sealed = self._ratchet.group_encrypt(rows, content, group=conv)
        turn.save(sealed.save)
        is_small = membership.strategy is Strategy.SMALL and len(devices) <= MAX_DEVICES
        if_roster = membership.version if membership.strategy is not Strategy.MEGA else None
        named = tuple(devices) if is_small else ()
        return SealedPost(if_roster, named, wire_form(sealed.message), own or None, tuple(later))

    async def copy(self, turn: Turn, device: DeviceId, content: bytes) -> bytes:
        """Encrypt for one device.

        Raises:
            NoSessionError: There is no session.
        """
        rows = await turn.load(self._ratchet.records_for(device))
        sealed = self._ratchet.encrypt(rows, content, remote=device, wall_ms=self._wall_ms())
        turn.save(sealed.save)
        return wire_form(sealed.message)

    async def gift(self, turn: Turn, conv: ConversationId) -> bytes:
        """This device's sender key for a group, as content for a device that lacks it."""
        return encode_content(KeyGift(conv, await self._distribution(turn, conv)))

    async def _copies(
        self, turn: Turn, devices: Sequence[DeviceId], content: bytes, unreachable: frozenset[DeviceId]
    ) -> dict[DeviceId, bytes]:
        missing: list[DeviceId] = []
        copies: dict[DeviceId, bytes] = {}
        for device in devices:
            if device in unreachable:
                continue
            try:
                copies[device] = await self.copy(turn, device, content)
            except NoSessionError:
                missing.append(device)
        if missing:
            raise MissingSessionsError(missing)
        return copies

    # ---- sender keys ----

    async def _lacking(
        self, turn: Turn, conv: ConversationId, devices: Sequence[DeviceId], unreachable: frozenset[DeviceId]
    ) -> list[DeviceId]:
        """Devices that need this device's key, after it was renewed because of any that have gone."""
        holders = await _holders(turn, conv)
        there = set(devices)
        if not holders <= there:
            made = self._ratchet.rotate_sender_key(await turn.load(self._ratchet.records_for_group(conv)), conv)
            turn.save(made.save)
            holders = frozenset()
        lacking = [device for device in devices if device not in holders and device not in unreachable]
        turn.put([(_holders_key(conv), msgpack.packb(sorted({*holders, *lacking})))])
        return lacking

    async def _distribution(self, turn: Turn, conv: ConversationId) -> bytes:
        made = self._ratchet.create_distribution(await turn.load(self._ratchet.records_for_group(conv)), conv)
        turn.save(made.save)
        return made.message.encode()


_NOBODY: Final[frozenset[DeviceId]] = frozenset()


def _holders_key(conv: ConversationId) -> bytes:
    return b"g/" + conv.encode()


async def _holders(turn: Turn, conv: ConversationId) -> frozenset[DeviceId]:
    stored = await turn.get(_holders_key(conv))
    return _NOBODY if stored is None else frozenset(map(DeviceId.parse, msgpack.unpackb(stored)))
