"""End-to-end encryption on the Signal wire: PQXDH, the triple ratchet, sender keys, safety numbers, attachments.

`Device` is the door: pure functions on the records of one device. `whisperkit.client.SessionManager` puts a
store around it. Doors that skip a safety check are in `whisperkit.ratchet.hazmat`. What hides from a server who writes
is in `whisperkit.ratchet.sealed_sender`.
"""

from whisperkit.ratchet.attachments import (
    CHUNK_BYTES,
    MAX_ATTACHMENT_BYTES,
    SEALED_CHUNK_BYTES,
    AttachmentDecryptor,
    AttachmentEncryptor,
    AttachmentPointer,
    sealed_size,
)
from whisperkit.ratchet.curve import KeyPair, PrivateKey, PublicKey, RandomBytes
from whisperkit.ratchet.decryption_errors import DecryptionErrorMessage, PlaintextContent, is_of_current_session
from whisperkit.ratchet.device import Device, distribution_id
from whisperkit.ratchet.double_ratchet import (
    MAX_FORWARD_JUMP,
    MAX_RECEIVING_CHAINS,
    MAX_SELF_FORWARD_JUMP,
    MAX_SKIPPED_KEYS,
)
from whisperkit.ratchet.messages import CiphertextMessage, MessageType, SenderKeyDistributionMessage
from whisperkit.ratchet.prekeys import PreKeyBundle, PreKeyUpload, PublicPreKey
from whisperkit.ratchet.records import Peer
from whisperkit.ratchet.results import Created, Distributed, GeneratedPreKeys, Opened, Records, Save, Saved, Sealed
from whisperkit.ratchet.safety_number import SafetyNumber
from whisperkit.ratchet.session import UNACKNOWLEDGED_LIFE_MS
from whisperkit.ratchet.sessions import MAX_ARCHIVED_SESSIONS
from whisperkit.ratchet.xeddsa import sign, verify

__all__ = [
    "CHUNK_BYTES",
    "MAX_ARCHIVED_SESSIONS",
    "MAX_ATTACHMENT_BYTES",
    "MAX_FORWARD_JUMP",
    "MAX_RECEIVING_CHAINS",
    "MAX_SELF_FORWARD_JUMP",
    "MAX_SKIPPED_KEYS",
    "SEALED_CHUNK_BYTES",
    "UNACKNOWLEDGED_LIFE_MS",
    "AttachmentDecryptor",
    "AttachmentEncryptor",
    "AttachmentPointer",
    "CiphertextMessage",
    "Created",
    "DecryptionErrorMessage",
    "Device",
    "Distributed",
    "GeneratedPreKeys",
    "KeyPair",
    "MessageType",
    "Opened",
    "Peer",
    "PlaintextContent",
    "PreKeyBundle",
    "PreKeyUpload",
    "PrivateKey",
    "PublicKey",
    "PublicPreKey",
    "RandomBytes",
    "Records",
    "SafetyNumber",
    "Save",
    "Saved",
    "Sealed",
    "SenderKeyDistributionMessage",
    "distribution_id",
    "is_of_current_session",
    "sealed_size",
    "sign",
    "verify",
]
