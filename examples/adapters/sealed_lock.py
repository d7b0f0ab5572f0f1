"""What opens a sealed store: a passphrase or a key, and the header that keeps the data key under it.

The rows are sealed with a *data key*, which is drawn once and never changes. The header holds it, encrypted under what
the person knows or the system keeps. So another passphrase rewrites the header and nothing else, and two stores with
the same passphrase have nothing in common.

    header    msgpack [b"whisperkit sealed", version, kind, passes, memory_bytes, salt, wrapped]
    wrapped   nonce (24), XChaCha20-Poly1305 of the data key, bound to the six fields before it
    kind      0: the key is given, 1: Argon2id (version 1.3, one lane) of the passphrase in NFC, as UTF-8

Whoever edits the header gains nothing: with other costs or another salt the data key does not open.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, Final, NamedTuple, NewType, TypeAlias, cast

import anyio.to_thread
import attrs
import msgpack
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id

from whisperkit.errors import ActionRequiredError, StoreVersionError, UsageError
from whisperkit.packing import reading, shaped

__all__ = [
    "KEY_BYTES",
    "Cost",
    "DataKey",
    "KeyLock",
    "Lock",
    "Passphrase",
    "WrongPassphraseError",
    "lock_up",
    "unlock",
]

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 24
VERSION: Final = 1

DataKey = NewType("DataKey", bytes)
"""The 32 bytes from which every key of a sealed store is derived."""

RandomBytes: TypeAlias = Callable[[int], bytes]

_MAGIC: Final = b"whisperkit sealed"
_KIND_KEY: Final = 0
_KIND_ARGON2ID: Final = 1
_SHAPE: Final = (int, int, int, bytes, bytes)
# Somebody else's header must not make this process fill its memory: no more than the dearest cost there is.
_MAX_PASSES: Final = argon2id.OPSLIMIT_SENSITIVE
_MAX_MEMORY_BYTES: Final = argon2id.MEMLIMIT_SENSITIVE


class WrongPassphraseError(ActionRequiredError):
    """The passphrase or key is not the one of the store. Nothing was changed."""

    code = "sealed.wrong-passphrase"
    advice = "try again with the passphrase that the store was made with; without it nobody can read the store"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the store does not open: {reason}")


class Cost(Enum):
    """What one guess at a passphrase costs: passes over so much memory. The names are libsodium's."""

    MIN = argon2id.OPSLIMIT_MIN, argon2id.MEMLIMIT_MIN
    """One pass over 8 KiB: for tests and throw-away devices."""
    INTERACTIVE = argon2id.OPSLIMIT_INTERACTIVE, argon2id.MEMLIMIT_INTERACTIVE
    """Two passes over 64 MiB."""
    MODERATE = argon2id.OPSLIMIT_MODERATE, argon2id.MEMLIMIT_MODERATE
    """Three passes over 256 MiB: under a second on a laptop."""
    SENSITIVE = argon2id.OPSLIMIT_SENSITIVE, argon2id.MEMLIMIT_SENSITIVE
    """Four passes over 1 GiB."""


@attrs.frozen
class Passphrase:
    """What a person types.

    Attributes:
        text: At least one character. How a keyboard composes accents does not matter.
        cost: Of a lock that is made with it; a lock that is there has its own.
    """

    text: str = attrs.field(repr=False)
    cost: Cost = Cost.MODERATE

    def __attrs_post_init__(self) -> None:
        if not self.text:
            raise UsageError("a passphrase has at least one character, got none")


@attrs.frozen
class KeyLock:
    """A random key that something else keeps, such as the system's keyring.

    Attributes:
        key: 32 bytes.
    """

    key: bytes = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        if len(self.key) != KEY_BYTES:
            raise UsageError(f"a key has {KEY_BYTES} bytes, got {len(self.key)}")


Lock: TypeAlias = Passphrase | KeyLock


class _Way(NamedTuple):
    """How the wrapping key is got: the first fields of the header, which are bound to what is wrapped."""

    kind: int
    passes: int
    memory_bytes: int
    salt: bytes

    def bound(self) -> bytes:
        return _packed(_MAGIC, VERSION, *self)


async def lock_up(data_key: DataKey, lock: Lock, *, random_bytes: RandomBytes) -> bytes:
    """Make a header. With a passphrase this takes the time and the memory of its cost, in a thread."""
    match lock:
        case Passphrase(_, cost):
            way = _Way(_KIND_ARGON2ID, *cost.value, random_bytes(argon2id.SALTBYTES))
        case KeyLock():
            way = _Way(_KIND_KEY, 0, 0, b"")
    wrapping_key = await _wrapping_key(way, lock)
    nonce = random_bytes(NONCE_BYTES)
    wrapped = nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(data_key, way.bound(), nonce, wrapping_key)
    return _packed(_MAGIC, VERSION, *way, wrapped)


async def unlock(header: bytes, lock: Lock) -> DataKey:
    """Take the data key out of a header.

    Raises:
        WrongPassphraseError: It is another passphrase or key.
        StoreVersionError: A newer program has made the header.
        CorruptStateError: It is no header.
    """
    way, wrapped = _read(header)
    wrapping_key = await _wrapping_key(way, lock)
    nonce, sealed = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
    try:
        return DataKey(crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, way.bound(), nonce, wrapping_key))
    except CryptoError as error:
        # Nothing in a header tells a wrong passphrase from a bit that was flipped.
        what = "passphrase" if way.kind == _KIND_ARGON2ID else "key"
        raise WrongPassphraseError(f"it is another {what}, or its header is damaged") from error


async def _wrapping_key(way: _Way, lock: Lock) -> bytes:
    match lock:
        case Passphrase(text, _) if way.kind == _KIND_ARGON2ID:
            # macOS and Linux compose an umlaut differently; the person typed the same.
            words = unicodedata.normalize("NFC", text).encode()
            derive = partial(argon2id.kdf, KEY_BYTES, words, way.salt, way.passes, way.memory_bytes)
            return await anyio.to_thread.run_sync(derive)
        case KeyLock(key) if way.kind == _KIND_KEY:
            return key
        case _:
            wanted, got = ("passphrase", "key") if way.kind == _KIND_ARGON2ID else ("key", "passphrase")
            raise WrongPassphraseError(f"it opens with a {wanted}, and a {got} was given")


def _read(header: bytes) -> tuple[_Way, bytes]:
    with reading("header of a sealed store"):
        # Any: msgpack has no types of its own.
        fields = cast("tuple[Any, ...]", msgpack.unpackb(header, use_list=False))
        magic, version = fields[:2]
        if magic != _MAGIC:
            raise ValueError("it does not begin like one")
        if version > VERSION:
            raise StoreVersionError(found=version, supported=VERSION)
        *way, wrapped = shaped(fields[2:], _SHAPE)
        if version != VERSION or not _is_sane(*way):
            raise ValueError("its fields are out of range")
        return _Way(*way), wrapped


def _is_sane(kind: int, passes: int, memory_bytes: int, salt: bytes) -> bool:
    if kind == _KIND_KEY:
        return (passes, memory_bytes, salt) == (0, 0, b"")
    return (
        kind == _KIND_ARGON2ID
        and argon2id.OPSLIMIT_MIN <= passes <= _MAX_PASSES
        and argon2id.MEMLIMIT_MIN <= memory_bytes <= _MAX_MEMORY_BYTES
        and len(salt) == argon2id.SALTBYTES
    )


def _packed(*fields: object) -> bytes:
    return msgpack.packb(fields)
