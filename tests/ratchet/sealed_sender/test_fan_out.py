"""Messages sealed for many: what the sender hands over, and what the server makes of it."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import (
    InvalidMessageError,
    PeerError,
    RegistrationIdError,
    UnsupportedVersionError,
    UsageError,
)
from whisperkit.ids import DeviceId, UserId
from whisperkit.ratchet import CiphertextMessage, KeyPair, MessageType
from whisperkit.ratchet.curve import PublicKey, agree, key_pair
from whisperkit.ratchet.prepared_hmac import hkdf
from whisperkit.ratchet.protobuf import write_varint
from whisperkit.ratchet.sealed_sender import (
    MAX_RECIPIENTS,
    MAX_SEALED_REGISTRATION_ID,
    Part,
    Recipient,
    SealedContent,
    SentMessage,
    seal_for_many,
    v2,
)
from whisperkit.testing.ratchet import seeded_bytes
from whisperkit.testing.sealing import Authority

RANDOM = seeded_bytes(25)
ALICE, BOB, BOB_LAPTOP, CAROL = (key_pair(bytes([n]) * 32) for n in (1, 2, 3, 4))
SENDER = DeviceId.named("alice", 1)
PHONE, LAPTOP, TABLET = (DeviceId.named("bob", n) for n in (1, 2, 3))
HERS = DeviceId.named("carol", 7)
DAVE = UserId.named("dave")
MESSAGE = CiphertextMessage(MessageType.SENDER_KEY, b"an encrypted message")
CONTENT = SealedContent(MESSAGE, Authority(random_bytes=RANDOM).certify(SENDER, ALICE.public))
SHARED = bytes(48)


def sent(*recipients: Recipient, excluded: tuple[str, ...] = ()) -> bytes:
    return seal_for_many(CONTENT, sender=ALICE, recipients=recipients, excluded=excluded, random_bytes=RANDOM)


def to(device: DeviceId, pair: KeyPair, registration_id: int = 5) -> Recipient:
    return Recipient(device, pair.public, registration_id)


def place(user: str, *devices: tuple[int, int], kind: bytes = b"\x00", own: bytes = bytes(48)) -> bytes:
    """A place on the list as it is written; the flag for more devices is the test's business."""
    items = b"".join(bytes([number]) + flags.to_bytes(2, "big") for number, flags in devices)
    return kind + uuid.UUID(user).bytes + (items + own if devices else b"\x00")


def handed(*places: bytes, count: int | None = None, shared: bytes = SHARED) -> bytes:
    return b"\x23" + write_varint(len(places) if count is None else count) + b"".join(places) + shared


@pytest.mark.parametrize("name", ["sent_to_bob", "sent_to_bob_and_carol_excluding_one"])
def test_messages_of_the_official_library_are_taken_apart_and_opened(vectors: dict[str, Any], name: str) -> None:
    people = [vectors["bob"], *([vectors["carol"]] if "carol" in name else [])]

    message = SentMessage.decode(bytes.fromhex(vectors["v2"][name]))

    assert [(part.device, part.registration_id) for part in message.parts] == [
        (DeviceId(UserId(who["name"]), who["device_id"]), who["registration_id"]) for who in people
    ]
    assert message.excluded == ({f"PNI:{vectors['carol']['name']}"} if "carol" in name else set())
    for part, who in zip(message.parts, people, strict=True):
        pair = key_pair(bytes.fromhex(who["identity_private"]))
        assert v2.open_sealed(message.received_by(part), recipient=pair).encode().hex() == vectors["v2"]["content"]


def test_a_server_makes_of_it_what_the_official_library_does(vectors: dict[str, Any]) -> None:
    message = SentMessage.decode(bytes.fromhex(vectors["v2"]["sent_to_bob"]))

    assert message.received_by(message.parts[0]).hex() == vectors["v2"]["received_by_bob"]


@pytest.mark.parametrize("name", ["sent_to_bob", "sent_to_bob_and_carol_excluding_one"])
def test_a_message_is_written_bit_for_bit_as_by_the_official_library(vectors: dict[str, Any], name: str) -> None:
    theirs = bytes.fromhex(vectors["v2"][name])
    message = SentMessage.decode(theirs)
    bob = key_pair(bytes.fromhex(vectors["bob"]["identity_private"]))
    ephemeral = PublicKey(b"\x05" + message.shared[:32])
    mask = hkdf(agree(bob.private, ephemeral) + ephemeral + bob.public, b"Sealed Sender v2: DH", 32)
    secret = bytes(a ^ b for a, b in zip(mask, message.parts[0].own[:32], strict=True))
    keys = [key_pair(bytes.fromhex(vectors[who]["identity_private"])).public for who in ("bob", "carol")]

    ours = seal_for_many(
        SealedContent.decode(bytes.fromhex(vectors["v2"]["content"])),
        sender=key_pair(bytes.fromhex(vectors["alice"]["identity_private"])),
        recipients=[
            Recipient(part.device, key, part.registration_id) for part, key in zip(message.parts, keys, strict=False)
        ],
        excluded=message.excluded,
        random_bytes=lambda size: secret[:size],
    )

    # The official library writes who is excluded where it was named; the order means nothing.
    assert SentMessage.decode(ours) == message
    assert sorted(ours) == sorted(theirs)
    if not message.excluded:
        assert ours == theirs


def test_each_device_opens_its_own_part_and_no_other() -> None:
    pairs = {PHONE: BOB, LAPTOP: BOB_LAPTOP, HERS: CAROL}

    message = SentMessage.decode(sent(*(to(device, pair) for device, pair in pairs.items())))

    assert {part.device for part in message.parts} == pairs.keys()
    for part in message.parts:
        for device, pair in pairs.items():
            data = message.received_by(part)
            if device == part.device:
                assert v2.open_sealed(data, recipient=pair) == CONTENT
            else:
                with pytest.raises(PeerError):
                    v2.open_sealed(data, recipient=pair)


def test_devices_with_one_identity_key_share_their_part() -> None:
    one = sent(to(PHONE, BOB, 1), to(LAPTOP, BOB, 2), to(TABLET, BOB, 3))
    alone = sent(to(PHONE, BOB, 1))

    parts = SentMessage.decode(one).parts

    assert [(part.device, part.registration_id) for part in parts] == [(PHONE, 1), (LAPTOP, 2), (TABLET, 3)]
    assert len({part.own for part in parts}) == 1
    assert len(one) == len(alone) + 2 * 3
    assert one[1] == 1


def test_devices_are_put_together_wherever_they_stand() -> None:
    message = sent(to(PHONE, BOB), to(HERS, CAROL), to(LAPTOP, BOB_LAPTOP), to(TABLET, BOB))

    assert message[1] == 3
    assert [part.device for part in SentMessage.decode(message).parts] == [PHONE, TABLET, HERS, LAPTOP]


def test_who_is_excluded_is_named_and_gets_nothing() -> None:
    phone_number = f"PNI:{HERS.user}"

    message = SentMessage.decode(sent(to(PHONE, BOB), to(HERS, CAROL), excluded=(DAVE, phone_number)))

    assert message.excluded == {DAVE, phone_number}
    assert {part.device for part in message.parts} == {PHONE, HERS}


def test_a_message_may_be_for_nobody() -> None:
    message = SentMessage.decode(sent(excluded=(DAVE,)))

    assert message.parts == ()
    assert message.excluded == {DAVE}
    assert SentMessage.decode(sent()).parts == ()


def test_the_server_reads_neither_sender_nor_text() -> None:
    data = sent(to(PHONE, BOB))

    for secret in (ALICE.public[1:], SENDER.user.encode(), uuid.UUID(SENDER.user).bytes, MESSAGE.body):
        assert secret not in data


@pytest.mark.parametrize("registration_id", [0, 1, MAX_SEALED_REGISTRATION_ID])
def test_a_registration_id_of_14_bits_is_carried(registration_id: int) -> None:
    (part,) = SentMessage.decode(sent(to(PHONE, BOB, registration_id))).parts

    assert part.registration_id == registration_id


def test_one_that_is_larger_is_refused_and_says_whose_it_is() -> None:
    with pytest.raises(RegistrationIdError) as caught:
        sent(to(HERS, CAROL), to(PHONE, BOB, MAX_SEALED_REGISTRATION_ID + 1))

    assert (caught.value.remote, caught.value.found, caught.value.limit) == (PHONE, 0x4000, 0x3FFF)


@pytest.mark.parametrize(
    ("recipients", "excluded", "reason"),
    [
        ([to(PHONE, BOB), to(PHONE, BOB)], (), "named twice"),
        ([to(PHONE, BOB), to(PHONE, CAROL)], (), "named twice"),
        ([to(PHONE, BOB)], (DAVE, DAVE.upper()), "named twice"),
        ([to(PHONE, BOB)], (PHONE.user,), "excluded and a recipient"),
        ([to(PHONE, BOB)], ("dave",), "named by a UUID"),
        ([to(PHONE, BOB)], (f"pni:{DAVE}",), "named by a UUID"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(
    recipients: list[Recipient], excluded: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        sent(*recipients, excluded=excluded)


def test_a_message_is_sealed_for_a_bounded_number() -> None:
    users = [UserId.named(str(n)) for n in range(MAX_RECIPIENTS)]

    full = SentMessage.decode(sent(excluded=tuple(users)))

    assert len(full.excluded) == MAX_RECIPIENTS
    with pytest.raises(UsageError, match="5000 at most, got 5001"):
        sent(to(PHONE, BOB), excluded=tuple(users))


def test_a_server_takes_apart_a_bounded_number() -> None:
    places = [place(UserId.named(str(n))) for n in range(MAX_RECIPIENTS)]

    assert len(SentMessage.decode(handed(*places)).excluded) == MAX_RECIPIENTS
    with pytest.raises(InvalidMessageError, match="5000 at most, got 5001"):
        SentMessage.decode(handed(*places, place(DAVE)))
    with pytest.raises(InvalidMessageError, match="5000 at most"):
        SentMessage.decode(handed(count=1 << 40))


def test_devices_count_as_recipients() -> None:
    many = [(number, 0x8000 | 1) for number in range(1, 127)] + [(127, 1)]
    places = [place(UserId.named(str(n)), *many) for n in range(MAX_RECIPIENTS // 127 + 1)]

    assert len(SentMessage.decode(handed(*places[:-1])).parts) == MAX_RECIPIENTS // 127 * 127
    with pytest.raises(InvalidMessageError, match="5000 at most, got 5080"):
        SentMessage.decode(handed(*places))


def test_a_user_may_have_several_places() -> None:
    one, other = bytes(48), bytes([1]) * 48

    message = SentMessage.decode(handed(place(DAVE, (1, 5), own=one), place(DAVE, (2, 6), own=other)))

    assert message.parts == (Part(DeviceId(DAVE, 1), 5, one), Part(DeviceId(DAVE, 2), 6, other))


def test_the_older_form_without_kinds_is_read() -> None:
    data = b"\x22\x02" + place(DAVE, (1, 5))[1:] + place(HERS.user)[1:] + SHARED

    message = SentMessage.decode(data)

    assert message == SentMessage((Part(DeviceId(DAVE, 1), 5, bytes(48)),), frozenset({HERS.user}), SHARED)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "cut short", id="empty"),
        pytest.param(b"\x23", "cut short", id="no count"),
        pytest.param(handed(count=1, shared=b""), "cut short", id="no place"),
        pytest.param(handed(shared=bytes(47)), "cut short", id="hardly anything shared"),
        pytest.param(handed(place(DAVE, (128, 1))), "1 to 127, got 128", id="device 128"),
        pytest.param(handed(place(DAVE, (1, 0x8001), (0, 1))), "1 to 127, got 0", id="device 0 after another"),
        pytest.param(handed(place(DAVE, (1, 0x4000))), "at most 16383, got 16384", id="registration id"),
        pytest.param(handed(place(DAVE, (1, 0x8001), (1, 1))), "a recipient twice", id="a device twice"),
        pytest.param(handed(place(DAVE, (1, 1)), place(DAVE, (1, 1))), "a recipient twice", id="in two places"),
        pytest.param(handed(place(DAVE), place(DAVE)), "excluded twice", id="excluded twice"),
        pytest.param(handed(place(DAVE, (1, 1)), place(DAVE)), "excluded and a recipient", id="both"),
        pytest.param(handed(place(DAVE), place(DAVE, (1, 1))), "excluded and a recipient", id="both, the other way"),
        pytest.param(handed(place(DAVE, kind=b"\x02")), "kind 2", id="unknown kind, excluded"),
        pytest.param(handed(place(DAVE, (1, 1), kind=b"\x02")), "recipient is a user", id="unknown kind"),
        pytest.param(handed(place(DAVE, (1, 1), kind=b"\x01")), "recipient is a user", id="a phone number"),
    ],
)
def test_what_is_not_of_its_form_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidMessageError, match=reason):
        SentMessage.decode(data)


@pytest.mark.parametrize("first_byte", sorted({*range(256)} - {0x22, 0x23}))
def test_another_version_is_refused(first_byte: int) -> None:
    with pytest.raises(UnsupportedVersionError):
        SentMessage.decode(bytes([first_byte]) + handed()[1:])


def open_first(data: bytes) -> SealedContent:
    message = SentMessage.decode(data)
    return v2.open_sealed(message.received_by(message.parts[0]), recipient=BOB)


def test_any_cut_ends_in_a_refusal_here_or_at_the_recipient() -> None:
    data = sent(to(PHONE, BOB), to(HERS, CAROL), excluded=(DAVE,))

    assert open_first(data) == CONTENT
    for size in range(len(data)):
        with pytest.raises(PeerError):
            open_first(data[:size])


@pytest.mark.fuzz
@given(st.sampled_from([0x22, 0x23]), st.integers(0, 5), st.binary(max_size=250))
def test_whatever_is_taken_apart_ends_in_parts_or_a_peer_error(first: int, count: int, data: bytes) -> None:
    with suppress(PeerError):
        message = SentMessage.decode(bytes([first, count]) + data)
        for part in message.parts:
            assert len(message.received_by(part)) == 49 + len(message.shared)


@pytest.mark.fuzz
@given(st.integers(0, 10_000), st.integers(1, 255), st.integers(0, 60))
def test_a_mutated_message_ends_in_parts_or_a_peer_error(at: int, flip: int, cut: int) -> None:
    data = bytearray(handed(place(DAVE, (1, 0x8001), (2, 7)), place(HERS.user), place(PHONE.user, (3, 9))))
    data[at % len(data)] ^= flip

    with suppress(PeerError):
        SentMessage.decode(bytes(data[: len(data) - cut]))
