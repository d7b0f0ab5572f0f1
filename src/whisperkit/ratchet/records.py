"""How a device's keys are stored: the names of the records, and their bytes.

Every record is a msgpack array that begins with the version of its layout. What is read comes from the
device's own store, so a record that is not of its form is a `CorruptStateError`: not a peer's doing.

Row keys, all beneath ``k/`` (numbers are four bytes, big-endian):

    k/identity                          own identity keys, registration id, next prekey number
    k/ec/<number>                       one-time Curve25519 prekey
    k/signed/<number>                   signed prekey
    k/kyber/<number>                    Kyber prekey
    k/used/<kyber number><signed number>  base keys seen with a last resort
    k/peer/<device>                     the identity key trusted for a device
    k/session/<device>/                 which sessions there are with a device
    k/session/<device>/<session>        one session
    k/session/<device>/<session>s<chain>  skipped seeds of one of its receiving chains
    k/session/<device>/<session>q<epoch>  skipped keys of one epoch of its post-quantum ratchet (eight bytes)
    k/own/<distribution>                own sender keys
    k/key/<distribution><device>        a device's sender keys

Skipped seeds and keys have rows of their own, so that the row of a session stays below `MAX_SESSION_BYTES`
however much was skipped.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from struct import Struct
from typing import Final, NamedTuple, cast

import msgpack

from whisperkit.errors import CorruptStateError
from whisperkit.ids import DeviceId
from whisperkit.ratchet import spqr
from whisperkit.ratchet.chains import ChainKey, MessageSeed, RootKey
from whisperkit.ratchet.curve import KeyPair, PrivateKey, PublicKey
from whisperkit.ratchet.double_ratchet import (
    MAX_RECEIVING_CHAINS,
    MAX_SKIPPED_KEYS,
    NO_SEEDS,
    RatchetState,
    ReceivingChain,
    SendingChain,
)
from whisperkit.ratchet.kem import KemKeyPair, KemPublicKey, KemSeed
from whisperkit.ratchet.prekeys import KyberPreKey, OneTimePreKey, SignedPreKey
from whisperkit.ratchet.sender_keys import SenderKeyState
from whisperkit.ratchet.session import Parties, Pending, Session

__all__ = [
    "IDENTITY_KEY",
    "KYBER_PREFIX",
    "MAX_SESSION_BYTES",
    "MAX_SHELF_BYTES",
    "MAX_SKIPPED_ROWS_BYTES",
    "SIGNED_PREFIX",
    "USED_PREFIX",
    "LocalIdentity",
    "Peer",
    "Shelf",
    "decode_kyber_prekey",
    "decode_local_identity",
    "decode_one_time_prekey",
    "decode_peer",
    "decode_sender_keys",
    "decode_session",
    "decode_shelf",
    "decode_signed_prekey",
    "decode_skipped",
    "encode_kyber_prekey",
    "encode_local_identity",
    "encode_one_time_prekey",
    "encode_peer",
    "encode_sender_keys",
    "encode_session",
    "encode_shelf",
    "encode_signed_prekey",
    "encode_skipped",
    "kyber_prekey_key",
    "one_time_prekey_key",
    "own_sender_key_key",
    "peer_key",
    "sender_key_key",
    "session_key",
    "session_prefix",
    "signed_prekey_key",
    "skipped_rows",
    "used_key",
]

IDENTITY_KEY: Final = b"k/identity"
SIGNED_PREFIX: Final = b"k/signed/"
KYBER_PREFIX: Final = b"k/kyber/"
USED_PREFIX: Final = b"k/used/"

_LAYOUT: Final = 1
_MAX_NUMBER: Final = (1 << 32) - 1
_SEED: Final = Struct(">I32s")

# What the row of a session can come to, with all five receiving chains and the post-quantum ratchet at its fullest.
MAX_SESSION_BYTES: Final = 4_096

# What its skipped seeds and keys can come to besides.
MAX_SKIPPED_ROWS_BYTES: Final = (
    MAX_RECEIVING_CHAINS * MAX_SKIPPED_KEYS * _SEED.size + spqr.MAX_OPEN_EPOCHS * spqr.MAX_SKIPPED_BYTES
)

# The list of sessions: 42 numbers.
MAX_SHELF_BYTES: Final = 256


class LocalIdentity(NamedTuple):
    """Who the device is.

    Attributes:
        pair: Its identity keys.
        registration_id: Drawn when it was set up.
        next_prekey: The number of the next prekey; numbers only rise.
    """

    pair: KeyPair
    registration_id: int
    next_prekey: int


class Peer(NamedTuple):
    """Whom the device takes another one for.

    Attributes:
        identity_key: The identity key that is trusted, 33 bytes.
        trusted_at_ms: Since when, milliseconds since 1970.
        verified_at_ms: When a person compared safety numbers; `None` for never with this key.
    """

    identity_key: PublicKey
    trusted_at_ms: int
    verified_at_ms: int | None = None


class Shelf(NamedTuple):
    """Which sessions there are with a device, by number.

    Attributes:
        current: The one to send in, or `None`.
        archived: The others, the newest first.
        next_number: The number of the next one.
    """

    current: int | None = None
    archived: tuple[int, ...] = ()
    next_number: int = 0


# ---- names ----------------------------------------------------------------------------------------------------------


def one_time_prekey_key(number: int) -> bytes:
    """The record of a one-time prekey."""
    return b"k/ec/" + _number(number)


def signed_prekey_key(number: int) -> bytes:
    """The record of a signed prekey."""
    return SIGNED_PREFIX + _number(number)


def kyber_prekey_key(number: int) -> bytes:
    """The record of a Kyber prekey."""
    return KYBER_PREFIX + _number(number)


def used_key(kyber: int, signed: int) -> bytes:
    """The record of the base keys seen with a last resort and a signed prekey."""
    return USED_PREFIX + _number(kyber) + _number(signed)


def peer_key(remote: DeviceId) -> bytes:
    """The record of whom a device is taken for."""
    return b"k/peer/" + remote.encode()


def session_prefix(remote: DeviceId) -> bytes:
    """The record that lists the sessions with a device; the keys of the sessions begin with it."""
    return b"k/session/" + remote.encode() + b"/"


def session_key(remote: DeviceId, session: int) -> bytes:
    """The record of one session."""
    return session_prefix(remote) + _number(session)


def own_sender_key_key(distribution: uuid.UUID) -> bytes:
    """The record of the device's own sender keys."""
    return b"k/own/" + distribution.bytes


def sender_key_key(distribution: uuid.UUID, sender: DeviceId) -> bytes:
    """The record of another device's sender keys: 62 bytes at most."""
    return b"k/key/" + distribution.bytes + sender.encode()


def _seeds_suffix(chain: int) -> bytes:
    """What follows the name of a session in that of a receiving chain's skipped seeds."""
    return b"s" + _number(chain)


def _keys_suffix(epoch: int) -> bytes:
    """The same for the skipped keys of an epoch of the post-quantum ratchet."""
    return b"q" + epoch.to_bytes(8, "big")


def _number(number: int) -> bytes:
    if not 0 <= number <= _MAX_NUMBER:
        # The device counts its own, and what a peer says is 32 bits: so it was read from a record that lies.
        raise CorruptStateError(kind="record", reason=f"none has the number {number}")
    return number.to_bytes(4, "big")


# ---- contents -------------------------------------------------------------------------------------------------------


def encode_local_identity(identity: LocalIdentity) -> bytes:
    """Write who the device is."""
    return _pack(*identity.pair, identity.registration_id, identity.next_prekey)


def decode_local_identity(data: bytes) -> LocalIdentity:
    """Read it."""
    match _unpack("identity", data):
        case [bytes(public), bytes(private), int(registration_id), int(next_prekey)]:
            return LocalIdentity(_pair(public, private), registration_id, next_prekey)
        case _:
            raise _malformed("identity")


def encode_peer(peer: Peer) -> bytes:
    """Write whom a device is taken for."""
    return _pack(*peer)


def decode_peer(data: bytes) -> Peer:
    """Read it."""
    match _unpack("peer", data):
        case [bytes(identity_key), int(trusted_at_ms), (int() | None) as verified_at_ms]:
            return Peer(PublicKey(identity_key), trusted_at_ms, verified_at_ms)
        case _:
            raise _malformed("peer")


def encode_one_time_prekey(prekey: OneTimePreKey) -> bytes:
    """Write a one-time prekey."""
    return _pack(prekey.number, *prekey.pair)


def decode_one_time_prekey(data: bytes) -> OneTimePreKey:
    """Read it."""
    match _unpack("one-time prekey", data):
        case [int(number), bytes(public), bytes(private)]:
            return OneTimePreKey(number, _pair(public, private))
        case _:
            raise _malformed("one-time prekey")


def encode_signed_prekey(prekey: SignedPreKey) -> bytes:
    """Write a signed prekey."""
    return _pack(prekey.number, *prekey.pair, prekey.signature, prekey.made_at_ms, prekey.replaced_at_ms)


def decode_signed_prekey(data: bytes) -> SignedPreKey:
    """Read it."""
    match _unpack("signed prekey", data):
        case [int(number), bytes(public), bytes(private), bytes(signature), int(made), (int() | None) as replaced]:
            return SignedPreKey(number, _pair(public, private), signature, made, replaced)
        case _:
            raise _malformed("signed prekey")


def encode_kyber_prekey(prekey: KyberPreKey) -> bytes:
    """Write a Kyber prekey."""
    return _pack(
        prekey.number,
        *prekey.pair,
        prekey.signature,
        prekey.made_at_ms,
        prekey.is_last_resort,
        prekey.replaced_at_ms,
    )


def decode_kyber_prekey(data: bytes) -> KyberPreKey:
    """Read it."""
    match _unpack("kyber prekey", data):
        case [
            int(number),
            bytes(public),
            bytes(seed),
            bytes(signature),
            int(made),
            bool(is_last_resort),
            (int() | None) as replaced,
        ]:
            pair = KemKeyPair(KemPublicKey(public), KemSeed(seed))
            return KyberPreKey(number, pair, signature, made, is_last_resort, replaced)
        case _:
            raise _malformed("kyber prekey")


def encode_shelf(shelf: Shelf) -> bytes:
    """Write the list of sessions."""
    return _pack(*shelf)


def decode_shelf(data: bytes) -> Shelf:
    """Read it."""
    match _unpack("list of sessions", data):
        case [(int() | None) as current, archived, int(next_number)]:
            return Shelf(
                current,
                tuple(_int("list of sessions", each) for each in _items("list of sessions", archived)),
                next_number,
            )
        case _:
            raise _malformed("list of sessions")


def encode_session(session: Session) -> bytes:
    """Write a session, all but its skipped seeds and keys: at most `MAX_SESSION_BYTES`."""
    state = session.ratchet
    return _pack(
        session.parties,
        session.base_key,
        state.root_key,
        (*state.sending.ratchet, state.sending.key, state.sending.next_counter),
        [(each.number, each.ratchet_key, each.key, each.next_counter, len(each.skipped)) for each in state.receiving],
        state.previous_counter,
        spqr.encode_head(state.spqr),
        session.pending,
    )


def skipped_rows(session: Session) -> dict[bytes, Mapping[int, bytes]]:
    """The skipped seeds and keys of a session, for `encode_skipped`, by what follows its name in those of their rows.

    A mapping stays the same object until something is added or taken.
    """
    rows: dict[bytes, Mapping[int, bytes]] = {
        _seeds_suffix(chain.number): chain.skipped for chain in session.ratchet.receiving if chain.skipped
    }
    for epoch, keys in spqr.skipped_keys(session.ratchet.spqr).items():
        rows[_keys_suffix(epoch)] = keys
    return rows


def decode_session(data: bytes, skipped: Callable[[bytes], bytes | None]) -> Session:
    """Read a session.

    Args:
        data: What `encode_session` wrote.
        skipped: Finds what `encode_skipped` wrote of `skipped_rows`, by what follows the name of the session.

    Raises:
        CorruptStateError: They did not write that.
    """
    match _unpack("session", data):
        case [
            parties,
            bytes(base_key),
            bytes(root_key),
            [bytes(public), bytes(private), bytes(key), int(index)],
            receiving,
            int(previous_counter),
            bytes(post_quantum),
            pending,
        ]:
            state = RatchetState(
                root_key=RootKey(root_key),
                sending=SendingChain(_pair(public, private), ChainKey(key), index),
                receiving=tuple(_decode_chain(each, skipped) for each in _items("session", receiving)),
                previous_counter=previous_counter,
                spqr=spqr.decode_head(post_quantum, lambda epoch: skipped(_keys_suffix(epoch))),
            )
            return Session(_decode_parties(parties), PublicKey(base_key), state, _decode_pending(pending))
        case _:
            raise _malformed("session")


def encode_skipped(skipped: Mapping[int, bytes]) -> bytes:
    """Write skipped seeds or keys, 36 bytes each."""
    return b"".join(_SEED.pack(counter, seed) for counter, seed in skipped.items())


def decode_skipped(data: bytes) -> dict[int, MessageSeed]:
    """Read them."""
    if len(data) % _SEED.size:
        raise _malformed("skipped seeds")
    return {counter: MessageSeed(seed) for counter, seed in _SEED.iter_unpack(data)}


def encode_sender_keys(states: tuple[SenderKeyState, ...]) -> bytes:
    """Write the sender keys of one sender."""
    return _pack([(*state[:-1], encode_skipped(state.skipped)) for state in states])


def decode_sender_keys(data: bytes) -> tuple[SenderKeyState, ...]:
    """Read them."""
    match _unpack("sender keys", data):
        case [states]:
            return tuple(_decode_sender_key(state) for state in _items("sender keys", states))
        case _:
            raise _malformed("sender keys")


def _decode_sender_key(value: object) -> SenderKeyState:
    match value:
        case [
            int(chain_id),
            int(iteration),
            bytes(key),
            bytes(signing_key),
            (bytes() | None) as private,
            bytes(skipped),
        ]:
            return SenderKeyState(
                chain_id,
                iteration,
                ChainKey(key),
                PublicKey(signing_key),
                None if private is None else PrivateKey(private),
                decode_skipped(skipped) if skipped else NO_SEEDS,
            )
        case _:
            raise _malformed("sender keys")


def _decode_chain(value: object, skipped: Callable[[bytes], bytes | None]) -> ReceivingChain:
    match value:
        case [int(number), bytes(ratchet_key), bytes(key), int(index), int(count)]:
            seeds = decode_skipped(skipped(_seeds_suffix(number)) or b"") if count else NO_SEEDS
            if len(seeds) != count:
                raise CorruptStateError(kind="session", reason=f"{count} skipped seeds expected, {len(seeds)} found")
            return ReceivingChain(number, PublicKey(ratchet_key), ChainKey(key), index, seeds)
        case _:
            raise _malformed("session")


def _decode_parties(value: object) -> Parties:
    match value:
        case [
            bytes(local),
            bytes(remote),
            int(local_id),
            int(remote_id),
            (bytes() | None) as local_address,
            (bytes() | None) as remote_address,
        ]:
            return Parties(PublicKey(local), PublicKey(remote), local_id, remote_id, local_address, remote_address)
        case _:
            raise _malformed("session")


def _decode_pending(value: object) -> Pending | None:
    match value:
        case None:
            return None
        case [(int() | None) as one_time, int(signed), int(kyber), bytes(ciphertext), int(made_at_ms)]:
            return Pending(one_time, signed, kyber, ciphertext, made_at_ms)
        case _:
            raise _malformed("session")


def _pack(*fields: object) -> bytes:
    packed = msgpack.packb([_LAYOUT, *fields])
    assert packed is not None  # the stubs allow None, which packb returns for no input
    return packed


def _unpack(kind: str, data: bytes) -> list[object]:
    try:
        value: object = msgpack.unpackb(data)
    except (ValueError, TypeError) as error:
        raise CorruptStateError(kind=kind, reason=type(error).__name__) from None
    layout, *fields = _items(kind, value) or [None]
    if layout != _LAYOUT:
        found = layout if isinstance(layout, int) else type(layout).__name__
        raise CorruptStateError(kind=kind, reason=f"its layout is {found}, known is {_LAYOUT}")
    return fields


def _items(kind: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise _malformed(kind)
    return cast("list[object]", value)  # a list of whatever it is: each item is matched by whoever asked


def _malformed(kind: str) -> CorruptStateError:
    return CorruptStateError(kind=kind, reason="it is not of its form")


def _int(kind: str, value: object) -> int:
    match value:
        case int(number):
            return number
        case _:
            raise _malformed(kind)


def _pair(public: bytes, private: bytes) -> KeyPair:
    return KeyPair(PublicKey(public), PrivateKey(private))
