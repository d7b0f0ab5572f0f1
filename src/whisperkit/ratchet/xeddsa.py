"""XEdDSA: Ed25519 signatures by Curve25519 keys, with the sign of the public point inside the signature.

The published scheme negates the private key so that the sign bit of the public point is zero. The Signal
wire does not: the key is used as it is, and the sign bit travels in the highest bit of the signature, which
a scalar never uses. Verification is then exactly that of Ed25519.

Scalar arithmetic is libsodium's, in constant time; Python's integers are not.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256, sha512
from typing import Final

import nacl.bindings as sodium
import nacl.exceptions

from whisperkit.errors import InvalidSignatureError
from whisperkit.ratchet.curve import PrivateKey, PublicKey, RandomBytes, decode_public, edwards_y

__all__ = ["SIGNATURE_BYTES", "sign", "verify"]

SIGNATURE_BYTES: Final = 64

_NONCE_BYTES: Final = 64
# Hash input that no message can begin with, for a scalar is never that large (XEdDSA, "hash1").
_NONCE_LABEL: Final = b"\xfe" + b"\xff" * 31
_ZERO: Final = bytes(32)

# The points of the keys that signed, by the hash of the private key, which is not to outlive its owner here.
_MAX_POINTS: Final = 256
_points: dict[bytes, bytes] = {}


def sign(private: PrivateKey, message: bytes, *, random_bytes: RandomBytes) -> bytes:
    """Sign a message.

    Args:
        private: A clamped private key, as in `KeyPair.private`.
        message: What to sign, whole.
        random_bytes: Asked for 64 bytes. The nonce depends on key and message as well, so poor
            randomness does not give the key away.

    Returns:
        64 bytes.

    Spec:
        XEdDSA, "XEdDSA", ``xeddsa_sign``, without the negation of the key.
    """
    public = _public_point(private)
    nonce = _scalar(_NONCE_LABEL, private, message, random_bytes(_NONCE_BYTES))
    point = sodium.crypto_scalarmult_ed25519_base_noclamp(nonce)
    product = sodium.crypto_core_ed25519_scalar_mul(_scalar(point, public, message), private)
    s = sodium.crypto_core_ed25519_scalar_add(nonce, product)
    return point + s[:31] + bytes([s[31] | public[31] & 0x80])


def verify(public: bytes, message: bytes, signature: bytes) -> None:
    """Check a signature. Returning is the good news.

    Args:
        public: The signer's public key, 33 bytes.
        message: What was signed, whole.
        signature: What came with it.

    Raises:
        InvalidKeyError: The public key is none.
        InvalidSignatureError: The signature is not 64 bytes, or does not fit.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise InvalidSignatureError(f"a signature has {SIGNATURE_BYTES} bytes, got {len(signature)}")
    y = _edwards_y(decode_public(public))
    if y is None:
        raise InvalidSignatureError("the public key has no Edwards form")
    sign_bit = signature[63] & 0x80
    point = y[:31] + bytes([y[31] | sign_bit])
    try:
        sodium.crypto_sign_open(signature[:63] + bytes([signature[63] & 0x7F]) + message, point)
    except nacl.exceptions.BadSignatureError:
        raise InvalidSignatureError("a signature does not fit its key and message") from None


def _scalar(*parts: bytes) -> bytes:
    return sodium.crypto_core_ed25519_scalar_reduce(sha512(b"".join(parts)).digest())


def _public_point(private: PrivateKey) -> bytes:
    """The Edwards point of a private key: a third of the work of signing, and the same each time."""
    name = sha256(private).digest()
    point = _points.get(name)
    if point is None:
        scalar = sodium.crypto_core_ed25519_scalar_reduce(private + _ZERO)
        point = sodium.crypto_scalarmult_ed25519_base_noclamp(scalar)
        if len(_points) >= _MAX_POINTS:
            _points.clear()
        _points[name] = point
    return point


@lru_cache(maxsize=1024)
def _edwards_y(public: PublicKey) -> bytes | None:
    return edwards_y(public)
