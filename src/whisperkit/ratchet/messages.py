"""The four messages of the wire, as bytes and as values.

A version byte, a protobuf, and what authenticates it: eight bytes of HMAC for a `SignalMessage`, nothing of
its own for a `PreKeySignalMessage` that wraps one, 64 bytes of signature for a `SenderKeyMessage`. A
`SenderKeyDistributionMessage` has nothing either: it travels inside an encrypted message.

Decoding checks form only. Each decoded value keeps the bytes that its MAC or signature covers, because those
are checked over what came and never over a re-encoding: the wire leaves order and unknown fields open.
"""

from __future__ import annotations

import hmac
import uuid
from enum import IntEnum
from typing import Final, NamedTuple

from whisperkit._named_tuples import make
from whisperkit.errors import AuthenticationError, InvalidMessageError, UnsupportedVersionError
from whisperkit.ratchet.chains import ChainKey, MacKey
from whisperkit.ratchet.curve import PUBLIC_KEY_BYTES, PrivateKey, PublicKey, RandomBytes, decode_public
from whisperkit.ratchet.kem import check_ciphertext
from whisperkit.ratchet.prepared_hmac import hmac_sha256
from whisperkit.ratchet.protobuf import BYTES, UINT32, read, write
from whisperkit.ratchet.redaction import redacted
from whisperkit.ratchet.usual_form import (
    MAC_BYTES,
    SENDER_KEY_VERSION,
    SENDER_KEY_VERSION_BYTE,
    SESSION_VERSION,
    PreKeyFields,
    SenderKeyFields,
    SignalFields,
    read_prekey_message,
    read_sender_key_message,
    read_signal_message,
    write_prekey_message,
    write_sender_key_message,
    write_signal_message,
)
from whisperkit.ratchet.xeddsa import SIGNATURE_BYTES, sign, verify

__all__ = [
    "MAC_BYTES",
    "SENDER_KEY_VERSION",
    "SESSION_VERSION",
    "CiphertextMessage",
    "MessageType",
    "PreKeySignalMessage",
    "SenderKeyDistributionMessage",
    "SenderKeyMessage",
    "SignalMessage",
    "encode_sender_key_message",
    "encode_signal_message",
]

_MIN_SIGNAL_BYTES: Final = 1 + MAC_BYTES
_MIN_SENDER_KEY_BYTES: Final = 1 + SIGNATURE_BYTES

_SIGNAL_FIELDS: Final = {1: BYTES, 2: UINT32, 3: UINT32, 4: BYTES, 5: BYTES, 6: BYTES}
_PREKEY_FIELDS: Final = {1: UINT32, 2: BYTES, 3: BYTES, 4: BYTES, 5: UINT32, 6: UINT32, 7: UINT32, 8: BYTES}
_DISTRIBUTION_FIELDS: Final = {1: BYTES, 2: UINT32, 3: UINT32, 4: BYTES, 5: BYTES}
_SENDER_KEY_FIELDS: Final = {1: BYTES, 2: UINT32, 3: UINT32, 4: BYTES}


class MessageType(IntEnum):
    """The kinds of ciphertext, with the numbers of the official library."""

    WHISPER = 2
    PREKEY = 3
    SENDER_KEY = 7


class CiphertextMessage(NamedTuple):
    """An encrypted message: a transport carries both parts.

    Attributes:
        type: Which kind; `PREKEY` until the other side has answered.
        body: The bytes of the wire.
    """

    type: MessageType
    body: bytes

    @classmethod
    def of(cls, number: int, body: bytes) -> CiphertextMessage:
        """Put together what a transport carried.

        Args:
            number: The type as a number.
            body: The bytes.

        Raises:
            InvalidMessageError: There is no such type.
        """
        try:
            return cls(MessageType(number), body)
        except ValueError:
            raise InvalidMessageError(f"there is no message of type {number}") from None


class SignalMessage(NamedTuple):
    """A message in a session.

    Attributes:
        ratchet_key: The sender's current ratchet key.
        counter: Position in the sending chain, from 0.
        previous_counter: Length of the sending chain before, less one; receivers do not use it.
        ciphertext: The encrypted body.
        pq_ratchet: What the post-quantum ratchet says.
        addresses: Sender and recipient as 36 bytes, inside first messages; `None` if absent.
        authenticated: The bytes under the MAC.
        mac: What came as MAC.
    """

    ratchet_key: PublicKey
    counter: int
    previous_counter: int
    ciphertext: bytes
    pq_ratchet: bytes
    addresses: bytes | None
    authenticated: bytes
    mac: bytes

    @classmethod
    def decode(cls, data: bytes) -> SignalMessage:
        """Read a message of type `WHISPER`.

        Raises:
            InvalidMessageError: Too short, no protobuf, or a field is missing.
            UnsupportedVersionError: Of another version.
            InvalidKeyError: The ratchet key is none.
        """
        return make(cls, read_signal_message(data) or _read_signal_message(data))

    def verify_mac(self, key: MacKey, *, sender: PublicKey, receiver: PublicKey) -> None:
        """Check the MAC, which binds the message to both identities.

        Raises:
            AuthenticationError: It does not fit.
        """
        expected = hmac_sha256(key, sender + receiver + self.authenticated)[:MAC_BYTES]
        if not hmac.compare_digest(expected, self.mac):
            raise AuthenticationError("the MAC of a message does not fit")


def encode_signal_message(
    ratchet_key: PublicKey,
    counter: int,
    previous_counter: int,
    ciphertext: bytes,
    pq_ratchet: bytes,
    addresses: bytes | None,
    *,
    mac_key: MacKey,
    sender: PublicKey,
    receiver: PublicKey,
) -> bytes:
    """Write a message of type `WHISPER`, MAC included."""
    authenticated = write_signal_message(ratchet_key, counter, previous_counter, ciphertext, pq_ratchet, addresses)
    return authenticated + hmac_sha256(mac_key, sender + receiver + authenticated)[:MAC_BYTES]


class PreKeySignalMessage(NamedTuple):
    """A first message: what the receiver needs to make the session, and a message in it.

    Attributes:
        pre_key_id: The one-time Curve25519 prekey that was used; `None` if there was none left.
        base_key: The sender's base key, which names the session.
        identity_key: The sender's identity key.
        message: A whole `SignalMessage`, encoded.
        registration_id: The sender's; 0 if absent.
        signed_pre_key_id: The signed prekey that was used.
        kyber_pre_key_id: The Kyber prekey that was used.
        kyber_ciphertext: The secret encapsulated to it, 1,569 bytes.
    """

    pre_key_id: int | None
    base_key: PublicKey
    identity_key: PublicKey
    message: bytes
    registration_id: int
    signed_pre_key_id: int
    kyber_pre_key_id: int
    kyber_ciphertext: bytes

    def encode(self) -> bytes:
        """Write the message."""
        return write_prekey_message(*self)

    @classmethod
    def decode(cls, data: bytes) -> PreKeySignalMessage:
        """Read a message of type `PREKEY`.

        Raises:
            InvalidMessageError: Empty, no protobuf, or a field is missing.
            UnsupportedVersionError: Of another version, such as 3: a handshake without a KEM.
            InvalidKeyError: A key or the KEM ciphertext is none.
        """
        return make(cls, read_prekey_message(data) or _read_prekey_message(data))


class SenderKeyDistributionMessage(NamedTuple):
    """A sender key, for those who shall read a group's messages. A secret: it travels inside encrypted messages.

    Attributes:
        distribution_id: Which list of readers.
        chain_id: Which of the sender's keys for that list.
        iteration: The position from which on its holder can read.
        chain_key: The chain key at that position.
        signing_key: What the sender's messages are verified with.
    """

    distribution_id: uuid.UUID
    chain_id: int
    iteration: int
    chain_key: ChainKey
    signing_key: PublicKey

    def __repr__(self) -> str:
        return redacted(self)

    def encode(self) -> bytes:
        """Write the message: about 96 bytes."""
        return SENDER_KEY_VERSION_BYTE + write(
            (
                (1, self.distribution_id.bytes),
                (2, self.chain_id),
                (3, self.iteration),
                (4, self.chain_key),
                (5, self.signing_key),
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> SenderKeyDistributionMessage:
        """Read the message.

        Raises:
            InvalidMessageError: Too short, no protobuf, or a field is missing or of a wrong size.
            UnsupportedVersionError: Of another version.
            InvalidKeyError: The signing key is of another type.
        """
        _check_version(data, SENDER_KEY_VERSION, min_bytes=_MIN_SENDER_KEY_BYTES)
        fields = read(data[1:], _DISTRIBUTION_FIELDS)
        return cls(
            distribution_id=uuid.UUID(bytes=fields.blob(1, 16)),
            chain_id=fields.number(2),
            iteration=fields.number(3),
            chain_key=ChainKey(fields.blob(4, 32)),
            signing_key=decode_public(fields.blob(5, PUBLIC_KEY_BYTES)),
        )


class SenderKeyMessage(NamedTuple):
    """A group message.

    Attributes:
        distribution_id: Which list of readers.
        chain_id: Which of the sender's keys.
        iteration: Position in its chain, from 0.
        ciphertext: The encrypted body.
        signed: The bytes under the signature.
        signature: What came as signature.
    """

    distribution_id: uuid.UUID
    chain_id: int
    iteration: int
    ciphertext: bytes
    signed: bytes
    signature: bytes

    @classmethod
    def decode(cls, data: bytes) -> SenderKeyMessage:
        """Read a message of type `SENDER_KEY`.

        Raises:
            InvalidMessageError: Too short, no protobuf, or a field is missing or of a wrong size.
            UnsupportedVersionError: Of another version.
        """
        return make(cls, read_sender_key_message(data) or _read_sender_key_message(data))

    def verify_signature(self, signing_key: PublicKey) -> None:
        """Check the signature.

        Raises:
            InvalidSignatureError: It does not fit.
        """
        verify(signing_key, self.signed, self.signature)


def encode_sender_key_message(
    *,
    distribution_id: uuid.UUID,
    chain_id: int,
    iteration: int,
    ciphertext: bytes,
    signing_key: PrivateKey,
    random_bytes: RandomBytes,
) -> bytes:
    """Write a message of type `SENDER_KEY`, signature included."""
    signed = write_sender_key_message(distribution_id, chain_id, iteration, ciphertext)
    return signed + sign(signing_key, signed, random_bytes=random_bytes)


def _read_signal_message(data: bytes) -> SignalFields:
    _check_version(data, SESSION_VERSION, min_bytes=_MIN_SIGNAL_BYTES)
    fields = read(data[1:-MAC_BYTES], _SIGNAL_FIELDS)
    return (
        decode_public(fields.blob(1)),
        fields.number(2),
        fields.numbers.get(3, 0),
        fields.blob(4),
        fields.blobs.get(5, b""),
        fields.blobs.get(6),
        data[:-MAC_BYTES],
        data[-MAC_BYTES:],
    )


def _read_prekey_message(data: bytes) -> PreKeyFields:
    _check_version(data, SESSION_VERSION, min_bytes=1)
    fields = read(data[1:], _PREKEY_FIELDS)
    return (
        fields.numbers.get(1),
        decode_public(fields.blob(2)),
        decode_public(fields.blob(3)),
        fields.blob(4),
        fields.numbers.get(5, 0),
        fields.number(6),
        fields.number(7),
        check_ciphertext(fields.blob(8)),
    )


def _read_sender_key_message(data: bytes) -> SenderKeyFields:
    _check_version(data, SENDER_KEY_VERSION, min_bytes=_MIN_SENDER_KEY_BYTES)
    fields = read(data[1:-SIGNATURE_BYTES], _SENDER_KEY_FIELDS)
    return (
        uuid.UUID(bytes=fields.blob(1, 16)),
        fields.number(2),
        fields.number(3),
        fields.blob(4),
        data[:-SIGNATURE_BYTES],
        data[-SIGNATURE_BYTES:],
    )


def _check_version(data: bytes, supported: int, *, min_bytes: int) -> None:
    # Only the upper half of the byte counts; the lower one is covered by MAC or signature like the rest.
    if len(data) < min_bytes:
        raise InvalidMessageError(f"a message has at least {min_bytes} bytes, got {len(data)}")
    if data[0] >> 4 != supported:
        raise UnsupportedVersionError(found=data[0] >> 4, supported=(supported,))
