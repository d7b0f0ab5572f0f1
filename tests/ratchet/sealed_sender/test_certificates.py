"""Certificates: issued, read, and believed only while there is a reason to."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import InvalidCertificateError, InvalidKeyError, InvalidMessageError, PeerError, UsageError
from whisperkit.ids import DeviceId, UserId
from whisperkit.ratchet.curve import key_pair
from whisperkit.ratchet.protobuf import Fixed64, write
from whisperkit.ratchet.sealed_sender import REVOKED_TEST_ID, SenderCertificate, SenderTrust, ServerCertificate
from whisperkit.ratchet.xeddsa import sign
from whisperkit.testing.ratchet import seeded_bytes
from whisperkit.testing.sealing import Authority

RANDOM = seeded_bytes(21)
ALICE = DeviceId.named("alice", 2)
KEY = key_pair(b"\x05" * 32).public
END_MS = 1_000_000
HOUSE = Authority(random_bytes=RANDOM)


def certificate(authority: Authority = HOUSE, *, is_signer_embedded: bool = True) -> SenderCertificate:
    return authority.certify(ALICE, KEY, expires_at_ms=END_MS, is_signer_embedded=is_signer_embedded)


def packed(**changed: int | bytes | None) -> bytes:
    """A sender certificate of fields of one's own, signed by the server."""
    fields: dict[str, int | bytes | None] = {
        "e164": None,
        "device": 2,
        "expires": Fixed64(END_MS),
        "key": KEY,
        "embedded": HOUSE.server.encode(),
        "text": ALICE.user.encode(),
        "packed": None,
        "number": None,
        **changed,
    }
    signed = write(enumerate(fields.values(), start=1))
    return write(((1, signed), (2, sign(HOUSE.signer.private, signed, random_bytes=RANDOM))))


def test_certificates_of_the_official_library_are_read_and_believed(vectors: dict[str, Any]) -> None:
    root = bytes.fromhex(vectors["trust_root_public"])
    now_ms = vectors["now_ms"]

    for name, e164 in (("sender_certificate", "+14151111111"), ("sender_certificate_no_e164", None)):
        data = bytes.fromhex(vectors[name])
        found = SenderCertificate.decode(data)
        SenderTrust(roots=[root]).check(found, wall_ms=now_ms)
        assert found.encode() == data
        assert found.sender == DeviceId(UserId(vectors["alice"]["name"]), vectors["alice"]["device_id"])
        assert (found.e164, found.expires_at_ms) == (e164, now_ms + 86_400_000)
        assert found.identity_key.hex() == vectors["alice"]["identity_public"]
        assert isinstance(found.signer, ServerCertificate)
        assert found.signer.encode().hex() == vectors["server_certificate"]


def test_certificates_are_issued_bit_for_bit_as_by_the_official_library_but_for_the_signature(
    vectors: dict[str, Any],
) -> None:
    signer = key_pair(bytes.fromhex(vectors["server_private"]))
    root = key_pair(bytes.fromhex(vectors["trust_root_private"]))
    server = ServerCertificate.decode(bytes.fromhex(vectors["server_certificate"]))

    issued_server = ServerCertificate.issue(number=1, key=signer.public, trust_root=root.private, random_bytes=RANDOM)
    issued = SenderCertificate.issue(
        sender=DeviceId(UserId(vectors["alice"]["name"]), 1),
        identity_key=key_pair(bytes.fromhex(vectors["alice"]["identity_private"])).public,
        expires_at_ms=vectors["now_ms"] + 86_400_000,
        signer=server,
        signer_private=signer.private,
        random_bytes=RANDOM,
        e164="+14151111111",
    )

    assert issued_server.signed == server.signed
    assert issued.signed == SenderCertificate.decode(bytes.fromhex(vectors["sender_certificate"])).signed


@pytest.mark.parametrize("is_signer_embedded", [True, False])
@pytest.mark.parametrize("e164", [None, "+49301234567"])
def test_what_is_issued_is_read(is_signer_embedded: bool, e164: str | None) -> None:
    issued = HOUSE.certify(ALICE, KEY, e164=e164, is_signer_embedded=is_signer_embedded)

    assert SenderCertificate.decode(issued.encode()) == issued
    assert ServerCertificate.decode(HOUSE.server.encode()) == HOUSE.server


def test_a_certificate_is_good_to_the_last_millisecond_and_no_longer() -> None:
    HOUSE.trust.check(certificate(), wall_ms=END_MS)

    with pytest.raises(InvalidCertificateError, match="good until 1000000; the message is of 1000001"):
        HOUSE.trust.check(certificate(), wall_ms=END_MS + 1)


def test_a_server_of_another_trust_root_is_not_believed() -> None:
    stranger = Authority(random_bytes=RANDOM)

    with pytest.raises(InvalidCertificateError, match="signed by no trust root"):
        HOUSE.trust.check(certificate(stranger), wall_ms=0)
    with pytest.raises(InvalidCertificateError, match="signed by no trust root"):
        SenderTrust(roots=[]).check(certificate(), wall_ms=0)


def test_one_of_several_trust_roots_is_enough() -> None:
    stranger = Authority(random_bytes=RANDOM)
    both = SenderTrust(roots=[stranger.root.public, HOUSE.root.public])

    both.check(certificate(), wall_ms=0)
    both.check(certificate(stranger), wall_ms=0)


def test_a_sender_certificate_of_another_server_is_not_believed() -> None:
    forger = Authority(random_bytes=RANDOM)
    forger.server = HOUSE.server

    with pytest.raises(InvalidCertificateError, match="not signed by server 1"):
        HOUSE.trust.check(certificate(forger), wall_ms=0)


def test_a_revoked_server_is_not_believed() -> None:
    careful = SenderTrust(roots=[HOUSE.root.public], revoked=[HOUSE.server.number])

    with pytest.raises(InvalidCertificateError, match="1 is revoked"):
        careful.check(certificate(), wall_ms=0)


def test_the_number_that_stands_for_revoked_is_not_believed() -> None:
    revoked = Authority(random_bytes=RANDOM, number=REVOKED_TEST_ID)

    with pytest.raises(InvalidCertificateError, match=f"{0xDEADC357} is revoked"):
        revoked.trust.check(certificate(revoked), wall_ms=0)


def test_a_server_named_by_number_is_one_that_is_known_and_is_checked_all_the_same() -> None:
    named = certificate(is_signer_embedded=False)
    known = SenderTrust(roots=[HOUSE.root.public], servers=[HOUSE.server])
    forged = SenderTrust(roots=[Authority(random_bytes=RANDOM).root.public], servers=[HOUSE.server])
    other = SenderTrust(roots=[HOUSE.root.public], servers=[HOUSE.server._replace(number=2)])
    revoked = SenderTrust(roots=[HOUSE.root.public], servers=[HOUSE.server], revoked=[1])

    known.check(named, wall_ms=0)

    assert named.signer == 1
    assert len(named.encode()) + 100 < len(certificate().encode())
    for trust, reason in (
        (HOUSE.trust, "1 is not known"),
        (other, "1 is not known"),
        (forged, "signed by no trust root"),
        (revoked, "is revoked"),
    ):
        with pytest.raises(InvalidCertificateError, match=reason):
            trust.check(named, wall_ms=0)


def test_any_byte_changed_makes_a_certificate_bad() -> None:
    data = certificate().encode()

    for position in range(len(data)):
        for flip in (0x01, 0x80):
            altered = data[:position] + bytes([data[position] ^ flip]) + data[position + 1 :]
            with pytest.raises(PeerError):
                HOUSE.trust.check(SenderCertificate.decode(altered), wall_ms=0)


def test_any_cut_makes_a_certificate_bad() -> None:
    data = certificate().encode()

    for size in range(len(data)):
        with pytest.raises(PeerError):
            SenderCertificate.decode(data[:size])


def test_a_name_may_be_a_uuid_in_either_case_or_16_bytes() -> None:
    for changed in (
        {"text": ALICE.user.upper().encode()},
        {"text": None, "packed": bytes.fromhex(ALICE.user.replace("-", ""))},
    ):
        found = SenderCertificate.decode(packed(**changed))
        HOUSE.trust.check(found, wall_ms=0)
        assert found.sender == ALICE


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"device": None}, "field 2 is missing"),
        ({"device": 0}, "1 to 127, got 0"),
        ({"device": 128}, "1 to 127, got 128"),
        ({"expires": None}, "field 3 is missing"),
        ({"expires": END_MS}, "field 3 has wire type 0, expected 1"),
        ({"key": None}, "field 4 is missing"),
        ({"embedded": None}, "one signer"),
        ({"number": 1}, "one signer"),
        ({"embedded": b""}, "field 1 is missing"),
        ({"text": None}, "one name"),
        ({"packed": bytes(16)}, "one name"),
        ({"text": None, "packed": bytes(15)}, "one name"),
        ({"text": b"alice"}, "no UUID"),
        ({"text": ALICE.user.replace("-", "").encode()}, "no UUID"),
        ({"text": b"\xff"}, "the name of a sender in a sender certificate is no UTF-8"),
        ({"e164": b"\xff"}, "the phone number in a sender certificate is no UTF-8"),
    ],
)
def test_a_certificate_that_is_not_of_its_form_is_refused(changed: dict[str, int | bytes | None], reason: str) -> None:
    with pytest.raises(InvalidMessageError, match=reason):
        SenderCertificate.decode(packed(**changed))


def test_a_certificate_of_a_bad_key_is_refused() -> None:
    with pytest.raises(InvalidKeyError):
        SenderCertificate.decode(packed(key=b"\x04" + bytes(32)))
    with pytest.raises(InvalidKeyError):
        SenderTrust(roots=[bytes(33)])


def test_a_signature_of_another_size_is_refused() -> None:
    with pytest.raises(InvalidMessageError, match="64 bytes, got 63"):
        ServerCertificate.decode(HOUSE.server._replace(signature=bytes(63)).encode())


@pytest.mark.parametrize("number", [-1, 1 << 32])
def test_a_server_certificate_of_a_number_that_does_not_fit_is_not_issued(number: int) -> None:
    with pytest.raises(UsageError, match=f"got {number}"):
        Authority(random_bytes=RANDOM, number=number)


@pytest.mark.parametrize("end_ms", [-1, 1 << 64])
def test_a_certificate_of_a_time_that_does_not_fit_is_not_issued(end_ms: int) -> None:
    with pytest.raises(UsageError, match=f"got {end_ms}"):
        HOUSE.certify(ALICE, KEY, expires_at_ms=end_ms)


@pytest.mark.fuzz
@given(st.binary(max_size=60), st.binary(max_size=80))
def test_whatever_is_decoded_ends_in_a_certificate_or_a_peer_error(data: bytes, signed: bytes) -> None:
    for decode in (ServerCertificate.decode, SenderCertificate.decode):
        for form in (data, write(((1, signed), (2, bytes(64)))) + data):
            with suppress(PeerError):
                decode(form)


@pytest.mark.fuzz
@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 3))
def test_a_mutated_certificate_ends_in_a_certificate_or_a_peer_error(at: int, byte: int, cut: int) -> None:
    data = bytearray(certificate().signed)
    data[at % len(data)] = byte

    with suppress(PeerError):
        SenderCertificate.decode(write(((1, bytes(data[: len(data) - cut])), (2, bytes(64)))))
