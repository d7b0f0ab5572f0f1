"""How the heads of the library's partitions are written: what the working set decodes and encodes by."""

from __future__ import annotations

from typing import Final

from whisperkit import accounts, blobs, keys
from whisperkit.service.working_set import Codec
from whisperkit.sync import conversation, inbox

__all__ = ["ACCOUNT", "BLOB", "CONVERSATION", "INBOX", "KEYS"]

CONVERSATION: Final = Codec(conversation.decode, conversation.encode)
INBOX: Final = Codec(inbox.decode, inbox.encode)
ACCOUNT: Final = Codec(accounts.decode, accounts.encode)
KEYS: Final = Codec(keys.decode, keys.encode)
BLOB: Final = Codec(blobs.decode, blobs.encode)
