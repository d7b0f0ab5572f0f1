"""Sealed sender, version 1: for one recipient, by two agreements in a row.

The first agreement, of a key that is used once, hides the sender's identity key. The second, of that identity key,
hides the content, and proves that whoever sealed it has the key: only the two identity keys can derive it. That the
certificate inside is of the same key is checked here; that it is a good one is `SenderTrust.check`'s part.

The version byte and unknown fields of the outer protobuf are covered by nothing, as on the official wire: who alters
them alters nothing that is read.

Spec:
    Nothing is published for this; ``docs/explanation/security.md``, "Sealed sender", says what this does.
"""

from __future__ import annotations

import hmac
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from whisperkit.errors import AuthenticationError, InvalidMessageError, UnsupportedVersionError
from whisperkit.ratchet.chains import MacKey
from whisperkit.ratchet.curve import KeyPair, PublicKey, RandomBytes, SharedSecret, agree, decode_public, generate
from whisperkit.ratchet.prepared_hmac import hkdf
from whisperkit.ratchet.protobuf import BYTES, read, write
from whisperkit.ratchet.redaction import redacted
from whisperkit.ratchet.sealed_sender.content import SealedContent

__all__ = ["VERSION", "VERSIONS", "open_sealed", "seal"]

VERSION: Final = 1
VERSIONS: Final = (0, VERSION)
"""Those that are read: the official library takes 0 for 1."""

_VERSION_BYTE: Final = bytes([VERSION << 4 | VERSION])
_LABEL: Final = b"UnidentifiedDelivery"
_MAC_BYTES: Final = 10
_COUNTER: Final = bytes(16)  # each key encrypts one thing
_FIELDS: Final = {1: BYTES, 2: BYTES, 3: BYTES}


class _Keys(NamedTuple):
    """What one agreement gives.

    Attributes:
        chain: Goes into the derivation of the next one.
        cipher_key: For AES-256-CTR, 32 bytes.
        mac_key: For HMAC-SHA-256, 32 bytes.
    """

    chain: bytes
    cipher_key: bytes
    mac_key: MacKey

    def __repr__(self) -> str:
        return redacted(self)


def seal(content: SealedContent, *, sender: KeyPair, recipient: PublicKey, random_bytes: RandomBytes) -> bytes:
    """Seal a content for one device.

    Args:
        content: What to seal; its certificate is of the sender's identity key.
        sender: The sender's identity keys.
        recipient: The recipient's identity key.
        random_bytes: Asked for 32 bytes.

    Raises:
        InvalidKeyError: The recipient's identity key is of low order.
    """
    ephemeral = generate(random_bytes=random_bytes)
    outer = _outer_keys(agree(ephemeral.private, recipient), recipient=recipient, ephemeral=ephemeral.public)
    static = _lock(outer, sender.public)
    inner = _inner_keys(agree(sender.private, recipient), outer, static)
    return _VERSION_BYTE + write(((1, ephemeral.public), (2, static), (3, _lock(inner, content.encode()))))


def open_sealed(data: bytes, *, recipient: KeyPair) -> SealedContent:
    """Open what was sealed for one device.

    Args:
        data: What came.
        recipient: The device's identity keys.

    Returns:
        The content. Its certificate is of the key that sealed it, and is not checked yet.

    Raises:
        UnsupportedVersionError: Of another version.
        InvalidMessageError: Not of its form.
        InvalidKeyError: A key in it is none.
        AuthenticationError: Altered, for another device, or sealed by another key than the certificate's.
    """
    if not data:
        raise InvalidMessageError("a sealed message is empty")
    if data[0] >> 4 not in VERSIONS:
        raise UnsupportedVersionError(found=data[0] >> 4, supported=VERSIONS)
    fields = read(data[1:], _FIELDS)
    ephemeral = decode_public(fields.blob(1))
    static, locked = fields.blob(2), fields.blob(3)
    outer = _outer_keys(agree(recipient.private, ephemeral), recipient=recipient.public, ephemeral=ephemeral)
    sender = decode_public(_unlock(outer, static))
    inner = _inner_keys(agree(recipient.private, sender), outer, static)
    content = SealedContent.decode(_unlock(inner, locked))
    check_sender(content, sender)
    return content


def check_sender(content: SealedContent, sender: PublicKey) -> None:
    """Compare the key that sealed with the key in the certificate.

    Without this, who has any certificate that was ever sealed for them could seal in its name.

    Raises:
        AuthenticationError: They differ.
    """
    if not hmac.compare_digest(content.certificate.identity_key, sender):
        raise AuthenticationError("a message is sealed by another identity key than that in its certificate")


def _outer_keys(secret: SharedSecret, *, recipient: PublicKey, ephemeral: PublicKey) -> _Keys:
    out = hkdf(secret, b"", 96, salt=_LABEL + recipient + ephemeral)
    return _Keys(out[:32], out[32:64], MacKey(out[64:]))


def _inner_keys(secret: SharedSecret, outer: _Keys, static: bytes) -> _Keys:
    out = hkdf(secret, b"", 96, salt=outer.chain + static)
    return _Keys(out[:32], out[32:64], MacKey(out[64:]))


def _lock(keys: _Keys, plaintext: bytes) -> bytes:
    ciphertext = _stream(keys, plaintext)
    return ciphertext + _mac(keys, ciphertext)


def _unlock(keys: _Keys, locked: bytes) -> bytes:
    ciphertext = locked[:-_MAC_BYTES]
    if not hmac.compare_digest(_mac(keys, ciphertext), locked[-_MAC_BYTES:]):
        raise AuthenticationError("the MAC of a sealed message does not fit")
    return _stream(keys, ciphertext)


def _mac(keys: _Keys, ciphertext: bytes) -> bytes:
    return hmac.digest(keys.mac_key, ciphertext, "sha256")[:_MAC_BYTES]


def _stream(keys: _Keys, data: bytes) -> bytes:
    cipher = Cipher(AES(keys.cipher_key), CTR(_COUNTER)).encryptor()
    return cipher.update(data) + cipher.finalize()
