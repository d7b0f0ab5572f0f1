"""Making prekeys, renewing those that live long, and forgetting those that nobody can name any more."""

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
    IDENTITY_KEY,
    KYBER_PREFIX,
    SIGNED_PREFIX,
    USED_PREFIX,
    LocalIdentity,
    decode_kyber_prekey,
    decode_signed_prekey,
    encode_kyber_prekey,
    encode_local_identity,
    encode_one_time_prekey,
    encode_signed_prekey,
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
    "Replenished",
    "replenish",
]

_DAY_MS: Final = 24 * 3600 * 1000

# How long a signed or a last-resort prekey is published: who steals one reads first messages of that week only.
PREKEY_RENEW_MS: Final = 7 * _DAY_MS

# How long a replaced one is kept. An inbox keeps entries for 30 days, and a bundle may be used a while after it was
# taken; later first messages find their prekey gone.
PREKEY_KEEP_MS: Final = 45 * _DAY_MS

# How many of each one-time kind one call makes: as many as the server takes at once.
MAX_ONE_TIME_PREKEYS: Final = 100

PREKEY_SPANS: Final[tuple[Span, ...]] = (prefix(SIGNED_PREFIX), prefix(KYBER_PREFIX), prefix(USED_PREFIX))
"""The rows that `replenish` reads, beside the identity."""


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


def _signed(records: Mapping[bytes, bytes]) -> list[SignedPreKey]:
    found = (decode_signed_prekey(value) for key, value in records.items() if key.startswith(SIGNED_PREFIX))
    return sorted(found, key=lambda prekey: prekey.number)


def _last_resorts(records: Mapping[bytes, bytes]) -> list[KyberPreKey]:
    found = (decode_kyber_prekey(value) for key, value in records.items() if key.startswith(KYBER_PREFIX))
    return sorted((prekey for prekey in found if prekey.is_last_resort), key=lambda prekey: prekey.number)


def _is_due(prekey: SignedPreKey | KyberPreKey, wall_ms: int) -> bool:
    return wall_ms - prekey.made_at_ms >= PREKEY_RENEW_MS


def _is_over(prekey: SignedPreKey | KyberPreKey, wall_ms: int) -> bool:
    return prekey.replaced_at_ms is not None and wall_ms - prekey.replaced_at_ms > PREKEY_KEEP_MS


def _keep_signed(prekeys: list[SignedPreKey], wall_ms: int) -> dict[bytes, bytes | None]:
    save: dict[bytes, bytes | None] = {signed_prekey_key(prekeys[-1].number): encode_signed_prekey(prekeys[-1])}
    for old in prekeys[:-1]:
        key = signed_prekey_key(old.number)
        if _is_over(old, wall_ms):
            save[key] = None
        elif old.replaced_at_ms is None:
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
        elif old.replaced_at_ms is None:
            save[key] = encode_kyber_prekey(old._replace(replaced_at_ms=wall_ms))
    return save
