"""The errors that people meet first, brought about as they come about: what each says, what to do, and its code.

What stands here is what stands below a traceback. A device is written with the UUID of its user.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Sequence
from typing import NamedTuple

import pytest

from whisperkit import ConversationId, DeviceId
from whisperkit.client import SessionManager
from whisperkit.errors import WhisperError
from whisperkit.ratchet import CiphertextMessage, PreKeyBundle
from whisperkit.service import MessageService
from whisperkit.stores import Change, MemoryPartitions, Partition, Stores, commit_changes

pytestmark = pytest.mark.anyio

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)
GROUP = ConversationId("climbing-club")


class Talk(NamedTuple):
    """Two devices that have written to each other."""

    alice: SessionManager
    bob: SessionManager


async def talk() -> Talk:
    alice, bob = [await SessionManager.create(MemoryPartitions(), device) for device in (ALICE, BOB)]
    await alice.process_bundle(BOB, PreKeyBundle.of(await bob.generate_prekeys(one_time=1)))
    await bob.decrypt(await alice.encrypt(b"hello", to=BOB), sender=ALICE)
    await alice.decrypt(await bob.encrypt(b"hi", to=ALICE), sender=BOB)
    return Talk(alice, bob)


async def written(call: Awaitable[object]) -> list[str]:
    """The last lines of a program that fails with it, without the name of the module."""
    with pytest.raises(WhisperError) as raised:
        await call
    lines = "".join(traceback.format_exception_only(raised.value)).splitlines()
    return [lines[0].removeprefix("whisperkit.errors."), *lines[1:]]


def altered(message: CiphertextMessage) -> CiphertextMessage:
    return message._replace(body=message.body[:-1] + bytes([message.body[-1] ^ 1]))


# ---- decryption names the device, the number, and the kind of reason ------------------------------------------------


async def test_a_message_that_came_twice() -> None:
    alice, bob = await talk()
    messages = [await alice.encrypt(b"x", to=BOB) for _ in range(9)]
    for message in messages:
        await bob.decrypt(message, sender=ALICE)

    assert await written(bob.decrypt(messages[7], sender=ALICE)) == [
        f"DuplicateMessageError: message 7 from {ALICE} was decrypted before; this chain is at 9",
        "harmless; acknowledge it",
        "code: ratchet.duplicate",
    ]


async def test_a_device_with_which_there_is_no_session() -> None:
    alice, bob = await talk()
    message, laptop = await bob.encrypt(b"x", to=ALICE), DeviceId.named("bob", 2)

    sent, received = await written(alice.encrypt(b"x", to=laptop)), await written(alice.decrypt(message, sender=laptop))

    assert sent == [
        f"NoSessionError: no session with {laptop}; known devices of that user: 1",
        "fetch the device's prekey bundle, then process_bundle",
        "code: ratchet.no-session",
    ]
    assert received == sent


async def test_a_device_with_another_identity() -> None:
    alice, bob = await talk()
    reinstalled = await SessionManager.create(MemoryPartitions(), BOB)
    bundle = PreKeyBundle.of(await reinstalled.generate_prekeys(one_time=1))

    found, trusted = [bytes(await each.identity_key()).hex()[:8] for each in (reinstalled, bob)]
    assert await written(alice.process_bundle(BOB, bundle)) == [
        f"UntrustedIdentityError: {BOB} now has identity {found}..., {trusted}... was trusted",
        "show both to the person; accept_identity, or keep it blocked",
        "code: ratchet.identity-changed",
    ]


async def test_a_message_that_was_altered() -> None:
    alice, bob = await talk()
    message = await alice.encrypt(b"x", to=BOB)

    assert await written(bob.decrypt(altered(message), sender=ALICE)) == [
        "AuthenticationError: the MAC of a message does not fit",
        "drop it, or ask the sender's device to send the message again",
        "code: ratchet.authentication",
        f"message 0 from {ALICE} did not open; sessions that were tried: 1",
    ]


async def test_a_group_message_before_its_key() -> None:
    alice, bob = await talk()
    distribution = await alice.create_distribution(GROUP)
    post = await alice.group_encrypt(b"x", group=GROUP)

    assert await written(bob.group_decrypt(post, sender=ALICE)) == [
        f"NoSenderKeyError: no sender key of {ALICE} for distribution {distribution.distribution_id}",
        "ask the sender's device for its sender key, and keep the message",
        "code: ratchet.no-sender-key",
    ]


# ---- sending --------------------------------------------------------------------------------------------------------


async def test_a_number_that_skips_one_and_one_that_is_none() -> None:
    async with MessageService(Stores.memory()) as service:
        await service.register(ALICE, BOB)
        chat = await service.create_conversation([ALICE.user, BOB.user])
        for number in range(1, 8):
            await service.send(ALICE, chat, b"x", outbox_seq=number)

        skipping = await written(service.send(ALICE, chat, b"x", outbox_seq=9))
        wrong = await written(service.send(ALICE, chat, b"x", outbox_seq=0))

    assert skipping == [
        f"SendFirstError: outbox number 9 from {ALICE} skips 8",
        "send the expected number first; the Outbox does this by itself",
        "code: sync.send-first",
    ]
    assert wrong == ["UsageError: outbox_seq starts at 1, got 0", "code: usage.outbox-seq"]


# ---- the store ------------------------------------------------------------------------------------------------------


class Away(MemoryPartitions):
    """A database that goes away in the middle of a commit."""

    async def commit(self, changes: Sequence[Change]) -> None:
        raise ConnectionResetError("the server closed the connection")


async def test_a_commit_of_which_nobody_heard_the_end() -> None:
    change = Change(Partition("conversation/7f3a"), 0, b"", (), (), None)

    assert await written(commit_changes(Away(), [change])) == [
        "OutcomeUnknownError: commit on conversation/7f3a may or may not have happened",
        "repeat it with the same arguments",
        "code: store.outcome-unknown",
    ]
