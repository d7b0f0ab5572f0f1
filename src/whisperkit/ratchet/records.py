"""How a device's keys are stored: the names of the records, and their bytes.

Every record is a msgpack array that begins with the version of its layout. What is read comes from the
device's own store, so a record that is not of its form is a `CorruptStateError`: not a peer's doing.

Row keys, all beneath ``k/`` (numbers are four bytes, big-endian):

    k/identity                          own identity keys, registration id, next prekey number
    k/ec/<number>                       one-time Curve25519 prekey
    k/taken                             which one-time prekeys the server had handed out, and when that was known
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
from types import NoneType
from typing import Final, NamedTuple

from whisperkit._named_tuples import make
from whisperkit.errors import CorruptStateError
from whisperkit.ids import DeviceId, UserId
from whisperkit.ratchet import spqr
from whisperkit.ratchet.chains import MessageSeed
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
from whisperkit.ratchet.packed import fields, items, malformed, pack, shape, unpack
from whisperkit.ratchet.prekeys import KyberPreKey, OneTimePreKey, SignedPreKey
from whisperkit.ratchet.sender_keys import SenderKeyState
from whisperkit.ratchet.session import Parties, Pending, Session

__all__ = [
    "EC_PREFIX",
    "IDENTITY_KEY",
    "KYBER_PREFIX",
    "MAX_SESSION_BYTES",
    "MAX_SHELF_BYTES",
    "MAX_SKIPPED_ROWS_BYTES",
    "SIGNED_PREFIX",
    "TAKEN_KEY",
    "USED_PREFIX",
    "LocalIdentity",
    "Peer",
    "Shelf",
    "Taken",
    "decode_kyber_prekey",
    "decode_local_identity",
    "decode_one_time_prekey",
    "decode_peer",
    "decode_sender_keys",
    "decode_session",
    "decode_shelf",
    "decode_signed_prekey",
    "decode_skipped",
    "decode_taken",
    "encode_kyber_prekey",
    "encode_local_identity",
    "encode_one_time_prekey",
    "encode_peer",
    "encode_sender_keys",
    "encode_session",
    "encode_shelf",
    "encode_signed_prekey",
    "encode_skipped",
    "encode_taken",
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
    "user_prefix",
]

IDENTITY_KEY: Final = b"k/identity"
EC_PREFIX: Final = b"k/ec/"
TAKEN_KEY: Final = b"k/taken"
SIGNED_PREFIX: Final = b"k/signed/"
KYBER_PREFIX: Final = b"k/kyber/"
USED_PREFIX: Final = b"k/used/"

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


_IDENTITY: Final = shape(bytes, bytes, int, int)
_PEER: Final = shape(bytes, int, (int, NoneType))
_SHELF: Final = shape((int, NoneType), list, int)
_SESSION: Final = shape(list, bytes, bytes, list, list, int, bytes, (list, NoneType))
_PARTIES: Final = shape(bytes, bytes, int, int, (bytes, NoneType), (bytes, NoneType))
_SENDING: Final = shape(bytes, bytes, bytes, int)
_RECEIVING: Final = shape(int, bytes, bytes, int, int)
_PENDING: Final = shape((int, NoneType), int, int, bytes, int)
_SENDER_KEYS: Final = shape(list)
_SENDER_KEY: Final = shape(int, int, bytes, bytes, (bytes, NoneType), bytes)


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


class Taken(NamedTuple):
    """One-time prekeys that a server has handed out.

    Attributes:
        below: All with lower numbers.
        known_at_ms: When the server said so, milliseconds since 1970.
    """

    below: int
    known_at_ms: int


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
    return EC_PREFIX + _number(number)


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


def user_prefix(user: UserId) -> bytes:
    """What the keys of all records of sessions with devices of a user begin with."""
    return b"k/session/" + user.encode() + b"."


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
    return pack(*identity.pair, identity.registration_id, identity.next_prekey)


def decode_local_identity(data: bytes) -> LocalIdentity:
    """Read it."""
    public, private, registration_id, next_prekey = fields("identity", unpack("identity", data), _IDENTITY)
    return LocalIdentity(_pair(public, private), registration_id, next_prekey)


def encode_peer(peer: Peer) -> bytes:
    """Write whom a device is taken for."""
    return pack(*peer)


def decode_peer(data: bytes) -> Peer:
    """Read it."""
    identity_key, trusted_at_ms, verified_at_ms = fields("peer", unpack("peer", data), _PEER)
    return Peer(identity_key, trusted_at_ms, verified_at_ms)


def encode_one_time_prekey(prekey: OneTimePreKey) -> bytes:
    """Write a one-time prekey."""
    return pack(prekey.number, *prekey.pair)


def decode_one_time_prekey(data: bytes) -> OneTimePreKey:
    """Read it."""
    match unpack("one-time prekey", data):
        case [int(number), bytes(public), bytes(private)]:
            return OneTimePreKey(number, _pair(public, private))
        case _:
            raise malformed("one-time prekey")


def encode_signed_prekey(prekey: SignedPreKey) -> bytes:
    """Write a signed prekey."""
    return pack(prekey.number, *prekey.pair, prekey.signature, prekey.made_at_ms, prekey.replaced_at_ms)


def decode_signed_prekey(data: bytes) -> SignedPreKey:
    """Read it."""
    match unpack("signed prekey", data):
        case [int(number), bytes(public), bytes(private), bytes(signature), int(made), (int() | None) as replaced]:
            return SignedPreKey(number, _pair(public, private), signature, made, replaced)
        case _:
            raise malformed("signed prekey")


def encode_kyber_prekey(prekey: KyberPreKey) -> bytes:
    """Write a Kyber prekey."""
    return pack(
        prekey.number,
        *prekey.pair,
        prekey.signature,
        prekey.made_at_ms,
        prekey.is_last_resort,
        prekey.replaced_at_ms,
    )


def decode_kyber_prekey(data: bytes) -> KyberPreKey:
    """Read it."""
    match unpack("kyber prekey", data):
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
            raise malformed("kyber prekey")


def encode_taken(taken: tuple[Taken, ...]) -> bytes:
    """Write which one-time prekeys were handed out."""
    return pack(taken)


def decode_taken(data: bytes) -> tuple[Taken, ...]:
    """Read it."""
    match unpack("taken prekeys", data):
        case [taken]:
            return tuple(_decode_taken(each) for each in items("taken prekeys", taken))
        case _:
            raise malformed("taken prekeys")


def _decode_taken(value: object) -> Taken:
    match value:
        case [int(below), int(known_at_ms)]:
            return Taken(below, known_at_ms)
        case _:
            raise malformed("taken prekeys")


def encode_shelf(shelf: Shelf) -> bytes:
    """Write the list of sessions."""
    return pack(*shelf)


def decode_shelf(data: bytes) -> Shelf:
    """Read it."""
    kind = "list of sessions"
    current, archived, next_number = fields(kind, unpack(kind, data), _SHELF)
    return Shelf(current, tuple(_int(kind, each) for each in items(kind, archived)), next_number)


def encode_session(session: Session) -> bytes:
    """Write a session, all but its skipped seeds and keys: at most `MAX_SESSION_BYTES`."""
    state = session.ratchet
    ratchet, key, counter = state.sending
    return pack(
        session.parties,
        session.base_key,
        state.root_key,
        (*ratchet, key, counter),
        [
            (number, ratchet_key, chain_key, next_counter, len(skipped))
            for number, ratchet_key, chain_key, next_counter, skipped in state.receiving
        ],
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
    parties, base_key, root_key, sending, receiving, previous_counter, post_quantum, pending = fields(
        "session", unpack("session", data), _SESSION
    )
    public, private, chain_key, counter = fields("session", sending, _SENDING)
    state = RatchetState(
        root_key,
        SendingChain(_pair(public, private), chain_key, counter),
        tuple([_decode_chain(each, skipped) for each in receiving]),
        previous_counter,
        spqr.decode_head(post_quantum, lambda epoch: skipped(_keys_suffix(epoch))),
    )
    return Session(
        Parties(*fields("session", parties, _PARTIES)),
        base_key,
        state,
        None if pending is None else Pending(*fields("session", pending, _PENDING)),
    )


def encode_skipped(skipped: Mapping[int, bytes]) -> bytes:
    """Write skipped seeds or keys, 36 bytes each."""
    return b"".join(_SEED.pack(counter, seed) for counter, seed in skipped.items())


def decode_skipped(data: bytes) -> dict[int, MessageSeed]:
    """Read them."""
    if len(data) % _SEED.size:
        raise malformed("skipped seeds")
    return {counter: MessageSeed(seed) for counter, seed in _SEED.iter_unpack(data)}


def encode_sender_keys(states: tuple[SenderKeyState, ...]) -> bytes:
    """Write the sender keys of one sender."""
    return pack([(*state[:-1], encode_skipped(state.skipped)) for state in states])


def decode_sender_keys(data: bytes) -> tuple[SenderKeyState, ...]:
    """Read them."""
    (states,) = fields("sender keys", unpack("sender keys", data), _SENDER_KEYS)
    return tuple([_decode_sender_key(state) for state in states])


def _decode_sender_key(value: object) -> SenderKeyState:
    chain_id, iteration, key, signing_key, private, skipped = fields("sender keys", value, _SENDER_KEY)
    seeds = decode_skipped(skipped) if skipped else NO_SEEDS
    return SenderKeyState(chain_id, iteration, key, signing_key, private, seeds)


def _decode_chain(value: object, skipped: Callable[[bytes], bytes | None]) -> ReceivingChain:
    number, ratchet_key, key, counter, count = fields("session", value, _RECEIVING)
    if not count:
        return make(ReceivingChain, (number, ratchet_key, key, counter, NO_SEEDS))
    seeds = decode_skipped(skipped(_seeds_suffix(number)) or b"")
    if len(seeds) != count:
        raise CorruptStateError(kind="session", reason=f"{count} skipped seeds expected, {len(seeds)} found")
    return ReceivingChain(number, ratchet_key, key, counter, seeds)


def _int(kind: str, value: object) -> int:
    match value:
        case int(number):
            return number
        case _:
            raise malformed(kind)


def _pair(public: bytes, private: bytes) -> KeyPair:
    return KeyPair(PublicKey(public), PrivateKey(private))
