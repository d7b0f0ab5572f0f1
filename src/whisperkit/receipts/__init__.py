"""Sent, delivered, read: what a tick means, computed from registers that only rise.

A tick is a register, not an event. For each conversation there is one mark per (user, kind): "has everything
up to this number". Raising a mark keeps the larger value, so receipts may come late, twice or in any order
and the result is the same; everything that is shown is computed from marks and never counted, so a doubled
receipt cannot turn "1 of 2" into "2 of 2".

The tick of message n is the minimum over the audience of n, less its sender. The audience is who was a
member at n: whoever joins later does not hold it back, whoever leaves later still counts.

A user's mark is the maximum over that user's devices. This is honest only because a device is linked by one
whose inbox is drained: otherwise a new device that acknowledges number 9 would vouch for number 8, which
it never gets and the old device does not have yet.

The functions work over plain marks, as a `MarkStore` gives them for one conversation. `Receipts` keeps such
marks for one conversation and says what changed. Marks are durable before they are published.
"""

from whisperkit.receipts.engine import Receipts, StatusChanged
from whisperkit.receipts.marks import (
    MarkKind,
    MarkMoved,
    Marks,
    Membership,
    Received,
    Tally,
    audience_of,
    clamp_read,
    delivered_by,
    delivered_upto,
    mark_name,
    moves,
    observers_of,
    reached,
    read_by,
    status_of,
    tally_of,
)
from whisperkit.receipts.publish import PUBLISH_INTERVAL_S, Publish, PublishThrottle
from whisperkit.receipts.status import TRANSITIONS, MessageStatus, Progress, advance

__all__ = [
    "PUBLISH_INTERVAL_S",
    "TRANSITIONS",
    "MarkKind",
    "MarkMoved",
    "Marks",
    "Membership",
    "MessageStatus",
    "Progress",
    "Publish",
    "PublishThrottle",
    "Receipts",
    "Received",
    "StatusChanged",
    "Tally",
    "advance",
    "audience_of",
    "clamp_read",
    "delivered_by",
    "delivered_upto",
    "mark_name",
    "moves",
    "observers_of",
    "reached",
    "read_by",
    "status_of",
    "tally_of",
]
