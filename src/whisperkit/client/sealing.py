"""Encrypting for a conversation: who gets a copy of their own, and who shares one.

One to one, every device of both users but this one gets its own copy. In a group there is one ciphertext under this
device's sender key, and the key itself rides in a copy of its own for each device that lacks it; after a member or a
device has gone the next message is under a new key.

A mega group lists no members: whoever lacks the key asks for the message, and is given both. This is simpler than an
epoch secret that all members share, and costs its sender an answer for each member who reads it; what it says of the
removed is the same: the key is renewed when a removal is seen, and what was given before stays readable.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

import msgpack

from whisperkit.client.content import KeyGift, bind, encode_content
from whisperkit.client.records import Turn
from whisperkit.errors import NoSessionError, NoSuchUserError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, MessageId, UserId
from whisperkit.ratchet import CiphertextMessage, Device, SenderKeyDistributionMessage
from whisperkit.strategy import Strategy
from whisperkit.sync.chat import Membership
from whisperkit.sync.frames import MAX_DEVICES, MAX_OWN_COPIES

__all__ = ["Gifts", "MissingSessionsError", "SealedPost", "Sealer", "is_pairwise", "wire_form"]

# Devices are named in each post to groups of fewer members: 45 bytes each, so that no new one is missed. In larger
# ones a device that was linked meanwhile asks for the key.
NAMED_BELOW: Final = 200


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
    """

    if_roster: ConversationSeq | None
    devices: tuple[DeviceId, ...]
    shared: bytes | None
    own: Mapping[DeviceId, bytes] | None


class Gifts(NamedTuple):
    """Copies of this device's sender key for some devices.

    Attributes:
        chain_id: Which key it is.
        own: The copies.
    """

    chain_id: int
    own: Mapping[DeviceId, bytes]


def wire_form(message: CiphertextMessage) -> bytes:
    """A ciphertext as it travels: its type in one byte, then its body."""
    return bytes([message.type]) + message.body


def is_pairwise(membership: Membership) -> bool:
    """Whether each device gets a copy of its own."""
    return membership.is_whole and len(membership.members) <= 2


def check_other(membership: Membership, devices: Sequence[DeviceId], *, me: UserId) -> None:
    """Check that in a conversation of two there is somebody to write to.

    Raises:
        NoSuchUserError: The other one has no device.
    """
    there = {device.user for device in devices}
    for user in membership.members:
        if user != me and user not in there:
            raise NoSuchUserError(user=user)


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
        message_id: MessageId,
        content: bytes,
        membership: Membership,
        devices: Sequence[DeviceId],
        *,
        unreachable: Collection[DeviceId] = (),
        ungiven: Collection[DeviceId] = (),
    ) -> SealedPost:
        """Encrypt a message for a conversation.

        Args:
            turn: Takes the ratchet records.
            conv: Where it goes.
            message_id: Its identity.
            content: What is said, encoded.
            membership: The conversation's members, as this device knows them.
            devices: All devices of the members but this one.
            unreachable: Those of them that have published no keys.
            ungiven: Devices that an earlier form of this message would have given the key, had it not been refused.

        Raises:
            MissingSessionsError: There is no session with some of them.
            NoSuchUserError: The other one of two has no device.
        """
        inside = bind(conv, message_id, content)
        if is_pairwise(membership):
            check_other(membership, devices, me=self._ratchet.device_id.user)
            copies = await self._copies(turn, [one for one in devices if one not in unreachable], inside)
            # An empty copy tells a device without keys that it has to ask; leaving it out would be a stale list.
            copies |= {device: b"" for device in devices if device in unreachable}
            return SealedPost(membership.version, (), None, copies)
        if membership.strategy is Strategy.MEGA:
            await self._distribution(turn, conv)
            return SealedPost(None, (), await self._shared(turn, conv, inside), None)
        lacking = [one for one in await self.lacking(turn, conv, devices, ungiven) if one not in unreachable]
        gifts = await self.gifts(turn, conv, lacking[:MAX_OWN_COPIES])
        await self.note_given(turn, conv, gifts)
        shared = await self._shared(turn, conv, inside)
        is_small = len(membership.members) < NAMED_BELOW and len(devices) <= MAX_DEVICES
        return SealedPost(membership.version, tuple(devices) if is_small else (), shared, gifts.own or None)

    async def copy(self, turn: Turn, device: DeviceId, content: bytes) -> bytes:
        """Encrypt for one device.

        Raises:
            NoSessionError: There is no session.
        """
        rows = await turn.load(self._ratchet.records_for(device))
        sealed = self._ratchet.encrypt(rows, content, remote=device, wall_ms=self._wall_ms())
        turn.save(sealed.save)
        return wire_form(sealed.message)

    async def _copies(self, turn: Turn, devices: Sequence[DeviceId], content: bytes) -> dict[DeviceId, bytes]:
        missing: list[DeviceId] = []
        copies: dict[DeviceId, bytes] = {}
        for device in devices:
            try:
                copies[device] = await self.copy(turn, device, content)
            except NoSessionError:
                missing.append(device)
        if missing:
            raise MissingSessionsError(missing)
        return copies

    async def _shared(self, turn: Turn, conv: ConversationId, inside: bytes) -> bytes:
        rows = await turn.load(self._ratchet.records_for_group(conv))
        sealed = self._ratchet.group_encrypt(rows, inside, group=conv)
        turn.save(sealed.save)
        return wire_form(sealed.message)

    # ---- sender keys ----

    async def lacking(
        self, turn: Turn, conv: ConversationId, devices: Sequence[DeviceId], ungiven: Collection[DeviceId] = ()
    ) -> list[DeviceId]:
        """Devices that need this device's key, after it was renewed because of any that have gone."""
        _, holders = await _holders(turn, conv)
        if not holders <= set(devices):
            await self.renew(turn, conv)
            holders = _NOBODY
        return [device for device in devices if device not in holders or device in ungiven]

    async def renew(self, turn: Turn, conv: ConversationId) -> None:
        """Make a new key at the next message, because somebody has gone; nothing if there is none."""
        (key,) = self._ratchet.records_for_group(conv)
        if await turn.get(key.start) is not None:
            turn.save(self._ratchet.rotate_sender_key(turn.rows, conv).save)
        turn.delete([_holders_key(conv)])

    async def gift(self, turn: Turn, conv: ConversationId) -> bytes:
        """This device's sender key for a group, as content for a device that lacks it."""
        return encode_content(KeyGift(conv, (await self._distribution(turn, conv)).encode()))

    async def gifts(self, turn: Turn, conv: ConversationId, devices: Sequence[DeviceId]) -> Gifts:
        """Encrypt this device's sender key for some devices; it reads from its present place on.

        Raises:
            MissingSessionsError: There is no session with some of them.
        """
        distribution = await self._distribution(turn, conv)
        gift = encode_content(KeyGift(conv, distribution.encode()))
        return Gifts(distribution.chain_id, await self._copies(turn, devices, gift))

    async def note_given(self, turn: Turn, conv: ConversationId, gifts: Gifts) -> None:
        """Remember who has the key; nothing if it was renewed since."""
        chain_id, holders = await _holders(turn, conv)
        if (await self._distribution(turn, conv)).chain_id != gifts.chain_id or not gifts.own:
            return
        known = holders if chain_id == gifts.chain_id else _NOBODY
        turn.put([(_holders_key(conv), msgpack.packb((gifts.chain_id, sorted({*known, *gifts.own}))))])

    async def _distribution(self, turn: Turn, conv: ConversationId) -> SenderKeyDistributionMessage:
        made = self._ratchet.create_distribution(await turn.load(self._ratchet.records_for_group(conv)), conv)
        turn.save(made.save)
        return made.message


_NOBODY: Final[frozenset[DeviceId]] = frozenset()


def _holders_key(conv: ConversationId) -> bytes:
    return b"g/" + conv.encode()


async def _holders(turn: Turn, conv: ConversationId) -> tuple[int, frozenset[DeviceId]]:
    stored = await turn.get(_holders_key(conv))
    if stored is None:
        return 0, _NOBODY
    chain_id, devices = msgpack.unpackb(stored)
    return chain_id, frozenset(map(DeviceId.parse, devices))
