"""Secrets stay out of what gets printed: every value is made, printed, and searched for every secret in it."""

from __future__ import annotations

import subprocess
import sys
import traceback
from typing import Any

import pytest

from whisperkit.errors import WhisperError
from whisperkit.ids import ConversationId, DeviceId
from whisperkit.ratchet import AttachmentEncryptor, PreKeyBundle, records
from whisperkit.ratchet.curve import KeyPair
from whisperkit.ratchet.device import Device
from whisperkit.ratchet.double_ratchet import Received, send
from whisperkit.ratchet.kem import KemPublicKey, encapsulate
from whisperkit.ratchet.messages import CiphertextMessage, MessageType
from whisperkit.ratchet.pqxdh import agree_as_initiator
from whisperkit.ratchet.replenish import replenish
from whisperkit.ratchet.sender_keys import GroupDecrypted
from whisperkit.ratchet.session import Decrypted
from whisperkit.ratchet.sessions import SessionShelf
from whisperkit.testing.ratchet import Party, seeded_bytes

RANDOM = seeded_bytes(31)
GROUP = ConversationId("g")
PLAINTEXT = b"the plaintext that must not be printed"


def blobs(value: Any) -> set[bytes]:  # any tree of values
    """All byte strings of key size in a value, at any depth."""
    if isinstance(value, bytes):
        return {value} if len(value) >= 16 else set()
    return {blob for child in children(value) for blob in blobs(child)}


def children(value: Any) -> list[Any]:  # any tree of values
    match value:
        case {}:
            found: list[Any] = list(value.values())
        case tuple() | list():
            found = [*value]
        case _:
            found = []
    return found


def public_of(value: Any) -> set[bytes]:  # any tree of values
    """The public halves of the key pairs in a value."""
    if isinstance(value, KeyPair):
        return {value.public}
    return {blob for child in children(value) for blob in public_of(child)}


@pytest.fixture(scope="module")
def values() -> dict[str, object]:
    alice = Party(DeviceId.named("alice", 1), random_bytes=RANDOM)
    bob = Party(DeviceId.named("bob", 1), random_bytes=RANDOM)
    made: dict[str, object] = {}
    made["created"] = Device(alice.id, random_bytes=RANDOM).create_identity({})
    made["prekeys"] = bob.device.generate_prekeys(bob.records, wall_ms=0, one_time=1)
    bundle = PreKeyBundle.of(bob.publish())
    made["saved"] = saved = alice.device.process_bundle(alice.records, bundle, remote=bob.id, wall_ms=0)
    alice.save(saved.save)
    made["sealed"] = sealed = alice.device.encrypt(alice.records, PLAINTEXT, remote=bob.id, wall_ms=0)
    made["opened"] = opened = bob.device.decrypt(bob.records, sealed.message, sender=alice.id, wall_ms=0)
    bob.save(opened.save)
    session = SessionShelf(bob.records, alice.id).load(0)
    made["session"] = session
    made["ratchet"] = session.ratchet
    made["sending chain"] = session.ratchet.sending
    made["receiving chain"] = session.ratchet.receiving[0]
    made["post-quantum ratchet"] = session.ratchet.spqr
    made["sent"] = sent = send(session.ratchet, random_bytes=RANDOM)
    made["message keys"] = sent.keys
    made["decrypted"] = Decrypted(session, PLAINTEXT)
    made["received"] = Received(session.ratchet, sent.keys)
    made["distributed"] = distributed = alice.device.create_distribution({}, GROUP)
    made["distribution"] = distributed.message
    stored = next(value for value in distributed.save.values() if value)
    made["sender key"] = (state,) = records.decode_sender_keys(stored)
    made["group decrypted"] = GroupDecrypted(state, PLAINTEXT)
    identity = records.decode_local_identity(bob.records[records.IDENTITY_KEY])
    made["replenished"] = replenish(bob.records, identity, wall_ms=0, one_time=1, random_bytes=RANDOM)
    pair = records.decode_local_identity(alice.records[records.IDENTITY_KEY]).pair
    made["identity"] = pair
    made["first keys"] = agree_as_initiator(
        identity=pair,
        base=pair,
        remote_identity=pair.public,
        signed_prekey=pair.public,
        one_time_prekey=None,
        encapsulated=encapsulate(KemPublicKey(bundle.kyber.public)),
    )
    encryptor = AttachmentEncryptor(random_bytes=RANDOM)
    encryptor.finalize()
    made["pointer"] = encryptor.pointer(name="x", media_type="y")
    return made


NAMES = [
    "created", "prekeys", "saved", "sealed", "opened", "session", "ratchet", "sending chain", "receiving chain",
    "post-quantum ratchet", "sent", "message keys", "distributed", "distribution", "sender key", "identity",
    "first keys", "pointer", "decrypted", "received", "group decrypted", "replenished",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_is_printed(values: dict[str, object], name: str) -> None:
    value = values[name]
    public = public_of(value)

    for text in (repr(value), str(value), f"{value}"):
        for secret in blobs(value) - public:
            assert secret.hex() not in text
            assert repr(secret)[2:-1] not in text
        assert PLAINTEXT.decode() not in text


def test_every_value_of_the_fixture_is_looked_at(values: dict[str, object]) -> None:
    assert set(NAMES) == set(values)


def test_no_secret_is_in_an_error_or_its_notes() -> None:
    alice = Party(DeviceId.named("alice", 1), random_bytes=RANDOM)
    bob = Party(DeviceId.named("bob", 1), random_bytes=RANDOM)
    alice.meet(bob)
    body = alice.encrypt(PLAINTEXT, to=bob).body
    secrets = {value for value in bob.records.values() if len(value) < 80}
    texts: list[str] = []

    for position in range(0, len(body), 97):
        altered = body[:position] + bytes([body[position] ^ 0x55]) + body[position + 1 :]
        try:
            bob.decrypt(CiphertextMessage(MessageType.PREKEY, altered), sender=alice)
        except WhisperError as error:
            texts.append("".join(traceback.format_exception_only(error)))

    assert texts
    for text in texts:
        assert PLAINTEXT.decode() not in text
        assert not any(secret.hex() in text or repr(secret)[2:-1] in text for secret in secrets)


def test_importing_the_ratchet_loads_no_glue() -> None:
    program = "import sys, whisperkit.ratchet, whisperkit.ratchet.hazmat; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert not {"anyio", "asyncio", "sqlite3", "whisperkit.stores", "whisperkit.service"} & set(loaded)
