"""Messaging primitives: end-to-end encryption, sync, receipts, fan-out and presence, without transport or database.

The top level exports the ids that everything shares; each engine lives in a module of its own.
"""

from whisperkit.ids import (
    BlobId,
    ConversationId,
    ConversationSeq,
    DeviceId,
    GatewayId,
    InboxSeq,
    MessageId,
    Owner,
    UserId,
)

__all__ = [
    "BlobId",
    "ConversationId",
    "ConversationSeq",
    "DeviceId",
    "GatewayId",
    "InboxSeq",
    "MessageId",
    "Owner",
    "UserId",
]
