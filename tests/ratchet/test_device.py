"""The pure `Device`: what it answers, what it refuses, and that a refusal leaves nothing behind."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from whisperkit.errors import (
    ActionRequiredError,
    AuthenticationError,
    CorruptStateError,
    DuplicateMessageError,
    InvalidKeyError,
    InvalidMessageError,
    InvalidSignatureError,
    NoSenderKeyError,
    NoSessionError,
    PeerError,
    UnknownPreKeyError,
    UnsupportedVersionError,
    UntrustedIdentityError,
    UsageError,
)
from whisperkit.ids import ConversationId, DeviceId, UserId
from whisperkit.partitions import MAX_KEY_BYTES, Span
from whisperkit.ratchet import (
    MAX_ARCHIVED_SESSIONS,
    UNACKNOWLEDGED_LIFE_MS,
    CiphertextMessage,
    Device,
    MessageType,
    PreKeyBundle,
    SenderKeyDistributionMessage,
    distribution_id,
    records,
    verify,
)
from whisperkit.ratchet.curve import key_pair
from whisperkit.ratchet.first_contact import MAX_BASE_KEYS_SEEN
from whisperkit.ratchet.kem import key_pair as kem_key_pair
from whisperkit.ratchet.messages import PreKeySignalMessage
from whisperkit.ratchet.prekeys import KyberPreKey, OneTimePreKey, SignedPreKey
from whisperkit.ratchet.records import LocalIdentity
from whisperkit.ratchet.sessions import SessionShelf
from whisperkit.testing.ratchet import Party, seeded_bytes

FOLDER = Path(__file__).parent.parent / "vectors/signal"
GROUP = ConversationId("group")


@pytest.fixture
def alice() -> Party:
    return Party(DeviceId.named("alice", 1), random_bytes=seeded_bytes(10))


@pytest.fixture
def bob() -> Party:
    return Party(DeviceId.named("bob", 1), random_bytes=seeded_bytes(11))


@pytest.fixture
def carol() -> Party:
    return Party(DeviceId.named("carol", 1), random_bytes=seeded_bytes(12))


def converse(one: Party, other: Party) -> None:
    """Make a session that both have answered in."""
    one.meet(other)
    assert other.decrypt(one.encrypt(b"hello", to=other), sender=one) == b"hello"
    assert one.decrypt(other.encrypt(b"hi", to=one), sender=other) == b"hi"


# ---- against the official library -----------------------------------------------------------------------------------


def load(name: str) -> Any:  # vectors are JSON of many shapes
    return json.loads((FOLDER / name).read_text())


def device_of(case: dict[str, Any]) -> DeviceId:
    return DeviceId(UserId(case["name"]), case["device_id"])


def party_of(case: dict[str, Any], prekeys: dict[str, Any]) -> Party:
    """A device that holds the secrets of a vector."""
    party = Party(device_of(case), random_bytes=seeded_bytes(13))
    identity = key_pair(bytes.fromhex(case["identity_private"]))
    signed, kyber, one_time = prekeys["signed_prekey"], prekeys["kyber_prekey"], prekeys["one_time_prekey"]
    party.records = {
        records.IDENTITY_KEY: records.encode_local_identity(LocalIdentity(identity, case["registration_id"], 100)),
        records.signed_prekey_key(signed["id"]): records.encode_signed_prekey(
            SignedPreKey(signed["id"], key_pair(bytes.fromhex(signed["private"])), bytes(64), 0)
        ),
        records.kyber_prekey_key(kyber["id"]): records.encode_kyber_prekey(
            KyberPreKey(kyber["id"], kem_key_pair(bytes.fromhex(kyber["fips203_seed"])), bytes(64), 0, True)
        ),
    }
    if one_time is not None:
        pair = key_pair(bytes.fromhex(one_time["private"]))
        encoded = records.encode_one_time_prekey(OneTimePreKey(one_time["id"], pair))
        party.records[records.one_time_prekey_key(one_time["id"])] = encoded
    return party


# What the official library says, and what is raised here for it.
KINDS = {
    "Both or neither": InvalidMessageError,
    "Kyber pre key must be present": InvalidMessageError,
    "protobuf encoding was invalid": InvalidMessageError,
    "too short": InvalidMessageError,
    "loadSignedPreKey": UnknownPreKeyError,
    "loadPreKey": UnknownPreKeyError,
    "loadKyberPreKey": UnknownPreKeyError,
    "decryption failed": AuthenticationError,
    "bad KEM": InvalidKeyError,
    "bad key type": InvalidKeyError,
    "incoming base key is invalid": InvalidKeyError,
    "version was": UnsupportedVersionError,
    "X3DH no longer supported": UnsupportedVersionError,
}

NEGATIVE = load("handshake.json")["negative"]


@pytest.mark.parametrize("case", NEGATIVE["messages"], ids=lambda case: case["note"])
def test_a_mutated_first_message_ends_as_in_the_official_library(case: dict[str, str]) -> None:
    setup = NEGATIVE["setup"]
    bob, sender = party_of(setup["bob"], setup["bob_prekeys"]), device_of(setup["alice"])
    before = dict(bob.records)
    message = CiphertextMessage(MessageType.PREKEY, bytes.fromhex(case["bytes"]))
    verdict, _, found = case["result"].partition(" ")

    if verdict == "ok":
        opened = bob.device.decrypt(bob.records, message, sender=sender, wall_ms=0)
        assert opened.plaintext.hex() == found
        assert opened.is_new_session
    else:
        expected = next(kind for text, kind in KINDS.items() if text in found)
        with pytest.raises(expected):
            bob.device.decrypt(bob.records, message, sender=sender, wall_ms=0)

    assert bob.records == before


@pytest.mark.parametrize("case", load("conversations.json")["conversations"], ids=lambda case: case["note"])
def test_a_conversation_of_the_official_library_is_read(case: dict[str, Any]) -> None:
    bob, sender = party_of(case["bob"], case["bob_prekeys"]), device_of(case["alice"])

    for delivery in case["deliveries"]:
        made = case["messages"][delivery["index"]]
        message = CiphertextMessage(MessageType(made["type"]), bytes.fromhex(made["bytes"]))
        if delivery["result"].startswith("error message with old counter"):
            with pytest.raises(DuplicateMessageError):
                bob.device.decrypt(bob.records, message, sender=sender, wall_ms=0)
        else:
            opened = bob.device.decrypt(bob.records, message, sender=sender, wall_ms=0)
            bob.save(opened.save)
            assert opened.plaintext.hex() == delivery["result"]


# ---- identity -------------------------------------------------------------------------------------------------------


def test_an_identity_is_made_once(alice: Party) -> None:
    with pytest.raises(UsageError, match="identity already"):
        alice.device.create_identity(alice.records)


def test_a_registration_id_has_14_bits() -> None:
    for byte in (b"\x00", b"\xff"):
        device = Device(DeviceId.named("x", 1), random_bytes=byte.__mul__)
        assert 1 <= device.create_identity({}).registration_id <= 16_380


def test_nothing_works_before_there_is_an_identity(alice: Party, bob: Party) -> None:
    bundle = PreKeyBundle.of(bob.publish())

    with pytest.raises(UsageError, match="no identity yet"):
        alice.device.process_bundle({}, bundle, remote=bob.id, wall_ms=0)


def test_a_signature_by_the_identity_key_verifies(alice: Party) -> None:
    signature = alice.device.sign(alice.records, b"challenge 123")

    verify(alice.device.identity_key(alice.records), b"challenge 123", signature)


@pytest.mark.parametrize("size", [33, 1569])
def test_what_could_pass_for_a_prekey_is_not_signed(alice: Party, size: int) -> None:
    with pytest.raises(UsageError, match="could be a prekey"):
        alice.device.sign(alice.records, bytes(size))


# ---- bundles --------------------------------------------------------------------------------------------------------


def test_a_bundle_of_another_device_is_refused(alice: Party, bob: Party, carol: Party) -> None:
    bundle = PreKeyBundle.of(bob.publish())._replace(device=bob.id)

    with pytest.raises(InvalidMessageError, match=f"is of {bob.id}"):
        alice.device.process_bundle(alice.records, bundle, remote=carol.id, wall_ms=0)


@pytest.mark.parametrize("field", ["signed", "kyber"])
def test_a_bundle_with_a_forged_prekey_is_refused(alice: Party, bob: Party, carol: Party, field: str) -> None:
    bundle = PreKeyBundle.of(bob.publish())
    forged = bundle._replace(**{field: getattr(PreKeyBundle.of(carol.publish()), field)})

    with pytest.raises(InvalidSignatureError) as caught:
        alice.device.process_bundle(alice.records, forged, remote=bob.id, wall_ms=0)

    assert any(field in note for note in caught.value.__notes__)


def test_a_bundle_with_a_bad_key_is_refused(alice: Party, bob: Party) -> None:
    bundle = PreKeyBundle.of(bob.publish())
    assert bundle.one_time is not None

    for bad in (
        bundle._replace(identity_key=b""),
        bundle._replace(signed=bundle.signed._replace(public=b"\x05")),
        bundle._replace(kyber=bundle.kyber._replace(public=b"\x0a" + bundle.kyber.public[1:])),
        bundle._replace(one_time=bundle.one_time._replace(public=b"\x04" + bytes(32))),
    ):
        with pytest.raises(InvalidKeyError):
            alice.device.process_bundle(alice.records, bad, remote=bob.id, wall_ms=0)


def test_a_bundle_without_one_time_keys_works(alice: Party, bob: Party) -> None:
    bundle = PreKeyBundle.of(bob.publish(), index=None)
    alice.save(alice.device.process_bundle(alice.records, bundle, remote=bob.id, wall_ms=0).save)

    opened = bob.open(alice.encrypt(b"x", to=bob), sender=alice)

    assert opened.plaintext == b"x"
    assert opened.one_time_prekey is None
    bob_kyber = [key for key in bob.records if key.startswith(records.KYBER_PREFIX)]
    assert len(bob_kyber) == 2  # the last resort is still there


# ---- messages -------------------------------------------------------------------------------------------------------


def test_the_story_of_the_documentation(alice: Party, bob: Party) -> None:
    alice.meet(bob)
    first = alice.encrypt(b"hello", to=bob)
    assert first.type is MessageType.PREKEY
    opened = bob.open(first, sender=alice)
    assert opened.plaintext == b"hello"
    assert opened.identity_key == alice.device.identity_key(alice.records)
    assert opened.is_new_session

    reply = bob.encrypt(b"hi", to=alice)
    assert reply.type is MessageType.WHISPER
    assert alice.decrypt(reply, sender=bob) == b"hi"

    one, two = [alice.encrypt(text, to=bob) for text in (b"1", b"2")]
    assert bob.decrypt(two, sender=alice) == b"2"
    assert bob.decrypt(one, sender=alice) == b"1"
    with pytest.raises(DuplicateMessageError, match=f"from {alice.id}"):
        bob.decrypt(one, sender=alice)


def test_an_operation_does_not_touch_the_records_it_is_given(alice: Party, bob: Party) -> None:
    converse(alice, bob)
    before = dict(alice.records)

    sealed = alice.device.encrypt(alice.records, b"x", remote=bob.id, wall_ms=0)

    assert alice.records == before
    assert sealed.save


def test_prekeys_are_used_up_by_the_first_message_that_opens(alice: Party, bob: Party) -> None:
    alice.meet(bob)

    opened = bob.open(alice.encrypt(b"x", to=bob), sender=alice)

    assert opened.one_time_prekey is not None
    assert records.one_time_prekey_key(opened.one_time_prekey) not in bob.records
    assert records.kyber_prekey_key(opened.one_time_prekey) not in bob.records


def test_a_repeated_first_message_is_a_duplicate_although_its_prekeys_are_gone(alice: Party, bob: Party) -> None:
    alice.meet(bob)
    first, second = alice.encrypt(b"1", to=bob), alice.encrypt(b"2", to=bob)
    bob.decrypt(first, sender=alice)

    with pytest.raises(DuplicateMessageError):
        bob.decrypt(first, sender=alice)

    assert not bob.open(second, sender=alice).is_new_session


@pytest.mark.parametrize("lost", [b"k/ec/", b"k/signed/", b"k/kyber/"])
def test_a_first_message_that_names_an_unknown_prekey_is_refused(alice: Party, bob: Party, lost: bytes) -> None:
    alice.meet(bob)
    first = alice.encrypt(b"x", to=bob)
    bob.records = {key: value for key, value in bob.records.items() if not key.startswith(lost)}

    with pytest.raises(UnknownPreKeyError):
        bob.decrypt(first, sender=alice)


def test_a_replayed_first_message_is_refused_when_its_session_is_gone(alice: Party, bob: Party) -> None:
    bundle = PreKeyBundle.of(bob.publish(), index=None)
    alice.save(alice.device.process_bundle(alice.records, bundle, remote=bob.id, wall_ms=0).save)
    first = alice.encrypt(b"pay 5", to=bob)
    bob.decrypt(first, sender=alice)
    bob.records = {key: value for key, value in bob.records.items() if not key.startswith(b"k/session/")}

    with pytest.raises(InvalidMessageError, match="replay"):
        bob.decrypt(first, sender=alice)


def test_the_base_keys_seen_with_a_last_resort_are_bounded(alice: Party, bob: Party) -> None:
    bundle = PreKeyBundle.of(bob.publish(), index=None)
    key = records.used_key(bundle.kyber.number, bundle.signed.number)
    bob.records[key] = bytes(16 * MAX_BASE_KEYS_SEEN)
    alice.save(alice.device.process_bundle(alice.records, bundle, remote=bob.id, wall_ms=0).save)

    bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice)

    assert len(bob.records[key]) == 16 * MAX_BASE_KEYS_SEEN
    assert bob.records[key][-16:] != bytes(16)


def test_without_a_session_there_is_nothing_to_send_in(alice: Party, bob: Party) -> None:
    laptop = Party(DeviceId(bob.id.user, 2), random_bytes=seeded_bytes(1))
    converse(alice, laptop)

    with pytest.raises(NoSessionError) as caught:
        alice.encrypt(b"x", to=bob)

    assert (caught.value.remote, caught.value.known) == (bob.id, 1)


def test_without_a_session_a_later_message_cannot_be_read(alice: Party, bob: Party, carol: Party) -> None:
    converse(alice, bob)
    message = alice.encrypt(b"x", to=bob)

    with pytest.raises(NoSessionError):
        carol.decrypt(message, sender=alice)


def test_an_unanswered_session_is_refused_for_sending_after_30_days(alice: Party, bob: Party) -> None:
    alice.meet(bob)
    alice.wall_ms = UNACKNOWLEDGED_LIFE_MS
    first = alice.encrypt(b"x", to=bob)
    assert alice.device.has_session(alice.records, remote=bob.id, wall_ms=alice.wall_ms)

    alice.wall_ms += 1

    with pytest.raises(NoSessionError):
        alice.encrypt(b"x", to=bob)
    assert not alice.device.has_session(alice.records, remote=bob.id, wall_ms=alice.wall_ms)
    bob.decrypt(first, sender=alice)
    alice.decrypt(bob.encrypt(b"late", to=alice), sender=bob)
    assert alice.encrypt(b"x", to=bob).type is MessageType.WHISPER


def test_an_archived_session_opens_but_nothing_is_sent_in_it_until_it_did(alice: Party, bob: Party) -> None:
    converse(alice, bob)
    alice.save(alice.device.archive_session(alice.records, remote=bob.id).save)
    with pytest.raises(NoSessionError):
        alice.encrypt(b"x", to=bob)

    assert alice.decrypt(bob.encrypt(b"y", to=alice), sender=bob) == b"y"

    assert bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice) == b"x"


def test_to_archive_where_there_is_no_session_changes_nothing(alice: Party, bob: Party) -> None:
    assert alice.device.archive_session(alice.records, remote=bob.id).save == {}


def test_two_who_begin_at_once_meet_in_one_session(alice: Party, bob: Party) -> None:
    alice.meet(bob)
    bob.meet(alice)
    to_bob, to_alice = alice.encrypt(b"a", to=bob), bob.encrypt(b"b", to=alice)

    assert bob.decrypt(to_bob, sender=alice) == b"a"
    assert alice.decrypt(to_alice, sender=bob) == b"b"

    for n in range(4):
        crossing = alice.encrypt(b"c%d" % n, to=bob), bob.encrypt(b"d%d" % n, to=alice)
        assert bob.decrypt(crossing[0], sender=alice) == b"c%d" % n
        assert alice.decrypt(crossing[1], sender=bob) == b"d%d" % n
    assert bob.decrypt(alice.encrypt(b"e", to=bob), sender=alice) == b"e"
    assert alice.decrypt(bob.encrypt(b"f", to=alice), sender=bob) == b"f"
    assert alice.encrypt(b"g", to=bob).type is MessageType.WHISPER


def test_at_most_40_sessions_are_archived_and_the_oldest_goes(alice: Party, bob: Party) -> None:
    firsts: list[CiphertextMessage] = []
    for _ in range(MAX_ARCHIVED_SESSIONS + 2):
        alice.meet(bob)
        firsts.append(alice.encrypt(b"x", to=bob))
        bob.decrypt(firsts[-1], sender=alice)

    bodies = [key for key in bob.records if key.startswith(records.session_prefix(alice.id))]
    assert len(bodies) == 1 + 1 + MAX_ARCHIVED_SESSIONS
    with pytest.raises(DuplicateMessageError):
        bob.decrypt(firsts[1], sender=alice)
    with pytest.raises(UnknownPreKeyError):
        bob.decrypt(firsts[0], sender=alice)


def skipped_rows(party: Party, other: Party) -> list[bytes]:
    """The rows of skipped seeds and keys, by what follows the name of their session."""
    size = len(records.session_key(other.id, 0))
    prefix = records.session_prefix(other.id)
    return sorted(key[size:] for key in party.records if key.startswith(prefix) and len(key) > size)


def test_skipped_seeds_have_rows_of_their_own_that_come_and_go(alice: Party, bob: Party) -> None:
    converse(alice, bob)
    messages = [alice.encrypt(b"%d" % n, to=bob) for n in range(4)]
    rows = set(bob.records)

    bob.decrypt(messages[3], sender=alice)
    added = bob.records.keys() - rows
    assert {key[len(records.session_key(alice.id, 0)) :] for key in added} == {
        b"s" + (1).to_bytes(4, "big"),
        b"q" + (0).to_bytes(8, "big"),
    }
    assert all(len(bob.records[row]) == 3 * 36 for row in added)

    for n in (1, 0, 2):
        assert bob.decrypt(messages[n], sender=alice) == b"%d" % n
    assert bob.records.keys() == rows


def test_the_rows_of_a_session_that_is_dropped_go_with_it(alice: Party, bob: Party) -> None:
    converse(alice, bob)
    alice.encrypt(b"lost", to=bob)
    bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice)
    assert len(skipped_rows(bob, alice)) == 2

    for _ in range(MAX_ARCHIVED_SESSIONS + 1):
        bob.meet(alice)

    assert not skipped_rows(bob, alice)


def test_rows_of_receiving_chains_that_are_dropped_go_with_them(alice: Party, bob: Party) -> None:
    converse(alice, bob)
    for _ in range(8):
        alice.encrypt(b"lost", to=bob)
        bob.decrypt(alice.encrypt(b"x", to=bob), sender=alice)
        alice.decrypt(bob.encrypt(b"y", to=alice), sender=bob)

    seeds = [suffix for suffix in skipped_rows(bob, alice) if suffix.startswith(b"s")]

    assert seeds == [b"s" + number.to_bytes(4, "big") for number in range(4, 9)]


def test_a_group_message_does_not_go_to_decrypt(alice: Party, bob: Party) -> None:
    with pytest.raises(UsageError, match="group_decrypt"):
        alice.decrypt(CiphertextMessage(MessageType.SENDER_KEY, b""), sender=bob)
    with pytest.raises(UsageError, match="only a group message"):
        alice.device.group_decrypt(alice.records, CiphertextMessage(MessageType.WHISPER, b""), sender=bob.id)


def test_of_several_failures_the_current_session_s_is_told_with_their_number(alice: Party, bob: Party) -> None:
    converse(alice, bob)
    converse(alice, bob)
    body = alice.encrypt(b"x", to=bob).body
    altered = CiphertextMessage(MessageType.WHISPER, body[:-1] + bytes([body[-1] ^ 1]))

    with pytest.raises(AuthenticationError) as caught:
        bob.decrypt(altered, sender=alice)

    assert caught.value.__notes__[2:] == [f"message 0 from {alice.id} did not open; sessions that were tried: 2"]


# ---- trust ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def impostor(bob: Party) -> Party:
    """Bob's device set up anew, or somebody who says so."""
    return Party(bob.id, random_bytes=seeded_bytes(99))


def test_the_first_identity_is_trusted_and_another_one_refused(alice: Party, bob: Party, impostor: Party) -> None:
    converse(alice, bob)

    with pytest.raises(UntrustedIdentityError) as caught:
        alice.meet(impostor)

    assert caught.value.found == impostor.device.identity_key(impostor.records)
    assert caught.value.trusted == bob.device.identity_key(bob.records)
    impostor.meet(alice)
    first = impostor.encrypt(b"x", to=alice)
    before = dict(alice.records)
    with pytest.raises(UntrustedIdentityError):
        alice.decrypt(first, sender=impostor)
    assert alice.records == before


def test_an_accepted_identity_is_trusted_and_the_former_one_no_longer(
    alice: Party, bob: Party, impostor: Party
) -> None:
    converse(alice, bob)
    old = bob.encrypt(b"old", to=alice)
    key = impostor.device.identity_key(impostor.records)

    alice.save(alice.device.accept_identity(alice.records, key, remote=bob.id, wall_ms=5).save)

    with pytest.raises(NoSessionError):
        alice.encrypt(b"x", to=bob)
    with pytest.raises(UntrustedIdentityError):
        alice.decrypt(old, sender=bob)
    alice.meet(impostor)
    assert impostor.decrypt(alice.encrypt(b"x", to=impostor), sender=alice) == b"x"


def test_a_repeated_first_message_cannot_borrow_the_identity_that_is_trusted_now(
    alice: Party, bob: Party, impostor: Party
) -> None:
    # The identity key in a first message is not authenticated where the message finds its session.
    impostor.meet(alice)
    alice.decrypt(impostor.encrypt(b"x", to=alice), sender=impostor)
    key = bob.device.identity_key(bob.records)
    alice.save(alice.device.accept_identity(alice.records, key, remote=bob.id, wall_ms=5).save)
    again = PreKeySignalMessage.decode(impostor.encrypt(b"y", to=alice).body)
    forged = CiphertextMessage(MessageType.PREKEY, again._replace(identity_key=key).encode())

    with pytest.raises(UntrustedIdentityError) as caught:
        alice.decrypt(forged, sender=impostor)

    assert caught.value.found == impostor.device.identity_key(impostor.records)


def test_a_session_with_an_identity_that_is_no_longer_trusted_is_not_sent_in(alice: Party, bob: Party) -> None:
    converse(alice, bob)
    other = records.Peer(alice.device.identity_key(alice.records), 0)
    alice.records[records.peer_key(bob.id)] = records.encode_peer(other)

    with pytest.raises(UntrustedIdentityError):
        alice.encrypt(b"x", to=bob)


def test_to_accept_what_is_trusted_changes_nothing(alice: Party, bob: Party) -> None:
    converse(alice, bob)
    key = bob.device.identity_key(bob.records)

    assert alice.device.accept_identity(alice.records, key, remote=bob.id, wall_ms=5).save == {}


def test_an_identity_can_be_accepted_before_anything_was_heard(alice: Party, bob: Party, impostor: Party) -> None:
    key = bob.device.identity_key(bob.records)

    alice.save(alice.device.accept_identity(alice.records, key, remote=bob.id, wall_ms=5).save)

    assert alice.device.peer(alice.records, bob.id) == records.Peer(key, 5)
    with pytest.raises(UntrustedIdentityError):
        alice.meet(impostor)


def test_safety_numbers_agree_and_can_be_marked_verified(alice: Party, bob: Party) -> None:
    converse(alice, bob)
    ours = alice.device.safety_number(alice.records, remote=bob.id)
    theirs = bob.device.safety_number(bob.records, remote=alice.id)
    assert ours.digits == theirs.digits
    assert ours.matches(theirs.scannable)

    alice.save(alice.device.mark_verified(alice.records, ours, wall_ms=7).save)

    peer = alice.device.peer(alice.records, bob.id)
    assert peer is not None
    assert peer.verified_at_ms == 7


def test_a_number_that_was_compared_for_another_key_verifies_nothing(
    alice: Party, bob: Party, impostor: Party, carol: Party
) -> None:
    converse(alice, bob)
    number = alice.device.safety_number(alice.records, remote=bob.id)
    key = impostor.device.identity_key(impostor.records)
    alice.save(alice.device.accept_identity(alice.records, key, remote=bob.id, wall_ms=5).save)

    with pytest.raises(UntrustedIdentityError):
        alice.device.mark_verified(alice.records, number, wall_ms=7)
    with pytest.raises(NoSessionError):
        alice.device.mark_verified(alice.records, number._replace(device=carol.id), wall_ms=7)


def test_there_is_no_safety_number_with_a_stranger(alice: Party, bob: Party) -> None:
    with pytest.raises(NoSessionError):
        alice.device.safety_number(alice.records, remote=bob.id)


# ---- groups ---------------------------------------------------------------------------------------------------------


def distribute(sender: Party, *readers: Party) -> SenderKeyDistributionMessage:
    made = sender.device.create_distribution(sender.records, GROUP)
    sender.save(made.save)
    for reader in readers:
        reader.save(reader.device.process_distribution(reader.records, made.message, sender=sender.id).save)
    return made.message


def post(sender: Party, text: bytes) -> CiphertextMessage:
    sealed = sender.device.group_encrypt(sender.records, text, group=GROUP)
    sender.save(sealed.save)
    return sealed.message


def read(reader: Party, message: CiphertextMessage, *, sender: Party) -> bytes:
    opened = reader.device.group_decrypt(reader.records, message, sender=sender.id)
    reader.save(opened.save)
    return opened.plaintext


def test_one_ciphertext_is_read_by_everybody(alice: Party, bob: Party, carol: Party) -> None:
    distribute(alice, bob, carol)

    message = post(alice, b"hello all")

    assert read(bob, message, sender=alice) == b"hello all"
    assert read(carol, message, sender=alice) == b"hello all"
    with pytest.raises(DuplicateMessageError, match=f"from {alice.id}"):
        read(bob, message, sender=alice)


def test_who_joins_late_reads_from_there(alice: Party, bob: Party, carol: Party) -> None:
    distribute(alice, bob)
    early = post(alice, b"1")

    distribute(alice, carol)

    assert read(carol, post(alice, b"2"), sender=alice) == b"2"
    with pytest.raises(DuplicateMessageError):
        read(carol, early, sender=alice)


def test_who_left_reads_nothing_after_the_key_was_renewed(alice: Party, bob: Party, carol: Party) -> None:
    distribute(alice, bob, carol)
    late = post(alice, b"old")
    made = alice.device.rotate_sender_key(alice.records, GROUP)
    alice.save(made.save)
    bob.save(bob.device.process_distribution(bob.records, made.message, sender=alice.id).save)
    message = post(alice, b"without carol")

    assert read(bob, message, sender=alice) == b"without carol"
    assert read(bob, late, sender=alice) == b"old"
    with pytest.raises(NoSenderKeyError) as caught:
        read(carol, message, sender=alice)
    assert caught.value.distribution == str(distribution_id(GROUP))


def test_a_sender_key_is_bound_to_the_device_that_sent_it(alice: Party, bob: Party, carol: Party) -> None:
    distribute(alice, bob)

    with pytest.raises(NoSenderKeyError):
        read(bob, post(alice, b"x"), sender=carol)


def test_there_is_nothing_to_post_with_before_a_key_was_made(alice: Party) -> None:
    with pytest.raises(NoSenderKeyError):
        post(alice, b"x")


def test_a_reader_s_record_cannot_be_posted_with(alice: Party, bob: Party) -> None:
    message = distribute(alice, bob)
    theirs = bob.records[records.sender_key_key(message.distribution_id, alice.id)]
    bob.records[records.own_sender_key_key(message.distribution_id)] = theirs

    with pytest.raises(CorruptStateError, match="no private half"):
        post(bob, b"x")


def test_a_group_s_distribution_is_a_uuid_that_depends_on_its_id_only() -> None:
    found = distribution_id(GROUP)

    assert found == distribution_id(ConversationId("group")) != distribution_id(ConversationId("other"))
    assert (found.version, found.variant) == (8, uuid.RFC_4122)


# ---- records --------------------------------------------------------------------------------------------------------


def narrowed(party: Party, spans: tuple[Span, ...]) -> dict[bytes, bytes]:
    """Only the rows that were asked for."""
    return {key: value for key, value in party.records.items() if any(span.start <= key < span.stop for span in spans)}


def test_the_rows_that_an_operation_names_are_all_it_needs(alice: Party, bob: Party, carol: Party) -> None:
    converse(carol, alice)
    converse(carol, bob)
    alice.meet(bob)
    message = alice.encrypt(b"1", to=bob)

    loaded = narrowed(bob, bob.device.records_for(alice.id, message))
    opened = bob.device.decrypt(loaded, message, sender=alice.id, wall_ms=0)
    bob.save(opened.save)
    loaded = narrowed(bob, bob.device.records_for(alice.id))
    bob.save(bob.device.encrypt(loaded, b"2", remote=alice.id, wall_ms=0).save)

    assert opened.plaintext == b"1"
    assert not any(str(carol.id).encode() in key for key in loaded)


def test_the_rows_of_prekeys_and_groups_are_named_too(alice: Party, bob: Party) -> None:
    upload = bob.device.generate_prekeys(narrowed(bob, bob.device.records_for_prekeys()), wall_ms=0, one_time=1)
    bob.save(upload.save)
    again = bob.device.generate_prekeys(narrowed(bob, bob.device.records_for_prekeys()), wall_ms=0, one_time=1)
    made = alice.device.create_distribution(alice.records, GROUP)
    alice.save(made.save)
    bob.save(bob.device.process_distribution(bob.records, made.message, sender=alice.id).save)

    sealed = alice.device.group_encrypt(narrowed(alice, alice.device.records_for_group(GROUP)), b"x", group=GROUP)
    spans = bob.device.records_for_sender_key(sealed.message, sender=alice.id)

    assert again.upload.signed == upload.upload.signed
    assert bob.device.group_decrypt(narrowed(bob, spans), sealed.message, sender=alice.id).plaintext == b"x"
    assert bob.device.records_for_sender_key(made.message, sender=alice.id) == spans


def test_the_names_of_records_fit_the_store() -> None:
    longest = DeviceId(UserId.named("x"), 127)

    names = [
        records.session_key(longest, 2**32 - 1),
        records.session_key(longest, 2**32 - 1) + b"q" + bytes(8),  # skipped keys of the post-quantum ratchet
        records.peer_key(longest),
        records.sender_key_key(distribution_id(GROUP), longest),
        records.used_key(2**32 - 1, 2**32 - 1),
    ]

    assert max(map(len, names)) <= MAX_KEY_BYTES


def test_a_session_that_is_listed_but_not_there_is_a_fault_of_the_store(alice: Party, bob: Party) -> None:
    converse(alice, bob)
    del alice.records[records.session_key(bob.id, 0)]

    with pytest.raises(CorruptStateError, match="listed but not there"):
        alice.encrypt(b"x", to=bob)


def test_no_device_prints_more_than_its_name(alice: Party) -> None:
    assert repr(alice.device) == f"Device({alice.id!r})"


def test_every_refusal_is_a_peer_s_or_asks_for_an_action(alice: Party, bob: Party) -> None:
    converse(alice, bob)
    body = alice.encrypt(b"x", to=bob).body
    random = seeded_bytes(5)

    for kind in (MessageType.WHISPER, MessageType.PREKEY):
        for size in range(0, 200, 7):
            for data in (random(size), body[: min(size, len(body) - 1)], b"\x44" + random(size)):
                with pytest.raises((PeerError, ActionRequiredError)):
                    bob.decrypt(CiphertextMessage(kind, data), sender=alice)


def test_there_has_to_be_a_current_session_to_go_on_in(alice: Party, bob: Party) -> None:
    converse(alice, bob)
    shelf = SessionShelf(alice.records, bob.id)
    session = shelf.load(0)
    shelf.archive()

    with pytest.raises(UsageError, match="no current session"):
        shelf.replace_current(session)


def test_a_first_message_without_a_one_time_prekey_names_fewer_rows(alice: Party, bob: Party) -> None:
    bundle = PreKeyBundle.of(bob.publish(), index=None)
    alice.save(alice.device.process_bundle(alice.records, bundle, remote=bob.id, wall_ms=0).save)
    message = alice.encrypt(b"x", to=bob)

    spans = bob.device.records_for(alice.id, message)

    assert not any(span.start.startswith(b"k/ec/") for span in spans)
    assert bob.device.decrypt(narrowed(bob, spans), message, sender=alice.id, wall_ms=0).plaintext == b"x"
