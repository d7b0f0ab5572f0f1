"""Sealed sender: messages from which only the recipient learns who wrote them.

A device seals what it encrypted, with a certificate by which its server vouches for it: for one device (version 1), or
once for many (version 2). `SealingDevice` is the door, as `Device` is to the ratchet; `SenderCertificate.issue` and
`SentMessage` are the server's part.
"""

from whisperkit.ratchet.sealed_sender.certificates import (
    REVOKED_TEST_ID,
    SenderCertificate,
    SenderTrust,
    ServerCertificate,
)
from whisperkit.ratchet.sealed_sender.content import ContentHint, Sealable, SealedContent
from whisperkit.ratchet.sealed_sender.fan_out import (
    MAX_RECIPIENTS,
    MAX_SEALED_REGISTRATION_ID,
    Part,
    Recipient,
    SentMessage,
    seal_for_many,
)
from whisperkit.ratchet.sealed_sender.sealing_device import SealedBody, SealingDevice, Unsealed

__all__ = [
    "MAX_RECIPIENTS",
    "MAX_SEALED_REGISTRATION_ID",
    "REVOKED_TEST_ID",
    "ContentHint",
    "Part",
    "Recipient",
    "Sealable",
    "SealedBody",
    "SealedContent",
    "SealingDevice",
    "SenderCertificate",
    "SenderTrust",
    "SentMessage",
    "ServerCertificate",
    "Unsealed",
    "seal_for_many",
]
