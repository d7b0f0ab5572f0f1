from __future__ import annotations

import inspect
import re
import traceback
from typing import get_args

import pytest

from whisperkit import ConversationId, DeviceId, UserId, errors
from whisperkit.errors import (
    ActionRequiredError,
    ConflictError,
    DuplicateMessageError,
    LinkClosedError,
    MalformedFrameError,
    NoSessionError,
    PeerError,
    StaleDevicesError,
    StoreError,
    TransportError,
    UnsupportedVersionError,
    UntrustedIdentityError,
    UsageCode,
    UsageError,
    WhisperError,
)
from whisperkit.partitions import Head, Partition

PHONE = DeviceId.named("bob", 1)
LAPTOP = DeviceId.named("bob", 2)
ROOM = ConversationId("room")

# One of each, with what its text has to say.
SAID: list[tuple[WhisperError, str]] = [
    (UsageError("outbox_seq starts at 1, got 0", code="usage.outbox-seq"), "outbox_seq starts at 1, got 0"),
    (NoSessionError(remote=LAPTOP, known=1), f"no session with {LAPTOP}; known devices of that user: 1"),
    (errors.NoSenderKeyError(remote=PHONE, distribution="d"), f"no sender key of {PHONE} for distribution d"),
    (
        UntrustedIdentityError(remote=PHONE, found=b"\x05\xab\x12\x01" * 8, trusted=b"\x05\xc9\xe0\x01" * 8),
        f"{PHONE} now has identity 05ab1201..., 05c9e001... was trusted",
    ),
    (
        errors.StaleCertificateError(expired_at_ms=5, wall_ms=6),
        "the sender certificate was good until 5; now is 6",
    ),
    (StaleDevicesError(missing=[PHONE, LAPTOP], extra=[]), "the list of devices is stale: 2 missing, 0 extra"),
    (
        errors.RosterMovedError(conversation=ROOM, expected=3, found=5),
        "the roster of room is at 5, the message was made for 3",
    ),
    (
        errors.NotMemberError(conversation=ROOM, user=UserId.named("bob")),
        f"{PHONE.user} is not a member of room",
    ),
    (errors.NoSuchUserError(user=PHONE.user), f"{PHONE.user} has no device"),
    (errors.SendFirstError(device=PHONE, found=9, expected=8), f"outbox number 9 from {PHONE} skips 8"),
    (
        errors.StaleOutboxError(device=PHONE, epoch=2),
        f"the outbox of {PHONE} is behind: the conversation is at outbox epoch 2",
    ),
    (
        errors.OutboxFullError(conversation=ROOM, limit=8),
        "8 messages already wait in room; the limit is 8",
    ),
    (errors.BlobGoneError(blob="b" * 32), f"attachment {'b' * 32} is gone"),
    (
        errors.MalformedIdError(kind="user", expected="not empty", found=""),
        "a user id is not empty, got ''",
    ),
    (MalformedFrameError("2 fields", frame="ACK"), "ACK: 2 fields"),
    (MalformedFrameError("no array"), "frame: no array"),
    (errors.OversizedFrameError(found=9, limit=8), "a frame of 9 bytes came; the limit is 8"),
    (errors.OutOfTurnError(frame="SEND", state="CHALLENGED"), "SEND has no place in state CHALLENGED"),
    (errors.SelfSendError(), "a sealed message came back to the device that sealed it"),
    (
        errors.RegistrationIdError(remote=PHONE, found=16_384, limit=16_383),
        f"{PHONE} has registration id 16384; the limit is 16383",
    ),
    (errors.UnknownPreKeyError(kind="one-time", number=7), "there is no one-time prekey 7"),
    (UnsupportedVersionError(found=2, supported={4, 3}), "version 2 came; spoken here: 3, 4"),
    (errors.SkippedTooFarError(gap=1_001, limit=1_000), "message is 1001 ahead of the chain; the limit is 1000"),
    (
        DuplicateMessageError(counter=7, chain_index=9, remote=PHONE),
        f"message 7 from {PHONE} was decrypted before; this chain is at 9",
    ),
    (DuplicateMessageError(counter=7, chain_index=9), "message 7 was decrypted before; this chain is at 9"),
    (ConflictError(Partition("conv/room")), "conv/room is not at the expected version"),
    (errors.OutcomeUnknownError("commit on conv/room"), "commit on conv/room may or may not have happened"),
    (errors.CorruptStateError(kind="head", reason="3 bytes"), "stored head cannot be read: 3 bytes"),
    (errors.StoreLockedError(path="chat.db"), "chat.db is in use by another process"),
    (
        errors.StoreVersionError(found=4, supported=3),
        "the store has schema 4; this program knows schemas up to 3",
    ),
    (LinkClosedError(reason="RESYNC", retry_after_s=1.0), "the link is closed: RESYNC"),
]


@pytest.mark.parametrize(("error", "text"), SAID, ids=[type(error).__name__ for error, _ in SAID])
def test_an_error_names_the_things_that_disagree(error: WhisperError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize("error", [error for error, _ in SAID], ids=lambda error: type(error).__name__)
def test_below_a_traceback_stand_what_to_do_and_the_code(error: WhisperError) -> None:
    printed = "".join(traceback.format_exception(error)).splitlines()

    name = f"{type(error).__module__}.{type(error).__name__}"
    told = [f"{name}: {error}", error.advice, f"code: {error.code}"]
    assert printed[-len(error.__notes__) - 1 :] == [line for line in told if line is not None]


def test_a_wrong_call_is_told_by_its_text_and_its_code_alone() -> None:
    error = UsageError("a conversation has members, got none")
    looked_up = UsageError("outbox_seq starts at 1, got 0", code="usage.outbox-seq")

    printed = "".join(traceback.format_exception(error) + traceback.format_exception(looked_up)).splitlines()

    assert printed == [
        "whisperkit.errors.UsageError: a conversation has members, got none",
        "code: usage",
        "whisperkit.errors.UsageError: outbox_seq starts at 1, got 0",
        "code: usage.outbox-seq",
    ]


def test_a_mistake_with_a_code_of_its_own_says_what_was_wrong_and_what_to_do() -> None:
    silent = [code for code, texts in UsageError.misuses.items() if not all(text.endswith(".") for text in texts)]

    assert set(UsageError.misuses) == set(get_args(UsageCode))
    assert silent == []


def test_the_code_of_one_mistake_is_not_that_of_others() -> None:
    looked_up, other = UsageError("x", code="usage.outbox-seq"), UsageError("x")

    assert (looked_up.code, other.code, UsageError.code) == ("usage.outbox-seq", "usage", "usage")
    assert {getattr(errors, name).code for name in errors.__all__}.isdisjoint(UsageError.misuses)


def test_each_error_with_a_text_of_its_own_is_among_the_examples() -> None:
    own = {name for name in errors.__all__ if "__init__" in vars(getattr(errors, name))}

    assert own - {type(error).__name__ for error, _ in SAID} == {"WhisperError"}


@pytest.mark.parametrize("error", [error for error, _ in SAID], ids=lambda error: type(error).__name__)
def test_an_error_documents_just_the_attributes_that_it_has(error: WhisperError) -> None:
    documented = set(
        re.findall(r"^    (\w+): ", (inspect.getdoc(error) or "").partition("Attributes:")[2], re.MULTILINE)
    )

    assert documented == vars(error).keys() - {"__notes__", "code"}


@pytest.mark.parametrize("turn", [UsageError, ActionRequiredError, PeerError, StoreError, TransportError])
def test_each_error_answers_whose_turn_it_is(turn: type[WhisperError]) -> None:
    assert turn.__bases__ == (WhisperError,)


def test_every_error_stands_below_one_of_the_five_turns() -> None:
    turns = (UsageError, ActionRequiredError, PeerError, StoreError, TransportError)
    public = [getattr(errors, name) for name in errors.__all__]

    homeless = [error for error in public if error is not WhisperError and not issubclass(error, turns)]

    assert homeless == []


def test_who_has_to_act_is_told_what_to_do() -> None:
    public = [getattr(errors, name) for name in errors.__all__]

    silent = [e for e in public if issubclass(e, ActionRequiredError) and e is not ActionRequiredError and not e.advice]

    assert silent == []


def test_attributes_hold_the_same_as_data() -> None:
    stale = StaleDevicesError(missing=[PHONE], extra=[LAPTOP])
    version = UnsupportedVersionError(found=2, supported={4, 3})

    assert (stale.missing, stale.extra) == (frozenset({PHONE}), frozenset({LAPTOP}))
    assert (version.found, version.supported) == (2, (3, 4))


def test_a_conflict_carries_the_present_heads_where_the_database_tells_them() -> None:
    partition = Partition("conv/room")
    told = ConflictError(partition, heads={partition: Head(3, b"")})

    assert told.heads == {partition: Head(3, b"")}
    assert ConflictError(partition).heads == {}


def test_an_identity_is_shown_by_its_first_four_bytes_only() -> None:
    error = UntrustedIdentityError(remote=PHONE, found=bytes(range(33)), trusted=bytes(33))

    assert bytes(range(33)).hex() not in str(error)
    assert error.found == bytes(range(33))


# Programs and pages hold on to these: a new error adds a line, and no line ever changes.
CODES = {
    "ActionRequiredError": "action",
    "AttachmentError": "ratchet.attachment",
    "AuthenticationError": "ratchet.authentication",
    "BlobGoneError": "blobs.gone",
    "ConflictError": "store.conflict",
    "CorruptStateError": "store.corrupt",
    "DuplicateMessageError": "ratchet.duplicate",
    "InvalidCertificateError": "ratchet.invalid-certificate",
    "InvalidKeyError": "ratchet.invalid-key",
    "InvalidMessageError": "ratchet.invalid-message",
    "InvalidSignatureError": "ratchet.invalid-signature",
    "LinkClosedError": "transport.closed",
    "MalformedFrameError": "wire.malformed",
    "MalformedIdError": "ids.malformed",
    "NoSenderKeyError": "ratchet.no-sender-key",
    "NoSessionError": "ratchet.no-session",
    "NoSuchUserError": "accounts.no-such-user",
    "NotMemberError": "sync.not-member",
    "OutOfTurnError": "wire.out-of-turn",
    "OutboxFullError": "sync.outbox-full",
    "OutcomeUnknownError": "store.outcome-unknown",
    "OversizedFrameError": "wire.oversized",
    "PeerError": "peer",
    "RegistrationIdError": "ratchet.registration-id",
    "RosterMovedError": "sync.roster-moved",
    "SelfSendError": "ratchet.self-send",
    "SendFirstError": "sync.send-first",
    "SkippedTooFarError": "ratchet.skipped-too-far",
    "StaleCertificateError": "ratchet.stale-certificate",
    "StaleDevicesError": "sync.stale-devices",
    "StaleOutboxError": "sync.stale-outbox",
    "StoreError": "store",
    "StoreLockedError": "store.locked",
    "StoreVersionError": "store.version",
    "TransportError": "transport",
    "UnauthorisedError": "wire.unauthorised",
    "UnknownPreKeyError": "ratchet.unknown-prekey",
    "UnsupportedVersionError": "peer.version",
    "UntrustedIdentityError": "ratchet.identity-changed",
    "UsageError": "usage",
    "WhisperError": "whisperkit",
}

USAGE_CODES = [
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


def test_codes_are_what_they_were() -> None:
    assert {name: getattr(errors, name).code for name in errors.__all__} == CODES
    assert sorted(UsageError.misuses) == USAGE_CODES
