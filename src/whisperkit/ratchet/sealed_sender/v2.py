"""Sealed sender, version 2: one ciphertext for many recipients, and 48 bytes for each of them.

Everything grows from a secret `M` of 32 bytes: a key pair that is used once, and the key of the ciphertext. For each
recipient `M` is masked with an agreement of that key pair and the recipient's identity key, and tagged with an
agreement of the sender's and the recipient's identity keys. The recipient unmasks `M`, sees that the key pair grows
from it, so that all recipients have the same message, opens, and checks the tag with the key in the certificate.

The tag does not cover the ciphertext, and every recipient knows `M`: one of them, together with the server, could put
something else under the seal for another. So a seal of this version says whose it is and no more; what is in it has to
prove itself, as messages of sessions and of sender keys do. `SealingDevice.unseal` refuses what does not.

What the sender hands to the server is in `whisperkit.ratchet.sealed_sender.fan_out`; a device gets only its own part.

Spec:
    Nothing is published for this; ``docs/explanation/security.md``, "Sealed sender", says what this does.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from whisperkit.errors import AuthenticationError, InvalidMessageError, UnsupportedVersionError
from whisperkit.ratchet.curve import KeyPair, PublicKey, RandomBytes, SharedSecret, agree, decode_public, key_pair
from whisperkit.ratchet.prepared_hmac import hkdf
from whisperkit.ratchet.redaction import redacted
from whisperkit.ratchet.sealed_sender.content import SealedContent

__all__ = ["MIN_SHARED_BYTES", "PART_BYTES", "VERSION", "Sealed", "join", "open_sealed", "seal"]

VERSION: Final = 2

PART_BYTES: Final = 48
"""What a message holds for each identity key: `M` masked, 32 bytes, and a tag."""

_VERSION_BYTE: Final = bytes([VERSION << 4 | VERSION])
_SECRET_BYTES: Final = 32
_TAG_BYTES: Final = 16
_EPHEMERAL_BYTES: Final = 32
_KEY_TYPE: Final = b"\x05"
_NONCE: Final = bytes(12)  # each key encrypts one thing
_PRIVATE_LABEL: Final = b"Sealed Sender v2: r (2023-08)"
_CIPHER_LABEL: Final = b"Sealed Sender v2: K"
_MASK_LABEL: Final = b"Sealed Sender v2: DH"
_TAG_LABEL: Final = b"Sealed Sender v2: DH-sender"
_EPHEMERAL_AT: Final = 1 + PART_BYTES
_CIPHERTEXT_AT: Final = _EPHEMERAL_AT + _EPHEMERAL_BYTES

MIN_SHARED_BYTES: Final = _EPHEMERAL_BYTES + _TAG_BYTES
"""The shared part of a message with nothing in it; every real one is longer."""

_MIN_BYTES: Final = _EPHEMERAL_AT + MIN_SHARED_BYTES


class _Keys(NamedTuple):
    """What grows from `M`.

    Attributes:
        ephemeral: ``r`` and ``E``.
        cipher_key: ``K``, for AES-256-GCM-SIV.
    """

    ephemeral: KeyPair
    cipher_key: bytes

    def __repr__(self) -> str:
        return redacted(self)


class Sealed(NamedTuple):
    """A sealed content, in parts.

    Attributes:
        parts: For each recipient its own, `PART_BYTES` each, in the order of the identity keys.
        shared: For all: the key that is used once, and the ciphertext.
    """

    parts: tuple[bytes, ...]
    shared: bytes


def seal(
    content: SealedContent, *, sender: KeyPair, recipients: Iterable[PublicKey], random_bytes: RandomBytes
) -> Sealed:
    """Seal a content for many. It costs two agreements for each recipient, some 0.2 ms.

    Args:
        content: What to seal; its certificate is of the sender's identity key.
        sender: The sender's identity keys.
        recipients: The recipients' identity keys.
        random_bytes: Asked for 32 bytes.

    Raises:
        InvalidKeyError: A recipient's identity key is of low order.
    """
    secret = random_bytes(_SECRET_BYTES)
    keys = _grow(secret)
    parts: list[bytes] = []
    for recipient in recipients:
        masked = _xor(_mask(agree(keys.ephemeral.private, recipient), keys.ephemeral.public, recipient), secret)
        parts.append(masked + _tag(agree(sender.private, recipient), keys, masked, sender.public, recipient))
    ciphertext = AESGCMSIV(keys.cipher_key).encrypt(_NONCE, content.encode(), None)
    return Sealed(tuple(parts), keys.ephemeral.public[1:] + ciphertext)


def join(part: bytes, shared: bytes) -> bytes:
    """Put together what one device receives."""
    return _VERSION_BYTE + part + shared


def open_sealed(data: bytes, *, recipient: KeyPair) -> SealedContent:
    """Open what was sealed for many, as it comes to one device.

    Args:
        data: What came: one device's part of it.
        recipient: The device's identity keys.

    Returns:
        The content. Its certificate is of the key that sealed it, and is not checked yet.

    Raises:
        UnsupportedVersionError: Of another version.
        InvalidMessageError: Not of its form.
        InvalidKeyError: A key in it is none.
        AuthenticationError: Altered, for another device, or sealed by another key than the certificate's.
    """
    if len(data) < _MIN_BYTES:
        raise InvalidMessageError(f"a sealed message has at least {_MIN_BYTES} bytes, got {len(data)}")
    if data[0] >> 4 != VERSION:
        raise UnsupportedVersionError(found=data[0] >> 4, supported=(VERSION,))
    masked, tag = data[1 : 1 + _SECRET_BYTES], data[1 + _SECRET_BYTES : _EPHEMERAL_AT]
    ephemeral = decode_public(_KEY_TYPE + data[_EPHEMERAL_AT:_CIPHERTEXT_AT])
    keys = _grow(_xor(_mask(agree(recipient.private, ephemeral), ephemeral, recipient.public), masked))
    # Were this not looked at, a sender could mask another M for each recipient, and let one ciphertext say two things:
    # the cipher does not bind a ciphertext to one key.
    if not hmac.compare_digest(keys.ephemeral.public, ephemeral):
        raise AuthenticationError("a sealed message is altered, or for another device")
    content = SealedContent.decode(_decrypt(keys, data[_CIPHERTEXT_AT:]))
    sender = content.certificate.identity_key
    expected = _tag(agree(recipient.private, sender), keys, masked, sender, recipient.public)
    if not hmac.compare_digest(expected, tag):
        raise AuthenticationError("a message is sealed by another identity key than that in its certificate")
    return content


def _grow(secret: bytes) -> _Keys:
    return _Keys(key_pair(hkdf(secret, _PRIVATE_LABEL, 32)), hkdf(secret, _CIPHER_LABEL, 32))


def _mask(agreed: SharedSecret, ephemeral: PublicKey, recipient: PublicKey) -> bytes:
    return hkdf(agreed + ephemeral + recipient, _MASK_LABEL, _SECRET_BYTES)


def _tag(agreed: SharedSecret, keys: _Keys, masked: bytes, sender: PublicKey, recipient: PublicKey) -> bytes:
    return hkdf(agreed + keys.ephemeral.public + masked + sender + recipient, _TAG_LABEL, _TAG_BYTES)


def _decrypt(keys: _Keys, ciphertext: bytes) -> bytes:
    try:
        return AESGCMSIV(keys.cipher_key).decrypt(_NONCE, ciphertext, None)
    except InvalidTag:
        raise AuthenticationError("the tag of a sealed message does not fit") from None


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
