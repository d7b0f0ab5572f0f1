"""A user on the server: the list of their devices, and the conversations they are in.

Each change of the list raises its version, and the version that linked a device names that link for good: a
device number may be linked again later, and a repeat of the earlier link or of its end, however late, is told by it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

from whisperkit.ids import MAX_DEVICE_NUMBER, ConversationId, ConversationSeq, DeviceId, UserId
from whisperkit.packing import pack, reading, shaped, unpack
from whisperkit.partitions import Partition, Row, Step

__all__ = [
    "MAX_DEVICES_PER_USER",
    "MEMBERSHIPS",
    "NEW_ACCOUNT",
    "Account",
    "AccountTaken",
    "LastDevice",
    "LinkAnswer",
    "Linked",
    "LinkedDevice",
    "Membership",
    "NewDevice",
    "NotDrained",
    "NotLinked",
    "NumberTaken",
    "TooManyDevices",
    "Unlinked",
    "decode",
    "decode_membership",
    "encode",
    "encode_membership",
    "join",
    "leave",
    "link",
    "membership_key",
    "membership_of",
    "partition",
    "register",
    "unlink",
]

# Every message to the user is encrypted and stored once for each device; whoever could link hundreds would make
# each sender pay for them.
MAX_DEVICES_PER_USER: Final = 8

# All rows of memberships.
MEMBERSHIPS: Final = b"m/"


class NewDevice(NamedTuple):
    """A device that wants to be one of a user's.

    Attributes:
        number: Its number among them, from 1.
        identity_key: Its public identity key, 33 bytes.
        registration_id: Signal's, 14 bits.
    """

    number: int
    identity_key: bytes
    registration_id: int


class LinkedDevice(NamedTuple):
    """A device in the list.

    Attributes:
        number: Its number.
        identity_key: Its public identity key, 33 bytes.
        registration_id: Signal's, 14 bits.
        link: The version of the list that linked it.
        linked_at_ms: When, milliseconds since 1970.
    """

    number: int
    identity_key: bytes
    registration_id: int
    link: int
    linked_at_ms: int


class Account(NamedTuple):
    """The head of a user.

    Attributes:
        version: Raised by each change of the list; 0 before there is an account.
        devices: The linked devices, by number, at most `MAX_DEVICES_PER_USER`.
        last_number: The number that was linked last.
    """

    version: int = 0
    devices: tuple[LinkedDevice, ...] = ()
    last_number: int = 0

    def device(self, number: int) -> LinkedDevice | None:
        """The device of that number, if it is linked."""
        return next((device for device in self.devices if device.number == number), None)

    def device_ids(self, user: UserId) -> tuple[DeviceId, ...]:
        """The linked devices by name."""
        return tuple(DeviceId(user, device.number) for device in self.devices)

    @property
    def next_number(self) -> int:
        """The number to link next: all are used once before one comes again."""
        taken = {device.number for device in self.devices}
        number = self.last_number % MAX_DEVICE_NUMBER + 1
        while number in taken:
            number = number % MAX_DEVICE_NUMBER + 1
        return number


NEW_ACCOUNT: Final = Account()


# ---- devices --------------------------------------------------------------------------------------------------------


class Linked(NamedTuple):
    """The device is in the list; open its inbox and its keys under this link."""

    link: int
    version: int


class Unlinked(NamedTuple):
    """The device is not in the list; close its inbox and its keys.

    Attributes:
        link: Every link of the number up to this one is over; the same in a repeat, so that who repeats after a
            crash closes what was left open. A later link is above it.
        version: Of the list.
    """

    link: int
    version: int


class AccountTaken(NamedTuple):
    """The user exists, and this is not the device that made it."""


class NotLinked(NamedTuple):
    """Who asks is no device of this user."""


class NotDrained(NamedTuple):
    """Who asks has not acknowledged all of its inbox: catch up first.

    "Delivered" is told by the device that is furthest. A device linked by one that is behind would start behind a
    message that is marked as delivered, and the user would never see it.
    """


class NumberTaken(NamedTuple):
    """Another device has the number; this one is free."""

    free: int


class TooManyDevices(NamedTuple):
    """Unlink one first."""

    limit: int


class LastDevice(NamedTuple):
    """An account keeps a device: without one nobody could link another."""


LinkAnswer: TypeAlias = Linked | NotLinked | NotDrained | NumberTaken | TooManyDevices


def register(account: Account, device: NewDevice, *, at_ms: int) -> Step[Linked | AccountTaken, Account]:
    """Make the account with its first device; repeated by that device, the answer is the same."""
    if not account.version:
        return _linked(account, device, at_ms)
    known = account.device(device.number)
    is_repeat = known is not None and known[:3] == device and known.link == 1
    return Step(Linked(1, account.version) if is_repeat else AccountTaken(), account)


def link(account: Account, device: NewDevice, *, by: int, at_ms: int, is_drained: bool) -> Step[LinkAnswer, Account]:
    """Add a device.

    Args:
        account: The head.
        device: The new device.
        by: The number of the device that asks.
        at_ms: Now, milliseconds since 1970.
        is_drained: Whether the inbox of that device is acknowledged to its head.
    """
    known = account.device(device.number)
    if known is not None and known[:3] == device:
        return Step(Linked(known.link, account.version), account)
    if account.device(by) is None:
        return Step(NotLinked(), account)
    if known is not None:
        return Step(NumberTaken(account.next_number), account)
    if not is_drained:
        return Step(NotDrained(), account)
    if len(account.devices) >= MAX_DEVICES_PER_USER:
        return Step(TooManyDevices(MAX_DEVICES_PER_USER), account)
    return _linked(account, device, at_ms)


def _linked(account: Account, device: NewDevice, at_ms: int) -> Step[Any, Account]:  # Any: whichever union asks
    version = account.version + 1
    devices = tuple(sorted((*account.devices, LinkedDevice(*device, version, at_ms))))
    return Step(Linked(version, version), Account(version, devices, device.number))


def unlink(account: Account, number: int, *, by: int) -> Step[Unlinked | NotLinked | LastDevice, Account]:
    """Remove a device; one that is gone already stays gone.

    Args:
        account: The head.
        number: Of the device.
        by: The number of the device that asks; a device may remove itself.
    """
    known = account.device(number)
    if known is None:
        # Also for a device that removed itself and repeats: it is told that it is done.
        return Step(Unlinked(account.version, account.version), account)
    if account.device(by) is None:
        return Step(NotLinked(), account)
    if len(account.devices) == 1:
        return Step(LastDevice(), account)
    devices = tuple(device for device in account.devices if device is not known)
    after = Account(account.version + 1, devices, account.last_number)
    return Step(Unlinked(after.version, after.version), after)


# ---- memberships ----------------------------------------------------------------------------------------------------


class Membership(NamedTuple):
    """What the user's own partition knows of one conversation; told by whoever finishes a ROSTER row.

    Attributes:
        seq: The last ROSTER row about the user that arrived here.
        is_member: Whether it let the user in.
    """

    seq: ConversationSeq
    is_member: bool


def join(
    account: Account, conversation: ConversationId, known: Membership | None, *, seq: ConversationSeq
) -> Step[Membership, Account]:
    """Note that row `seq` let the user in; a row that comes late or again changes nothing.

    Args:
        account: The head.
        conversation: Which one.
        known: The row ``m/<conversation>``, read at this version of the head; `None`: there is none.
        seq: The ROSTER row.
    """
    return _noted(account, conversation, known, Membership(seq, True))


def leave(
    account: Account, conversation: ConversationId, known: Membership | None, *, seq: ConversationSeq
) -> Step[Membership, Account]:
    """Note that row `seq` put the user out; otherwise as `join`."""
    return _noted(account, conversation, known, Membership(seq, False))


def _noted(
    account: Account, conversation: ConversationId, known: Membership | None, told: Membership
) -> Step[Membership, Account]:
    if known is not None and told.seq <= known.seq:
        return Step(known, account)
    return Step(told, account, (Row(membership_key(conversation), encode_membership(told)),))


# ---- bytes ----------------------------------------------------------------------------------------------------------


def partition(user: UserId) -> Partition:
    """Where a user is kept."""
    return Partition(f"user/{user}")


_DEVICE_SHAPE = (int, bytes, int, int, int)


def encode(account: Account) -> bytes:
    """The head's state."""
    return pack(*account)


def decode(data: bytes) -> Account:
    """Read the head's state; empty for one that was never written.

    Raises:
        CorruptStateError: It is none.
    """
    if not data:
        return NEW_ACCOUNT
    version, devices, last_number = unpack(data, kind="account", shape=(int, tuple, int))
    with reading("account"):
        return Account(version, tuple(LinkedDevice(*shaped(device, _DEVICE_SHAPE)) for device in devices), last_number)


def membership_key(conversation: ConversationId) -> bytes:
    """The key of a membership."""
    return MEMBERSHIPS + conversation.encode()


def membership_of(row: Row) -> tuple[ConversationId, Membership]:
    """Read a membership's row.

    Raises:
        CorruptStateError: It is none.
    """
    with reading("membership"):
        conversation = ConversationId(row.key.removeprefix(MEMBERSHIPS).decode())
    return conversation, decode_membership(row.value)


def encode_membership(membership: Membership) -> bytes:
    """The value of a membership's row."""
    return pack(*membership)


def decode_membership(data: bytes) -> Membership:
    """Read the value of a membership's row.

    Raises:
        CorruptStateError: It is none.
    """
    seq, is_member = unpack(data, kind="membership", shape=(int, bool))
    return Membership(ConversationSeq(seq), is_member)
