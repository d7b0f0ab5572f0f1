"""All frames of the wire, declared once: what travels between a device and its gateway.

Each frame is a NamedTuple, written out so that type checkers and readers see it; `FRAMES` is the table that
gives it a code, a direction and the kind of each field. Decoder, checks, JSON form and the page in the docs are
made from the table, and a test holds table and classes together. On the wire a frame is the array
``[code, field, field, ...]``. Codes and the numbers of enumerations are fixed for ever.

Use it as a namespace (``from whisperkit.sync import frames``; ``frames.Send``): the names are those of the wire.
Two NamedTuples with equal fields are equal whatever their class: look at the type first.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, IntFlag
from typing import Any, Final, NamedTuple, TypeAlias

from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq, MessageId, UserId
from whisperkit.strategy import Strategy
from whisperkit.sync import fields as of
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.fields import Field

__all__ = [
    "ASIDES",
    "BY_CODE",
    "BY_TYPE",
    "CHANGE",
    "FRAMES",
    "ITEM",
    "MAX_CHANGE_USERS",
    "MAX_CONVERSATIONS",
    "MAX_DEVICES",
    "MAX_MEMBERS",
    "MAX_NAME_CHARS",
    "MAX_ONE_TIME_KEYS",
    "MAX_OWN_BYTES",
    "MAX_OWN_COPIES",
    "MAX_ROWS",
    "MAX_SHARED_BYTES",
    "MAX_SNAPSHOT_ITEMS",
    "MAX_USERS",
    "PROTOCOL_VERSION",
    "Ack",
    "Answer",
    "Aside",
    "AsideOk",
    "Beat",
    "Bundle",
    "BundleKeys",
    "Bye",
    "ByeCode",
    "Challenge",
    "DeviceList",
    "DeviceLists",
    "Devices",
    "Direction",
    "Entry",
    "EntryKind",
    "Failed",
    "FailureReason",
    "Follow",
    "Frame",
    "FrameSpec",
    "Head",
    "Hello",
    "KyberKey",
    "Link",
    "Linked",
    "ListedDevice",
    "Mark",
    "MarkKind",
    "Marks",
    "OneTimeKey",
    "Presence",
    "PresenceState",
    "Publish",
    "Published",
    "Pull",
    "Range",
    "Read",
    "RefusalReason",
    "Refused",
    "Register",
    "Registered",
    "RosterChange",
    "Rows",
    "Send",
    "Sent",
    "SignedKey",
    "Snapshot",
    "SnapshotItem",
    "StoredRow",
    "Take",
    "Typing",
    "Unlink",
    "Watch",
    "Welcome",
]

PROTOCOL_VERSION: Final = 1

# A row of an inbox is one ENTRY, own copy and shared text together, and a row is at most 1 MiB; what is larger
# than a long text belongs into an attachment.
MAX_SHARED_BYTES: Final = 256 << 10
MAX_OWN_BYTES: Final = 256 << 10
# A batch of `finish` is 256 devices; a sender key for more devices travels in ASIDEs before the post.
MAX_OWN_COPIES: Final = 256
# Whom a sender of a small group has to name: below 200 users, five devices each.
MAX_DEVICES: Final = 1_024
# 38 bytes a user: a thousand of them are 38 KiB in each row that carries the change.
MAX_CHANGE_USERS: Final = 1_000
# A pushed conversation has at most 5,000 members, plus those that one change brings above the limit.
MAX_MEMBERS: Final = 6_000
MAX_ROWS: Final = 256
MAX_SNAPSHOT_ITEMS: Final = 256
MAX_CONVERSATIONS: Final = 1_024
# Each of a hundred users may have 127 devices of 45 bytes, and the answer is one frame.
MAX_USERS: Final = 100
MAX_ONE_TIME_KEYS: Final = 100
MAX_NAME_CHARS: Final = 64

ASIDES: Final = ConversationId("_")
"""What an ENTRY of kind ASIDE has for a conversation, since it is in none: only its `kind` tells an aside."""


class Direction(IntFlag):
    """Who may send a frame."""

    TO_SERVER = 1
    TO_CLIENT = 2
    BOTH = 3


# ---- enumerations ---------------------------------------------------------------------------------------------------


class EntryKind(IntEnum):
    """What an entry is."""

    MESSAGE = 1
    """A ciphertext."""
    ROSTER = 2
    """Members came or went; `shared` holds the change (`codec.decode_change`), and its seq is the roster version.

    For users whom it brings into a conversation that was there, `own` holds its state (`codec.decode_item`).
    """
    MODE = 3
    """Rows from here on travel by another strategy; `shared` is one byte, the number of the `Strategy`."""
    VOID = 4
    """In a SEND only: the message under this number was given up."""
    PLACEHOLDER = 5
    """A message that named other devices, not this one: ask its sender for a copy."""
    ASIDE = 6
    """From device to device, outside every order: conversation `ASIDES`, `conv_seq` 0."""


class Answer(IntEnum):
    """What the server makes of a cursor."""

    DELTA = 1
    """The log goes on from it: entries follow."""
    SNAPSHOT = 2
    """What follows it is gone, or there was none: a snapshot follows."""
    FORKED = 3
    """The log has another entry at its place, or is of another epoch: a snapshot follows."""
    AHEAD = 4
    """The log ends before it: a snapshot follows."""


class RefusalReason(IntEnum):
    """Why a SEND was not taken, and what `number` holds then; 0 where nothing is said."""

    STALE_OUTBOX = 1
    """The number was used: `number` is the outbox epoch that the conversation is at; go above it."""
    SEND_FIRST = 2
    """A number is skipped: `number` is the one to send first."""
    ROSTER_MOVED = 3
    """Encrypted for other members: `number` is the roster version now."""
    NOT_MEMBER = 4
    """The user is no member, or there is no such conversation."""
    STALE_DEVICES = 5
    """Encrypted for other devices: see `missing` and `extra`."""
    TOO_LARGE = 6
    """Over the server's limit: `number` is that limit, in bytes or devices."""
    TRY_LATER = 7
    """The server is busy: `number` is how many milliseconds to wait."""
    INVALID = 8
    """It can never be taken: give it up."""
    NO_SUCH_USER = 9
    """The other one of the two in the conversation has no device: nobody would get it. Give it up."""


class FailureReason(IntEnum):
    """Why a request could not be fulfilled."""

    NOT_FOUND = 1
    NOT_ALLOWED = 2
    TAKEN = 3
    NOT_DRAINED = 4
    LIMIT = 5
    TRY_LATER = 6
    INVALID = 7


class MarkKind(IntEnum):
    """Which of a user's two marks in a conversation."""

    DELIVERED = 1
    READ = 2


class PresenceState(IntEnum):
    """Whether a user is there."""

    ONLINE = 1
    OFFLINE = 2
    UNKNOWN = 3


class ByeCode(IntEnum):
    """Why the server ends the connection."""

    NORMAL = 1
    """It stops or restarts: connect again."""
    RESYNC = 2
    """The socket took nothing for too long: connect again, nothing is lost."""
    SUPERSEDED = 3
    """A newer connection of this device took over: stay away until a person acts."""
    TRY_LATER = 4
    """Overloaded: connect after `retry_after_s`."""
    UNAUTHORISED = 5
    """The proof is wrong, or the device was unlinked."""
    PROTOCOL = 6
    """A frame was malformed, too large or out of turn: a fault of the program."""


# ---- parts of frames ------------------------------------------------------------------------------------------------


class RosterChange(NamedTuple):
    """Users who come and users who go, at one place in the order of a conversation."""

    added: tuple[UserId, ...] = ()
    removed: tuple[UserId, ...] = ()


class SnapshotItem(NamedTuple):
    """A conversation as it is now; entries up to `seq` that arrive later change nothing in it.

    Attributes:
        conv: Which one.
        seq: Its head: roster and strategy hold as of here.
        roster_seq: The seq of its last roster change.
        strategy: In force after `seq`.
        members: All of them; empty for `Strategy.MEGA`.
        read_upto: How far this user has read, on any device.
    """

    conv: ConversationId
    seq: ConversationSeq
    roster_seq: ConversationSeq
    strategy: Strategy
    members: tuple[UserId, ...]
    read_upto: ConversationSeq


class StoredRow(NamedTuple):
    """A row of a conversation as RANGE finds it: an ENTRY without its place in an inbox."""

    message_id: MessageId
    kind: EntryKind
    conv_seq: ConversationSeq
    sender: DeviceId | None
    at_ms: int
    own: bytes | None
    shared: bytes | None


class SignedKey(NamedTuple):
    """A signed EC prekey: number, public key of 33 bytes, signature by the identity key."""

    number: int
    key: bytes
    signature: bytes


class KyberKey(NamedTuple):
    """A Kyber-1024 prekey: number, public key of 1,569 bytes, signature by the identity key."""

    number: int
    key: bytes
    signature: bytes


class OneTimeKey(NamedTuple):
    """A one-time EC prekey: number, public key of 33 bytes."""

    number: int
    key: bytes


class BundleKeys(NamedTuple):
    """What it takes to open a session with a device.

    Attributes:
        registration_id: Of the device.
        identity_key: Its public half, 33 bytes.
        signed: The signed EC prekey.
        kyber: A Kyber prekey, for one use unless `is_last_resort`.
        is_last_resort: Whether the one-time Kyber keys have run out.
        one_time: A one-time EC prekey; `None` if they have run out.
    """

    registration_id: int
    identity_key: bytes
    signed: SignedKey
    kyber: KyberKey
    is_last_resort: bool
    one_time: OneTimeKey | None


class ListedDevice(NamedTuple):
    """A device in the list of its user."""

    number: int
    identity_key: bytes
    registration_id: int


class DeviceList(NamedTuple):
    """The devices of a user; the version is raised by every change."""

    user: UserId
    version: int
    devices: tuple[ListedDevice, ...]


# ---- opening and closing --------------------------------------------------------------------------------------------


class Challenge(NamedTuple):
    """S: the first frame of a connection. The device signs `nonce`, 32 bytes (`connection.challenge_message`)."""

    version: int
    nonce: bytes


class Register(NamedTuple):
    """C: make a new user with this first device. `proof` signs `connection.register_message`."""

    device: DeviceId
    identity_key: bytes
    registration_id: int
    name: str
    proof: bytes


class Registered(NamedTuple):
    """S: the user is there; HELLO comes next."""


class Hello(NamedTuple):
    """C: here is a device, with what it has.

    Attributes:
        version: Of the protocol, `PROTOCOL_VERSION`.
        device: Who it is.
        connection_no: Raised at every attempt, at least the device's clock in milliseconds.
        cursor: The saved frontier, and an ACK; `None` for a new device, which takes a snapshot.
        proof: A signature by the identity key; `None` where the application's own login stands for it.
    """

    version: int
    device: DeviceId
    connection_no: int
    cursor: Cursor | None
    proof: bytes | None


class Welcome(NamedTuple):
    """S: the answer to the cursor of HELLO or PULL; after DELTA come entries, after the others a snapshot."""

    answer: Answer
    head: Cursor
    floor: Cursor


class Snapshot(NamedTuple):
    """S: one part of the state as of now, with the cursor from which entries go on: the floor.

    Attributes:
        cursor: The same in all parts.
        part: 0, 1, 2 ...
        is_last: Whether the snapshot is whole with this part.
        items: Conversations; together, all of the user's.
    """

    cursor: Cursor
    part: int
    is_last: bool
    items: tuple[SnapshotItem, ...]


class Bye(NamedTuple):
    """S: the last frame. `retry_after_s` is `None` if a person has to act first."""

    code: ByeCode
    retry_after_s: int | None


class Beat(NamedTuple):
    """C: a sign of life; HEAD answers it."""


class Head(NamedTuple):
    """S: where the inbox ends, and where followed conversations end that are pulled."""

    cursor: Cursor
    conversations: Mapping[ConversationId, ConversationSeq]


# ---- the inbox ------------------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """S: one entry of the device's inbox.

    Attributes:
        seq: Its number, dense.
        tag: Its link in the chain of tags, 8 bytes.
        message_id: Minted by the sender.
        kind: What it is.
        conv: Its conversation.
        conv_seq: Its place there.
        pull_upto: The last row below it that was not pushed and has to be fetched first; 0 for none.
        sender: The sending device; `None` if the service itself posted it.
        at_ms: When the server took it, milliseconds since 1970.
        own: The copy for this device alone.
        shared: The part that is the same for all.
    """

    seq: InboxSeq
    tag: bytes
    message_id: MessageId
    kind: EntryKind
    conv: ConversationId
    conv_seq: ConversationSeq
    pull_upto: ConversationSeq
    sender: DeviceId | None
    at_ms: int
    own: bytes | None
    shared: bytes | None


class Ack(NamedTuple):
    """C: everything up to this cursor is saved on the device."""

    cursor: Cursor


class Pull(NamedTuple):
    """C: send again what follows this cursor, which is an ACK too."""

    cursor: Cursor


class Follow(NamedTuple):
    """C: name the conversations whose heads HEAD shall carry, instead of those named before."""

    convs: tuple[ConversationId, ...]


class Range(NamedTuple):
    """C: read the rows of a conversation that were not pushed, above `after`, up to and including `upto`."""

    conv: ConversationId
    after: ConversationSeq
    upto: ConversationSeq
    limit: int


class Rows(NamedTuple):
    """S: the answer to RANGE: the rows for this user that were not pushed, and the MODE rows between them.

    A pushed row has its place in the inbox, and some have copies that are nowhere else: here it would come out of turn,
    and its entry would then be dropped as a repeat.

    Attributes:
        conv: Which conversation.
        after: As asked.
        upto: How far the answer reaches: as asked, unless the limit came first.
        rows: In order; not every seq has one for this user.
        head: The conversation's last seq.
    """

    conv: ConversationId
    after: ConversationSeq
    upto: ConversationSeq
    rows: tuple[StoredRow, ...]
    head: ConversationSeq


# ---- sending --------------------------------------------------------------------------------------------------------


class Send(NamedTuple):
    """C: post to a conversation.

    Attributes:
        conv: Where.
        outbox_epoch: With `outbox_seq` the number of the message in this conversation, for good.
        outbox_seq: Dense from 1 in each epoch.
        message_id: The message's identity.
        kind: MESSAGE, ROSTER or VOID.
        if_roster: Refuse if the roster is at another version; `None` for no condition.
        devices: All devices that can read it; empty where the server has nothing to compare.
        change: Who comes and goes, for ROSTER.
        shared: The part that is the same for all.
        own: Copies for single devices.
    """

    conv: ConversationId
    outbox_epoch: int
    outbox_seq: int
    message_id: MessageId
    kind: EntryKind
    if_roster: ConversationSeq | None
    devices: tuple[DeviceId, ...]
    change: RosterChange | None
    shared: bytes | None
    own: Mapping[DeviceId, bytes] | None


class Sent(NamedTuple):
    """S: the message has its place, and from here on needs nobody. `conv_seq` is 0 for a VOID that was taken.

    `at_ms` is the time that others see on the message; to a repeat, that of the answer.
    """

    conv: ConversationId
    outbox_epoch: int
    outbox_seq: int
    message_id: MessageId
    conv_seq: ConversationSeq
    at_ms: int


class Refused(NamedTuple):
    """S: the message was not taken, and its number neither; see `RefusalReason` for what `number` means."""

    conv: ConversationId
    outbox_epoch: int
    outbox_seq: int
    message_id: MessageId
    reason: RefusalReason
    number: int
    missing: tuple[DeviceId, ...]
    extra: tuple[DeviceId, ...]


class Aside(NamedTuple):
    """C: from device to device, outside the order, at least once."""

    message_id: MessageId
    own: Mapping[DeviceId, bytes]


class AsideOk(NamedTuple):
    """S: the aside is in the inbox of each device that still is there."""

    message_id: MessageId


# ---- keys and devices -----------------------------------------------------------------------------------------------


class Publish(NamedTuple):
    """C: public halves of prekeys. The signed key and the last resort replace the old ones, the others are added."""

    request: MessageId
    signed: SignedKey
    last_resort: KyberKey
    one_time: tuple[OneTimeKey, ...]
    kyber: tuple[KyberKey, ...]


class Published(NamedTuple):
    """S: how many one-time keys are there now."""

    request: MessageId
    ec_count: int
    kyber_count: int


class Take(NamedTuple):
    """C: take a bundle of a device; the same request gets the same bundle for an hour."""

    request: MessageId
    device: DeviceId


class Bundle(NamedTuple):
    """S: a bundle; `None` if the device has published nothing, or is gone."""

    request: MessageId
    device: DeviceId
    keys: BundleKeys | None


class Devices(NamedTuple):
    """C: ask for the lists of devices of users."""

    request: MessageId
    users: tuple[UserId, ...]


class DeviceLists(NamedTuple):
    """S: the lists; a user that does not exist is left out."""

    request: MessageId
    lists: tuple[DeviceList, ...]


class Link(NamedTuple):
    """C: add a device to the own user."""

    request: MessageId
    number: int
    identity_key: bytes
    registration_id: int


class Unlink(NamedTuple):
    """C: remove a device of the own user."""

    request: MessageId
    number: int


class Linked(NamedTuple):
    """S: LINK or UNLINK is done; the version of the list is this."""

    request: MessageId
    version: int


class Failed(NamedTuple):
    """S: a request could not be fulfilled."""

    request: MessageId
    reason: FailureReason
    detail: str


# ---- marks, presence ------------------------------------------------------------------------------------------------


class Read(NamedTuple):
    """C: everything in the conversation up to here was read."""

    conv: ConversationId
    upto: ConversationSeq


class Marks(NamedTuple):
    """C: ask for the marks of conversations; a MARK for each answers, some of which may be lost."""

    convs: tuple[ConversationId, ...]


class Mark(NamedTuple):
    """S: a user's mark in a conversation; it only ever rises."""

    conv: ConversationId
    user: UserId
    kind: MarkKind
    upto: ConversationSeq


class Watch(NamedTuple):
    """C: name the users whose presence is wanted, instead of those named before."""

    users: tuple[UserId, ...]


class Presence(NamedTuple):
    """S: whether a user is there. `is_certain` is false while the registry is too young to know."""

    user: UserId
    state: PresenceState
    last_seen_ms: int | None
    is_certain: bool


class Typing(NamedTuple):
    """C and S: the user is typing."""

    conv: ConversationId
    user: UserId


# ---- the table ------------------------------------------------------------------------------------------------------

Frame: TypeAlias = (
    Challenge
    | Register
    | Registered
    | Hello
    | Welcome
    | Bye
    | Beat
    | Head
    | Entry
    | Ack
    | Pull
    | Snapshot
    | Follow
    | Range
    | Rows
    | Send
    | Sent
    | Refused
    | Aside
    | AsideOk
    | Publish
    | Published
    | Take
    | Bundle
    | Devices
    | DeviceLists
    | Link
    | Unlink
    | Linked
    | Failed
    | Read
    | Marks
    | Mark
    | Watch
    | Presence
    | Typing
)


class FrameSpec(NamedTuple):
    """One line of the table.

    Attributes:
        code: The first element of the array.
        name: What the docs and the errors call it.
        type: Its class.
        direction: Who may send it.
        fields: The elements that follow the code.
    """

    code: int
    name: str
    type: type[tuple[Any, ...]]  # the NamedTuple class; each has its own field types
    direction: Direction
    fields: tuple[Field, ...]


_REQUEST = Field("request", of.MESSAGE_ID)
_CONV = Field("conv", of.CONVERSATION)
_CONVS = Field("convs", of.Array(of.CONVERSATION, MAX_CONVERSATIONS))
_CURSOR_FIELD = Field("cursor", of.CURSOR)
_UPTO = Field("upto", of.SEQ)
_DEVICE = Field("device", of.DEVICE)
_MESSAGE_ID = Field("message_id", of.MESSAGE_ID)
_KIND = Field("kind", of.Choice(EntryKind))
_SENDER = Field("sender", of.Nullable(of.DEVICE))
_AT_MS = Field("at_ms", of.Number())
_VERSION = Field("version", of.Number())
# Signal's device numbers fit seven bits, its registration ids fourteen, its prekey numbers twenty-four.
_DEVICE_NUMBER = Field("number", of.Number(1, 127))
_REGISTRATION = Field("registration_id", of.Number(0, (1 << 14) - 1))
_KEY_NUMBER = Field("number", of.Number(0, (1 << 24) - 1))
_EC_KEY = Field("key", of.Bytes(33, 33))
_IDENTITY_KEY = Field("identity_key", of.Bytes(33, 33))
_SIGNATURE = Field("signature", of.Bytes(64, 64))
_OWN_COPY = Field("own", of.Nullable(of.Bytes(0, MAX_OWN_BYTES)))
_SHARED = Field("shared", of.Nullable(of.Bytes(0, MAX_SHARED_BYTES)))
_OWN_COPIES = of.Map(of.DEVICE, of.Bytes(0, MAX_OWN_BYTES), MAX_OWN_COPIES)
_OUTBOX = (Field("outbox_epoch", of.Number(1)), Field("outbox_seq", of.Number(1)))
_NAMED_DEVICES = of.Array(of.DEVICE, MAX_DEVICES)

CHANGE: Final = of.Record(
    RosterChange,
    (Field("added", of.Array(of.USER, MAX_CHANGE_USERS)), Field("removed", of.Array(of.USER, MAX_CHANGE_USERS))),
)
ITEM: Final = of.Record(
    SnapshotItem,
    (
        _CONV,
        Field("seq", of.SEQ),
        Field("roster_seq", of.SEQ),
        Field("strategy", of.Choice(Strategy)),
        Field("members", of.Array(of.USER, MAX_MEMBERS)),
        Field("read_upto", of.SEQ),
    ),
)
_ROW = of.Record(StoredRow, (_MESSAGE_ID, _KIND, Field("conv_seq", of.SEQ), _SENDER, _AT_MS, _OWN_COPY, _SHARED))
_SIGNED = of.Record(SignedKey, (_KEY_NUMBER, _EC_KEY, _SIGNATURE))
_KYBER = of.Record(KyberKey, (_KEY_NUMBER, Field("key", of.Bytes(1_569, 1_569)), _SIGNATURE))
_ONE_TIME = of.Record(OneTimeKey, (_KEY_NUMBER, _EC_KEY))
_BUNDLE = of.Record(
    BundleKeys,
    (
        _REGISTRATION,
        _IDENTITY_KEY,
        Field("signed", _SIGNED),
        Field("kyber", _KYBER),
        Field("is_last_resort", of.FLAG),
        Field("one_time", of.Nullable(_ONE_TIME)),
    ),
)
_LISTED = of.Record(ListedDevice, (_DEVICE_NUMBER, _IDENTITY_KEY, _REGISTRATION))
_LIST = of.Record(DeviceList, (Field("user", of.USER), _VERSION, Field("devices", of.Array(_LISTED, 127))))

_TO_SERVER, _TO_CLIENT = Direction.TO_SERVER, Direction.TO_CLIENT

FRAMES: Final[tuple[FrameSpec, ...]] = (
    FrameSpec(1, "CHALLENGE", Challenge, _TO_CLIENT, (_VERSION, Field("nonce", of.Bytes(32, 32)))),
    FrameSpec(
        2,
        "REGISTER",
        Register,
        _TO_SERVER,
        (
            _DEVICE,
            _IDENTITY_KEY,
            _REGISTRATION,
            Field("name", of.Text(MAX_NAME_CHARS)),
            Field("proof", of.Bytes(64, 64)),
        ),
    ),
    FrameSpec(3, "REGISTERED", Registered, _TO_CLIENT, ()),
    FrameSpec(
        4,
        "HELLO",
        Hello,
        _TO_SERVER,
        (
            _VERSION,
            _DEVICE,
            Field("connection_no", of.Number()),
            Field("cursor", of.Nullable(of.CURSOR)),
            Field("proof", of.Nullable(of.Bytes(64, 64))),
        ),
    ),
    FrameSpec(
        5,
        "WELCOME",
        Welcome,
        _TO_CLIENT,
        (Field("answer", of.Choice(Answer)), Field("head", of.CURSOR), Field("floor", of.CURSOR)),
    ),
    FrameSpec(
        6,
        "BYE",
        Bye,
        _TO_CLIENT,
        (Field("code", of.Choice(ByeCode)), Field("retry_after_s", of.Nullable(of.Number(0, 86_400)))),
    ),
    FrameSpec(7, "BEAT", Beat, _TO_SERVER, ()),
    FrameSpec(
        8,
        "HEAD",
        Head,
        _TO_CLIENT,
        (_CURSOR_FIELD, Field("conversations", of.Map(of.CONVERSATION, of.SEQ, MAX_CONVERSATIONS))),
    ),
    # The first bytes of an ENTRY are the only ones that differ from copy to copy; see `codec.entry_head`.
    FrameSpec(
        16,
        "ENTRY",
        Entry,
        _TO_CLIENT,
        (
            Field("seq", of.Number(1)),
            Field("tag", of.Bytes(8, 8)),
            _MESSAGE_ID,
            _KIND,
            _CONV,
            Field("conv_seq", of.SEQ),
            Field("pull_upto", of.SEQ),
            _SENDER,
            _AT_MS,
            _OWN_COPY,
            _SHARED,
        ),
    ),
    FrameSpec(17, "ACK", Ack, _TO_SERVER, (_CURSOR_FIELD,)),
    FrameSpec(18, "PULL", Pull, _TO_SERVER, (_CURSOR_FIELD,)),
    FrameSpec(
        19,
        "SNAPSHOT",
        Snapshot,
        _TO_CLIENT,
        (
            _CURSOR_FIELD,
            Field("part", of.Number()),
            Field("is_last", of.FLAG),
            Field("items", of.Array(ITEM, MAX_SNAPSHOT_ITEMS)),
        ),
    ),
    FrameSpec(20, "FOLLOW", Follow, _TO_SERVER, (_CONVS,)),
    FrameSpec(
        21, "RANGE", Range, _TO_SERVER, (_CONV, Field("after", of.SEQ), _UPTO, Field("limit", of.Number(1, MAX_ROWS)))
    ),
    FrameSpec(
        22,
        "ROWS",
        Rows,
        _TO_CLIENT,
        (_CONV, Field("after", of.SEQ), _UPTO, Field("rows", of.Array(_ROW, MAX_ROWS)), Field("head", of.SEQ)),
    ),
    FrameSpec(
        32,
        "SEND",
        Send,
        _TO_SERVER,
        (
            _CONV,
            *_OUTBOX,
            _MESSAGE_ID,
            _KIND,
            Field("if_roster", of.Nullable(of.SEQ)),
            Field("devices", _NAMED_DEVICES),
            Field("change", of.Nullable(CHANGE)),
            _SHARED,
            Field("own", of.Nullable(_OWN_COPIES)),
        ),
    ),
    FrameSpec(33, "SENT", Sent, _TO_CLIENT, (_CONV, *_OUTBOX, _MESSAGE_ID, Field("conv_seq", of.SEQ), _AT_MS)),
    FrameSpec(
        34,
        "REFUSED",
        Refused,
        _TO_CLIENT,
        (
            _CONV,
            *_OUTBOX,
            _MESSAGE_ID,
            Field("reason", of.Choice(RefusalReason)),
            Field("number", of.Number()),
            Field("missing", _NAMED_DEVICES),
            Field("extra", _NAMED_DEVICES),
        ),
    ),
    FrameSpec(35, "ASIDE", Aside, _TO_SERVER, (_MESSAGE_ID, Field("own", _OWN_COPIES))),
    FrameSpec(36, "ASIDE_OK", AsideOk, _TO_CLIENT, (_MESSAGE_ID,)),
    FrameSpec(
        48,
        "PUBLISH",
        Publish,
        _TO_SERVER,
        (
            _REQUEST,
            Field("signed", _SIGNED),
            Field("last_resort", _KYBER),
            Field("one_time", of.Array(_ONE_TIME, MAX_ONE_TIME_KEYS)),
            Field("kyber", of.Array(_KYBER, MAX_ONE_TIME_KEYS)),
        ),
    ),
    FrameSpec(
        49,
        "PUBLISHED",
        Published,
        _TO_CLIENT,
        (_REQUEST, Field("ec_count", of.Number()), Field("kyber_count", of.Number())),
    ),
    FrameSpec(50, "TAKE", Take, _TO_SERVER, (_REQUEST, _DEVICE)),
    FrameSpec(51, "BUNDLE", Bundle, _TO_CLIENT, (_REQUEST, _DEVICE, Field("keys", of.Nullable(_BUNDLE)))),
    FrameSpec(52, "DEVICES", Devices, _TO_SERVER, (_REQUEST, Field("users", of.Array(of.USER, MAX_USERS)))),
    FrameSpec(53, "DEVICE_LISTS", DeviceLists, _TO_CLIENT, (_REQUEST, Field("lists", of.Array(_LIST, MAX_USERS)))),
    FrameSpec(54, "LINK", Link, _TO_SERVER, (_REQUEST, _DEVICE_NUMBER, _IDENTITY_KEY, _REGISTRATION)),
    FrameSpec(55, "UNLINK", Unlink, _TO_SERVER, (_REQUEST, _DEVICE_NUMBER)),
    FrameSpec(56, "LINKED", Linked, _TO_CLIENT, (_REQUEST, _VERSION)),
    FrameSpec(
        57,
        "FAILED",
        Failed,
        _TO_CLIENT,
        (_REQUEST, Field("reason", of.Choice(FailureReason)), Field("detail", of.Text(200))),
    ),
    FrameSpec(64, "READ", Read, _TO_SERVER, (_CONV, _UPTO)),
    FrameSpec(65, "MARKS", Marks, _TO_SERVER, (_CONVS,)),
    FrameSpec(66, "MARK", Mark, _TO_CLIENT, (_CONV, Field("user", of.USER), Field("kind", of.Choice(MarkKind)), _UPTO)),
    FrameSpec(67, "WATCH", Watch, _TO_SERVER, (Field("users", of.Array(of.USER, MAX_USERS)),)),
    FrameSpec(
        68,
        "PRESENCE",
        Presence,
        _TO_CLIENT,
        (
            Field("user", of.USER),
            Field("state", of.Choice(PresenceState)),
            Field("last_seen_ms", of.Nullable(of.Number())),
            Field("is_certain", of.FLAG),
        ),
    ),
    FrameSpec(69, "TYPING", Typing, Direction.BOTH, (_CONV, Field("user", of.USER))),
)

BY_CODE: Final = {spec.code: spec for spec in FRAMES}
BY_TYPE: Final[dict[type[tuple[Any, ...]], FrameSpec]] = {spec.type: spec for spec in FRAMES}
