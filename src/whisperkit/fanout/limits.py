"""Which strategy a conversation uses: by its number of members, with room between up and down.

Moving down is the dangerous direction: if a row that was queued for a worker were followed by one that is
appended at once, the second would arrive first (F1). `finish` goes in order and so cannot do that, but
work that is still owed by the old strategy's rules must be done before the new one's begin.
"""

from __future__ import annotations

import attrs

from whisperkit.errors import UsageError
from whisperkit.strategy import Strategy

__all__ = ["Limits", "needs_mode_row", "next_strategy"]


@attrs.frozen(kw_only=True)
class Limits:
    """The limits of fan-out.

    Args:
        direct_below: Fewer members than this: small.
        queued_upto: Up to this many members: mid; more: mega.
        direct_again_at: A mid conversation becomes small when it has shrunk to this many.
        queued_again_at: A mega conversation becomes mid when it has shrunk to this many.
        batch_devices: The most devices in one append, hint or job.
        batch_bytes: The most bytes in one append, unless a single entry is larger.

    Raises:
        UsageError: The limits are not in order: going up and down at one size would flip at each join and leave.
    """

    direct_below: int = 200
    queued_upto: int = 5_000
    direct_again_at: int = 180
    queued_again_at: int = 4_500
    batch_devices: int = 256
    batch_bytes: int = 256 * 1024

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.direct_again_at < self.direct_below <= self.queued_again_at < self.queued_upto:
            raise UsageError(
                "limits must rise: direct_again_at, direct_below, queued_again_at, queued_upto are "
                f"{self.direct_again_at}, {self.direct_below}, {self.queued_again_at}, {self.queued_upto}"
            )
        if min(self.batch_devices, self.batch_bytes) < 1:
            raise UsageError(f"batches hold something: {self.batch_devices} devices, {self.batch_bytes} bytes")

    def strategy_for(self, members: int) -> Strategy:
        """The strategy of a new conversation of this many members."""
        if members < self.direct_below:
            return Strategy.SMALL
        return Strategy.MID if members <= self.queued_upto else Strategy.MEGA


def next_strategy(current: Strategy, members: int, *, is_drained: bool, limits: Limits) -> Strategy:
    """The strategy of the next row.

    Args:
        current: The strategy of the conversation until now.
        members: How many there are now.
        is_drained: Whether ``fanned_out == head``, so that no row is owed any more.
        limits: The limits.
    """
    up = limits.strategy_for(members)
    if up > current:
        return up
    return min(current, _shrunk_to(members, limits)) if is_drained else current


def _shrunk_to(members: int, limits: Limits) -> Strategy:
    if members <= limits.direct_again_at:
        return Strategy.SMALL
    return Strategy.MID if members <= limits.queued_again_at else Strategy.MEGA


def needs_mode_row(before: Strategy, after: Strategy) -> bool:
    """Whether members must be told by a MODE row, itself pushed, that rows are pulled from here on, or no longer."""
    return before.is_pushed is not after.is_pushed
