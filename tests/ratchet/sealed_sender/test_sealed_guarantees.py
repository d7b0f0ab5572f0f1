"""The guarantees of sealed sender, each as a check, and for each a broken variant that the check catches."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, NamedTuple

import attrs
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from whisperkit.errors import (
    ActionRequiredError,
    AuthenticationError,
    InvalidCertificateError,
    InvalidMessageError,
    PeerError,
    SelfSendError,
    StaleCertificateError,
    UntrustedIdentityError,
    UsageError,
    WhisperError,
)
from whisperkit.ids import ConversationId, DeviceId, UserId
from whisperkit.ratchet import (
    CiphertextMessage,
    DecryptionErrorMessage,
    KeyPair,
    MessageType,
    Opened,
    PlaintextContent,
    RandomBytes,
    decryption_errors,
    hazmat,
)
from whisperkit.ratchet.curve import agree, generate, key_pair
from whisperkit.ratchet.prepared_hmac import hkdf
from whisperkit.ratchet.protobuf import BYTES, read, write
from whisperkit.ratchet.sealed_sender import (
    MAX_RECIPIENTS,
    Recipient,
    SealedContent,
    SealingDevice,
    SenderCertificate,
    SenderTrust,
    SentMessage,
    Unsealed,
    certificates,
    fan_out,
    seal_for_many,
    sealing_device,
    v1,
    v2,
)
from whisperkit.testing.ratchet import seeded_bytes
from whisperkit.testing.sealing import Authority, SealingParty

HOUSE = Authority(random_bytes=seeded_bytes(50))
END_MS = 86_400_000
GROUP = ConversationId("g")
SAID = PlaintextContent.of(DecryptionErrorMessage(None, 5, 1))


def people() -> tuple[SealingParty, SealingParty, SealingParty]:
    alice, bob, mallory = (
        SealingParty(DeviceId.named(name, 1), authority=HOUSE, random_bytes=seeded_bytes(51 + i))
        for i, name in enumerate(("alice", "bob", "mallory"))
    )
    for each in (bob, mallory):
        alice.meet(each)
        each.decrypt(alice.encrypt(b"hello", to=each), sender=alice)
        alice.decrypt(each.encrypt(b"hi", to=alice), sender=each)
    return alice, bob, mallory


def refused(kind: type[WhisperError], call: Callable[[], object]) -> None:
    """Assert that a call raises one kind of error and nothing else."""
    try:
        call()
    except kind:
        return
    raise AssertionError("it was not refused")


def keys_of(party: SealingParty) -> KeyPair:
    return hazmat.export_identity(party.records)


def sealed_by(
    sender: KeyPair, certificate: SenderCertificate, message: CiphertextMessage, *, to: SealingParty
) -> bytes:
    """Version 1, of any keys and any certificate."""
    return v1.seal(
        SealedContent(message, certificate),
        sender=sender,
        recipient=to.certificate.identity_key,
        random_bytes=seeded_bytes(60),
    )


def sealed_for_many_by(sender: KeyPair, content: SealedContent, *, to: SealingParty) -> bytes:
    """Version 2, of any keys and any certificate, as the recipient gets it."""
    key = to.certificate.identity_key
    made = v2.seal(content, sender=sender, recipients=[key], random_bytes=seeded_bytes(61))
    return v2.join(made.parts[0], made.shared)


ANYTHING = CiphertextMessage(MessageType.WHISPER, b"x")

# ---- the guarantees -------------------------------------------------------------------------------------------------


def a_forged_certificate_is_not_believed() -> None:
    alice, bob, _ = people()
    forger = Authority(random_bytes=seeded_bytes(62))
    alice.certificate = forger.certify(alice.id, alice.certificate.identity_key)
    refused(InvalidCertificateError, lambda: bob.unseal(alice.encrypt_sealed(b"x", to=bob)))
    forger.server = HOUSE.server
    alice.certificate = forger.certify(alice.id, alice.certificate.identity_key)
    refused(InvalidCertificateError, lambda: bob.unseal(alice.encrypt_sealed(b"x", to=bob)))


def a_certificate_ends_when_it_says() -> None:
    HOUSE.trust.check(people()[0].certificate, wall_ms=END_MS)
    refused(InvalidCertificateError, lambda: HOUSE.trust.check(people()[0].certificate, wall_ms=END_MS + 1))


def a_revoked_server_is_not_believed() -> None:
    careful = attrs.evolve(HOUSE.trust, revoked=[HOUSE.server.number])
    refused(InvalidCertificateError, lambda: careful.check(people()[0].certificate, wall_ms=0))


def a_server_with_the_number_for_revoked_is_not_believed() -> None:
    revoked = Authority(random_bytes=seeded_bytes(63), number=0xDEADC357)
    certificate = revoked.certify(DeviceId.named("alice", 1), key_pair(bytes(32)).public)
    refused(InvalidCertificateError, lambda: revoked.trust.check(certificate, wall_ms=0))


def a_certificate_is_no_use_without_the_key() -> None:
    alice, bob, mallory = people()
    stolen = sealed_by(keys_of(mallory), alice.certificate, ANYTHING, to=bob)
    refused(AuthenticationError, lambda: bob.unseal(stolen))


def a_certificate_is_no_use_without_the_key_in_a_message_for_many() -> None:
    alice, bob, mallory = people()
    stolen = sealed_for_many_by(keys_of(mallory), SealedContent(ANYTHING, alice.certificate), to=bob)
    refused(AuthenticationError, lambda: bob.unseal(stolen))


def an_altered_seal_does_not_open() -> None:
    alice, bob, _ = people()
    fields = read(alice.encrypt_sealed(b"x", to=bob)[1:], {1: BYTES, 2: BYTES, 3: BYTES}).blobs
    flipped = fields[3][:-11] + bytes([fields[3][-11] ^ 1]) + fields[3][-10:]
    refused(AuthenticationError, lambda: bob.unseal(b"\x11" + write({**fields, 3: flipped}.items())))


def all_recipients_have_one_message() -> None:
    alice, bob, _ = people()
    secret, other = bytes(range(32)), bytes(32)
    ephemeral = key_pair(hkdf(secret, b"Sealed Sender v2: r (2023-08)", 32))
    pair, key = keys_of(alice), bob.certificate.identity_key
    agreed = agree(ephemeral.private, key)
    mask = hkdf(agreed + ephemeral.public + key, b"Sealed Sender v2: DH", 32)
    masked = bytes(a ^ b for a, b in zip(mask, other, strict=True))
    grown = key_pair(hkdf(other, b"Sealed Sender v2: r (2023-08)", 32))
    material = agree(pair.private, key) + grown.public + masked + pair.public + key
    tag = hkdf(material, b"Sealed Sender v2: DH-sender", 16)
    content = SealedContent(ANYTHING, alice.certificate).encode()
    body = AESGCMSIV(hkdf(other, b"Sealed Sender v2: K", 32)).encrypt(bytes(12), content, None)
    refused(AuthenticationError, lambda: bob.unseal(b"\x22" + masked + tag + ephemeral.public[1:] + body))


def no_two_seals_have_one_key() -> None:
    alice, bob, _ = people()
    content = SealedContent(ANYTHING, alice.certificate)
    key, random_bytes = bob.certificate.identity_key, seeded_bytes(64)
    ones = {v1.seal(content, sender=keys_of(alice), recipient=key, random_bytes=random_bytes)[4:37] for _ in "ab"}
    many = {
        v2.seal(content, sender=keys_of(alice), recipients=[key], random_bytes=random_bytes).shared[:32] for _ in "ab"
    }
    assert len(ones) == len(many) == 2


def the_secret_of_a_message_for_many_is_masked() -> None:
    alice, bob, _ = people()
    secret = seeded_bytes(65)(32)
    made = v2.seal(
        SealedContent(ANYTHING, alice.certificate),
        sender=keys_of(alice),
        recipients=[bob.certificate.identity_key],
        random_bytes=lambda size: secret[:size],
    )
    assert secret not in made.parts[0] + made.shared


def the_sender_is_not_to_be_seen() -> None:
    alice, bob, _ = people()
    alice.hand_out(GROUP, to=[bob])
    for data in (alice.encrypt_sealed(b"x", to=bob), alice.group_encrypt_sealed(b"x", group=GROUP, to=[bob])):
        assert alice.certificate.identity_key[1:] not in data
        assert alice.id.user.encode() not in data


def a_message_of_one_s_own_is_told() -> None:
    alice, _, _ = people()
    own = sealed_by(keys_of(alice), alice.certificate, ANYTHING, to=alice)
    refused(SelfSendError, lambda: alice.unseal(own))


def a_certificate_is_of_the_session_it_comes_with() -> None:
    alice, bob, _ = people()
    bob.records = {key: value for key, value in bob.records.items() if not key.startswith((b"k/peer", b"k/session"))}
    alice.meet(bob)
    stolen = alice.encrypt(b"x", to=bob)
    server = generate(random_bytes=seeded_bytes(66))
    data = sealed_by(server, HOUSE.certify(alice.id, server.public), stolen, to=bob)
    refused(AuthenticationError, lambda: bob.open_sealed(data))


def an_identity_that_changed_is_not_trusted_behind_a_seal() -> None:
    alice, bob, _ = people()
    server = generate(random_bytes=seeded_bytes(67))
    content = SealedContent(SAID, HOUSE.certify(alice.id, server.public))
    data = v1.seal(content, sender=server, recipient=bob.certificate.identity_key, random_bytes=seeded_bytes(68))
    refused(UntrustedIdentityError, lambda: bob.sealing.decryption_error(bob.records, bob.unseal(data)))


def what_any_recipient_could_have_written_is_not_taken_for_the_sender_s() -> None:
    alice, bob, _ = people()
    data = sealed_for_many_by(keys_of(alice), SealedContent(SAID, alice.certificate), to=bob)
    refused(AuthenticationError, lambda: bob.unseal(data))


def nobody_seals_with_a_certificate_that_no_one_would_believe() -> None:
    alice, bob, mallory = people()
    alice.wall_ms = END_MS
    alice.encrypt_sealed(b"x", to=bob)
    alice.wall_ms += 1
    refused(StaleCertificateError, lambda: alice.encrypt_sealed(b"x", to=bob))
    alice.wall_ms, alice.certificate = 0, mallory.certificate
    refused(UsageError, lambda: alice.encrypt_sealed(b"x", to=bob))


def recipients_are_bounded() -> None:
    alice, _, _ = people()
    users = [UserId.named(str(n)) for n in range(MAX_RECIPIENTS + 1)]
    content = SealedContent(ANYTHING, alice.certificate)
    pair, random_bytes = keys_of(alice), seeded_bytes(69)
    refused(
        UsageError,
        lambda: seal_for_many(content, sender=pair, recipients=[], excluded=users, random_bytes=random_bytes),
    )
    refused(InvalidMessageError, lambda: SentMessage.decode(b"\x23\xff\xff\xff\xff\x0f"))


def who_is_excluded_gets_nothing() -> None:
    alice, bob, mallory = people()
    alice.hand_out(GROUP, to=[bob])
    message = SentMessage.decode(alice.group_encrypt_sealed(b"x", group=GROUP, to=[bob], excluded=[mallory.id.user]))
    assert [part.device for part in message.parts] == [bob.id]
    assert message.excluded == {mallory.id.user}
    refused(PeerError, lambda: mallory.unseal(message.received_by(message.parts[0])))


def a_device_gets_its_own_part() -> None:
    alice, bob, mallory = people()
    keys = [Recipient(each.id, each.certificate.identity_key, 1) for each in (bob, mallory)]
    message = SentMessage.decode(
        seal_for_many(
            SealedContent(ANYTHING, alice.certificate),
            sender=keys_of(alice),
            recipients=keys,
            random_bytes=seeded_bytes(70),
        )
    )
    for part, each in zip(message.parts, (bob, mallory), strict=True):
        assert part.device == each.id
        assert each.unseal(message.received_by(part)).sender == alice.id


def an_error_about_a_session_that_is_gone_is_told() -> None:
    alice, bob, _ = people()
    error = DecryptionErrorMessage.about(alice.encrypt(b"x", to=bob), sender=alice.id, sent_at_ms=0)
    assert decryption_errors.is_of_current_session(alice.records, error, remote=bob.id)
    alice.meet(bob)
    assert not decryption_errors.is_of_current_session(alice.records, error, remote=bob.id)


GUARANTEES = [
    a_forged_certificate_is_not_believed,
    a_certificate_ends_when_it_says,
    a_revoked_server_is_not_believed,
    a_server_with_the_number_for_revoked_is_not_believed,
    a_certificate_is_no_use_without_the_key,
    a_certificate_is_no_use_without_the_key_in_a_message_for_many,
    an_altered_seal_does_not_open,
    all_recipients_have_one_message,
    no_two_seals_have_one_key,
    the_secret_of_a_message_for_many_is_masked,
    the_sender_is_not_to_be_seen,
    a_message_of_one_s_own_is_told,
    a_certificate_is_of_the_session_it_comes_with,
    an_identity_that_changed_is_not_trusted_behind_a_seal,
    what_any_recipient_could_have_written_is_not_taken_for_the_sender_s,
    nobody_seals_with_a_certificate_that_no_one_would_believe,
    recipients_are_bounded,
    who_is_excluded_gets_nothing,
    a_device_gets_its_own_part,
    an_error_about_a_session_that_is_gone_is_told,
]


@pytest.mark.parametrize("guarantee", GUARANTEES, ids=lambda check: check.__name__)
def test_it_holds(guarantee: Callable[[], None]) -> None:
    guarantee()


# ---- broken variants ------------------------------------------------------------------------------------------------


class Broken(NamedTuple):
    """A fault that somebody could make.

    Attributes:
        name: What is wrong.
        owner: The module or class in which something is replaced, and
        attribute: what that is.
        value: By what. `Any`, as it takes the place of all kinds of things.
        caught_by: The guarantee that falls.
    """

    name: str
    owner: object
    attribute: str
    value: Any
    caught_by: Callable[[], None]


CHECK = SenderTrust.check
COMPARE = hmac.compare_digest
SEAL = v1.seal


def no_check(*args: object, **kwargs: object) -> None:
    return None


def always(*args: object, **kwargs: object) -> bool:
    return True


def never(*args: object) -> bool:
    return False


def ends_a_millisecond_early(self: SenderTrust, certificate: SenderCertificate, *, wall_ms: int) -> None:
    CHECK(self, certificate, wall_ms=wall_ms + 1)


def ends_a_millisecond_late(self: SenderTrust, certificate: SenderCertificate, *, wall_ms: int) -> None:
    CHECK(self, certificate, wall_ms=wall_ms - 1)


def forgets_revoked(self: SenderTrust, certificate: SenderCertificate, *, wall_ms: int) -> None:
    CHECK(attrs.evolve(self, revoked=()), certificate, wall_ms=wall_ms)


def unlock_unseen(keys: Any, locked: bytes) -> bytes:  # a private class
    return v1._stream(keys, locked[:-10])  # pyright: ignore[reportPrivateUsage]  # what the fault would do


def one_tag(*args: object) -> bytes:
    return bytes(16)


def any_ephemeral_key(one: bytes, other: bytes) -> bool:
    return len(one) == 33 or COMPARE(one, other)


def fixed_pair(*, random_bytes: RandomBytes) -> KeyPair:
    return key_pair(bytes(32))


def unmasked(one: bytes, other: bytes) -> bytes:
    return other


def in_the_clear(keys: object, data: bytes) -> bytes:
    return data


def any_session(self: SealingDevice, records: dict[bytes, bytes], unsealed: Unsealed, *, wall_ms: int) -> Opened:
    assert isinstance(unsealed.message, CiphertextMessage)
    return self.device.decrypt(records, unsealed.message, sender=unsealed.sender, wall_ms=wall_ms)


def for_one(data: bytes, recipient: KeyPair) -> tuple[SealedContent, bool]:
    return v2.open_sealed(data, recipient=recipient), False


def any_certificate(self: SealingDevice, records: dict[bytes, bytes], *args: object) -> KeyPair:
    return hazmat.export_identity(records)


def the_first_part(self: SentMessage, part: object) -> bytes:
    return v2.join(self.parts[0].own, self.shared)


BROKEN = [
    Broken("certificates are not checked", SenderTrust, "check", no_check, a_forged_certificate_is_not_believed),
    Broken(
        "signatures of certificates are not checked",
        certificates,
        "_is_signed_by",
        always,
        a_forged_certificate_is_not_believed,
    ),
    Broken("expiry is early", SenderTrust, "check", ends_a_millisecond_early, a_certificate_ends_when_it_says),
    Broken("expiry is late", SenderTrust, "check", ends_a_millisecond_late, a_certificate_ends_when_it_says),
    Broken("nothing is revoked", SenderTrust, "check", forgets_revoked, a_revoked_server_is_not_believed),
    Broken(
        "the number for revoked is one like any other",
        certificates,
        "REVOKED_TEST_ID",
        -1,
        a_server_with_the_number_for_revoked_is_not_believed,
    ),
    Broken(
        "the static key is not compared with the certificate",
        v1,
        "check_sender",
        no_check,
        a_certificate_is_no_use_without_the_key,
    ),
    Broken("the tag is always one", v2, "_tag", one_tag, a_certificate_is_no_use_without_the_key_in_a_message_for_many),
    Broken("the MAC is not checked", v1, "_unlock", unlock_unseen, an_altered_seal_does_not_open),
    Broken(
        "the key pair is not compared with the secret",
        hmac,
        "compare_digest",
        any_ephemeral_key,
        all_recipients_have_one_message,
    ),
    Broken("the ephemeral key is always one", v1, "generate", fixed_pair, no_two_seals_have_one_key),
    Broken("the secret is not masked", v2, "_xor", unmasked, the_secret_of_a_message_for_many_is_masked),
    Broken("the sender's key is in the clear", v1, "_stream", in_the_clear, the_sender_is_not_to_be_seen),
    Broken("own messages are taken", SealingDevice, "_is_own", never, a_message_of_one_s_own_is_told),
    Broken(
        "the session is not compared with the certificate",
        SealingDevice,
        "decrypt",
        any_session,
        a_certificate_is_of_the_session_it_comes_with,
    ),
    Broken(
        "a certificate wins over the trusted identity",
        SealingDevice,
        "_check_identity",
        no_check,
        an_identity_that_changed_is_not_trusted_behind_a_seal,
    ),
    Broken(
        "errors sealed for many are taken",
        sealing_device,
        "_open",
        for_one,
        what_any_recipient_could_have_written_is_not_taken_for_the_sender_s,
    ),
    Broken(
        "the own certificate is not looked at",
        SealingDevice,
        "_check_own",
        any_certificate,
        nobody_seals_with_a_certificate_that_no_one_would_believe,
    ),
    Broken("recipients have no bound", fan_out, "MAX_RECIPIENTS", 10**9, recipients_are_bounded),
    Broken("who is excluded is forgotten", fan_out, "_exclude", no_check, who_is_excluded_gets_nothing),
    Broken("a part goes to another device", SentMessage, "received_by", the_first_part, a_device_gets_its_own_part),
    Broken(
        "any error is of the current session",
        decryption_errors,
        "is_of_current_session",
        always,
        an_error_about_a_session_that_is_gone_is_told,
    ),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_a_broken_variant_is_caught(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broken.owner, broken.attribute, broken.value)

    with pytest.raises((AssertionError, PeerError, ActionRequiredError)):
        broken.caught_by()
