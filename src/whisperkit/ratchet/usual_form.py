"""Session and group messages in the form in which senders write them: every field once, in ascending order.

The wire allows more: any order, repeated and unknown fields, numbers with bytes to spare. `protobuf` reads all of that
and takes six times as long. The readers here answer `None` whenever the bytes are not in the usual form, be it
another form or none; then `protobuf` has the last word on whether and why they are wrong. What they do read, and what
the writers write, is what `protobuf` reads and writes.

Messages begin with their version byte; behind a `SignalMessage` comes its MAC, behind a `SenderKeyMessage` its
signature.

Spec:
    Protocol Buffers, "Encoding": a field begins with its number times eight plus its wire type, which is 0 for a
    number and 2 for bytes; the length of bytes comes next.
"""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import Final, TypeAlias

from whisperkit.errors import InvalidMessageError
from whisperkit.ratchet.curve import PUBLIC_KEY_BYTES, PublicKey
from whisperkit.ratchet.kem import KEM_CIPHERTEXT_BYTES
from whisperkit.ratchet.protobuf import read_varint, write_varint
from whisperkit.ratchet.xeddsa import SIGNATURE_BYTES

__all__ = [
    "MAC_BYTES",
    "SENDER_KEY_VERSION",
    "SENDER_KEY_VERSION_BYTE",
    "SESSION_VERSION",
    "VERSION_BYTE",
    "PreKeyFields",
    "SenderKeyFields",
    "SignalFields",
    "read_prekey_message",
    "read_sender_key_message",
    "read_signal_message",
    "write_prekey_message",
    "write_sender_key_message",
    "write_signal_message",
]

SignalFields: TypeAlias = tuple[PublicKey, int, int, bytes, bytes, bytes | None, bytes, bytes]
"""Those of a `SignalMessage` as it is decoded, in its order."""

PreKeyFields: TypeAlias = tuple[int | None, PublicKey, PublicKey, bytes, int, int, int, bytes]
"""Those of a `PreKeySignalMessage`, in its order."""

SenderKeyFields: TypeAlias = tuple[uuid.UUID, int, int, bytes, bytes, bytes]
"""Those of a `SenderKeyMessage`, in its order."""

SESSION_VERSION: Final = 4
SENDER_KEY_VERSION: Final = 3
MAC_BYTES: Final = 8

VERSION_BYTE: Final = bytes([SESSION_VERSION << 4 | 4])

SENDER_KEY_VERSION_BYTE: Final = bytes([SENDER_KEY_VERSION << 4 | SENDER_KEY_VERSION])

# How a public key begins: that there are 33 bytes, and the first of these, its type.
_KEY_OPENING: Final = b"\x21\x05"

# How a KEM ciphertext begins: its field, that there are 1,569 bytes, and the first of these, its type.
_CIPHERTEXT_OPENING: Final = b"\x42\xa1\x0c\x08"

# How a message begins, up to the first byte of its ratchet key.
_SIGNAL_OPENING: Final = VERSION_BYTE + b"\x0a" + _KEY_OPENING
_RATCHET_KEY: Final = slice(3, 3 + PUBLIC_KEY_BYTES)

# How a group message begins, up to the 16 bytes of its distribution.
_SENDER_KEY_OPENING: Final = SENDER_KEY_VERSION_BYTE + b"\x0a\x10"
_DISTRIBUTION: Final = slice(3, 19)

_MAX_UINT32: Final = (1 << 32) - 1

# For how many lists of readers the id is remembered.
_DISTRIBUTIONS: Final = 1_024

# For how many sessions the constant parts of their first messages are remembered, about 2 KiB each.
_FRAMES: Final = 256


def write_signal_message(
    ratchet_key: PublicKey,
    counter: int,
    previous_counter: int,
    ciphertext: bytes,
    pq_ratchet: bytes,
    addresses: bytes | None,
) -> bytes:
    """Write a `SignalMessage`, all but the MAC."""
    fields = (
        b"\x44\x0a\x21",
        ratchet_key,
        b"\x10",
        write_varint(counter),
        b"\x18",
        write_varint(previous_counter),
        b"\x22",
        write_varint(len(ciphertext)),
        ciphertext,
        b"\x2a",
        write_varint(len(pq_ratchet)),
        pq_ratchet,
    )
    if addresses is None:
        return b"".join(fields)
    return b"".join((*fields, b"\x32", write_varint(len(addresses)), addresses))


def read_signal_message(data: bytes) -> SignalFields | None:
    """Read a `SignalMessage`; `None` if it is not in the usual form."""
    end = len(data) - MAC_BYTES
    try:
        if data[:4] != _SIGNAL_OPENING:
            return None
        counter, at = _number(data, _RATCHET_KEY.stop, 0x10)
        previous_counter, at = _number(data, at, 0x18)
        size, at = _number(data, at, 0x22)
        ciphertext = data[at : at + size]
        size, at = _number(data, at + size, 0x2A)
        pq_ratchet = data[at : at + size]
        at += size
        addresses = None
        if at < end:
            size, at = _number(data, at, 0x32)
            addresses = data[at : at + size]
            at += size
    except (IndexError, InvalidMessageError):
        return None
    if at != end:
        return None
    ratchet_key = PublicKey(data[_RATCHET_KEY])
    return ratchet_key, counter, previous_counter, ciphertext, pq_ratchet, addresses, data[:end], data[end:]


def write_prekey_message(
    pre_key_id: int | None,
    base_key: PublicKey,
    identity_key: PublicKey,
    message: bytes,
    registration_id: int,
    signed_pre_key_id: int,
    kyber_pre_key_id: int,
    kyber_ciphertext: bytes,
) -> bytes:
    """Write a `PreKeySignalMessage`."""
    before, after = _prekey_frame(
        pre_key_id, base_key, identity_key, registration_id, signed_pre_key_id, kyber_pre_key_id, kyber_ciphertext
    )
    return b"".join((before, write_varint(len(message)), message, after))


@lru_cache(maxsize=_FRAMES)
def _prekey_frame(
    pre_key_id: int | None,
    base_key: PublicKey,
    identity_key: PublicKey,
    registration_id: int,
    signed_pre_key_id: int,
    kyber_pre_key_id: int,
    kyber_ciphertext: bytes,
) -> tuple[bytes, bytes]:
    """What stands before and behind the message in all first messages of a session. None of it is secret."""
    one_time = b"" if pre_key_id is None else b"\x08" + write_varint(pre_key_id)
    before = (VERSION_BYTE, one_time, b"\x12\x21", base_key, b"\x1a\x21", identity_key, b"\x22")
    after = (
        b"\x28",
        write_varint(registration_id),
        b"\x30",
        write_varint(signed_pre_key_id),
        b"\x38",
        write_varint(kyber_pre_key_id),
        b"\x42",
        write_varint(len(kyber_ciphertext)),
        kyber_ciphertext,
    )
    return b"".join(before), b"".join(after)


def read_prekey_message(data: bytes) -> PreKeyFields | None:
    """Read a `PreKeySignalMessage`; `None` if it is not in the usual form."""
    try:
        if data[:1] != VERSION_BYTE:
            return None
        pre_key_id, at = _number(data, 1, 0x08) if data[1] == 0x08 else (None, 1)
        base_key, at = _key(data, at, 0x12)
        identity_key, at = _key(data, at, 0x1A)
        size, at = _number(data, at, 0x22)
        message = data[at : at + size]
        registration_id, at = _number(data, at + size, 0x28)
        signed_pre_key_id, at = _number(data, at, 0x30)
        kyber_pre_key_id, at = _number(data, at, 0x38)
    except (IndexError, InvalidMessageError):
        return None
    ciphertext = len(data) - KEM_CIPHERTEXT_BYTES
    if at + 3 != ciphertext or data[at : ciphertext + 1] != _CIPHERTEXT_OPENING:
        return None
    return (
        pre_key_id,
        base_key,
        identity_key,
        message,
        registration_id,
        signed_pre_key_id,
        kyber_pre_key_id,
        data[ciphertext:],
    )


def write_sender_key_message(distribution_id: uuid.UUID, chain_id: int, iteration: int, ciphertext: bytes) -> bytes:
    """Write a `SenderKeyMessage`, all but the signature."""
    return b"".join(
        (
            b"\x33\x0a\x10",
            distribution_id.bytes,
            b"\x10",
            write_varint(chain_id),
            b"\x18",
            write_varint(iteration),
            b"\x22",
            write_varint(len(ciphertext)),
            ciphertext,
        )
    )


def read_sender_key_message(data: bytes) -> SenderKeyFields | None:
    """Read a `SenderKeyMessage`; `None` if it is not in the usual form."""
    end = len(data) - SIGNATURE_BYTES
    try:
        if data[:3] != _SENDER_KEY_OPENING:
            return None
        chain_id, at = _number(data, _DISTRIBUTION.stop, 0x10)
        iteration, at = _number(data, at, 0x18)
        size, at = _number(data, at, 0x22)
    except (IndexError, InvalidMessageError):
        return None
    if at + size != end:
        return None
    return _uuid(data[_DISTRIBUTION]), chain_id, iteration, data[at:end], data[:end], data[end:]


@lru_cache(maxsize=_DISTRIBUTIONS)
def _uuid(data: bytes) -> uuid.UUID:
    return uuid.UUID(bytes=data)


def _number(data: bytes, at: int, tag: int) -> tuple[int, int]:
    """The number in the field that begins with `tag` at `at`, and the position behind it."""
    if data[at] != tag:
        raise InvalidMessageError(f"field {tag >> 3} is not at its usual place")
    low = data[at + 1]
    if low < 0x80:
        return low, at + 2
    high = data[at + 2]
    if high < 0x80:
        return low & 0x7F | high << 7, at + 3
    value, at = read_varint(data, at + 1)
    if value > _MAX_UINT32:
        # `protobuf` cuts a number, and finds no length that long.
        raise InvalidMessageError("a number has more than 32 bits")
    return value, at


def _key(data: bytes, at: int, tag: int) -> tuple[PublicKey, int]:
    """The public key in the field that begins with `tag` at `at`, and the position behind it."""
    start = at + 2
    if data[at] != tag or data[at + 1 : start + 1] != _KEY_OPENING:
        raise InvalidMessageError(f"field {tag >> 3} is not a key at its usual place")
    return PublicKey(data[start : start + PUBLIC_KEY_BYTES]), start + PUBLIC_KEY_BYTES
