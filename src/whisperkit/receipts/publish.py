"""When a mark that rose is told to those who watch it: the first at once, then a few together."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import attrs

from whisperkit.ids import ConversationId, UserId
from whisperkit.receipts.marks import Marks

__all__ = ["PUBLISH_INTERVAL_S", "Publish", "PublishThrottle"]

# Thirty readers of thirty messages are nine hundred marks; nobody sees more than one change a second (R11).
PUBLISH_INTERVAL_S: Final = 1.0


@attrs.frozen(kw_only=True)
class Publish:
    """Tell all connected devices of `observer` these marks of a conversation."""

    conversation: ConversationId
    observer: UserId
    marks: Marks


class PublishThrottle:
    """Holds marks back so that an observer sees the first at once and then at most one change per interval.

    What it holds may be lost, as a published mark may: devices pull marks, too. It holds nothing of a
    conversation that was quiet for one interval.

    Args:
        interval_s: Seconds between two messages to one observer about one conversation.
    """

    def __init__(self, *, interval_s: float = PUBLISH_INTERVAL_S) -> None:
        self._interval_s = interval_s
        # In order of their ends, because all intervals are equally long.
        self._open: OrderedDict[tuple[ConversationId, UserId], tuple[float, dict[str, int]]] = OrderedDict()

    @property
    def deadline(self) -> float | None:
        """When to call `handle_timer` next; `None` for never."""
        return next((ends_at for ends_at, _ in self._open.values()), None)

    def offer(self, conversation: ConversationId, observer: UserId, marks: Marks, *, now: float) -> list[Publish]:
        """Publish now or remember for later; of a register only its largest value."""
        key = conversation, observer
        if key not in self._open:
            self._open[key] = now + self._interval_s, {}
            return [Publish(conversation=conversation, observer=observer, marks=dict(marks))]
        _, held = self._open[key]
        for name, value in marks.items():
            held[name] = max(value, held.get(name, 0))
        return []

    def handle_timer(self, *, now: float) -> list[Publish]:
        """Let time pass."""
        effects: list[Publish] = []
        while self._open and next(iter(self._open.values()))[0] <= now:
            key, (_, held) = self._open.popitem(last=False)
            if held:
                self._open[key] = now + self._interval_s, {}
                effects.append(Publish(conversation=key[0], observer=key[1], marks=held))
        return effects
