"""Telling a sender that its message cannot be decrypted, outside of the session that may be broken.

A `DecryptionErrorMessage` says which message it was: its ratchet key, and when it was sent. It travels in the clear,
as a `PlaintextContent`, because there may be no session left to encrypt it in. So it is no more credible than what
brings it: take one only from inside a sealed message, whose certificate names the device that speaks.

Who gets one looks whether the message that failed was of the session that it still sends in
(`is_of_current_session`). If so the two sides no longer agree: put that session aside, make another one, and send
again what is asked for. If not, the session was replaced already, and sending again is enough.

Spec:
    Nothing is published for these; ``docs/explanation/security.md``, "Decryption errors", says what this does.
"""

from __future__ import annotations

import hmac
from typing import Final, NamedTuple, assert_never

from whisperkit.errors import InvalidMessageError
from whisperkit.ids import DeviceId
from whisperkit.ratchet.curve import PublicKey, decode_public
from whisperkit.ratchet.messages import CiphertextMessage, MessageType, PreKeySignalMessage, SignalMessage
from whisperkit.ratchet.protobuf import BYTES, UINT32, UINT64, read, write
from whisperkit.ratchet.results import Records
from whisperkit.ratchet.sessions import SessionShelf

__all__ = ["PLAINTEXT_TYPE", "DecryptionErrorMessage", "PlaintextContent", "is_of_current_session"]

PLAINTEXT_TYPE: Final = 8
"""The number of the official library for a `PlaintextContent`; it is no kind of ciphertext."""

_FIRST_BYTE: Final = b"\xc0"
_PAD: Final = b"\x80"
_ERROR_FIELDS: Final = {1: BYTES, 2: UINT64, 3: UINT32}
_CONTENT_FIELDS: Final = {8: BYTES}


class DecryptionErrorMessage(NamedTuple):
    """Which message could not be decrypted.

    Attributes:
        ratchet_key: The ratchet key inside of it; `None` for a group message, which has none.
        sent_at_ms: When it was sent, as the transport said: milliseconds since 1970.
        device_number: The number of the device that sent it; 0 if it was not said.
    """

    ratchet_key: PublicKey | None
    sent_at_ms: int
    device_number: int

    @classmethod
    def about(cls, message: CiphertextMessage, *, sender: DeviceId, sent_at_ms: int) -> DecryptionErrorMessage:
        """Describe a message that could not be decrypted.

        Args:
            message: What came.
            sender: The device it came from.
            sent_at_ms: When it was sent, as the transport says.

        Raises:
            PeerError: It is so damaged that its ratchet key cannot be read: there is nothing to ask for.
        """
        return cls(_ratchet_key(message), sent_at_ms, sender.number)

    def encode(self) -> bytes:
        """Write the message."""
        return write(((1, self.ratchet_key), (2, self.sent_at_ms), (3, self.device_number)))

    @classmethod
    def decode(cls, data: bytes) -> DecryptionErrorMessage:
        """Read the message.

        Raises:
            InvalidMessageError: No protobuf, or there is no time in it.
            InvalidKeyError: The ratchet key is none.
        """
        fields = read(data, _ERROR_FIELDS)
        ratchet_key = fields.blobs.get(1)
        return cls(
            ratchet_key=None if ratchet_key is None else decode_public(ratchet_key),
            sent_at_ms=fields.number(2),
            device_number=fields.numbers.get(3, 0),
        )


class PlaintextContent(NamedTuple):
    """What is said without encryption; the wire allows nothing but a decryption error.

    Attributes:
        body: A protobuf and its padding, as it came.
    """

    body: bytes

    @classmethod
    def of(cls, error: DecryptionErrorMessage) -> PlaintextContent:
        """Wrap a decryption error."""
        return cls(write(((8, error.encode()),)) + _PAD)

    @property
    def decryption_error(self) -> DecryptionErrorMessage:
        """The decryption error inside.

        Raises:
            InvalidMessageError: There is something else, or nothing.
            InvalidKeyError: Its ratchet key is none.
        """
        padded = self.body.rstrip(b"\x00")
        if not padded.endswith(_PAD):
            raise InvalidMessageError("the padding of a plaintext content is wrong")
        return DecryptionErrorMessage.decode(read(padded[:-1], _CONTENT_FIELDS).blob(8))

    def encode(self) -> bytes:
        """Write the content."""
        return _FIRST_BYTE + self.body

    @classmethod
    def decode(cls, data: bytes) -> PlaintextContent:
        """Read a content; what is inside is looked at by `decryption_error`.

        Raises:
            InvalidMessageError: It is none.
        """
        if not data.startswith(_FIRST_BYTE):
            raise InvalidMessageError(f"a plaintext content begins with 0xc0, got 0x{data[:1].hex()}")
        return cls(data[1:])


def is_of_current_session(records: Records, error: DecryptionErrorMessage, *, remote: DeviceId) -> bool:
    """Whether the message that failed was sent with the ratchet key that the next one would be sent with.

    Args:
        records: Loaded rows: `Device.records_for` of the device.
        error: What the device said.
        remote: The device that could not decrypt.
    """
    current = SessionShelf(records, remote).current
    if current is None or error.ratchet_key is None:
        return False
    return hmac.compare_digest(current.ratchet.sending.ratchet.public, error.ratchet_key)


def _ratchet_key(message: CiphertextMessage) -> PublicKey | None:
    match message.type:
        case MessageType.WHISPER:
            return SignalMessage.decode(message.body).ratchet_key
        case MessageType.PREKEY:
            return SignalMessage.decode(PreKeySignalMessage.decode(message.body).message).ratchet_key
        case MessageType.SENDER_KEY:
            return None
        case _:
            assert_never(message.type)
