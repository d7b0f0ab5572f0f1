"""What a peer or a server can send of sealed sender, and of word that something did not open."""

from __future__ import annotations

import random
from functools import cache
from typing import Final, NamedTuple

from tests.fuzz.target import Target
from whisperkit.errors import PeerError
from whisperkit.ids import ConversationId, DeviceId
from whisperkit.ratchet.curve import KeyPair, generate
from whisperkit.ratchet.decryption_errors import DecryptionErrorMessage, PlaintextContent
from whisperkit.ratchet.messages import CiphertextMessage
from whisperkit.ratchet.records import IDENTITY_KEY, decode_local_identity
from whisperkit.ratchet.sealed_sender import (
    SealedContent,
    SealingDevice,
    SenderCertificate,
    SenderTrust,
    SentMessage,
    ServerCertificate,
)
from whisperkit.testing.ratchet import Party, seeded_bytes

__all__ = ["SEALED_TARGETS"]

_PEER: Final = (PeerError,)
_RANDOM: Final = seeded_bytes(8)
_GROUP: Final = ConversationId("group")
_WALL_MS: Final = 0
_DAY_MS: Final = 86_400_000


class _Scene(NamedTuple):
    """Bob, what Alice has sealed for him, and for him among others."""

    bob: Party
    trust: SenderTrust
    certificate: SenderCertificate
    word: PlaintextContent
    message: CiphertextMessage
    sealed: tuple[bytes, ...]
    sent: bytes


@cache
def _scene() -> _Scene:
    root, server = generate(random_bytes=_RANDOM), generate(random_bytes=_RANDOM)
    alice, bob = (Party(DeviceId.named(name, 1), random_bytes=_RANDOM) for name in ("alice", "bob"))
    alice.meet(bob)
    bob.decrypt(alice.encrypt(b"hello", to=bob), sender=alice)
    certificate = SenderCertificate.issue(
        sender=alice.id,
        identity_key=_identity(alice).public,
        expires_at_ms=_DAY_MS,
        signer=ServerCertificate.issue(number=1, key=server.public, trust_root=root.private, random_bytes=_RANDOM),
        signer_private=server.private,
        random_bytes=_RANDOM,
        e164="+49170",
    )
    sealing = SealingDevice(alice.id, random_bytes=_RANDOM)
    alice.save(alice.device.create_distribution(alice.records, _GROUP).save)
    message = alice.encrypt(b"how are you?", to=bob)
    word = PlaintextContent.of(DecryptionErrorMessage.about(message, sender=bob.id, sent_at_ms=_WALL_MS))
    sent = sealing.group_encrypt(
        alice.records, b"hello all", group=_GROUP, recipients=[bob.id], certificate=certificate, wall_ms=_WALL_MS
    )
    taken_apart = SentMessage.decode(sent.body)
    sealed = tuple(
        sealing.seal(alice.records, each, remote=bob.id, certificate=certificate, wall_ms=_WALL_MS)
        for each in (message, word)
    )
    received = tuple(taken_apart.received_by(part) for part in taken_apart.parts)
    trust = SenderTrust(roots=(root.public,))
    return _Scene(bob, trust, certificate, word, message, sealed + received, sent.body)


def _identity(party: Party) -> KeyPair:
    return decode_local_identity(party.records[IDENTITY_KEY]).pair


def _take_sealed(data: bytes) -> None:
    scene = _scene()
    device = SealingDevice(scene.bob.id, random_bytes=_RANDOM)
    device.unseal(scene.bob.records, data, trust=scene.trust, wall_ms=_WALL_MS)


def _take_content(data: bytes) -> None:
    content = SealedContent.decode(data)
    assert SealedContent.decode(content.encode()) == content


def _take_certificate(data: bytes) -> None:
    certificate = SenderCertificate.decode(data)
    assert SenderCertificate.decode(certificate.encode()) == certificate
    _scene().trust.check(certificate, wall_ms=_WALL_MS)


def _take_server_certificate(data: bytes) -> None:
    certificate = ServerCertificate.decode(data)
    assert ServerCertificate.decode(certificate.encode()) == certificate


def _sample_server_certificate(_: random.Random) -> bytes:
    signer = _scene().certificate.signer
    assert isinstance(signer, ServerCertificate)
    return signer.encode()


def _take_sent(data: bytes) -> None:
    sent = SentMessage.decode(data)
    for part in sent.parts:
        sent.received_by(part)


def _take_word(data: bytes) -> None:
    error = PlaintextContent.decode(data).decryption_error
    assert DecryptionErrorMessage.decode(error.encode()) == error


SEALED_TARGETS: Final = (
    Target("sealed", _take_sealed, lambda rng: rng.choice(_scene().sealed), _PEER),
    Target(
        "sealed-content",
        _take_content,
        lambda _: SealedContent(_scene().message, _scene().certificate, group_id=b"group").encode(),
        _PEER,
    ),
    Target("sender-certificate", _take_certificate, lambda _: _scene().certificate.encode(), _PEER),
    Target("server-certificate", _take_server_certificate, _sample_server_certificate, _PEER),
    Target("sent-message", _take_sent, lambda _: _scene().sent, _PEER),
    Target("plaintext-content", _take_word, lambda _: _scene().word.encode(), _PEER),
)
