"""Every error of the library, on one page, sorted by one question: whose turn is it?

    WhisperError
        UsageError             the caller broke the contract: fix the program
        ActionRequiredError    nobody's fault: do the named thing, then call again
        PeerError              the other side or the wire did it: drop it and carry on
        StoreError             an adapter could not keep its promise
        TransportError         a link or a bus is gone: connect again

The text says what happened, with the two things that disagree; a note says what to do, and another gives the code;
attributes hold the same as data; `code` is stable and names the page in the docs. No error ever holds a secret key or
a plaintext.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

if TYPE_CHECKING:
    from whisperkit.ids import ConversationId, DeviceId, UserId
    from whisperkit.partitions import Head, Partition

__all__ = [
    "ActionRequiredError",
    "AttachmentError",
    "AuthenticationError",
    "BlobGoneError",
    "ConflictError",
    "CorruptStateError",
    "DuplicateMessageError",
    "InvalidCertificateError",
    "InvalidKeyError",
    "InvalidMessageError",
    "InvalidSignatureError",
    "LinkClosedError",
    "MalformedFrameError",
    "MalformedIdError",
    "NoSenderKeyError",
    "NoSessionError",
    "NoSuchUserError",
    "NotMemberError",
    "OutOfTurnError",
    "OutboxFullError",
    "OutcomeUnknownError",
    "OversizedFrameError",
    "PeerError",
    "RegistrationIdError",
    "RosterMovedError",
    "SelfSendError",
    "SendFirstError",
    "SkippedTooFarError",
    "StaleCertificateError",
    "StaleDevicesError",
    "StaleOutboxError",
    "StoreError",
    "StoreLockedError",
    "StoreVersionError",
    "TransportError",
    "UnauthorisedError",
    "UnknownPreKeyError",
    "UnsupportedVersionError",
    "UntrustedIdentityError",
    "UsageError",
    "WhisperError",
]


class WhisperError(Exception):
    """The base of all errors of the library.

    Attributes:
        code: A stable name, such as ``ratchet.duplicate``; also the name of its page in the docs. The last of the notes
            that an error is made with.
        advice: What to do about it; attached as a note to each error. An error without its own has that of its base.
    """

    code: str = "whisperkit"
    advice: ClassVar[str | None] = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        if self.advice is not None:
            self.add_note(self.advice)
        self.add_note(f"code: {self.code}")


# ---- the caller -----------------------------------------------------------------------------------------------------


UsageCode: TypeAlias = Literal[
    "usage.device-in-store",
    "usage.identity",
    "usage.message-type",
    "usage.no-carrier",
    "usage.no-such-message",
    "usage.not-running",
    "usage.outbox-seq",
    "usage.spans-partitions",
    "usage.too-large",
    "usage.unhandled",
]
"""The mistakes that have a page of their own."""


class UsageError(WhisperError):
    """The caller broke the contract of a call: fix the program. Its text says what the call takes, and what it got.

    There is one class for all such mistakes, since no program catches them one by one; those that people look up have
    a code of their own instead of ``usage``.
    """

    code = "usage"
    # By code: what was wrong, and what to do instead. For the pages: a text of this error needs no note.
    misuses: ClassVar[Mapping[UsageCode, tuple[str, str]]] = MappingProxyType(
        {
            "usage.device-in-store": (
                "A store has no device, or has one already, or has another than the one that was asked for.",
                "Make a device in an empty store with create, and go on with it with open; each device has a store, or "
                "a partition of one, that is its own.",
            ),
            "usage.identity": (
                "A device was used before it had an identity key, or was given a second one.",
                "Call create_identity once and save what it returns; then hand the saved records in with each call.",
            ),
            "usage.message-type": (
                "An encrypted message was given to a call for another type of message.",
                "Look at the type: SENDER_KEY goes to group_decrypt, PREKEY and WHISPER go to decrypt; what came "
                "sealed and says that something could not be decrypted goes to decryption_error.",
            ),
            "usage.no-carrier": (
                "A client that was made without blobs was asked to carry an attachment.",
                "Make the client with blobs=, which moves encrypted bytes to and from your server.",
            ),
            "usage.no-such-message": (
                "A message that was named is not there, or is not in the state that the call is for.",
                "Take ids and numbers from what send returned or from the history; only a message that failed can be "
                "sent again or given up.",
            ),
            "usage.not-running": (
                "A service or a runtime was used before it was opened, or after it was closed.",
                "Use it inside of its async with.",
            ),
            "usage.outbox-seq": (
                "An outbox number is below 1, or belongs to a message that was given up.",
                "Number what a device sends into one conversation 1, 2, 3 and so on; a number belongs to its message "
                "for good, whatever became of it. The Outbox does this by itself.",
            ),
            "usage.spans-partitions": (
                "A store whose spans_partitions is false was handed several changes in one commit.",
                "Commit one change at a time, or let transact do it; say spans_partitions = True if the database can.",
            ),
            "usage.too-large": (
                "Something is larger than the limit that its text names.",
                "Make it smaller, or cut it into pieces; the limits are constants, and their comments say why.",
            ),
            "usage.unhandled": (
                "messages() was called on a client that keeps no messages until they are handled.",
                "Make the client with keeps_unhandled=True, as a bot does; events() shows what comes without it.",
            ),
        }
    )

    def __init__(self, message: str, *, code: UsageCode | None = None) -> None:
        if code is not None:
            self.code = code
        super().__init__(message)


# ---- do something, then call again ----------------------------------------------------------------------------------


class ActionRequiredError(WhisperError):
    """Nobody's fault: do the named thing, then call again."""

    code = "action"
    advice = "do what the text says, then call again"


class NoSessionError(ActionRequiredError):
    """There is no session with the device.

    Attributes:
        remote: The device.
        known: Devices of the same user with which there is one.
    """

    code = "ratchet.no-session"
    advice = "fetch the device's prekey bundle, then process_bundle"

    def __init__(self, *, remote: DeviceId, known: int = 0) -> None:
        super().__init__(f"no session with {remote}; known devices of that user: {known}")
        self.remote = remote
        self.known = known


class NoSenderKeyError(ActionRequiredError):
    """A group message came from a device whose sender key has not arrived.

    Attributes:
        remote: The sending device.
        distribution: The distribution id (UUID text) that the message names.
    """

    code = "ratchet.no-sender-key"
    advice = "ask the sender's device for its sender key, and keep the message"

    def __init__(self, *, remote: DeviceId, distribution: str) -> None:
        super().__init__(f"no sender key of {remote} for distribution {distribution}")
        self.remote = remote
        self.distribution = distribution


class UntrustedIdentityError(ActionRequiredError):
    """The device has another identity key than the one that was trusted.

    Attributes:
        remote: The device.
        found: The public key it has now, 33 bytes.
        trusted: The public key that was trusted, 33 bytes.
    """

    code = "ratchet.identity-changed"
    advice = "show both to the person; accept_identity, or keep it blocked"

    def __init__(self, *, remote: DeviceId, found: bytes, trusted: bytes) -> None:
        super().__init__(f"{remote} now has identity {found.hex()[:8]}..., {trusted.hex()[:8]}... was trusted")
        self.remote = remote
        self.found = found
        self.trusted = trusted


class StaleCertificateError(ActionRequiredError):
    """The device's own sender certificate has expired: nobody would open what is sealed with it.

    Attributes:
        expired_at_ms: The last millisecond at which it was good, milliseconds since 1970.
        wall_ms: The time at which it was to be used, likewise.
    """

    code = "ratchet.stale-certificate"
    advice = "fetch a new sender certificate from the server, then seal again"

    def __init__(self, *, expired_at_ms: int, wall_ms: int) -> None:
        super().__init__(f"the sender certificate was good until {expired_at_ms}; now is {wall_ms}")
        self.expired_at_ms = expired_at_ms
        self.wall_ms = wall_ms


class StaleDevicesError(ActionRequiredError):
    """A message named other devices than its audience has.

    Attributes:
        missing: Devices that must get a copy and were not named.
        extra: Devices that were named and must not get one.
    """

    code = "sync.stale-devices"
    advice = "encrypt for the missing devices, leave out the extra ones, and send again under the same number"

    def __init__(self, *, missing: Collection[DeviceId], extra: Collection[DeviceId]) -> None:
        super().__init__(f"the list of devices is stale: {len(missing)} missing, {len(extra)} extra")
        self.missing = frozenset(missing)
        self.extra = frozenset(extra)


class RosterMovedError(ActionRequiredError):
    """The members changed since the sender last looked.

    Attributes:
        conversation: Where.
        expected: The roster version that the sender knew.
        found: The roster version now.
    """

    code = "sync.roster-moved"
    advice = "catch up, encrypt afresh, and send again under the same number and id"

    def __init__(self, *, conversation: ConversationId, expected: int, found: int) -> None:
        super().__init__(f"the roster of {conversation} is at {found}, the message was made for {expected}")
        self.conversation = conversation
        self.expected = expected
        self.found = found


class NotMemberError(ActionRequiredError):
    """The user is not a member of the conversation.

    Attributes:
        conversation: Which one.
        user: Who.
    """

    code = "sync.not-member"
    advice = "give the message up, or be added first"

    def __init__(self, *, conversation: ConversationId, user: UserId) -> None:
        super().__init__(f"{user} is not a member of {conversation}")
        self.conversation = conversation
        self.user = user


class NoSuchUserError(ActionRequiredError):
    """The other one in a conversation of two has no device: nobody would ever get the message.

    Attributes:
        user: Who is not there.
    """

    code = "accounts.no-such-user"
    advice = "check the name; if it is right, send the message again once they have come"

    def __init__(self, *, user: UserId) -> None:
        super().__init__(f"{user} has no device")
        self.user = user


class SendFirstError(ActionRequiredError):
    """An outbox number skips one that the conversation has not seen.

    Attributes:
        device: The sending device.
        found: The number that was sent.
        expected: The number to send first.
    """

    code = "sync.send-first"
    advice = "send the expected number first; the Outbox does this by itself"

    def __init__(self, *, device: DeviceId, found: int, expected: int) -> None:
        super().__init__(f"outbox number {found} from {device} skips {expected}")
        self.device = device
        self.found = found
        self.expected = expected


class StaleOutboxError(ActionRequiredError):
    """An outbox epoch or number was used before: a restored backup, or a second process of the device.

    Attributes:
        device: The sending device.
        epoch: The outbox epoch that the conversation is at.
    """

    code = "sync.stale-outbox"
    advice = "open a higher outbox epoch for the conversation and number all pending messages from 1"

    def __init__(self, *, device: DeviceId, epoch: int) -> None:
        super().__init__(f"the outbox of {device} is behind: the conversation is at outbox epoch {epoch}")
        self.device = device
        self.epoch = epoch


class OutboxFullError(ActionRequiredError):
    """Too many messages of one conversation wait to be sent.

    Attributes:
        conversation: Which one.
        limit: How many may wait.
    """

    code = "sync.outbox-full"
    advice = "connect, or keep what the person writes as drafts until some are answered"

    def __init__(self, *, conversation: ConversationId, limit: int) -> None:
        super().__init__(f"{limit} messages already wait in {conversation}; the limit is {limit}")
        self.conversation = conversation
        self.limit = limit


class BlobGoneError(ActionRequiredError):
    """An attachment is no longer on the server, or never was.

    Attributes:
        blob: Its id.
    """

    code = "blobs.gone"
    advice = "upload it again and name the new one"

    def __init__(self, *, blob: str) -> None:
        super().__init__(f"attachment {blob} is gone")
        self.blob = blob


# ---- the other side, or the wire ------------------------------------------------------------------------------------


class PeerError(WhisperError):
    """The other side or the wire did it: drop what came and carry on. Nothing was changed."""

    code = "peer"
    advice = "drop what came and carry on; nothing was changed"


class MalformedIdError(PeerError, UsageError):
    """An id is not of its form. From the wire it is the peer's fault, from a program the caller's.

    Attributes:
        kind: Which id: ``user``, ``device``, ``message``, ``conversation``, ``blob`` or ``gateway``.
        expected: The form of such an id, in words.
        found: What was there instead, as far as its 64th character.
    """

    code = "ids.malformed"
    advice = "use an id of that form; if it came from a peer, drop what came"

    def __init__(self, *, kind: str, expected: str, found: str) -> None:
        super().__init__(f"a {kind} id is {expected}, got {found[:64]!r}")
        self.kind = kind
        self.expected = expected
        self.found = found[:64]


class MalformedFrameError(PeerError):
    """A frame is not of the form that its type asks for.

    Attributes:
        frame: The name of the frame type, or ``"frame"`` when not even that could be read.
    """

    code = "wire.malformed"

    def __init__(self, message: str, *, frame: str = "frame") -> None:
        super().__init__(f"{frame}: {message}")
        self.frame = frame


class OversizedFrameError(PeerError):
    """A frame is larger than the limit.

    Attributes:
        found: Its size in bytes.
        limit: The largest size that is accepted.
    """

    code = "wire.oversized"

    def __init__(self, *, found: int, limit: int) -> None:
        super().__init__(f"a frame of {found} bytes came; the limit is {limit}")
        self.found = found
        self.limit = limit


class OutOfTurnError(PeerError):
    """A well-formed frame came in a state of the connection that has no place for it.

    Attributes:
        frame: The name of the frame type.
        state: The name of the state.
    """

    code = "wire.out-of-turn"

    def __init__(self, *, frame: str, state: str) -> None:
        super().__init__(f"{frame} has no place in state {state}")
        self.frame = frame
        self.state = state


class UnauthorisedError(PeerError):
    """A device could not prove who it is, or asked for what is not its own."""

    code = "wire.unauthorised"
    advice = "close the link; the device has to log in, or to be linked, before it asks again"


class AuthenticationError(PeerError):
    """A MAC or an authentication tag does not fit: altered, or from another session."""

    code = "ratchet.authentication"
    advice = "drop it, or ask the sender's device to send the message again"


class InvalidMessageError(PeerError):
    """An encrypted message cannot be read: not of its form, or refused by a rule of the protocol."""

    code = "ratchet.invalid-message"


class InvalidKeyError(PeerError):
    """Bytes that should be a key are none, or one that must not be used."""

    code = "ratchet.invalid-key"


class InvalidSignatureError(PeerError):
    """A signature does not fit its key and message."""

    code = "ratchet.invalid-signature"


class InvalidCertificateError(PeerError):
    """A sealed message names its sender in a certificate that is not good: forged, revoked or expired."""

    code = "ratchet.invalid-certificate"


class SelfSendError(PeerError):
    """A sealed message was sealed by the device that is opening it."""

    code = "ratchet.self-send"
    advice = "harmless; acknowledge it"

    def __init__(self) -> None:
        super().__init__("a sealed message came back to the device that sealed it")


class RegistrationIdError(PeerError):
    """A device gave itself a registration id that a message sealed for many cannot name.

    Attributes:
        remote: The device.
        found: Its registration id.
        limit: The largest that fits.
    """

    code = "ratchet.registration-id"
    advice = "leave the device out, and seal for it alone"

    def __init__(self, *, remote: DeviceId, found: int, limit: int) -> None:
        super().__init__(f"{remote} has registration id {found}; the limit is {limit}")
        self.remote = remote
        self.found = found
        self.limit = limit


class UnknownPreKeyError(PeerError):
    """A first message names a prekey that the device does not hold, or no longer.

    Attributes:
        kind: ``one-time``, ``signed`` or ``kyber``.
        number: Its id.
    """

    code = "ratchet.unknown-prekey"
    advice = "ask the sender's device to fetch a new bundle and to send the message again"

    def __init__(self, *, kind: str, number: int) -> None:
        super().__init__(f"there is no {kind} prekey {number}")
        self.kind = kind
        self.number = number


class UnsupportedVersionError(PeerError):
    """A message or frame is of a version that is not spoken here.

    Attributes:
        found: The version that came.
        supported: The versions spoken here.
    """

    code = "peer.version"
    advice = "drop what came; whichever side is older has to be upgraded"

    def __init__(self, *, found: int, supported: Collection[int]) -> None:
        super().__init__(f"version {found} came; spoken here: {', '.join(map(str, sorted(supported)))}")
        self.found = found
        self.supported = tuple(sorted(supported))


class SkippedTooFarError(PeerError):
    """A header asked for more skipped keys than the limit allows.

    Attributes:
        gap: How many message keys would have to be derived.
        limit: The largest gap that is accepted.
    """

    code = "ratchet.skipped-too-far"
    advice = "drop it, or ask the sender's device to send the message again"

    def __init__(self, *, gap: int, limit: int) -> None:
        super().__init__(f"message is {gap} ahead of the chain; the limit is {limit}")
        self.gap = gap
        self.limit = limit


class DuplicateMessageError(PeerError):
    """A message was decrypted before, or its key was given up for its age.

    Attributes:
        counter: The message's number in its chain.
        chain_index: The number that the chain expects next.
        remote: The sending device; `None` where it is not known.
    """

    code = "ratchet.duplicate"
    advice = "harmless; acknowledge it"

    def __init__(self, *, counter: int, chain_index: int, remote: DeviceId | None = None) -> None:
        origin = f" from {remote}" if remote is not None else ""
        super().__init__(f"message {counter}{origin} was decrypted before; this chain is at {chain_index}")
        self.counter = counter
        self.chain_index = chain_index
        self.remote = remote


class AttachmentError(PeerError):
    """An attachment is altered, cut short, or not the one that the pointer names."""

    code = "ratchet.attachment"
    advice = "discard what was decrypted of it; download it again, or ask for it to be sent again"


# ---- storage --------------------------------------------------------------------------------------------------------


class StoreError(WhisperError):
    """An adapter could not keep its promise."""

    code = "store"
    advice = "see the cause, put the store right, and call again"


class ConflictError(StoreError):
    """A commit was refused because a partition is not at the expected version. Nothing was changed.

    Attributes:
        partition: One that moved.
        heads: The present heads of partitions that moved, where the database tells them for free.
    """

    code = "store.conflict"
    advice = "load again, decide again, commit again; `transact` does"

    def __init__(self, partition: Partition, *, heads: Mapping[Partition, Head] | None = None) -> None:
        super().__init__(f"{partition} is not at the expected version")
        self.partition = partition
        self.heads: Mapping[Partition, Head] = heads or {}


class OutcomeUnknownError(StoreError):
    """A call may or may not have happened; if it did, then all of it.

    Attributes:
        operation: Which call.
    """

    code = "store.outcome-unknown"
    advice = "repeat it with the same arguments"

    def __init__(self, operation: str) -> None:
        super().__init__(f"{operation} may or may not have happened")
        self.operation = operation


class CorruptStateError(StoreError):
    """What a store gave back is not what the library once wrote.

    Attributes:
        kind: What was being decoded.
        reason: What is wrong with it.
    """

    code = "store.corrupt"
    advice = "restore from a backup under a higher epoch; do not go on writing"

    def __init__(self, *, kind: str, reason: str) -> None:
        super().__init__(f"stored {kind} cannot be read: {reason}")
        self.kind = kind
        self.reason = reason


class StoreLockedError(StoreError):
    """Another process has the store open.

    Attributes:
        path: The file.
    """

    code = "store.locked"
    advice = "stop the other process, or give this one a file of its own"

    def __init__(self, *, path: str) -> None:
        super().__init__(f"{path} is in use by another process")
        self.path = path


class StoreVersionError(StoreError):
    """A store was written by a newer version of the program.

    Attributes:
        found: The schema version of the store.
        supported: The newest one that this program knows.
    """

    code = "store.version"
    advice = "upgrade the program"

    def __init__(self, *, found: int, supported: int) -> None:
        super().__init__(f"the store has schema {found}; this program knows schemas up to {supported}")
        self.found = found
        self.supported = supported


# ---- the network ----------------------------------------------------------------------------------------------------


class TransportError(WhisperError):
    """A link or a bus failed: what was under way may or may not have arrived."""

    code = "transport"
    advice = "connect again, and repeat what had no answer"


class LinkClosedError(TransportError):
    """The link is closed.

    Attributes:
        reason: The code that the other side gave, such as ``SUPERSEDED``, or ``LOST`` for none.
        retry_after_s: When to connect again, in seconds from now; `None` if a person has to act first.
    """

    code = "transport.closed"
    advice = "connect again, no sooner than the link's end allows; where it allows none, a person has to act first"

    def __init__(self, *, reason: str, retry_after_s: float | None) -> None:
        super().__init__(f"the link is closed: {reason}")
        self.reason = reason
        self.retry_after_s = retry_after_s
