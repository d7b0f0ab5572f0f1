"""The guarantees, each as a check, and for each a broken variant of the code that the check catches."""

from __future__ import annotations

import hmac
from collections.abc import Callable

import pytest

from tests.ratchet.guarantees import Broken, altered, friends, no_check, people, refused
from whisperkit.errors import (
    ActionRequiredError,
    AttachmentError,
    AuthenticationError,
    DuplicateMessageError,
    InvalidKeyError,
    InvalidMessageError,
    InvalidSignatureError,
    NoSenderKeyError,
    NoSessionError,
    PeerError,
    SkippedTooFarError,
    UntrustedIdentityError,
)
from whisperkit.ids import ConversationId, DeviceId
from whisperkit.ratchet import (
    CHUNK_BYTES,
    SEALED_CHUNK_BYTES,
    UNACKNOWLEDGED_LIFE_MS,
    AttachmentDecryptor,
    AttachmentEncryptor,
    CiphertextMessage,
    MessageType,
    PreKeyBundle,
    records,
    sign,
    verify,
)
from whisperkit.ratchet import session as sessions_of_one
from whisperkit.ratchet.chains import ChainKey, MessageSeed, step
from whisperkit.ratchet.curve import PUBLIC_KEY_BYTES, KeyPair, PublicKey, RandomBytes, agree, is_canonical, key_pair
from whisperkit.ratchet.double_ratchet import NO_SEEDS, skip
from whisperkit.ratchet.messages import PreKeySignalMessage, SignalMessage
from whisperkit.ratchet.sender_keys import SenderKeyState
from whisperkit.ratchet.sessions import SessionShelf
from whisperkit.testing.ratchet import Party, seeded_bytes

GROUP = ConversationId("g")


# ---- the guarantees -------------------------------------------------------------------------------------------------


def no_two_messages_have_one_key() -> None:
    alice, bob = friends()
    keys: set[bytes] = set()
    for _ in range(3):
        keys.add(SessionShelf(alice.records, bob.id).load(0).ratchet.sending.key)
        alice.encrypt(b"x", to=bob)
    assert len(keys) == 3


def a_message_opens_once() -> None:
    alice, bob = friends()
    message = alice.encrypt(b"x", to=bob)
    bob.decrypt(message, sender=alice)
    refused(DuplicateMessageError, lambda: bob.decrypt(message, sender=alice))


def an_altered_message_is_refused() -> None:
    alice, bob = friends()
    message = alice.encrypt(b"x", to=bob)
    refused(AuthenticationError, lambda: bob.decrypt(altered(message), sender=alice))


def a_message_is_bound_to_who_sent_it() -> None:
    alice, bob = friends()
    message = SignalMessage.decode(alice.encrypt(b"x", to=bob).body)
    session = SessionShelf(bob.records, alice.id).load(0)
    other = session._replace(parties=session.parties._replace(remote_identity=key_pair(bytes(32)).public))
    refused(AuthenticationError, lambda: sessions_of_one.decrypt(other, message, random_bytes=seeded_bytes(1)))


def a_first_message_is_bound_to_its_addresses() -> None:
    alice, bob, _ = people()
    alice.meet(bob)
    message = alice.encrypt(b"x", to=bob)
    second = DeviceId(alice.id.user, 2)
    refused(AuthenticationError, lambda: bob.device.decrypt(bob.records, message, sender=second, wall_ms=0))


def a_stolen_key_is_healed_by_an_answer() -> None:
    alice, bob = friends()
    stolen = SessionShelf(alice.records, bob.id).load(0).ratchet.sending.ratchet.private
    alice.decrypt(bob.encrypt(b"x", to=alice), sender=bob)
    bob.decrypt(alice.encrypt(b"y", to=bob), sender=alice)
    alice.decrypt(bob.encrypt(b"z", to=alice), sender=bob)
    ratchet = SessionShelf(alice.records, bob.id).load(0).ratchet
    assert agree(stolen, ratchet.receiving[-1].ratchet_key) != agree(
        ratchet.sending.ratchet.private, ratchet.receiving[-1].ratchet_key
    )


def skipped_keys_are_bounded() -> None:
    _, skipped = skip(ChainKey(bytes(32)), NO_SEEDS, 0, 2_100)
    assert len(skipped) <= 2_000


def a_jump_is_bounded() -> None:
    alice, bob = friends()
    session = SessionShelf(bob.records, alice.id).load(0)
    message = SignalMessage.decode(alice.encrypt(b"x", to=bob).body)
    far = message._replace(counter=25_002)
    refused(SkippedTooFarError, lambda: sessions_of_one.decrypt(session, far, random_bytes=seeded_bytes(1)))


def a_one_time_prekey_is_used_once() -> None:
    alice, bob, _ = people()
    alice.meet(bob)
    opened = bob.open(alice.encrypt(b"x", to=bob), sender=alice)
    assert opened.one_time_prekey is not None
    assert records.one_time_prekey_key(opened.one_time_prekey) not in bob.records
    assert records.kyber_prekey_key(opened.one_time_prekey) not in bob.records


def a_first_message_cannot_be_replayed() -> None:
    alice, bob, _ = people()
    bundle = PreKeyBundle.of(bob.publish(), index=None)
    alice.save(alice.device.process_bundle(alice.records, bundle, remote=bob.id, wall_ms=0).save)
    first = alice.encrypt(b"x", to=bob)
    bob.decrypt(first, sender=alice)
    bob.records = {key: value for key, value in bob.records.items() if not key.startswith(b"k/session/")}
    refused(InvalidMessageError, lambda: bob.decrypt(first, sender=alice))


def a_base_key_is_written_in_one_way() -> None:
    alice, bob, _ = people()
    alice.meet(bob)
    first = PreKeySignalMessage.decode(alice.encrypt(b"x", to=bob).body)
    high = PublicKey(first.base_key[:32] + bytes([first.base_key[32] | 0x80]))
    body = first._replace(base_key=high).encode()
    refused(InvalidKeyError, lambda: bob.decrypt(CiphertextMessage(MessageType.PREKEY, body), sender=alice))


def a_key_of_low_order_is_refused() -> None:
    refused(InvalidKeyError, lambda: agree(key_pair(bytes(32)).private, PublicKey(b"\x05" + bytes(32))))
    assert not is_canonical(PublicKey(b"\x05" + bytes(32)))


def a_forged_prekey_is_refused() -> None:
    alice, bob, carol = people()
    forged = PreKeyBundle.of(bob.publish())._replace(signed=carol.publish().signed)
    refused(
        InvalidSignatureError,
        lambda: alice.device.process_bundle(alice.records, forged, remote=bob.id, wall_ms=0),
    )


def another_identity_is_refused() -> None:
    alice, bob = friends()
    impostor = Party(bob.id, random_bytes=seeded_bytes(77))
    refused(UntrustedIdentityError, lambda: alice.meet(impostor))
    impostor.meet(alice)
    first = impostor.encrypt(b"x", to=alice)
    refused(UntrustedIdentityError, lambda: alice.decrypt(first, sender=impostor))


def an_unanswered_session_goes_stale() -> None:
    alice, bob, _ = people()
    alice.meet(bob)
    alice.wall_ms = UNACKNOWLEDGED_LIFE_MS + 1
    refused(NoSessionError, lambda: alice.encrypt(b"x", to=bob))


def an_archived_session_is_found_again() -> None:
    alice, bob = friends()
    late = alice.encrypt(b"late", to=bob)
    alice.meet(bob)
    bob.decrypt(alice.encrypt(b"new", to=bob), sender=alice)
    assert bob.decrypt(late, sender=alice) == b"late"
    assert SessionShelf(bob.records, alice.id).find(SessionShelf(alice.records, bob.id).load(0).base_key) == 0
    assert next(iter(SessionShelf(bob.records, alice.id))) == 0


def group_setup() -> tuple[Party, Party, Party]:
    alice, bob, carol = people()
    made = alice.device.create_distribution(alice.records, GROUP)
    alice.save(made.save)
    bob.save(bob.device.process_distribution(bob.records, made.message, sender=alice.id).save)
    return alice, bob, carol


def post(party: Party, text: bytes) -> CiphertextMessage:
    sealed = party.device.group_encrypt(party.records, text, group=GROUP)
    party.save(sealed.save)
    return sealed.message


def read(party: Party, message: CiphertextMessage, sender: Party) -> bytes:
    opened = party.device.group_decrypt(party.records, message, sender=sender.id)
    party.save(opened.save)
    return opened.plaintext


def a_group_message_opens_once() -> None:
    alice, bob, _ = group_setup()
    early, message = post(alice, b"early"), post(alice, b"x")
    assert read(bob, message, alice) == b"x"
    assert read(bob, early, alice) == b"early"
    refused(DuplicateMessageError, lambda: read(bob, early, alice))
    refused(DuplicateMessageError, lambda: read(bob, message, alice))


def a_sender_key_is_never_rewound() -> None:
    alice, bob, _ = people()
    made = alice.device.create_distribution(alice.records, GROUP)
    alice.save(made.save)
    message = post(alice, b"x")
    bob.save(bob.device.process_distribution(bob.records, made.message, sender=alice.id).save)
    read(bob, message, alice)
    bob.save(bob.device.process_distribution(bob.records, made.message, sender=alice.id).save)
    refused(DuplicateMessageError, lambda: read(bob, message, alice))


def a_group_message_is_signed_by_its_sender() -> None:
    alice, bob, _ = group_setup()
    refused(InvalidSignatureError, lambda: read(bob, altered(post(alice, b"x")), alice))


def who_left_a_group_reads_no_more() -> None:
    alice, bob, _ = group_setup()
    alice.save(alice.device.rotate_sender_key(alice.records, GROUP).save)
    refused(NoSenderKeyError, lambda: read(bob, post(alice, b"x"), alice))


def attachment() -> tuple[bytes, AttachmentDecryptor]:
    encryptor = AttachmentEncryptor(random_bytes=seeded_bytes(1))
    sealed = encryptor.update(bytes(3 * CHUNK_BYTES)) + encryptor.finalize()
    return sealed, AttachmentDecryptor(encryptor.pointer(name="x", media_type="y"), chunk=0)


def chunks_of_an_attachment_keep_their_places() -> None:
    sealed, decryptor = attachment()
    swapped = sealed[SEALED_CHUNK_BYTES : 2 * SEALED_CHUNK_BYTES] + sealed[:SEALED_CHUNK_BYTES]
    refused(AttachmentError, lambda: decryptor.update(swapped))


def an_attachment_is_whole() -> None:
    sealed, decryptor = attachment()
    decryptor.update(sealed[: 2 * SEALED_CHUNK_BYTES])
    refused(AttachmentError, decryptor.finalize)


def a_signature_covers_the_whole_message() -> None:
    pair = key_pair(bytes(32))
    signature = sign(pair.private, b"x" * 100, random_bytes=bytes)
    refused(InvalidSignatureError, lambda: verify(pair.public, b"x" * 99 + b"y", signature))


def one_s_own_safety_number_does_not_match() -> None:
    alice, bob = friends()
    number = alice.device.safety_number(alice.records, remote=bob.id)
    assert not number.matches(number.scannable)


GUARANTEES = [
    no_two_messages_have_one_key,
    a_message_opens_once,
    an_altered_message_is_refused,
    a_message_is_bound_to_who_sent_it,
    a_first_message_is_bound_to_its_addresses,
    a_stolen_key_is_healed_by_an_answer,
    skipped_keys_are_bounded,
    a_jump_is_bounded,
    a_one_time_prekey_is_used_once,
    a_first_message_cannot_be_replayed,
    a_base_key_is_written_in_one_way,
    a_key_of_low_order_is_refused,
    a_forged_prekey_is_refused,
    another_identity_is_refused,
    an_unanswered_session_goes_stale,
    an_archived_session_is_found_again,
    a_group_message_opens_once,
    a_sender_key_is_never_rewound,
    a_group_message_is_signed_by_its_sender,
    who_left_a_group_reads_no_more,
    chunks_of_an_attachment_keep_their_places,
    an_attachment_is_whole,
    a_signature_covers_the_whole_message,
    one_s_own_safety_number_does_not_match,
]


@pytest.mark.parametrize("guarantee", GUARANTEES, ids=lambda check: check.__name__)
def test_it_holds(guarantee: Callable[[], None]) -> None:
    guarantee()


# ---- broken variants ------------------------------------------------------------------------------------------------


def step_on_the_spot(key: ChainKey) -> tuple[MessageSeed, ChainKey]:
    return step(key)[0], key


def mac_without_identities(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data[2 * PUBLIC_KEY_BYTES :], "sha256")


def fixed_pair(random_bytes: RandomBytes) -> KeyPair:
    return key_pair(b"\x01" * 32)


def spends_nothing(*args: object) -> dict[bytes, bytes]:
    return {}


def always(key: PublicKey) -> bool:
    return True


def zero_secret(private: bytes, public: bytes) -> bytes:
    return bytes(32)


def advance_in_place(self: SessionShelf, number: int, session: sessions_of_one.Session) -> None:
    self._write(number, self.load(number), session)  # pyright: ignore[reportPrivateUsage]  # what the fault would do


def find_nothing(states: object, chain_id: int) -> None:
    return None


def fixed_sender_key(random_bytes: RandomBytes) -> SenderKeyState:
    return SenderKeyState(1, 0, ChainKey(bytes(32)), *key_pair(bytes(32)))


BROKEN = [
    Broken("the chain key is not advanced", "double_ratchet.step", step_on_the_spot, no_two_messages_have_one_key),
    Broken("the state after a message is not saved", "sessions.SessionShelf.advance", no_check, a_message_opens_once),
    Broken("the MAC is not checked", "messages.SignalMessage.verify_mac", no_check, an_altered_message_is_refused),
    Broken(
        "the MAC leaves the identities out",
        "messages.hmac_sha256",
        mac_without_identities,
        a_message_is_bound_to_who_sent_it,
    ),
    Broken(
        "addresses are not compared", "session._check_addresses", no_check, a_first_message_is_bound_to_its_addresses
    ),
    Broken(
        "the ratchet key pair is not renewed",
        "double_ratchet.generate",
        fixed_pair,
        a_stolen_key_is_healed_by_an_answer,
    ),
    Broken("skipped keys are kept without a limit", "double_ratchet.MAX_SKIPPED_KEYS", 10**9, skipped_keys_are_bounded),
    Broken("a jump has no limit", "session.MAX_FORWARD_JUMP", 10**9, a_jump_is_bounded),
    Broken("prekeys are not used up", "first_contact.spend", spends_nothing, a_one_time_prekey_is_used_once),
    Broken("base keys are not remembered", "first_contact.spend", spends_nothing, a_first_message_cannot_be_replayed),
    Broken("the base key is not tested", "pqxdh.is_canonical", always, a_base_key_is_written_in_one_way),
    Broken(
        "a secret of zero is taken",
        "curve.sodium.crypto_scalarmult",
        zero_secret,
        a_key_of_low_order_is_refused,
    ),
    Broken("prekeys are not verified", "prekeys.verify", no_check, a_forged_prekey_is_refused),
    Broken("identities are not compared", "device.Device._check_trusted", no_check, another_identity_is_refused),
    Broken("sessions do not go stale", "session.UNACKNOWLEDGED_LIFE_MS", 10**18, an_unanswered_session_goes_stale),
    Broken(
        "an archived session is not promoted",
        "sessions.SessionShelf.advance",
        advance_in_place,
        an_archived_session_is_found_again,
    ),
    Broken(
        "the chain of a group is not advanced",
        "sender_keys.step",
        step_on_the_spot,
        a_group_message_opens_once,
    ),
    Broken(
        "a sender key is taken in again",
        "sender_keys.find_state",
        find_nothing,
        a_sender_key_is_never_rewound,
    ),
    Broken("the signature is not checked", "messages.verify", no_check, a_group_message_is_signed_by_its_sender),
    Broken(
        "a renewed sender key is the old one",
        "sender_keys.new_state",
        fixed_sender_key,
        who_left_a_group_reads_no_more,
    ),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_a_broken_variant_is_caught(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"whisperkit.ratchet.{broken.target}", broken.value)

    with pytest.raises((AssertionError, PeerError, ActionRequiredError)):
        broken.caught_by()
