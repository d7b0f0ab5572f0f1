"""HMAC and HKDF with SHA-256, from hash states that have taken in the padded key already.

An HMAC hashes a block made of the key before it hashes anything else, twice: key xor ipad and key xor opad.
For inputs as short as ours that is the expensive half. So the two states after these blocks are made once per
key and copied for each MAC under it; those of the zero key, the salt of every HKDF without one, are made when
the module is loaded. The result is that of `hmac.digest`, in a third of its time.

Spec:
    RFC 2104, "Implementation Note", which describes this; RFC 5869 for HKDF.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, Protocol, TypeAlias

__all__ = ["NO_SALT", "PreparedKey", "expand", "extract", "hkdf", "hmac_sha256", "last_mac", "mac", "prepare"]


class HashState(Protocol):
    """As much of a hash object as is used here."""

    def copy(self) -> HashState:
        """Another one that goes on from here."""
        ...

    def update(self, data: bytes, /) -> None:
        """Take in more."""
        ...

    def digest(self) -> bytes:
        """What was taken in, hashed."""
        ...


PreparedKey: TypeAlias = tuple[HashState, HashState]
"""The states after the inner and the outer block of a key. As secret as the key."""

NO_SALT: Final = bytes(32)
"""What HKDF takes for the salt if there is none."""

_BLOCK_BYTES: Final = 64
_INNER_PAD: Final = bytes(n ^ 0x36 for n in range(256))
_OUTER_PAD: Final = bytes(n ^ 0x5C for n in range(256))


def prepare(key: bytes) -> PreparedKey:
    """Make the states of a key of any length."""
    if len(key) > _BLOCK_BYTES:
        key = sha256(key).digest()
    block = key.ljust(_BLOCK_BYTES, b"\0")
    return sha256(block.translate(_INNER_PAD)), sha256(block.translate(_OUTER_PAD))


def mac(key: PreparedKey, data: bytes) -> bytes:
    """HMAC-SHA-256 under a prepared key: 32 bytes."""
    inner, outer = key[0].copy(), key[1].copy()
    inner.update(data)
    outer.update(inner.digest())
    return outer.digest()


def last_mac(key: PreparedKey, data: bytes) -> bytes:
    """The same when the key is used for nothing after it: its states are used up instead of copied."""
    inner, outer = key
    inner.update(data)
    outer.update(inner.digest())
    return outer.digest()


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA-256 under a key that is used once."""
    return last_mac(prepare(key), data)


_ZERO_KEY: Final = prepare(NO_SALT)


def extract(ikm: bytes, salt: bytes = NO_SALT) -> PreparedKey:
    """The first half of HKDF: the pseudorandom key, prepared for `expand`."""
    return prepare(mac(_ZERO_KEY, ikm) if salt is NO_SALT else hmac_sha256(salt, ikm))


def expand(key: PreparedKey, info: bytes, size: int) -> bytes:
    """The second half of HKDF. `key` may be expanded again."""
    out = block = b""
    counter = 0
    while len(out) < size:
        counter += 1
        block = mac(key, block + info + counter.to_bytes())
        out += block
    return out[:size]


def hkdf(ikm: bytes, info: bytes, size: int, *, salt: bytes = NO_SALT) -> bytes:
    """HKDF-SHA-256: `size` bytes, at most 8,160."""
    return expand(extract(ikm, salt), info, size)
