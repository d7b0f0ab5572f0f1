"""Making prekeys, renewing those that live long, and forgetting those that nobody can name any more.

A one-time prekey is deleted by the first message that uses it. Of those that were handed out and never used nobody
tells the device; but a server hands them out in the order of their numbers, so from how many are left it follows which
are gone, and those are kept as long as a replaced one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from whisperkit.errors import UsageError
from whisperkit.partitions import Span, prefix
from whisperkit.ratchet.curve import RandomBytes
from whisperkit.ratchet.prekeys import (
    MAX_PREKEY_NUMBER,
    KyberPreKey,
    PreKeyUpload,
    SignedPreKey,
    make_kyber_prekey,
    make_one_time_prekey,
    make_signed_prekey,
)
from whisperkit.ratchet.records import (
    EC_PREFIX,
    IDENTITY_KEY,
    KYBER_PREFIX,
    SIGNED_PREFIX,
    TAKEN_KEY,
    USED_PREFIX,
    LocalIdentity,
    Taken,
    decode_kyber_prekey,
    decode_signed_prekey,
    decode_taken,
    encode_kyber_prekey,
    encode_local_identity,
    encode_one_time_prekey,
    encode_signed_prekey,
    encode_taken,
    kyber_prekey_key,
    one_time_prekey_key,
    signed_prekey_key,
)
from whisperkit.ratchet.redaction import redacted

__all__ = [
    "MAX_ONE_TIME_PREKEYS",
    "PREKEY_KEEP_MS",
    "PREKEY_RENEW_MS",
    "PREKEY_SPANS",
    "PUBLISHED_SPANS",
    "Replenished",
    "published",
    "replenish",
]

_DAY_MS: Final = 24 * 3600 * 1000

# How long a signed or a last-resort prekey is published: who steals one reads first messages of that week only.
PREKEY_RENEW_MS: Final = 7 * _DAY_MS

# How long a replaced one is kept. An inbox keeps entries for 30 days, and a bundle may be used a while after it was
# taken; later first messages find their prekey gone.
PREKEY_KEEP_MS: Final = 45 * _DAY_MS

# How far apart it is written down which one-time prekeys are gone: ten times within the time that they are kept.
_TAKEN_EVERY_MS: Final = 5 * _DAY_MS

# How many of each one-time kind one call makes: as many as the server takes at once.
MAX_ONE_TIME_PREKEYS: Final = 100

PREKEY_SPANS: Final[tuple[Span, ...]] = (prefix(SIGNED_PREFIX), prefix(KYBER_PREFIX), prefix(USED_PREFIX))
"""The rows that `replenish` reads, beside the identity."""

PUBLISHED_SPANS: Final[tuple[Span, ...]] = (*PREKEY_SPANS, prefix(EC_PREFIX), prefix(TAKEN_KEY))
"""The rows that `published` reads."""


class Replenished(NamedTuple):
    """What to write, and what to publish."""

    save: Mapping[bytes, bytes | None]
    upload: PreKeyUpload

    def __repr__(self) -> str:
        return redacted(self)


def replenish(
    records: Mapping[bytes, bytes], identity: LocalIdentity, *, wall_ms: int, one_time: int, random_bytes: RandomBytes
) -> Replenished:
    """Make one-time prekeys, and a new signed and last-resort prekey if the present ones are a week old.

    Args:
        records: Loaded rows: `PREKEY_SPANS`.
        identity: Who signs them, and the next number.
        wall_ms: Milliseconds since 1970.
        one_time: How many of each of the two one-time kinds, at most `MAX_ONE_TIME_PREKEYS`.
        random_bytes: Where randomness comes from.

    Raises:
        UsageError: Too many at once, or the numbers are used up.
    """
    if not 0 <= one_time <= MAX_ONE_TIME_PREKEYS:
        raise UsageError(f"one call makes 0 to {MAX_ONE_TIME_PREKEYS} one-time prekeys, asked for were {one_time}")
    number, pair = identity.next_prekey, identity.pair
    end = number + one_time + 2
    if end > MAX_PREKEY_NUMBER:
        raise UsageError(f"prekey numbers end at {MAX_PREKEY_NUMBER}; set the device up anew")
    # A Curve25519 and a Kyber prekey made together share their number: a server hands them out together.
    numbers = range(number + 2, end)
    ec = [make_one_time_prekey(each, random_bytes=random_bytes) for each in numbers]
    kyber = [
        make_kyber_prekey(each, identity=pair, wall_ms=wall_ms, random_bytes=random_bytes, is_last_resort=False)
        for each in numbers
    ]
    save: dict[bytes, bytes | None] = {
        IDENTITY_KEY: encode_local_identity(identity._replace(next_prekey=end)),
        **{one_time_prekey_key(each.number): encode_one_time_prekey(each) for each in ec},
        **{kyber_prekey_key(each.number): encode_kyber_prekey(each) for each in kyber},
    }
    signed_ones = _signed(records)
    if not signed_ones or _is_due(signed_ones[-1], wall_ms):
        signed_ones.append(make_signed_prekey(number, identity=pair, wall_ms=wall_ms, random_bytes=random_bytes))
    last_resorts = _last_resorts(records)
    if not last_resorts or _is_due(last_resorts[-1], wall_ms):
        last_resorts.append(
            make_kyber_prekey(
                number + 1, identity=pair, wall_ms=wall_ms, random_bytes=random_bytes, is_last_resort=True
            )
        )
    save |= _keep_signed(signed_ones, wall_ms) | _keep_last_resorts(records, last_resorts, wall_ms)
    upload = PreKeyUpload(
        identity_key=pair.public,
        registration_id=identity.registration_id,
        signed=signed_ones[-1].public,
        last_resort=last_resorts[-1].public,
        one_time=tuple(each.public for each in ec),
        one_time_kyber=tuple(each.public for each in kyber),
    )
    return Replenished(save, upload)


def published(records: Mapping[bytes, bytes], *, one_time_left: int, wall_ms: int) -> Mapping[bytes, bytes | None]:
    """Work in that a server has the newest upload: what to write.

    Until then it handed the old ones out, so their time begins only now.

    Args:
        records: Loaded rows: `PUBLISHED_SPANS`.
        one_time_left: How many one-time prekeys it has left.
        wall_ms: Milliseconds since 1970.

    Raises:
        UsageError: Nothing was ever made.
    """
    if not _signed(records):
        raise UsageError("no prekeys were made yet, so none can be on a server")
    save: dict[bytes, bytes | None] = {}
    *old_ones, newest = _signed(records)
    for old in old_ones:
        if old.replaced_at_ms == newest.made_at_ms:  # by the newest, that is
            save[signed_prekey_key(old.number)] = encode_signed_prekey(old._replace(replaced_at_ms=wall_ms))
    *old_resorts, newest_resort = _last_resorts(records)
    for old_resort in old_resorts:
        if old_resort.replaced_at_ms == newest_resort.made_at_ms:
            replaced = old_resort._replace(replaced_at_ms=wall_ms)
            save[kyber_prekey_key(old_resort.number)] = encode_kyber_prekey(replaced)
    return save | _forget_taken(records, one_time_left, wall_ms)


def _forget_taken(records: Mapping[bytes, bytes], left: int, wall_ms: int) -> dict[bytes, bytes | None]:
    """Note which one-time prekeys are gone, and forget those of which that was known long ago."""
    numbers = sorted(_one_time(records))
    known = decode_taken(records[TAKEN_KEY]) if TAKEN_KEY in records else ()
    # The clock may have been put back: what was noted in the future was noted now.
    taken = [Taken(each.below, min(each.known_at_ms, wall_ms)) for each in known]
    gone = numbers[: max(0, len(numbers) - left)]
    last = taken[-1] if taken else Taken(0, wall_ms - _TAKEN_EVERY_MS)
    if gone and gone[-1] >= last.below and wall_ms - last.known_at_ms >= _TAKEN_EVERY_MS:
        taken.append(Taken(gone[-1] + 1, wall_ms))
    kept = tuple(each for each in taken if wall_ms - each.known_at_ms <= PREKEY_KEEP_MS)
    below = max((each.below for each in taken[: len(taken) - len(kept)]), default=0)
    save: dict[bytes, bytes | None] = {}
    if kept != known:
        save[TAKEN_KEY] = encode_taken(kept) if kept else None
    for number in numbers:
        if number < below:
            save |= {one_time_prekey_key(number): None, kyber_prekey_key(number): None}
    return save


def _one_time(records: Mapping[bytes, bytes]) -> set[int]:
    """The numbers of one-time prekeys, of which one kind at least is there."""
    ec = {int.from_bytes(key[len(EC_PREFIX) :], "big") for key in records if key.startswith(EC_PREFIX)}
    return ec | {prekey.number for prekey in _kyber(records) if not prekey.is_last_resort}


def _signed(records: Mapping[bytes, bytes]) -> list[SignedPreKey]:
    found = (decode_signed_prekey(value) for key, value in records.items() if key.startswith(SIGNED_PREFIX))
    return sorted(found, key=lambda prekey: prekey.number)


def _last_resorts(records: Mapping[bytes, bytes]) -> list[KyberPreKey]:
    return sorted((prekey for prekey in _kyber(records) if prekey.is_last_resort), key=lambda prekey: prekey.number)


def _kyber(records: Mapping[bytes, bytes]) -> list[KyberPreKey]:
    return [decode_kyber_prekey(value) for key, value in records.items() if key.startswith(KYBER_PREFIX)]


def _is_due(prekey: SignedPreKey | KyberPreKey, wall_ms: int) -> bool:
    # Also when the clock was put back: otherwise it would be a long time until it is where it was.
    return not 0 <= wall_ms - prekey.made_at_ms < PREKEY_RENEW_MS


def _is_over(prekey: SignedPreKey | KyberPreKey, wall_ms: int) -> bool:
    return prekey.replaced_at_ms is not None and wall_ms - prekey.replaced_at_ms > PREKEY_KEEP_MS


def _keep_signed(prekeys: list[SignedPreKey], wall_ms: int) -> dict[bytes, bytes | None]:
    save: dict[bytes, bytes | None] = {signed_prekey_key(prekeys[-1].number): encode_signed_prekey(prekeys[-1])}
    for old in prekeys[:-1]:
        key = signed_prekey_key(old.number)
        if _is_over(old, wall_ms):
            save[key] = None
        elif old.replaced_at_ms is None or old.replaced_at_ms > wall_ms:
            save[key] = encode_signed_prekey(old._replace(replaced_at_ms=wall_ms))
    return save


def _keep_last_resorts(
    records: Mapping[bytes, bytes], prekeys: list[KyberPreKey], wall_ms: int
) -> dict[bytes, bytes | None]:
    save: dict[bytes, bytes | None] = {kyber_prekey_key(prekeys[-1].number): encode_kyber_prekey(prekeys[-1])}
    for old in prekeys[:-1]:
        key = kyber_prekey_key(old.number)
        if _is_over(old, wall_ms):
            # What could be replayed with it no longer opens, so its base keys need not be remembered either.
            used = USED_PREFIX + key[len(KYBER_PREFIX) :]
            save |= {key: None, **{each: None for each in records if each.startswith(used)}}
        elif old.replaced_at_ms is None or old.replaced_at_ms > wall_ms:
            save[key] = encode_kyber_prekey(old._replace(replaced_at_ms=wall_ms))
    return save
