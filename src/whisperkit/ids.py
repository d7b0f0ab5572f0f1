"""The names of things: users, devices, messages, conversations, blobs, gateways, and the two kinds of number.

Every id is an immutable value with one text form, checked where it is made, so that code further in
never meets a bad one. Text ids are subclasses of `str` and message ids of `bytes`: they hash and
compare at native speed, go into msgpack and JSON as they are, and read well in a log.

Two ids of one shape are two types. `ConversationSeq` and `InboxSeq` are both dense integers from 1,
but the first orders a conversation and the second one device's inbox; they never compare.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, NamedTuple, NewType

from whisperkit.errors import MalformedIdError

__all__ = [
    "MAX_CONVERSATION_ID_CHARS",
    "MAX_DEVICE_NUMBER",
    "MAX_GATEWAY_ID_CHARS",
    "BlobId",
    "ConversationId",
    "ConversationSeq",
    "DeviceId",
    "GatewayId",
    "InboxSeq",
    "MessageId",
    "Owner",
    "UserId",
]

# Signal binds an address into a message only for device numbers that fit seven bits.
MAX_DEVICE_NUMBER: Final = 127
# Row keys are at most 64 bytes, and `c/<conversation>` is one of them.
MAX_CONVERSATION_ID_CHARS: Final = 48
MAX_GATEWAY_ID_CHARS: Final = 48

_CONVERSATION = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_CONVERSATION_ID_CHARS}}}")
_GATEWAY = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_GATEWAY_ID_CHARS}}}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_BLOB = re.compile(r"[0-9a-f]{32}")
_DEVICE = re.compile(r"([0-9a-f-]{36})\.([1-9][0-9]{0,2})")

# The namespace of users derived from a name (UUID version 5): fixed for ever, part of the wire.
_USERS = uuid.UUID("6f9b3c52-0d4e-5a8e-9d5b-0c3f2e7a1b64")

ConversationSeq = NewType("ConversationSeq", int)
"""Position in a conversation, dense from 1: order, receipts and roster versions. 0 is "before the first"."""

InboxSeq = NewType("InboxSeq", int)
"""Position in one device's inbox, dense from 1: sync. 0 is "before the first"."""


class UserId(str):
    """A user: a UUID in its canonical lower-case text form, 36 characters.

    Raises:
        MalformedIdError: The text is not such a UUID.
    """

    __slots__ = ()

    def __new__(cls, text: str | uuid.UUID) -> UserId:
        text = str(text)
        if not _UUID.fullmatch(text):
            raise MalformedIdError(kind="user", expected="a lower-case UUID", found=text)
        return super().__new__(cls, text)

    @classmethod
    def named(cls, name: str) -> UserId:
        """Derive a user from any key of your own: always the same UUID (version 5) for one name."""
        return cls(uuid.uuid5(_USERS, name))


class DeviceId(str):
    """One device of a user, written ``user.number``.

    Args:
        user: Whose device it is.
        number: 1 to `MAX_DEVICE_NUMBER`; 1 is the device that made the account.

    Raises:
        MalformedIdError: The number is out of range.
    """

    __slots__ = ("number", "user")

    user: UserId
    number: int

    def __new__(cls, user: UserId, number: int) -> DeviceId:
        if not 1 <= number <= MAX_DEVICE_NUMBER:
            raise MalformedIdError(kind="device", expected=f"a number of 1 to {MAX_DEVICE_NUMBER}", found=str(number))
        self = super().__new__(cls, f"{user}.{number}")
        self.user = user
        self.number = number
        return self

    def __getnewargs__(self) -> tuple[UserId, int]:  # type: ignore[override]  # str's own returns its text
        return self.user, self.number

    @classmethod
    def named(cls, name: str, number: int) -> DeviceId:
        """Derive a device from any name of its user; see `UserId.named`."""
        return cls(UserId.named(name), number)

    @classmethod
    def parse(cls, text: str) -> DeviceId:
        """Read the text form.

        Raises:
            MalformedIdError: It is not ``user.number``.
        """
        match = _DEVICE.fullmatch(text)
        if match is None:
            raise MalformedIdError(kind="device", expected="user.number", found=text)
        return cls(UserId(match[1]), int(match[2]))


class MessageId(bytes):
    """The identity of a message: a UUIDv7 of 16 bytes, minted by its sender (RFC 9562, section 5.7).

    Raises:
        MalformedIdError: Not 16 bytes.
    """

    __slots__ = ()

    def __new__(cls, value: bytes) -> MessageId:
        if len(value) != 16:
            raise MalformedIdError(kind="message", expected="16 bytes", found=f"{len(value)} bytes")
        return super().__new__(cls, value)

    @classmethod
    def mint(cls, *, wall_ms: int, random_bytes: Callable[[int], bytes]) -> MessageId:
        """Make a new one.

        Args:
            wall_ms: Milliseconds since 1970.
            random_bytes: Where the 74 random bits come from.
        """
        value = bytearray(wall_ms.to_bytes(6, "big") + random_bytes(10))
        value[6] = 0x70 | value[6] & 0x0F
        value[8] = 0x80 | value[8] & 0x3F
        return cls(bytes(value))

    @classmethod
    def derive(cls, name: bytes) -> MessageId:
        """The id that belongs to a name for ever (UUID version 8, RFC 9562, section 5.8: blake2b-128 of the name)."""
        value = bytearray(blake2b(name, digest_size=16, person=b"wk-message").digest())
        value[6] = 0x80 | value[6] & 0x0F
        value[8] = 0x80 | value[8] & 0x3F
        return cls(bytes(value))

    @classmethod
    def parse(cls, text: str) -> MessageId:
        """Read the text form, a UUID.

        Raises:
            MalformedIdError: It is not a lower-case UUID.
        """
        if not _UUID.fullmatch(text):
            raise MalformedIdError(kind="message", expected="a lower-case UUID", found=text)
        return cls(uuid.UUID(text).bytes)

    @property
    def minted_at_ms(self) -> int:
        """The sender's clock when the id was minted, milliseconds since 1970: a claim, not a fact."""
        return int.from_bytes(self[:6], "big")

    def __str__(self) -> str:
        return str(uuid.UUID(bytes=bytes(self)))

    def __repr__(self) -> str:
        return f"MessageId({self})"


class ConversationId(str):
    """A conversation: 1 to `MAX_CONVERSATION_ID_CHARS` characters of ``A-Z a-z 0-9 _ -``.

    Rooms that an application already has keep their own ids, if they fit.

    Raises:
        MalformedIdError: It is too long, empty or has other characters.
    """

    __slots__ = ()

    def __new__(cls, text: str | uuid.UUID) -> ConversationId:
        text = str(text)
        if not _CONVERSATION.fullmatch(text):
            expected = f"1 to {MAX_CONVERSATION_ID_CHARS} of A-Z a-z 0-9 _ -"
            raise MalformedIdError(kind="conversation", expected=expected, found=text)
        return super().__new__(cls, text)

    @classmethod
    def direct(cls, one: UserId, other: UserId) -> ConversationId:
        """The conversation of two users: the same id whoever of them asks (blake2b-128 of both, sorted)."""
        both = "\n".join(sorted((one, other))).encode()
        return cls(blake2b(both, digest_size=16, person=b"wk-direct").hexdigest())

    @classmethod
    def mint(cls, *, random_bytes: Callable[[int], bytes]) -> ConversationId:
        """Make the id of a new group: 32 hexadecimal characters."""
        return cls(random_bytes(16).hex())


class BlobId(str):
    """An attachment on the server: 32 lower-case hexadecimal characters that nobody can guess.

    Raises:
        MalformedIdError: It is not of that form.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> BlobId:
        if not _BLOB.fullmatch(text):
            raise MalformedIdError(kind="blob", expected="32 hexadecimal characters", found=text)
        return super().__new__(cls, text)

    @classmethod
    def mint(cls, *, random_bytes: Callable[[int], bytes]) -> BlobId:
        """Make a new one."""
        return cls(random_bytes(16).hex())


class GatewayId(str):
    """The name of a gateway: 1 to `MAX_GATEWAY_ID_CHARS` characters of ``A-Z a-z 0-9 _ . -``.

    Raises:
        MalformedIdError: It is too long, empty or has other characters.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> GatewayId:
        if not _GATEWAY.fullmatch(text):
            expected = f"1 to {MAX_GATEWAY_ID_CHARS} of A-Z a-z 0-9 _ . -"
            raise MalformedIdError(kind="gateway", expected=expected, found=text)
        return super().__new__(cls, text)


class Owner(NamedTuple):
    """One life of a gateway: what it noted before it died is adopted under this name.

    Attributes:
        gateway: Its name, the same after a restart.
        incarnation: Raised at every start and after every fence; ordered over all gateways, because it
            begins with the clock (milliseconds since 1970), which lets old fences be folded into one number.
    """

    gateway: GatewayId
    incarnation: int
