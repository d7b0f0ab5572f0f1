"""Prekeys: made, renewed, kept for late first messages, and forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import InvalidKeyError, PeerError, UsageError
from whisperkit.ids import DeviceId
from whisperkit.ratchet import PreKeyBundle, PublicPreKey, records, verify
from whisperkit.ratchet.prekeys import MAX_PREKEY_NUMBER
from whisperkit.ratchet.replenish import MAX_ONE_TIME_PREKEYS, PREKEY_KEEP_MS, PREKEY_RENEW_MS
from whisperkit.testing.ratchet import Party, seeded_bytes


@pytest.fixture
def bob() -> Party:
    return Party(DeviceId.named("bob", 1), random_bytes=seeded_bytes(21))


@pytest.fixture
def alice() -> Party:
    return Party(DeviceId.named("alice", 1), random_bytes=seeded_bytes(22))


def test_an_upload_has_what_was_asked_for_and_every_signature_fits(bob: Party) -> None:
    upload = bob.publish(one_time=3)

    assert len(upload.one_time) == len(upload.one_time_kyber) == 3
    assert upload.identity_key == bob.device.identity_key(bob.records)
    for prekey in (upload.signed, upload.last_resort, *upload.one_time_kyber):
        verify(upload.identity_key, prekey.public, prekey.signature)
    assert all(prekey.signature == b"" for prekey in upload.one_time)
    for index in (0, 1, 2, None):
        PreKeyBundle.of(upload, index=index).check()


def test_numbers_only_rise_and_none_is_used_twice(bob: Party) -> None:
    numbers: list[int] = []
    for _ in range(3):
        upload = bob.publish(one_time=2)
        numbers += [prekey.number for prekey in upload.one_time]
        assert [prekey.number for prekey in upload.one_time_kyber] == numbers[-2:]

    assert numbers == sorted(set(numbers))


def test_long_lived_prekeys_are_renewed_after_a_week_and_not_before(bob: Party) -> None:
    first = bob.publish(one_time=0)
    bob.wall_ms = PREKEY_RENEW_MS - 1
    assert bob.publish(one_time=0)[2:4] == first[2:4]

    bob.wall_ms = PREKEY_RENEW_MS
    renewed = bob.publish(one_time=0)

    assert renewed.signed.number > first.signed.number
    assert renewed.last_resort.number > first.last_resort.number


def test_a_replaced_prekey_still_opens_late_first_messages_until_its_time_is_over(alice: Party, bob: Party) -> None:
    bundle = PreKeyBundle.of(bob.publish(), index=None)
    alice.save(alice.device.process_bundle(alice.records, bundle, remote=bob.id, wall_ms=0).save)
    first = alice.encrypt(b"late", to=bob)
    bob.wall_ms = PREKEY_RENEW_MS
    bob.publish(one_time=0)
    bob.wall_ms += PREKEY_KEEP_MS
    bob.publish(one_time=0)

    assert bob.decrypt(first, sender=alice) == b"late"
    used = records.used_key(bundle.kyber.number, bundle.signed.number)
    assert used in bob.records

    bob.wall_ms += 1
    bob.publish(one_time=0)

    assert records.signed_prekey_key(bundle.signed.number) not in bob.records
    assert records.kyber_prekey_key(bundle.kyber.number) not in bob.records
    assert used not in bob.records


def published(bob: Party, *, left: int) -> None:
    bob.save(bob.device.prekeys_published(bob.records, one_time_left=left, wall_ms=bob.wall_ms).save)


def rows(bob: Party, start: bytes) -> int:
    return sum(key.startswith(start) for key in bob.records)


def test_a_replaced_prekey_is_kept_from_the_time_that_its_successor_is_published(bob: Party) -> None:
    old = bob.publish(one_time=0)
    bob.wall_ms = PREKEY_RENEW_MS
    bob.publish(one_time=0)
    bob.wall_ms += PREKEY_KEEP_MS  # without a connection
    published(bob, left=0)
    bob.wall_ms += PREKEY_KEEP_MS
    bob.publish(one_time=0)
    kept = records.signed_prekey_key(old.signed.number) in bob.records

    bob.wall_ms += 1
    published(bob, left=0)
    bob.publish(one_time=0)

    assert kept
    assert records.signed_prekey_key(old.signed.number) not in bob.records
    assert records.kyber_prekey_key(old.last_resort.number) not in bob.records


def test_one_time_prekeys_that_were_handed_out_and_never_used_are_forgotten_after_their_time(bob: Party) -> None:
    bob.publish(one_time=10)
    published(bob, left=7)
    bob.wall_ms += PREKEY_KEEP_MS
    published(bob, left=7)
    before = rows(bob, b"k/ec/")

    bob.wall_ms += 1
    published(bob, left=7)

    assert before == 10
    assert rows(bob, b"k/ec/") == 7
    assert rows(bob, b"k/kyber/") == 7 + 1  # and the last resort
    assert rows(bob, b"k/taken") == 0


def test_those_that_are_handed_out_later_are_kept_longer(bob: Party) -> None:
    bob.publish(one_time=10)
    for day, left in enumerate((9, 8, 7, 6, 5, 4, 3)):
        bob.wall_ms = day * 86_400_000
        published(bob, left=left)
    bob.wall_ms = PREKEY_KEEP_MS + 1
    published(bob, left=3)
    after_first = rows(bob, b"k/ec/")
    bob.wall_ms = PREKEY_KEEP_MS + 5 * 86_400_000 + 1
    published(bob, left=3)

    # Written down every five days: the first one, then those up to the sixth.
    assert after_first == 9
    assert rows(bob, b"k/ec/") == 4


def test_a_clock_that_was_put_back_forgets_nothing_early_and_keeps_nothing_for_ever(bob: Party) -> None:
    bob.wall_ms = 10 * PREKEY_KEEP_MS
    first = bob.publish(one_time=5)
    published(bob, left=3)
    bob.wall_ms = 0
    second = bob.publish(one_time=0)
    bob.wall_ms = 1
    published(bob, left=3)
    held = rows(bob, b"k/ec/"), rows(bob, b"k/signed/")

    bob.wall_ms = PREKEY_KEEP_MS + PREKEY_RENEW_MS
    published(bob, left=3)
    bob.publish(one_time=0)

    assert second.signed.number > first.signed.number
    assert held == (5, 2)
    assert rows(bob, b"k/ec/") == 3
    assert records.signed_prekey_key(first.signed.number) not in bob.records


def test_what_was_never_made_cannot_be_published(bob: Party) -> None:
    with pytest.raises(UsageError, match="no prekeys"):
        published(bob, left=0)


@pytest.mark.parametrize("count", [-1, MAX_ONE_TIME_PREKEYS + 1])
def test_a_call_makes_no_more_than_a_server_takes_at_once(bob: Party, count: int) -> None:
    with pytest.raises(UsageError, match="0 to 100"):
        bob.publish(one_time=count)


def test_numbers_come_to_an_end(bob: Party) -> None:
    identity = records.decode_local_identity(bob.records[records.IDENTITY_KEY])
    spent = identity._replace(next_prekey=MAX_PREKEY_NUMBER)
    bob.records[records.IDENTITY_KEY] = records.encode_local_identity(spent)

    with pytest.raises(UsageError, match="numbers end"):
        bob.publish()


@pytest.mark.parametrize(
    "prekey",
    [
        PublicPreKey(0, bytes(33)),
        PublicPreKey(7, bytes(33), b"s" * 64),
        PublicPreKey(2**32 - 1, bytes(1569), b"s" * 64),
    ],
    ids=["one-time", "signed", "kyber"],
)
def test_a_prekey_has_one_encoding_with_its_number_in_front(prekey: PublicPreKey) -> None:
    data = prekey.encode()

    assert PublicPreKey.decode(data) == prekey
    assert int.from_bytes(data[:4], "big") == prekey.number


@given(st.binary(max_size=120))
def test_whatever_is_decoded_as_a_prekey_ends_in_one_or_in_a_peer_error(data: bytes) -> None:
    try:
        assert PublicPreKey.decode(data).encode() == data
    except PeerError:
        assert len(data) not in (37, 101)


def test_a_prekey_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidKeyError, match="37, 101, 1637 bytes, got 36"):
        PublicPreKey.decode(bytes(36))
