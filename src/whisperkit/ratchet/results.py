"""What the operations of a `Device` answer. The first field is always what to write before anything else is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from whisperkit.ratchet.curve import PublicKey
from whisperkit.ratchet.messages import CiphertextMessage, SenderKeyDistributionMessage
from whisperkit.ratchet.prekeys import PreKeyUpload
from whisperkit.ratchet.redaction import redacted

__all__ = ["Created", "Distributed", "GeneratedPreKeys", "Opened", "Records", "Save", "Saved", "Sealed"]

Records: TypeAlias = Mapping[bytes, bytes]
"""Loaded rows of the device's partition: at least those that the operation needs."""

Save: TypeAlias = Mapping[bytes, bytes | None]
"""Rows to write to the device's partition in one commit; `None` deletes."""


class Saved(NamedTuple):
    """What to write; there is no other result."""

    save: Save

    def __repr__(self) -> str:
        return redacted(self)


class Created(NamedTuple):
    """A new identity.

    Attributes:
        save: What to write.
        identity_key: The public key, 33 bytes.
        registration_id: 1 to `MAX_REGISTRATION_ID`.
    """

    save: Save
    identity_key: PublicKey
    registration_id: int

    def __repr__(self) -> str:
        return redacted(self)


class GeneratedPreKeys(NamedTuple):
    """New prekeys.

    Attributes:
        save: What to write before the upload.
        upload: What to publish. If the upload may not have arrived, upload again; numbers are never reused.
    """

    save: Save
    upload: PreKeyUpload

    def __repr__(self) -> str:
        return redacted(self)


class Sealed(NamedTuple):
    """An encrypted message.

    Attributes:
        save: What to write before the message leaves.
        message: What to send.
    """

    save: Save
    message: CiphertextMessage

    def __repr__(self) -> str:
        return redacted(self)


class Opened(NamedTuple):
    """A decrypted message.

    Attributes:
        save: What to write, in one commit with what the plaintext leads to.
        plaintext: What the sender wrote.
        identity_key: The identity key of the sender; of a group message `None`: it was signed by its sender key.
        is_new_session: Whether this message made the session.
        one_time_prekey: The one-time prekey that it used up, if any: time to look whether to make new ones.
    """

    save: Save
    plaintext: bytes
    identity_key: PublicKey | None = None
    is_new_session: bool = False
    one_time_prekey: int | None = None

    def __repr__(self) -> str:
        return redacted(self)


class Distributed(NamedTuple):
    """A sender key to hand out.

    Attributes:
        save: What to write before the message leaves.
        message: For every reader, inside an encrypted message of its own.
    """

    save: Save
    message: SenderKeyDistributionMessage

    def __repr__(self) -> str:
        return redacted(self)
