"""What is inside a sealed message: who sends it, an encrypted message, and what to do should that not open.

Hiding the sender and encrypting the text are two layers. The inner message is what a session or a sender key made,
and is opened as ever once the seal has told from whom it is.

Spec:
    Nothing is published for this; ``docs/explanation/security.md``, "Sealed sender", says what this does.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

from whisperkit.errors import InvalidMessageError
from whisperkit.ratchet.decryption_errors import PLAINTEXT_TYPE, PlaintextContent
from whisperkit.ratchet.messages import CiphertextMessage, MessageType
from whisperkit.ratchet.protobuf import BYTES, UINT32, read, write
from whisperkit.ratchet.redaction import redacted
from whisperkit.ratchet.sealed_sender.certificates import SenderCertificate

__all__ = ["ContentHint", "Sealable", "SealedContent"]

Sealable: TypeAlias = CiphertextMessage | PlaintextContent
"""What can be sealed: an encrypted message, or word that one could not be decrypted."""

_FIELDS: Final = {1: UINT32, 2: BYTES, 3: BYTES, 4: UINT32, 5: BYTES}

# A first message has another number here than everywhere else.
_NUMBERS: Final = {MessageType.PREKEY: 1, MessageType.WHISPER: 2, MessageType.SENDER_KEY: 7}
_TYPES: Final = {number: kind for kind, number in _NUMBERS.items()}


class ContentHint(IntEnum):
    """What the recipient should do if the inner message does not open."""

    DEFAULT = 0
    """Show that something could not be read."""
    RESENDABLE = 1
    """Ask for it again, and keep its place meanwhile: the sender still has it."""
    IMPLICIT = 2
    """Nothing: nobody misses it, such as word that somebody is typing."""


_HINTS: Final = frozenset(ContentHint)


class SealedContent(NamedTuple):
    """What a seal hides.

    Attributes:
        message: An encrypted message, or a plaintext content.
        certificate: Who sends it; not trusted until `SenderTrust.check` has returned.
        hint: What to do if the message does not open.
        group_id: For which group it is, as the application writes it; empty for none.
    """

    message: Sealable
    certificate: SenderCertificate
    hint: ContentHint = ContentHint.DEFAULT
    group_id: bytes = b""

    def __repr__(self) -> str:
        return redacted(self)

    def encode(self) -> bytes:
        """Write the content: what gets sealed."""
        match self.message:
            case PlaintextContent() as plaintext:
                number, body = PLAINTEXT_TYPE, plaintext.encode()
            case CiphertextMessage(kind, body):
                number = _NUMBERS[kind]
        return write(
            (
                (1, number),
                (2, self.certificate.encode()),
                (3, body),
                (4, self.hint or None),
                (5, self.group_id or None),
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> SealedContent:
        """Read a content; the inner message is not looked at.

        Raises:
            InvalidMessageError: No protobuf, a field is missing, or a kind of message that is not known.
            InvalidKeyError: A key in the certificate is none.
        """
        fields = read(data, _FIELDS)
        return cls(
            message=_message(fields.number(1), fields.blob(3)),
            certificate=SenderCertificate.decode(fields.blob(2)),
            hint=_hint(fields.numbers.get(4, 0)),
            group_id=fields.blobs.get(5, b""),
        )


def _message(number: int, body: bytes) -> Sealable:
    if number == PLAINTEXT_TYPE:
        return PlaintextContent.decode(body)
    if number not in _TYPES:
        raise InvalidMessageError(f"a sealed message holds none of type {number}")
    return CiphertextMessage(_TYPES[number], body)


def _hint(number: int) -> ContentHint:
    # A later version may know more hints. In protobuf a value that an enum lacks counts as absent.
    return ContentHint(number) if number in _HINTS else ContentHint.DEFAULT
