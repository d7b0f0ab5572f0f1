"""How the client's own rows are named in the device's partition, beside those of the mirror, outbox and ratchet.

- ``a/<number>``: messages that wait to be handled, in the order in which they came
- ``d/<user>``: the devices of a user, as they are known
- ``e/<kind><device>``: what a person has to be told about a device
- ``g/<conversation>``: who holds this device's sender key
- ``h/<conversation><place>``: history
- ``m/<message><where and whose>``: the place of a message in it
- ``n/...``: single values
- ``q/<number>``: drafts
- ``t/<conversation>``: marks of others
- ``w/<message><device>``: messages that could not be read
- ``x``: the mark of the last commit
- ``y/<conversation><number>``: changes of members
"""

from __future__ import annotations

from hashlib import blake2b

from whisperkit.ids import ConversationId

__all__ = ["conv_bytes"]


def conv_bytes(conv: ConversationId) -> bytes:
    """Sixteen bytes for a conversation: its id may be as long as a key."""
    return blake2b(conv.encode(), digest_size=16).digest()
