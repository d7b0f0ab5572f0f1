"""A device that seals: what it answers, what it refuses, and that the official library's messages open in it."""

from __future__ import annotations

from typing import Any

import pytest

from whisperkit.errors import (
    AuthenticationError,
    InvalidCertificateError,
    InvalidMessageError,
    NoSenderKeyError,
    NoSessionError,
    RegistrationIdError,
    SelfSendError,
    StaleCertificateError,
    UnsupportedVersionError,
    UntrustedIdentityError,
    UsageError,
    WhisperError,
)
from whisperkit.ids import ConversationId, DeviceId, UserId
from whisperkit.partitions import Span
from whisperkit.ratchet import (
    CiphertextMessage,
    DecryptionErrorMessage,
    MessageType,
    PlaintextContent,
    hazmat,
    is_of_current_session,
    records,
)
from whisperkit.ratchet.curve import agree, generate, key_pair
from whisperkit.ratchet.kem import key_pair as kem_key_pair
from whisperkit.ratchet.prekeys import KyberPreKey, OneTimePreKey, SignedPreKey
from whisperkit.ratchet.sealed_sender import (
    ContentHint,
    SealedContent,
    SealingDevice,
    SenderCertificate,
    SenderTrust,
    SentMessage,
    seal_for_many,
    v1,
    v2,
)
from whisperkit.ratchet.sealed_sender.fan_out import Recipient
from whisperkit.ratchet.sessions import SessionShelf
from whisperkit.testing.ratchet import Party, seeded_bytes
from whisperkit.testing.sealing import Authority, SealingParty

RANDOM = seeded_bytes(26)
HOUSE = Authority(random_bytes=RANDOM)
GROUP = ConversationId("group")
DAY_MS = 86_400_000


def party(name: str, number: int = 1, seed: int = 0) -> SealingParty:
    random_bytes = seeded_bytes(seed or 1_000 * ord(name[0]) + number)
    return SealingParty(DeviceId.named(name, number), authority=HOUSE, random_bytes=random_bytes)


@pytest.fixture
def alice() -> SealingParty:
    return party("alice")


@pytest.fixture
def bob() -> SealingParty:
    return party("bob")


def befriend(one: Party, other: Party) -> None:
    """Make a session in which both have spoken."""
    one.meet(other)
    other.decrypt(one.encrypt(b"hello", to=other), sender=one)
    one.decrypt(other.encrypt(b"hi", to=one), sender=other)


def part_for(sent: bytes, device: Party) -> bytes:
    """What a server delivers of it."""
    message = SentMessage.decode(sent)
    (part,) = (part for part in message.parts if part.device == device.id)
    return message.received_by(part)


def within(rows: dict[bytes, bytes], spans: tuple[Span, ...]) -> dict[bytes, bytes]:
    return {key: value for key, value in rows.items() if any(span.start <= key < span.stop for span in spans)}


def official_bob(vectors: dict[str, Any]) -> SealingParty:
    """The recipient of the vectors, with the keys that they publish for him."""
    bob, secrets = vectors["bob"], vectors["bob_prekeys"]
    device = SealingParty(
        DeviceId(UserId(bob["name"]), bob["device_id"]),
        authority=HOUSE,
        random_bytes=RANDOM,
    )
    device.records = {}
    device.save(
        hazmat.import_identity(
            {},
            bytes.fromhex(bob["identity_private"]),
            registration_id=bob["registration_id"],
            next_prekey=2,
        ).save
    )
    signed, kyber, one_time = (secrets[f"{kind}_prekey"] for kind in ("signed", "kyber", "one_time"))
    pair = key_pair(bytes.fromhex(signed["private"]))
    device.records[records.signed_prekey_key(signed["id"])] = records.encode_signed_prekey(
        SignedPreKey(signed["id"], pair, bytes.fromhex(signed["signature"]), 0)
    )
    kem = kem_key_pair(bytes.fromhex(kyber["fips203_seed"]))
    device.records[records.kyber_prekey_key(kyber["id"])] = records.encode_kyber_prekey(
        KyberPreKey(kyber["id"], kem, bytes.fromhex(kyber["signature"]), 0, is_last_resort=False)
    )
    device.records[records.one_time_prekey_key(one_time["id"])] = records.encode_one_time_prekey(
        OneTimePreKey(one_time["id"], key_pair(bytes.fromhex(one_time["private"])))
    )
    device.trust = SenderTrust(roots=[bytes.fromhex(vectors["trust_root_public"])])
    device.wall_ms = vectors["now_ms"]
    return device


# ---- one to one ------------------------------------------------------------------------------------------------------


def test_messages_of_the_official_library_are_unsealed_and_decrypted(vectors: dict[str, Any]) -> None:
    bob = official_bob(vectors)
    alice = DeviceId(UserId(vectors["alice"]["name"]), 1)

    for case in vectors["v1"]:
        data = bytes.fromhex(case["bytes"])
        assert bob.unseal(data).sender == alice
        assert bob.open_sealed(data).plaintext.hex() == case["plaintext"]


def test_a_conversation_goes_on_under_seals(alice: SealingParty, bob: SealingParty) -> None:
    alice.meet(bob)

    for n in range(3):
        there = alice.encrypt_sealed(b"%d" % n, to=bob)
        assert bob.open_sealed(there).plaintext == b"%d" % n
        back = bob.encrypt_sealed(b"re %d" % n, to=alice)
        assert alice.open_sealed(back).plaintext == b"re %d" % n


def test_unsealing_tells_who_wrote_and_changes_nothing(alice: SealingParty, bob: SealingParty) -> None:
    alice.meet(bob)
    data = alice.encrypt_sealed(b"x", to=bob, hint=ContentHint.RESENDABLE)
    before = dict(bob.records)

    unsealed = bob.unseal(data)

    assert (unsealed.sender, unsealed.certificate) == (alice.id, alice.certificate)
    assert (unsealed.hint, unsealed.group_id) == (ContentHint.RESENDABLE, b"")
    assert bob.unseal(data) == unsealed
    assert bob.records == before


def test_each_operation_reads_only_the_rows_that_it_says(alice: SealingParty, bob: SealingParty) -> None:
    alice.meet(bob)
    rows = within(alice.records, alice.device.records_for(bob.id))
    made = alice.sealing.encrypt(rows, b"x", remote=bob.id, certificate=alice.certificate, wall_ms=0)

    identity = within(bob.records, bob.sealing.records_for_unseal())
    unsealed = bob.sealing.unseal(identity, made.body, trust=bob.trust, wall_ms=0)
    needed = within(bob.records, bob.sealing.records_for_unsealed(unsealed))
    opened = bob.sealing.decrypt(needed, unsealed, wall_ms=0)

    assert identity.keys() == {records.IDENTITY_KEY}
    assert len(needed) < len(bob.records)
    assert opened.plaintext == b"x"


def test_a_certificate_that_expires_on_the_way_was_good_when_the_server_took_the_message_in(
    alice: SealingParty, bob: SealingParty
) -> None:
    alice.meet(bob)
    data = alice.encrypt_sealed(b"x", to=bob)
    bob.wall_ms = DAY_MS + 1

    with pytest.raises(InvalidCertificateError):
        bob.unseal(data)
    unsealed = bob.sealing.unseal(bob.records, data, trust=bob.trust, wall_ms=DAY_MS)

    assert bob.sealing.decrypt(bob.records, unsealed, wall_ms=bob.wall_ms).plaintext == b"x"


def test_nothing_is_sealed_with_a_certificate_that_has_expired(alice: SealingParty, bob: SealingParty) -> None:
    alice.meet(bob)
    alice.wall_ms = DAY_MS
    alice.encrypt_sealed(b"x", to=bob)
    alice.wall_ms += 1

    with pytest.raises(StaleCertificateError) as caught:
        alice.encrypt_sealed(b"x", to=bob)

    assert caught.value.expired_at_ms == DAY_MS


def test_nothing_is_sealed_with_a_certificate_that_is_not_the_device_s(alice: SealingParty, bob: SealingParty) -> None:
    alice.meet(bob)

    for certificate, reason in (
        (bob.certificate, "with the certificate of"),
        (HOUSE.certify(alice.id, bob.certificate.identity_key), "of another identity key"),
    ):
        alice.certificate = certificate
        with pytest.raises(UsageError, match=reason):
            alice.encrypt_sealed(b"x", to=bob)


def test_nothing_is_sealed_without_a_session_or_an_identity(alice: SealingParty, bob: SealingParty) -> None:
    message = CiphertextMessage(MessageType.WHISPER, b"x")

    with pytest.raises(NoSessionError):
        alice.encrypt_sealed(b"x", to=bob)
    with pytest.raises(NoSessionError):
        alice.seal(message, to=bob)
    with pytest.raises(UsageError, match="no identity yet"):
        alice.sealing.seal({}, message, remote=bob.id, certificate=alice.certificate, wall_ms=0)


def test_a_message_that_came_back_is_told_as_such(alice: SealingParty) -> None:
    data = v1.seal(
        SealedContent(CiphertextMessage(MessageType.WHISPER, b"x"), alice.certificate),
        sender=hazmat.export_identity(alice.records),
        recipient=alice.certificate.identity_key,
        random_bytes=RANDOM,
    )

    with pytest.raises(SelfSendError):
        alice.unseal(data)


@pytest.mark.parametrize(
    ("sender", "e164", "is_own"),
    [
        (DeviceId.named("alice", 1), None, True),
        (DeviceId.named("alice", 2), None, False),
        (DeviceId.named("bob", 1), None, False),
        (DeviceId.named("bob", 1), "+491", True),
        (DeviceId.named("bob", 2), "+491", False),
        (DeviceId.named("bob", 1), "+492", False),
    ],
)
def test_a_device_knows_itself_by_user_or_phone_number_and_by_its_number(
    alice: SealingParty, sender: DeviceId, e164: str | None, is_own: bool
) -> None:
    device = SealingDevice(alice.id, random_bytes=RANDOM, e164="+491")
    pair = generate(random_bytes=RANDOM)
    data = v1.seal(
        SealedContent(CiphertextMessage(MessageType.WHISPER, b"x"), HOUSE.certify(sender, pair.public, e164=e164)),
        sender=pair,
        recipient=alice.certificate.identity_key,
        random_bytes=RANDOM,
    )

    if is_own:
        with pytest.raises(SelfSendError):
            device.unseal(alice.records, data, trust=HOUSE.trust, wall_ms=0)
    else:
        assert device.unseal(alice.records, data, trust=HOUSE.trust, wall_ms=0).sender == sender


def test_a_device_without_a_phone_number_is_nobody_s_for_lack_of_one(alice: SealingParty, bob: SealingParty) -> None:
    alice.meet(bob)

    assert alice.certificate.e164 is None
    assert bob.unseal(alice.encrypt_sealed(b"x", to=bob)).sender == alice.id


@pytest.mark.parametrize(("data", "error"), [(b"", InvalidMessageError), (b"\x33" * 200, UnsupportedVersionError)])
def test_what_is_no_seal_is_refused(bob: SealingParty, data: bytes, error: type[WhisperError]) -> None:
    with pytest.raises(error):
        bob.unseal(data)


def test_a_sender_with_another_identity_key_is_refused_until_it_is_accepted(bob: SealingParty) -> None:
    old = party("alice")
    befriend(old, bob)
    new = party("alice", seed=1)
    new.meet(bob)
    data = new.encrypt_sealed(b"it is me", to=bob)

    with pytest.raises(UntrustedIdentityError) as caught:
        bob.open_sealed(data)
    bob.save(bob.device.accept_identity(bob.records, caught.value.found, remote=new.id, wall_ms=0).save)

    assert caught.value.found == new.certificate.identity_key
    assert bob.open_sealed(data).plaintext == b"it is me"


def test_who_steals_a_first_message_cannot_put_a_certificate_of_their_own_around_it(bob: SealingParty) -> None:
    alice = party("alice")
    alice.meet(bob)
    stolen = alice.encrypt(b"x", to=bob)
    # The server itself: it vouches for a key of its own as Alice's, and Bob has never heard of her.
    pair = generate(random_bytes=RANDOM)
    data = v1.seal(
        SealedContent(stolen, HOUSE.certify(alice.id, pair.public)),
        sender=pair,
        recipient=bob.certificate.identity_key,
        random_bytes=RANDOM,
    )

    with pytest.raises(AuthenticationError, match="another identity key than its session"):
        bob.open_sealed(data)
    assert bob.decrypt(stolen, sender=alice) == b"x"


def test_a_refused_message_leaves_nothing_behind(alice: SealingParty, bob: SealingParty) -> None:
    befriend(alice, bob)
    data = alice.encrypt_sealed(b"x", to=bob)
    before = dict(bob.records)

    for position in range(1, len(data), 7):
        altered = data[:position] + bytes([data[position] ^ 0x20]) + data[position + 1 :]
        with pytest.raises(WhisperError):
            bob.open_sealed(altered)

    assert bob.records == before
    assert bob.open_sealed(data).plaintext == b"x"


# ---- groups ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def members(alice: SealingParty) -> list[SealingParty]:
    """Bob with two devices, and Carol: friends of Alice, with her key for the group."""
    people = [party("bob", 1), party("bob", 2), party("carol", 1)]
    for each in people:
        befriend(alice, each)
    alice.hand_out(GROUP, to=people)
    return people


def test_one_message_is_sealed_for_all_devices_of_a_group(alice: SealingParty, members: list[SealingParty]) -> None:
    dave = UserId.named("dave")
    sent = alice.group_encrypt_sealed(b"hello all", group=GROUP, to=members, excluded=[dave])

    taken = SentMessage.decode(sent)

    assert {part.device for part in taken.parts} == {each.id for each in members}
    assert taken.excluded == {dave}
    for each in members:
        (part,) = (part for part in taken.parts if part.device == each.id)
        assert part.registration_id == each.device.registration_id(each.records)
        data = taken.received_by(part)
        unsealed = each.unseal(data)
        assert (unsealed.sender, unsealed.group_id) == (alice.id, b"group")
        needed = within(each.records, each.sealing.records_for_unsealed(unsealed))
        assert each.sealing.decrypt(needed, unsealed, wall_ms=0).plaintext == b"hello all"


def test_sealing_for_many_reads_only_the_rows_that_it_says(alice: SealingParty, members: list[SealingParty]) -> None:
    spans = alice.sealing.records_for_many(GROUP, [each.id for each in members])
    rows = within(alice.records, spans)

    made = alice.sealing.group_encrypt(
        rows,
        b"x",
        group=GROUP,
        recipients=[each.id for each in members],
        certificate=alice.certificate,
        wall_ms=0,
    )

    assert len(spans) == len(set(spans))
    assert made.save.keys() == {key for key in alice.records if key.startswith(b"k/own/")}


def test_a_group_is_sealed_only_for_devices_with_a_session_and_the_trusted_key(
    alice: SealingParty, members: list[SealingParty]
) -> None:
    stranger = party("dave")
    with pytest.raises(NoSessionError) as caught:
        alice.group_encrypt_sealed(b"x", group=GROUP, to=[*members, stranger])
    assert caught.value.remote == stranger.id

    peer = records.peer_key(members[0].id)
    alice.records[peer] = alice.records[records.peer_key(members[1].id)]
    with pytest.raises(UntrustedIdentityError):
        alice.group_encrypt_sealed(b"x", group=GROUP, to=members)


def test_a_device_without_a_sender_key_seals_nothing_for_a_group(
    alice: SealingParty, members: list[SealingParty]
) -> None:
    with pytest.raises(NoSenderKeyError):
        alice.group_encrypt_sealed(b"x", group=ConversationId("other"), to=members)


def test_a_device_with_a_registration_id_that_does_not_fit_is_named(
    alice: SealingParty, members: list[SealingParty]
) -> None:
    shelf = SessionShelf(alice.records, members[1].id)
    current = shelf.current
    assert current is not None
    shelf.replace_current(current._replace(parties=current.parties._replace(remote_registration_id=1 << 20)))
    alice.save(shelf.save)

    with pytest.raises(RegistrationIdError) as caught:
        alice.group_encrypt_sealed(b"x", group=GROUP, to=members)

    assert caught.value.remote == members[1].id


def test_a_group_message_of_a_sender_with_another_identity_key_is_refused(
    alice: SealingParty, members: list[SealingParty]
) -> None:
    bob = members[0]
    data = part_for(alice.group_encrypt_sealed(b"x", group=GROUP, to=members), bob)
    stranger = generate(random_bytes=RANDOM).public
    bob.save(bob.device.accept_identity(bob.records, stranger, remote=alice.id, wall_ms=0).save)

    with pytest.raises(UntrustedIdentityError):
        bob.open_sealed(data)


# ---- decryption errors ----------------------------------------------------------------------------------------------


def test_a_recipient_asks_and_the_sender_makes_a_new_session_and_sends_again(
    alice: SealingParty, bob: SealingParty
) -> None:
    befriend(alice, bob)
    bob.records = {key: value for key, value in bob.records.items() if not key.startswith(b"k/session/")}
    lost = alice.encrypt_sealed(b"important", to=bob)

    unsealed = bob.unseal(lost)
    with pytest.raises(NoSessionError):
        bob.sealing.decrypt(bob.records, unsealed, wall_ms=0)
    assert isinstance(unsealed.message, CiphertextMessage)
    error = DecryptionErrorMessage.about(unsealed.message, sender=unsealed.sender, sent_at_ms=7)
    word = bob.seal(PlaintextContent.of(error), to=alice)
    heard = alice.unseal(word)
    needed = within(alice.records, alice.sealing.records_for_unsealed(heard))
    asked = alice.sealing.decryption_error(needed, heard)

    assert (heard.sender, asked) == (bob.id, error)
    assert is_of_current_session(alice.records, asked, remote=bob.id)
    alice.meet(bob)
    assert not is_of_current_session(alice.records, asked, remote=bob.id)
    assert bob.open_sealed(alice.encrypt_sealed(b"important", to=bob)).plaintext == b"important"


def test_an_error_and_a_message_are_not_taken_for_each_other(alice: SealingParty, bob: SealingParty) -> None:
    alice.meet(bob)
    message = bob.unseal(alice.encrypt_sealed(b"x", to=bob))
    error = bob.unseal(alice.seal(PlaintextContent.of(DecryptionErrorMessage(None, 5, 1)), to=bob))

    with pytest.raises(UsageError, match="goes to decrypt"):
        bob.sealing.decryption_error(bob.records, message)
    with pytest.raises(UsageError, match="goes to decryption_error"):
        bob.sealing.decrypt(bob.records, error, wall_ms=0)


def test_an_error_of_a_device_with_another_identity_key_is_refused(bob: SealingParty) -> None:
    befriend(party("alice"), bob)
    impostor = party("alice", seed=2)
    impostor.meet(bob)
    heard = bob.unseal(impostor.seal(PlaintextContent.of(DecryptionErrorMessage(None, 5, 1)), to=bob))

    with pytest.raises(UntrustedIdentityError):
        bob.sealing.decryption_error(bob.records, heard)


def test_an_error_that_is_sealed_for_many_is_refused_for_any_of_them_could_have_written_it(
    alice: SealingParty, bob: SealingParty
) -> None:
    sent = seal_for_many(
        SealedContent(PlaintextContent.of(DecryptionErrorMessage(None, 5, 1)), alice.certificate),
        sender=hazmat.export_identity(alice.records),
        recipients=[Recipient(bob.id, bob.certificate.identity_key, 1)],
        random_bytes=RANDOM,
    )

    with pytest.raises(AuthenticationError, match="could be of any of them"):
        bob.unseal(part_for(sent, bob))


# ---- what is printed -------------------------------------------------------------------------------------------------


def test_no_secret_is_printed(alice: SealingParty, bob: SealingParty) -> None:
    alice.meet(bob)
    sealed = alice.sealing.encrypt(
        alice.records, b"the plaintext", remote=bob.id, certificate=alice.certificate, wall_ms=0
    )
    unsealed = bob.unseal(sealed.body)
    keys = hazmat.export_identity(alice.records)
    secret = agree(keys.private, bob.certificate.identity_key)
    one = v1._outer_keys(  # pyright: ignore[reportPrivateUsage]  # it might be printed, so it is looked at
        secret, recipient=bob.certificate.identity_key, ephemeral=keys.public
    )
    many = v2._grow(secret)  # pyright: ignore[reportPrivateUsage]  # likewise
    secrets = [*one, many.cipher_key, many.ephemeral.private, keys.private, sealed.body, unsealed.message[-1]]

    for value in (alice.sealing, sealed, unsealed, one, many, SealedContent(unsealed.message, alice.certificate)):
        text = repr(value)
        assert "plaintext" not in text
        assert not any(repr(each)[2:-1] in text or each.hex() in text for each in secrets)


def test_certificates_print_nothing_that_is_secret(alice: SealingParty) -> None:
    private = HOUSE.signer.private

    for text in (
        repr(alice.certificate),
        repr(HOUSE.server),
        repr(SenderCertificate.decode(alice.certificate.encode())),
    ):
        assert private.hex() not in text
        assert repr(private)[2:-1] not in text
