"""What a sender hands to the server for many recipients, and how the server takes it apart.

The server learns who receives: users, devices, and the registration ids by which it sees that a device was set up
anew. It learns nothing of who sends, and needs no key. Each device gets its own 48 bytes and the shared rest, so a
server stores the rest once and joins the two when it delivers.

Some members may be *excluded*: named so that the server can compare with the group's whole list, and given nothing.

Devices with one identity key share 48 bytes. In this library each device has a key of its own, so a user with two
devices takes two places on the list; an official phone and what is linked to it take one.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import Final, NamedTuple

from whisperkit.errors import InvalidMessageError, RegistrationIdError, UnsupportedVersionError, UsageError
from whisperkit.ids import MAX_DEVICE_NUMBER, DeviceId, UserId
from whisperkit.ratchet.addresses import encode_address
from whisperkit.ratchet.curve import KeyPair, PublicKey, RandomBytes
from whisperkit.ratchet.protobuf import read_varint, write_varint
from whisperkit.ratchet.sealed_sender import v2
from whisperkit.ratchet.sealed_sender.content import SealedContent

__all__ = ["MAX_RECIPIENTS", "MAX_SEALED_REGISTRATION_ID", "Part", "Recipient", "SentMessage", "seal_for_many"]

# As many devices as the largest group has users to which a server pushes, and a second of arithmetic for the sender.
# Without a bound, three bytes of a sent message would make a server deliver, and perhaps copy, the whole ciphertext.
MAX_RECIPIENTS: Final = 5_000

MAX_SEALED_REGISTRATION_ID: Final = 0x3FFF
"""The largest registration id that can be named: 14 bits."""

_SENT_VERSION_BYTE: Final = 0x23
_OLD_SENT_VERSION_BYTE: Final = 0x22  # names only users, as 16 bytes
_MORE: Final = 0x8000
_UUID_BYTES: Final = 16
_USER, _PHONE_NUMBER = 0, 1
_EXCLUDED: Final = b"\x00"


class Recipient(NamedTuple):
    """A device to seal for.

    Attributes:
        device: Which one.
        identity_key: Its identity key, 33 bytes.
        registration_id: Its registration id, so that the server can tell whether it was set up anew since.
    """

    device: DeviceId
    identity_key: PublicKey
    registration_id: int


class Part(NamedTuple):
    """What a sent message holds for one device.

    Attributes:
        device: Which one.
        registration_id: As the sender knows it. If the device has another one by now, it cannot read this.
        own: Its 48 bytes.
    """

    device: DeviceId
    registration_id: int
    own: bytes


class SentMessage(NamedTuple):
    """What a sender handed over, taken apart.

    Attributes:
        parts: For each device its own.
        excluded: Names of users who get nothing. One that begins with ``PNI:`` is a phone number's.
        shared: The rest, for all.
    """

    parts: tuple[Part, ...]
    excluded: frozenset[str]
    shared: bytes

    def received_by(self, part: Part) -> bytes:
        """What to deliver to the device of a part."""
        return v2.join(part.own, self.shared)

    @classmethod
    def decode(cls, data: bytes) -> SentMessage:
        """Take apart what a sender handed over; nothing is copied yet.

        Raises:
            InvalidMessageError: Cut short, a device is named twice, one is out of range, or there are too many.
            UnsupportedVersionError: Of another version.
        """
        return _decode(_Reader(data))


def seal_for_many(
    content: SealedContent,
    *,
    sender: KeyPair,
    recipients: Collection[Recipient],
    random_bytes: RandomBytes,
    excluded: Collection[str] = (),
) -> bytes:
    """Seal a content for many devices; what comes out is handed to the server.

    Args:
        content: What to seal; its certificate is of the sender's identity key.
        sender: The sender's identity keys.
        recipients: The devices.
        random_bytes: Asked for 32 bytes.
        excluded: Users who get nothing although they are members, or phone numbers' names with ``PNI:`` in front.

    Raises:
        UsageError: Too many; a device twice; a user who is excluded and a recipient; or a name that is none.
        RegistrationIdError: A device has one that does not fit.
        InvalidKeyError: A device's identity key is of low order.
    """
    _check_recipients(recipients, excluded)
    # One place for each identity key of a user, and the devices of a place next to each other.
    places: dict[tuple[UserId, PublicKey], list[Recipient]] = {}
    for each in recipients:
        places.setdefault((each.device.user, each.identity_key), []).append(each)
    keys = [identity_key for _, identity_key in places]
    sealed = v2.seal(content, sender=sender, recipients=keys, random_bytes=random_bytes)
    written = (
        _service_id(user) + _devices(devices) + part
        for ((user, _), devices), part in zip(places.items(), sealed.parts, strict=True)
    )
    left_out = (_service_id(name) + _EXCLUDED for name in excluded)
    head = bytes([_SENT_VERSION_BYTE]) + write_varint(len(places) + len(excluded))
    return head + b"".join(chain(written, left_out)) + sealed.shared


def _check_recipients(recipients: Collection[Recipient], excluded: Collection[str]) -> None:
    if len(recipients) + len(excluded) > MAX_RECIPIENTS:
        raise UsageError(f"one message is sealed for {MAX_RECIPIENTS} at most, got {len(recipients) + len(excluded)}")
    devices = {each.device for each in recipients}
    names = {_service_id(name) for name in excluded}
    if len(devices) != len(recipients) or len(names) != len(excluded):
        raise UsageError("a recipient is named twice")
    if names & {_service_id(device.user) for device in devices}:
        raise UsageError("a user is excluded and a recipient")
    for each in recipients:
        if not 0 <= each.registration_id <= MAX_SEALED_REGISTRATION_ID:
            raise RegistrationIdError(remote=each.device, found=each.registration_id, limit=MAX_SEALED_REGISTRATION_ID)


def _service_id(name: str) -> bytes:
    address = encode_address(name, 0)
    if address is None:
        raise UsageError("who is excluded is named by a UUID, or by one with PNI: in front")
    return address[:-1]


def _devices(devices: Iterable[Recipient]) -> bytes:
    items = [(each.device.number, each.registration_id) for each in devices]
    last = len(items) - 1
    return b"".join(
        bytes([number]) + (registration_id | (_MORE if i < last else 0)).to_bytes(2, "big")
        for i, (number, registration_id) in enumerate(items)
    )


class _Reader:
    """Takes bytes off the front of a sent message."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, size: int) -> bytes:
        end = self._position + size
        if end > len(self._data):
            raise InvalidMessageError("a message sealed for many is cut short")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def varint(self) -> int:
        value, self._position = read_varint(self._data, self._position)
        return value

    def rest(self) -> bytes:
        return self._data[self._position :]


def _decode(reader: _Reader) -> SentMessage:
    version = reader.number(1)
    if version not in (_OLD_SENT_VERSION_BYTE, _SENT_VERSION_BYTE):
        raise UnsupportedVersionError(found=version, supported=(_OLD_SENT_VERSION_BYTE, _SENT_VERSION_BYTE))
    has_kinds = version == _SENT_VERSION_BYTE
    places = reader.varint()
    parts: dict[DeviceId, Part] = {}
    excluded: set[str] = set()
    for _ in range(_bounded(places)):
        kind = reader.number(1) if has_kinds else _USER
        user = UserId(uuid.UUID(bytes=reader.take(_UUID_BYTES)))
        items = list(_read_devices(reader))
        if not items:
            _exclude(excluded, kind, user)
            continue
        if kind != _USER:
            raise InvalidMessageError("what is a recipient is a user")
        own = reader.take(v2.PART_BYTES)
        for number, registration_id in items:
            device = DeviceId(user, number)
            if device in parts:
                raise InvalidMessageError(f"{device} is a recipient twice")
            parts[device] = Part(device, registration_id, own)
        _bounded(len(parts) + len(excluded))
    both = excluded & {device.user for device in parts}
    if both:
        raise InvalidMessageError(f"{min(both)} is excluded and a recipient")
    shared = reader.rest()
    if len(shared) < v2.MIN_SHARED_BYTES:
        raise InvalidMessageError("a message sealed for many is cut short")
    return SentMessage(tuple(parts.values()), frozenset(excluded), shared)


def _read_devices(reader: _Reader) -> Iterator[tuple[int, int]]:
    """The devices of a place; none for one who is excluded."""
    number = reader.number(1)
    if number == _EXCLUDED[0]:
        return
    while True:
        if not 1 <= number <= MAX_DEVICE_NUMBER:
            raise InvalidMessageError(f"a device has number 1 to {MAX_DEVICE_NUMBER}, got {number}")
        flags = reader.number(2)
        registration_id = flags & ~_MORE
        if registration_id > MAX_SEALED_REGISTRATION_ID:
            raise InvalidMessageError(
                f"a registration id is at most {MAX_SEALED_REGISTRATION_ID}, got {registration_id}"
            )
        yield number, registration_id
        if not flags & _MORE:
            return
        number = reader.number(1)


def _exclude(excluded: set[str], kind: int, user: UserId) -> None:
    if kind not in (_USER, _PHONE_NUMBER):
        raise InvalidMessageError(f"there is no service id of kind {kind}")
    name = f"PNI:{user}" if kind == _PHONE_NUMBER else str(user)
    if name in excluded:
        raise InvalidMessageError(f"{name} is excluded twice")
    excluded.add(name)


def _bounded(count: int) -> int:
    if count > MAX_RECIPIENTS:
        raise InvalidMessageError(f"a message is sealed for {MAX_RECIPIENTS} at most, got {count}")
    return count
