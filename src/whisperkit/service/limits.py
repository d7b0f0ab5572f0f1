"""What a service takes and holds: every bound and every interval, named once.

The numbers are DESIGN's; each can be set in `ServiceConfig`, and what must fit together is checked there.
"""

from __future__ import annotations

import attrs

from whisperkit.errors import UsageError
from whisperkit.fanout import Limits

__all__ = ["ServiceConfig"]


@attrs.frozen(kw_only=True)
class ServiceConfig:
    """How a service behaves.

    Attributes:
        fanout: Where strategies change.
        epoch: The store's generation; raised by whoever restores a backup, and then every cursor is a fork.
        max_cached_heads: Decoded heads kept in memory, 1 to 2 KiB each; and conversations of which it is remembered
            up to where they are finished.
        max_unacked_entries: Entries on their way to one device before it acknowledges.
        max_unacked_bytes: The same in bytes.
        max_unanswered_sends: SENDs of one device that wait for an answer; more are refused with TRY_LATER.
        max_requests: Other requests of one device that wait; more end the connection.
        ack_every: So many acknowledged entries are saved at once.
        ack_after_s: Or so many seconds later.
        max_pending_marks: Receipts, acks and last seen that wait while the store of marks is away; devices that bring
            more are asked to come again.
        device_list_s: How old a list of devices may be.
        beat_s: How often a gateway says that it lives.
        lease_s: For how long it is believed.
        adopt_after_s: How long a lease must be gone before another gateway finishes what its owner left, and then
            another one each time if that was not done.
        note_s: How often a conversation is noted again while its gateway posts to it.
        dead_socket_s: A socket that takes nothing for so long is closed with RESYNC.
        hello_s: A connection that has not said who it is by then is closed.
        inbox_days: Entries older than this go, acknowledged or not; devices away for longer take a snapshot.
        conversation_days: Rows of conversations older than this go; at least `inbox_days`, as entries refer to them.
        marks_s: A member's marks are told to one observer at most once in so many seconds.
        presence_ttl_s: Seconds without a sign of life after which a device counts as gone.
        presence_grace_s: Seconds before that is published.
        works_jobs: Whether this gateway takes jobs; in a cluster workers may do it alone.
    """

    fanout: Limits = attrs.field(factory=Limits)
    epoch: int = 1
    max_cached_heads: int = 100_000
    max_unacked_entries: int = 256
    max_unacked_bytes: int = 1 << 20
    max_unanswered_sends: int = 64
    max_requests: int = 256
    ack_every: int = 64
    ack_after_s: float = 5.0
    max_pending_marks: int = 100_000
    device_list_s: float = 10.0
    beat_s: float = 10.0
    lease_s: float = 30.0
    adopt_after_s: float = 60.0
    note_s: float = 60.0
    dead_socket_s: float = 10.0
    hello_s: float = 10.0
    inbox_days: int = 30
    conversation_days: int = 30
    marks_s: float = 1.0
    presence_ttl_s: float = 40.0
    presence_grace_s: float = 40.0
    works_jobs: bool = True

    def __attrs_post_init__(self) -> None:
        if self.conversation_days < self.inbox_days:
            # An entry of a shared text is a reference; a conversation that forgets first would leave it dangling.
            raise UsageError(
                f"conversation_days is {self.conversation_days}, below inbox_days, which is {self.inbox_days}"
            )
        if self.epoch < 1:
            raise UsageError(f"epoch starts at 1, got {self.epoch}")
