"""The first message between two devices: making a session from a bundle, or from such a message, and paying for it.

What a first message uses up is given away only once it has opened: `respond` reads prekeys, `spend` deletes
them, and a message that fails in between has cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from whisperkit.errors import InvalidMessageError, UnknownPreKeyError
from whisperkit.ids import DeviceId
from whisperkit.ratchet import kem, pqxdh, session
from whisperkit.ratchet.addresses import address_of
from whisperkit.ratchet.curve import KeyPair, PublicKey, RandomBytes, decode_public, generate
from whisperkit.ratchet.messages import PreKeySignalMessage
from whisperkit.ratchet.prekeys import PreKeyBundle
from whisperkit.ratchet.records import (
    LocalIdentity,
    decode_kyber_prekey,
    decode_one_time_prekey,
    decode_signed_prekey,
    kyber_prekey_key,
    one_time_prekey_key,
    signed_prekey_key,
    used_key,
)

__all__ = ["MAX_BASE_KEYS_SEEN", "initiate", "respond", "spend"]

# How many base keys are remembered for a last resort, 16 bytes each. Past that the oldest is forgotten: its
# first message could then be replayed once its session is gone too, and would meet the mirror's own dedupe.
# Refusing instead would let anybody shut the device for newcomers.
MAX_BASE_KEYS_SEEN: Final = 4_096

_BASE_KEY_HASH_BYTES: Final = 16


def initiate(
    identity: LocalIdentity,
    bundle: PreKeyBundle,
    *,
    local: DeviceId,
    remote: DeviceId,
    wall_ms: int,
    random_bytes: RandomBytes,
) -> session.Session:
    """Make a session from a bundle that was checked.

    Raises:
        InvalidKeyError: A key of the bundle is of low order or out of range.
    """
    base = generate(random_bytes=random_bytes)
    remote_identity, signed_prekey = decode_public(bundle.identity_key), decode_public(bundle.signed.public)
    encapsulated = kem.encapsulate(kem.decode_public(bundle.kyber.public))
    keys = pqxdh.agree_as_initiator(
        identity=identity.pair,
        base=base,
        remote_identity=remote_identity,
        signed_prekey=signed_prekey,
        one_time_prekey=decode_public(bundle.one_time.public) if bundle.one_time else None,
        encapsulated=encapsulated,
    )
    return session.start_as_initiator(
        _parties(identity, local, remote, remote_identity, bundle.registration_id),
        keys,
        base_key=base.public,
        signed_prekey=signed_prekey,
        pending=session.Pending(
            pre_key_id=bundle.one_time.number if bundle.one_time else None,
            signed_pre_key_id=bundle.signed.number,
            kyber_pre_key_id=bundle.kyber.number,
            kyber_ciphertext=encapsulated.ciphertext,
            made_at_ms=wall_ms,
        ),
        random_bytes=random_bytes,
    )


def respond(
    records: Mapping[bytes, bytes],
    identity: LocalIdentity,
    first: PreKeySignalMessage,
    *,
    local: DeviceId,
    remote: DeviceId,
) -> session.Session:
    """Make the session that a first message asks for, before it is known whether it opens.

    Raises:
        UnknownPreKeyError: It names a prekey that is not there.
        InvalidKeyError: Its base key is not canonical, or a key is of low order.
    """
    signed = decode_signed_prekey(
        _named(records, "signed", first.signed_pre_key_id, signed_prekey_key(first.signed_pre_key_id))
    )
    kyber = decode_kyber_prekey(
        _named(records, "kyber", first.kyber_pre_key_id, kyber_prekey_key(first.kyber_pre_key_id))
    )
    keys = pqxdh.agree_as_responder(
        identity=identity.pair,
        signed_prekey=signed.pair,
        one_time_prekey=_one_time(records, first.pre_key_id),
        kyber_prekey=kyber.pair.seed,
        remote_identity=first.identity_key,
        base_key=first.base_key,
        kyber_ciphertext=first.kyber_ciphertext,
    )
    parties = _parties(identity, local, remote, first.identity_key, first.registration_id)
    return session.start_as_responder(parties, keys, base_key=first.base_key, signed_prekey=signed.pair)


def spend(records: Mapping[bytes, bytes], first: PreKeySignalMessage) -> Mapping[bytes, bytes | None]:
    """Use up the prekeys of a first message that opened: what to write.

    Raises:
        InvalidMessageError: It is a replay: its base key was seen with the last resort before.
    """
    spent: dict[bytes, bytes | None] = {}
    if first.pre_key_id is not None:
        spent[one_time_prekey_key(first.pre_key_id)] = None
    kyber = kyber_prekey_key(first.kyber_pre_key_id)
    if not decode_kyber_prekey(records[kyber]).is_last_resort:
        spent[kyber] = None
        return spent
    key = used_key(first.kyber_pre_key_id, first.signed_pre_key_id)
    seen = records.get(key, b"")
    base_key = sha256(first.base_key).digest()[:_BASE_KEY_HASH_BYTES]
    if base_key in (seen[i : i + _BASE_KEY_HASH_BYTES] for i in range(0, len(seen), _BASE_KEY_HASH_BYTES)):
        raise InvalidMessageError("a first message repeats a base key: it is a replay")
    spent[key] = (seen + base_key)[-MAX_BASE_KEYS_SEEN * _BASE_KEY_HASH_BYTES :]
    return spent


def _parties(
    identity: LocalIdentity, local: DeviceId, remote: DeviceId, remote_identity: PublicKey, remote_registration_id: int
) -> session.Parties:
    return session.Parties(
        local_identity=identity.pair.public,
        remote_identity=remote_identity,
        local_registration_id=identity.registration_id,
        remote_registration_id=remote_registration_id,
        local_address=address_of(local),
        remote_address=address_of(remote),
    )


def _one_time(records: Mapping[bytes, bytes], number: int | None) -> KeyPair | None:
    if number is None:
        return None
    return decode_one_time_prekey(_named(records, "one-time", number, one_time_prekey_key(number))).pair


def _named(records: Mapping[bytes, bytes], kind: str, number: int, key: bytes) -> bytes:
    if key not in records:
        raise UnknownPreKeyError(kind=kind, number=number)
    return records[key]
